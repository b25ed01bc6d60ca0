//! A registry that follows another, without the series that were evicted.
//!
//! Label sets are kept close together, and so a single one cannot be taken out. What stays is copied, beside the
//! registry in use; readers keep the old one as long as they need it.

use super::pairs::Texts;
use super::{Names, Registry, Slots, large};
use crate::sync::{Arc, RwLock};

/// The registry was followed by another: ask that one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Moved;

/// A registry in the making. Dropped unfinished, the old one goes on as if it had not been begun.
pub(crate) struct Rebuild {
    since: Since,
    slots: Slots,
    names: Names,
    /// From the old numbers of pairs to the new ones and one; 0 of one that nobody has needed yet.
    pairs: Box<[u32]>,
}

/// Free slots read under one hold of the lock.
const SLICE: usize = 1 << 13;

/// The old registry keeps a list of what is registered, as long as this lives.
struct Since(Arc<Registry>);

impl Drop for Since {
    fn drop(&mut self) {
        // Nobody registers in one that a panic broke. That may be the one that drops this: a second would end the process.
        if !self.0.is_broken() {
            self.0.names.write().given_since = None;
        }
    }
}

impl Rebuild {
    /// Of all that `old` has but for `left_out`, ascending. One at a time.
    pub(crate) fn without(old: &Arc<Registry>, left_out: &[u32]) -> Self {
        let mut rebuild = Self::of(old);
        let mut left_out = left_out.iter().copied().peekable();
        for slot in old.slots.occupied() {
            if left_out.next_if_eq(&slot).is_none() {
                rebuild.keep(slot);
            }
        }
        rebuild.catch_up();
        rebuild.free_as_before();
        rebuild
    }

    /// Empty. From here on `old` keeps a list of what is registered.
    fn of(old: &Arc<Registry>) -> Self {
        let texts = Arc::new(Texts::new());
        let names = Names::new(&texts);
        let slots = Slots::on(Arc::clone(old.slots.heads()), texts);
        let pairs = {
            let mut names = old.names.write();
            names.given_since = Some(Vec::new());
            names.pairs.len()
        };
        Self { since: Since(Arc::clone(old)), slots, names, pairs: large::zeroed(pairs) }
    }

    /// The series in `slot` stays. Nothing happens if that was said before.
    pub(crate) fn keep(&mut self, slot: u32) {
        if self.slots.is_set(slot) {
            return;
        }
        let registry = &self.since.0;
        let (texts, mut text) = (registry.slots.texts(), Vec::new());
        let mut pairs = Vec::with_capacity(16);
        for old in registry.slots.pairs(slot) {
            let mut find_or_add = || {
                text.clear();
                texts.append(old, &mut text);
                self.names.pairs.find_or_add(&text)
            };
            pairs.push(match self.pairs.get_mut(old as usize) {
                Some(0) => {
                    let new = find_or_add();
                    self.pairs[old as usize] = new + 1;
                    new
                }
                Some(after) => *after - 1,
                // It came when this had begun.
                None => find_or_add(),
            });
        }
        self.slots.set(slot, &pairs);
        pairs.iter().for_each(|&pair| self.names.pairs.carry(pair, slot));
        self.names.by_pairs.insert(registry.hash(&pairs), slot);
    }

    /// What was registered meanwhile stays too. Afterwards little is left to do for [`Self::follow`].
    pub(crate) fn catch_up(&mut self) {
        let given = self.since.0.names.write().given_since.as_mut().map(std::mem::take);
        given.into_iter().flatten().for_each(|slot| self.keep(slot));
    }

    /// What is free before anything goes stays free. If it is given out meanwhile, it is kept, and not free for that.
    fn free_as_before(&mut self) {
        let old = Arc::clone(&self.since.0);
        for start in (0..).step_by(SLICE) {
            // Slots leave the list at its end only.
            let names = old.names();
            let slice = names.free.get(start..).unwrap_or_default();
            if slice.is_empty() {
                return;
            }
            let slice = slice.iter().take(SLICE).copied();
            self.names.free.extend(slice.filter(|slot| !old.slots.is_set(*slot)));
        }
    }

    /// Of `left_out`, what was taken is free once the new registry is in use; what was not stays.
    pub(crate) fn settle(&mut self, left_out: &[u32]) {
        for &slot in left_out.iter().rev() {
            if self.since.0.is_taken(slot) { self.names.free.push(slot) } else { self.keep(slot) }
        }
        self.catch_up();
    }

