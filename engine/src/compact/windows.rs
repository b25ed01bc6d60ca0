//! How much time one segment shall cover: what goes for its age goes in such steps.

use super::plan::Rules;
use crate::retention::coarse_horizon;

/// What a rule may still hide lies in windows of an eighth of its age, and so in segments that are over age one after the
/// other. What is older than an age is not divided for it: a rule for a few series, or a short one beside one that keeps
/// some series for ever, must not keep all that was ever pushed from being merged.
pub(super) struct Windows(Vec<Stretch>);

/// Time from here to the next stretch, in windows of one length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stretch {
    start: i64,
    span: i64,
}

impl Windows {
    pub(super) fn new(rules: &Rules) -> Self {
        let mut stretches = vec![Stretch { start: i64::MIN, span: rules.span }];
        for &age in rules.ages.iter().rev() {
            // That before which jobs leave out what the rule hides.
            let start = coarse_horizon(rules.now, age).max(stretches.last().map_or(i64::MIN, |before| before.start));
            stretches.push(Stretch { start, span: (age / 8).clamp(1, rules.span) });
        }
        Self(stretches)
    }

    /// The stretches from `first` to `last`: what lies in each, and how long a window is.
    fn over(&self, first: i64, last: i64) -> impl Iterator<Item = (i128, i128, i128)> {
        let ends = self.0.iter().skip(1).map(|next| next.start.saturating_sub(1)).chain([i64::MAX]);
        let within = self.0.iter().zip(ends).map(move |(own, end)| (own.start.max(first), end.min(last), own.span));
        within.filter(|(from, to, _)| from <= to).map(|(from, to, span)| (from.into(), to.into(), span.into()))
    }

    /// How many windows there are from `first` to `last`.
    pub(super) fn count(&self, first: i64, last: i64) -> u64 {
        let counts = self.over(first, last).map(|(from, to, span)| to.div_euclid(span) - from.div_euclid(span) + 1);
        u64::try_from(counts.sum::<i128>()).unwrap_or(u64::MAX).max(1)
    }

    /// Where they part, each time after so many of them.
    pub(super) fn cuts(&self, first: i64, last: i64, after: u64) -> Vec<i64> {
        let mut cuts = Vec::new();
        for (from, to, span) in self.over(first, last) {
            let step = span * i128::from(after.max(1));
            let mut at = from.div_euclid(step) * step + step;
            while at <= to {
                cuts.extend(i64::try_from(at));
                at += step;
            }
        }
        cuts
    }
}

#[cfg(test)]
mod tests {
    use super::super::plan::Turn;
    use super::*;

    #[test]
    fn what_is_older_than_an_age_is_not_divided_for_it() {
        let rules = Rules {
            segment_bytes: 1,
            span: 1_000,
            ages: [80, 800].into(),
            fan: 4,
            now: 10_000,
            most: u64::MAX,
            turn: Turn::default(),
            all: false,
            cold_after: i64::MAX,
        };
        let windows = Windows::new(&rules);
        // A 32nd of 80 is 2, of 800 is 25.
        let stretch = |start, span| Stretch { start, span };
        assert_eq!(windows.0, [stretch(i64::MIN, 1_000), stretch(9_200, 100), stretch(9_920, 10)]);
        assert_eq!((windows.count(9_930, 9_939), windows.count(9_930, 9_940)), (1, 2));
        assert_eq!((windows.count(9_300, 9_399), windows.count(9_300, 9_919)), (1, 7));
        assert_eq!((windows.count(8_000, 8_999), windows.count(-1, 0)), (1, 2));
        assert_eq!(
            windows.cuts(8_500, 9_949, 1),
            [9_000, 9_300, 9_400, 9_500, 9_600, 9_700, 9_800, 9_900, 9_930, 9_940]
        );
        assert_eq!(windows.cuts(8_500, 9_949, 4), [9_600]);
    }
}
