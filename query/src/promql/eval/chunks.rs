//! Ranges that do not overlap: whole chunks of them are answered by their statistics.
//!
//! That is so in instant queries, and where the step is at least as long as the range.

use tidegauge_storage::chunk::ChunkStats;
use tidegauge_storage::source::{ColumnCursor, Columns, ReadCounts};

use super::error::EvalError;
use super::grid::is_absent;
use super::sums::Sum;
use super::times::Steps;
use super::window::{Buffer, Window, WindowSpec};
use crate::limits::{Budget, Limit};

/// What a function must know of the samples of a range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Needs {
    /// Each of them.
    Samples,
    /// How many there are.
    Count,
    /// Their sum and number.
    Sum,
    Least,
    Greatest,
    /// The first, the last, and their number.
    Ends,
    /// The same, and each fall between two.
    Counter,
}

/// Samples that a window stands for beside those it holds.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Beside {
    pub(super) samples: u64,
    /// Of those of them that [`Needs::Sum`] left out.
    pub(super) sum: Sum,
}

/// Samples of one window, some of them standing for whole chunks.
struct Gathered<'a> {
    memory: &'a mut Buffer,
    beside: Beside,
    /// Samples of all windows so far, those of chunks too.
    evaluated: u64,
    /// Of those, which were counted for their step.
    counted: u64,
}

impl Gathered<'_> {
    /// Takes samples, staleness markers left out.
    fn extend(&mut self, timestamps: &[i64], values: &[f64]) {
        let samples = &mut self.memory.columns;
        let before = samples.len();
        if values.iter().any(|value| is_absent(*value)) {
            let present = timestamps.iter().zip(values).filter(|(_, value)| !is_absent(**value));
            present.for_each(|(&at, &value)| samples.push(at, value));
        } else {
            samples.timestamps.extend_from_slice(timestamps);
            samples.values.extend_from_slice(values);
        }
        self.evaluated += (samples.len() - before) as u64;
    }

    /// Takes a chunk by its statistics, if they tell what is needed.
    fn take(&mut self, needs: Needs, stats: &ChunkStats) -> bool {
        let present = u64::from(stats.count.saturating_sub(stats.stale));
        if present == 0 {
            return needs != Needs::Samples;
        }
        let nan = u64::from(stats.nan);
        let samples = &mut self.memory.columns;
        match needs {
            Needs::Samples => return false,
            Needs::Count => self.beside.samples += present,
            Needs::Sum => {
                let sum = self.beside.sum.plus(stats.sum);
                let sum = Sum { lost: sum.lost + stats.compensation, ..sum };
                if nan > 0 || !sum.total().is_finite() {
                    return false;
                }
                self.beside = Beside { samples: self.beside.samples + present, sum };
            }
            Needs::Least | Needs::Greatest => {
                let value = if needs == Needs::Least { stats.min } else { stats.max };
                samples.push(stats.first_timestamp, if present > nan { value } else { f64::NAN });
            }
            // Of NaN values the statistics keep no place.
            Needs::Ends | Needs::Counter if nan > 0 || stats.stale > 0 => return false,
            Needs::Counter if stats.resets > 0 => {
                let (Some(before), 1, 4..) = (stats.taken(), stats.resets, present) else { return false };
                // What rises to the value before the one fall, and from below to the last one, has no other fall. Of
                // several falls only their sum is known: added at once it might round otherwise.
                let (first, last) = (stats.first_timestamp, stats.last_timestamp);
                samples.push(first, stats.first_value);
                samples.push(first, before);
                samples.push(last, 0.0);
                samples.push(last, stats.last_value);
                self.beside.samples += present - 4;
            }
            Needs::Ends | Needs::Counter => {
                samples.push(stats.first_timestamp, stats.first_value);
                if present > 1 {
                    samples.push(stats.last_timestamp, stats.last_value);
                    self.beside.samples += present - 2;
                }
            }
        }
        self.evaluated += present;
        true
    }
}

/// Applies a function to the ranges of one series, none of which begins before the one before it ends.
pub(super) struct Disjoint<'a, F> {
    pub(super) spec: WindowSpec,
    pub(super) steps: Steps,
    /// The end of each step's range.
    pub(super) ends: &'a [i64],
    pub(super) needs: Needs,
    pub(super) budget: &'a Budget,
    pub(super) f: &'a F,
}

