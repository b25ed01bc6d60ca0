//! Sums over neighbouring stacks, each in O(1).

use std::cmp::Reverse;

use tidegauge_storage::model::{SeqRange, TimeRange};

use super::plan::steps;
use super::spans::Best;
use super::table::{Table, behind, together};

/// Sums over stacks that lie side by side: their floors and what stands on them alone.
pub(super) struct Stacks {
    /// In front of each, and behind the last.
    bytes: Vec<u64>,
    floors: Vec<u64>,
    frozen: Vec<usize>,
    times: Best<TimeRange>,
    seqs: Best<SeqRange>,
    /// The largest floor, the first of those that are.
    pub(super) largest: Best<(u64, Reverse<usize>)>,
    /// Those that lie over several stacks and stay.
    frozen_wide: Vec<usize>,
}

impl Stacks {
    pub(super) fn new(table: &Table<'_>) -> Self {
        let pieces = table.pieces;
        let whole = |at: usize| [table.floors[at]].into_iter().chain(table.on[at].iter().copied());
        let (mut bytes, mut floors, mut frozen) = (vec![0], vec![0], vec![0]);
        let (mut times, mut seqs, mut largest) = (Vec::new(), Vec::new(), Vec::new());
        for at in 0..table.floors.len() {
            let floor = &pieces[table.floors[at]];
            bytes.push(bytes[at] + whole(at).map(|i| pieces[i].bytes).sum::<u64>());
            frozen.push(frozen[at] + whole(at).filter(|&i| pieces[i].is_frozen()).count());
            floors.push(floors[at] + floor.bytes);
            times.push(whole(at).map(|i| pieces[i].time).fold(floor.time, around));
            seqs.push(whole(at).map(|i| pieces[i].seq).fold(floor.seq, together));
            largest.push((floor.bytes, Reverse(at)));
        }
        steps(pieces.len());
        let frozen_wide = (0..pieces.len()).filter(|&i| table.is_wide(i) && pieces[i].is_frozen()).collect();
        let (times, seqs) = (Best::new(times, around), Best::new(seqs, together));
        Self { bytes, floors, frozen, times, seqs, largest: Best::new(largest, std::cmp::max), frozen_wide }
    }

    /// Whether these together are no more than a segment may be.
    pub(super) fn fit(&self, table: &Table<'_>, from: usize, to: usize) -> bool {
        steps(1);
        self.bytes[to] - self.bytes[from] <= table.rules.segment_bytes && table.windows(&self.times.of(from, to)) <= 1
    }

    pub(super) fn floor_bytes(&self, from: usize, to: usize) -> u64 {
        self.floors[to] - self.floors[from]
    }

    /// Whether none of these, and nothing that lies between them, is sure to stay.
    pub(super) fn may_join(&self, table: &Table<'_>, from: usize, to: usize) -> bool {
        let (time, seq) = (self.times.of(from, to), self.seqs.of(from, to));
        let between = |&i: &usize| {
            let piece = &table.pieces[i];
            piece.time.overlaps(&time) && piece.seq.start < behind(seq) && seq.start < behind(piece.seq)
        };
        steps(1 + self.frozen_wide.len());
        self.frozen[from] == self.frozen[to] && !self.frozen_wide.iter().any(between)
    }
}

fn around(a: TimeRange, b: TimeRange) -> TimeRange {
    TimeRange::new(a.start.min(b.start), a.end.max(b.end))
}
