//! Bytes that are only added to, entry by entry.

use std::array;
use std::iter::Chain;
use std::slice;

use crate::chunk::Cursor;

/// The first piece has room for so many bytes.
const FIRST_BYTES: usize = 128 << 10;
/// Any other: above what malloc keeps for itself (glibc: 32 MiB). Such a piece is mapped alone, takes the memory that is
/// written to, and leaves when it is dropped; what lay among smaller ones would stay with the allocator.
const PIECE_BYTES: usize = 33 << 20;
/// An entry of this length still goes to the piece that was begun.
const ENTRY_BYTES: usize = 1 << 10;

/// Entries in pieces that are not moved as they grow.
#[derive(Debug, Default)]
pub(super) struct Pieces {
    full: Vec<Vec<u8>>,
    last: Vec<u8>,
}

impl Pieces {
    /// Adds an entry, which `put` appends: it lies in one piece.
    pub(super) fn push(&mut self, put: impl FnOnce(&mut Vec<u8>)) {
        let room = if self.full.is_empty() { FIRST_BYTES } else { PIECE_BYTES };
        if self.last.len() > room - ENTRY_BYTES {
            self.full.push(std::mem::replace(&mut self.last, Vec::with_capacity(PIECE_BYTES)));
        }
        put(&mut self.last);
    }

    /// The entries from the first on.
    pub(super) fn entries(&self) -> Entries<'_> {
        Entries { pieces: self.full.iter().chain([&self.last]), piece: Cursor::new(&[]) }
    }

    /// Bytes of all entries.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.full.iter().chain([&self.last]).map(Vec::len).sum()
    }
}

/// Where a reading of [`Pieces`] stands.
#[derive(Debug)]
pub(super) struct Entries<'a> {
    pieces: Chain<slice::Iter<'a, Vec<u8>>, array::IntoIter<&'a Vec<u8>, 1>>,
    piece: Cursor<'a>,
}

impl<'a> Entries<'a> {
    /// Stands at the next entry, which the caller takes from what is answered; `None` behind the last one. Empty
    /// entries are none.
    pub(super) fn next(&mut self) -> Option<&mut Cursor<'a>> {
        while self.piece.rest().is_empty() {
            self.piece = Cursor::new(self.pieces.next()?);
        }
        Some(&mut self.piece)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_come_back_in_order_and_none_is_cut() {
        let mut pieces = Pieces::default();
        let entry = |i: usize| vec![i as u8; if i == 700 { PIECE_BYTES + 9 } else { 1 + i % 1_500 }];
        (0..2_000).for_each(|i| pieces.push(|out| out.extend(entry(i))));
        let mut entries = pieces.entries();
        for i in 0..2_000 {
            let expected = entry(i);
            assert_eq!(entries.next().unwrap().take(expected.len(), "an entry").unwrap(), expected, "{i}");
        }
        assert!(entries.next().is_none());
        assert_eq!(pieces.full.len(), 2, "a small one, and one that an entry made longer");
        assert_eq!(pieces.len(), (0..2_000).map(|i| entry(i).len()).sum::<usize>());
    }
}
