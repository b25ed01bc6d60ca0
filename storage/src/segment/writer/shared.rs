//! Which timestamp columns a segment has already, so that equal ones are written once.
//!
//! Series are sorted by name first: between two metrics of a target lie all other targets. So what is remembered of a
//! column has to be small, and what came first has to stay: a store that forgets what it has not seen for long would
//! forget each column shortly before it comes again.

use std::collections::HashMap;

use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::sink::Sink;
use crate::segment::format::TimestampsRecord;

/// Columns remembered, of one segment: what a table of 2²⁰ places of 17 bytes holds. Those that come later are shared
/// only with the series right before.
const COLUMNS_MAX: usize = (1 << 20) / 8 * 7;

/// Bytes of columns that are kept for the comparison. Those of further ones are read back from the file.
const KEPT_BYTES_MAX: usize = 4 << 20;

/// Not among the bytes that are kept.
const NOT_KEPT: u32 = u32::MAX;

#[derive(Debug)]
pub(super) struct SharedColumns {
    /// By hash, of the bytes and how many samples they are: equal bytes may be of unequal length in samples, for a
    /// regular step does not say how many. No hash is trusted: the bytes are compared.
    known: HashMap<u64, Known>,
    /// The first columns, one behind the other.
    kept: Vec<u8>,
    read: Vec<u8>,
    columns_max: usize,
    kept_max: usize,
}

#[derive(Clone, Copy, Debug)]
struct Known {
    column: u32,
    /// Where its bytes are kept.
    at: u32,
}

impl Default for SharedColumns {
    fn default() -> Self {
        Self::bounded(COLUMNS_MAX, KEPT_BYTES_MAX)
    }
}

impl SharedColumns {
    fn bounded(columns_max: usize, kept_max: usize) -> Self {
        Self { known: HashMap::new(), kept: Vec::new(), read: Vec::new(), columns_max, kept_max }
    }

    fn hash(encoded: &[u8], count: u16) -> u64 {
        xxh3_64_with_seed(encoded, count.into())
    }

    /// The number of the column of these bytes and so many samples, if it is remembered. `columns` are those written.
    pub(super) fn find(
        &mut self,
        encoded: &[u8],
        count: u16,
        columns: &[TimestampsRecord],
        sink: &Sink,
    ) -> Option<u32> {
        let &Known { column, at } = self.known.get(&Self::hash(encoded, count))?;
        let record = &columns[column as usize];
        if record.count != count || usize::from(record.len) != encoded.len() {
            return None;
        }
        let same = if at == NOT_KEPT {
            self.read.resize(encoded.len(), 0);
            // What cannot be read is written once more.
            sink.read_back(record.offset, &mut self.read).is_ok() && self.read == encoded
        } else {
            self.kept[at as usize..][..encoded.len()] == *encoded
        };
        same.then_some(column)
    }

    /// Remembers a column that is written: `column` is its number.
    pub(super) fn insert(&mut self, encoded: &[u8], count: u16, column: u32) {
        if self.known.len() >= self.columns_max {
            return;
        }
        let mut at = NOT_KEPT;
        if self.kept.len() + encoded.len() <= self.kept_max {
            at = self.kept.len() as u32;
            self.kept.extend_from_slice(encoded);
        }
        self.known.insert(Self::hash(encoded, count), Known { column, at });
    }
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;
    use crate::fs::{Fs, MemFs};

    /// Writes each column that is not found, and answers the numbers that stand for them.
    fn numbers(shared: &mut SharedColumns, columns: &[(Vec<u8>, u16)]) -> Vec<u32> {
        let file = MemFs::new().create(Path::new("s")).unwrap();
        let (mut sink, mut records) = (Sink::new(Arc::clone(&file), PathBuf::from("s")), Vec::new());
        let mut number = |(encoded, count): &(Vec<u8>, u16)| {
            if let Some(found) = shared.find(encoded, *count, &records, &sink) {
                return found;
            }
            let column = records.len() as u32;
            let (offset, len) = (sink.offset(), encoded.len() as u16);
            records.push(TimestampsRecord { first: 0, last: 0, offset, crc: 0, len, count: *count });
            sink.write(encoded).unwrap();
            shared.insert(encoded, *count, column);
            column
        };
        columns.iter().map(&mut number).collect()
    }

    proptest! {
        /// Whatever is kept in memory, in the sink, or read back: the number is that of the first such column, as a map
        /// from bytes has it.
        #[test]
        fn a_column_is_found_where_a_map_from_its_bytes_finds_it(
            columns in prop::collection::vec((0u8..12, prop_oneof![Just(3usize), Just(3_000), Just(60_000)], 1u16..3), 0..120),
            kept_max in prop_oneof![Just(0usize), Just(5_000), Just(1 << 20)],
        ) {
            let columns: Vec<_> = columns.into_iter().map(|(byte, len, count)| (vec![byte; len], count)).collect();
            let (mut twin, mut expected) = (HashMap::new(), Vec::new());
            for column in &columns {
                let next = twin.len() as u32;
                expected.push(*twin.entry(column).or_insert(next));
            }
            prop_assert_eq!(numbers(&mut SharedColumns::bounded(COLUMNS_MAX, kept_max), &columns), expected);
        }
    }

    /// What came first stays: of columns that come round and round as many are shared as are remembered.
    #[test]
    fn beyond_the_bound_the_first_are_still_shared() {
        let round: Vec<_> = (0..10u8).map(|byte| (vec![byte; 9], 1)).collect();
        let mut shared = SharedColumns::bounded(6, 30);
        let second = numbers(&mut shared, &[&round[..], &round[..]].concat()).split_off(10);
        assert_eq!(second, [0, 1, 2, 3, 4, 5, 10, 11, 12, 13]);
        assert_eq!((shared.known.len(), shared.kept.len()), (6, 27));
    }

    /// Two columns of one hash stay two.
    #[test]
    fn no_hash_is_trusted() {
        for kept_max in [0, 100] {
            let mut shared = SharedColumns::bounded(10, kept_max);
            let (one, other) = ((vec![1; 9], 1), (vec![2; 9], 1));
            assert_eq!(numbers(&mut shared, std::slice::from_ref(&one)), [0]);
            let known = shared.known[&SharedColumns::hash(&one.0, 1)];
            shared.known.insert(SharedColumns::hash(&other.0, 1), known);
            let file = MemFs::new().create(Path::new("s")).unwrap();
            let mut sink = Sink::new(file, PathBuf::from("s"));
            sink.write(&one.0).unwrap();
            let record = TimestampsRecord { first: 0, last: 0, offset: 0, crc: 0, len: 9, count: 1 };
            assert_eq!(shared.find(&one.0, 1, &[record], &sink), Some(0));
            assert_eq!(shared.find(&other.0, 1, &[record], &sink), None);
        }
    }

    /// K6: some 20 to 40 bytes a column, and 18 MB for as many as are remembered.
    #[test]
    fn k6_a_place_of_the_table_is_seventeen_bytes() {
        assert_eq!(size_of::<(u64, Known)>() + 1, 17);
        assert!(HashMap::<u64, Known>::with_capacity(COLUMNS_MAX).capacity() == COLUMNS_MAX);
    }
}
