//! The label sets of a segment's series while it is written: each as what it differs in from the one before.

use super::pieces::{Entries, Pieces};
use crate::chunk::put_varint;

/// Places of a set that are compared with the set before; what lies behind is always written.
const COMPARED: usize = 63;

/// Sets of label numbers, to be read from the beginning.
#[derive(Debug, Default)]
pub(super) struct Sets {
    /// Of each set: how many labels, a bit for each place that differs, and the numbers there.
    pieces: Pieces,
    last: Vec<u32>,
    count: usize,
}

impl Sets {
    pub(super) fn push(&mut self, set: &[u32]) {
        let differs = |&i: &usize| i >= COMPARED || self.last.get(i) != set.get(i);
        let mask = (0..set.len().min(COMPARED)).filter(differs).fold(0u64, |mask, i| mask | 1 << i);
        self.pieces.push(|out| {
            put_varint(out, set.len() as u64);
            put_varint(out, mask);
            (0..set.len()).filter(differs).for_each(|i| put_varint(out, u64::from(set[i])));
        });
        self.last.clear();
        self.last.extend_from_slice(set);
        self.count += 1;
    }

    pub(super) fn len(&self) -> usize {
        self.count
    }

    /// The set pushed last; empty if none was.
    pub(super) fn last(&self) -> &[u32] {
        &self.last
    }

    /// The sets from the first on.
    pub(super) fn read(&self) -> Reader<'_> {
        Reader { entries: self.pieces.entries(), set: Vec::new() }
    }
}

pub(super) struct Reader<'a> {
    entries: Entries<'a>,
    set: Vec<u32>,
}

impl Reader<'_> {
    /// The next set.
    ///
    /// # Panics
    /// Behind the last one.
    pub(super) fn next(&mut self) -> &[u32] {
        let Self { entries, set } = self;
        let entry = entries.next().expect("a set more");
        let mut number = || entry.varint("a label set").expect("written by this process");
        let (len, mask) = (number() as usize, number());
        set.resize(len, 0);
        for (i, place) in set.iter_mut().enumerate() {
            if i >= COMPARED || mask >> i & 1 == 1 {
                *place = number() as u32;
            }
        }
        set
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn sets_come_back_in_order(
            sets in prop::collection::vec(prop_oneof![
                prop::collection::vec(0u32..3, 0..5),
                prop::collection::vec(any::<u32>(), 0..9),
                prop::collection::vec(0u32..2, 60..70),
            ], 0..20),
        ) {
            let mut gathered = Sets::default();
            for set in &sets {
                gathered.push(set);
                prop_assert_eq!(gathered.last(), &set[..]);
            }
            prop_assert_eq!(gathered.len(), sets.len());
            let mut reader = gathered.read();
            for set in &sets {
                prop_assert_eq!(reader.next(), &set[..]);
            }
        }
    }

    #[test]
    fn neighbours_cost_a_few_bytes() {
        let mut sets = Sets::default();
        (0..1_000).for_each(|i| sets.push(&[7, 100 + i / 10, 5_000 + i, 9]));
        assert!(sets.pieces.len() <= 5_000, "{}", sets.pieces.len());
    }
}
