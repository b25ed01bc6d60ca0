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
///
/// Great values of either sign may be too many for a lane where they are not for one sum in order, as statistics have
/// it. So from the value on that makes a lane infinite, which does not depend on how the values were cut, it goes on as
/// one sum.
#[derive(Default)]
pub(super) struct WideSum {
    sums: [f64; WIDTH],
    lost: [f64; WIDTH],
    count: u64,
    in_order: Option<Compensated>,
}

impl WideSum {
    pub(super) fn add(&mut self, values: &[f64]) {
        let before = (self.sums, self.lost);
        if self.in_order.is_none() {
            self.add_to_lanes(values);
            if self.sums.iter().all(|sum| sum.is_finite()) {
                self.count += values.len() as u64;
                return;
            }
            (self.sums, self.lost) = before;
        }
        self.add_one_by_one(values);
    }

    fn add_to_lanes(&mut self, values: &[f64]) {
        let phase = (self.count % WIDTH as u64) as usize;
        let until_even = if phase == 0 { 0 } else { (WIDTH - phase).min(values.len()) };
        let (head, rest) = values.split_at(until_even);
        let (whole, tail) = rest.as_chunks::<WIDTH>();
        self.add_some(phase, head);
        if !whole.is_empty() {
            lanes::add_compensated(&mut self.sums, &mut self.lost, whole);
        }
        self.add_some(0, tail);
    }

    #[cold]
    fn add_one_by_one(&mut self, values: &[f64]) {
        for &value in values {
            let mut total = match self.in_order {
                Some(total) => total,
                None => {
                    let lane = (self.count % WIDTH as u64) as usize;
                    let (mut sum, mut lost) = (self.sums[lane], self.lost[lane]);
                    two_sum(&mut sum, &mut lost, value);
                    if sum.is_finite() {
                        (self.sums[lane], self.lost[lane]) = (sum, lost);
                        self.count += 1;
                        continue;
                    }
                    self.of_lanes()
                }
            };
            // No finite value makes an infinite sum finite, or no number.
            if total.sum.is_finite() || !value.is_finite() {
                total.add(value);
            }
            self.in_order = Some(total);
            self.count += 1;
        }
    }

    fn of_lanes(&self) -> Compensated {
        let used = self.count.min(WIDTH as u64) as usize;
        let lanes = || self.sums[..used].iter().zip(&self.lost).map(|(&sum, &lost)| Compensated { sum, lost });
        let mut total = Compensated::default();
        lanes().for_each(|lane| total.join(&lane));
        if total.sum.is_finite() || !self.sums.iter().all(|sum| sum.is_finite()) {
            return total;
        }
        // Great lanes of either sign: each next to one of the other sign, their sum is infinite only if all of it is.
        let (mut above, mut below): (Vec<_>, Vec<_>) = lanes().partition(|lane| lane.sum > 0.0);
        let mut total = Compensated::default();
        let next = |sum: f64, above: &mut Vec<_>, below: &mut Vec<_>| {
            if sum > 0.0 { below.pop().or_else(|| above.pop()) } else { above.pop().or_else(|| below.pop()) }
        };
        while let Some(lane) = next(total.sum, &mut above, &mut below) {
            total.join(&lane);
        }
        total
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
        let total = self.in_order.unwrap_or_else(|| self.of_lanes());
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

    /// Summed in order they are no more than the greatest double, and statistics say so.
    #[test]
    fn great_values_of_either_sign_are_not_too_many_for_a_lane() {
        let alternating: Vec<f64> = (0..256).map(|i| if i % 2 == 0 { 1e308 } else { -1e308 }).collect();
        assert_eq!(sum(&alternating), 0.0);
        let mut with_others = alternating.clone();
        with_others.extend([2.5; 9]);
        assert_eq!(sum(&with_others), 22.5);
        for cut in 1..40 {
            let mut wide = WideSum::default();
            with_others.chunks(cut).for_each(|values| wide.add(values));
            assert_eq!(wide.finish().0.value(), 22.5, "cut every {cut}");
        }
        // As great ones in lanes beside each other.
        let mut apart = vec![0.0; 16];
        (apart[0], apart[4], apart[9], apart[13]) = (1e308, -1e308, 1e308, -1e308);
        for cut in 1..=16 {
            let mut wide = WideSum::default();
            apart.chunks(cut).for_each(|values| wide.add(values));
            assert_eq!(wide.finish().0.value(), 0.0, "cut every {cut}");
        }
        apart.push(2.5);
        assert_eq!(sum(&apart), 2.5);
        assert_eq!(sum(&[1e308; 9]), f64::INFINITY);
        with_others.push(f64::NEG_INFINITY);
        with_others.extend([1e308; 9]);
        assert_eq!(sum(&with_others), f64::NEG_INFINITY);
        with_others.push(f64::INFINITY);
        with_others.push(1.0);
        assert!(sum(&with_others).is_nan());
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
