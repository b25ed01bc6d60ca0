//! Sums and quantiles that many functions share.

/// A sum that keeps what rounding would lose (Neumaier).
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sum {
    pub(super) value: f64,
    pub(super) lost: f64,
}

impl Sum {
    pub(super) fn of(value: f64) -> Self {
        Self { value, lost: 0.0 }
    }

    #[must_use]
    pub(super) fn plus(self, more: f64) -> Self {
        let value = self.value + more;
        let lost = if value.is_infinite() {
            0.0
        } else if self.value.abs() >= more.abs() {
            self.lost + ((self.value - value) + more)
        } else {
            self.lost + ((more - value) + self.value)
        };
        Self { value, lost }
    }

    /// With another sum; `None` where that leaves the finite numbers.
    pub(super) fn and(self, other: Self) -> Option<Self> {
        let sum = self.plus(other.value);
        let sum = Self { lost: sum.lost + other.lost, ..sum };
        (sum.value.is_finite() && sum.lost.is_finite()).then_some(sum)
    }

    pub(super) fn total(self) -> f64 {
        self.value + self.lost
    }
}

/// The sum of many values as [`Sum`] makes it, without a branch in the loop: the rounding
/// error of each addition is exact either way. `None` where the sum leaves the finite numbers.
pub(super) fn finite_sum(values: &[f64]) -> Option<Sum> {
    let (mut value, mut lost) = (0.0, 0.0);
    for &more in values {
        let next = value + more;
        let taken = next - value;
        lost += (value - (next - taken)) + (more - taken);
        value = next;
    }
    (value.is_finite() && lost.is_finite()).then_some(Sum { value, lost })
}

/// A mean by sum and count; once the sum would overflow, by small steps of the mean itself.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Mean {
    sum: Sum,
    count: f64,
    by_steps: bool,
}

impl Mean {
    pub(super) fn add(&mut self, value: f64) {
        self.count += 1.0;
        if self.count == 1.0 {
            self.sum = Sum::of(value);
            return;
        }
        if !self.by_steps {
            let sum = self.sum.plus(value);
            if !sum.value.is_infinite() {
                self.sum = sum;
                return;
            }
            self.by_steps = true;
            let before = self.count - 1.0;
            self.sum = Sum { value: self.sum.value / before, lost: self.sum.lost / before };
        }
        let q = (self.count - 1.0) / self.count;
        self.sum = Sum { value: q * self.sum.value, lost: q * self.sum.lost }.plus(value / self.count);
    }

    pub(super) fn value(&self) -> f64 {
        if self.by_steps { self.sum.total() } else { self.sum.value / self.count + self.sum.lost / self.count }
    }
}

/// The q-quantile of the values, interpolated; reorders them. NaN sorts first.
pub(super) fn quantile(q: f64, values: &mut [f64]) -> f64 {
    if values.is_empty() || q.is_nan() {
        return f64::NAN;
    }
    if q < 0.0 {
        return f64::NEG_INFINITY;
    }
    if q > 1.0 {
        return f64::INFINITY;
    }
    let rank = q * (values.len() - 1) as f64;
    let weight = rank - rank.floor();
    let (_, &mut lower, above) = values.select_nth_unstable_by(rank.floor() as usize, |a, b| ascending(*a, *b));
    let upper = above.iter().copied().min_by(|a, b| ascending(*a, *b)).unwrap_or(lower);
    lower * (1.0 - weight) + upper * weight
}

/// An order of all values: NaN is below everything.
pub(super) fn ascending(a: f64, b: f64) -> std::cmp::Ordering {
    match (a.is_nan(), b.is_nan()) {
        (false, false) => a.partial_cmp(&b).unwrap_or(std::cmp::Ordering::Equal),
        (a, b) => b.cmp(&a),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_do_not_lose_small_terms() {
        let sum = [1.0, 1e100, 1.0, -1e100].into_iter().fold(Sum::default(), Sum::plus);
        assert_eq!(sum.total(), 2.0);
        let mut mean = Mean::default();
        [f64::MAX, f64::MAX, f64::MAX].into_iter().for_each(|v| mean.add(v));
        assert!((mean.value() / f64::MAX - 1.0).abs() < 1e-15, "{}", mean.value());
    }

    #[test]
    fn the_loop_without_branches_gives_the_same_sum() {
        let values: Vec<f64> = (0..1000).map(|i| (f64::from(i) * 1.7).sin() * 10f64.powi(i % 40 - 20)).collect();
        let one_by_one = values.iter().copied().fold(Sum::default(), Sum::plus);
        let sum = finite_sum(&values).unwrap();
        assert_eq!((sum.value, sum.lost), (one_by_one.value, one_by_one.lost));
        assert!(finite_sum(&[f64::MAX, f64::MAX]).is_none() && finite_sum(&[f64::NAN]).is_none());
    }

    #[test]
    fn quantiles_lie_between_values() {
        assert_eq!(quantile(0.5, &mut [3.0, 1.0]), 2.0);
        assert_eq!(quantile(1.0, &mut [3.0, 1.0]), 3.0);
        assert_eq!(quantile(-0.1, &mut [3.0]), f64::NEG_INFINITY);
        assert!(quantile(0.0, &mut [3.0, f64::NAN]).is_nan());
    }
}
