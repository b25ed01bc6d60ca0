//! What to compact next: pure, so that it can be simulated. Rules and invariants: `docs/compaction.md`.

use std::cmp::Reverse;
use std::sync::Arc;

use tidegauge_storage::model::{SeqRange, TimeRange};

use super::stacks::Stacks;
use super::table::{Table, last};
use super::weighed::Weighed;
use crate::version::{Precedence, precedence};

/// A time range is cut only into pieces of at least this many bytes, but for S6.
pub(super) const PIECE_BYTES_MIN: u64 = 8 << 20;
/// Sizes below this are alike.
pub(super) const TIER_BYTES_MIN: u64 = 4 << 10;
/// A stack on which nothing new came for this long is merged with its floor, nanoseconds.
pub(super) const QUIET: i64 = 24 * 3_600_000_000_000;
/// Segments that one job makes at most, beside those that its cuts ask for.
pub(super) const PIECES_MAX: u64 = 64;
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
    pub(super) fn is_frozen(&self) -> bool {
        self.damaged || self.busy
    }

    /// What it would weigh without what is hidden, about.
    pub(super) fn left(&self) -> u64 {
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
    /// More than this no job may take, but for those that write anew what is left of one: one that took more was thrown away.
    pub(crate) most: u64,
    /// Which jobs it is the turn of, in front of those that merge.
    pub(crate) turn: Turn,
    /// Merge whatever can be merged, however little it saves, and make cold what is not.
    pub(crate) all: bool,
    /// Segments that are this old, and so are their newest samples, become cold; nanoseconds. The greatest: none ever.
    pub(crate) cold_after: i64,
}

impl Rules {
    /// Inputs of one job, and so the extra disk it needs.
    pub(crate) fn job_bytes(&self) -> u64 {
        self.segment_bytes.saturating_mul(4).min(self.most)
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

/// Of whom it is the turn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Turn {
    pub(crate) rewrites: bool,
    pub(crate) chills: bool,
}

/// The next job, if anything is worth one. What merges comes first, unless it is the [turn](Turn) of others.
pub(crate) fn plan(pieces: &[Piece], rules: &Rules) -> Option<Job> {
    let pieces = in_order(pieces);
    let table = Table::new(&pieces, rules);
    let merged = || table.spread().or_else(|| table.stack()).or_else(|| table.join());
    let first = table.drop_hidden().or_else(|| table.in_turn());
    first.or_else(merged).or_else(|| table.rewrite()).or_else(|| table.chill())
}

/// The next job of those whose turn it is.
pub(crate) fn plan_turn(pieces: &[Piece], rules: &Rules) -> Option<Job> {
    Table::new(&in_order(pieces), rules).in_turn()
}

/// The next job that gives space back, where there is little: what nobody sees goes first, and of segments to be written
/// anew the one that leaves least.
pub(crate) fn plan_free(pieces: &[Piece], rules: &Rules) -> Option<Job> {
    let pieces = in_order(pieces);
    let table = Table::new(&pieces, rules);
    table.drop_hidden().or_else(|| table.rewrite_least())
}

/// The next job that only removes: what nobody sees any more.
pub(crate) fn plan_drop(pieces: &[Piece], rules: &Rules) -> Option<Job> {
    Table::new(&in_order(pieces), rules).drop_hidden()
}

/// By precedence.
fn in_order(pieces: &[Piece]) -> Vec<Piece> {
    let mut pieces = pieces.to_vec();
    pieces.sort_by_key(order);
    pieces
}

/// Precedence: of two that hold the same timestamp, the later one wins (K1).
pub(crate) fn order(piece: &Piece) -> Precedence {
    precedence(piece.seq, piece.late, piece.id)
}

/// Looks at so many segments, or at what stands for some. Counted in the tests.
pub(super) fn steps(_many: usize) {
    #[cfg(test)]
    STEPS.with(|steps| steps.set(steps.get() + _many as u64));
}

#[cfg(test)]
thread_local! {
    /// All steps of this thread.
    pub(super) static STEPS: std::cell::Cell<u64> = const { std::cell::Cell::new(0) };
}

impl Table<'_> {
    /// Segments of which nothing can be seen, whether they can be read or not.
    fn drop_hidden(&self) -> Option<Job> {
        let gone = |p: &Piece| !p.busy && p.hidden >= p.samples && (p.hidden > 0 || !p.damaged);
        let mut goes = vec![false; self.pieces.len()];
        // Ascending: what goes too holds nobody up.
        for i in (0..self.pieces.len()).filter(|&i| gone(&self.pieces[i])) {
            if self.holder_below(i, |below| !goes[below]).is_none() {
                goes[i] = true;
            }
        }
        steps(self.pieces.len());
        let inputs = self.pieces.iter().zip(&goes).filter(|(_, goes)| **goes).map(|(piece, _)| piece.id).collect();
        let job = Job { inputs, keeps: Vec::new(), cuts: Vec::new(), cold: false, why: Why::Drop };
        (!job.inputs.is_empty()).then_some(job)
    }

