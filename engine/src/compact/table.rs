//! The segments as the plan sees them: which stand on which, and what must come along. Nothing here looks at each
//! segment for each: [`steps`] are counted in the tests.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};

use tidegauge_storage::model::{SeqNo, SeqRange, TimeRange, Timestamp};

use super::plan::{PIECE_BYTES_MIN, PIECES_MAX, Piece, Rules, steps};
use super::spans::Spans;
use super::windows::Windows;

pub(super) struct Table<'a> {
    /// By precedence.
    pub(super) pieces: &'a [Piece],
    pub(super) rules: &'a Rules,
    /// Those that nothing of lower precedence overlaps, by time: each is the floor of a stack.
    pub(super) floors: Vec<usize>,
    pub(super) is_floor: Vec<bool>,
    /// The first and the last stack that each piece reaches into.
    stacks: Vec<(usize, usize)>,
    /// What stands on each floor alone.
    pub(super) on: Vec<Vec<usize>>,
    windows: Windows,
    times: Spans,
    by_end: Vec<usize>,
    by_start: Vec<usize>,
    /// Those that may hold up others ([`Self::holder_below`]).
    holders: Spans,
}

impl<'a> Table<'a> {
    pub(super) fn new(pieces: &'a [Piece], rules: &'a Rules) -> Self {
        let mut floors: Vec<usize> = Vec::new();
        let mut is_floor = vec![false; pieces.len()];
        let mut covered = Covered::default();
        for (i, piece) in pieces.iter().enumerate() {
            if !covered.meets(&piece.time) {
                is_floor[i] = true;
                floors.push(i);
            }
            covered.add(&piece.time);
        }
        floors.sort_by_key(|&i| pieces[i].time.start);
        let mut by_start: Vec<usize> = (0..pieces.len()).collect();
        by_start.sort_by_key(|&i| pieces[i].time.start);
        let mut by_end: Vec<usize> = (0..pieces.len()).collect();
        by_end.sort_by_key(|&i| pieces[i].time.end);
        steps(3 * pieces.len());
        let times = Spans::new((0..pieces.len()).map(|i| (pieces[i].time, i)));
        let holders = (0..pieces.len()).filter(|&i| pieces[i].aged > 0 || pieces[i].damaged);
        let holders = Spans::new(holders.map(|i| (pieces[i].time, i)));
        let (on, windows) = (vec![Vec::new(); floors.len()], Windows::new(rules));
        let stacks = Vec::new();
        let mut table = Self { pieces, rules, floors, is_floor, stacks, on, windows, times, by_end, by_start, holders };
        table.stacks = pieces.iter().map(|piece| table.stacks_of(piece)).collect();
        for i in (0..pieces.len()).filter(|&i| !table.is_floor[i]) {
            let (first, last) = table.stacks[i];
            if first == last {
                table.on[first].push(i);
            }
        }
        table
    }

    /// The stack that a timestamp belongs to: that of the last floor that begins at or before it.
    fn stack_of(&self, at: i64) -> usize {
        steps(1);
        let behind = self.floors.partition_point(|&i| self.pieces[i].time.start.nanos() <= at);
        behind.saturating_sub(1)
    }

    fn stacks_of(&self, piece: &Piece) -> (usize, usize) {
        (self.stack_of(piece.time.start.nanos()), self.stack_of(last(&piece.time)))
    }

    pub(super) fn is_wide(&self, i: usize) -> bool {
        let (first, last) = self.stacks[i];
        !self.is_floor[i] && first != last
    }

    /// One that holds up what is to be left out of this segment for the age of some series: it lies lower, reaches into its
    /// time, is one of `others` and has samples over such an age, too. Once the rule is loosened, one of these could show
    /// again where what had overwritten it is gone (K10). What is not known of a segment that cannot be read counts as such.
    pub(super) fn holder_below(&self, i: usize, others: impl Fn(usize) -> bool) -> Option<usize> {
        let piece = &self.pieces[i];
        if piece.aged == 0 {
            return None;
        }
        let mut lowest: Option<usize> = None;
        self.holders.meet(&piece.time, &mut |below| {
            if below < lowest.unwrap_or(i) && others(below) {
                lowest = Some(below);
            }
        });
        lowest
    }

    /// That which has to go first, if `i` is to.
    pub(super) fn lowest_holder(&self, mut i: usize) -> usize {
        while let Some(below) = self.holder_below(i, |_| true) {
            i = below;
        }
        i
    }

