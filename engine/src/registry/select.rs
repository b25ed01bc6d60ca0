//! Which series pass matchers. The registry's lock is held for one look-up or one slice at a time.

use std::collections::HashMap;

use tidegauge_storage::model::{Labels, MatchOp, Matcher};

use super::Registry;
use super::postings::Place;

/// Slots or pairs read under one hold of the lock: some ten microseconds, which is what a new series may wait.
const SLICE: usize = 1 << 13;

impl Registry {
    /// Slots of the series that pass all matchers, ascending.
    ///
    /// Equality on a present value is a look-up; a regex that nothing narrows is tried on the values of its label, not
    /// on the series; whatever else there is is checked on what the others left, each value once. Series that are
    /// registered meanwhile may be there or not.
    pub(crate) fn select(&self, matchers: &[Matcher]) -> Vec<u32> {
        let (mut exact, mut rest): (Vec<_>, Vec<_>) =
            matchers.iter().partition(|m| m.op() == MatchOp::Equal && !m.matches_empty());
        // The others that need the label; those that an absent one passes come last.
        rest.sort_by_key(|m| m.matches_empty());
        let mut found: Option<Vec<u32>> = None;
        for matcher in exact.drain(..) {
            let slots = self.carrying(matcher);
            found = Some(found.map_or_else(|| slots.clone(), |before| intersect(&before, &slots)));
        }
        for matcher in rest {
            found = Some(match found {
                None if !matcher.matches_empty() => self.carrying_any(matcher),
                None => self.passing(matcher, self.slots.occupied().collect()),
                Some(before) => self.passing(matcher, before),
            });
        }
        found.unwrap_or_else(|| self.slots.occupied().collect())
    }

    /// The slots that carry just what a matcher equals.
    fn carrying(&self, matcher: &Matcher) -> Vec<u32> {
        let mut text = Vec::new();
        Labels::encode_pair(matcher.name(), matcher.value(), &mut text);
        let pair = self.names().pairs.find(&text);
        let mut slots = Vec::new();
        pair.inspect(|&pair| self.posting(pair, &mut slots));
        // Nearly or wholly sorted, which costs a look.
        slots.sort_unstable();
        slots
    }

    /// The slots that carry a value that passes.
    fn carrying_any(&self, matcher: &Matcher) -> Vec<u32> {
        let (mut slots, mut text) = (Vec::new(), Vec::new());
        self.each_pair(matcher.name(), |pair| {
            if matcher.matches(self.slots.texts().split(pair, &mut text).1) {
                self.posting(pair, &mut slots);
            }
            true
        });
        slots.sort_unstable();
        slots
    }

    /// Those of `slots` whose label passes, or whose lack of it.
    fn passing(&self, matcher: &Matcher, mut slots: Vec<u32>) -> Vec<u32> {
        let (lack, texts) = (matcher.matches_empty(), self.slots.texts());
        let (mut verdicts, mut text): (HashMap<u32, Option<bool>>, _) = (HashMap::new(), Vec::new());
        slots.retain(|&slot| {
            let mut verdict = |pair: u32| {
                *verdicts.entry(pair).or_insert_with(|| {
                    let (name, value) = texts.split(pair, &mut text);
                    (name == matcher.name()).then(|| matcher.matches(value))
                })
            };
            self.slots.pairs(slot).find_map(&mut verdict).unwrap_or(lack)
        });
        slots
    }

    /// Appends the slots that carry a pair.
    fn posting(&self, pair: u32, out: &mut Vec<u32>) {
        let mut place = Some(Place::default());
        while let Some(at) = place {
            place = self.names().pairs.posting(pair).read(at, SLICE, out);
        }
    }

    /// Calls with each pair of a name, outside of the lock, until it answers false.
    fn each_pair(&self, name: &str, mut call: impl FnMut(u32) -> bool) {
        let mut slice = Vec::new();
        for start in (0..).step_by(SLICE) {
            slice.clear();
            {
                let names = self.names();
                let all = names.pairs.of_name(name);
                slice.extend(all.get(start..).unwrap_or_default().iter().take(SLICE));
            }
            if slice.is_empty() || !slice.iter().all(|&pair| call(pair)) {
                return;
            }
        }
    }

    /// Until `each` answers false; with the lock held.
    pub(crate) fn label_names(&self, each: &mut dyn FnMut(&str) -> bool) {
        let _ = self.names().pairs.names().all(each);
    }

    /// Until `each` answers false.
    pub(crate) fn label_values(&self, name: &str, each: &mut dyn FnMut(&str) -> bool) {
        let mut text = Vec::new();
        self.each_pair(name, |pair| each(self.slots.texts().split(pair, &mut text).1));
    }
}

fn intersect(a: &[u32], b: &[u32]) -> Vec<u32> {
    let (short, long) = if a.len() <= b.len() { (a, b) } else { (b, a) };
    short.iter().copied().filter(|slot| long.binary_search(slot).is_ok()).collect()
}
