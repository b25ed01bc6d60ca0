//! Which window a timestamp lies in.

use std::time::Duration;

use tidegauge_storage::model::TimeRange;

use crate::QueryError;

/// Windows of one length, aligned to the Unix epoch; or one window that is the whole range.
#[derive(Clone, Copy, Debug)]
pub(super) struct Windows {
    /// Nanoseconds, at least one; `None` for the whole range.
    length: Option<i64>,
    /// Where the range begins.
    start: i64,
}

/// One window, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Window {
    /// First timestamp inside; the window's name in the answer.
    pub(super) first: i64,
    /// Last timestamp inside.
    pub(super) last: i64,
}

impl Windows {
    pub(super) fn new(every: Option<Duration>, range: TimeRange) -> Result<Self, QueryError> {
        let length = every.map(|every| i64::try_from(every.as_nanos()).unwrap_or(i64::MAX));
        if length == Some(0) {
            return Err(QueryError::EmptyWindow);
        }
        Ok(Self { length, start: range.start.nanos() })
    }

    /// The window that holds `at`.
    pub(super) fn holding(&self, at: i64) -> Window {
        let Some(length) = self.length else { return Window { first: self.start, last: i64::MAX } };
        let inside = at.rem_euclid(length);
        Window { first: at.saturating_sub(inside), last: at.saturating_add(length - 1 - inside) }
    }

    /// As many windows as `range` meets, or more; at least one.
    pub(super) fn most_in(&self, range: TimeRange) -> usize {
        let Some(length) = self.length else { return 1 };
        let meets = (i128::from(range.end.nanos()) - i128::from(range.start.nanos())).max(0) / i128::from(length) + 2;
        usize::try_from(meets).unwrap_or(usize::MAX)
    }
}

impl Window {
    /// How many of the ascending `timestamps`, the first of which lies inside, do.
    ///
    /// `guess` is tried first: windows of a regular series are of equal length.
    pub(super) fn run(&self, timestamps: &[i64], guess: usize) -> usize {
        let inside = |at: usize| timestamps.get(at).is_some_and(|&at| at <= self.last);
        if guess > 0 && inside(guess - 1) && !inside(guess) {
            return guess;
        }
        match timestamps.last() {
            Some(&at) if at > self.last => {
                let mut bound = 1;
                while inside(bound) {
                    bound *= 2;
                }
                let known = bound / 2;
                let bound = bound.min(timestamps.len());
                known + timestamps[known..bound].partition_point(|&at| at <= self.last)
            }
            _ => timestamps.len(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use tidegauge_storage::model::Timestamp;

    use super::*;

    fn windows(nanos: u64) -> Windows {
        Windows::new(Some(Duration::from_nanos(nanos)), TimeRange::ALL).unwrap()
    }

    #[test]
    fn windows_are_aligned_to_the_epoch_on_both_sides_of_it() {
        let tens = windows(10);
        for (at, first, last) in [(0, 0, 9), (9, 0, 9), (10, 10, 19), (-1, -10, -1), (-10, -10, -1)] {
            assert_eq!(tens.holding(at), Window { first, last }, "{at}");
        }
    }

    #[test]
    fn the_first_and_the_last_window_end_where_time_does() {
        let tens = windows(10);
        assert_eq!(tens.holding(i64::MIN).first, i64::MIN);
        assert_eq!(tens.holding(i64::MIN).last, i64::MIN + 7);
        assert_eq!(tens.holding(i64::MAX), Window { first: i64::MAX - 7, last: i64::MAX });
        let huge = windows(u64::MAX);
        assert_eq!(huge.holding(5), Window { first: 0, last: i64::MAX - 1 });
        assert_eq!(huge.holding(i64::MAX), Window { first: i64::MAX, last: i64::MAX });
        assert_eq!(windows(1).holding(i64::MIN), Window { first: i64::MIN, last: i64::MIN });
        assert!(Windows::new(Some(Duration::ZERO), TimeRange::ALL).is_err());
    }

    #[test]
    fn no_range_meets_more_windows_than_are_told() {
        for length in 1..12 {
            for (start, end) in (-15..15).flat_map(|start| (start..20).map(move |end| (start, end))) {
                let range = TimeRange::new(Timestamp::from_nanos(start), Timestamp::from_nanos(end));
                let firsts = (start..end).map(|at| windows(length).holding(at).first);
                let meets = firsts.collect::<BTreeSet<_>>().len();
                let most = windows(length).most_in(range);
                assert!((meets..=meets + 2).contains(&most), "{length} {start} {end}: {meets} of {most}");
            }
        }
        assert_eq!(windows(1).most_in(TimeRange::ALL), usize::MAX);
        assert_eq!(Windows::new(None, TimeRange::ALL).unwrap().most_in(TimeRange::ALL), 1);
    }

    #[test]
    fn a_run_ends_where_counting_says_whatever_was_guessed() {
        let column: Vec<i64> = (0..50).map(|i| i * 3).collect();
        for last in 0..160 {
            let window = Window { first: 0, last };
            let naive = column.iter().filter(|&&at| at <= last).count();
            for guess in [0, 1, naive, naive + 1, 50, 90] {
                assert_eq!(window.run(&column, guess), naive, "{last} {guess}");
            }
        }
    }
}
