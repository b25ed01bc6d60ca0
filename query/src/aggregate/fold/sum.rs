//! The sum of the values, and their mean.

use super::Fold;
use super::compensated::{Compensated, WideSum};

#[derive(Default)]
pub(in super::super) struct Sum(WideSum);

impl Fold for Sum {
    type Partial = Compensated;

    fn add(&mut self, _: &[i64], values: &[f64]) {
        self.0.add(values);
    }

    fn finish(&mut self) -> Option<Compensated> {
        let (sum, count) = self.0.finish();
        (count > 0).then_some(sum)
    }

    fn join(into: &mut Compensated, other: &Compensated) {
        into.join(other);
    }

    fn value(partial: &Compensated) -> f64 {
        partial.value()
    }
}

#[derive(Default)]
pub(in super::super) struct Avg(WideSum);

impl Fold for Avg {
    type Partial = (Compensated, u64);

    fn add(&mut self, _: &[i64], values: &[f64]) {
        self.0.add(values);
    }

    fn finish(&mut self) -> Option<Self::Partial> {
        Some(self.0.finish()).filter(|&(_, count)| count > 0)
    }

    fn join(into: &mut Self::Partial, other: &Self::Partial) {
        into.0.join(&other.0);
        into.1 += other.1;
    }

    fn value((sum, count): &Self::Partial) -> f64 {
        sum.value() / *count as f64
    }
}
