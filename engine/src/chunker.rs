//! Samples of one series into chunks that end where those of other series end.

use tidegauge_storage::chunk::{CHUNK_SAMPLES_MAX, ChunkView};
use tidegauge_storage::segment::{EncodedChunk, SegmentWriter, WriteError};
use tidegauge_storage::source::Columns;

/// A chunk may be this short where that lets it end with others.
const SHORT: usize = CHUNK_SAMPLES_MAX / 4;
/// Ends that are remembered.
const ENDS_MAX: usize = 1 << 16;

/// Gathers samples and writes chunks of them. Series that were scraped together share their
/// timestamp columns only if their chunks begin and end at the same times, so the first series
/// decides where chunks end, and others follow it.
#[derive(Default)]
pub(crate) struct Chunker {
    waiting: Columns,
    /// Timestamps at which a chunk began behind a full one. Ascending.
    ends: Vec<i64>,
}

impl Chunker {
    /// Where samples are to be put; tell [`Self::settle`] afterwards.
    pub(crate) fn waiting(&mut self) -> &mut Columns {
        &mut self.waiting
    }

    /// Whether a stored chunk of `count` samples is as good as one of ours.
    pub(crate) fn is_full(count: u32) -> bool {
        count as usize > CHUNK_SAMPLES_MAX - SHORT
    }

    /// Whether a full chunk may be taken over as it is, once [`Self::finish`] has written what
    /// waits: that must be nothing, or make a decent chunk by itself.
    pub(crate) fn may_copy(&self) -> bool {
        self.waiting.is_empty() || self.waiting.len() >= SHORT
    }

    /// Takes a stored chunk over.
    pub(crate) fn copy(&mut self, chunk: &EncodedChunk<'_>, writer: &mut SegmentWriter) -> Result<(), WriteError> {
        debug_assert!(self.waiting.is_empty(), "finish comes first");
        writer.copy_chunk(chunk)
    }

    /// Takes encoded chunks over as one, which [`SegmentWriter::join_chunks`] allows. Where a full one ends, others
    /// may.
    pub(crate) fn join(&mut self, chunks: &[ChunkView<'_>], writer: &mut SegmentWriter) -> Result<(), WriteError> {
        debug_assert!(self.waiting.is_empty(), "finish comes first");
        writer.join_chunks(chunks)?;
        let last = chunks.last().filter(|_| chunks.iter().map(ChunkView::count).sum::<usize>() == CHUNK_SAMPLES_MAX);
        // What begins behind it begins there or later.
        if let Some(next) = last.and_then(|chunk| chunk.last_timestamp().checked_add(1)) {
            self.note_end(next);
        }
        Ok(())
    }

    /// Samples from which [`Self::settle`] has something to do.
    pub(crate) const MANY: usize = 2 * CHUNK_SAMPLES_MAX;

    /// Writes chunks while two and more are waiting, so that the last two can be made even.
    pub(crate) fn settle(&mut self, writer: &mut SegmentWriter) -> Result<(), WriteError> {
        let mut at = 0;
        while self.waiting.len() - at >= Self::MANY {
            at += self.write_one(at, CHUNK_SAMPLES_MAX, writer)?;
        }
        self.forget(at);
        Ok(())
    }

    /// Writes all that waits.
    pub(crate) fn finish(&mut self, writer: &mut SegmentWriter) -> Result<(), WriteError> {
        let mut at = 0;
        while self.waiting.len() - at > CHUNK_SAMPLES_MAX {
            let left = self.waiting.len() - at;
            // Two even ones rather than a full and a tiny one.
            let count = if left < CHUNK_SAMPLES_MAX + SHORT { left.div_ceil(2) } else { CHUNK_SAMPLES_MAX };
            at += self.write_one(at, count, writer)?;
        }
        if at < self.waiting.len() {
            writer.push_chunk(&self.waiting.timestamps[at..], &self.waiting.values[at..])?;
        }
        self.waiting.clear();
        Ok(())
    }

    /// Writes the chunk that begins with sample `at`, of `count` samples unless another number ends it with
    /// others; more than a chunk is waiting there.
    fn write_one(&mut self, at: usize, count: usize, writer: &mut SegmentWriter) -> Result<usize, WriteError> {
        let rest = &self.waiting.timestamps[at..];
        let most = (count + SHORT / 2).min(CHUNK_SAMPLES_MAX);
        let known = self.ends.partition_point(|end| *end <= rest[most]);
        let end = known.checked_sub(1).map(|i| self.ends[i]);
        let with_others = end.map_or(0, |end| rest[..most].partition_point(|t| *t < end));
        let count = if with_others >= SHORT { with_others } else { count };
        let next = rest[count];
        writer.push_chunk(&rest[..count], &self.waiting.values[at..at + count])?;
        if with_others < SHORT {
            self.note_end(next);
        }
        Ok(count)
    }

    fn note_end(&mut self, next: i64) {
        if let Err(place) = self.ends.binary_search(&next)
            && self.ends.len() < ENDS_MAX
        {
            self.ends.insert(place, next);
        }
    }

    fn forget(&mut self, written: usize) {
        self.waiting.timestamps.drain(..written);
        self.waiting.values.drain(..written);
    }
}
