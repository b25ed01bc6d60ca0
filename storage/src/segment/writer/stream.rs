//! Series whose chunks come one by one: nobody needs to hold a whole series.

use super::{SegmentWriter, given_up};
use crate::chunk::{CHUNK_SAMPLES_MAX, ChunkView, Joined};
use crate::model::{Labels, SeqNo};
use crate::segment::format::RECORDS_MAX;
use crate::segment::{EncodedChunk, WriteError};

/// A series that was begun. It is in the index once it has a chunk.
#[derive(Debug)]
pub(super) struct OpenSeries {
    labels: Labels,
    max_seq: SeqNo,
    chunks: usize,
    samples: usize,
    /// The last timestamp, if there is any.
    last: Option<i64>,
}

impl SegmentWriter {
    /// Begins a series, to which [`push_chunk`](Self::push_chunk) and
    /// [`copy_chunk`](Self::copy_chunk) add; it ends when another one comes. One without a
    /// chunk leaves no trace. Series must ascend by their labels.
    ///
    /// # Errors
    /// [`WriteError::SeriesNotAscending`]; other series can still be begun.
    pub fn begin_series(&mut self, labels: &Labels, max_seq: SeqNo) -> Result<(), WriteError> {
        self.open = None;
        self.check_labels(labels)?;
        self.open = Some(OpenSeries { labels: labels.clone(), max_seq, chunks: 0, samples: 0, last: None });
        Ok(())
    }

    /// Adds a chunk of 1 to [`CHUNK_SAMPLES_MAX`] samples to the series begun last.
    ///
    /// # Errors
    /// As [`push_series`](Self::push_series).
    ///
    /// # Panics
    /// If no series was begun, the columns differ in length, or are no chunk by their length.
    pub fn push_chunk(&mut self, timestamps: &[i64], values: &[f64]) -> Result<(), WriteError> {
        assert!(timestamps.len() == values.len() && (1..=CHUNK_SAMPLES_MAX).contains(&values.len()), "one chunk");
        let open = self.open.as_ref().expect("begin_series comes first");
        let out_of_order = timestamps.windows(2).position(|w| w[0] >= w[1]).map(|i| i + 1);
        if let Some(i) = out_of_order.or_else(|| open.last.filter(|last| *last >= timestamps[0]).map(|_| 0)) {
            return Err(WriteError::SamplesNotAscending { series: open.labels.clone(), index: open.samples + i });
        }
        let chunk = open.chunks;
        let sink = self.sink.as_mut().ok_or_else(|| given_up(&self.temporary))?;
        let written = self.columns.push_chunk(chunk, timestamps, values, sink);
        self.chunk_written(written, timestamps[timestamps.len() - 1], timestamps.len())
    }

    /// Adds a chunk made of encoded ones, one behind the other, to the series begun last: at most
    /// [`CHUNK_SAMPLES_MAX`] samples, each chunk before the last of whole vectors of 1,024, and none stored cold.
    /// The same bytes as if their samples were encoded anew, for the price of decoding the values.
    ///
    /// # Errors
    /// As [`push_series`](Self::push_series); [`WriteError::Chunk`] if one of them is damaged.
    ///
    /// # Panics
    /// If no series was begun, or they make no chunk together.
    pub fn join_chunks(&mut self, chunks: &[ChunkView<'_>]) -> Result<(), WriteError> {
        let open = self.open.as_ref().expect("begin_series comes first");
        let joined = Joined::new(chunks).expect("whole vectors of one chunk, ascending");
        if open.last.is_some_and(|last| last >= joined.first_timestamp()) {
            return Err(WriteError::SamplesNotAscending { series: open.labels.clone(), index: open.samples });
        }
        let sink = self.sink.as_mut().ok_or_else(|| given_up(&self.temporary))?;
        let written = self.columns.join_chunk(&joined, sink);
        self.chunk_written(written, joined.last_timestamp(), joined.count())
    }

    /// Adds a chunk of another segment, as it is stored there, to the series begun last.
    ///
    /// # Errors
    /// As [`push_series`](Self::push_series).
    ///
    /// # Panics
    /// If no series was begun.
    pub fn copy_chunk(&mut self, chunk: &EncodedChunk<'_>) -> Result<(), WriteError> {
        let open = self.open.as_ref().expect("begin_series comes first");
        if open.last.is_some_and(|last| last >= chunk.timestamps.first) {
            return Err(WriteError::SamplesNotAscending { series: open.labels.clone(), index: open.samples });
        }
        let sink = self.sink.as_mut().ok_or_else(|| given_up(&self.temporary))?;
        let written = self.columns.copy_chunk(chunk, sink);
        self.chunk_written(written, chunk.timestamps.last, usize::from(chunk.timestamps.count))
    }

    fn chunk_written(&mut self, written: Result<(), WriteError>, last: i64, samples: usize) -> Result<(), WriteError> {
        if let Err(error) = written {
            self.sink = None;
            return Err(error);
        }
        let mut open = self.open.take().expect("begin_series comes first");
        if open.chunks == 0 {
            if self.series.len() >= RECORDS_MAX {
                return Err(WriteError::TooLarge);
            }
            self.note_series(&open.labels, open.max_seq, self.columns.chunks() - 1);
        }
        open.chunks += 1;
        open.samples += samples;
        open.last = Some(last);
        self.open = Some(open);
        Ok(())
    }
}
