//! Numbers found by the hash of what they stand for.

use bytemuck::Zeroable;

use super::large;

/// A hash table of numbers. What a number stands for is elsewhere: the caller compares.
///
/// Eight bytes a place, a quarter to a half of the places free: it grows by half. Nothing is removed.
#[derive(Default)]
pub(super) struct Table {
    /// Hash and number. Where a hash belongs is its share of all hashes, so that any number of places will do. Those
    /// behind the first `used` are not touched.
    places: Box<[Place]>,
    used: usize,
    len: usize,
}

/// Zeros are a free place.
#[derive(Clone, Copy, Zeroable)]
struct Place {
    hash: u32,
    /// The number and one.
    after: u32,
}

impl Table {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// The number of that hash for which `is_it` answers yes.
    pub(super) fn find(&self, hash: u32, mut is_it: impl FnMut(u32) -> bool) -> Option<u32> {
        let (before, from) = self.places[..self.used].split_at(self.start(hash));
        for place in from.iter().chain(before) {
            let number = place.after.checked_sub(1)?;
            if place.hash == hash && is_it(number) {
                return Some(number);
            }
        }
        None
    }

    /// Adds a number that is not there, and is not the greatest there is.
    pub(super) fn insert(&mut self, hash: u32, number: u32) {
        if (self.len + 1) * 4 > self.used * 3 {
            self.grow();
        }
        self.put(Place { hash, after: number + 1 });
        self.len += 1;
    }

    fn put(&mut self, place: Place) {
        let start = self.start(place.hash);
        let (before, from) = self.places[..self.used].split_at_mut(start);
        let free = from.iter_mut().chain(before).find(|place| place.after == 0);
        *free.expect("a quarter is free") = place;
    }

    /// Where looking for a hash begins.
    fn start(&self, hash: u32) -> usize {
        ((u64::from(hash) * self.used as u64) >> 32) as usize
    }

    fn grow(&mut self) {
        let used = (self.used / 2 * 3).max(16);
        let old = std::mem::replace(&mut self.places, large::zeroed(used));
        let end = std::mem::replace(&mut self.used, used);
        old[..end].iter().filter(|place| place.after > 0).for_each(|&place| self.put(place));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_found_among_equal_hashes() {
        let mut table = Table::default();
        assert_eq!(table.find(3, |_| true), None);
        for number in 0u32..10_000 {
            table.insert((number % 97).wrapping_mul(0x9e37_79b9), number);
        }
        assert_eq!(table.len(), 10_000);
        let hash = |n: u32| (n % 97).wrapping_mul(0x9e37_79b9);
        assert!((0..10_000).all(|n| table.find(hash(n), |found| found == n) == Some(n)));
        assert_eq!(table.find(hash(5), |found| found == 10_001), None);
        assert!(table.used < 10_000 * 2 && table.used * 3 >= 10_000 * 4, "{}", table.used);
        assert_eq!(table.find(98, |_| true), None);
    }
}
