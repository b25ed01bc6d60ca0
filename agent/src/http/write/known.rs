//! Series that were resolved before, by their labels as a request spells them.
//!
//! To look here costs a hash and a comparison of bytes; to resolve labels, they are read, sorted, checked and looked up one
//! by one. Ids may be stale, and are to be judged by who finds them.

use std::cell::Cell;
use std::hash::BuildHasher;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{PoisonError, RwLock, RwLockReadGuard};

use foldhash::quality::RandomState;
use tidegauge::SeriesId;

/// Bytes of keys, and series, of one generation. There are two: with what finds a key some 76 MiB, for 400,000 series with
/// labels of 150 bytes.
const LIMITS: Limits = Limits { bytes: 32 << 20, series: 1 << 18 };
/// A key that is not found after so many looks is not known. Half of the places are free: none by chance.
const PROBES_MAX: usize = 256;
/// Labels that are longer are resolved each time.
pub(super) const KEY_BYTES_MAX: usize = 4 << 10;

#[derive(Clone, Copy)]
struct Limits {
    bytes: usize,
    series: usize,
}

/// The ids of series, shared by all requests. What was learned first is forgotten first, a generation at a time, so that
/// nothing is written where nothing is new.
#[derive(Default)]
pub(crate) struct Known {
    generations: RwLock<Generations>,
    /// Keyed anew in each process. Whoever finds labels that collide all the same costs [`PROBES_MAX`] looks for each.
    hasher: RandomState,
    /// How often the old generation was of use.
    found_in_old: AtomicU64,
}

struct Generations {
    young: Generation,
    old: Generation,
    limits: Limits,
    /// Series for which there was no room.
    passed_over: u64,
}

/// Keys one behind the other, in the order in which they came, which is mostly that in which they come again.
#[derive(Default)]
struct Generation {
    keys: Vec<u8>,
    entries: Vec<Entry>,
    /// Open addressing: where in `entries`, plus one; 0 is free. A power of two, at most half of it used.
    places: Vec<u32>,
}

struct Entry {
    hash: u32,
    /// In `keys`; it begins where the one before ends.
    key_end: u32,
    id: SeriesId,
}

/// To look up many at once. Holds up who learns: not for long.
pub(crate) struct Lookup<'a> {
    known: &'a Known,
    generations: RwLockReadGuard<'a, Generations>,
    found_in_old: Cell<u64>,
}

/// Series to be known from now on.
#[derive(Default)]
pub(crate) struct Learned {
    keys: Vec<u8>,
    /// Bytes of the key, and the series.
    ids: Vec<(usize, SeriesId)>,
}

impl Known {
    pub(crate) fn lookup(&self) -> Lookup<'_> {
        let generations = self.generations.read().unwrap_or_else(PoisonError::into_inner);
        Lookup { known: self, generations, found_in_old: Cell::new(0) }
    }

    /// Remembers series, and forgets that they were to be learned.
    pub(crate) fn learn(&self, learned: &mut Learned) {
        if learned.ids.is_empty() {
            return;
        }
        let mut generations = self.generations.write().unwrap_or_else(PoisonError::into_inner);
        let mut rest = learned.keys.as_slice();
        for (len, id) in learned.ids.drain(..) {
            let (key, behind) = rest.split_at(len);
            rest = behind;
            generations.learn(self.hasher.hash_one(key) as u32, key, id, &self.found_in_old);
        }
        drop(generations);
        learned.keys.clear();
    }
}

impl Lookup<'_> {
    /// The id that these labels had.
    pub(crate) fn find(&self, key: &[u8]) -> Option<SeriesId> {
        if key.len() > KEY_BYTES_MAX {
            return None;
        }
        let hash = self.known.hasher.hash_one(key) as u32;
        let Generations { young, old, .. } = &*self.generations;
        let found = young.find(hash, key).map(|at| young.entries[at].id);
        found.or_else(|| {
            let at = old.find(hash, key)?;
            self.found_in_old.set(self.found_in_old.get() + 1);
            Some(old.entries[at].id)
        })
    }
}

impl Drop for Lookup<'_> {
    fn drop(&mut self) {
        if self.found_in_old.get() > 0 {
            // Relaxed: a figure.
            self.known.found_in_old.fetch_add(self.found_in_old.get(), Ordering::Relaxed);
        }
    }
}

