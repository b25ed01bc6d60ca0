//! A sealed memtable into at most two segments, series by series, chunk by chunk.
//!
//! What came in order goes to the one; late samples that lie between go there with it, and those that are older
//! than all that came in order to the other. Full tails are encoded as a segment wants them: four of them make a
//! chunk without being decoded, unless a late sample falls between. So no series is held decoded; of its late
//! samples one sorted copy is.

use std::sync::Arc;

use tidegauge_storage::chunk::{CHUNK_SAMPLES_MAX, ChunkEncoder, ChunkView, VECTOR_SAMPLES};
use tidegauge_storage::model::{Labels, SeqNo, SeqRange};
use tidegauge_storage::segment::{SegmentHeader, SegmentInfo, SegmentWriter, WriteError};
use tidegauge_storage::source::{Columns, Mask, SampleSource};

use super::left_out::{Deletes, LeftOut};
use super::{FlushJob, FlusherParts};
use crate::chunker::Chunker;
use crate::clock;
use crate::memtable::{MemtableSource, Pair};
use crate::sync::atomic::Ordering;
use crate::watch::Working;

/// Writes the segments of a memtable, but for what `mask` hides. Those that are finished are in `made`, also after an
/// error.
pub(super) fn write_segments(
    parts: &FlusherParts,
    job: &FlushJob,
    mask: Option<&Mask>,
    made: &mut Vec<SegmentInfo>,
    work: &Working,
) -> Result<(), WriteError> {
    let core = &parts.core;
    // No series of the memtable is evicted before it is flushed: whichever registry is current knows them (V6).
    let registry = core.registry();
    let source = MemtableSource::new(Arc::clone(&job.memtable), Arc::clone(&registry), job.commit);
    let (listing, slots) = (source.list(), registry.slots());
    let listed = listing.slots();
    let mut in_order = Half::new(parts, source.seq_range(), false);
    let mut older = Half::new(parts, source.seq_range(), true);
    let mut packed = Packed::default();
    let mut deletes = Deletes::new(mask, &source, &registry);
    for slot in slots.in_label_order(listed, || work.gets_on()) {
        work.gets_on();
        let Some(labels) = slots.labels(slot) else { continue };
        let left_out = deletes.left_out(slot, &labels, &|| work.gets_on());
        // One number for both: the greatest over all segments is what counts.
        let last_seq = SeqNo(listing.last_seq(slot));
        packed.pairs.clear();
        let mut chunks: Vec<ChunkView<'_>> = source.in_order(&listing, slot, &mut packed.pairs).collect();
        chunks.retain(|chunk| !left_out.has_all(chunk));
        left_out.leave_out(&mut packed.pairs);
        chunks.extend(packed.encode());
        let mut late = source.late_of(&listing, slot);
        left_out.leave_out(&mut late);
        let first = chunks.first().map_or(i64::MAX, ChunkView::first_timestamp);
        let (before, between) = late.split_at(late.partition_point(|pair| pair.timestamp < first));
        in_order.write_chunks(&labels, last_seq, &chunks, between, &left_out)?;
        older.write_pairs(&labels, last_seq, before)?;
    }
    made.extend(in_order.finish(work)?);
    made.extend(older.finish(work)?);
    Ok(())
}

/// The end of a series that lies in a pack, encoded.
#[derive(Default)]
struct Packed {
    pairs: Vec<Pair>,
    columns: Columns,
    encoder: ChunkEncoder,
    bytes: Vec<u8>,
}

impl Packed {
    fn encode(&mut self) -> Option<ChunkView<'_>> {
        if self.pairs.is_empty() {
            return None;
        }
        self.columns.clear();
        self.bytes.clear();
        self.pairs.iter().for_each(|pair| self.columns.push(pair.timestamp, pair.value));
        self.encoder.encode(&self.columns.timestamps, &self.columns.values, &mut self.bytes);
        Some(ChunkView::parse(&self.bytes).expect("just encoded"))
    }
}

/// One of the two segments of a flush; made when the first sample comes.
struct Half<'a> {
    parts: &'a FlusherParts,
    seq_range: SeqRange,
    late: bool,
    writer: Option<SegmentWriter>,
    chunker: Chunker,
    decoded: Columns,
}

impl<'a> Half<'a> {
    fn new(parts: &'a FlusherParts, seq_range: SeqRange, late: bool) -> Self {
        let (chunker, decoded) = (Chunker::default(), Columns::default());
        Self { parts, seq_range, late, writer: None, chunker, decoded }
    }

