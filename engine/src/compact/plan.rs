//! What to compact next: pure, so that it can be simulated. Rules and invariants: `docs/compaction.md`.

use std::sync::Arc;

use tidegauge_storage::model::{SeqNo, SeqRange, TimeRange, Timestamp};

use super::weighed::Weighed;
use super::windows::Windows;
use crate::version::{Precedence, precedence};

/// A time range is cut only into pieces of at least this many bytes, but for S6.
const PIECE_BYTES_MIN: u64 = 8 << 20;
/// Sizes below this are alike.
const TIER_BYTES_MIN: u64 = 4 << 10;
/// A stack on which nothing new came for this long is merged with its floor, nanoseconds.
const QUIET: i64 = 24 * 3_600_000_000_000;
/// Segments that one job makes at most, beside those that its cuts ask for.
const PIECES_MAX: u64 = 64;
/// Segments are never asked to be smaller than this.
const SEGMENT_BYTES_MIN: u64 = 64 << 10;

/// A segment, as far as the plan has to know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Piece {
    pub(crate) id: u64,
    pub(crate) seq: SeqRange,
    pub(crate) time: TimeRange,
    pub(crate) late: bool,
    pub(crate) bytes: u64,
    /// When it was made, nanoseconds since the Unix epoch.
    pub(crate) created: i64,
    pub(crate) samples: u64,
    /// Samples that no reader sees any more: deleted, or over age.
    pub(crate) hidden: u64,
    /// Those of them that are over the age of some series only: a horizon hides nothing below them (K10).
    pub(crate) aged: u64,
    /// What is hidden is to be removed even if it is little.
    pub(crate) urgent: bool,
    /// Cannot be read: stays as it is, and in the way, until nobody sees any of it.
    pub(crate) damaged: bool,
    /// Lies where a job is at work: stays as it is, and in the way.
    pub(crate) busy: bool,
    /// Encoded as small as it gets.
    pub(crate) cold: bool,
}

impl Piece {
    fn is_frozen(&self) -> bool {
        self.damaged || self.busy
    }

    /// What it would weigh without what is hidden, about.
    fn left(&self) -> u64 {
        let seen = self.samples.saturating_sub(self.hidden);
        (u128::from(self.bytes) * u128::from(seen) / u128::from(self.samples.max(1))) as u64
    }
}

/// What a segment shall weigh at most, where `chosen` is asked for and all together may have `max_bytes`: they go one by
/// one, the oldest first, and each takes all that it holds with it.
pub(crate) fn segment_bytes(chosen: u64, max_bytes: Option<u64>) -> u64 {
    max_bytes.map_or(chosen, |most| chosen.min((most / 8).max(SEGMENT_BYTES_MIN)))
}

/// What goes so that segments, by their end, weigh at most `max_bytes`: so many, and of which other one so many bytes.
///
/// One stays. A part of one goes only if that weighs more than a segment shall, and most of it may stay. If a horizon as far
/// as the end of the next one hid most of such a one below, and more than is too much, that goes in part in the next one's
/// place: one sample that lies ahead makes what is oldest end last.
pub(crate) fn excess(segments: &[Weighed], max_bytes: u64, part_bytes: u64) -> (usize, Option<(usize, u64)>) {
    let (mut all, mut gone) = (segments.iter().map(|s| s.bytes).sum::<u64>(), 0);
    while all > max_bytes && gone + 1 < segments.len() {
        let (next, over) = (&segments[gone], all - max_bytes);
        // With a quarter hidden it is written anew.
        let part = |s: &Weighed| over.max(s.bytes / 4 + 1);
        let may_part = |s: &Weighed| s.bytes > part_bytes && part(s) <= s.bytes / 4 * 3;
        if may_part(next) {
            return (gone, Some((gone, part(next))));
        }
        let loses_more = |s: &Weighed| s.through <= next.through && s.before(next.end) > part(s).max(s.bytes / 2);
        if let Some(at) = (gone + 1..segments.len()).find(|&at| may_part(&segments[at]) && loses_more(&segments[at])) {
            return (gone, Some((at, part(&segments[at]))));
        }
        all -= next.bytes;
        gone += 1;
    }
    (gone, None)
}