impl Learned {
    /// A series that is known from the next [`Known::learn`] on. One with too long a key never is.
    pub(crate) fn push(&mut self, key: &[u8], id: SeriesId) {
        if (1..=KEY_BYTES_MAX).contains(&key.len()) {
            self.keys.extend_from_slice(key);
            self.ids.push((key.len(), id));
        }
    }

    /// Whether it is time to learn them, before they take much memory.
    pub(crate) fn is_full(&self) -> bool {
        self.keys.len() >= 1 << 20 || self.ids.len() >= 1 << 12
    }
}

impl Default for Generations {
    fn default() -> Self {
        Self { young: Generation::default(), old: Generation::default(), limits: LIMITS, passed_over: 0 }
    }
}

impl Generations {
    fn learn(&mut self, hash: u32, key: &[u8], id: SeriesId, found_in_old: &AtomicU64) {
        for generation in [&mut self.young, &mut self.old] {
            if let Some(at) = generation.find(hash, key) {
                generation.entries[at].id = id;
                return;
            }
        }
        if !self.young.has_room(key, self.limits) {
            // More series than there is room for, all in use: to learn each in turn would help none. So the old ones stay
            // while they are found more often than others are missed, of late.
            self.passed_over += 1;
            let found = found_in_old.load(Ordering::Relaxed).min(2 * self.limits.series as u64);
            let in_use = !self.old.entries.is_empty() && self.passed_over <= found;
            if in_use {
                if self.passed_over >= self.limits.series as u64 {
                    found_in_old.store(found - self.passed_over, Ordering::Relaxed);
                    self.passed_over = 0;
                }
                return;
            }
            self.old = std::mem::take(&mut self.young);
            self.passed_over = 0;
            found_in_old.store(0, Ordering::Relaxed);
        }
        self.young.insert(hash, key, id, self.limits);
    }
}

impl Generation {
    fn find(&self, hash: u32, key: &[u8]) -> Option<usize> {
        let mask = self.places.len().checked_sub(1)?;
        for probe in 0..PROBES_MAX {
            let at = (self.places[(hash as usize + probe) & mask] as usize).checked_sub(1)?;
            if self.entries[at].hash == hash && self.key(at) == key {
                return Some(at);
            }
        }
        None
    }

    fn key(&self, at: usize) -> &[u8] {
        let start = if at == 0 { 0 } else { self.entries[at - 1].key_end as usize };
        &self.keys[start..self.entries[at].key_end as usize]
    }

    fn has_room(&self, key: &[u8], limits: Limits) -> bool {
        self.entries.len() < limits.series && self.keys.len() + key.len() <= limits.bytes
    }

    fn insert(&mut self, hash: u32, key: &[u8], id: SeriesId, limits: Limits) {
        if (self.entries.len() + 1) * 2 > self.places.len() {
            self.places = vec![0; (self.places.len() * 2).max(64)];
            for at in 0..self.entries.len() {
                self.place(at);
            }
        }
        make_room(&mut self.keys, key.len(), limits.bytes);
        self.keys.extend_from_slice(key);
        make_room(&mut self.entries, 1, limits.series);
        self.entries.push(Entry { hash, key_end: self.keys.len() as u32, id });
        self.place(self.entries.len() - 1);
    }

    fn place(&mut self, at: usize) {
        let mask = self.places.len() - 1;
        let first = self.entries[at].hash as usize;
        let mut places = (0..PROBES_MAX).map(|probe| (first + probe) & mask);
        // Too many collide: it is not found, and goes with its generation.
        if let Some(free) = places.find(|place| self.places[*place] == 0) {
            self.places[free] = at as u32 + 1;
        }
    }
}

