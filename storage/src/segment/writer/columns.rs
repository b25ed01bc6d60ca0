//! Samples into columns, the timestamp columns shared where they are the same.

use std::collections::HashMap;

use super::directory::ChunkList;
use super::shared::SharedColumns;
use super::sink::Sink;
use crate::chunk::format::VALUE_TYPE_F64;
use crate::chunk::{CHUNK_SAMPLES_MAX, ChunkStats, Effort, Joined, TimestampEncoder, ValueEncoder};
use crate::segment::format::{
    CHUNK_OFFSET_END, Chunk, ChunkRecord, Footer, NO_STATS, NarrowStats, RECORDS_MAX, STATS_SAMPLES_MIN, STATS_UNIT,
    Section, StatsWords, TimestampsRecord, WideStats,
};
use crate::segment::{EncodedChunk, WriteError};
use crate::source::Columns;

/// Statistics of constant chunks that are remembered for sharing. Beyond it, the older ones are forgotten.
const SHARED_STATS_MAX: usize = 16 << 10;

/// Chunks of the series before whose timestamps are compared without encoding them.
const PREVIOUS_CHUNKS_MAX: usize = 16;

#[derive(Debug, Default)]
pub(super) struct ColumnWriter {
    timestamp_encoder: TimestampEncoder,
    value_encoder: ValueEncoder,
    encoded: Vec<u8>,
    values: Vec<f64>,
    timestamps: Vec<TimestampsRecord>,
    chunks: ChunkList,
    /// In units, as the section counts them.
    stats: Vec<[u8; STATS_UNIT]>,
    /// Statistics of constant chunks, and where they are.
    shared_stats: HashMap<StatsWords, u32>,
    samples: u64,
    shared: SharedColumns,
    /// Timestamps of the series before, chunk by chunk, and the numbers of their columns.
    previous: Vec<(Vec<i64>, u32)>,
}

impl ColumnWriter {
    pub(super) fn set_effort(&mut self, effort: Effort) {
        self.timestamp_encoder.set_effort(effort);
        self.value_encoder.set_effort(effort);
    }

    /// Chunks written so far.
    pub(super) fn chunks(&self) -> u32 {
        self.chunks.len() as u32
    }

    /// Writes the chunks of one series.
    pub(super) fn push(&mut self, samples: &Columns, sink: &mut Sink) -> Result<(), WriteError> {
        let timestamps = samples.timestamps.chunks(CHUNK_SAMPLES_MAX);
        let values = samples.values.chunks(CHUNK_SAMPLES_MAX);
        let mut chunks = timestamps.zip(values).enumerate();
        chunks.try_for_each(|(i, (timestamps, values))| self.push_chunk(i, timestamps, values, sink))
    }

    /// Whether one chunk more can be numbered.
    fn check_room(&self, sink: &Sink) -> Result<(), WriteError> {
        // Before its values comes at most a column of timestamps, and its statistics take at most eight units.
        let room = self.chunks.len() < RECORDS_MAX
            && sink.offset() < CHUNK_OFFSET_END - u64::from(u16::MAX)
            && self.stats.len() < NO_STATS as usize - 8;
        if room { Ok(()) } else { Err(WriteError::TooLarge) }
    }

    /// Writes chunk `i` of a series: at least one sample, and no more than a chunk holds.
    pub(super) fn push_chunk(
        &mut self,
        i: usize,
        timestamps: &[i64],
        values: &[f64],
        sink: &mut Sink,
    ) -> Result<(), WriteError> {
        self.check_room(sink)?;
        let column = self.timestamps_of(i, timestamps, sink)?;
        self.encoded.clear();
        self.value_encoder.encode(values, &mut self.encoded);
        let mut stats = NO_STATS;
        if values.len() >= STATS_SAMPLES_MIN {
            stats = self.note_stats(&ChunkStats::of_values(values));
        }
        self.write_values(column, stats, values.len(), sink)
    }

    /// Writes a chunk out of encoded ones. Only its values are decoded, for the statistics.
    pub(super) fn join_chunk(&mut self, chunk: &Joined<'_>, sink: &mut Sink) -> Result<(), WriteError> {
        self.check_room(sink)?;
        let count = chunk.count();
        let mut stats = NO_STATS;
        if count >= STATS_SAMPLES_MIN {
            self.values.clear();
            chunk.decode_values(&mut self.values).map_err(WriteError::Chunk)?;
            let of_all = ChunkStats::of_values(&self.values);
            stats = self.note_stats(&of_all);
        }
        self.encoded.clear();
        chunk.timestamps(&mut self.encoded);
        let column = self.column_of_encoded(chunk.first_timestamp(), chunk.last_timestamp(), count as u16, sink)?;
        self.encoded.clear();
        chunk.values(&mut self.encoded);
        self.write_values(column, stats, count, sink)
    }