/// How much is worth it.
#[derive(Clone, Debug)]
pub(crate) struct Rules {
    /// What a segment shall weigh at most.
    pub(crate) segment_bytes: u64,
    /// What time a segment shall cover at most, in nanoseconds.
    pub(crate) span: i64,
    /// How long rules keep what they name, in nanoseconds, ascending: of what they may still hide a segment shall cover less.
    pub(crate) ages: Arc<[i64]>,
    /// As many of a kind are merged at once; at least 2.
    pub(crate) fan: usize,
    /// The time, in nanoseconds since the Unix epoch.
    pub(crate) now: i64,
    /// Merge whatever can be merged, however little it saves, and make cold what is not.
    pub(crate) all: bool,
    /// Segments that are this old, and so are their newest samples, become cold; nanoseconds. The greatest: none ever.
    pub(crate) cold_after: i64,
}

impl Rules {
    /// Inputs of one job, and so the extra disk it needs.
    pub(crate) fn job_bytes(&self) -> u64 {
        self.segment_bytes.saturating_mul(4)
    }

    /// Outputs above this are parted: some more than a segment may weigh is better than two halves.
    pub(crate) fn part_bytes(&self) -> u64 {
        self.segment_bytes.saturating_add(self.segment_bytes / 4)
    }
}

/// Segments to replace by what is made of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Job {
    /// By precedence.
    pub(crate) inputs: Vec<u64>,
    /// Those whose samples over the age of some series stay as they are (K10).
    pub(crate) keeps: Vec<u64>,
    /// No output holds both a timestamp before and one at or behind any of these. Ascending.
    pub(crate) cuts: Vec<i64>,
    /// Encode the outputs as small as it gets.
    pub(crate) cold: bool,
    pub(crate) why: Why,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Why {
    /// All of it is hidden.
    Drop,
    /// Some of it is hidden.
    Rewrite,
    /// It spans several stacks.
    Spread,
    /// A stack is high.
    Stack,
    /// Neighbours are small.
    Join,
    /// It is old, and not encoded as small as it gets.
    Chill,
}

/// The next job, if anything is worth one.
pub(crate) fn plan(pieces: &[Piece], rules: &Rules) -> Option<Job> {
    let mut pieces = pieces.to_vec();
    pieces.sort_by_key(order);
    let table = Table::new(&pieces, rules);
    table
        .drop_hidden()
        .or_else(|| table.spread())
        .or_else(|| table.stack())
        .or_else(|| table.join())
        .or_else(|| table.rewrite())
        .or_else(|| table.chill())
}

/// The next job that gives space back, where there is little: what nobody sees goes first, and of segments to be written
/// anew the one that leaves least.
pub(crate) fn plan_free(pieces: &[Piece], rules: &Rules) -> Option<Job> {
    let mut pieces = pieces.to_vec();
    pieces.sort_by_key(order);
    let table = Table::new(&pieces, rules);
    table.drop_hidden().or_else(|| table.rewrite_least())
}

/// The next job that only removes: what nobody sees any more.
pub(crate) fn plan_drop(pieces: &[Piece], rules: &Rules) -> Option<Job> {
    let mut pieces = pieces.to_vec();
    pieces.sort_by_key(order);
    Table::new(&pieces, rules).drop_hidden()
}

/// Precedence: of two that hold the same timestamp, the later one wins (K1).
pub(crate) fn order(piece: &Piece) -> Precedence {
    precedence(piece.seq, piece.late, piece.id)
}

struct Table<'a> {
    /// By precedence.
    pieces: &'a [Piece],
    rules: &'a Rules,
    /// Those that nothing of lower precedence overlaps, by time: each is the floor of a stack.
    floors: Vec<usize>,
    is_floor: Vec<bool>,
    windows: Windows,
}

impl<'a> Table<'a> {
    fn new(pieces: &'a [Piece], rules: &'a Rules) -> Self {
        let mut floors: Vec<usize> = Vec::new();
        let mut is_floor = vec![false; pieces.len()];
        // By precedence, each is compared with the floors before it alone: what overlaps something that is no floor
        // overlaps the earlier piece beneath that, or stands on it.
        let mut by_time: Vec<(i64, i64)> = Vec::new();
        for (i, piece) in pieces.iter().enumerate() {
            let covered = pieces[..i].iter().any(|below| below.time.overlaps(&piece.time));
            if !covered {
                is_floor[i] = true;
                floors.push(i);
                by_time.push((piece.time.start.nanos(), piece.time.end.nanos()));
            }
        }
        floors.sort_by_key(|&i| pieces[i].time.start);
        Self { pieces, rules, floors, is_floor, windows: Windows::new(rules) }
    }

