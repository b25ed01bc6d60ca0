//! The series that have a label: ascending ordinals as gaps and runs.
//!
//! Byte layout: docs/format/segment.md, "Postings". Series are sorted by their labels,
//! so those of one metric lie side by side and cost a few bytes together.

use crate::chunk::{Cursor, put_varint};

/// Gathers the ordinals of one label, encoded as they come: a million series cost their index a few bytes each.
#[derive(Debug, Default)]
pub(super) struct Gathered {
    /// All runs but the last.
    bytes: Vec<u8>,
    /// Behind the last run in `bytes`.
    next: u32,
    /// The run that may go on.
    first: u32,
    run: u32,
    count: u32,
}

impl Gathered {
    /// Adds an ordinal above all before.
    pub(super) fn push(&mut self, ordinal: u32) {
        if self.run == 0 || ordinal != self.first + self.run {
            self.end_run();
            self.first = ordinal;
        }
        self.run += 1;
        self.count += 1;
    }

    /// Appends the encoding to `out`; answers how many ordinals there are.
    pub(super) fn finish(mut self, out: &mut Vec<u8>) -> u32 {
        self.end_run();
        out.extend_from_slice(&self.bytes);
        self.count
    }

    fn end_run(&mut self) {
        let run = std::mem::take(&mut self.run);
        if run == 0 {
            return;
        }
        let gap = u64::from(self.first - self.next);
        if run == 1 {
            put_varint(&mut self.bytes, gap << 1);
        } else {
            put_varint(&mut self.bytes, gap << 1 | 1);
            put_varint(&mut self.bytes, u64::from(run));
        }
        self.next = self.first + run;
    }
}

/// Calls `each` with first ordinal and length of the runs that `bytes` encode: `count` ordinals below `series`.
pub(super) fn decode(
    bytes: &[u8],
    count: u32,
    series: u32,
    mut each: impl FnMut(u32, u32),
) -> Result<(), &'static str> {
    const DAMAGED: &str = "postings";
    let mut cursor = Cursor::new(bytes);
    let (mut next, mut left) = (0u64, u64::from(count));
    while left > 0 {
        let head = cursor.varint(DAMAGED).map_err(|_| DAMAGED)?;
        let run = if head & 1 == 0 { 1 } else { cursor.varint(DAMAGED).map_err(|_| DAMAGED)? };
        let first = next + (head >> 1);
        if run == 0 || run > left || first.checked_add(run).is_none_or(|end| end > u64::from(series)) {
            return Err("postings name a series that is not there");
        }
        each(first as u32, run as u32);
        (next, left) = (first + run, left - run);
    }
    cursor.end(DAMAGED).map_err(|_| "bytes behind postings")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn encode(ordinals: &[u32], out: &mut Vec<u8>) {
        let mut gathered = Gathered::default();
        ordinals.iter().for_each(|&ordinal| gathered.push(ordinal));
        assert_eq!(gathered.finish(out) as usize, ordinals.len());
    }

    fn decoded(bytes: &[u8], count: u32, series: u32) -> Result<Vec<u32>, &'static str> {
        let mut all = Vec::new();
        decode(bytes, count, series, |first, run| all.extend(first..first + run))?;
        Ok(all)
    }

    #[test]
    fn a_run_costs_a_few_bytes_and_a_lone_series_one() {
        let mut out = Vec::new();
        encode(&(100..100_100).collect::<Vec<_>>(), &mut out);
        assert_eq!(out.len(), 2 + 3);
        out.clear();
        encode(&[1, 5, 9], &mut out);
        assert_eq!(out, [2, 6, 6]);
    }

    #[test]
    fn ordinals_that_are_not_there_are_damage() {
        for (bytes, count) in [(&[2u8, 6][..], 3), (&[200, 1], 1), (&[1, 100], 100), (&[1, 0], 1), (&[2, 2], 1)] {
            assert!(decoded(bytes, count, 50).is_err(), "{bytes:?}");
        }
        let mut huge = Vec::new();
        put_varint(&mut huge, u64::MAX);
        put_varint(&mut huge, u64::MAX);
        assert!(decoded(&huge, u32::MAX, 50).is_err());
    }

    proptest! {
        #[test]
        fn any_set_comes_back(ordinals in prop::collection::btree_set(0u32..5000, 0..300)) {
            let sorted: Vec<u32> = ordinals.iter().copied().collect();
            let mut bytes = Vec::new();
            encode(&sorted, &mut bytes);
            prop_assert_eq!(decoded(&bytes, sorted.len() as u32, 5000), Ok(sorted));
        }
    }
}