/// As a vector grows by itself, but never beyond its limit.
fn make_room<T>(of: &mut Vec<T>, more: usize, limit: usize) {
    if of.capacity() - of.len() < more {
        let wanted = (2 * of.capacity()).clamp(of.len() + more, limit);
        of.reserve_exact(wanted - of.len());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidegauge::Engine;

    fn known(limits: Limits) -> Known {
        Known { generations: RwLock::new(Generations { limits, ..Generations::default() }), ..Known::default() }
    }

    fn learn(known: &Known, keys: impl IntoIterator<Item = Vec<u8>>, id: SeriesId) {
        let mut learned = Learned::default();
        keys.into_iter().for_each(|key| learned.push(&key, id));
        known.learn(&mut learned);
        assert_eq!((learned.ids.len(), learned.keys.len()), (0, 0));
    }

    fn key(of: usize) -> Vec<u8> {
        format!("{of:0width$}", width = 1 + of % 300).into_bytes()
    }

    fn ids() -> [SeriesId; 2] {
        let engine = Engine::in_memory().unwrap();
        ["a", "b"].map(|name| engine.series(&[("__name__", name)]).unwrap())
    }

    /// However often they were found while they lived: what is dead makes room before long.
    #[test]
    fn old_keys_that_nobody_asks_for_any_more_go() {
        let [a, b] = ids();
        let known = known(Limits { bytes: 1000, series: 4 });
        learn(&known, (0..8).map(key), a);
        for _ in 0..10_000 {
            assert_eq!(known.lookup().find(&key(0)), Some(a));
        }
        let missed = (1..100).find(|_| {
            learn(&known, [key(9)], b);
            known.lookup().find(&key(9)).is_some()
        });
        assert!(missed.is_some_and(|times| (4..=9).contains(&times)), "{missed:?}");
        assert_eq!(known.lookup().find(&key(0)), None);
    }

    /// Keys of one hash take a bounded number of looks each, and no more memory than others.
    #[test]
    fn keys_that_collide_are_unknown_rather_than_slow() {
        let [a, _] = ids();
        let (mut generation, limits) = (Generation::default(), LIMITS);
        (0..PROBES_MAX + 50).for_each(|of| generation.insert(7, &key(of), a, limits));
        let found = (0..PROBES_MAX + 50).filter(|of| generation.find(7, &key(*of)).is_some()).count();
        assert_eq!(found, PROBES_MAX);
        generation.insert(1 << 30, &key(9_999), a, limits);
        assert!(generation.find(1 << 30, &key(9_999)).is_some());
    }

    #[test]
    fn the_newest_id_of_a_key_counts_and_the_oldest_keys_go() {
        let [a, b] = ids();
        let known = known(Limits { bytes: 1000, series: 4 });
        let find = |of: usize| known.lookup().find(&key(of));
        let learn = |keys: std::ops::Range<usize>, id| learn(&known, keys.map(key), id);
        learn(0..5, a);
        assert_eq!((0..6).map(find).collect::<Vec<_>>(), [Some(a), Some(a), Some(a), Some(a), Some(a), None]);
        learn(0..1, b);
        learn(4..5, b);
        assert_eq!((find(0), find(1), find(4)), (Some(b), Some(a), Some(b)), "changed in both generations");
        // Three were found in the old generation, so it stays while three others are missed.
        learn(5..8, a);
        learn(8..11, a);
        assert_eq!((find(0), find(7)), (Some(b), Some(a)));
        assert_eq!((8..11).filter_map(find).count(), 0, "passed over");
        learn(8..14, a);
        assert_eq!((0..4).filter_map(find).count(), 0, "forgotten");
        assert_eq!(find(4), Some(b));
        assert_eq!(known.lookup().find(&[]), None);
    }

    /// As by a client that sends nothing twice, of short labels and of long ones.
    #[test]
    fn memory_is_bounded_whatever_is_learned() {
        let [id, _] = ids();
        for (limits, width) in
            [(Limits { bytes: 1 << 20, series: 1 << 12 }, 300), (Limits { bytes: 1 << 17, ..LIMITS }, 1)]
        {
            let known = known(limits);
            for round in 0..50 {
                let of = |i: usize| format!("{:0width$}", round * 1000 + i).into_bytes();
                learn(&known, (0..1000).map(of), id);
                let lookup = known.lookup();
                for Generation { keys, entries, places } in [&lookup.generations.young, &lookup.generations.old] {
                    assert!(keys.capacity() <= limits.bytes && entries.capacity() <= limits.series);
                    assert!(places.len() <= 4 * entries.len().max(16));
                }
                assert_eq!(lookup.find(&of(999)), Some(id));
            }
        }
    }

    #[test]
    fn what_is_too_long_is_not_learned() {
        let ([id, _], known) = (ids(), Known::default());
        let [fits, longer] = [KEY_BYTES_MAX, KEY_BYTES_MAX + 1].map(|len| vec![b'x'; len]);
        learn(&known, [fits.clone(), longer.clone(), vec![]], id);
        assert_eq!((known.lookup().find(&fits), known.lookup().find(&longer)), (Some(id), None));
    }
}
