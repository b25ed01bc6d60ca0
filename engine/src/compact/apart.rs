//! Which chunks a job leaves apart, since as they are they share their timestamps.
//!
//! Of series that are scraped together each may miss some scrapes of its own. The shorter a chunk, the more of them have
//! missed none in its time, or the same: merged chunks all have timestamps of their own, which weigh more than the records
//! that merging saves. So before a job begins it is counted what its inputs' small chunks would weigh merged and as they
//! are: apart from each other for each lot of chunks that would be merged, and of all series that share timestamps with
//! these.
//!
//! Invariants:
//!
//! - **AP1 Together or not at all.** Chunks that have a timestamp column are all left as they are, or all merged, but for
//!   those that something overlaps or hides a part of: whoever is left apart finds the others' columns.
//! - **AP2 Only what is counted.** A column is left apart only if that is less, by what timestamps, records and heads weigh:
//!   values are not looked at. None of its chunks is made smaller than it is, and those whose timestamps are shared
//!   however they are cut are merged.

use std::collections::{HashMap, HashSet};
use std::hash::{DefaultHasher, Hasher};

use tidegauge_storage::chunk::CHUNK_SAMPLES_MAX;
use tidegauge_storage::model::{TimeRange, Timestamp};

use super::input::Input;
use super::run::{Found, Lane, RunError, Target, next_group};
use crate::chunker::Chunker;

/// What a chunk more takes: its record, what its value column begins with, and its statistics, or what it costs a reader
/// that there are none.
pub(super) const CHUNK_BYTES: i64 = 64;
/// The record of a timestamp column.
pub(super) const RECORD_BYTES: i64 = 32;
/// What a timestamp column begins with: one has it where several were merged.
pub(super) const HEAD_BYTES: i64 = 16;
/// Columns of all inputs that are counted, in 16 bytes each: no more than a writer shares. Of more, all are merged.
const COLUMNS_MAX: usize = (1 << 20) / 8 * 7;
/// Merged columns that are told from each other. Those beyond count as if they were shared.
const MERGED_MAX: usize = COLUMNS_MAX;

/// A small chunk that nothing overlaps.
#[derive(Clone, Copy, Debug)]
pub(super) struct Piece {
    /// The number of its timestamp column among those of all inputs.
    pub(super) column: u32,
    /// Bytes of that.
    pub(super) bytes: u32,
    pub(super) samples: u32,
    /// Which output it goes to.
    pub(super) output: usize,
}

/// Which timestamp columns of the inputs are left as they are.
#[derive(Debug, Default)]
pub(super) struct Apart {
    /// By segment, the number of its first column.
    bases: HashMap<u64, u32>,
    /// A bit for each column. Empty if none is.
    left: Vec<u64>,
}

impl Apart {
    /// Whether the chunks of this column of segment `id` stay as they are.
    pub(super) fn has(&self, id: u64, column: u32) -> bool {
        let number = self.bases.get(&id).map(|base| (base + column) as usize);
        number.and_then(|n| Some(self.left.get(n / 64)? >> (n % 64) & 1 == 1)).unwrap_or(false)
    }
}

/// Which columns a job leaves as they are whose outputs are these `ranges`, ascending. No chunk is decoded.
pub(super) fn apart(inputs: &[Input], ranges: &[TimeRange], target: &Target<'_>) -> Result<Apart, RunError> {
    let Some(mut weigher) = Weigher::new(inputs) else { return Ok(Apart::default()) };
    let (start, end) = (ranges.first().map(|range| range.start), ranges.last().map(|range| range.end));
    let all = TimeRange::new(start.unwrap_or_default(), end.unwrap_or_default());
    let mut lanes: Vec<Lane<'_>> = inputs.iter().map(Lane::new).collect();
    lanes.iter_mut().try_for_each(Lane::load)?;
    while let Some(labels) = lanes.iter().filter_map(|lane| lane.labels.as_ref()).min().cloned() {
        if !(target.go_on)() {
            return Err(RunError::Interrupted);
        }
        let (mut ids, mut chunks) = (Vec::new(), Vec::new());
        for lane in lanes.iter_mut().filter(|lane| lane.labels.as_ref() == Some(&labels)) {
            lane.find(&all, ids.len(), &mut chunks)?;
            ids.push(lane.input.segment.info().id);
            lane.ordinal += 1;
            lane.load()?;
        }
        chunks.sort_unstable_by_key(|chunk| chunk.span.first);
        let mut rest = &chunks[..];
        while let Some((group, behind)) = next_group(rest) {
            rest = behind;
            match group {
                [found] => weigher.tell(found, ids[found.part], ranges),
                _ => weigher.end(),
            }
        }
        weigher.end();
    }
    Ok(weigher.finish())
}

/// Counts what chunks weigh merged and as they are.
#[derive(Debug)]
pub(super) struct Weigher {
    bases: HashMap<u64, u32>,
    /// Of each column: the one before it in a tree of those that are left apart together, or itself.
    above: Vec<u32>,
    /// Of each column: what it, and the lots that begin with it, weigh more if they are merged.
    saved: Vec<i32>,
    seen: Vec<u64>,
    /// Hashes of the columns that would become one.
    merged: HashSet<u64>,
    lot: Vec<Piece>,
    /// Samples in it.
    lot_samples: usize,
}