    /// The stack that a timestamp belongs to: that of the last floor that begins at or before it.
    fn stack_of(&self, at: i64) -> usize {
        let behind = self.floors.partition_point(|&i| self.pieces[i].time.start.nanos() <= at);
        behind.saturating_sub(1)
    }

    fn stacks_of(&self, piece: &Piece) -> (usize, usize) {
        (self.stack_of(piece.time.start.nanos()), self.stack_of(last(&piece.time)))
    }

    fn is_wide(&self, i: usize) -> bool {
        let (first, last) = self.stacks_of(&self.pieces[i]);
        !self.is_floor[i] && first != last
    }

    /// Segments of which nothing can be seen, whether they can be read or not.
    fn drop_hidden(&self) -> Option<Job> {
        let gone = |p: &Piece| !p.busy && p.hidden >= p.samples && (p.hidden > 0 || !p.damaged);
        let mut picked: Vec<usize> = Vec::new();
        // Ascending: what goes too holds nobody up.
        for i in (0..self.pieces.len()).filter(|&i| gone(&self.pieces[i])) {
            if self.holder_below(i, |below| !picked.contains(&below)).is_none() {
                picked.push(i);
            }
        }
        let inputs: Vec<u64> = picked.iter().map(|&i| self.pieces[i].id).collect();
        let job = Job { inputs, keeps: Vec::new(), cuts: Vec::new(), cold: false, why: Why::Drop };
        (!job.inputs.is_empty()).then_some(job)
    }

    /// One segment by itself, because much of it is hidden.
    fn rewrite(&self) -> Option<Job> {
        let i = self.worth_rewriting().next()?;
        Some(self.job(&[i], Why::Rewrite))
    }

    /// The same, that which needs least space.
    fn rewrite_least(&self) -> Option<Job> {
        let i = self.worth_rewriting().min_by_key(|&i| self.pieces[i].left())?;
        Some(self.job(&[i], Why::Rewrite))
    }

    /// Segments of which so much is hidden that they are written anew without it, or, where that must stay as long as a
    /// lower one has some of it too, that one.
    fn worth_rewriting(&self) -> impl Iterator<Item = usize> {
        let is_much = |p: &Piece, hidden: u64| hidden > 0 && (self.rules.all || p.urgent || hidden >= p.samples / 4);
        let due = move |i: usize| {
            let p = &self.pieces[i];
            if p.busy || !is_much(p, p.hidden) {
                return None;
            }
            let Some(below) = self.holder_below(i, |_| true) else { return Some(i) };
            let rest = p.hidden.saturating_sub(p.aged);
            if is_much(p, rest) { Some(i) } else { Some(self.lowest_holder(below)) }
        };
        (0..self.pieces.len()).filter_map(due).filter(|&i| !self.pieces[i].is_frozen())
    }

    /// One that holds up what is to be left out of this segment for the age of some series: it lies lower, reaches into its
    /// time, is one of `others` and has samples over such an age, too. Once the rule is loosened, one of these could show
    /// again where what had overwritten it is gone (K10). What is not known of a segment that cannot be read counts as such.
    fn holder_below(&self, i: usize, others: impl Fn(usize) -> bool) -> Option<usize> {
        let piece = &self.pieces[i];
        let holds = |below: &Piece| (below.aged > 0 || below.damaged) && below.time.overlaps(&piece.time);
        let mut below = (0..i).filter(|&below| holds(&self.pieces[below]) && others(below));
        if piece.aged == 0 { None } else { below.next() }
    }

    /// That which has to go first, if `i` is to.
    fn lowest_holder(&self, mut i: usize) -> usize {
        while let Some(below) = self.holder_below(i, |_| true) {
            i = below;
        }
        i
    }

