//! Numbers in the engine's one order, as far as its answers told them: those of the last samples of series, on which
//! conditions are judged when they came back (P8), and those that order the operations of one lane before another's.

use tidegauge::{CommitError, Engine, Expect, Found, SeqNo};

use crate::run::COUNTER;
use crate::script::Rng;
use crate::store;

/// The series `.1` of lane `.0` has the last sample number `.2`.
pub type Known = (u8, u8, u64);

/// What is known of the operations of one lane.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Numbers {
    /// (operations, series, number): behind so many operations that is the number of the series' last sample, or nobody
    /// knows it.
    pub(crate) lasts: Vec<(usize, u8, Option<u64>)>,
    /// (number, operations): those of so many operations are below it, those of all others are not.
    pub(crate) marks: Vec<(u64, usize)>,
}

impl Numbers {
    /// The last of so many operations changes a series, or all of them: nobody knows the last number any more.
    pub(crate) fn forget(&mut self, operations: usize, series: Option<u8>) {
        for one in (0..=COUNTER).filter(|one| series.is_none_or(|series| series == *one)) {
            let last = self.lasts.iter().rfind(|(_, of, _)| *of == one);
            if last.is_some_and(|(.., seq)| seq.is_some()) {
                self.lasts.push((operations, one, None));
            }
        }
    }

    /// Behind so many operations that is the number of the last sample of a series.
    pub(crate) fn note(&mut self, operations: usize, series: u8, seq: u64) {
        self.lasts.push((operations, series, Some(seq)));
    }

    /// So many operations have numbers below `seq`, and all others will not.
    pub(crate) fn mark(&mut self, seq: SeqNo, operations: usize) {
        if self.marks.last() != Some(&(seq.0, operations)) {
            self.marks.push((seq.0, operations));
        }
    }

    /// What lies behind the first so many operations never was.
    pub(crate) fn take_back(&mut self, operations: usize) {
        self.lasts.retain(|(n, ..)| *n <= operations);
        self.marks.retain(|(_, n)| *n <= operations);
    }

    /// The same for who counts operations from `floor` on; those of one life have an order.
    pub(crate) fn from(&self, floor: usize) -> Self {
        let lasts = self.lasts.iter().map(|(n, series, seq)| (n.saturating_sub(floor), *series, *seq));
        Self { lasts: lasts.collect(), marks: Vec::new() }
    }

    /// The numbers that are known behind so many operations, by series.
    pub(crate) fn behind(&self, operations: usize) -> impl Iterator<Item = (u8, u64)> + '_ {
        (0..=COUNTER).filter_map(move |one| {
            let last = self.lasts.iter().rfind(|(n, series, _)| *series == one && *n <= operations);
            last.and_then(|(.., seq)| Some((one, (*seq)?)))
        })
    }
}

/// Whether lanes, of each of which so many operations came back, at least and at most, are one prefix of the one order:
/// what came back of one has a greater number than nothing that is missing of another.
///
/// # Errors
/// Says what is out of order.
pub(crate) fn are_one_prefix(numbers: &[Numbers], lanes: &[(usize, usize)]) -> Result<(), String> {
    let of_lanes = || numbers.iter().zip(lanes).flat_map(|(numbers, n)| numbers.marks.iter().map(move |m| (m, n)));
    // Something at or above that number came back; something below that one is missing.
    let came = of_lanes().filter(|((_, at), (least, _))| least > at).map(|((seq, _), _)| *seq).max();
    let missing = of_lanes().filter(|((_, at), (_, most))| most < at).map(|((seq, _), _)| *seq).min();
    match came.zip(missing) {
        Some((came, missing)) if missing <= came => {
            Err(format!("{lanes:?} came back: something from number {came} on, and not all below {missing}"))
        }
        _ => Ok(()),
    }
}

/// Asks an engine to judge conditions on numbers that came back: those that hold, and sometimes one more that does not.
/// The batch is empty, so that nothing is written. Answers whether it judged.
///
/// # Errors
/// Says which verdict is wrong.
pub(crate) fn judge(engine: &Engine, known: &[Known], rng: &mut Rng) -> Result<bool, String> {
    // A rule by size hides more whenever it likes.
    if known.is_empty() || engine.retention().max_bytes.is_some() {
        return Ok(false);
    }
    let mut batch = engine.batch();
    for (lane, n, seq) in known {
        batch.expect_last(store::series(engine, *lane, *n), SeqNo(*seq));
    }
    let (lane, n, seq) = known[rng.below(known.len() as u64) as usize];
    let one = store::series(engine, lane, n);
    let (holds, more) = match rng.below(8) {
        0 => (false, Expect::Nothing),
        1 => (false, Expect::Seq(SeqNo(seq - 1))),
        2 => (false, Expect::Seq(SeqNo(seq + 1))),
        3 => (false, Expect::UnchangedSince(SeqNo(seq))),
        _ => (true, Expect::UnchangedSince(SeqNo(seq + 1))),
    };
    batch.expect_last(one, more);
    match batch.commit() {
        Ok(_) if holds => Ok(true),
        Ok(_) => Err(format!("series {n} of lane {lane} has number {seq}, and a batch that expects {more} is taken")),
        Err(CommitError::Conflict { series, found, .. })
            if !holds && series == one && found == Found::Seq(SeqNo(seq)) =>
        {
            Ok(true)
        }
        // It judges nothing while it takes nothing.
        Err(CommitError::DiskFull | CommitError::OutOfFiles | CommitError::Poisoned(_)) => Ok(false),
        Err(e) => Err(format!("{known:?} came back, a batch expects so and of the series of {seq} {more}, and: {e}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_known_until_something_else_happens_to_its_series() {
        let mut numbers = Numbers::default();
        numbers.forget(1, None);
        numbers.note(2, 0, 70);
        numbers.note(2, 1, 71);
        numbers.forget(4, Some(0));
        numbers.forget(5, Some(0));
        let behind = |numbers: &Numbers, n| numbers.behind(n).collect::<Vec<_>>();
        assert_eq!(behind(&numbers, 1), []);
        assert_eq!(behind(&numbers, 3), [(0, 70), (1, 71)]);
        assert_eq!(behind(&numbers, 4), [(1, 71)]);
        assert_eq!(behind(&numbers.from(3), 0), [(0, 70), (1, 71)]);
        numbers.take_back(3);
        assert_eq!(behind(&numbers, 9), [(0, 70), (1, 71)]);
    }

    #[test]
    fn lanes_are_one_prefix_if_nothing_is_missing_below_what_came_back() {
        let numbers = [(10, 2), (30, 4)].map(|first| Numbers { marks: vec![first], ..Numbers::default() });
        // Beyond number 10 of the first lane: of the second one anything may be missing.
        are_one_prefix(&numbers, &[(3, 3), (0, 0)]).unwrap();
        are_one_prefix(&numbers, &[(2, 2), (4, 4)]).unwrap();
        // Beyond number 30, and not all below 10.
        are_one_prefix(&numbers, &[(1, 1), (5, 5)]).unwrap_err();
        are_one_prefix(&numbers, &[(1, 2), (5, 5)]).unwrap();
        are_one_prefix(&numbers, &[(1, 1), (4, 5)]).unwrap();
    }
}
