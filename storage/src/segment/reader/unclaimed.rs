//! Each part of a file to one owner, for whoever walks through all of them: a file may say under right checksums that many
//! have the same part, and whoever believed it would read that as often as there are owners, or keep so many copies.

use std::ops::Range;

use super::Segment;
use crate::segment::format::Section;
use crate::source::ReadError;

/// Gives each part of a section to one owner. Owners come in order.
#[derive(Debug, Default)]
pub(super) struct Unclaimed {
    /// Behind what was given.
    next: u64,
}

impl Unclaimed {
    /// Whether this part is the owner's: nobody before has any of it.
    pub(super) fn take(&mut self, part: &Range<u64>) -> bool {
        let free = part.start >= self.next;
        if free && part.start <= part.end {
            self.next = part.end;
        }
        free
    }
}

/// Gives out text of one kind: all of it together is no longer than all text, for no writer lets two share theirs.
#[derive(Debug)]
pub(super) struct TextLeft(u64);

impl TextLeft {
    pub(super) fn new(segment: &Segment) -> Self {
        Self(segment.index.len(Section::Strings) as u64)
    }

    /// Whether so many bytes more may be there.
    pub(super) fn take(&mut self, len: usize) -> bool {
        let left = self.0.checked_sub(len as u64);
        self.0 = left.unwrap_or(self.0);
        left.is_some()
    }
}

impl Segment {
    /// The chunks of a series, by their numbers, which no series before has.
    pub(super) fn own_chunks(&self, ordinal: u32, unclaimed: &mut Unclaimed) -> Result<Range<usize>, ReadError> {
        let range = self.chunk_range(ordinal)?;
        if unclaimed.take(&(range.start as u64..range.end as u64)) {
            return Ok(range);
        }
        Err(self.corrupt(Section::Series, format!("chunks of series {ordinal} belong to another one")))
    }

    /// Where the label set of a series lies, which no series before has.
    pub(super) fn own_label_range(&self, ordinal: u32, unclaimed: &mut Unclaimed) -> Result<Range<u64>, ReadError> {
        let range = self.label_range(ordinal)?;
        if unclaimed.take(&range) {
            return Ok(range);
        }
        Err(self.corrupt(Section::Labels, format!("labels of series {ordinal} belong to another one")))
    }

    /// As [`series_with`](Self::series_with), the postings being those of no label before.
    pub(super) fn own_series_with(
        &self,
        label: usize,
        unclaimed: &mut Unclaimed,
        each: impl FnMut(u32, u32),
    ) -> Result<(), ReadError> {
        if !unclaimed.take(&self.postings_range(label)?) {
            return Err(self.corrupt(Section::Postings, format!("postings of label {label} belong to another one")));
        }
        self.series_with(label, each)
    }

    /// The value of a label, which counts as text that no value before has.
    pub(super) fn own_value(&self, label: usize, left: &mut TextLeft) -> Result<&str, ReadError> {
        let record = self.label(label)?;
        if !left.take(record.text_len as usize) {
            return Err(self.corrupt(Section::Values, "values are longer than all text".to_owned()));
        }
        self.value_text(record)
    }
}
