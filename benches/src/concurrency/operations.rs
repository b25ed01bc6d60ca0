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
    index: u32,
    /// What it reads and writes.
    series: Range<u32>,
    choices: Rng,
    targets: Rng,
    written: u64,
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
        Self { place, index, series, choices: rng(0), targets: rng(1), written: 0 }
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

    /// The next sample to write: series and tick. No other worker of the cell writes at the same tick.
    pub(super) fn sample(&mut self) -> (u32, u64) {
        let width = u64::from(self.series.end - self.series.start);
        let series = self.series.start + self.targets.below(width) as u32;
        let tick = self.place.first_tick + self.written * u64::from(self.place.workers) + u64::from(self.index);
        self.written += 1;
        (series, tick)
    }

    /// Whether no other worker writes what this one writes.
    pub(super) fn is_alone(&self) -> bool {
        self.place.mode == Mode::Sharded
    }

    /// Hands the first `written` samples to `see`.
    pub(super) fn replay(mut self, written: u64, see: &mut impl FnMut(u32, u64)) {
        for _ in 0..written {
            let (series, tick) = self.sample();
            see(series, tick);
        }
    }
}

/// The value that a series has at a tick: whoever reads it can tell whether it is right.
pub(super) fn value_of(series: u32, tick: u64) -> f64 {
    ((u64::from(series) * 31 + tick) % 10_007) as f64 / 100.0
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn place(mode: Mode, workers: u32, first_tick: u64) -> Place {
        Place { mode, workers, number: 3, first_tick, seed: 1 }
    }

    #[test]
    fn workers_of_a_cell_and_cells_after_each_other_never_write_the_same_sample() {
        let mut seen = HashSet::new();
        let mut first_tick = 1;
        for mode in [Mode::HotKey, Mode::Sharded, Mode::Write] {
            let place = place(mode, 3, first_tick);
            let written = [500, 0, 700];
            for (k, n) in (0u32..).zip(written) {
                Operations::new(place, k).replay(n, &mut |series, tick| {
                    assert!(seen.insert((series, tick)), "{mode} {series} {tick}");
                    assert!(tick >= first_tick && tick < place.end_tick(&written), "{tick}");
                });
            }
            first_tick = place.end_tick(&written);
        }
        assert_eq!(seen.len(), 3 * 1_200);
    }

    #[test]
    fn reads_and_writes_come_in_the_shares_that_the_mode_says() {
        for mode in Mode::ALL {
            let mut operations = Operations::new(place(mode, 2, 1), 1);
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
