//! The series of a segment while it is written: what their records cannot be made of later.

use crate::model::{SeqNo, SeriesKey};
use crate::segment::format::{Series, SeriesRecord};

/// Twelve bytes a series; the record has 36.
#[derive(Debug, Default)]
pub(super) struct SeriesList {
    max_seqs: Vec<u64>,
    first_chunks: Vec<u32>,
}

impl SeriesList {
    pub(super) fn push(&mut self, max_seq: SeqNo, first_chunk: u32) {
        self.max_seqs.push(max_seq.0);
        self.first_chunks.push(first_chunk);
    }

    pub(super) fn len(&self) -> usize {
        self.max_seqs.len()
    }

    /// The record of series `i`, whose label set has `key` and lies at `labels`.
    pub(super) fn record(&self, i: usize, key: SeriesKey, labels: u64) -> SeriesRecord {
        let key = [key.0 as u64, (key.0 >> 64) as u64];
        (&Series { key, max_seq: self.max_seqs[i], labels, first_chunk: self.first_chunks[i] }).into()
    }
}
