//! Count and order-independent checksum of samples.
//!
//! What was generated and what is read back come in different orders, so each sample is
//! hashed with its labels and the hashes are added up: equal sets of samples give equal
//! sums, and a lost, doubled, moved or altered sample changes the sum (but for one chance
//! in 2⁶⁴).

use crate::rng::{GOLDEN, mix64};

/// How many samples there were, and the sum of their hashes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Checksum {
    /// Samples.
    pub count: u64,
    /// Wrapping sum of [`hash_sample`] over them.
    pub sum: u64,
}

impl Checksum {
    /// Adds one sample of the series whose labels hash to `labels`.
    pub fn add(&mut self, labels: LabelsHash, timestamp_ns: i64, value: f64) {
        self.count += 1;
        self.sum = self.sum.wrapping_add(hash_sample(labels, timestamp_ns, value));
    }

    /// Adds all samples of one series, given as columns.
    pub fn add_columns(&mut self, labels: LabelsHash, timestamps_ns: &[i64], values: &[f64]) {
        for (&at, &value) in timestamps_ns.iter().zip(values) {
            self.add(labels, at, value);
        }
    }

    /// Adds what another checksum has seen.
    pub fn merge(&mut self, other: Self) {
        self.count += other.count;
        self.sum = self.sum.wrapping_add(other.sum);
    }
}

/// The hash of a label set; see [`hash_labels`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LabelsHash(u64);

/// FNV-1a over names and values. `pairs` must come with names ascending.
#[must_use]
pub fn hash_labels<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> LabelsHash {
    let mut hash = 0xcbf2_9ce4_8422_2325u64;
    // 0xff ends each text: it occurs in no UTF-8.
    let mut eat = |text: &str| {
        for byte in text.bytes().chain([0xff]) {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    };
    for (name, value) in pairs {
        eat(name);
        eat(value);
    }
    LabelsHash(mix64(hash))
}

/// Hash of one sample: every bit of labels, timestamp and value counts.
#[must_use]
pub fn hash_sample(labels: LabelsHash, timestamp_ns: i64, value: f64) -> u64 {
    let at = mix64((timestamp_ns as u64).wrapping_mul(GOLDEN) ^ labels.0);
    mix64(at.wrapping_add(value.to_bits()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(host: &str) -> LabelsHash {
        hash_labels([("__name__", "up"), ("host", host)])
    }

    fn of(samples: &[(&str, i64, f64)]) -> Checksum {
        let mut sum = Checksum::default();
        samples.iter().for_each(|&(host, at, value)| sum.add(labels(host), at, value));
        sum
    }

    #[test]
    fn order_does_not_count_and_everything_else_does() {
        let all = [("a", 1, 1.0), ("a", 2, 1.0), ("b", 1, 2.0)];
        let sum = of(&all);
        assert_eq!(sum, of(&[all[2], all[0], all[1]]));
        assert_ne!(sum, of(&all[..2]), "lost");
        assert_ne!(sum, of(&[all[0], all[1], all[1]]), "one lost, one doubled");
        assert_ne!(sum, of(&[("a", 1, 1.0), ("a", 2, 2.0), ("b", 1, 1.0)]), "values swapped between series");
        assert_ne!(sum, of(&[("a", 1, 1.0), ("a", 3, 1.0), ("b", 1, 2.0)]), "moved in time");
        assert_ne!(of(&[("a", 1, 0.0)]), of(&[("a", 1, -0.0)]), "the bits of the value");
        assert_ne!(of(&[("a", 1, f64::NAN)]), of(&[("a", 1, -f64::NAN)]), "the bits of NaN");
    }

    #[test]
    fn columns_and_parts_add_up_to_the_whole() {
        let mut parts = Checksum::default();
        parts.add_columns(labels("a"), &[1, 2], &[1.0, 1.0]);
        parts.merge(of(&[("b", 1, 2.0)]));
        assert_eq!(parts, of(&[("a", 1, 1.0), ("a", 2, 1.0), ("b", 1, 2.0)]));
    }

    #[test]
    fn label_texts_do_not_run_into_each_other() {
        assert_ne!(hash_labels([("a", "bc")]), hash_labels([("ab", "c")]));
        assert_ne!(hash_labels([("a", "b"), ("c", "d")]), hash_labels([("a", "bcd")]));
    }
}