    /// Of which of these, ascending, a job leaves in what is over the age of some series: others hold it up, or those of its
    /// own do that keep theirs.
    pub(super) fn keeps(&self, picked: &[usize]) -> Vec<u64> {
        let mut keeps: Vec<usize> = Vec::new();
        for &i in picked {
            let holds = |below: usize| picked.binary_search(&below).is_err() || keeps.binary_search(&below).is_ok();
            if self.holder_below(i, holds).is_some() {
                keeps.push(i);
            }
        }
        keeps.iter().map(|&i| self.pieces[i].id).collect()
    }

    /// `picked`, and whatever else must be merged with it so that nobody lies between in both
    /// order and time (K2), ascending. `None` if that is too much, or cannot be read.
    pub(super) fn closed(&self, picked: &[usize]) -> Option<Vec<usize>> {
        let mut hull = Hull::new(self, picked)?;
        self.times.meet(&hull.time.clone(), &mut |i| hull.note(i));
        while let Some(next) = hull.next() {
            let before = hull.time;
            hull.add(next)?;
            let (start, end) = (hull.time.start, hull.time.end);
            // What begins behind what was met before, or ends in front of it, and nothing that was noted.
            if before.end < end {
                let from = self.by_start.partition_point(|&i| self.pieces[i].time.start < before.end);
                let new = self.by_start[from..].iter().copied();
                let reach = |i: &usize| end == Timestamp::MAX || self.pieces[*i].time.start < end;
                new.take_while(reach).for_each(|i| hull.note(i));
            }
            if start < before.start {
                let from = self.by_end.partition_point(|&i| self.pieces[i].time.end <= start);
                let to = self.by_end.partition_point(|&i| self.pieces[i].time.end <= before.start);
                self.by_end[from..to].iter().for_each(|&i| hull.note(i));
            }
        }
        (hull.all.len() > 1).then(|| hull.all.into_iter().collect())
    }

    /// Whether so many bytes of so many segments may be one job. Two may always be merged, or large ones would stay apart
    /// for ever.
    pub(super) fn fits(&self, bytes: u64, pieces: usize) -> bool {
        bytes <= self.rules.job_bytes() || (pieces <= 2 && bytes <= self.rules.most)
    }

    /// Whether merging these leaves fewer segments, or fewer that overlap: otherwise there would be no end.
    pub(super) fn helps(&self, picked: &[usize]) -> bool {
        let overlap = || {
            let mut times: Vec<TimeRange> = picked.iter().map(|&i| self.pieces[i].time).collect();
            times.sort_by_key(|time| time.start);
            steps(times.len());
            let mut latest = times[0];
            times[1..].iter().any(|time| {
                let meets = latest.overlaps(time);
                if latest.end < time.end {
                    latest = *time;
                }
                meets
            })
        };
        let bytes = self.bytes_of(picked);
        let parts = if bytes > self.rules.part_bytes() { bytes.div_ceil(self.rules.segment_bytes) } else { 1 };
        self.cuts(picked).len() as u64 + parts < picked.len() as u64 || overlap()
    }

    pub(super) fn bytes_of(&self, picked: &[usize]) -> u64 {
        steps(picked.len());
        picked.iter().map(|&i| self.pieces[i].bytes).sum()
    }

    fn time_of(&self, picked: &[usize]) -> TimeRange {
        let times = || picked.iter().map(|&i| self.pieces[i].time);
        let start = times().map(|t| t.start).min().unwrap_or_default();
        TimeRange::new(start, times().map(|t| t.end).max().unwrap_or_default())
    }

    /// How many windows this touches.
    pub(super) fn windows(&self, time: &TimeRange) -> u64 {
        self.windows.count(time.start.nanos(), last(time))
    }

    /// Where the outputs of a job of these, ascending, must part: where other stacks begin, where they end if what
    /// follows is part of the job, and between windows (K3).
    pub(super) fn cuts(&self, picked: &[usize]) -> Vec<i64> {
        let time = self.time_of(picked);
        let mut cuts = Vec::new();
        let is_ours = |floor: &usize| picked.binary_search(floor).is_ok();
        let (first, behind) = (self.stack_of(time.start.nanos()), self.stack_of(last(&time)) + 1);
        steps(picked.len() + behind - first);
        for at in (first..behind.min(self.floors.len())).filter(|&at| !is_ours(&self.floors[at])) {
            let own = self.pieces[self.floors[at]].time;
            cuts.push(own.start.nanos());
            if self.floors.get(at + 1).is_none_or(is_ours) && own.end != Timestamp::MAX {
                cuts.push(own.end.nanos());
            }
        }
        let windows = self.windows(&time);
        let pieces =
            windows.min(self.bytes_of(picked) / PIECE_BYTES_MIN.min(self.rules.segment_bytes)).clamp(1, PIECES_MAX);
        if windows > 1 && pieces > 1 {
            cuts.extend(self.windows.cuts(time.start.nanos(), last(&time), windows.div_ceil(pieces)));
        }
        // Behind the last timestamp but one no range ends.
        cuts.retain(|&at| time.start.nanos() < at && at <= last(&time) && at < i64::MAX);
        cuts.sort_unstable();
        cuts.dedup();
        cuts
    }
}

