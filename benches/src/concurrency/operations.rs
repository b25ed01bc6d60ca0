//! What one worker does, one operation after the other: the same for the same seed.

use std::ops::Range;

use super::SERIES;
use super::cell::Place;
use super::mode::Mode;
use crate::rng::Rng;

/// One operation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Operation {
    /// Read the last value of this series.
    Read(u32),
    /// Write the next samples.
    Write,
}

/// The operations of one worker.
#[derive(Clone, Debug)]
pub(super) struct Operations {
    place: Place,
    /// What it reads and writes.
    series: Range<u32>,
    choices: Rng,
    targets: Rng,
}

impl Operations {
    pub(super) fn new(place: Place, index: u32) -> Self {
        let at = |k: u32| (u64::from(SERIES) * u64::from(k) / u64::from(place.workers)) as u32;
        let series = match place.mode {
            Mode::Sharded => at(index)..at(index + 1),
            Mode::HotKey => SERIES / 2..SERIES / 2 + 1,
            _ => 0..SERIES,
        };
        let stream = (place.number << 32 | u64::from(index)) * 2;
        let rng = |k| Rng::new(place.seed, stream + k);
        Self { place, series, choices: rng(0), targets: rng(1) }
    }

    /// What to do next.
    #[inline]
    pub(super) fn next(&mut self) -> Operation {
        let percent = self.place.mode.reads_percent();
        if percent == 100 || (percent > 0 && self.choices.below(100) < percent) {
            let width = u64::from(self.series.end - self.series.start);
            Operation::Read(self.series.start + self.choices.below(width) as u32)
        } else {
            Operation::Write
        }
    }

    /// The series of the next sample to write.
    pub(super) fn target(&mut self) -> u32 {
        let width = u64::from(self.series.end - self.series.start);
        self.series.start + self.targets.below(width) as u32
    }

    /// Whether no other worker writes what this one writes.
    pub(super) fn is_alone(&self) -> bool {
        self.place.mode == Mode::Sharded
    }

    /// Hands all samples to `see` that were written at these `ticks`: series and tick.
    pub(super) fn replay(mut self, ticks: impl IntoIterator<Item = u64>, see: &mut impl FnMut(u32, u64)) {
        ticks.into_iter().for_each(|tick| see(self.target(), tick));
    }
}

/// The value that a series has at a tick: whoever reads it can tell whether it is right.
pub(super) fn value_of(series: u32, tick: u64) -> f64 {
    ((u64::from(series) * 31 + tick) % 10_007) as f64 / 100.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(mode: Mode, workers: u32) -> Place {
        Place { mode, workers, number: 3, seed: 1 }
    }

    #[test]
    fn what_is_replayed_is_what_was_written() {
        for mode in [Mode::HotKey, Mode::Sharded, Mode::Write] {
            for index in 0..3 {
                let (mut worker, mut written, mut replayed) = (Operations::new(place(mode, 3), index), vec![], vec![]);
                for tick in (7..1_000).step_by(5) {
                    // What it reads is drawn apart.
                    worker.next();
                    written.push((worker.target(), tick));
                }
                let again = Operations::new(place(mode, 3), index);
                again.replay((7..1_000).step_by(5), &mut |series, tick| replayed.push((series, tick)));
                assert_eq!(written, replayed, "{mode}");
                let own = |series: u32| mode != Mode::Sharded || (series / (SERIES / 3)).min(2) == index;
                assert!(written.iter().all(|&(series, _)| own(series)), "{mode}");
            }
        }
    }

    #[test]
    fn reads_and_writes_come_in_the_shares_that_the_mode_says() {
        for mode in Mode::ALL {
            let mut operations = Operations::new(place(mode, 2), 1);
            let mut again = operations.clone();
            let all: Vec<Operation> = (0..20_000).map(|_| operations.next()).collect();
            let reads = all.iter().filter(|one| matches!(one, Operation::Read(_))).count() as u64;
            let expected = mode.reads_percent() * 200;
            assert!(
                reads.abs_diff(expected) <= 300 && (reads == expected || expected % 20_000 != 0),
                "{mode}: {reads}"
            );
            assert!(all.iter().all(|one| *one == again.next()), "the same for the same seed");
        }
    }
}