    /// Of which of these a job leaves in what is over the age of some series: others hold it up, or those of its own do that
    /// keep theirs.
    fn keeps(&self, picked: &[usize]) -> Vec<u64> {
        let mut keeps: Vec<usize> = Vec::new();
        let mut picked = picked.to_vec();
        picked.sort_unstable();
        for &i in &picked {
            if self.holder_below(i, |below| !picked.contains(&below) || keeps.contains(&below)).is_some() {
                keeps.push(i);
            }
        }
        keeps.iter().map(|&i| self.pieces[i].id).collect()
    }

    /// One segment by itself, because it will hardly change any more.
    fn chill(&self) -> Option<Job> {
        let due = |p: &Piece| !p.is_frozen() && !p.cold && self.is_old(p);
        let i = self.pieces.iter().position(due)?;
        Some(self.job(&[i], Why::Chill))
    }

    /// Whether a segment was made long ago, and its newest sample is as old: a fresh one of old samples (an import, late
    /// data) may still be merged with others.
    fn is_old(&self, piece: &Piece) -> bool {
        let Rules { cold_after, now, all, .. } = *self.rules;
        let since = last(&piece.time).max(piece.created);
        cold_after < i64::MAX && (all || since.saturating_add(cold_after) <= now)
    }

    /// Whether what is made of these may be cold at once. What is cold already costs nothing.
    fn stays_cold(&self, picked: &[usize]) -> bool {
        picked.iter().map(|&i| &self.pieces[i]).all(|piece| piece.cold || self.is_old(piece))
    }

    /// Segments that lie across several stacks, the earliest ones first, cut where the stacks meet.
    fn spread(&self) -> Option<Job> {
        let wide: Vec<usize> =
            (0..self.pieces.len()).filter(|&i| self.is_wide(i) && !self.pieces[i].is_frozen()).collect();
        if wide.is_empty() || (wide.len() < self.rules.fan && !self.rules.all) {
            return None;
        }
        // As many together as fit; then one alone, which needs nobody else (K2).
        let most = wide.len().min(self.rules.fan.max(16));
        for n in (1..=most).rev() {
            if let Some(picked) = self.closed(&wide[..n])
                && self.is_cut_by_others(&picked)
            {
                return Some(self.job(&picked, Why::Spread));
            }
        }
        Some(self.job(&wide[..1], Why::Spread))
    }

    /// Whether a job of these would leave the wide ones narrower.
    fn is_cut_by_others(&self, picked: &[usize]) -> bool {
        let others = self.floors.iter().any(|floor| !picked.contains(floor));
        others && !self.cuts(picked).is_empty() || picked.iter().filter(|&&i| self.is_floor[i]).count() > 1
    }

    /// What stands on one floor: with the floor where it is much, by itself where it is many.
    fn stack(&self) -> Option<Job> {
        for stack in 0..self.floors.len() {
            let floor = self.floors[stack];
            let on_it: Vec<usize> = (0..self.pieces.len())
                .filter(|&i| !self.is_floor[i] && self.stacks_of(&self.pieces[i]) == (stack, stack))
                .collect();
            if on_it.is_empty() {
                continue;
            }
            let bytes = self.bytes_of(&on_it);
            let quiet = || on_it.iter().all(|&i| self.pieces[i].created.saturating_add(QUIET) <= self.rules.now);
            let floor_bytes = self.pieces[floor].bytes;
            if self.rules.all || bytes >= floor_bytes / 4 || (bytes >= floor_bytes / 16 && quiet()) {
                for n in (1..=on_it.len()).rev() {
                    let picked: Vec<usize> = [floor].into_iter().chain(on_it[..n].iter().copied()).collect();
                    if let Some(picked) = self.closed(&picked).filter(|picked| self.helps(picked)) {
                        return Some(self.job(&picked, Why::Stack));
                    }
                }
                if let Some(job) = self.split(floor, &on_it) {
                    return Some(job);
                }
            }
            let run = self.run_of_a_size(&on_it).and_then(|run| self.closed(&run));
            if let Some(picked) = run.filter(|picked| self.helps(picked)) {
                return Some(self.job(&picked, Why::Stack));
            }
        }
        None
    }

