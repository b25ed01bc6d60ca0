//! Label sets of a damaged segment.
//!
//! The key in a series' record proves its label set, from wherever that comes: damaged blocks are read as well, for most
//! of what lies in them is right.

use std::collections::{BTreeMap, HashSet};
use std::ops::Range;

use super::holes::Holes;
use super::names::Names;
use crate::model::Labels;
use crate::segment::format::Section;
use crate::segment::reader::Segment;
use crate::source::ReadError;

/// Bytes of a label set that is only tried: damaged lengths may say anything. Default limits allow a quarter of it.
const TRIED_BYTES_MAX: usize = 4 << 20;

/// What label sets may be made of.
#[derive(Debug)]
pub(super) struct Sets {
    names: Names,
    unchecked_names: Names,
    names_of_gaps: Names,
    /// Of series whose label set cannot be read: what postings tell.
    by_postings: BTreeMap<u32, Vec<u32>>,
    /// Series whose label sets are more than is read of them all.
    beyond: HashSet<u32>,
}

impl Sets {
    pub(super) fn find(segment: &Segment, unchecked: &Segment, holes: &Holes) -> Self {
        let mut sets = Self {
            names: Names::of_records(segment),
            unchecked_names: Names::of_records(unchecked),
            names_of_gaps: Names::of_gaps(segment),
            by_postings: BTreeMap::new(),
            beyond: HashSet::new(),
        };
        let mut left = CLAIMED_MOST * segment.index.len(Section::Labels) as u64;
        let beyond = |ordinal: &u32| segment.label_range(*ordinal).is_ok_and(|range| !take(&mut left, segment, &range));
        sets.beyond = (0..segment.series_count()).filter(beyond).collect();
        let lost = |ordinal| sets.labels(segment, unchecked, holes, ordinal).is_err();
        let missing = |ordinal: &u32| segment.series(*ordinal).is_ok() && lost(*ordinal);
        let missing: Vec<u32> = (0..segment.series_count()).filter(missing).collect();
        let told = by_postings(unchecked, &missing);
        sets.by_postings = missing.into_iter().zip(told).collect();
        sets
    }

    /// The numbers of a series' labels.
    fn numbers(&self, segment: &Segment, ordinal: u32) -> Result<Vec<u32>, ReadError> {
        if self.beyond.contains(&ordinal) {
            let what = format!("labels of series {ordinal} belong to many others");
            return Err(segment.corrupt(Section::Labels, what));
        }
        segment.label_numbers(ordinal)
    }

    /// The labels of a series, proved (SM4).
    pub(super) fn labels(
        &self,
        segment: &Segment,
        unchecked: &Segment,
        holes: &Holes,
        ordinal: u32,
    ) -> Result<Labels, ReadError> {
        let key = match segment.series(ordinal) {
            Ok(series) => series.key,
            Err(e) => {
                let numbers = holes.proved_set(ordinal).ok_or(e)?;
                return self.names.labels(segment, numbers, usize::MAX);
            }
        };
        let is_it = |labels: &Labels| {
            let found = labels.key().0;
            key == [found as u64, (found >> 64) as u64]
        };
        let numbers = self.numbers(segment, ordinal);
        let read = numbers.and_then(|numbers| self.names.labels(segment, &numbers, usize::MAX));
        let wrong = match read {
            Ok(labels) if is_it(&labels) => return Ok(labels),
            Ok(_) => segment.corrupt(Section::Labels, format!("labels of series {ordinal} have another key")),
            Err(e) => e,
        };
        let found = self.numbers(unchecked, ordinal).ok();
        let numbers = found.iter().chain(self.by_postings.get(&ordinal));
        let tried = numbers.flat_map(|numbers| {
            let names = [&self.unchecked_names, &self.names_of_gaps];
            names.into_iter().filter_map(|names| names.labels(unchecked, numbers, TRIED_BYTES_MAX).ok())
        });
        tried.into_iter().find(is_it).ok_or(wrong)
    }
}

/// How many times their sections label sets and postings may be read, and numbers be told that label sets have bytes: a
/// number takes one there at least, and in damaged records some claim what is not theirs.
const CLAIMED_MOST: u64 = 4;

/// Whether a label set is among what may be read. One that ends behind its section cannot be, and takes nothing away.
fn take(left: &mut u64, segment: &Segment, range: &Range<u64>) -> bool {
    let len = range.end.saturating_sub(range.start);
    if range.end > segment.index.len(Section::Labels) as u64 {
        return true;
    }
    let rest = left.checked_sub(len);
    *left = rest.unwrap_or(*left);
    rest.is_some()
}

/// The numbers of the labels of these series (ascending), as far as postings tell.
pub(super) fn by_postings(segment: &Segment, wanted: &[u32]) -> Vec<Vec<u32>> {
    let mut sets = vec![Vec::new(); wanted.len()];
    if wanted.is_empty() {
        return sets;
    }
    let most = |section: Section| CLAIMED_MOST * segment.index.len(section) as u64;
    let (mut bytes_left, mut numbers_left) = (most(Section::Postings), most(Section::Labels));
    for number in 0..segment.label_count() {
        let bytes = segment.postings_range(number).map_or(0, |range| range.end.saturating_sub(range.start));
        if bytes > segment.index.len(Section::Postings) as u64 {
            continue;
        }
        bytes_left = match bytes_left.checked_sub(bytes) {
            Some(left) if numbers_left > 0 => left,
            _ => break,
        };
        // What is not told is missed where the sets are proved.
        let _ = segment.series_with(number, |first, run| {
            let from = wanted.partition_point(|&ordinal| ordinal < first);
            let of_run = wanted[from..].iter().take_while(|&&ordinal| ordinal - first < run).count();
            let of_run = numbers_left.min(of_run as u64) as usize;
            numbers_left -= of_run as u64;
            sets[from..from + of_run].iter_mut().for_each(|set: &mut Vec<u32>| set.push(number as u32));
        });
    }
    sets
}
