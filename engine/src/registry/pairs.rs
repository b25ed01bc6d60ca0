//! Label pairs: each name with a value is kept once, and known by a number.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};

use tidegauge_storage::model::Labels;

use super::large;
use super::postings::Posting;
use super::ragged::{Ragged, bytes_of, words_of};
use super::table::Table;
use crate::sync::Arc;

/// The text of each pair, as label sets encode it. Read without a lock.
pub(crate) struct Texts(Ragged);

impl Texts {
    pub(super) fn new() -> Self {
        Self(Ragged::new())
    }

    fn push(&self, pair: u32, text: &[u8]) {
        self.0.push(pair as usize, words_of(text));
    }

    /// Appends the encoding of a pair to `out`.
    pub(super) fn append(&self, pair: u32, out: &mut Vec<u8>) {
        bytes_of(self.0.get(pair as usize), out);
    }

    fn is(&self, pair: u32, text: &[u8]) -> bool {
        self.0.get(pair as usize).eq(words_of(text))
    }

    /// Name and value of a pair, read into `scratch`.
    pub(super) fn split<'a>(&self, pair: u32, scratch: &'a mut Vec<u8>) -> (&'a str, &'a str) {
        scratch.clear();
        self.append(pair, scratch);
        Labels::split_pair(scratch).expect("encoded by this process")
    }
}

/// All pairs, and which series carry each. Behind the registry's lock.
pub(super) struct Pairs {
    texts: Arc<Texts>,
    hasher: RandomState,
    numbers: Table,
    postings: Vec<Posting>,
    /// The pairs of each name, in the order in which they came.
    by_name: BTreeMap<Box<str>, Vec<u32>>,
}

impl Pairs {
    pub(super) fn new(texts: Arc<Texts>) -> Self {
        let (hasher, numbers) = (RandomState::new(), Table::default());
        Self { texts, hasher, numbers, postings: Vec::new(), by_name: BTreeMap::new() }
    }

    fn hash(&self, text: &[u8]) -> u32 {
        self.hasher.hash_one(text) as u32
    }

    /// The number of a pair, if any series carries it.
    pub(super) fn find(&self, text: &[u8]) -> Option<u32> {
        self.numbers.find(self.hash(text), |pair| self.texts.is(pair, text))
    }

    /// The number of a pair; a new one if there is none.
    pub(super) fn find_or_add(&mut self, text: &[u8]) -> u32 {
        let hash = self.hash(text);
        if let Some(pair) = self.numbers.find(hash, |pair| self.texts.is(pair, text)) {
            return pair;
        }
        let pair = self.postings.len() as u32;
        self.texts.push(pair, text);
        self.numbers.insert(hash, pair);
        large::push(&mut self.postings, Posting::default());
        let (name, _) = Labels::split_pair(text).expect("of a label set");
        match self.by_name.get_mut(name) {
            Some(pairs) => large::push(pairs, pair),
            None => drop(self.by_name.insert(name.into(), vec![pair])),
        }
        pair
    }

    /// Pairs there are.
    pub(super) fn len(&self) -> usize {
        self.postings.len()
    }

    /// Whether the pairs of a label set fit, as if all of them were new.
    pub(super) fn has_room(&self, labels: &Labels) -> bool {
        let (pairs, words) =
            labels.encoded_pairs().fold((0, 0), |(pairs, words), text| (pairs + 1, words + words_of(text).count()));
        self.texts.0.has_room(self.len(), pairs, words)
    }

    /// Bytes of all texts.
    pub(super) fn bytes(&self) -> u64 {
        self.texts.0.bytes(self.len())
    }

    /// Whether there are at most so many bytes with a label set.
    pub(super) fn fits(&self, labels: &Labels, bytes_max: u64) -> bool {
        let bytes = |text: &[u8]| (words_of(text).count() * size_of::<u32>()) as u64;
        let left = bytes_max.saturating_sub(self.bytes());
        // Known pairs are looked for where it matters.
        labels.encoded_pairs().map(bytes).sum::<u64>() <= left
            || labels.encoded_pairs().filter(|text| self.find(text).is_none()).map(bytes).sum::<u64>() <= left
    }

    /// A series carries `pair`: another one than before.
    pub(super) fn carry(&mut self, pair: u32, slot: u32) {
        self.postings[pair as usize].push(slot);
    }

    pub(super) fn posting(&self, pair: u32) -> &Posting {
        &self.postings[pair as usize]
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.by_name.keys().map(|name| &**name)
    }

    /// The pairs of a name, in the order in which they came.
    pub(super) fn of_name(&self, name: &str) -> &[u32] {
        self.by_name.get(name).map_or(&[], Vec::as_slice)
    }
}
