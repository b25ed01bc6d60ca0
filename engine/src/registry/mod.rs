//! Which series exist: label sets to slots and back, found by matchers.
//!
//! Resolving takes a lock and is done once a series; pushing and reading by slot take none.

mod order;
mod pairs;
mod postings;
mod ragged;
mod select;
mod slots;
mod table;

use std::hash::{BuildHasher, RandomState};

use tidegauge_storage::model::{LabelError, LabelLimits, Labels};

use pairs::{Pairs, Texts};
pub(crate) use slots::Slots;
use table::Table;

use crate::sync::{Arc, ReadGuard, RwLock};

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
    /// The engine holds as many series as it may. Known series go on; find out which label has too
    /// many values, or raise [`Builder::max_series`](crate::Builder::max_series).
    #[error("{labels} is not registered, the limit of {limit} series is reached: see which label has too many values")]
    TooManySeries {
        /// The series that was refused.
        labels: String,
        /// The limit.
        limit: usize,
    },
}

/// All series of an engine.
///
/// A label set is kept as the numbers of its pairs, each pair's text once: some 60 bytes a series with what finds it.
pub(crate) struct Registry {
    slots: Arc<Slots>,
    limits: LabelLimits,
    series_max: usize,
    hasher: RandomState,
    names: RwLock<Names>,
}

struct Names {
    /// Slots by the pairs of their sets.
    by_pairs: Table,
    pairs: Pairs,
}

impl Registry {
    pub(crate) fn new(series_max: usize, limits: LabelLimits) -> Self {
        let series_max = series_max.min(u32::MAX as usize - 1);
        let texts = Arc::new(Texts::new());
        let names = Names { by_pairs: Table::default(), pairs: Pairs::new(Arc::clone(&texts)) };
        let slots = Arc::new(Slots::new(series_max, texts));
        Self { slots, limits, series_max, hasher: RandomState::new(), names: RwLock::new(names) }
    }

    pub(crate) fn slots(&self) -> &Arc<Slots> {
        &self.slots
    }

    fn names(&self) -> ReadGuard<'_, Names> {
        self.names.read()
    }

    /// The slot of a label set built from pairs in any order; registers it if it is new.
    pub(crate) fn resolve(&self, pairs: &[(&str, &str)]) -> Result<u32, SeriesError> {
        self.resolve_labels(&Labels::new(pairs.iter().copied(), &self.limits)?)
    }

    /// As [`Self::resolve`], for a set that was checked before (its limits may have been others).
    pub(crate) fn resolve_labels(&self, labels: &Labels) -> Result<u32, SeriesError> {
        let mut pairs = Vec::with_capacity(16);
        if let Some(slot) = self.look_up(&self.names(), labels, &mut pairs) {
            return Ok(slot);
        }
        let mut names = self.names.write();
        if let Some(slot) = self.look_up(&names, labels, &mut pairs) {
            return Ok(slot);
        }
        if names.by_pairs.len() >= self.series_max || !names.pairs.has_room(labels.len()) {
            return Err(SeriesError::TooManySeries { labels: labels.to_string(), limit: self.series_max });
        }
        pairs.clear();
        pairs.extend(labels.encoded_pairs().map(|text| names.pairs.find_or_add(text)));
        let slot = self.slots.add(&pairs);
        pairs.iter().for_each(|&pair| names.pairs.carry(pair, slot));
        names.by_pairs.insert(self.hash(&pairs), slot);
        Ok(slot)
    }

    /// The slot of a label set. `pairs` is memory to work in.
    fn look_up(&self, names: &Names, labels: &Labels, pairs: &mut Vec<u32>) -> Option<u32> {
        pairs.clear();
        for text in labels.encoded_pairs() {
            pairs.push(names.pairs.find(text)?);
        }
        names.by_pairs.find(self.hash(pairs), |slot| self.slots.pairs(slot).eq(pairs.iter().copied()))
    }

    fn hash(&self, pairs: &[u32]) -> u32 {
        self.hasher.hash_one(pairs) as u32
    }

    /// The slot of a label set, if it is registered.
    pub(crate) fn find(&self, labels: &Labels) -> Option<u32> {
        self.look_up(&self.names(), labels, &mut Vec::with_capacity(16))
    }

    /// The slot of a label set built from pairs in any order, if it is registered.
    pub(crate) fn find_pairs(&self, pairs: &[(&str, &str)]) -> Result<(Labels, Option<u32>), LabelError> {
        let labels = Labels::new(pairs.iter().copied(), &self.limits)?;
        let slot = self.find(&labels);
        Ok((labels, slot))
    }

    /// Checks a label set against this engine's limits.
    pub(crate) fn check(&self, labels: &Labels) -> Result<(), LabelError> {
        Labels::new(labels.iter(), &self.limits).map(drop)
    }

    /// Series that may be.
    pub(crate) fn series_max(&self) -> usize {
        self.series_max
    }

    pub(crate) fn len(&self) -> usize {
        self.slots.len() as usize
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tidegauge_storage::model::{MatchOp, Matcher};

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

        #[test]
        fn label_order_by_numbers_equals_that_by_text(
            sets in prop::collection::btree_set(prop::collection::btree_map("[xyz]{1,2}", "[aé]{1,3}", 1..4), 1..30),
            skip in 1usize..4,
        ) {
            let r = registry();
            let labels = |set: &std::collections::BTreeMap<String, String>| Labels::new(set.iter(), &LabelLimits::DEFAULT).unwrap();
            let slots: Vec<u32> = sets.iter().rev().map(|set| r.resolve_labels(&labels(set)).unwrap()).collect();
            let some: Vec<u32> = slots.into_iter().step_by(skip).collect();
            let mut expected = some.clone();
            expected.sort_by_key(|&slot| r.slots().labels(slot).unwrap());
            prop_assert_eq!(r.slots().in_label_order(some), expected);
        }
    }
}
