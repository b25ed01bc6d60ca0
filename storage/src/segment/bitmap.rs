//! A set of series ordinals.

/// One bit for each of a fixed number of ordinals.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Bitmap {
    words: Vec<u64>,
    len: u32,
}

impl Bitmap {
    pub(super) fn empty(len: u32) -> Self {
        Self { words: vec![0; (len as usize).div_ceil(64)], len }
    }

    pub(super) fn full(len: u32) -> Self {
        let mut bitmap = Self::empty(len);
        bitmap.insert_run(0, len);
        bitmap
    }

    /// Adds the ordinals `first .. first + count`, all below the length.
    pub(super) fn insert_run(&mut self, first: u32, count: u32) {
        let (mut at, end) = (first as usize, first as usize + count as usize);
        debug_assert!(end <= self.len as usize);
        while at < end {
            let bits = (64 - at % 64).min(end - at);
            self.words[at / 64] |= (u64::MAX >> (64 - bits)) << (at % 64);
            at += bits;
        }
    }

    /// Keeps what `other` has too.
    pub(super) fn and(&mut self, other: &Self) {
        self.words.iter_mut().zip(&other.words).for_each(|(a, b)| *a &= b);
    }

    /// Drops what `other` has.
    pub(super) fn and_not(&mut self, other: &Self) {
        self.words.iter_mut().zip(&other.words).for_each(|(a, b)| *a &= !b);
    }

    /// The ordinals, ascending.
    pub(super) fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        (0u32..).step_by(64).zip(&self.words).flat_map(|(base, &word)| {
            let mut rest = word;
            std::iter::from_fn(move || {
                let bit = rest.trailing_zeros();
                rest &= rest.wrapping_sub(1);
                (bit < 64).then(|| base + bit)
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_does_what_a_set_does(
            len in 1u32..300,
            a in prop::collection::vec((0u32..300, 0u32..90), 0..6),
            b in prop::collection::vec((0u32..300, 0u32..90), 0..6),
        ) {
            let build = |runs: &[(u32, u32)]| {
                let (mut bitmap, mut set) = (Bitmap::empty(len), BTreeSet::new());
                for &(first, count) in runs {
                    let first = first % len;
                    let count = count.min(len - first);
                    bitmap.insert_run(first, count);
                    set.extend(first..first + count);
                }
                (bitmap, set)
            };
            let ((mut both, set_a), (other, set_b)) = (build(&a), build(&b));
            let mut without = both.clone();
            both.and(&other);
            without.and_not(&other);
            prop_assert_eq!(both.iter().collect::<BTreeSet<_>>(), &set_a & &set_b);
            prop_assert_eq!(without.iter().collect::<BTreeSet<_>>(), &set_a - &set_b);
            prop_assert_eq!(Bitmap::full(len).iter().collect::<Vec<_>>(), (0..len).collect::<Vec<_>>());
        }
    }
}
