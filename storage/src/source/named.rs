//! Which series the deletes and ages of a mask name, found for all series of a source at once.
//!
//! Matchers are tried on labels series by series (O(series × deletes), each regex on each series), or handed to the index
//! of the source, where a regex sees each value once. The index pays once enough series are asked for.

use std::collections::HashMap;

use super::masked::Mask;
use super::{ReadError, SampleSource};
use crate::model::{Labels, Matcher};

/// Deletes that are noted for all classes of series together, 4 bytes each: beyond it, matchers are tried.
const NOTES_MAX: usize = 4 << 20;
/// A class takes as much as so many of them.
const NOTES_OF_A_CLASS: usize = 16;

/// Which deletes of a mask name a series, and which of its ages counts for it: places in the mask.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Naming {
    /// Ascending.
    pub tombstones: Vec<u32>,
    /// The first that the series passes.
    pub age: Option<u32>,
}

impl Naming {
    /// By trying all matchers.
    #[must_use]
    pub fn of(mask: &Mask, labels: &Labels) -> Self {
        let tombstones = (0u32..).zip(&mask.tombstones).filter(|(_, t)| t.matches(labels)).map(|(i, _)| i).collect();
        Self { tombstones, age: mask.ages.iter().position(|age| age.passes(labels)).map(|i| i as u32) }
    }

    fn is_changed_by(&self, mark: Mark) -> bool {
        match mark {
            Mark::Tombstone(_) => true,
            Mark::Age(_) => self.age.is_none(),
        }
    }

    fn add(&mut self, mark: Mark) {
        match mark {
            Mark::Tombstone(i) => self.tombstones.push(i),
            Mark::Age(i) => self.age = self.age.or(Some(i)),
        }
    }
}

#[derive(Clone, Copy)]
enum Mark {
    Tombstone(u32),
    Age(u32),
}

/// The namings of all series of a source. Series that are named alike share one: 4 bytes a series, whatever the deletes.
#[derive(Debug)]
pub struct Named {
    /// By ordinal. Those behind the end are of the first class.
    class_of: Vec<u32>,
    classes: Vec<Class>,
    /// Classes that nobody is of.
    free: Vec<u32>,
}

#[derive(Debug, Default)]
struct Class {
    naming: Naming,
    members: usize,
}

impl Named {
    /// To find what names the series takes no longer, a delete, than to try its matchers on such a part of them: an index
    /// tells of a series in some nanoseconds, and a matcher of its labels in some tens of them.
    pub const PART_THAT_PAYS: u64 = 8;

    /// Asks the index of `source` for each delete and age of `mask`. `None` if they name too many series too differently.
    ///
    /// # Errors
    /// [`ReadError`] if the index is damaged.
    pub fn find(source: &dyn SampleSource, mask: &Mask) -> Result<Option<Self>, ReadError> {
        Self::find_while(source, mask, &|| true)
    }

    /// As [`find`](Self::find), for who tells others that he gets on: `go_on` is asked before each delete and age. `None`
    /// too if it says no.
    ///
    /// # Errors
    /// As [`find`](Self::find).
    pub fn find_while(
        source: &dyn SampleSource,
        mask: &Mask,
        go_on: &dyn Fn() -> bool,
    ) -> Result<Option<Self>, ReadError> {
        Self::find_within(NOTES_MAX, source, mask, go_on)
    }

    fn find_within(
        notes_max: usize,
        source: &dyn SampleSource,
        mask: &Mask,
        go_on: &dyn Fn() -> bool,
    ) -> Result<Option<Self>, ReadError> {
        let mut named = Self { class_of: Vec::new(), classes: vec![Class::default()], free: Vec::new() };
        let ages = (0..).zip(&*mask.ages).map(|(i, age)| (Mark::Age(i), &*age.matchers));
        let tombstones = (0..).zip(&mask.tombstones).map(|(i, t)| (Mark::Tombstone(i), &t.matchers[..]));
        for (mark, matchers) in ages.chain(tombstones) {
            if !go_on() {
                return Ok(None);
            }
            if matchers.is_empty() {
                named.classes.iter_mut().for_each(|class| class.naming.add(mark));
            } else {
                named.add(&source.ordinals(matchers)?, mark);
            }
            if named.notes() > notes_max {
                return Ok(None);
            }
        }
        Ok(Some(named))
    }

    /// What it weighs, in notes.
    fn notes(&self) -> usize {
        self.classes.iter().map(|class| class.naming.tombstones.len() + NOTES_OF_A_CLASS).sum()
    }

