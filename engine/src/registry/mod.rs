//! Which series exist: label sets to slots and back, found by matchers.
//!
//! Resolving takes a lock and is done once a series; pushing and reading by slot take none.

mod postings;
mod slots;

use std::collections::BTreeSet;
use std::collections::HashMap;
use std::sync::RwLock;

use tidegauge_storage::model::{LabelError, LabelLimits, Labels, Matcher};

use postings::Postings;
pub(crate) use slots::Slots;

use crate::sync::Arc;

/// A series of one engine: resolve it once with [`Engine::series`](crate::Engine::series), push with it often.
///
/// Local to the process and never stored. An id of another engine, or of a series that was
/// evicted, is refused at the push as stale.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SeriesId {
    pub(crate) slot: u32,
    pub(crate) tag: u32,
}

/// Why a series could not be resolved. Nothing was registered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SeriesError {
    /// The label set is not acceptable; mend it.
    #[error(transparent)]
    Labels(#[from] LabelError),
    /// The engine holds as many series as it may. Known series go on; raise `max_series`, or
    /// find out which label has too many values.
    #[error("{labels} is not registered: the limit of {limit} series is reached")]
    TooManySeries {
        /// The series that was refused.
        labels: String,
        /// The limit.
        limit: usize,
    },
}

/// All series of an engine.
pub(crate) struct Registry {
    slots: Arc<Slots>,
    limits: LabelLimits,
    series_max: usize,
    names: RwLock<Names>,
}

#[derive(Default)]
struct Names {
    by_labels: HashMap<Labels, u32>,
    postings: Postings,
}

impl Registry {
    pub(crate) fn new(series_max: usize, limits: LabelLimits) -> Self {
        let series_max = series_max.min(u32::MAX as usize - 1);
        Self { slots: Arc::new(Slots::new(series_max)), limits, series_max, names: RwLock::default() }
    }

    pub(crate) fn slots(&self) -> &Arc<Slots> {
        &self.slots
    }

    /// The slot of a label set built from pairs in any order; registers it if it is new.
    pub(crate) fn resolve(&self, pairs: &[(&str, &str)]) -> Result<u32, SeriesError> {
        self.resolve_labels(&Labels::new(pairs.iter().copied(), &self.limits)?)
    }

    /// As [`Self::resolve`], for a set that was checked before (its limits may have been others).
    pub(crate) fn resolve_labels(&self, labels: &Labels) -> Result<u32, SeriesError> {
        if let Some(&slot) = self.names.read().expect("registry lock").by_labels.get(labels) {
            return Ok(slot);
        }
        let mut names = self.names.write().expect("registry lock");
        if let Some(&slot) = names.by_labels.get(labels) {
            return Ok(slot);
        }
        if names.by_labels.len() >= self.series_max {
            return Err(SeriesError::TooManySeries { labels: labels.to_string(), limit: self.series_max });
        }
        let slot = self.slots.add(labels);
        names.postings.add(slot, labels);
        names.by_labels.insert(labels.clone(), slot);
        Ok(slot)
    }

    /// Checks a label set against this engine's limits.
    pub(crate) fn check(&self, labels: &Labels) -> Result<(), LabelError> {
        Labels::new(labels.iter(), &self.limits).map(drop)
    }

    /// Slots of the series that pass all matchers, ascending.
    pub(crate) fn select(&self, matchers: &[Matcher]) -> Vec<u32> {
        let names = self.names.read().expect("registry lock");
        names.postings.select(matchers, self.slots.len(), |slot| self.slots.labels(slot))
    }

    pub(crate) fn label_names(&self, out: &mut BTreeSet<String>) {
        self.names.read().expect("registry lock").postings.names(out);
    }

    pub(crate) fn label_values(&self, name: &str, out: &mut BTreeSet<String>) {
        self.names.read().expect("registry lock").postings.values(name, out);
    }

    pub(crate) fn len(&self) -> usize {
        self.slots.len() as usize
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tidegauge_storage::model::MatchOp;

    use super::*;

    fn registry() -> Registry {
        Registry::new(1000, LabelLimits::DEFAULT)
    }

    #[test]
    fn a_label_set_has_one_slot_whatever_the_order_of_its_pairs() {
        let r = registry();
        let a = r.resolve(&[("__name__", "cpu"), ("host", "a")]).unwrap();
        assert_eq!(r.resolve(&[("host", "a"), ("__name__", "cpu"), ("x", "")]).unwrap(), a);
        assert_ne!(r.resolve(&[("__name__", "cpu")]).unwrap(), a);
        assert_eq!(r.len(), 2);
    }

    #[test]
    fn only_the_new_series_is_refused_at_the_limit_and_it_is_named() {
        let r = Registry::new(1, LabelLimits::DEFAULT);
        let a = r.resolve(&[("__name__", "a")]).unwrap();
        let refused = r.resolve(&[("__name__", "b")]).unwrap_err();
        assert_eq!(refused, SeriesError::TooManySeries { labels: "b".into(), limit: 1 });
        assert_eq!(r.resolve(&[("__name__", "a")]).unwrap(), a);
    }

    fn matcher() -> impl Strategy<Value = Matcher> {
        let op =
            prop_oneof![Just(MatchOp::Equal), Just(MatchOp::NotEqual), Just(MatchOp::Regex), Just(MatchOp::NotRegex)];
        let value = prop_oneof![Just(""), Just("a"), Just("b"), Just("a|b"), Just(".*"), Just(".+"), Just("a.?")];
        ("[xyz]", op, value).prop_map(|(name, op, value)| Matcher::new(name, op, value).unwrap())
    }

    proptest! {
        #[test]
        fn selection_equals_trying_every_series(
            sets in prop::collection::btree_set(prop::collection::btree_map("[xyz]", "[ab]{1,2}", 1..4), 1..20),
            matchers in prop::collection::vec(matcher(), 0..4),
        ) {
            let r = registry();
            let mut expected = vec![];
            for set in &sets {
                let pairs: Vec<_> = set.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
                let slot = r.resolve(&pairs).unwrap();
                if matchers.iter().all(|m| m.matches(set.get(m.name()).map_or("", String::as_str))) {
                    expected.push(slot);
                }
            }
            expected.sort_unstable();
            prop_assert_eq!(r.select(&matchers), expected);
        }
    }
}
