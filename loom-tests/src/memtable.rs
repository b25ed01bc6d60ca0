//! What models of the memtable share: a worker's end and a reader's end of one series.

use std::sync::Arc as StdArc;

use loom::sync::Arc;
use loom::sync::atomic::AtomicBool;
use loom::sync::atomic::Ordering::Relaxed;
use tidegauge::loom_only::commit::{PinView, Visible, Watermark};
use tidegauge::loom_only::epoch::Guard;
use tidegauge::loom_only::memtable::{
    ChunkKey, Columns, Full, HeadTable, HeadWriter, Kind, Memtable, Moment, Origin, Packer, Pair, Seal, Sealer,
    SeriesHead, TimeRange,
};

/// One series.
pub struct Heads {
    /// The one there is.
    pub head: SeriesHead,
    claimed: AtomicBool,
}

impl HeadTable for Heads {
    fn head(&self, _: u32) -> &SeriesHead {
        &self.head
    }

    fn len(&self) -> u32 {
        1
    }

    fn claim_writer(&self) -> bool {
        !self.claimed.swap(true, Relaxed)
    }
}

/// Where sealed tails go: two generations, as in the worker.
struct Sink {
    memtables: [StdArc<Memtable>; 2],
    sealer: Sealer,
    packer: Packer,
}

impl Seal for Sink {
    fn seal(&mut self, full: Full<'_>) {
        let key = ChunkKey::new(full.slot, full.kind, full.ordinal);
        let memtable = StdArc::clone(&self.memtables[full.generation as usize - 1]);
        memtable.table.insert(key, StdArc::new(self.sealer.seal(full)));
    }

    fn pack(&mut self, full: Full<'_>) {
        self.packer.push(full);
    }

    fn finish_pack(&mut self, generation: u32, slot: u32) {
        if let Some(pack) = self.packer.finish() {
            self.memtables[generation as usize - 1].table.insert_pack(slot, StdArc::new(pack));
        }
    }

    fn weigh(&mut self, _: u32, _: isize) {}
}

/// The worker's end: appends whole commits of sample numbers, in order unless told otherwise.
pub struct Worker {
    writer: HeadWriter<Arc<Heads>>,
    sink: Sink,
    /// As they were looked at last.
    pub pins: PinView,
    commit: u64,
    /// The memtable that is appended to.
    pub generation: u32,
}

impl Worker {
    fn origin(&self) -> Origin {
        self.sink.memtables[self.generation as usize - 1].origin()
    }

    fn append(&mut self, timestamp: i64) {
        let at = Moment { commit: self.commit, origin: self.origin(), pins: &self.pins };
        let pair = Pair { timestamp, value: timestamp as f64 };
        self.writer.append(0, &at, timestamp as u64, pair, &mut self.sink);
    }

    /// One commit of these samples.
    pub fn commit(&mut self, watermark: &Watermark, samples: std::ops::RangeInclusive<i64>) {
        self.commit += 1;
        samples.for_each(|timestamp| self.append(timestamp));
        watermark.publish(Visible { commit: self.commit, seq: self.commit });
    }

    /// Seals what is open of the older generation.
    pub fn close(&mut self) {
        self.writer.close(0..1, self.generation, &self.pins, &mut self.sink);
    }
}

/// A reader's end.
#[derive(Clone)]
pub struct Reader {
    /// Of all memtables.
    pub heads: Arc<Heads>,
    memtables: [StdArc<Memtable>; 2],
}

impl Reader {
    /// The timestamps of one generation and kind as of `commit`.
    pub fn read(&self, guard: &Guard, kind: Kind, generation: u32, commit: u64) -> Vec<i64> {
        let memtable = &self.memtables[generation as usize - 1];
        let (chunks, tail) = memtable.parts(&self.heads.head, guard, 0, kind, commit);
        let mut found = Vec::new();
        for chunk in chunks {
            match kind {
                Kind::Late => found.extend(chunk.pairs(commit).iter().map(|p| p.timestamp)),
                Kind::InOrder => {
                    let mut columns = Columns::default();
                    chunk.decode(TimeRange::ALL, commit, &mut columns);
                    found.extend(columns.timestamps);
                }
            }
        }
        found.extend(tail.iter().map(|p| p.timestamp));
        found
    }

    /// What the tails of the first generation refer to.
    pub fn origin(&self) -> Origin {
        self.memtables[0].origin()
    }

    /// Those in order of the first generation.
    pub fn in_order(&self, guard: &Guard, commit: u64) -> Vec<i64> {
        self.read(guard, Kind::InOrder, 1, commit)
    }
}

/// Both ends, with nothing appended yet. The worker is in the first of two generations.
pub fn ends() -> (Worker, Reader) {
    let heads = Arc::new(Heads { head: SeriesHead::new(), claimed: AtomicBool::new(false) });
    let memtables = [1, 2].map(|generation| StdArc::new(Memtable::new(generation, 0)));
    let writer = HeadWriter::new(Arc::clone(&heads)).unwrap();
    assert!(HeadWriter::new(Arc::clone(&heads)).is_none(), "T1: there is one");
    let sink = Sink { memtables: memtables.clone(), sealer: Sealer::default(), packer: Packer::default() };
    (Worker { writer, sink, pins: PinView::default(), commit: 0, generation: 1 }, Reader { heads, memtables })
}

/// Nothing is visible yet.
pub fn origin() -> Watermark {
    Watermark::new(Visible { commit: 0, seq: 0 })
}
