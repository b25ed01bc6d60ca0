//! Which series exist: label sets to slots and back, found by matchers.
//!
//! Resolving takes a lock and is done once a series; pushing and reading by slot take none.

pub(crate) mod large;
mod order;
mod pairs;
mod postings;
mod ragged;
mod rebuild;
mod select;
mod slots;
mod table;

use std::hash::{BuildHasher, RandomState};

use tidegauge_storage::model::{LabelError, LabelLimits, Labels};

use pairs::{Pairs, Texts};
pub(crate) use rebuild::{Moved, Rebuild};
pub(crate) use slots::{Heads, Slots};
use table::Table;

use crate::error::Poisoned;
use crate::sync::{Arc, ReadGuard, RwLock};

/// A series of one engine: resolve it once with [`Engine::series`](crate::Engine::series), push with it often.
///
/// Local to the process and never stored. An id of another engine, or of a series that was evicted because it was idle
/// ([`Builder::series_idle`](crate::Builder::series_idle)), is refused at the push as stale; resolve the labels again.
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
    /// The labels of all series take as many bytes as they may. Known series go on, and so do new ones whose labels are
    /// known; find out which label has long values that are ever new, or raise
    /// [`Builder::max_label_bytes`](crate::Builder::max_label_bytes).
    #[error(
        "{labels} is not registered, the limit of {limit} bytes of labels is reached: see which label has long values, or too many"
    )]
    TooManyLabelBytes {
        /// The series that was refused: the beginning of its labels, where they are long.
        labels: String,
        /// The limit.
        limit: u64,
    },
    /// The engine stopped writing while idle series left memory, so nobody knows which there are now; or it is that of the
    /// process that forked this one.
    #[error(transparent)]
    Poisoned(#[from] Poisoned),
}

/// Labels are told up to here.
const TOLD_MAX: usize = 512;

/// A series, named by the beginning of its labels if they are long.
fn named(labels: &Labels) -> String {
    let mut text = labels.to_string();
    if text.len() > TOLD_MAX {
        text.truncate(text.floor_char_boundary(TOLD_MAX));
        text.push('…');
    }
    text
}

/// What a series takes beside its labels, about.
const SERIES_BYTES: u64 = 64;

/// All series of an engine.
///
/// A label set is kept as the numbers of its pairs, each pair's text once: some 60 bytes a series with what finds it.
pub(crate) struct Registry {
    slots: Arc<Slots>,
    limits: LabelLimits,
    series_max: usize,
    label_bytes_max: u64,
    hasher: RandomState,
    names: RwLock<Names>,
}

struct Names {
    /// Slots by the pairs of their sets.
    by_pairs: Table,
    pairs: Pairs,
    /// Slots that were given before. One that has labels here is not free any more.
    free: Vec<u32>,
    /// Slots whose series was taken, while its labels are still here.
    taken: usize,
    /// While a registry is built that follows this one: slots given since.
    given_since: Option<Vec<u32>>,
    /// Another registry has followed.
    closed: bool,
}

impl Names {
    fn new(texts: &Arc<Texts>) -> Self {
        let pairs = Pairs::new(Arc::clone(texts));
        Self { by_pairs: Table::default(), pairs, free: Vec::new(), taken: 0, given_since: None, closed: false }
    }

    /// Series there are.
    fn len(&self) -> usize {
        // Less where a panic left them halfway.
        self.by_pairs.len().saturating_sub(self.taken)
    }
}

/// Slots beyond the limit of series, for those of which a sample was accepted: before they were evicted, or in a log
/// that was written under a higher limit.
pub(crate) const SLOTS_BEYOND: usize = 1 << 20;

impl Registry {
    pub(crate) fn new(series_max: usize, limits: LabelLimits) -> Self {
        Self::with_slots(series_max, series_max.saturating_add(SLOTS_BEYOND), limits)
    }

