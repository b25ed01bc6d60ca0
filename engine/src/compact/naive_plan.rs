//! The plan as it was first written, with a look at each segment for each: the twin that the quick one is held to.

use tidegauge_storage::model::{SeqNo, SeqRange, TimeRange, Timestamp};

use super::plan::{Job, PIECE_BYTES_MIN, PIECES_MAX, Piece, QUIET, Rules, TIER_BYTES_MIN, Why, order};
use super::windows::Windows;

/// All that may be planned: by [`plan`](super::plan::plan), by `plan_free` and by `plan_drop`.
pub(super) fn naive(pieces: &[Piece], rules: &Rules) -> [Option<Job>; 3] {
    let mut pieces = pieces.to_vec();
    pieces.sort_by_key(order);
    let table = Table::new(&pieces, rules);
    let merged = || table.spread().or_else(|| table.stack()).or_else(|| table.join());
    let first = || table.drop_hidden().or_else(|| table.in_turn());
    let next = first().or_else(merged).or_else(|| table.rewrite()).or_else(|| table.chill());
    [next, table.drop_hidden().or_else(|| table.rewrite_least()), table.drop_hidden()]
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

    fn in_turn(&self) -> Option<Job> {
        let rewrite = if self.rules.turn.rewrites { self.rewrite() } else { None };
        rewrite.or_else(|| if self.rules.turn.chills { self.chill() } else { None })
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
        let due = |p: &Piece| !p.is_frozen() && !p.cold && self.is_old(p) && p.bytes <= self.rules.most;
        let i = self.pieces.iter().position(due)?;
        Some(self.job(&[i], Why::Chill))
    }

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
        (!piece.is_frozen() && !job.cuts.is_empty() && self.may_take(floor)).then_some(job)
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
        let bytes = self.bytes_of(&all);
        let fits = bytes <= self.rules.job_bytes() || (all.len() <= 2 && bytes <= self.rules.most);
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
