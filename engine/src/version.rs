//! What an engine consists of at one moment: segments, sealed memtables, the active one.

use std::cmp::Reverse;
use std::collections::VecDeque;
use std::sync::{Arc, Weak};

use tidegauge_storage::manifest::Horizons;
use tidegauge_storage::model::{Labels, SeqNo, SeqRange, Tombstone};
use tidegauge_storage::segment::Segment;
use tidegauge_storage::source::{AgeMask, Mask, Masked, SampleSource};

use crate::commit::Watermark;
use crate::memtable::{Memtable, MemtableSource};
use crate::registry::Registry;
use crate::sync::{ArcCell, Mutex, Peeked};

/// An immutable list of sources. Replaced as a whole.
#[derive(Clone)]
pub(crate) struct Version {
    /// Ordered by acceptance, earliest first; the late one of a flush behind the in-order one.
    pub(crate) segments: Vec<Arc<Segment>>,
    /// Oldest first.
    pub(crate) sealed: Vec<Arc<Memtable>>,
    /// Sealed memtables of generations below this are in segments, which a close could not map: they stay in their place
    /// (X12).
    pub(crate) unmapped_below: u32,
    pub(crate) active: Arc<Memtable>,
    /// Deletes whose samples are not all gone yet, by number. One is here before any source above it (K8).
    pub(crate) tombstones: Vec<Arc<Tombstone>>,
    /// What retention has dropped, as deletes that would hide the same. They stand apart: no condition of a batch asks for
    /// them, and none is in the log. One is here from the change on that drops (K10).
    pub(crate) horizons: Vec<Arc<Tombstone>>,
    /// Deletes that hide nothing any more, for the conditions of batches.
    pub(crate) forgotten: Arc<Forgotten>,
    /// Which series have the slots of the memtables here (V7).
    pub(crate) registry: Arc<Registry>,
}

/// The last deletes that compaction has carried out.
#[derive(Clone, Default)]
pub(crate) struct Forgotten {
    /// By number.
    deletes: VecDeque<Arc<Tombstone>>,
    /// Of the last one that is not even here.
    lost: u64,
}

/// As many are remembered.
const FORGOTTEN_MAX: usize = 1_000;

impl Forgotten {
    fn with(&self, done: impl Iterator<Item = Arc<Tombstone>>) -> Self {
        let mut all = self.clone();
        all.deletes.extend(done);
        all.deletes.make_contiguous().sort_by_key(|t| t.seq);
        while all.deletes.len() > FORGOTTEN_MAX {
            all.lost = all.deletes.pop_front().map_or(all.lost, |t| all.lost.max(t.seq.0));
        }
        all
    }
}

impl Version {
    /// Whatever has a number below this one is in no memtable here.
    pub(crate) fn flushed_before(&self) -> u64 {
        self.sealed.iter().chain([&self.active]).map(|memtable| memtable.first_seq).min().unwrap_or(0)
    }

    /// Whatever has a number below this one, and is visible in `watermark` or behind it, is in segments: also where all
    /// is, and only deletes have come since.
    pub(crate) fn in_segments_below(&self, watermark: &Watermark) -> u64 {
        let visible = watermark.seq();
        // Behind that: what is visible has been counted.
        let nothing_in_memory = self.unflushed().next().is_none() && self.active.samples() == 0;
        let sealed = self.unflushed().map(|memtable| self.begin_of(memtable, memtable.end_seq()));
        let in_memory = sealed.chain([self.begin_of(&self.active, u64::MAX)]).min().unwrap_or(0);
        if nothing_in_memory { visible.max(in_memory) } else { in_memory }
    }

    /// The sealed memtables that are in no segment, mapped or not.
    fn unflushed(&self) -> impl Iterator<Item = &Arc<Memtable>> {
        self.sealed.iter().filter(|memtable| memtable.generation >= self.unmapped_below)
    }

    /// Samples that are in no segment, in memtables of this generation and later ones.
    pub(crate) fn unflushed_samples(&self, since: u32) -> u64 {
        let memtables = self.unflushed().chain([&self.active]).filter(|memtable| memtable.generation >= since);
        memtables.map(|memtable| memtable.samples()).sum()
    }

    /// Whatever has a number below this one is not in this memtable, which ends at `end`. A delete rotates one that has
    /// samples (F5): where its number lies within one it found that empty, and all that came lies above.
    fn begin_of(&self, memtable: &Memtable, end: u64) -> u64 {
        let below = self.tombstones.partition_point(|t| t.seq.0 < end);
        self.tombstones[..below].last().map_or(0, |t| t.seq.0 + 1).max(memtable.first_seq)
    }