    fn with_slots(series_max: usize, slots_max: usize, limits: LabelLimits) -> Self {
        let (series_max, slots_max) = (series_max.min(u32::MAX as usize - 1), slots_max.min(u32::MAX as usize - 1));
        let texts = Arc::new(Texts::new());
        let names = Names::new(&texts);
        let slots = Arc::new(Slots::new(slots_max, texts));
        let (label_bytes_max, hasher) = (u64::MAX, RandomState::new());
        Self { slots, limits, series_max, label_bytes_max, hasher, names: RwLock::new(names) }
    }

    /// With a limit of what all labels take, each pair once.
    pub(crate) fn with_label_bytes(self, label_bytes_max: u64) -> Self {
        Self { label_bytes_max, ..self }
    }

    pub(crate) fn slots(&self) -> &Arc<Slots> {
        &self.slots
    }

    /// Whether a panic has left it to nobody: neither resolves nor selects any more.
    pub(crate) fn is_broken(&self) -> bool {
        self.names.is_broken()
    }

    fn names(&self) -> ReadGuard<'_, Names> {
        self.names.read()
    }

    /// Checks pairs in any order against this engine's limits.
    pub(crate) fn labels(&self, pairs: &[(&str, &str)]) -> Result<Labels, LabelError> {
        Labels::new(pairs.iter().copied(), &self.limits)
    }

    /// The series of a label set that was checked before (its limits may have been others); registers it if it is new.
    pub(crate) fn resolve(&self, labels: &Labels) -> Result<Result<SeriesId, SeriesError>, Moved> {
        self.resolve_within(labels, self.series_max, self.label_bytes_max)
    }

    /// As [`Self::resolve`], whatever the limits of series and labels: of this one a sample was accepted.
    pub(crate) fn resolve_accepted(&self, labels: &Labels) -> Result<Result<SeriesId, SeriesError>, Moved> {
        self.resolve_within(labels, self.slots_max(), u64::MAX)
    }

    /// As [`Self::resolve_accepted`], of what the log defines.
    pub(crate) fn resolve_logged(&self, labels: &Labels) -> Result<u32, SeriesError> {
        let series = self.resolve_accepted(labels).unwrap_or_else(|Moved| unreachable!("nothing is evicted here"));
        Ok(series?.slot)
    }

    /// As [`Self::resolve`], of a registry that none follows.
    #[cfg(test)]
    pub(crate) fn resolve_labels(&self, labels: &Labels) -> Result<u32, SeriesError> {
        let series = self.resolve(labels).unwrap_or_else(|Moved| unreachable!("nothing is evicted here"));
        Ok(series?.slot)
    }

    fn resolve_within(
        &self,
        labels: &Labels,
        series_max: usize,
        label_bytes_max: u64,
    ) -> Result<Result<SeriesId, SeriesError>, Moved> {
        let mut pairs = Vec::with_capacity(16);
        let found = |slot| {
            // Under the lock: an eviction sees that it was asked for, or the registry is closed (V6).
            self.slots.heads().asked_for(slot);
            Ok(Ok(self.slots.heads().id(slot)))
        };
        {
            let names = self.names();
            if names.closed {
                return Err(Moved);
            }
            if let Some(slot) = self.look_up(&names, labels, &mut pairs)
                && !self.is_taken(slot)
            {
                return found(slot);
            }
        }
        let mut names = self.names.write();
        if names.closed {
            return Err(Moved);
        }
        let known = self.look_up(&names, labels, &mut pairs);
        if let Some(slot) = known
            && !self.is_taken(slot)
        {
            return found(slot);
        }
        let next = self.slots.len();
        while names.free.pop_if(|slot| self.slots.is_set(*slot)).is_some() {}
        let is_full = names.free.is_empty() && next >= self.slots.heads().tags.slots_max();
        let fits = || names.pairs.has_room(labels) && self.slots.has_room(labels.len());
        let has_room = known.is_some() || (!is_full && fits());
        if names.len() >= series_max || !has_room {
            return Ok(Err(SeriesError::TooManySeries { labels: named(labels), limit: self.series_max }));
        }
        if let Some(slot) = known {
            // Asked for again before another registry followed: its labels and its slot are still here (V6).
            names.taken -= 1;
            self.slots.heads().give(slot);
            names.given_since.as_mut().into_iter().for_each(|since| since.push(slot));
            return found(slot);
        }
        if !names.pairs.fits(labels, label_bytes_max) {
            return Ok(Err(SeriesError::TooManyLabelBytes { labels: named(labels), limit: label_bytes_max }));
        }
        pairs.clear();
        pairs.extend(labels.encoded_pairs().map(|text| names.pairs.find_or_add(text)));
        let slot = names.free.pop().unwrap_or(next);
        self.slots.give(slot, &pairs);
        pairs.iter().for_each(|&pair| names.pairs.carry(pair, slot));
        names.by_pairs.insert(self.hash(&pairs), slot);
        names.given_since.as_mut().into_iter().for_each(|since| since.push(slot));
        Ok(Ok(self.slots.heads().id(slot)))
    }

    /// Whether the series in a slot was taken, and not asked for since. The lock is held, shared at least.
    fn is_taken(&self, slot: u32) -> bool {
        self.slots.heads().tags.is_free(slot)
    }

    /// Takes those of `slots` that `judge` lets go, under the lock: who resolves one of them came before, and is seen, or
    /// comes afterwards, and gets another id (V6). Their slots are given to others once a registry follows that is
    /// without them. Answers the turn that this was, if any went.
    pub(crate) fn take(&self, slots: &[u32], mut judge: impl FnMut(u32) -> bool) -> Option<u32> {
        let tags = &self.slots.heads().tags;
        let mut names = self.names.write();
        let before = names.taken;
        for &slot in slots {
            if !tags.is_free(slot) && judge(slot) {
                tags.take(slot);
                names.taken += 1;
            }
        }
        // Before the lock is let go of: what is given from then on has this tag (V1).
        (names.taken > before).then(|| tags.next_turn())
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

    /// As [`Self::find`], its id. `None` too if another registry has followed: the slot may be another's by now.
    pub(crate) fn find_series(&self, labels: &Labels) -> Option<SeriesId> {
        // The tag is read under the lock: an eviction takes it under the same.
        let names = self.names();
        let slot = self.look_up(&names, labels, &mut Vec::with_capacity(16))?;
        (!names.closed && !self.is_taken(slot)).then(|| self.slots.heads().id(slot))
    }

    /// Checks a label set against this engine's limits.
    pub(crate) fn check(&self, labels: &Labels) -> Result<(), LabelError> {
        Labels::new(labels.iter(), &self.limits).map(drop)
    }

    /// Series there are. Of a registry that a panic broke, about so many.
    pub(crate) fn len(&self) -> usize {
        self.names.read_even_broken().len()
    }

    /// About how many bytes it takes: labels, and what finds the series.
    pub(crate) fn bytes(&self) -> u64 {
        // Those that went have their places.
        self.label_bytes() + u64::from(self.slots.len()) * SERIES_BYTES
    }

    /// How many that may be.
    pub(crate) fn bytes_max(&self) -> u64 {
        self.label_bytes_max.saturating_add((self.series_max as u64).saturating_mul(SERIES_BYTES))
    }

    /// Bytes of the labels of all series, each pair once. Of a registry that a panic broke, about so many.
    pub(crate) fn label_bytes(&self) -> u64 {
        self.names.read_even_broken().pairs.bytes()
    }

    /// Series there may be, whatever was accepted.
    pub(crate) fn slots_max(&self) -> usize {
        self.slots.heads().tags.slots_max() as usize
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

    fn resolve(r: &Registry, pairs: &[(&str, &str)]) -> Result<u32, SeriesError> {
        r.resolve_labels(&r.labels(pairs)?)
    }

    #[test]
    fn a_label_set_has_one_slot_whatever_the_order_of_its_pairs() {
        let r = registry();
        let a = resolve(&r, &[("__name__", "cpu"), ("host", "a")]).unwrap();
        assert_eq!(resolve(&r, &[("host", "a"), ("__name__", "cpu"), ("x", "")]).unwrap(), a);
        assert_ne!(resolve(&r, &[("__name__", "cpu")]).unwrap(), a);
        assert_eq!(r.len(), 2);
    }

    #[test]
    fn only_the_new_series_is_refused_at_the_limit_and_it_is_named() {
        let r = Registry::new(1, LabelLimits::DEFAULT);
        let a = resolve(&r, &[("__name__", "a")]).unwrap();
        let refused = resolve(&r, &[("__name__", "b")]).unwrap_err();
        assert_eq!(refused, SeriesError::TooManySeries { labels: "b".into(), limit: 1 });
        assert_eq!(resolve(&r, &[("__name__", "a")]).unwrap(), a);
    }

    #[test]
    fn only_the_new_series_is_refused_at_the_limit_of_label_bytes_and_it_is_named() {
        let r = Registry::new(1000, LabelLimits::DEFAULT).with_label_bytes(4_000);
        let long = |of: char| of.to_string().repeat(1_000);
        let of = |r: &Registry, value: &str| resolve(r, &[("__name__", "cpu"), ("host", value)]);
        let taken: Vec<u32> = "abc".chars().map(|c| of(&r, &long(c)).unwrap()).collect();
        let refused = of(&r, &long('d')).unwrap_err();
        let SeriesError::TooManyLabelBytes { labels, limit: 4_000 } = &refused else { panic!("{refused}") };
        assert!(labels.starts_with("cpu{host=\"ddd") && labels.ends_with('…') && labels.len() < 600, "{labels}");
        let before = r.label_bytes();
        assert!((3_000..4_000).contains(&before) && r.len() == 3, "nothing came of it: {before}");
        assert_eq!(of(&r, &long('a')), Ok(taken[0]), "a known one goes on");
        let mixed = [("__name__", "cpu"), ("host", &*long('b')), ("x", "1")];
        assert!(resolve(&r, &mixed).is_ok() && of(&r, "e").is_ok(), "what fits is taken, a known pair counts once");
        let logged = r.labels(&[("__name__", "cpu"), ("host", &long('d'))]).unwrap();
        assert_eq!(r.resolve_logged(&logged), Ok(5), "what was accepted is kept whatever the limit says");
    }

    #[test]
    fn what_was_accepted_is_refused_only_where_there_is_no_slot_and_that_is_told() {
        let r = Registry::with_slots(1, 1, LabelLimits::DEFAULT);
        let of = |i: usize| r.labels(&[("__name__", &i.to_string())]).unwrap();
        (0..r.slots_max()).for_each(|i| assert_eq!(r.resolve_logged(&of(i)), Ok(i as u32)));
        let refused = r.resolve_logged(&of(r.slots_max()));
        assert!(matches!(refused, Err(SeriesError::TooManySeries { limit: 1, .. })), "{refused:?}");
        assert_eq!(r.resolve_logged(&of(5)), Ok(5));
    }

    /// A flush of millions of series would be told as one that hangs.
    #[test]
    fn who_sorts_many_series_says_that_he_gets_on() {
        let r = Registry::new(20_000, LabelLimits::DEFAULT);
        let slots = (0..20_000).map(|i: u32| resolve(&r, &[("__name__", "cpu"), ("host", &i.to_string())]).unwrap());
        let slots: Vec<u32> = slots.collect();
        let told = std::cell::Cell::new(0);
        r.slots().in_label_order(slots, || told.set(told.get() + 1));
        // The pairs, and then the sets: some 280,000 comparisons each.
        assert!(told.get() >= 6, "{} times", told.get());
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
                let slot = resolve(&r, &pairs).unwrap();
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
            prop_assert_eq!(r.slots().in_label_order(some, || ()), expected);
        }
    }
}
