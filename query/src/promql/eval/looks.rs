//! Looks at a query's bounds between pieces of work: a loop over steps or over a window's samples is as long as the
//! memory allows, which is longer than a client's patience may be.

use super::error::EvalError;
use super::times::Steps;
use crate::limits::Budget;

/// Cells or samples between two looks: a fraction of a millisecond of work.
pub(super) const PIECE: usize = 1 << 16;

/// Counts the work of a loop.
pub(super) struct Looks<'a> {
    budget: &'a Budget,
    work: usize,
}

impl<'a> Looks<'a> {
    pub(super) fn new(budget: &'a Budget) -> Self {
        Self { budget, work: 0 }
    }

    /// Counts `cells` more, and looks once they are a piece.
    pub(super) fn after(&mut self, cells: usize) -> Result<(), EvalError> {
        self.work += cells;
        if self.work >= PIECE {
            self.work = 0;
            self.budget.check()?;
        }
        Ok(())
    }
}

/// `all` in pieces, with a look before each but the first: whoever asks has just looked.
pub(super) fn pieces<'a, T>(all: &'a [T], budget: &'a Budget) -> impl Iterator<Item = Result<&'a [T], EvalError>> {
    all.chunks(PIECE).enumerate().map(|(i, piece)| look(i, budget).map(|()| piece))
}

/// As [`pieces`].
pub(super) fn pieces_mut<'a, T>(
    all: &'a mut [T],
    budget: &'a Budget,
) -> impl Iterator<Item = Result<&'a mut [T], EvalError>> {
    all.chunks_mut(PIECE).enumerate().map(|(i, piece)| look(i, budget).map(|()| piece))
}

fn look(piece: usize, budget: &Budget) -> Result<(), EvalError> {
    if piece > 0 { Ok(budget.check()?) } else { Ok(()) }
}

/// Appends `count` times `value`.
pub(super) fn repeat<T: Clone>(into: &mut Vec<T>, value: &T, count: usize, budget: &Budget) -> Result<(), EvalError> {
    into.reserve(count);
    let end = into.len() + count;
    while into.len() < end {
        into.resize(end.min(into.len() + PIECE), value.clone());
        if into.len() < end {
            budget.check()?;
        }
    }
    Ok(())
}

