//! Damaged places of one file, each told once however much of the file leads to it.

use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};

use crate::source::ReadError;

/// So many are remembered, so that they are not counted again.
const REMEMBERED_MOST: usize = 1 << 16;

/// What is wrong with a file, as far as it was looked at.
///
/// Bounded: beyond the first [`MOST`](Self::MOST) places the others are only counted.
#[derive(Debug, Default)]
pub struct DamagedPlaces {
    places: Vec<ReadError>,
    further: u64,
    /// Hashes of what was told.
    told: HashSet<u64>,
    hasher: RandomState,
}

impl DamagedPlaces {
    /// So many places of a file are named.
    pub const MOST: usize = 1_000;

    /// Notes a place, unless it is known: a column that many series share is one. Of a file of a later release one line
    /// is enough.
    pub fn note(&mut self, error: ReadError) {
        let hash = match &error {
            ReadError::Corrupt { offset, what, .. } => self.hasher.hash_one((offset, what)),
            other => self.hasher.hash_one(other.to_string()),
        };
        if self.told.contains(&hash) {
            return;
        }
        if self.told.len() < REMEMBERED_MOST {
            self.told.insert(hash);
        }
        if self.places.len() < Self::MOST {
            self.places.push(error);
        } else {
            self.further += 1;
        }
    }

    /// Whether nothing is wrong.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// The first of them, in the order in which the file is read.
    #[must_use]
    pub fn places(&self) -> &[ReadError] {
        &self.places
    }

    /// The same to keep, and how many more there are.
    #[must_use]
    pub fn into_parts(self) -> (Vec<ReadError>, u64) {
        (self.places, self.further)
    }

    /// How many more there are. Beyond 65,536 places one that many chunks share may count more than once.
    #[must_use]
    pub fn further(&self) -> u64 {
        self.further
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_told_again_is_one_and_those_beyond_the_bound_are_counted() {
        let corrupt = |offset, what: &str| ReadError::Corrupt { file: "a".into(), offset, what: what.to_owned() };
        let mut found = DamagedPlaces::default();
        assert!(found.is_empty());
        for _ in 0..2 {
            for offset in 0..DamagedPlaces::MOST as u64 + 50 {
                found.note(corrupt(offset, "one"));
            }
        }
        assert_eq!((found.places().len(), found.further()), (DamagedPlaces::MOST, 50));
        found.note(corrupt(0, "another"));
        assert_eq!(found.further(), 51, "two things may be wrong at one place");
        let newer = |found| ReadError::TooNew { file: "a".into(), found, supported: 2 };
        (0..3).for_each(|_| found.note(newer(3)));
        assert_eq!(found.further(), 52);
    }
}
