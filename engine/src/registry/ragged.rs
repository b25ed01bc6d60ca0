//! Lists of words in one memory that grows without moving: filled by one thread at a time, read by anyone without a lock.

use super::large::Blocks;
use crate::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// Words there may be in one memory.
const WORDS_MAX: usize = u32::MAX as usize;

/// Lists of words.
///
/// One thread at a time fills it; whoever was told of a list, by anything that orders, reads it whole.
pub(super) struct Ragged {
    /// Where each list ends; it begins where the one before does.
    ends: Blocks<AtomicU32>,
    words: Words,
}

impl Ragged {
    /// Behind the last list there may be.
    pub(super) const END: usize = u32::MAX as usize;

    pub(super) fn new() -> Self {
        Self { ends: Blocks::new(Self::END), words: Words::new() }
    }

    /// Sets list `index`, the next one. Not for two threads at once.
    ///
    /// # Panics
    /// If there [is no room](Self::has_room).
    pub(super) fn push(&self, index: usize, words: impl Iterator<Item = u32>) {
        let end = self.words.fill(self.start(index), words);
        // Release: pairs with the Acquire in `end`.
        self.ends.make(index).store(end, Ordering::Release);
    }

    /// The words of a list that was set. An empty one if it was not.
    pub(super) fn get(&self, index: usize) -> impl Iterator<Item = u32> + '_ {
        let end = self.end(index);
        self.words.get(self.start(index).min(end), end)
    }

    /// Whether `lists` more of so many `words` in all fit behind `len` lists.
    pub(super) fn has_room(&self, len: usize, lists: usize, words: usize) -> bool {
        len + lists <= Self::END && self.start(len) as usize + words <= WORDS_MAX
    }

    /// Bytes of the first `len` lists.
    pub(super) fn bytes(&self, len: usize) -> u64 {
        u64::from(self.start(len)) * size_of::<u32>() as u64
    }

    fn start(&self, index: usize) -> u32 {
        index.checked_sub(1).map_or(0, |before| self.end(before))
    }

    fn end(&self, index: usize) -> u32 {
        // Acquire: the words came before.
        self.ends.get(index).map_or(0, |end| end.load(Ordering::Acquire))
    }
}

/// As [`Ragged`], but filled in any order: each list once. Four bytes more a list.
pub(super) struct Scattered {
    /// Behind each list, and where it begins; 0 of one that is not set.
    places: Blocks<AtomicU64>,
    words: Words,
    used: AtomicU32,
}

impl Scattered {
    pub(super) fn new(lists: usize) -> Self {
        Self { places: Blocks::new(lists), words: Words::new(), used: AtomicU32::new(0) }
    }

    /// Sets list `index`, which is not set. Not for two threads at once.
    ///
    /// # Panics
    /// If there [is no room](Self::has_room).
    pub(super) fn set(&self, index: usize, words: impl Iterator<Item = u32>) {
        // Relaxed: one thread at a time, ordered by whatever lets it.
        let start = self.used.load(Ordering::Relaxed);
        let end = self.words.fill(start, words);
        self.used.store(end, Ordering::Relaxed);
        // Release: pairs with the Acquire in `place`.
        self.places.make(index).store(u64::from(end) << 32 | u64::from(start), Ordering::Release);
    }

    /// The words of a list that was set. An empty one if it was not.
    pub(super) fn get(&self, index: usize) -> impl Iterator<Item = u32> + '_ {
        let place = self.place(index);
        self.words.get(place as u32, (place >> 32) as u32)
    }

    /// Whether a list was set, and is not empty.
    pub(super) fn is_set(&self, index: usize) -> bool {
        self.place(index) > 0
    }

    /// Whether so many words more fit.
    pub(super) fn has_room(&self, words: usize) -> bool {
        self.used.load(Ordering::Relaxed) as usize + words <= WORDS_MAX
    }

    fn place(&self, index: usize) -> u64 {
        // Acquire: the words came before.
        self.places.get(index).map_or(0, |place| place.load(Ordering::Acquire))
    }
}

/// What lists consist of.
struct Words(Blocks<AtomicU32>);

impl Words {
    fn new() -> Self {
        Self(Blocks::new(WORDS_MAX))
    }

    /// Writes words from `at` on; answers where they end. They are published by the caller.
    fn fill(&self, mut at: u32, words: impl Iterator<Item = u32>) -> u32 {
        for word in words {
            // Relaxed: published by the caller.
            self.0.make(at as usize).store(word, Ordering::Relaxed);
            at += 1;
        }
        at
    }

    fn get(&self, start: u32, end: u32) -> impl Iterator<Item = u32> + '_ {
        // Relaxed: ordered by where the list ends.
        (start..end).map(|at| self.0.get(at as usize).map_or(0, |word| word.load(Ordering::Relaxed)))
    }
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
    fn lists_come_back_while_others_are_added() {
        let lists: Vec<Vec<u32>> = (0..900u32).map(|i| (0..i % 17).map(|k| i * 100 + k).collect()).collect();
        let ragged = Ragged::new();
        for (i, list) in lists.iter().enumerate() {
            ragged.push(i, list.iter().copied());
            assert!(ragged.get(i / 2).eq(lists[i / 2].iter().copied()));
        }
        assert!((0..lists.len()).all(|i| ragged.get(i).eq(lists[i].iter().copied())));
    }

    #[test]
    fn lists_set_in_any_order_come_back() {
        let lists: Vec<Vec<u32>> = (0..700u32).map(|i| (0..i % 13).map(|k| i * 100 + k).collect()).collect();
        let scattered = Scattered::new(lists.len());
        for i in (0..lists.len()).map(|i| i * 461 % lists.len()) {
            assert!(scattered.get(i).count() == 0 && !scattered.is_set(i));
            scattered.set(i, lists[i].iter().copied());
            assert!(scattered.get(i).eq(lists[i].iter().copied()));
        }
        assert!((0..lists.len()).all(|i| scattered.get(i).eq(lists[i].iter().copied())));
    }

    #[test]
    fn what_does_not_fit_is_known_before() {
        let (ragged, scattered) = (Ragged::new(), Scattered::new(9));
        ragged.push(0, 0..10);
        assert!(ragged.has_room(1, 1, WORDS_MAX - 10) && !ragged.has_room(1, 1, WORDS_MAX - 9));
        assert!(ragged.has_room(1, Ragged::END - 1, 0) && !ragged.has_room(1, Ragged::END, 0));
        scattered.set(8, 0..10);
        assert!(scattered.has_room(WORDS_MAX - 10) && !scattered.has_room(WORDS_MAX - 9));
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
