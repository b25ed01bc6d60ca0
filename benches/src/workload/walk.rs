//! Generates the cells of a workload: a random walk for each slot.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::{Part, Workload};
use crate::rng::Rng;

/// One sample before it is one: where in the grid, and its value as a whole number. 12 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cell {
    /// Column of the grid.
    pub slot: u32,
    /// Row of the grid, within the pass.
    pub tick: u32,
    /// The value times the workload's scale; see [`Workload::value`].
    pub scaled: u16,
}

/// A walk with steps ~ N(0, 1), kept between 0 and 100. The state is never rounded.
#[derive(Clone, Debug)]
struct Walk {
    rng: Rng,
    at: f64,
}

impl Walk {
    fn new(seed: u64, slot: u32) -> Self {
        let mut rng = Rng::new(seed, u64::from(slot));
        let at = rng.unit() * 100.0;
        Self { rng, at }
    }

    fn step(&mut self) -> f64 {
        self.at = (self.at + self.rng.normal()).clamp(0.0, 100.0);
        self.at
    }
}

/// Decides which samples are late, apart from the walk's own numbers.
const LATE_STREAM: u64 = 1 << 40;
/// One sample in this many is late.
const LATE_ONE_IN: u64 = 10;

impl Workload {
    /// Hands the cells of one pass of `part` to `sink`, in the order in which they are pushed.
    pub fn generate(&self, part: &Part, mut sink: impl FnMut(Cell)) {
        let mut n = 0;
        let mut take = |cell: Cell| {
            if part.takes(n) {
                sink(cell);
            }
            n += 1;
        };
        let Some(late_ns) = self.late_ns else { return self.walk(part, take) };
        let mut rngs: Vec<Rng> =
            part.slots().map(|slot| Rng::new(self.seed(), LATE_STREAM + u64::from(slot))).collect();
        let mut waiting: BinaryHeap<Reverse<(i64, Cell)>> = BinaryHeap::new();
        let mut tick = 0;
        self.walk(part, |cell| {
            if cell.tick != tick {
                tick = cell.tick;
                let now = self.timestamp_ns(u64::from(tick));
                while waiting.peek().is_some_and(|Reverse((arrival, _))| *arrival < now) {
                    waiting.pop().into_iter().for_each(|Reverse((_, late))| take(late));
                }
            }
            let rng = &mut rngs[(cell.slot - part.slots().start) as usize];
            if rng.below(LATE_ONE_IN) == 0 {
                let delay = 1 + rng.below(late_ns as u64) as i64;
                waiting.push(Reverse((self.timestamp_ns(u64::from(tick)) + delay, cell)));
            } else {
                take(cell);
            }
        });
        while let Some(Reverse((_, late))) = waiting.pop() {
            take(late);
        }
    }