    fn in_turn(&self) -> Option<Job> {
        let Turn { rewrites, chills } = self.rules.turn;
        let rewrite = if rewrites { self.rewrite() } else { None };
        rewrite.or_else(|| if chills { self.chill() } else { None })
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
            steps(1);
            let p = &self.pieces[i];
            if p.busy || !is_much(p, p.hidden) {
                return None;
            }
            let Some(below) = self.holder_below(i, |_| true) else { return Some(i) };
            let rest = p.hidden.saturating_sub(p.aged);
            if is_much(p, rest) { Some(i) } else { Some(self.lowest_holder(below)) }
        };
        // However large: what they are written anew for is what is left, and gives back the rest.
        (0..self.pieces.len()).filter_map(due).filter(|&i| !self.pieces[i].is_frozen())
    }

    /// One segment by itself, because it will hardly change any more.
    fn chill(&self) -> Option<Job> {
        steps(self.pieces.len());
        let due = |&i: &usize| {
            let piece = &self.pieces[i];
            !piece.is_frozen() && !piece.cold && self.is_old(piece) && self.may_take(i)
        };
        let i = (0..self.pieces.len()).find(due)?;
        Some(self.job(&[i], Why::Chill))
    }

    /// Whether one by itself is no more than a job may take.
    fn may_take(&self, i: usize) -> bool {
        self.pieces[i].bytes <= self.rules.most
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
        steps(self.pieces.len());
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
        let alone = wide.into_iter().find(|&i| self.may_take(i))?;
        Some(self.job(&[alone], Why::Spread))
    }

    /// Whether a job of these would leave the wide ones narrower.
    fn is_cut_by_others(&self, picked: &[usize]) -> bool {
        let floors = picked.iter().filter(|&&i| self.is_floor[i]).count();
        floors > 1 || (floors < self.floors.len() && !self.cuts(picked).is_empty())
    }

    /// What stands on one floor: with the floor where it is much, by itself where it is many.
    fn stack(&self) -> Option<Job> {
        for (&floor, on_it) in self.floors.iter().zip(&self.on) {
            if on_it.is_empty() {
                continue;
            }
            let bytes = self.bytes_of(on_it);
            let quiet = || on_it.iter().all(|&i| self.pieces[i].created.saturating_add(QUIET) <= self.rules.now);
            let floor_bytes = self.pieces[floor].bytes;
            if self.rules.all || bytes >= floor_bytes / 4 || (bytes >= floor_bytes / 16 && quiet()) {
                let merged = self.with_floor(floor, on_it).map(|picked| self.job(&picked, Why::Stack));
                if let Some(job) = merged.or_else(|| self.split(floor, on_it)) {
                    return Some(job);
                }
            }
            let run = self.run_of_a_size(on_it).and_then(|run| self.closed(&run));
            if let Some(picked) = run.filter(|picked| self.helps(picked)) {
                return Some(self.job(&picked, Why::Stack));
            }
        }
        None
    }

    /// A floor and as much of what stands on it, the lowest first, as can be merged with it.
    fn with_floor(&self, floor: usize, on_it: &[usize]) -> Option<Vec<usize>> {
        let closed = |n: usize| {
            let picked: Vec<usize> = [floor].into_iter().chain(on_it[..n].iter().copied()).collect();
            self.closed(&picked)
        };
        // What is too many, or has one in it that cannot be read, is so with more of them.
        let mut bytes = self.pieces[floor].bytes;
        let mut may = |(n, &i): (usize, &usize)| {
            bytes += self.pieces[i].bytes;
            !self.pieces[i].is_frozen() && self.fits(bytes, n + 2)
        };
        let stays = self.pieces[floor].is_frozen();
        let most = if stays { 0 } else { on_it.iter().enumerate().take_while(|one| may(*one)).count() };
        let (mut low, mut high) = (0, most);
        let mut next = most;
        while low < high {
            match closed(next) {
                Some(_) => low = next,
                None => high = next - 1,
            }
            next = (low + high).div_ceil(2);
        }
        (1..=low).rev().find_map(|n| closed(n).filter(|picked| self.helps(picked)))
    }

    /// A floor that is too much to be merged with all that stands on it at once, cut where that begins.
    fn split(&self, floor: usize, on_it: &[usize]) -> Option<Job> {
        let piece = &self.pieces[floor];
        steps(on_it.len());
        let mut cuts: Vec<i64> = on_it.iter().map(|&i| self.pieces[i].time.start.nanos()).collect();
        cuts.retain(|&at| piece.time.start.nanos() < at && at <= last(&piece.time));
        cuts.sort_unstable();
        cuts.dedup();
        let (inputs, keeps) = (vec![piece.id], self.keeps(&[floor]));
        let job = Job { inputs, keeps, cuts, cold: self.stays_cold(&[floor]), why: Why::Spread };
        (!piece.is_frozen() && !job.cuts.is_empty() && self.may_take(floor)).then_some(job)
    }

    /// Neighbours in time, of about one size, that together with what stands on them are no more
    /// than a segment may be.
    fn join(&self) -> Option<Job> {
        let tiers: Vec<u32> = self.floors.iter().map(|&i| self.tier(i)).collect();
        let stacks = Stacks::new(self);
        // Windows that have ended left rests that are smaller than what lies on both sides, and nothing of their size
        // comes beside them any more. They count as large, but what is made is twice as large as the largest.
        let rests = || (!self.rules.ages.is_empty()).then(|| self.join_alike(&stacks, &filled(&tiers), 2))?;
        self.join_alike(&stacks, &tiers, 1).or_else(rests)
    }

    /// Neighbours of one tier that make a segment at least so many times as large as the largest of them.
    fn join_alike(&self, stacks: &Stacks, tiers: &[u32], growth: u64) -> Option<Job> {
        let (all, floors) = (self.rules.all, self.floors.len());
        let least = if all { 2 } else { self.rules.fan };
        // What lies from `from` to before `to` fits; with `all` runs only end later as they begin later.
        let (mut from, mut to) = (0, 0);
        while from < floors {
            to = if all { to.max(from + 1) } else { from + 1 };
            while to < floors && (all || tiers[to] == tiers[from]) && stacks.fit(self, from, to + 1) {
                to += 1;
            }
            let (mut end, mut next) = (to, to);
            while end >= from + least {
                let (largest, Reverse(at)) = stacks.largest.of(from, end);
                if stacks.floor_bytes(from, end) < growth * largest {
                    // Nor is any part of it that has the largest. What lies before that may be, and what lies behind it.
                    (end, next) = (at, at + 1);
                    continue;
                }
                // What lies between comes along, if it is not much.
                let small =
                    |picked: &Vec<usize>| self.bytes_of(picked) <= self.rules.segment_bytes && self.helps(picked);
                if stacks.may_join(self, from, end)
                    && let Some(picked) = self.closed(&self.with_stacks(from, end)).filter(small)
                {
                    return Some(self.job(&picked, Why::Join));
                }
                break;
            }
            from = if all { from + 1 } else { next };
        }
        None
    }

    /// These floors and what stands on them alone.
    fn with_stacks(&self, from: usize, to: usize) -> Vec<usize> {
        let on_them = self.on[from..to].iter().flatten();
        self.floors[from..to].iter().chain(on_them).copied().collect()
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