impl Weigher {
    /// `None` if there is nothing to be saved: no input has a column that two chunks have, or there are too many.
    fn new(inputs: &[Input]) -> Option<Self> {
        let shares = |input: &Input| u64::from(input.segment.timestamp_columns()) < input.segment.info().chunks;
        if !inputs.iter().any(shares) {
            return None;
        }
        let (mut bases, mut columns) = (HashMap::new(), 0usize);
        for Input { segment, .. } in inputs {
            bases.insert(segment.info().id, columns as u32);
            columns += segment.timestamp_columns() as usize;
            if columns > COLUMNS_MAX {
                return None;
            }
        }
        Some(Self::of(bases, columns))
    }

    pub(super) fn of(bases: HashMap<u64, u32>, columns: usize) -> Self {
        Self {
            bases,
            above: (0..columns as u32).collect(),
            saved: vec![0; columns],
            seen: vec![0; columns.div_ceil(64)],
            merged: HashSet::new(),
            lot: Vec::new(),
            lot_samples: 0,
        }
    }

    /// A chunk of segment `id` that nothing overlaps.
    fn tell(&mut self, found: &Found, id: u64, ranges: &[TimeRange]) {
        let Found { span, whole, .. } = found;
        let first = Timestamp::from_nanos(span.first);
        let output = ranges.partition_point(|range| range.start <= first).saturating_sub(1);
        let is_inside = ranges.get(output).is_some_and(|range| range.contains(Timestamp::from_nanos(span.last)));
        match self.number(id, span.timestamp_column) {
            // One of no samples is damaged, which shows when it is read; a lot of such ones would have no end.
            Some(column) if *whole && is_inside && span.count > 0 && !Chunker::is_full(span.count) => {
                self.add(Piece { column, bytes: span.timestamp_bytes, samples: span.count, output });
            }
            _ => self.end(),
        }
    }

    /// The number of a column among those of all inputs.
    fn number(&self, id: u64, column: u32) -> Option<u32> {
        self.bases.get(&id).map(|base| base + column).filter(|&number| (number as usize) < self.above.len())
    }

    /// The next chunk of a series that would be merged with those before.
    pub(super) fn add(&mut self, piece: Piece) {
        let is_apart = self.lot.last().is_some_and(|last| last.output != piece.output);
        if is_apart || self.lot_samples + piece.samples as usize > CHUNK_SAMPLES_MAX {
            self.end();
        }
        self.lot_samples += piece.samples as usize;
        self.lot.push(piece);
    }

    /// What follows is not merged with what came.
    pub(super) fn end(&mut self) {
        let Some(first) = self.lot.first() else { return };
        let place = first.column as usize;
        let mut saved = -CHUNK_BYTES * (self.lot.len() as i64 - 1);
        let (mut bytes, mut root) = (HEAD_BYTES + RECORD_BYTES, self.root(first.column));
        let mut key = DefaultHasher::new();
        for i in 0..self.lot.len() {
            let piece = self.lot[i];
            key.write_u32(piece.column);
            bytes += i64::from(piece.bytes) - HEAD_BYTES;
            let (word, bit) = (piece.column as usize / 64, 1u64 << (piece.column % 64));
            if self.seen[word] & bit == 0 {
                self.seen[word] |= bit;
                saved -= i64::from(piece.bytes) + RECORD_BYTES;
            }
            let other = self.root(piece.column);
            let (low, high) = (root.min(other), root.max(other));
            self.above[high as usize] = low;
            root = low;
        }
        if self.merged.len() < MERGED_MAX && self.merged.insert(key.finish()) {
            saved += bytes;
        }
        let sum = i64::from(self.saved[place]) + saved;
        self.saved[place] = sum.clamp(i32::MIN.into(), i32::MAX.into()) as i32;
        self.lot.clear();
        self.lot_samples = 0;
    }

    fn root(&mut self, column: u32) -> u32 {
        let mut at = column;
        while self.above[at as usize] != at {
            let above = self.above[at as usize];
            // Halves the way for those who come later.
            self.above[at as usize] = self.above[above as usize];
            at = above;
        }
        at
    }

    /// All series have been told.
    pub(super) fn finish(mut self) -> Apart {
        self.end();
        let columns = self.above.len() as u32;
        let mut of_root = vec![0i64; columns as usize];
        for column in 0..columns {
            let root = self.root(column);
            of_root[root as usize] += i64::from(self.saved[column as usize]);
        }
        let mut left = vec![0u64; (columns as usize).div_ceil(64)];
        for column in 0..columns {
            if of_root[self.root(column) as usize] > 0 {
                left[column as usize / 64] |= 1 << (column % 64);
            }
        }
        if left.iter().all(|word| *word == 0) {
            left.clear();
        }
        Apart { bases: self.bases, left }
    }
}
