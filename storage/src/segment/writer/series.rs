//! The series of a segment while it is written: what their records cannot be made of later.

use super::pieces::Pieces;
use crate::chunk::{put_signed, put_varint};
use crate::model::SeqNo;

/// Greatest sequence number and first chunk of each series, as what they differ in from those of the one before: some
/// four bytes; the record has 36.
#[derive(Debug, Default)]
pub(super) struct SeriesList {
    pieces: Pieces,
    before: (u64, u32),
    len: usize,
}

impl SeriesList {
    /// Adds a series. First chunks do not descend.
    pub(super) fn push(&mut self, max_seq: SeqNo, first_chunk: u32) {
        let (seq, chunk) = std::mem::replace(&mut self.before, (max_seq.0, first_chunk));
        self.pieces.push(|out| {
            put_signed(out, max_seq.0.wrapping_sub(seq) as i64);
            put_varint(out, u64::from(first_chunk - chunk));
        });
        self.len += 1;
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Greatest sequence number and first chunk of the series, from the first on.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u64, u32)> {
        const WHAT: &str = "put by this process";
        let (mut entries, mut before) = (self.pieces.entries(), (0u64, 0));
        std::iter::from_fn(move || {
            let entry = entries.next()?;
            before.0 = before.0.wrapping_add(entry.signed(WHAT).expect(WHAT) as u64);
            before.1 += entry.varint(WHAT).expect(WHAT) as u32;
            Some(before)
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn series_come_back_in_order(
            series in prop::collection::vec((prop_oneof![any::<u64>(), 5..9u64], prop_oneof![0..3u32, 0..1u32 << 26]), 0..40),
        ) {
            let (mut list, mut first_chunk, mut expected) = (SeriesList::default(), 0, vec![]);
            for (max_seq, chunks) in series {
                first_chunk += chunks;
                list.push(SeqNo(max_seq), first_chunk);
                expected.push((max_seq, first_chunk));
            }
            prop_assert_eq!(list.len(), expected.len());
            prop_assert_eq!(list.iter().collect::<Vec<_>>(), expected);
        }
    }
}