    /// A floor that is too much to be merged with all that stands on it at once, cut where that begins.
    fn split(&self, floor: usize, on_it: &[usize]) -> Option<Job> {
        let piece = &self.pieces[floor];
        let mut cuts: Vec<i64> = on_it.iter().map(|&i| self.pieces[i].time.start.nanos()).collect();
        cuts.retain(|&at| piece.time.start.nanos() < at && at <= last(&piece.time));
        cuts.sort_unstable();
        cuts.dedup();
        let (inputs, keeps) = (vec![piece.id], self.keeps(&[floor]));
        let job = Job { inputs, keeps, cuts, cold: self.stays_cold(&[floor]), why: Why::Spread };
        (!piece.is_frozen() && !job.cuts.is_empty()).then_some(job)
    }

    /// Neighbours in time, of about one size, that together with what stands on them are no more
    /// than a segment may be.
    fn join(&self) -> Option<Job> {
        let tiers: Vec<u32> = self.floors.iter().map(|&i| self.tier(i)).collect();
        // Windows that have ended left rests that are smaller than what lies on both sides, and nothing of their size
        // comes beside them any more. They count as large, but what is made is twice as large as the largest.
        let rests = || (!self.rules.ages.is_empty()).then(|| self.join_alike(&filled(&tiers), 2))?;
        self.join_alike(&tiers, 1).or_else(rests)
    }

    /// Neighbours of one tier that make a segment at least so many times as large as the largest of them.
    fn join_alike(&self, tiers: &[u32], growth: u64) -> Option<Job> {
        let fits = |run: &[usize]| {
            let whole = self.with_stacks(run);
            self.bytes_of(&whole) <= self.rules.segment_bytes && self.windows(&whole) <= 1
        };
        let mut from = 0;
        while from < self.floors.len() {
            let mut to = from + 1;
            while to < self.floors.len()
                && (self.rules.all || tiers[to] == tiers[from])
                && fits(&self.floors[from..=to])
            {
                to += 1;
            }
            // What lies between comes along, if it is not much.
            let small = |picked: &Vec<usize>| self.bytes_of(picked) <= self.rules.segment_bytes && self.helps(picked);
            let least = if self.rules.all { 2 } else { self.rules.fan };
            let (mut end, mut next) = (to, to);
            while end >= from + least {
                let run = &self.floors[from..end];
                let largest = run.iter().map(|&i| self.pieces[i].bytes).max().unwrap_or(0);
                if self.bytes_of(run) < growth * largest {
                    // Nor is any part of it that has the largest. What lies before that may be, and what lies behind it.
                    end = from + run.iter().position(|&i| self.pieces[i].bytes == largest).unwrap_or(0);
                    next = end + 1;
                    continue;
                }
                if let Some(picked) = self.closed(&self.with_stacks(run)).filter(small) {
                    return Some(self.job(&picked, Why::Join));
                }
                break;
            }
            from = if self.rules.all { from + 1 } else { next };
        }
        None
    }

    /// These floors and what stands on them alone.
    fn with_stacks(&self, floors: &[usize]) -> Vec<usize> {
        let on_them = (0..self.pieces.len()).filter(|&i| {
            let (first, last) = self.stacks_of(&self.pieces[i]);
            !self.is_floor[i] && first == last && floors.contains(&self.floors[first])
        });
        floors.iter().copied().chain(on_them).collect()
    }

    fn bytes_of(&self, picked: &[usize]) -> u64 {
        picked.iter().map(|&i| self.pieces[i].bytes).sum()
    }

    /// The first run of at least `fan` consecutive ones of one tier that would be one segment.
    fn run_of_a_size(&self, from: &[usize]) -> Option<Vec<usize>> {
        let mut runs = from.chunk_by(|&a, &b| self.tier(a) == self.tier(b));
        let due = |run: &&[usize]| run.len() >= self.rules.fan && self.bytes_of(run) <= self.rules.segment_bytes;
        runs.find(due).map(<[usize]>::to_vec)
    }

    fn tier(&self, i: usize) -> u32 {
        (self.pieces[i].bytes / TIER_BYTES_MIN).max(1).ilog2() / 2
    }