impl<F: Fn(&Window<'_>, usize) -> Result<Option<f64>, EvalError>> Disjoint<'_, F> {
    /// Whether ranges of this length, that end there, are apart.
    pub(super) fn are(range: i64, ends: &[i64]) -> bool {
        ends.windows(2).all(|two| two[1].saturating_sub(two[0]) >= range)
    }

    /// One value for each step in `out`. Works in `memory` and `batch`. Answers the samples that the windows hold,
    /// the samples read, and what that took.
    pub(super) fn fill<C: ColumnCursor>(
        &self,
        mut cursor: C,
        memory: &mut Buffer,
        batch: &mut Columns,
        out: &mut [f64],
    ) -> Result<(u64, u64, ReadCounts), EvalError> {
        memory.columns.clear();
        let mut gathered = Gathered { memory, beside: Beside::default(), evaluated: 0, counted: 0 };
        let (mut samples, mut by_statistics, mut step) = (0, 0, 0);
        while step < self.ends.len() {
            let start = self.start(step);
            if let Some(stats) = cursor.whole()? {
                if stats.first_timestamp > self.ends[step] {
                    self.finish(step, &mut gathered, out)?;
                    step += 1;
                    continue;
                }
                let inside = stats.first_timestamp > start && stats.last_timestamp <= self.ends[step];
                // What lies between two ranges is passed over too.
                let taken = inside && gathered.take(self.needs, &stats);
                if taken || stats.last_timestamp <= start {
                    by_statistics += if taken { u64::from(stats.count) } else { 0 };
                    cursor.pass();
                    continue;
                }
            }
            batch.clear();
            if !cursor.next(batch)? {
                break;
            }
            self.budget.check()?;
            samples += batch.len() as u64;
            step = self.distribute(step, batch, &mut gathered, out)?;
        }
        if step < self.ends.len() {
            self.finish(step, &mut gathered, out)?;
        }
        let mut counts = cursor.counts();
        counts.samples_by_statistics += by_statistics;
        Ok((gathered.evaluated, samples, counts))
    }

    fn start(&self, step: usize) -> i64 {
        self.ends[step].saturating_sub(self.spec.range)
    }

    /// Gives each window its samples; answers the step whose window may get more.
    fn distribute(
        &self,
        mut step: usize,
        batch: &Columns,
        gathered: &mut Gathered<'_>,
        out: &mut [f64],
    ) -> Result<usize, EvalError> {
        let mut at = 0;
        while at < batch.len() && step < self.ends.len() {
            let (start, end, rest) = (self.start(step), self.ends[step], &batch.timestamps[at..]);
            if rest[0] > end {
                self.finish(step, gathered, out)?;
                step += 1;
            } else if rest[0] <= start {
                at += rest.partition_point(|&t| t <= start);
            } else {
                let upto = at + rest.partition_point(|&t| t <= end);
                gathered.extend(&batch.timestamps[at..upto], &batch.values[at..upto]);
                at = upto;
            }
        }
        let limit = self.budget.limits().samples;
        if gathered.memory.columns.len() as u64 > limit {
            return Err(EvalError::LimitExceeded { which: Limit::Samples, limit });
        }
        gathered.memory.weigh()?;
        Ok(step)
    }

    fn finish(&self, step: usize, gathered: &mut Gathered<'_>, out: &mut [f64]) -> Result<(), EvalError> {
        self.budget.evaluated_at(step, gathered.evaluated - gathered.counted);
        gathered.counted = gathered.evaluated;
        let beside = std::mem::take(&mut gathered.beside);
        let Columns { timestamps, values } = &gathered.memory.columns;
        if !timestamps.is_empty() || beside.samples > 0 {
            let (start, end) = (self.start(step), self.ends[step]);
            let window = Window {
                times: timestamps,
                values,
                beside,
                at: self.steps.at(step),
                start,
                end,
                range: self.spec.range,
                extension: None,
                budget: self.budget,
            };
            if let Some(value) = (self.f)(&window, step)? {
                out[step] = value;
            }
        }
        gathered.memory.columns.clear();
        Ok(())
    }
}