    /// Where a record is that says this. Only of constant chunks are there others that say the same: most of what a
    /// machine tells of itself is 0 or 1 for ever, and a record is more than what such a column takes.
    fn note_stats(&mut self, stats: &ChunkStats) -> u32 {
        let next = self.stats.len() as u32;
        let wide = WideStats::new(stats);
        if wide.is_constant() {
            let words = wide.words();
            if let Some(&at) = self.shared_stats.get(&words) {
                return at;
            }
            if self.shared_stats.len() >= SHARED_STATS_MAX {
                self.shared_stats.clear();
            }
            self.shared_stats.insert(words, next);
        }
        match NarrowStats::new(&wide) {
            Some(narrow) => self.stats.extend_from_slice(bytemuck::cast_slice(&[narrow])),
            None => self.stats.extend_from_slice(bytemuck::cast_slice(&[wide])),
        }
        next
    }

    /// Writes the value column in `encoded`, of `count` samples.
    fn write_values(&mut self, timestamps: u32, stats: u32, count: usize, sink: &mut Sink) -> Result<(), WriteError> {
        let chunk = Chunk {
            offset: sink.offset(),
            crc: crc32c::crc32c(&self.encoded),
            timestamps,
            stats,
            // Four raw vectors are 32,778 bytes.
            len: self.encoded.len() as u16,
            value_type: VALUE_TYPE_F64,
        };
        self.chunks.push(&chunk);
        sink.write(&self.encoded)?;
        self.samples += count as u64;
        Ok(())
    }

    /// Takes over a chunk of another segment as it is stored there.
    pub(super) fn copy_chunk(&mut self, chunk: &EncodedChunk<'_>, sink: &mut Sink) -> Result<(), WriteError> {
        self.check_room(sink)?;
        self.encoded.clear();
        self.encoded.extend_from_slice(chunk.timestamp_bytes);
        let record = chunk.timestamps;
        let timestamps = self.column_of_encoded(record.first, record.last, record.count, sink)?;
        let stats = chunk.stats.map_or(NO_STATS, |stats| self.note_stats(&stats));
        self.chunks.push(&Chunk { offset: sink.offset(), timestamps, stats, ..chunk.record });
        sink.write(chunk.value_bytes)?;
        self.samples += u64::from(record.count);
        Ok(())
    }

    /// The number of the column that holds `timestamps`, which are chunk `i` of their series.
    fn timestamps_of(&mut self, i: usize, timestamps: &[i64], sink: &mut Sink) -> Result<u32, WriteError> {
        if let Some((_, column)) = self.previous.get(i).filter(|(previous, _)| previous == timestamps) {
            return Ok(*column);
        }
        self.encoded.clear();
        self.timestamp_encoder.encode(timestamps, &mut self.encoded);
        let (first, last) = (timestamps[0], timestamps[timestamps.len() - 1]);
        let column = self.column_of_encoded(first, last, timestamps.len() as u16, sink)?;
        if i < PREVIOUS_CHUNKS_MAX {
            self.previous.resize_with(self.previous.len().max(i + 1), Default::default);
            let (previous, number) = &mut self.previous[i];
            previous.clear();
            previous.extend_from_slice(timestamps);
            *number = column;
        }
        Ok(column)
    }

    /// The number of the column whose bytes are in `encoded`; writes it unless it is there.
    fn column_of_encoded(&mut self, first: i64, last: i64, count: u16, sink: &mut Sink) -> Result<u32, WriteError> {
        match self.shared.find(&self.encoded, count, &self.timestamps, sink) {
            Some(column) => Ok(column),
            None => self.write_timestamps(first, last, count, sink),
        }
    }

    fn write_timestamps(&mut self, first: i64, last: i64, count: u16, sink: &mut Sink) -> Result<u32, WriteError> {
        let column = self.timestamps.len() as u32;
        self.timestamps.push(TimestampsRecord {
            first,
            last,
            offset: sink.offset(),
            crc: crc32c::crc32c(&self.encoded),
            len: self.encoded.len() as u16,
            count,
        });
        sink.write(&self.encoded)?;
        self.shared.insert(&self.encoded, count, column);
        Ok(column)
    }

    /// Writes the directory, and what it says of all samples together.
    pub(super) fn finish(&mut self, sink: &mut Sink, footer: &mut Footer) -> Result<(), WriteError> {
        footer.samples = self.samples;
        footer.first_timestamp = self.timestamps.iter().map(|column| column.first).min().unwrap_or(0);
        footer.last_timestamp = self.timestamps.iter().map(|column| column.last).max().unwrap_or(0);
        footer.sections[Section::Timestamps as usize] = sink.section(bytemuck::cast_slice(&self.timestamps))?;
        footer.sections[Section::Chunks as usize] = sink.section_of(self.chunks.iter(), |chunk, out| {
            out.extend_from_slice(bytemuck::bytes_of(&ChunkRecord::from(&chunk)));
        })?;
        footer.sections[Section::Stats as usize] = sink.section(bytemuck::cast_slice(&self.stats))?;
        // Not needed while the rest of the index is made.
        *self = Self::default();
        Ok(())
    }
}