    /// Of how many series the matchers have to be tried until asking the index would have been the cheaper way, and 4 bytes
    /// of memory a series are no more than what the question itself takes. `None` where it never is: there is no index, or
    /// nothing to try.
    #[must_use]
    pub fn pays_from(source: &dyn SampleSource, mask: &Mask) -> Option<u64> {
        let all = mask.ages.iter().map(|age| &*age.matchers).chain(mask.tombstones.iter().map(|t| &t.matchers[..]));
        let (mut looks, mut tries) = (0, 0);
        let part = source.series_about()? / Self::PART_THAT_PAYS;
        for matchers in all.filter(|matchers: &&[Matcher]| !matchers.is_empty()) {
            looks += source.looks_to_select(matchers)?;
            tries += 1;
        }
        (tries > 0).then(|| part.max(looks / tries) + 1)
    }

    /// What names a series.
    #[must_use]
    pub fn naming(&self, ordinal: u32) -> &Naming {
        let class = self.class_of.get(ordinal as usize).copied().unwrap_or(0);
        &self.classes[class as usize].naming
    }

    /// These series, each once, are named by one more.
    fn add(&mut self, ordinals: &[u32], mark: Mark) {
        let end = ordinals.iter().max().map_or(0, |last| *last as usize + 1);
        if end > self.class_of.len() {
            self.class_of.resize(end, 0);
        }
        // Those that were of a class, and are named now, are of another one together.
        let (mut parted, mut last) = (HashMap::new(), None);
        for &ordinal in ordinals {
            let from = self.class_of[ordinal as usize];
            let to = match last {
                // Neighbours are mostly of one class.
                Some((class, to)) if class == from => to,
                _ if !self.classes[from as usize].naming.is_changed_by(mark) => continue,
                _ => *parted.entry(from).or_insert_with(|| self.free_class()),
            };
            last = Some((from, to));
            self.class_of[ordinal as usize] = to;
            self.classes[to as usize].members += 1;
            let from = &mut self.classes[from as usize].members;
            *from = from.saturating_sub(1);
        }
        for (from, to) in parted {
            let old = &mut self.classes[from as usize];
            // The first one is that of the series that are not in the list.
            let mut naming = if from != 0 && old.members == 0 {
                self.free.push(from);
                std::mem::take(&mut old.naming)
            } else {
                old.naming.clone()
            };
            naming.add(mark);
            self.classes[to as usize].naming = naming;
        }
    }

    fn free_class(&mut self) -> u32 {
        self.free.pop().unwrap_or_else(|| {
            self.classes.push(Class::default());
            self.classes.len() as u32 - 1
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::model::{LabelLimits, MatchOp, SeqNo, TimeRange, Tombstone};
    use crate::source::VecSource;

    /// Eight series, of which each delete names another half: eight classes of none to three.
    #[test]
    fn series_named_alike_share_a_class_and_classes_are_bounded() {
        let mut source = VecSource::new();
        let labels = |i: u8| Labels::new([("id", &*format!("{i:03b}"))], &LabelLimits::DEFAULT).unwrap();
        (0..8).for_each(|i| source.insert(&labels(i), []));
        let delete = |pattern: &str| {
            let matchers = vec![Matcher::new("id", MatchOp::Regex, pattern).unwrap()];
            Arc::new(Tombstone { seq: SeqNo(9), matchers, range: TimeRange::ALL, created: 0 })
        };
        let mask =
            |patterns: &[&str]| Mask { tombstones: patterns.iter().map(|p| delete(p)).collect(), ages: Arc::default() };
        let halves = mask(&["1..", ".1.", "..1"]);
        let named = Named::find_within(12 + 8 * NOTES_OF_A_CLASS, &source, &halves, &|| true).unwrap().unwrap();
        (0..8).for_each(|i| assert_eq!(*named.naming(i.into()), Naming::of(&halves, &labels(i))));
        assert!(Named::find_within(11 + 8 * NOTES_OF_A_CLASS, &source, &halves, &|| true).unwrap().is_none());
        let same = mask(&["1..", "1.*", "1+.*", "1.."]);
        let named = Named::find_within(1_000, &source, &same, &|| true).unwrap().unwrap();
        assert_eq!(named.naming(5).tombstones, [0, 1, 2, 3]);
        assert_eq!(named.classes.len() - named.free.len(), 2, "one that nobody is of is used again");
        assert!(Named::pays_from(&source, &same).is_none(), "it has no index");
    }
}