/// What `f` makes of the time of each step.
pub(super) fn of_times<T>(steps: Steps, budget: &Budget, f: impl Fn(i64) -> T) -> Result<Vec<T>, EvalError> {
    let mut all = Vec::with_capacity(steps.count);
    let mut looks = Looks::new(budget);
    for at in steps.iter() {
        all.push(f(at));
        looks.after(1)?;
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tidegauge_storage::model::{Labels, Sample, SeqNo, Timestamp};
    use tidegauge_storage::source::{Snapshot, VecSource};

    use super::*;
    use crate::limits::QueryLimits;
    use crate::promql::eval::{Evaluator, Options};
    use crate::promql::parse::parse;

    const PIECES: usize = 8;

    /// How often a query looks at its bounds.
    fn looks(text: &str) -> u64 {
        let mut source = VecSource::new();
        for i in ["1", "2"] {
            let sample = Sample { timestamp: Timestamp::from_nanos(0), value: 1.0 };
            source.insert(&Labels::from_sorted(&[("__name__", "x"), ("i", i)]), [sample]);
        }
        let snapshot = Snapshot::new(vec![Arc::new(source)], SeqNo(0));
        let budget = Budget::new(QueryLimits::NONE);
        let steps = PIECES * PIECE;
        let lookback = std::time::Duration::from_millis(steps as u64);
        let options = Options { lookback, ..Options::default() };
        let evaluator = Evaluator::new(&snapshot, options).budget(&budget);
        let text = text.replace("LONG", &format!("{steps}ms:1ms"));
        let at = Timestamp::from_nanos(steps as i64 * 1_000_000);
        evaluator.instant(&parse(&text).unwrap(), at).unwrap_or_else(|e| panic!("{text}: {e}"));
        budget.looks()
    }

    #[test]
    fn each_loop_over_many_steps_looks_at_the_bounds() {
        const LOOP: u64 = PIECES as u64 - 1;
        let base = looks("last_over_time(vector(time())[LONG])");
        // time(), the row of vector() and its count, the steps' times, the window.
        assert!(base >= 5 * LOOP, "{base}");
        let more = |inner: &str| looks(&format!("last_over_time(({inner})[LONG])")).saturating_sub(base);
        for (inner, at_least) in [
            ("-vector(time())", 1),
            ("vector(time() * 2)", 2),
            ("vector(-time())", 1),
            ("vector(max_of(time(), 1))", 2),
            ("vector(scalar(vector(time())))", 2),
            ("abs(vector(time()))", 1),
            ("hour(vector(time()))", 1),
            ("timestamp(vector(time()))", 1),
            ("clamp_min(vector(time()), 1)", 2),
            ("round(vector(time()))", 2),
            ("vector(time()) * 2", 2),
            ("vector(time()) > time()", 1),
            ("vector(time()) + vector(1)", 3),
            ("vector(time()) and vector(1)", 3),
            ("vector(time()) or vector(1)", 3),
            ("sum(vector(time()))", 2),
            ("stddev(vector(time()))", 2),
            ("quantile(0.5, vector(time()))", 2),
            ("topk(1, vector(time()))", 3),
            ("limit_ratio(1, vector(time()))", 2),
            ("count_values(\"a\", vector(time() < bool 0))", 2),
            ("absent(vector(time()) < 0)", 3),
            ("histogram_quantile(0.5, label_replace(vector(time()), \"le\", \"+Inf\", \"\", \"\"))", 2),
        ] {
            let more = more(inner);
            assert!(more >= at_least * LOOP, "{inner}: {more} looks");
        }
        assert!(looks("last_over_time(hour()[LONG])") >= 5 * LOOP);
        // Two series of one value at each step: where they are looked up, and of each what is there and the window.
        assert!(looks("last_over_time(x[LONG])") >= 8 * LOOP);
    }

    /// How often a query looks that makes labels of 1,000 series at one time.
    fn looks_of_labels(text: &str) -> u64 {
        let mut source = VecSource::new();
        for i in 0..1000 {
            let sample = Sample { timestamp: Timestamp::from_nanos(0), value: f64::from(i) };
            let (i, le) = (i.to_string(), (i % 10).to_string());
            let labels = [("__name__", "x"), ("i", &i), ("instance", "a"), ("job", "b"), ("le", &le)];
            source.insert(&Labels::from_sorted(&labels), [sample]);
        }
        let sample = Sample { timestamp: Timestamp::from_nanos(0), value: 1.0 };
        let target = [("__name__", "target_info"), ("instance", "a"), ("job", "b"), ("n1", "y")];
        source.insert(&Labels::from_sorted(&target), [sample]);
        let snapshot = Snapshot::new(vec![Arc::new(source)], SeqNo(0));
        let budget = Budget::new(QueryLimits::NONE);
        let evaluator = Evaluator::new(&snapshot, Options::default()).budget(&budget);
        evaluator
            .instant(&parse(text).unwrap(), Timestamp::from_nanos(0))
            .unwrap_or_else(|e| panic!("{text:.60}: {e}"));
        budget.looks()
    }

    #[test]
    fn whatever_makes_labels_looks_at_the_bounds_though_there_is_one_step() {
        let quoted = |n: usize| (0..n).map(|i| format!("'n{i}'")).collect::<Vec<_>>().join(",");
        let names = quoted(2000).replace('\'', "");
        let long = "v".repeat(16 << 10);
        for (few, many, at_least) in [
            ("label_join(x, 'q', ',', 'i')".to_owned(), format!("label_join(x, 'q', ',', {})", quoted(2000)), 30),
            ("label_replace(x, 'q', 'v', '', '')".to_owned(), format!("label_replace(x, 'q', '{long}', '', '')"), 15),
            (
                "label_replace(x, 'q', 'v', 'i', '.*')".to_owned(),
                format!("label_replace(x, 'q', '{long}', 'i', '.*')"),
                15,
            ),
            ("sum by (i) (x)".to_owned(), format!("sum by (i, {names}) (x)"), 30),
            ("sum without (i) (x)".to_owned(), format!("sum without (i, {names}) (x)"), 30),
            ("count_values by (i) ('c', x)".to_owned(), format!("count_values by (i, {names}) ('c', x)"), 30),
            ("x and on (i) x".to_owned(), format!("x and on (i, {names}) x"), 60),
            ("x or on (i) x".to_owned(), format!("x or on (i, {names}) x"), 60),
            ("x + on (i) x".to_owned(), format!("x + on (i, {names}) x"), 60),
            ("x + on (i) group_left () x".to_owned(), format!("x + on (i) group_left ({names}) x"), 60),
            ("info(x)".to_owned(), format!("info(x, {{{}}})", names.replace(',', "=~\".*\",") + "=~\".*\""), 30),
        ] {
            let more = looks_of_labels(&many).saturating_sub(looks_of_labels(&few));
            assert!(more >= at_least, "{many:.60}: {more} looks more");
        }
    }

    #[test]
    fn functions_of_long_windows_look_at_the_bounds() {
        let base = looks("last_over_time(vector(time())[LONG])");
        for function in [
            "deriv(vector(time())[LONG])",
            "predict_linear(vector(time())[LONG], 1)",
            "double_exponential_smoothing(vector(time())[LONG], 0.5, 0.5)",
            "stddev_over_time(vector(time())[LONG])",
        ] {
            assert!(looks(function) >= base + PIECES as u64 - 1, "{function}");
        }
        assert!(looks("vector(time())[LONG]") >= 5 * (PIECES as u64 - 1), "the window itself is an answer");
    }
}
