//! What must be in the store: generated a second time, apart from what was pushed.

use std::collections::HashMap;
use std::thread;

use crate::checksum::{Checksum, LabelsHash};
use crate::workload::{Part, Workload, mixed};

use super::questions::{Answers, Probe};

/// The samples that each appender had accepted, by part.
#[derive(Clone, Debug)]
pub struct Pushed {
    /// The share of an appender.
    pub part: Part,
    /// Samples it pushed, from the first on.
    pub samples: u64,
}

/// Count and checksum of all samples, and their latest timestamp.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Recount {
    /// What reading everything back must give.
    pub checksum: Checksum,
    /// The latest tick that has a sample.
    pub last_tick: u64,
    /// How many series have a sample.
    pub series: u64,
}

impl Recount {
    /// Generates all that was pushed once more and sums it up.
    #[must_use]
    pub fn of(workload: &Workload, pushed: &[Pushed]) -> Self {
        let parts = each_part(pushed, |pushed| {
            let mut recount = Self::default();
            let mut hashes = Hashes::new(workload);
            visit(workload, pushed, |slot, tick, value| {
                recount.checksum.add(hashes.of(slot, tick), workload.timestamp_ns(tick), value);
                recount.last_tick = recount.last_tick.max(tick);
            });
            recount.series = hashes.len();
            recount
        });
        let striped = workload.slots() < pushed.len() as u32;
        let series = parts.iter().map(|p| p.series);
        let series = if striped { series.max().unwrap_or(0) } else { series.sum() };
        let mut all = Self { series, ..Self::default() };
        for part in parts {
            all.checksum.merge(part.checksum);
            all.last_tick = all.last_tick.max(part.last_tick);
        }
        all
    }

    /// The same for the mixed workload: `written[k]` samples were written by worker k.
    #[must_use]
    pub fn of_mixed(workload: &Workload, written: &[u64]) -> Self {
        let mut all = Self { series: u64::from(workload.slots()), ..Self::default() };
        let mut hashes = Hashes::new(workload);
        visit_mixed(workload, written, |series, tick, value| {
            all.checksum.add(hashes.of(series, tick), workload.timestamp_ns(tick), value);
            all.last_tick = all.last_tick.max(tick);
        });
        all
    }
}

/// Answers to the questions about `probe`, from what is generated.
#[must_use]
pub fn answers(workload: &Workload, pushed: &[Pushed], probe: &Probe) -> Answers {
    let parts = each_part(pushed, |pushed| {
        let mut answers = Answers::default();
        visit(workload, pushed, |slot, tick, value| answers.see(workload, probe, slot, tick, value));
        answers
    });
    parts.into_iter().fold(Answers::default(), Answers::merge)
}

/// The same for the mixed workload.
#[must_use]
pub fn answers_mixed(workload: &Workload, written: &[u64], probe: &Probe) -> Answers {
    let mut answers = Answers::default();
    visit_mixed(workload, written, |series, tick, value| answers.see(workload, probe, series, tick, value));
    answers
}

/// Calls `see` with (slot, tick over all passes, value) of each sample that was pushed.
fn visit(workload: &Workload, pushed: &Pushed, mut see: impl FnMut(u32, u64, f64)) {
    let per_pass = pushed.part.cells_per_pass();
    let mut n = 0;
    workload.generate(&pushed.part, |cell| {
        let value = workload.value(cell.scaled);
        // This cell was pushed in each pass that came as far as it.
        let passes = (pushed.samples + per_pass - 1 - n) / per_pass.max(1);
        for pass in 0..passes {
            see(cell.slot, pass * u64::from(workload.pass_ticks()) + u64::from(cell.tick), value);
        }
        n += 1;
    });
}

fn visit_mixed(workload: &Workload, written: &[u64], mut see: impl FnMut(u32, u64, f64)) {
    (0..workload.slots()).for_each(|series| see(series, 0, mixed::first(series)));
    for (index, &samples) in (0u32..).zip(written) {
        let mut worker = mixed::Worker::new(workload, index, written.len() as u32);
        for _ in 0..samples {
            let (series, tick, value) = worker.sample();
            see(series, tick, value);
        }
    }
}