/// Stretches of time that pieces cover, apart from each other: their ends by their beginnings.
#[derive(Default)]
struct Covered(BTreeMap<i64, i64>);

impl Covered {
    /// Those that `time` meets, the last one first.
    fn met(&self, time: &TimeRange) -> Option<(i64, i64)> {
        steps(1);
        let last = self.0.range(..=last(time)).next_back().map(|(&start, &end)| (start, end))?;
        let range = TimeRange::new(Timestamp::from_nanos(last.0), Timestamp::from_nanos(last.1));
        range.overlaps(time).then_some(last)
    }

    fn meets(&self, time: &TimeRange) -> bool {
        self.met(time).is_some()
    }

    fn add(&mut self, time: &TimeRange) {
        if time.is_empty() {
            return;
        }
        let (mut start, mut end) = (time.start.nanos(), time.end.nanos());
        while let Some((own, own_end)) = self.met(time) {
            self.0.remove(&own);
            (start, end) = (start.min(own), end.max(own_end));
        }
        self.0.insert(start, end);
    }
}

/// What a job grows to.
struct Hull<'t> {
    table: &'t Table<'t>,
    all: BTreeSet<usize>,
    time: TimeRange,
    seq: SeqRange,
    bytes: u64,
    /// What lies in its time and not in its numbers: below, the highest first, and above, the lowest first.
    below: BinaryHeap<(SeqNo, usize)>,
    above: BinaryHeap<Reverse<(SeqNo, usize)>>,
}

impl<'t> Hull<'t> {
    /// `None` if these are too much already, or one of them cannot be read.
    fn new(table: &'t Table<'t>, picked: &[usize]) -> Option<Self> {
        let first = &table.pieces[*picked.first()?];
        let (below, above) = (BinaryHeap::new(), BinaryHeap::new());
        let mut hull = Self { table, all: BTreeSet::new(), time: first.time, seq: first.seq, bytes: 0, below, above };
        picked.iter().try_for_each(|&i| hull.add(i))?;
        Some(hull)
    }

    /// What is too much, or cannot be read, is so whatever else comes along.
    fn add(&mut self, i: usize) -> Option<()> {
        steps(1);
        let piece = &self.table.pieces[i];
        self.all.insert(i);
        self.bytes += piece.bytes;
        self.time = TimeRange::new(self.time.start.min(piece.time.start), self.time.end.max(piece.time.end));
        self.seq = together(self.seq, piece.seq);
        (!piece.is_frozen() && self.table.fits(self.bytes, self.all.len())).then_some(())
    }

    /// One that lies in its time.
    fn note(&mut self, i: usize) {
        steps(1);
        let piece = &self.table.pieces[i];
        if self.all.contains(&i) || !piece.time.overlaps(&self.time) {
            return;
        }
        if behind(piece.seq) <= self.seq.start {
            self.below.push((behind(piece.seq), i));
        } else {
            self.above.push(Reverse((piece.seq.start, i)));
        }
    }

    /// One of those that lies in its numbers, too.
    fn next(&mut self) -> Option<usize> {
        if self.below.peek().is_some_and(|(behind, _)| *behind > self.seq.start) {
            return self.below.pop().map(|(_, i)| i);
        }
        if self.above.peek().is_some_and(|Reverse((start, _))| *start < behind(self.seq)) {
            return self.above.pop().map(|Reverse((_, i))| i);
        }
        None
    }
}

/// What both lie in.
pub(super) fn together(a: SeqRange, b: SeqRange) -> SeqRange {
    SeqRange { start: a.start.min(b.start), end: a.end.max(b.end) }
}

/// The first number behind; what has none takes one.
pub(super) fn behind(seq: SeqRange) -> SeqNo {
    if seq.end <= seq.start { SeqNo(seq.start.0 + 1) } else { seq.end }
}

/// The last timestamp that a range may hold.
pub(super) fn last(time: &TimeRange) -> i64 {
    if time.end == Timestamp::MAX { i64::MAX } else { time.end.nanos().saturating_sub(1) }
}
