//! How a workload is shared among appenders.

use std::ops::Range;

use super::{Kind, Workload};
use crate::error::Error;

/// Samples that are prepared before a run: with their cells (12 bytes) and the samples
/// themselves (24 bytes) they take 1 GiB.
pub const PREPARED_SAMPLES_MAX: u32 = (1 << 30) / 36;

/// The share of one appender.
///
/// Each appender has its own series, so that the samples of a series stay in time order.
/// Where there are fewer series than appenders, the batches go round among them instead:
/// each appender's samples of a series still ascend, but those of all appenders together
/// may arrive out of order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    pub(super) slots: Range<u32>,
    /// Of the cells of these slots, only some batches: (samples a batch, my turn, turns).
    pub(super) turn: Option<(u64, u64, u64)>,
    cells_per_pass: u64,
    cells: u64,
}

impl Part {
    /// The shares of `appenders` appenders that push batches of `batch`.
    ///
    /// # Errors
    /// [`Error::Usage`] if there is no appender, or an empty batch.
    pub fn split(workload: &Workload, appenders: u32, batch: u32) -> Result<Vec<Self>, Error> {
        if appenders == 0 || batch == 0 {
            return Err(Error::Usage("--appenders and --batch must be at least 1".into()));
        }
        let slots = workload.slots();
        Ok((0..appenders)
            .map(|k| {
                if slots < appenders {
                    let turn = (u64::from(batch), u64::from(k), u64::from(appenders));
                    let upto = |ticks| cells_of_turn(ticks * u64::from(slots), turn);
                    let cells_per_pass = upto(u64::from(workload.pass_ticks()));
                    let passes = workload.ticks() / u64::from(workload.pass_ticks());
                    let rest = upto(workload.ticks() % u64::from(workload.pass_ticks()));
                    let cells = passes * cells_per_pass + rest;
                    return Self { slots: 0..slots, turn: Some(turn), cells_per_pass, cells };
                }
                let at = |k: u32| (u64::from(slots) * u64::from(k) / u64::from(appenders)) as u32;
                let own = at(k)..at(k + 1);
                let width = u64::from(own.end - own.start);
                let cells_per_pass = width * u64::from(workload.pass_ticks());
                Self { slots: own, turn: None, cells_per_pass, cells: width * workload.ticks() }
            })
            .collect())
    }

    /// Cells of one pass.
    #[must_use]
    pub fn cells_per_pass(&self) -> u64 {
        self.cells_per_pass
    }

    /// Cells of the whole burst.
    #[must_use]
    pub fn cells(&self) -> u64 {
        self.cells
    }

    /// The slots whose samples are pushed, all or some of them.
    #[must_use]
    pub fn slots(&self) -> Range<u32> {
        self.slots.clone()
    }

    /// Whether the `n`-th cell of these slots is in the share.
    pub(super) fn takes(&self, n: u64) -> bool {
        self.turn.is_none_or(|(batch, mine, turns)| n / batch % turns == mine)
    }
}

/// How many of the first `cells` cells fall to one turn.
fn cells_of_turn(cells: u64, (batch, mine, turns): (u64, u64, u64)) -> u64 {
    let round = batch * turns;
    let rest = (cells % round).saturating_sub(batch * mine).min(batch);
    cells / round * batch + rest
}

impl Workload {
    /// Whether a sample of a series may arrive after a later one.
    #[must_use]
    pub fn is_ordered(&self, appenders: u32) -> bool {
        self.kind() != Kind::Late && self.slots() >= appenders
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn naive_turn(cells: u64, batch: u64, mine: u64, turns: u64) -> u64 {
        (0..cells).filter(|n| n / batch % turns == mine).count() as u64
    }

    #[test]
    fn turns_are_counted_as_one_by_one() {
        for cells in 0..60 {
            for turns in 1..4 {
                for mine in 0..turns {
                    let expected = naive_turn(cells, 5, mine, turns);
                    assert_eq!(cells_of_turn(cells, (5, mine, turns)), expected, "{cells} {mine} {turns}");
                }
            }
        }
    }

    #[test]
    fn the_parts_are_the_whole_and_each_cell_is_in_one_of_them() {
        for (kind, samples, appenders) in [(Kind::W1, 20_000, 3), (Kind::W3, 1_003, 8), (Kind::Late, 40_000, 8)] {
            let workload = Workload::new(kind, 1, Some(samples)).unwrap();
            let whole = &Part::split(&workload, 1, 10).unwrap()[0];
            let mut expected = Vec::new();
            workload.generate(whole, |cell| expected.push(cell));
            let mut found = Vec::new();
            for part in Part::split(&workload, appenders, 10).unwrap() {
                let before = found.len();
                workload.generate(&part, |cell| found.push(cell));
                assert_eq!((found.len() - before) as u64, part.cells_per_pass(), "{kind}");
                assert_eq!(part.cells(), part.cells_per_pass(), "one pass is the burst");
            }
            assert_eq!(expected.len() as u64, whole.cells());
            let key = |cell: &super::super::Cell| (cell.tick, cell.slot);
            expected.sort_unstable_by_key(key);
            found.sort_unstable_by_key(key);
            assert_eq!(found, expected, "{kind}: the samples do not depend on the number of appenders");
        }
    }

    #[test]
    fn nothing_to_push_with_is_a_usage_error() {
        let workload = Workload::new(Kind::W1, 1, Some(1)).unwrap();
        assert_eq!(Part::split(&workload, 0, 1).unwrap_err().exit_code(), 2);
        assert_eq!(Part::split(&workload, 1, 0).unwrap_err().exit_code(), 2);
    }
}
