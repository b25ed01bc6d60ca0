//! A memtable as a source of samples, cut at one commit.

use std::sync::Arc;

use tidegauge_storage::chunk::ChunkView;
use tidegauge_storage::model::{Labels, Matcher, Sample, SeqNo, SeqRange, TimeRange, Timestamp};
use tidegauge_storage::source::{ColumnCursor, Columns, ReadCounts, ReadError, SampleSource, SeriesHit};

use super::{HeadTable, Kind, Listing, Memtable, Pair, SealedChunk};
use crate::registry::Registry;
use crate::sync::epoch;

/// One memtable as of one pinned commit.
pub(crate) struct MemtableSource {
    memtable: Arc<Memtable>,
    registry: Arc<Registry>,
    pub(super) commit: u64,
    seq_range: SeqRange,
    bounds: Option<(i64, i64)>,
}

impl MemtableSource {
    /// The commit must stay pinned as long as the source lives.
    pub(crate) fn new(memtable: Arc<Memtable>, registry: Arc<Registry>, commit: u64) -> Self {
        let seq_range = SeqRange { start: SeqNo(memtable.first_seq), end: SeqNo(memtable.end_seq()) };
        let bounds = memtable.bounds();
        Self { memtable, registry, commit, seq_range, bounds }
    }

    pub(super) fn parts(&self, slot: u32, kind: Kind) -> (Vec<Arc<SealedChunk>>, Vec<Pair>) {
        self.memtable.parts(self.registry.slots().head(slot), &epoch::pin(), slot, kind, self.commit)
    }

    /// The late samples in `range`: sorted, of equal timestamps the last accepted.
    pub(super) fn late(&self, slot: u32, range: TimeRange) -> Vec<Pair> {
        let (chunks, tail) = self.parts(slot, Kind::Late);
        sorted(chunks.iter(), &tail, self.commit, range)
    }

    /// What there is of each series, for the flush. One pass over the skiplists.
    pub(crate) fn list(&self) -> Listing {
        self.memtable.table.list()
    }

    /// The in-order samples of a series for the flush: encoded chunks, and what is packed behind them.
    pub(crate) fn in_order<'a>(
        &self,
        listing: &'a Listing,
        slot: u32,
        packed: &mut Vec<Pair>,
    ) -> impl Iterator<Item = ChunkView<'a>> {
        let commit = self.commit;
        let chunks = listing.parts(slot, Kind::InOrder, commit, packed);
        chunks.iter().filter_map(move |(_, chunk)| chunk.whole(commit))
    }

    /// The late samples of a series for the flush: ascending, of equal timestamps the last accepted.
    pub(crate) fn late_of(&self, listing: &Listing, slot: u32) -> Vec<Pair> {
        let mut packed = Vec::new();
        let chunks = listing.parts(slot, Kind::Late, self.commit, &mut packed);
        sorted(chunks.iter().map(|(_, chunk)| chunk), &packed, self.commit, TimeRange::ALL)
    }
}

/// Late samples in `range`, out of chunks and what comes after them.
fn sorted<'a>(
    chunks: impl Iterator<Item = &'a Arc<SealedChunk>>,
    rest: &'a [Pair],
    commit: u64,
    range: TimeRange,
) -> Vec<Pair> {
    let inside = |p: &&Pair| range.contains(Timestamp::from_nanos(p.timestamp));
    let sealed = chunks.filter(|c| c.overlaps(range)).flat_map(|c| c.pairs(commit));
    let mut late: Vec<Pair> = sealed.chain(rest).filter(inside).copied().collect();
    // Stable, newest acceptance first, so that `dedup` keeps the last accepted.
    late.reverse();
    late.sort_by_key(|p| p.timestamp);
    late.dedup_by_key(|p| p.timestamp);
    late
}

impl SampleSource for MemtableSource {
    fn seq_range(&self) -> SeqRange {
        self.seq_range
    }

    fn time_range(&self) -> Option<TimeRange> {
        let (first, last) = self.bounds?;
        Some(TimeRange::covering(Timestamp::from_nanos(first), Timestamp::from_nanos(last)))
    }

    fn select(&self, matchers: &[Matcher]) -> Result<Vec<SeriesHit>, ReadError> {
        let slots = self.registry.select(matchers);
        let mut scratch = Vec::new();
        let mut hit = |slot| Some(SeriesHit { ordinal: slot, key: self.registry.slots().key(slot, &mut scratch)? });
        Ok(slots.into_iter().filter_map(&mut hit).collect())
    }

