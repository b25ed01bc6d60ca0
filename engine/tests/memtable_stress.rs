//! Tails, chunks, packs and pins with real threads and real epochs: for AddressSanitizer, which sees reads of freed
//! memory (`ci/asan.sh`), for ThreadSanitizer, which sees what was not published (`ci/tsan.sh`), and as an ordinary test.
//!
//! One thread appends as the worker does: it grows tails, seals them, rotates, packs what is idle and lets go of old
//! memtables. Readers look at all of it, and know by the number of a sample what they must find. The writer goes on
//! until much of what it replaced has been freed under them.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, TryLockError};
use std::thread;

use tidegauge::internals::commit::{Pin, PinView, Pins, Visible, Watermark};
use tidegauge::internals::epoch;
use tidegauge::internals::memtable::{
    ChunkKey, Full, HeadTable, HeadWriter, Kind, Memtable, Moment, Packer, Pair, Seal, Sealer, SeriesHead,
};
use tidegauge::{Columns, TimeRange};

/// A series gets each so many samples: one is always busy, one is always packed.
const STRIDES: [u64; 3] = [1, 7, 50];
const SERIES: u32 = STRIDES.len() as u32;
const READERS: u64 = 3;
/// Memtables in a version.
const KEPT: usize = 3;
/// Sealed buffers that must be freed while readers look.
const FREED: u64 = 20_000;
/// Looks of each reader, at least.
const LOOKS: u64 = 2_000;
/// A run that frees nothing ends, too.
const GENERATIONS_MAX: u32 = 50_000;

/// What sample `n` of a series is.
fn pair(n: u64, kind: Kind) -> Pair {
    let value = n as f64 + if kind == Kind::Late { 0.5 } else { 0.0 };
    Pair { timestamp: n as i64, value }
}

/// The samples of a series among those from `first` to before `end`; each fifth comes a second time, late.
fn expected(slot: u32, kind: Kind, first: u64, end: u64) -> impl Iterator<Item = Pair> {
    let each = STRIDES[slot as usize] * if kind == Kind::Late { 5 } else { 1 };
    (first.next_multiple_of(each)..end).step_by(each as usize).map(move |n| pair(n, kind))
}

struct Heads([SeriesHead; STRIDES.len()], AtomicBool);

impl HeadTable for Heads {
    fn head(&self, slot: u32) -> &SeriesHead {
        &self.0[slot as usize]
    }

    fn len(&self) -> u32 {
        SERIES
    }

    fn claim_writer(&self) -> bool {
        !self.1.swap(true, Ordering::Relaxed)
    }
}

/// Oldest first; the last one is active.
type Version = Arc<Vec<Arc<Memtable>>>;

struct Shared {
    heads: Arc<Heads>,
    pins: Arc<Pins>,
    watermark: Watermark,
    version: Mutex<Version>,
    looks: [AtomicU64; READERS as usize],
    /// Sealed buffers whose memory is free again.
    freed: Arc<AtomicU64>,
    over: AtomicBool,
}

impl Shared {
    /// By trying: of a lock that waits ThreadSanitizer does not see who hands over to whom.
    fn with_version<R>(&self, f: impl FnOnce(&mut Version) -> R) -> R {
        loop {
            match self.version.try_lock() {
                Ok(mut version) => return f(&mut version),
                Err(TryLockError::WouldBlock) => thread::yield_now(),
                Err(TryLockError::Poisoned(_)) => panic!("another thread has failed"),
            }
        }
    }

    fn version(&self) -> Version {
        self.with_version(|version| Arc::clone(version))
    }
}

/// Tells the others when its thread ends, however that is.
struct OverOnDrop(Arc<Shared>);

impl Drop for OverOnDrop {
    fn drop(&mut self) {
        self.0.over.store(true, Ordering::Relaxed);
    }
}

/// As the worker's.
struct Sink {
    closing: Arc<Memtable>,
    active: Arc<Memtable>,
    sealer: Sealer,
    packer: Packer,
    /// Buffers that were let go of.
    sealed: u64,
}

impl Sink {
    fn of(&self, generation: u32) -> &Memtable {
        if generation == self.active.generation { &self.active } else { &self.closing }
    }
}

impl Seal for Sink {
    fn seal(&mut self, full: Full<'_>) {
        let (generation, key) = (full.generation, ChunkKey::new(full.slot, full.kind, full.ordinal));
        let chunk = Arc::new(self.sealer.seal(full));
        self.of(generation).table.insert(key, chunk);
    }

