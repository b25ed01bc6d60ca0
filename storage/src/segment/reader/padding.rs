//! Bytes that belong to nothing, and are zero.

use std::ops::Range;

use super::Segment;
use super::index::Checks;
use crate::segment::format::{ALIGN, Chunk, FOOTER_LEN, HEADER_LEN, Section, TimestampsRecord};
use crate::source::ReadError;

impl Segment {
    /// The bytes that are not zero and lie in no column, no section, no checksums, by gap: the first of each, and which bit
    /// of it, if it is one bit of the whole gap. A reader never looks at them, so nothing read is wrong for them; but
    /// they were not written so. O(records of chunks).
    ///
    /// # Errors
    /// [`ReadError`] if the directory is damaged: where columns lie cannot be told.
    pub(super) fn padding_not_zero(&self) -> Result<Vec<(usize, Option<u8>)>, ReadError> {
        let mut owned = vec![self.columns()?];
        owned.extend(self.index.sections.iter().filter(|section| !section.is_empty()).cloned());
        if let Checks::Blocks { table, .. } = &self.index.checks {
            owned.push(table.clone());
        }
        let footer_at = self.map.len() - FOOTER_LEN;
        owned.push(footer_at..footer_at);
        owned.sort_unstable_by_key(|range| range.start);
        let (mut found, mut end) = (Vec::new(), HEADER_LEN);
        for range in owned {
            // What is longer was not put there to align what follows.
            if let Some(gap) = self.map.get(end..range.start).filter(|gap| gap.len() < ALIGN as usize)
                && let Some(at) = gap.iter().position(|byte| *byte != 0)
            {
                let one = gap.iter().map(|byte| byte.count_ones()).sum::<u32>() == 1;
                found.push((end + at, one.then(|| gap[at].trailing_zeros() as u8)));
            }
            end = end.max(range.end);
        }
        Ok(found)
    }

    /// From the first column to the end of the last: they lie one behind the other.
    fn columns(&self) -> Result<Range<usize>, ReadError> {
        let (mut start, mut end) = (usize::MAX, HEADER_LEN);
        let mut note = |offset: u64, len: u16| {
            let offset = usize::try_from(offset).unwrap_or(usize::MAX);
            start = start.min(offset);
            end = end.max(offset.saturating_add(len.into()));
        };
        for number in 0..self.index.records(Section::Timestamps) {
            if let Some(record) = self.record::<TimestampsRecord>(Section::Timestamps, number)? {
                note(record.offset, record.len);
            }
        }
        for number in 0..self.index.records(Section::Chunks) {
            let (Chunk { offset, len, .. }, _) = self.chunk(number)?;
            note(offset, len);
        }
        Ok(start.min(end)..end)
    }
}
