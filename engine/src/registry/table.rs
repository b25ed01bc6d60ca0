//! Numbers found by the hash of what they stand for.

/// A hash table of numbers. What a number stands for is elsewhere: the caller compares.
///
/// Eight bytes a place, at least a quarter of the places free. Nothing is removed but by [`Table::remove`].
#[derive(Default)]
pub(super) struct Table {
    /// Hash and number; a power of two of them, or none.
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
        let mask = self.places.len().checked_sub(1)?;
        let mut at = hash as usize & mask;
        loop {
            let place = self.places[at];
            if place.number == FREE {
                return None;
            }
            if place.hash == hash && is_it(place.number) {
                return Some(place.number);
            }
            at = (at + 1) & mask;
        }
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
        let mask = self.places.len() - 1;
        let mut at = place.hash as usize & mask;
        while self.places[at].number != FREE {
            at = (at + 1) & mask;
        }
        self.places[at] = place;
    }

    fn grow(&mut self) {
        let places = vec![Place { hash: 0, number: FREE }; (self.places.len() * 2).max(16)];
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
        for number in 0..10_000 {
            table.insert(number % 97, number);
        }
        assert_eq!(table.len(), 10_000);
        assert!((0..10_000).all(|n| table.find(n % 97, |found| found == n) == Some(n)));
        assert_eq!(table.find(5, |found| found == 10_001), None);
        assert_eq!(table.find(98, |_| true), None);
    }
}