    /// All cells of the part's slots in time order.
    fn walk(&self, part: &Part, mut sink: impl FnMut(Cell)) {
        let mut walks: Vec<Walk> = part.slots().map(|slot| Walk::new(self.seed(), slot)).collect();
        for tick in 0..self.pass_ticks() {
            for (slot, walk) in part.slots().zip(&mut walks) {
                sink(Cell { slot, tick, scaled: (walk.step() * self.scale).round() as u16 });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checksum::Checksum;
    use crate::workload::Kind;

    fn cells(kind: Kind, seed: u64, samples: u64) -> (Workload, Vec<Cell>) {
        let workload = Workload::new(kind, seed, Some(samples)).unwrap();
        let part = Part::split(&workload, 1, 1_000).unwrap().remove(0);
        let mut cells = Vec::new();
        workload.generate(&part, |cell| cells.push(cell));
        (workload, cells)
    }

    fn checksum(kind: Kind, seed: u64, samples: u64) -> Checksum {
        let (workload, cells) = cells(kind, seed, samples);
        let mut sum = Checksum::default();
        for cell in cells {
            let tick = u64::from(cell.tick);
            let labels = workload.labels(workload.series(cell.slot, tick)).hash();
            sum.add(labels, workload.timestamp_ns(tick), workload.value(cell.scaled));
        }
        sum
    }

    #[test]
    fn a_seed_gives_the_same_samples_for_ever() {
        // Pinned: whoever changes these numbers makes figures of before and after incomparable.
        let found: Vec<(u64, u64)> = [Kind::W1, Kind::W1int, Kind::W2, Kind::W3, Kind::Late, Kind::Churn]
            .map(|kind| checksum(kind, 1, 40_000))
            .map(|sum| (sum.count, sum.sum))
            .to_vec();
        assert_eq!(found, PINNED);
        assert_ne!(checksum(Kind::W1, 2, 40_000).sum, PINNED[0].1, "another seed, other samples");
    }

    /// W2 with few samples has W1's series. The first was computed by another program, too.
    const PINNED: [(u64, u64); 6] = [
        (40_000, 3_490_224_628_700_994_698),
        (40_000, 785_313_687_331_711_770),
        (40_000, 3_490_224_628_700_994_698),
        (40_000, 7_817_577_838_889_557_515),
        (40_000, 4_367_994_863_893_919_780),
        (40_000, 1_358_531_526_758_761_409),
    ];

    #[test]
    fn w1_is_a_walk_with_unit_steps_between_0_and_100_with_2_decimals() {
        let (workload, cells) = cells(Kind::W1, 1, 4_000 * 250);
        let (mut steps, mut squares, mut sum, mut at_bounds) = (0u32, 0.0, 0.0, 0u32);
        let mut last = vec![f64::NAN; 4_000];
        for cell in &cells {
            let value = workload.value(cell.scaled);
            assert!((0.0..=100.0).contains(&value));
            assert_eq!(value, (value * 100.0).round() / 100.0, "two decimals");
            let before = std::mem::replace(&mut last[cell.slot as usize], value);
            at_bounds += u32::from(value == 0.0 || value == 100.0);
            // Far from the bounds the clamp does not distort the steps.
            if (10.0..=90.0).contains(&before) {
                steps += 1;
                sum += value - before;
                squares += (value - before).powi(2);
            }
        }
        let (mean, variance) = (sum / f64::from(steps), squares / f64::from(steps));
        assert!(mean.abs() < 0.01, "mean step {mean}");
        assert!((variance - 1.0).abs() < 0.01, "variance of the steps {variance}");
        assert!(at_bounds > 0 && f64::from(at_bounds) < 0.1 * cells.len() as f64, "{at_bounds} at the bounds");
        assert!(cells.iter().any(|c| c.scaled % 10 != 0), "the second decimal is in use");
    }

    #[test]
    fn w1int_is_the_same_walk_rounded_to_whole_numbers() {
        let (fine, coarse) = (cells(Kind::W1, 1, 40_000), cells(Kind::W1int, 1, 40_000));
        for (a, b) in fine.1.iter().zip(&coarse.1) {
            let (a, b) = (fine.0.value(a.scaled), coarse.0.value(b.scaled));
            assert_eq!(b.fract(), 0.0);
            assert!((a - b).abs() <= 0.505, "{a} {b}");
        }
    }

    #[test]
    fn each_series_ascends_in_time_unless_it_is_late() {
        for kind in [Kind::W1, Kind::W2, Kind::W3, Kind::Churn] {
            let (_, cells) = cells(kind, 1, 40_000);
            assert!(cells.windows(2).all(|w| w[0].tick <= w[1].tick), "{kind}");
        }
    }

    #[test]
    fn a_tenth_of_the_late_workload_is_behind_by_up_to_a_day_in_random_order() {
        let (workload, cells) = cells(Kind::Late, 1, 4_000 * 2_000);
        let (mut front, mut late, mut oldest, mut ascending) = (0, 0u32, 0, 0u32);
        let mut last_late = 0;
        for cell in &cells {
            if cell.tick < front {
                late += 1;
                oldest = oldest.max(front - cell.tick);
                ascending += u32::from(cell.tick >= last_late);
                last_late = cell.tick;
            }
            front = front.max(cell.tick);
        }
        let share = f64::from(late) / cells.len() as f64;
        assert!((share - 0.1).abs() < 0.002, "late {share}");
        let day_ticks = (DAY_NS_IN_TEST / workload.interval_ns()) as u32;
        assert!(oldest <= day_ticks && oldest > day_ticks * 9 / 10, "the oldest is {oldest} ticks late");
        let order = f64::from(ascending) / f64::from(late);
        assert!((0.4..0.6).contains(&order), "late samples come shuffled, {order} ascend");
        let mut unique: Vec<(u32, u32)> = cells.iter().map(|c| (c.slot, c.tick)).collect();
        unique.sort_unstable();
        unique.dedup();
        assert_eq!(unique.len(), cells.len(), "nothing is lost or doubled");
    }

    const DAY_NS_IN_TEST: i64 = 86_400 * 1_000_000_000;

    #[test]
    fn churn_gives_each_slot_another_series_after_its_life() {
        let workload = Workload::new(Kind::Churn, 1, None).unwrap();
        let all: std::collections::HashSet<u64> = (0..2_500).map(|tick| workload.series(17, tick)).collect();
        assert!((25..=26).contains(&all.len()), "{}", all.len());
        assert_eq!(workload.series(10, 0) + 9, workload.series(19, 0), "a host's series change together");
        let switch = |slot| (1..200).find(|&t| workload.series(slot, t) != workload.series(slot, 0));
        assert_ne!(switch(10), switch(20), "hosts change at different times");
    }
}