    fn pack(&mut self, full: Full<'_>) {
        self.packer.push(full);
    }

    fn finish_pack(&mut self, generation: u32, slot: u32) {
        if let Some(pack) = self.packer.finish() {
            self.of(generation).table.insert_pack(slot, Arc::new(pack));
        }
    }

    fn weigh(&mut self, _: u32, bytes: isize) {
        self.sealed += u64::from(bytes < 0);
    }
}

struct Writer {
    shared: Arc<Shared>,
    writer: HeadWriter<Arc<Heads>>,
    sink: Sink,
    pins: PinView,
    visible: Visible,
}

impl Writer {
    fn commit(&mut self, samples: u64) {
        self.shared.pins.look(&mut self.pins);
        let Visible { commit, seq } = self.visible;
        let at = Moment { commit: commit + 1, origin: self.sink.active.origin(), pins: &self.pins };
        for slot in 0..SERIES {
            let late: Vec<Pair> = expected(slot, Kind::Late, seq, seq + samples).collect();
            for sample in expected(slot, Kind::InOrder, seq, seq + samples) {
                let n = sample.timestamp as u64;
                self.writer.append(slot, &at, n, sample, &mut self.sink);
                if let Some(late) = late.iter().find(|late| late.timestamp == sample.timestamp) {
                    self.writer.append(slot, &at, n, *late, &mut self.sink);
                }
            }
        }
        self.visible = Visible { commit: commit + 1, seq: seq + samples };
        self.shared.watermark.publish(self.visible);
    }

    /// A memtable of so many commits, all but the first few of which find no open tail of the one before.
    fn generation(&mut self, commits: u64) {
        let active = {
            let Visible { commit, seq } = self.visible;
            Arc::new(Memtable::beginning(self.sink.active.generation + 1, seq, commit + 1))
        };
        self.shared.with_version(|version| {
            let kept = version.len().saturating_sub(KEPT - 1);
            *version = Arc::new(version[kept..].iter().chain([&active]).cloned().collect());
        });
        self.sink.closing = std::mem::replace(&mut self.sink.active, active);
        let before = self.sink.sealed;
        for n in 0..commits.max(4) {
            // Sometimes a series' next sample closes what is open, sometimes the slice does.
            if n == commits % 3 {
                self.shared.pins.look(&mut self.pins);
                let generation = self.sink.active.generation;
                self.writer.close(0..SERIES, generation, &self.pins, &mut self.sink);
            }
            self.commit(1 + n % 13);
        }
        // What one thread defers is freed in that order: if this has run, the buffers before it are gone.
        let (sealed, freed) = (self.sink.sealed - before, Arc::clone(&self.shared.freed));
        epoch::pin().defer(move || freed.fetch_add(sealed, Ordering::Relaxed));
    }

    fn run(mut self) {
        let _over = OverOnDrop(Arc::clone(&self.shared));
        for n in 0..GENERATIONS_MAX {
            // Long enough for a full tail, now and then.
            self.generation([5, 40, 12, 500, 90][n as usize % 5]);
            if self.shared.over.load(Ordering::Relaxed) {
                return; // A reader has failed, and says why.
            }
            let looks = self.shared.looks.iter().map(|looks| looks.load(Ordering::Relaxed)).min();
            if looks >= Some(LOOKS) && self.shared.freed.load(Ordering::Relaxed) >= FREED {
                return;
            }
        }
        panic!("only {} sealed buffers were freed", self.shared.freed.load(Ordering::Relaxed));
    }
}

/// A commit that stays as it is.
struct Held {
    pin: Pin,
    version: Version,
}

/// A commit above all: whatever is published.
const WHATEVER: u64 = u64::MAX;

impl Shared {
    fn hold(&self) -> Held {
        let (pin, version) =
            Pins::pin(&self.pins, &self.watermark, || self.watermark.cut(|| self.version(), Arc::ptr_eq));
        Held { pin, version }
    }

    /// What a version holds of a series, as of a commit.
    fn read(&self, version: &Version, slot: u32, kind: Kind, commit: u64) -> Vec<Pair> {
        let mut found = Vec::new();
        for memtable in version.iter() {
            let guard = epoch::pin();
            let (chunks, tail) = memtable.parts(self.heads.head(slot), &guard, slot, kind, commit);
            drop(guard);
            for chunk in chunks {
                match kind {
                    Kind::Late => found.extend_from_slice(chunk.pairs(commit)),
                    Kind::InOrder => {
                        let mut columns = Columns::default();
                        chunk.decode(TimeRange::ALL, commit, &mut columns);
                        let pairs = columns.timestamps.iter().zip(&columns.values);
                        found.extend(pairs.map(|(&timestamp, &value)| Pair { timestamp, value }));
                    }
                }
            }
            found.extend(tail);
        }
        found
    }

