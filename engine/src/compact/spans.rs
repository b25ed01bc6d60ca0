//! Which of many stretches meet another one, found without a look at each.

use tidegauge_storage::model::TimeRange;

use super::plan::steps;

/// Pieces by their time: those that a range meets are found in O(log n + found).
pub(super) struct Spans {
    /// By beginning: `(time, which piece)`.
    by_start: Vec<(TimeRange, usize)>,
    /// The latest end of each node of a binary tree over these: the root is 1, leaves follow from `width` on.
    latest: Vec<i64>,
    width: usize,
}

impl Spans {
    pub(super) fn new(pieces: impl Iterator<Item = (TimeRange, usize)>) -> Self {
        let mut by_start: Vec<(TimeRange, usize)> = pieces.collect();
        by_start.sort_by_key(|(time, i)| (time.start, *i));
        let width = by_start.len().next_power_of_two();
        let mut latest = vec![i64::MIN; 2 * width];
        for (leaf, (time, _)) in by_start.iter().enumerate() {
            latest[width + leaf] = time.end.nanos();
        }
        (1..width).rev().for_each(|node| latest[node] = latest[2 * node].max(latest[2 * node + 1]));
        steps(2 * width);
        Self { by_start, latest, width }
    }

    /// Calls `found` for each that `time` meets.
    pub(super) fn meet(&self, time: &TimeRange, found: &mut dyn FnMut(usize)) {
        // What ends at the end of time holds the last timestamp.
        let behind = |at: i64| at > time.start.nanos() || at == i64::MAX;
        let before = if time.end.nanos() == i64::MAX {
            self.by_start.len()
        } else {
            self.by_start.partition_point(|(own, _)| own.start < time.end)
        };
        let mut open = vec![(1, 0, self.width)];
        while let Some((node, first, len)) = open.pop() {
            steps(1);
            if first >= before || !behind(self.latest[node]) {
                continue;
            }
            if len > 1 {
                open.push((2 * node + 1, first + len / 2, len / 2));
                open.push((2 * node, first, len / 2));
            } else if self.by_start[first].0.overlaps(time) {
                found(self.by_start[first].1);
            }
        }
    }
}

/// What is best of any run of a list, in O(1): `pick` may count one twice.
pub(super) struct Best<T> {
    /// For each power of two, of as many from each place on.
    rows: Vec<Vec<T>>,
    pick: fn(T, T) -> T,
}

impl<T: Copy> Best<T> {
    pub(super) fn new(of: Vec<T>, pick: fn(T, T) -> T) -> Self {
        let mut rows = vec![of];
        while rows[0].len() >> rows.len() > 0 {
            let (last, half) = (&rows[rows.len() - 1], 1 << (rows.len() - 1));
            steps(last.len());
            let row = last.iter().zip(&last[half.min(last.len())..]).map(|(&a, &b)| pick(a, b)).collect();
            rows.push(row);
        }
        Self { rows, pick }
    }

    /// Of those from `from` on and before `to`, of which there is one at least.
    pub(super) fn of(&self, from: usize, to: usize) -> T {
        let row = (to - from).ilog2() as usize;
        (self.pick)(self.rows[row][from], self.rows[row][to - (1 << row)])
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tidegauge_storage::model::Timestamp;

    use super::*;

    fn times() -> impl Strategy<Value = TimeRange> {
        let at = prop_oneof![9 => -50i64..50, 1 => Just(i64::MAX - 1), 1 => Just(i64::MIN)];
        let len = prop_oneof![9 => 0i64..30, 1 => Just(i64::MAX)];
        (at, len).prop_map(|(at, len)| {
            TimeRange::new(Timestamp::from_nanos(at), Timestamp::from_nanos(at.saturating_add(len)))
        })
    }

    proptest! {
        #[test]
        fn what_is_met_is_what_a_look_at_each_finds(
            all in prop::collection::vec(times(), 0..40),
            of in prop::collection::vec(times(), 1..9),
            bytes in prop::collection::vec(0u64..9, 1..40),
        ) {
            let spans = Spans::new(all.iter().copied().zip(0..));
            for time in of {
                let mut met = Vec::new();
                spans.meet(&time, &mut |i| met.push(i));
                met.sort_unstable();
                let looked: Vec<usize> = (0..all.len()).filter(|&i| all[i].overlaps(&time)).collect();
                prop_assert_eq!(met, looked);
            }
            let best = Best::new(bytes.clone(), u64::max);
            for from in 0..bytes.len() {
                for to in from + 1..=bytes.len() {
                    prop_assert_eq!(Some(best.of(from, to)), bytes[from..to].iter().copied().max());
                }
            }
        }
    }
}