    /// `picked`, and whatever else must be merged with it so that nobody lies between in both
    /// order and time (K2). `None` if that is too much, or cannot be read.
    fn closed(&self, picked: &[usize]) -> Option<Vec<usize>> {
        let mut all = picked.to_vec();
        loop {
            let (seq, time) = (self.seq_of(&all), self.time_of(&all));
            let between = |i: &usize| {
                let piece = &self.pieces[*i];
                !all.contains(i) && piece.time.overlaps(&time) && overlap(piece.seq, seq)
            };
            let Some(next) = (0..self.pieces.len()).find(between) else { break };
            all.push(next);
        }
        all.sort_unstable();
        // Two may always be merged, or large ones would stay apart for ever.
        let fits = self.bytes_of(&all) <= self.rules.job_bytes() || all.len() <= 2;
        (fits && all.len() > 1 && all.iter().all(|&i| !self.pieces[i].is_frozen())).then_some(all)
    }

    /// Whether merging these leaves fewer segments, or fewer that overlap: otherwise there would be no end.
    fn helps(&self, picked: &[usize]) -> bool {
        let time = |i: usize| self.pieces[i].time;
        let overlap = || {
            let mut pairs = picked.iter().enumerate().flat_map(|(n, &a)| picked[..n].iter().map(move |&b| (a, b)));
            pairs.any(|(a, b)| time(a).overlaps(&time(b)))
        };
        let bytes = self.bytes_of(picked);
        let parts = if bytes > self.rules.part_bytes() { bytes.div_ceil(self.rules.segment_bytes) } else { 1 };
        self.cuts(picked).len() as u64 + parts < picked.len() as u64 || overlap()
    }

    fn seq_of(&self, picked: &[usize]) -> SeqRange {
        let seqs = || picked.iter().map(|&i| self.pieces[i].seq);
        let start = seqs().map(|s| s.start).min().unwrap_or_default();
        SeqRange { start, end: seqs().map(|s| s.end).max().unwrap_or_default() }
    }

    fn time_of(&self, picked: &[usize]) -> TimeRange {
        let times = || picked.iter().map(|&i| self.pieces[i].time);
        let start = times().map(|t| t.start).min().unwrap_or_default();
        TimeRange::new(start, times().map(|t| t.end).max().unwrap_or_default())
    }

    /// How many windows these touch together.
    fn windows(&self, picked: &[usize]) -> u64 {
        let time = self.time_of(picked);
        self.windows.count(time.start.nanos(), last(&time))
    }

    /// Where the outputs of a job must part: where other stacks begin, where they end if what
    /// follows is part of the job, and between windows (K3).
    fn cuts(&self, picked: &[usize]) -> Vec<i64> {
        let time = self.time_of(picked);
        let mut cuts = Vec::new();
        for (at, floor) in self.floors.iter().enumerate().filter(|(_, floor)| !picked.contains(floor)) {
            let own = self.pieces[*floor].time;
            cuts.push(own.start.nanos());
            let next_is_ours = self.floors.get(at + 1).is_none_or(|next| picked.contains(next));
            if next_is_ours && own.end != Timestamp::MAX {
                cuts.push(own.end.nanos());
            }
        }
        let windows = self.windows(picked);
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

    fn job(&self, picked: &[usize], why: Why) -> Job {
        let cuts = self.cuts(picked);
        let inputs = picked.iter().map(|&i| self.pieces[i].id).collect();
        Job { inputs, keeps: self.keeps(picked), cuts, cold: self.stays_cold(picked), why }
    }
}

/// Valleys filled: each as high as the lower of the highest up to it and the highest from it on.
fn filled(tiers: &[u32]) -> Vec<u32> {
    let highest = |highest: &mut u32, tier: &u32| {
        *highest = (*highest).max(*tier);
        Some(*highest)
    };
    let before: Vec<u32> = tiers.iter().scan(0, highest).collect();
    let behind: Vec<u32> = tiers.iter().rev().scan(0, highest).collect();
    before.iter().zip(behind.iter().rev()).map(|(before, behind)| *before.min(behind)).collect()
}

fn overlap(a: SeqRange, b: SeqRange) -> bool {
    let (one, nothing) = (SeqNo(1), |r: SeqRange| r.end <= r.start);
    let widened = |r: SeqRange| if nothing(r) { SeqNo(r.start.0 + one.0) } else { r.end };
    a.start < widened(b) && b.start < widened(a)
}

/// The last timestamp that a range may hold.
fn last(time: &TimeRange) -> i64 {
    if time.end == Timestamp::MAX { i64::MAX } else { time.end.nanos() - 1 }
}