    /// Writes a series out of encoded chunks, and the late samples that lie between its first and its last.
    fn write_chunks(
        &mut self,
        labels: &Labels,
        last_seq: SeqNo,
        chunks: &[ChunkView<'_>],
        mut late: &[Pair],
        left_out: &LeftOut,
    ) -> Result<(), WriteError> {
        if chunks.is_empty() {
            return Ok(());
        }
        self.begin_series(labels, last_seq)?;
        let mut rest = chunks;
        while let Some((group, behind)) = next_group(rest) {
            rest = behind;
            let last = group[group.len() - 1].last_timestamp();
            let (here, later) = late.split_at(late.partition_point(|pair| pair.timestamp <= last));
            late = later;
            let Self { writer: Some(writer), chunker, .. } = self else { unreachable!("begun above") };
            if here.is_empty() && chunker.may_copy() && !left_out.touches(group) {
                chunker.finish(writer)?;
                chunker.join(group, writer)?;
            } else {
                self.merge(group, here, left_out)?;
            }
        }
        let Self { writer: Some(writer), chunker, .. } = self else { unreachable!("begun above") };
        // Nothing is newer than what came in order, but where its end is left out.
        late.iter().try_for_each(|pair| push(chunker, *pair, writer))?;
        self.end_series()
    }

    /// Decodes chunks, one after the other, without what is left out, and puts late samples in, of which nothing is: they
    /// were accepted later, so they win.
    fn merge(&mut self, chunks: &[ChunkView<'_>], late: &[Pair], left_out: &LeftOut) -> Result<(), WriteError> {
        let Self { writer: Some(writer), chunker, decoded, .. } = self else { unreachable!("a series was begun") };
        let mut late = late.iter().peekable();
        for chunk in chunks {
            decoded.clear();
            chunk.decode_into(decoded).expect("encoded by this process, never changed");
            for (&at, &value) in decoded.timestamps.iter().zip(&decoded.values) {
                if left_out.has(at) {
                    continue;
                }
                while let Some(pair) = late.next_if(|pair| pair.timestamp < at) {
                    push(chunker, *pair, writer)?;
                }
                let over = late.next_if(|pair| pair.timestamp == at);
                push(chunker, over.copied().unwrap_or(Pair { timestamp: at, value }), writer)?;
            }
        }
        // Those before an end that is left out.
        late.try_for_each(|pair| push(chunker, *pair, writer))
    }

    /// Writes a series out of ascending samples.
    fn write_pairs(&mut self, labels: &Labels, last_seq: SeqNo, pairs: &[Pair]) -> Result<(), WriteError> {
        if pairs.is_empty() {
            return Ok(());
        }
        self.begin_series(labels, last_seq)?;
        let Self { writer: Some(writer), chunker, .. } = self else { unreachable!("begun above") };
        pairs.iter().try_for_each(|pair| push(chunker, *pair, writer))?;
        self.end_series()
    }

    fn begin_series(&mut self, labels: &Labels, last_seq: SeqNo) -> Result<(), WriteError> {
        if self.writer.is_none() {
            self.writer = Some(self.create()?);
        }
        let Self { writer: Some(writer), .. } = self else { unreachable!("made above") };
        writer.begin_series(labels, last_seq)
    }

    fn end_series(&mut self) -> Result<(), WriteError> {
        let Self { writer: Some(writer), chunker, .. } = self else { unreachable!("a series was begun") };
        chunker.finish(writer)
    }

    fn create(&self) -> Result<SegmentWriter, WriteError> {
        let parts = self.parts;
        let id = parts.next_segment.fetch_add(1, Ordering::Relaxed);
        let header = SegmentHeader {
            store_id: parts.store_id,
            seq_range: self.seq_range,
            late: self.late,
            cold: false,
            level: 0,
            created: clock::now().nanos(),
            opening: parts.opening,
        };
        SegmentWriter::create(Arc::clone(&parts.fs), &parts.dir, id, header)
    }

    fn finish(self, work: &Working) -> Result<Option<SegmentInfo>, WriteError> {
        work.gets_on();
        let FlusherParts { core, fs, dir, .. } = self.parts;
        let sync_folder = || core.segment_folder.sync(core, &**fs, dir);
        // Of a chunk that only reaches into what stays nothing may be left.
        let written = self.writer.filter(|writer| writer.series() > 0);
        written.map(|writer| writer.finish_with(Some(&sync_folder), &|| work.gets_on())).transpose()
    }
}

fn push(chunker: &mut Chunker, pair: Pair, writer: &mut SegmentWriter) -> Result<(), WriteError> {
    let waiting = chunker.waiting();
    waiting.push(pair.timestamp, pair.value);
    if waiting.len() >= Chunker::MANY { chunker.settle(writer) } else { Ok(()) }
}

/// Splits off as many chunks as make one of a segment: whole vectors, but for the last of them.
fn next_group<'a, 'b>(chunks: &'b [ChunkView<'a>]) -> Option<(&'b [ChunkView<'a>], &'b [ChunkView<'a>])> {
    let mut samples = 0usize;
    let fits = |chunk: &&ChunkView<'_>| {
        let fits = samples.is_multiple_of(VECTOR_SAMPLES) && samples + chunk.count() <= CHUNK_SAMPLES_MAX;
        samples += chunk.count();
        fits
    };
    let len = chunks.iter().take_while(fits).count();
    (len > 0).then(|| chunks.split_at(len))
}