    /// Closes the old registry and answers the new one. What was registered since the last [`Self::catch_up`], or asked
    /// for again, stays too. Nobody resolves a series during the call, which looks at just that.
    pub(crate) fn follow(mut self) -> Registry {
        let old = Arc::clone(&self.since.0);
        let mut names = old.names.write();
        names.given_since.take().into_iter().flatten().for_each(|slot| self.keep(slot));
        names.closed = true;
        drop(names);
        Registry {
            slots: Arc::new(self.slots),
            limits: old.limits,
            series_max: old.series_max,
            label_bytes_max: old.label_bytes_max,
            hasher: old.hasher.clone(),
            names: RwLock::new(self.names),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;
    use tidegauge_storage::model::{LabelLimits, MatchOp, Matcher};

    use super::*;
    use crate::registry::SeriesId;

    type Found = Vec<((u8, u8), SeriesId)>;

    /// Takes some series out, as an eviction does: in two slices, with those of `since` resolved before, between and
    /// behind them. Answers what they are resolved to.
    fn without(old: &Arc<Registry>, going: &[u32], since: &[(u8, u8)]) -> (Arc<Registry>, Found) {
        let mut rebuild = Rebuild::without(old, going);
        let fifth = since.len().div_ceil(5).max(1);
        let mut since = since.chunks(fifth);
        let mut found = vec![];
        let mut some = || {
            for set in since.next().unwrap_or_default() {
                found.push((*set, resolve(old, *set)));
            }
        };
        some();
        rebuild.catch_up();
        for slice in going.chunks(going.len().div_ceil(2).max(1)) {
            let before = old.len();
            // One of three is needed again when it is judged.
            let turn = old.take(slice, |slot| slot % 3 > 0);
            let gone = slice.iter().filter(|slot| **slot % 3 > 0).count();
            assert_eq!((before - old.len(), turn.is_some()), (gone, gone > 0));
            some();
        }
        rebuild.settle(going);
        some();
        rebuild.catch_up();
        some();
        let registry = rebuild.follow();
        assert_eq!(old.resolve(&labels(old, (0, 0))), Err(Moved));
        assert!(old.names.read().given_since.is_none());
        (Arc::new(registry), found)
    }

    fn labels(registry: &Registry, (a, b): (u8, u8)) -> tidegauge_storage::model::Labels {
        registry.labels(&[("__name__", "m"), ("a", &a.to_string()), ("b", &b.to_string())]).unwrap()
    }

    fn resolve(registry: &Registry, set: (u8, u8)) -> SeriesId {
        registry.resolve(&labels(registry, set)).unwrap().unwrap()
    }

    type Round = (Vec<(u8, u8)>, Vec<bool>, Vec<(u8, u8)>);

    fn round() -> impl Strategy<Value = Round> {
        let sets = || prop::collection::vec((0..6u8, 0..6u8), 0..12);
        (sets(), prop::collection::vec(any::<bool>(), 36), sets())
    }

    #[test]
    fn an_eviction_that_is_given_up_leaves_nothing_that_the_next_one_does_not_take() {
        let first = Arc::new(Registry::new(3, LabelLimits::DEFAULT));
        let ids = [(0, 0), (1, 1), (2, 2)].map(|set| resolve(&first, set));
        let slots: Vec<u32> = ids.iter().map(|id| id.slot).collect();
        let rebuild = Rebuild::of(&first);
        assert!(first.take(&slots[..2], |_| true).is_some());
        drop(rebuild);
        assert!(first.names.read().given_since.is_none(), "nobody reads the list any more");
        assert_eq!(first.len(), 1);
        let again = resolve(&first, (0, 0));
        assert_eq!((again.slot, again.tag == ids[0].tag), (ids[0].slot, false));
        assert_eq!(first.find_series(&labels(&first, (1, 1))), None);
        let mut rebuild = Rebuild::of(&first);
        rebuild.keep(slots[0]);
        rebuild.keep(slots[2]);
        assert_eq!(first.take(&slots[1..2], |_| true), None, "it went before");
        rebuild.settle(&slots[1..2]);
        let next = rebuild.follow();
        assert_eq!((next.len(), resolve(&next, (0, 0)), resolve(&next, (2, 2))), (2, again, ids[2]));
        let other = resolve(&next, (5, 5));
        assert_eq!((other.slot, other.tag == ids[1].tag), (ids[1].slot, false));
    }

    #[test]
    fn what_was_free_before_an_eviction_is_free_after_it() {
        let first = Arc::new(Registry::new(9, LabelLimits::DEFAULT));
        let [a, b] = [(0, 0), (1, 1)].map(|set| resolve(&first, set).slot);
        let follow = |old: &Arc<Registry>, slot| {
            let mut rebuild = Rebuild::without(old, &[slot]);
            assert!(old.take(&[slot], |_| true).is_some());
            rebuild.settle(&[slot]);
            Arc::new(rebuild.follow())
        };
        let third = follow(&follow(&first, a), b);
        let given = [(2, 2), (3, 3), (4, 4)].map(|set| resolve(&third, set).slot);
        assert_eq!((given, third.len(), third.slots().len()), ([b, a, b + 1], 3, 3));
    }

    proptest! {
        /// Twin: sets by id.
        #[test]
        fn a_registry_that_follows_knows_what_stayed_and_what_came(rounds in prop::collection::vec(round(), 1..6)) {
            let mut registry = Arc::new(Registry::new(40, LabelLimits::DEFAULT));
            let mut twin: BTreeMap<(u8, u8), SeriesId> = BTreeMap::new();
            let mut stale = Vec::new();
            for (resolved, going, since) in rounds {
                for set in resolved {
                    let id = resolve(&registry, set);
                    prop_assert_eq!(*twin.entry(set).or_insert(id), id);
                }
                let (old, before) = (Arc::clone(&registry), twin.clone());
                let mut slots: Vec<u32> = twin.values().zip(&going).filter(|(_, goes)| **goes).map(|(id, _)| id.slot).collect();
                slots.sort_unstable();
                let found;
                (registry, found) = without(&old, &slots, &since);
                twin.retain(|_, id| {
                    let goes = slots.contains(&id.slot) && id.slot % 3 > 0;
                    if goes {
                        stale.push(*id);
                    }
                    !goes
                });
                for (set, id) in found {
                    // Found before it went, it is stale by now; asked for afterwards, it has another id.
                    if !stale.contains(&id) {
                        prop_assert_eq!(*twin.entry(set).or_insert(id), id);
                    }
                }
                prop_assert_eq!(registry.len(), twin.len());
                prop_assert!(registry.slots().len() <= 36, "slots are given again");
                for (set, id) in &twin {
                    prop_assert_eq!(registry.slots().labels_of(*id), Some(labels(&registry, *set)));
                    prop_assert_eq!(registry.find(&labels(&registry, *set)), Some(id.slot));
                    prop_assert!(!stale.contains(id));
                }
                for id in &stale {
                    prop_assert_eq!(registry.slots().labels_of(*id), None);
                }
                for (name, value) in [("a", "3"), ("b", "1|4"), ("a", "")] {
                    for op in [MatchOp::Equal, MatchOp::NotEqual, MatchOp::Regex] {
                        let matcher = Matcher::new(name, op, value).unwrap();
                        let passes = |set: &(u8, u8)| matcher.matches_labels(&labels(&registry, *set));
                        let mut expected: Vec<u32> = twin.iter().filter(|(set, _)| passes(set)).map(|(_, id)| id.slot).collect();
                        expected.sort_unstable();
                        prop_assert_eq!(registry.select(&[matcher]), expected);
                    }
                }
                // Who holds the old one finds what was there.
                for (set, id) in &before {
                    prop_assert_eq!(old.slots().labels(id.slot), Some(labels(&old, *set)));
                }
            }
        }
    }

    /// Who drops it may be unwinding by that panic: a second one would end the process.
    #[test]
    fn one_of_a_table_that_a_panic_broke_is_dropped_without_another_panic() {
        let old = Arc::new(Registry::new(3, LabelLimits::DEFAULT));
        let slot = resolve(&old, (0, 0)).slot;
        let rebuild = Rebuild::without(&old, &[]);
        let defect = || old.take(&[slot], |_| panic!("a defect"));
        assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(defect)).is_err());
        drop(rebuild);
        assert!(old.is_broken());
    }
}