    fn ordinals(&self, matchers: &[Matcher]) -> Result<Vec<u32>, ReadError> {
        Ok(self.registry.select(matchers))
    }

    fn labels(&self, ordinal: u32) -> Result<Labels, ReadError> {
        Ok(self.registry.slots().labels(ordinal).unwrap_or_else(Labels::empty))
    }

    fn read<'a>(&'a self, ordinal: u32, range: TimeRange) -> Result<Box<dyn ColumnCursor + 'a>, ReadError> {
        let late = self.late(ordinal, range);
        let (mut chunks, tail) = self.parts(ordinal, Kind::InOrder);
        let all = chunks.len();
        chunks.retain(|c| c.overlaps(range));
        let counts = ReadCounts { chunks_pruned: (all - chunks.len()) as u64, ..ReadCounts::default() };
        let cursor = InOrder { chunks: chunks.into_iter(), tail, range, commit: self.commit, counts };
        if late.is_empty() {
            return Ok(Box::new(cursor));
        }
        Ok(Box::new(WithLate { in_order: cursor, late: late.into_iter().peekable(), batch: Columns::default() }))
    }

    fn find(&self, labels: &Labels) -> Result<Option<u32>, ReadError> {
        Ok(self.registry.find(labels))
    }

    fn last(
        &self,
        ordinal: u32,
        range: TimeRange,
        scratch: &mut Columns,
        counts: &mut ReadCounts,
    ) -> Result<Option<Sample>, ReadError> {
        Ok(self.last_of(ordinal, range, scratch, counts))
    }

    fn label_names(&self, each: &mut dyn FnMut(&str) -> bool) -> Result<(), ReadError> {
        self.registry.label_names(each);
        Ok(())
    }

    fn label_values(&self, name: &str, each: &mut dyn FnMut(&str) -> bool) -> Result<(), ReadError> {
        self.registry.label_values(name, each);
        Ok(())
    }
}

struct InOrder {
    chunks: std::vec::IntoIter<Arc<SealedChunk>>,
    tail: Vec<Pair>,
    range: TimeRange,
    commit: u64,
    counts: ReadCounts,
}

impl InOrder {
    fn advance(&mut self, out: &mut Columns) -> bool {
        let before = out.len();
        for chunk in self.chunks.by_ref() {
            chunk.decode(self.range, self.commit, out);
            self.counts.chunks_decoded += 1;
            self.counts.bytes += chunk.encoded_len() as u64;
            if out.len() > before {
                return true;
            }
        }
        self.counts.bytes += size_of_val(&self.tail[..]) as u64;
        for pair in self.tail.drain(..) {
            if self.range.contains(Timestamp::from_nanos(pair.timestamp)) {
                out.push(pair.timestamp, pair.value);
            }
        }
        out.len() > before
    }
}

impl ColumnCursor for InOrder {
    fn next(&mut self, out: &mut Columns) -> Result<bool, ReadError> {
        Ok(self.advance(out))
    }

    fn bound(&self) -> Option<i64> {
        let chunk = self.chunks.as_slice().first().map(|chunk| chunk.first());
        chunk.or_else(|| self.tail.first().map(|pair| pair.timestamp))
    }

    fn counts(&self) -> ReadCounts {
        self.counts
    }
}

/// In-order and late samples merged; a late one was accepted later, so it wins.
struct WithLate {
    in_order: InOrder,
    late: std::iter::Peekable<std::vec::IntoIter<Pair>>,
    batch: Columns,
}

impl ColumnCursor for WithLate {
    fn next(&mut self, out: &mut Columns) -> Result<bool, ReadError> {
        self.batch.clear();
        if !self.in_order.advance(&mut self.batch) {
            let before = out.len();
            self.late.by_ref().for_each(|p| out.push(p.timestamp, p.value));
            return Ok(out.len() > before);
        }
        for (&at, &value) in self.batch.timestamps.iter().zip(&self.batch.values) {
            while let Some(late) = self.late.next_if(|p| p.timestamp < at) {
                out.push(late.timestamp, late.value);
            }
            let over = self.late.next_if(|p| p.timestamp == at);
            out.push(at, over.map_or(value, |p| p.value));
        }
        Ok(true)
    }

    fn counts(&self) -> ReadCounts {
        self.in_order.counts()
    }
}