    /// The number of the last delete at or above `since` that names a series with the labels that `labels` answers; 0
    /// if there is none. `exact` leaves out those that nobody remembers: they may have named it. `looks` is raised by one
    /// for each delete that was matched.
    pub(crate) fn last_delete(
        &self,
        since: u64,
        exact: bool,
        looks: &mut u64,
        labels: impl FnOnce() -> Option<Labels>,
    ) -> u64 {
        let lost = if exact || self.forgotten.lost < since { 0 } else { self.forgotten.lost };
        let due = |t: &&Arc<Tombstone>| t.seq.0 >= since;
        // Both are by number: from the last one of all back.
        let (waiting, forgotten) = (self.tombstones.iter().rev(), self.forgotten.deletes.iter().rev());
        let (mut waiting, mut forgotten) = (waiting.take_while(due).peekable(), forgotten.take_while(due).peekable());
        if waiting.peek().is_none() && forgotten.peek().is_none() {
            return lost;
        }
        let Some(labels) = labels() else { return lost };
        let mut deletes = std::iter::from_fn(|| match (waiting.peek(), forgotten.peek()) {
            (Some(one), Some(other)) if one.seq < other.seq => forgotten.next(),
            (None, _) => forgotten.next(),
            _ => waiting.next(),
        });
        let last = deletes.find(|t| {
            *looks += 1;
            t.matches(&labels)
        });
        last.map_or(0, |t| t.seq.0).max(lost)
    }

    /// The latest timestamp that a source older than the active memtable can hold.
    pub(crate) fn last_of_older(&self) -> i64 {
        let segments = self.segments.iter().filter_map(|segment| segment.info().time_range);
        let segments = segments.map(|range| range.end.nanos());
        let sealed = self.sealed.iter().filter_map(|memtable| memtable.bounds()).map(|(_, last)| last);
        segments.chain(sealed).max().unwrap_or(i64::MIN)
    }

    /// The sources of a snapshot at `commit`, earliest accepted first, as deletes and ages (`None`: all are kept) leave
    /// them.
    pub(crate) fn sources(&self, commit: u64, ages: Option<Arc<[AgeMask]>>) -> Vec<Arc<dyn SampleSource>> {
        let segments = self.segments.iter().map(|s| Arc::clone(s) as Arc<dyn SampleSource>);
        let memtables = self.sealed.iter().chain([&self.active]).map(|memtable| {
            Arc::new(MemtableSource::new(Arc::clone(memtable), Arc::clone(&self.registry), commit))
                as Arc<dyn SampleSource>
        });
        let sources = segments.chain(memtables);
        if self.tombstones.is_empty() && self.horizons.is_empty() && ages.is_none() {
            return sources.collect();
        }
        let ages = ages.unwrap_or_default();
        let mask = |source: Arc<dyn SampleSource>| match Mask::reaching(
            self.tombstones.iter().chain(&self.horizons),
            &ages,
            source.seq_range(),
            source.time_range(),
        ) {
            Some(mask) => Arc::new(Masked::new(source, mask)) as Arc<dyn SampleSource>,
            None => source,
        };
        sources.map(mask).collect()
    }
}

/// The current version. Read without a lock; changed one at a time.
pub(crate) struct Versions {
    current: ArcCell<Version>,
    /// Held by who changes it.
    changing: Mutex<Left>,
}

/// What is in no version any more, and what somebody may have still.
#[derive(Default)]
struct Left {
    /// They gave way to segments.
    memtables: Vec<Weak<Memtable>>,
    /// Others follow them.
    registries: Vec<Weak<Registry>>,
}

impl Versions {
    pub(crate) fn new(first: Version) -> Self {
        Self { current: ArcCell::new(Arc::new(first)), changing: Mutex::default() }
    }

    pub(crate) fn load(&self) -> Arc<Version> {
        self.current.load()
    }

    /// The current version, to be looked at: as [`load`](Self::load), without touching the count that all readers share.
    pub(crate) fn peek(&self) -> Peeked<Version> {
        self.current.peek()
    }

    /// Replaces the version by what `change` makes of it.
    pub(crate) fn change(&self, change: impl FnOnce(&Version) -> Version) {
        let _alone = self.changing.lock().expect("version lock");
        self.replace(change);
    }

    /// With the lock held.
    fn replace(&self, change: impl FnOnce(&Version) -> Version) {
        let next = change(&self.current.load());
        self.current.store(Arc::new(next));
    }

    /// The active memtable becomes the youngest sealed one, for a delete or without one.
    pub(crate) fn rotate(&self, active: Arc<Memtable>, tombstone: Option<Arc<Tombstone>>) {
        self.change(|v| {
            let mut sealed = v.sealed.clone();
            sealed.push(Arc::clone(&v.active));
            let mut tombstones = v.tombstones.clone();
            tombstones.extend(tombstone);
            Version { sealed, active, tombstones, ..v.clone() }
        });
    }

