//! Memory that grows without moving: filled by one thread at a time, read by anyone without a lock.

use std::sync::OnceLock;

use crate::sync::atomic::{AtomicU32, Ordering};

/// Words of a piece of a [`Ragged`].
const PIECE_WORDS: usize = 1 << 10;

/// Up to a fixed number of lists of words, in one memory.
///
/// One thread at a time fills it; whoever was told of a list, by anything that orders, reads it whole.
pub(super) struct Ragged {
    /// Where each list ends; it begins where the one before does.
    ends: Box<[AtomicU32]>,
    pieces: Grow<Box<[AtomicU32]>>,
}

impl Ragged {
    pub(super) fn new(lists: usize) -> Self {
        Self { ends: (0..lists).map(|_| AtomicU32::new(0)).collect(), pieces: Grow::new() }
    }

    /// Sets list `index`, the next one. Not for two threads at once.
    pub(super) fn push(&self, index: usize, words: impl Iterator<Item = u32>) {
        let mut at = self.start(index);
        for word in words {
            let zeroed = || (0..PIECE_WORDS).map(|_| AtomicU32::new(0)).collect();
            let piece = self.pieces.get_or_init(at / PIECE_WORDS as u32, zeroed);
            // Relaxed: published by the end below.
            piece[at as usize % PIECE_WORDS].store(word, Ordering::Relaxed);
            at += 1;
        }
        // Release: pairs with the Acquire in `get`.
        self.ends[index].store(at, Ordering::Release);
    }

    /// The words of a list that was set. An empty one if it was not.
    pub(super) fn get(&self, index: usize) -> impl Iterator<Item = u32> + '_ {
        // Acquire: the words came before.
        let end = self.ends[index].load(Ordering::Acquire);
        let start = self.start(index).min(end);
        (start..end).map(|at| {
            let piece = self.pieces.get(at / PIECE_WORDS as u32);
            // Relaxed: ordered by the end.
            piece.map_or(0, |words| words[at as usize % PIECE_WORDS].load(Ordering::Relaxed))
        })
    }

    fn start(&self, index: usize) -> u32 {
        index.checked_sub(1).map_or(0, |before| self.ends[before].load(Ordering::Acquire))
    }
}

/// Places of the first piece of a [`Grow`]; each later one is twice as long.
const FIRST_PLACES: usize = 8;
const PIECES: usize = 20;

/// What is made once by index, and read without a lock. Indices are below [`Grow::END`].
pub(super) struct Grow<T> {
    pieces: [OnceLock<Box<[OnceLock<T>]>>; PIECES],
}

impl<T> Grow<T> {
    /// Behind the last index.
    pub(super) const END: u32 = ((FIRST_PLACES << PIECES) - FIRST_PLACES) as u32;

    pub(super) fn new() -> Self {
        Self { pieces: [const { OnceLock::new() }; PIECES] }
    }

    pub(super) fn get(&self, index: u32) -> Option<&T> {
        let (piece, offset) = place(index);
        self.pieces.get(piece)?.get()?[offset].get()
    }

    /// # Panics
    /// If `index` is not below [`Self::END`].
    pub(super) fn get_or_init(&self, index: u32, make: impl FnOnce() -> T) -> &T {
        let (piece, offset) = place(index);
        let empty = || (0..FIRST_PLACES << piece).map(|_| OnceLock::new()).collect();
        self.pieces[piece].get_or_init(empty)[offset].get_or_init(make)
    }
}

/// Piece and offset of an index.
#[inline]
fn place(index: u32) -> (usize, usize) {
    let shifted = index as usize + FIRST_PLACES;
    let piece = (shifted.ilog2() - FIRST_PLACES.ilog2()) as usize;
    (piece, shifted - (FIRST_PLACES << piece))
}

/// Bytes as words: their number, then four a word.
pub(super) fn words_of(bytes: &[u8]) -> impl Iterator<Item = u32> + '_ {
    let four = |part: &[u8]| {
        let mut word = [0; 4];
        word[..part.len()].copy_from_slice(part);
        u32::from_le_bytes(word)
    };
    std::iter::once(bytes.len() as u32).chain(bytes.chunks(4).map(four))
}

/// Appends the bytes of words to `out`.
pub(super) fn bytes_of(mut words: impl Iterator<Item = u32>, out: &mut Vec<u8>) {
    let len = words.next().unwrap_or(0) as usize;
    let end = out.len() + len;
    words.for_each(|word| out.extend_from_slice(&word.to_le_bytes()));
    out.truncate(end);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_dense_and_pieces_double() {
        assert_eq!([0, 7, 8, 23, 24].map(place), [(0, 0), (0, 7), (1, 0), (1, 15), (2, 0)]);
        assert_eq!(place(Grow::<u8>::END - 1), (PIECES - 1, (FIRST_PLACES << (PIECES - 1)) - 1));
        let grow = Grow::new();
        (0..100).for_each(|i| assert_eq!(*grow.get_or_init(i, || i), i));
        assert_eq!((grow.get(99), grow.get(100), grow.get(u32::MAX)), (Some(&99), None, None));
    }

    #[test]
    fn lists_come_back_while_others_are_added() {
        let lists: Vec<Vec<u32>> = (0..900u32).map(|i| (0..i % 17).map(|k| i * 100 + k).collect()).collect();
        let ragged = Ragged::new(lists.len());
        for (i, list) in lists.iter().enumerate() {
            ragged.push(i, list.iter().copied());
            assert!(ragged.get(i / 2).eq(lists[i / 2].iter().copied()));
        }
        assert!((0..lists.len()).all(|i| ragged.get(i).eq(lists[i].iter().copied())));
    }

    #[test]
    fn bytes_of_any_length_come_back() {
        for len in 0..40 {
            let bytes: Vec<u8> = (0..len).collect();
            let mut back = vec![7];
            bytes_of(words_of(&bytes), &mut back);
            assert_eq!((back[0], &back[1..]), (7, &bytes[..]));
        }
    }
}
