//! Sums that keep what rounding would lose.

use tidegauge_storage::lanes::{self, LANES};

/// Sums run side by side. Which of them a sample goes to depends on its place in the window alone.
const WIDTH: usize = LANES;

/// A sum and what its roundings lost so far.
#[derive(Clone, Copy, Debug, Default)]
pub(in super::super) struct Compensated {
    sum: f64,
    lost: f64,
}

impl Compensated {
    /// A sum that another has made, and what it lost.
    pub(super) fn of(sum: f64, lost: f64) -> Self {
        Self { sum, lost }
    }

    pub(super) fn add(&mut self, value: f64) {
        two_sum(&mut self.sum, &mut self.lost, value);
    }

    pub(super) fn join(&mut self, other: &Self) {
        self.add(other.sum);
        self.lost += other.lost;
    }

    /// The sum. What was lost is no number once the sum is infinite, and does not matter then.
    pub(super) fn value(&self) -> f64 {
        if self.sum.is_finite() { self.sum + self.lost } else { self.sum }
    }
}

/// A compensated sum of one window's values.
#[derive(Default)]
pub(super) struct WideSum {
    sums: [f64; WIDTH],
    lost: [f64; WIDTH],
    count: u64,
}

impl WideSum {
    pub(super) fn add(&mut self, values: &[f64]) {
        let phase = (self.count % WIDTH as u64) as usize;
        let until_even = if phase == 0 { 0 } else { (WIDTH - phase).min(values.len()) };
        let (head, rest) = values.split_at(until_even);
        let (whole, tail) = rest.as_chunks::<WIDTH>();
        self.add_some(phase, head);
        if !whole.is_empty() {
            lanes::add_compensated(&mut self.sums, &mut self.lost, whole);
        }
        self.add_some(0, tail);
        self.count += values.len() as u64;
    }

    fn add_some(&mut self, phase: usize, values: &[f64]) {
        for ((sum, lost), &value) in self.sums[phase..].iter_mut().zip(&mut self.lost[phase..]).zip(values) {
            two_sum(sum, lost, value);
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The sum and the count of what was added since the last call.
    pub(super) fn finish(&mut self) -> (Compensated, u64) {
        let used = self.count.min(WIDTH as u64) as usize;
        let mut total = Compensated::default();
        for (&sum, &lost) in self.sums.iter().zip(&self.lost).take(used) {
            total.join(&Compensated { sum, lost });
        }
        (total, std::mem::take(self).count)
    }
}

/// Adds a value to a sum, and what rounding lost to `lost`. Neumaier compares to find out
/// which of the two lost its end; Knuth's two-sum finds the same without a branch.
#[inline(always)]
fn two_sum(sum: &mut f64, lost: &mut f64, value: f64) {
    let before = *sum;
    *sum = before + value;
    let part = *sum - before;
    *lost += (before - (*sum - part)) + (value - part);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sum(values: &[f64]) -> f64 {
        let mut wide = WideSum::default();
        wide.add(values);
        wide.finish().0.value()
    }

    #[test]
    fn small_values_are_not_lost_beside_great_ones() {
        assert_eq!(sum(&[1.0, 1e100, 1.0, -1e100]), 2.0);
        let mut many = vec![1e16];
        many.extend([1.0; 1000]);
        many.push(-1e16);
        assert_eq!(sum(&many), 1000.0);
    }

    #[test]
    fn infinities_and_nan_come_through() {
        assert_eq!(sum(&[1.0, f64::INFINITY, 2.0]), f64::INFINITY);
        assert_eq!(sum(&[f64::MAX, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, f64::MAX]), f64::INFINITY);
        assert!(sum(&[f64::NEG_INFINITY, 1.0, f64::INFINITY]).is_nan());
        assert!(sum(&[1.0, f64::NAN]).is_nan());
    }

    proptest! {
        #[test]
        fn how_the_values_were_cut_does_not_change_a_bit(
            values in prop::collection::vec(-1e9..1e9f64, 0..80), cuts in prop::collection::vec(1..20usize, 1..5),
        ) {
            let mut wide = WideSum::default();
            let mut rest = &values[..];
            for cut in cuts.iter().cycle() {
                let (now, later) = rest.split_at((*cut).min(rest.len()));
                wide.add(now);
                rest = later;
                if rest.is_empty() { break }
            }
            let (total, count) = wide.finish();
            prop_assert_eq!(count, values.len() as u64);
            prop_assert_eq!(total.value().to_bits(), sum(&values).to_bits());
            prop_assert_eq!(wide.finish().0.value(), 0.0);
        }

        #[test]
        fn integers_sum_exactly(values in prop::collection::vec(-(1i64 << 50)..1 << 50, 0..100)) {
            let floats: Vec<f64> = values.iter().map(|&v| v as f64).collect();
            prop_assert_eq!(sum(&floats), values.iter().map(|&v| i128::from(v)).sum::<i128>() as f64);
        }
    }
}
