//! From label values to the series that carry them.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use tidegauge_storage::model::{Labels, MatchOp, Matcher};

/// For each label and value the slots that carry it, ascending.
#[derive(Default)]
pub(super) struct Postings {
    by_name: BTreeMap<Box<str>, HashMap<Box<str>, Vec<u32>>>,
}

impl Postings {
    /// Adds a series. Slots come in ascending order.
    pub(super) fn add(&mut self, slot: u32, labels: &Labels) {
        for (name, value) in labels.iter() {
            if !self.by_name.contains_key(name) {
                self.by_name.insert(name.into(), HashMap::new());
            }
            let values = self.by_name.get_mut(name).expect("inserted above");
            match values.get_mut(value) {
                Some(slots) => slots.push(slot),
                None => drop(values.insert(value.into(), vec![slot])),
            }
        }
    }

    /// The slots below `len` that pass all matchers, ascending.
    ///
    /// Equality on a present value is a look-up; a regex is tried on the values of its label,
    /// not on the series; what can match an absent label is checked on what the others left.
    pub(super) fn select<'a>(
        &self,
        matchers: &[Matcher],
        len: u32,
        labels: impl Fn(u32) -> Option<&'a Labels>,
    ) -> Vec<u32> {
        let mut found: Option<Vec<u32>> = None;
        for matcher in matchers.iter().filter(|m| !m.matches_empty()) {
            let slots = self.carrying(matcher);
            found = Some(match found {
                None => slots,
                Some(before) => intersect(&before, &slots),
            });
        }
        let mut found = found.unwrap_or_else(|| (0..len).collect());
        let rest: Vec<&Matcher> = matchers.iter().filter(|m| m.matches_empty()).collect();
        if !rest.is_empty() {
            found.retain(|&slot| labels(slot).is_some_and(|l| rest.iter().all(|m| m.matches_labels(l))));
        }
        found
    }

    fn carrying(&self, matcher: &Matcher) -> Vec<u32> {
        let Some(values) = self.by_name.get(matcher.name()) else { return vec![] };
        if matcher.op() == MatchOp::Equal {
            return values.get(matcher.value()).cloned().unwrap_or_default();
        }
        let passing = values.iter().filter(|(value, _)| matcher.matches(value));
        let mut slots: Vec<u32> = passing.flat_map(|(_, slots)| slots).copied().collect();
        slots.sort_unstable();
        slots
    }

    pub(super) fn names(&self, out: &mut BTreeSet<String>) {
        out.extend(self.by_name.keys().map(|name| name.to_string()));
    }

    pub(super) fn values(&self, name: &str, out: &mut BTreeSet<String>) {
        let values = self.by_name.get(name).into_iter().flat_map(HashMap::keys);
        out.extend(values.map(|value| value.to_string()));
    }
}

fn intersect(a: &[u32], b: &[u32]) -> Vec<u32> {
    let (short, long) = if a.len() <= b.len() { (a, b) } else { (b, a) };
    short.iter().copied().filter(|slot| long.binary_search(slot).is_ok()).collect()
}
