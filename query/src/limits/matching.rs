//! Looks at a query's bounds while texts are matched with regular expressions: a match takes time in proportion to the
//! text and to the expression, so that thousands of long values and one short expression take minutes.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use tidegauge_storage::model::Matcher;

use super::{Budget, Limit};
use crate::QueryError;

/// Steps between two looks: some milliseconds if each is taken, as few expressions have it.
const STEPS_BETWEEN_LOOKS: u64 = 1 << 20;
/// Nothing can be looked at while one text is matched, so that must not take longer than some seconds.
const STEPS_OF_ONE_MAX: u64 = 1 << 30;

/// The matching that one operation does, on any number of threads.
pub(crate) struct Matching {
    budget: Budget,
    steps: AtomicU64,
    too_many: AtomicBool,
    is_over: AtomicBool,
}

impl Matching {
    pub(crate) fn new(budget: &Budget) -> Self {
        Self {
            budget: budget.clone(),
            steps: AtomicU64::new(0),
            too_many: AtomicBool::new(false),
            is_over: AtomicBool::new(false),
        }
    }

    /// Whether a match may be begun that takes up to `steps`. Once it is not, it never is again.
    pub(crate) fn goes_on(&self, steps: u64) -> bool {
        if self.is_over.load(Relaxed) {
            return false;
        }
        let before = self.steps.fetch_add(steps.min(STEPS_OF_ONE_MAX), Relaxed);
        let look = steps.saturating_add(before % STEPS_BETWEEN_LOOKS) >= STEPS_BETWEEN_LOOKS;
        if steps > STEPS_OF_ONE_MAX {
            self.too_many.store(true, Relaxed);
        } else if !look || self.budget.check().is_ok() {
            return true;
        }
        self.is_over.store(true, Relaxed);
        false
    }

    /// Why it did not go on, if it did not: what was matched until then is worth nothing.
    pub(crate) fn end(&self) -> Result<(), QueryError> {
        if self.too_many.load(Relaxed) {
            return Err(QueryError::LimitExceeded { which: Limit::Matching, limit: STEPS_OF_ONE_MAX });
        }
        // Time that is over, or a query that was cancelled, stays so.
        if self.is_over.load(Relaxed) { self.budget.check() } else { Ok(()) }
    }
}

/// Matchers that stop where `budget` ends, and who knows whether they did.
pub(crate) fn watched<'a>(matchers: &'a [Matcher], budget: &Budget) -> (Cow<'a, [Matcher]>, Option<Arc<Matching>>) {
    if matchers.iter().all(|matcher| matcher.pattern_bytes() == 0) {
        return (Cow::Borrowed(matchers), None);
    }
    let matching = Arc::new(Matching::new(budget));
    let watch = |matcher: &Matcher| {
        let matching = Arc::clone(&matching);
        matcher.clone().watched(Arc::new(move |steps| matching.goes_on(steps)))
    };
    (matchers.iter().map(watch).collect(), Some(matching))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::{Cancel, QueryLimits};
    use tidegauge_storage::model::MatchOp;

    #[test]
    fn a_text_that_may_take_seconds_is_not_begun() {
        let matching = Matching::new(&Budget::new(QueryLimits::DEFAULT));
        assert!(matching.goes_on(STEPS_OF_ONE_MAX));
        matching.end().unwrap();
        assert!(!matching.goes_on(STEPS_OF_ONE_MAX + 1) && !matching.goes_on(1));
        let why = matching.end().unwrap_err();
        assert!(
            matches!(why, QueryError::LimitExceeded { which: Limit::Matching, limit: STEPS_OF_ONE_MAX }),
            "{why:?}"
        );
        assert!(why.to_string().contains("shorten the expression"), "{why}");
    }

    #[test]
    fn a_query_that_is_cancelled_ends_within_a_piece() {
        let cancel = Cancel::new();
        let budget = Budget::cancelled_by(QueryLimits::DEFAULT, cancel.clone());
        let regex = Matcher::new("host", MatchOp::Regex, "[ab]*a[ab]{101}").unwrap();
        let matchers = [regex];
        let (watched, matching) = watched(&matchers, &budget);
        let (text, matching) = ("ab".repeat(500), matching.unwrap());
        assert!(watched[0].matches(&text));
        matching.end().unwrap();
        cancel.cancel();
        // Some 200,000 steps each.
        assert!((0..6).any(|_| !watched[0].matches(&text)));
        assert!(matches!(matching.end(), Err(QueryError::Cancelled)));
        assert!(!watched[0].matches(&text), "it is not begun again");
    }

    #[test]
    fn nobody_watches_what_has_no_regex() {
        let matchers = [Matcher::equal("host", "web")];
        let (same, matching) = watched(&matchers, &Budget::new(QueryLimits::DEFAULT));
        assert!(matches!(same, Cow::Borrowed(_)) && matching.is_none());
    }
}