    /// A pinned commit is found exactly, however often (T5, S1, S2, F2).
    fn look_at(&self, held: &Held) {
        let Visible { commit, seq } = held.pin.visible();
        let Some(first) = held.version.first().map(|memtable| memtable.first_seq) else { return };
        for slot in 0..SERIES {
            for kind in [Kind::InOrder, Kind::Late] {
                let found = self.read(&held.version, slot, kind, commit);
                let first_wrong = found.iter().copied().zip(expected(slot, kind, first, seq)).find(|(a, b)| a != b);
                assert_eq!(first_wrong, None, "series {slot} {kind:?}, commit {commit}");
                assert_eq!(found.len(), expected(slot, kind, first, seq).count(), "series {slot} {kind:?}, {commit}");
            }
        }
    }

    /// Without a pin it is a beginning, and no less than what was visible before (T2, T3, T4, T8).
    fn look_at_whatever_is_there(&self, slot: u32, kind: Kind) {
        let visible = self.watermark.seq();
        let version = self.version();
        let Some(first) = version.first().map(|memtable| memtable.first_seq) else { return };
        let found = self.read(&version, slot, kind, WHATEVER);
        assert!(
            found.len() >= expected(slot, kind, first, visible).count(),
            "series {slot} {kind:?}: samples are missing"
        );
        let first_wrong = found.iter().copied().zip(expected(slot, kind, first, u64::MAX / 2)).find(|(a, b)| a != b);
        assert_eq!(first_wrong, None, "series {slot} {kind:?}");
    }

    /// The newest sample is a visible one (T9).
    fn look_at_the_newest(&self, slot: u32) {
        let before = self.watermark.seq();
        let Some(of) = self.version().last().map(|memtable| memtable.origin()) else { return };
        let newest = self.heads.head(slot).newest(&epoch::pin(), of, || self.watermark.commit());
        let after = self.watermark.seq();
        let Some(newest) = newest else { return };
        let n = newest.timestamp as u64;
        assert_eq!(newest, pair(n, Kind::InOrder), "series {slot}");
        assert!(
            n + STRIDES[slot as usize] >= before && n < after,
            "series {slot}: {n}, {before} to {after} were visible"
        );
    }

    fn read_until_over(&self, reader: usize) {
        let mut held = self.hold();
        while !self.over.load(Ordering::Relaxed) {
            let look = self.looks[reader].fetch_add(1, Ordering::Relaxed);
            if look % 8 == reader as u64 {
                held = self.hold();
            }
            self.look_at(&held);
            for slot in 0..SERIES {
                self.look_at_the_newest(slot);
                self.look_at_whatever_is_there(slot, Kind::InOrder);
                self.look_at_whatever_is_there(slot, Kind::Late);
            }
        }
    }
}

#[test]
fn readers_find_their_commit_while_what_they_read_is_replaced_and_freed() {
    let first = Arc::new(Memtable::new(1, 1));
    let start = Visible { commit: 0, seq: 1 };
    let shared = Arc::new(Shared {
        heads: Arc::new(Heads(STRIDES.map(|_| SeriesHead::new()), AtomicBool::new(false))),
        pins: Arc::new(Pins::new()),
        watermark: Watermark::new(start),
        version: Mutex::new(Arc::new(vec![Arc::clone(&first)])),
        looks: std::array::from_fn(|_| AtomicU64::new(0)),
        freed: Arc::default(),
        over: AtomicBool::new(false),
    });
    let writer = HeadWriter::new(Arc::clone(&shared.heads)).unwrap();
    let sink = Sink {
        closing: Arc::clone(&first),
        active: first,
        sealer: Sealer::default(),
        packer: Packer::default(),
        sealed: 0,
    };
    let writer = Writer { shared: Arc::clone(&shared), writer, sink, pins: PinView::default(), visible: start };
    let readers: Vec<_> = (0..READERS as usize)
        .map(|reader| {
            let shared = Arc::clone(&shared);
            thread::spawn(move || {
                let _over = OverOnDrop(Arc::clone(&shared));
                shared.read_until_over(reader);
            })
        })
        .collect();
    let writer = thread::spawn(move || writer.run());
    // Readers first: what one of them says is what went wrong.
    readers.into_iter().for_each(|reader| reader.join().unwrap());
    writer.join().unwrap();
}