fn each_part<R: Send>(pushed: &[Pushed], work: impl Fn(&Pushed) -> R + Sync) -> Vec<R> {
    let mut results = Vec::with_capacity(pushed.len());
    for some in pushed.chunks(crate::measure::cores()) {
        thread::scope(|scope| {
            let running: Vec<_> = some.iter().map(|one| scope.spawn(|| work(one))).collect();
            results.extend(running.into_iter().map(|t| t.join().expect("counting does not panic")));
        });
    }
    results
}

/// Label hashes of the series met so far.
struct Hashes<'a> {
    workload: &'a Workload,
    /// By slot, where a slot is a series for ever.
    of_slots: Vec<Option<LabelsHash>>,
    /// By series, where series come and go.
    of_series: HashMap<u64, LabelsHash>,
}

impl<'a> Hashes<'a> {
    fn new(workload: &'a Workload) -> Self {
        let slots = if workload.churns() { 0 } else { workload.slots() as usize };
        Self { workload, of_slots: vec![None; slots], of_series: HashMap::new() }
    }

    fn of(&mut self, slot: u32, tick: u64) -> LabelsHash {
        let (workload, series) = (self.workload, self.workload.series(slot, tick));
        let hash = || workload.labels(series).hash();
        match self.of_slots.get_mut(slot as usize) {
            Some(known) => *known.get_or_insert_with(hash),
            None => *self.of_series.entry(series).or_insert_with(hash),
        }
    }

    fn len(&self) -> u64 {
        (self.of_slots.iter().flatten().count() + self.of_series.len()) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::Kind;

    /// What is pushed, sample by sample: pass after pass until so many are pushed.
    fn naive(workload: &Workload, pushed: &[Pushed]) -> Recount {
        let mut seen = std::collections::HashSet::new();
        let mut all = Recount::default();
        for one in pushed {
            let mut cells = Vec::new();
            workload.generate(&one.part, |cell| cells.push(cell));
            for n in 0..one.samples as usize {
                let cell = cells[n % cells.len()];
                let tick = (n / cells.len()) as u64 * u64::from(workload.pass_ticks()) + u64::from(cell.tick);
                let series = workload.series(cell.slot, tick);
                seen.insert(series);
                let hash = workload.labels(series).hash();
                all.checksum.add(hash, workload.timestamp_ns(tick), workload.value(cell.scaled));
                all.last_tick = all.last_tick.max(tick);
            }
        }
        all.series = seen.len() as u64;
        all
    }

    #[test]
    fn passes_and_parts_are_counted_as_one_by_one() {
        for (kind, appenders) in [(Kind::W1, 1), (Kind::W1, 3), (Kind::W3, 3), (Kind::Late, 2), (Kind::Churn, 2)] {
            let workload = Workload::new(kind, 5, Some(12_000)).unwrap();
            let parts = Part::split(&workload, appenders, 100).unwrap();
            // One stops within its first pass, the others in their third.
            let part_samples = |(k, part): (u64, &Part)| match k {
                0 => part.cells_per_pass() / 2 + 1,
                _ => part.cells_per_pass() * 2 + 17 * k,
            };
            let pushed: Vec<Pushed> = (0u64..)
                .zip(&parts)
                .map(|(k, part)| Pushed { part: part.clone(), samples: part_samples((k, part)) })
                .collect();
            assert_eq!(Recount::of(&workload, &pushed), naive(&workload, &pushed), "{kind} {appenders}");
        }
    }

    #[test]
    fn the_mixed_workload_counts_what_was_there_before_and_what_was_written() {
        let workload = Workload::new(Kind::Mixed, 5, None).unwrap();
        let recount = Recount::of_mixed(&workload, &[10, 20]);
        assert_eq!(recount.checksum.count, u64::from(mixed::SERIES) + 30);
        assert_eq!(recount.last_tick, 1);
        assert_ne!(recount, Recount::of_mixed(&workload, &[20, 10]));
    }
}