    /// A delete when the active memtable is empty.
    pub(crate) fn delete(&self, tombstone: Arc<Tombstone>) {
        self.change(|v| {
            let mut tombstones = v.tombstones.clone();
            tombstones.push(tombstone);
            Version { tombstones, ..v.clone() }
        });
    }

    /// Deletes of which nothing is left to hide; `horizons` are those that are left.
    pub(crate) fn forget(&self, done: &[SeqNo], horizons: &[Arc<Tombstone>]) {
        self.change(|v| {
            let (gone, tombstones): (Vec<_>, Vec<_>) =
                v.tombstones.iter().cloned().partition(|t| done.contains(&t.seq));
            let forgotten = Arc::new(v.forgotten.with(gone.into_iter()));
            Version { tombstones, forgotten, horizons: horizons.to_vec(), ..v.clone() }
        });
    }

    /// A sealed memtable gives way to the segments made of it.
    pub(crate) fn flushed(&self, generation: u32, made: &[Arc<Segment>]) {
        let mut left = self.changing.lock().expect("version lock");
        left.memtables.retain(|memtable| memtable.strong_count() > 0);
        self.replace(|v| {
            let mut segments = v.segments.clone();
            segments.extend(made.iter().cloned());
            segments.sort_by_key(|s| order_of(s));
            let (flushed, sealed): (Vec<_>, _) = v.sealed.iter().cloned().partition(|m| m.generation == generation);
            left.memtables.extend(flushed.iter().map(Arc::downgrade));
            Version { segments, sealed, ..v.clone() }
        });
    }

    /// A sealed memtable is in segments that could not be mapped: it stays in their place.
    pub(crate) fn flushed_unmapped(&self, generation: u32) {
        self.change(|v| Version { unmapped_below: generation + 1, ..v.clone() });
    }

    /// Memtables that are flushed, and that snapshots, or whoever reads just now, keep alive.
    pub(crate) fn left_alive(&self) -> Vec<Arc<Memtable>> {
        // The last one to let a memtable go frees it: not here, with the lock held.
        self.changing.lock().expect("version lock").memtables.iter().filter_map(Weak::upgrade).collect()
    }

    /// Another registry follows, which `next` makes.
    pub(crate) fn follow(&self, next: impl FnOnce() -> Registry) {
        let mut left = self.changing.lock().expect("version lock");
        left.registries.retain(|registry| registry.strong_count() > 0);
        self.replace(|v| {
            left.registries.push(Arc::downgrade(&v.registry));
            Version { registry: Arc::new(next()), ..v.clone() }
        });
    }

    /// Bytes of registries that were followed by others, and that snapshots, or whoever reads just now, keep alive.
    pub(crate) fn pinned_registry_bytes(&self) -> u64 {
        // As above.
        let left: Vec<Arc<Registry>> =
            self.changing.lock().expect("version lock").registries.iter().filter_map(Weak::upgrade).collect();
        left.iter().map(|registry| registry.bytes()).sum()
    }
}

/// What compaction does to a version.
impl Versions {
    /// Segments give way to those made of them, behind what the manifest has of `horizons` since.
    pub(crate) fn compacted(&self, removed: &[u64], made: &[Arc<Segment>], horizons: &[Arc<Tombstone>]) {
        self.change(|v| {
            let stays = |s: &&Arc<Segment>| !removed.contains(&s.info().id);
            let mut segments: Vec<_> = v.segments.iter().filter(stays).chain(made).cloned().collect();
            segments.sort_by_key(|s| order_of(s));
            Version { segments, horizons: horizons.to_vec(), ..v.clone() }
        });
    }
}

/// What hides as the manifest's horizons do.
pub(crate) fn hiding(horizons: &Horizons) -> Vec<Arc<Tombstone>> {
    horizons.iter().map(|horizon| Arc::new(horizon.tombstone())).collect()
}

/// Precedence: of two that hold the same timestamp, the one that sorts behind wins (K1).
pub(crate) fn order_of(segment: &Segment) -> Precedence {
    let info = segment.info();
    precedence(info.seq_range, info.late, info.id)
}

pub(crate) type Precedence = (SeqNo, Reverse<SeqNo>, bool, u64);

/// By the end: of each timestamp that it holds, a segment has the last value accepted below its end. That is so even
/// where inputs of a compaction came back, or outputs are there that were not committed: a range within another one
/// sorts in front of it. In one range the late half of a flush wins; then what was made later.
pub(crate) fn precedence(range: SeqRange, late: bool, id: u64) -> Precedence {
    (range.end, Reverse(range.start), late, id)
}
