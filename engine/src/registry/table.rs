//! Numbers found by the hash of what they stand for.

/// A hash table of numbers. What a number stands for is elsewhere: the caller compares.
///
/// Eight bytes a place, a quarter to a half of the places free: it grows by half. Nothing is removed.
#[derive(Default)]
pub(super) struct Table {
    /// Hash and number. Where a hash belongs is its share of all hashes, so that any number of places will do.
    places: Box<[Place]>,
    len: usize,
}

#[derive(Clone, Copy)]
struct Place {
    hash: u32,
    number: u32,
}

/// No number is this.
const FREE: u32 = u32::MAX;

impl Table {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// The number of that hash for which `is_it` answers yes.
    pub(super) fn find(&self, hash: u32, mut is_it: impl FnMut(u32) -> bool) -> Option<u32> {
        let (before, from) = self.places.split_at(self.start(hash));
        for place in from.iter().chain(before) {
            if place.number == FREE {
                return None;
            }
            if place.hash == hash && is_it(place.number) {
                return Some(place.number);
            }
        }
        None
    }

    /// Adds a number that is not there.
    pub(super) fn insert(&mut self, hash: u32, number: u32) {
        debug_assert_ne!(number, FREE, "marks a free place");
        if (self.len + 1) * 4 > self.places.len() * 3 {
            self.grow();
        }
        self.put(Place { hash, number });
        self.len += 1;
    }

    fn put(&mut self, place: Place) {
        let start = self.start(place.hash);
        let (before, from) = self.places.split_at_mut(start);
        let free = from.iter_mut().chain(before).find(|place| place.number == FREE);
        *free.expect("a quarter is free") = place;
    }

    /// Where looking for a hash begins.
    fn start(&self, hash: u32) -> usize {
        ((u64::from(hash) * self.places.len() as u64) >> 32) as usize
    }

    fn grow(&mut self) {
        let places = vec![Place { hash: 0, number: FREE }; (self.places.len() / 2 * 3).max(16)];
        let old = std::mem::replace(&mut self.places, places.into());
        old.into_iter().filter(|place| place.number != FREE).for_each(|place| self.put(place));
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
        assert!(table.places.len() < 10_000 * 2 && table.places.len() * 3 >= 10_000 * 4, "{}", table.places.len());
        assert_eq!(table.find(98, |_| true), None);
    }
}
