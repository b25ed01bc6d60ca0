//! What may be begun beside the jobs at work, and which of those end for others.

use std::collections::HashSet;
use std::sync::Arc;

use tidegauge_storage::model::{TimeRange, Timestamp};

use super::plan::{Job, Piece, Rules, Turn, Why, plan_turn};
use crate::sync::atomic::{AtomicBool, Ordering};

/// A job to begin, and its place.
#[derive(Clone, Debug)]
pub(super) struct Due {
    pub(super) job: Job,
    time: TimeRange,
    pub(super) bytes: u64,
    /// Of what came since all was asked for.
    pub(super) is_newer: bool,
    halted: Arc<AtomicBool>,
    held_back: Arc<AtomicBool>,
}

impl Due {
    pub(super) fn new(job: Job, time: TimeRange, bytes: u64) -> Self {
        Self { job, time, bytes, is_newer: false, halted: Arc::default(), held_back: Arc::default() }
    }

    /// Ends it as soon as it asks whether to go on, if it still does: it is thrown away then, and planned anew.
    pub(super) fn halt(&self) {
        // Relaxed: nothing is handed over.
        self.halted.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_halted(&self) -> bool {
        self.halted.load(Ordering::Relaxed)
    }

    /// Whether it was ended because it held back too much: as large as it was it would be again.
    pub(super) fn held_back(&self) -> bool {
        self.held_back.load(Ordering::Relaxed)
    }

    fn reads(&self, id: u64) -> bool {
        self.job.inputs.contains(&id)
    }
}

/// Jobs that retention by size meets.
#[derive(Clone, Copy)]
pub(super) struct AtWork<'a> {
    pub(super) running: &'a [Due],
    /// None of them has just ended: what would have one thrown away waits for its end.
    pub(super) meanwhile: bool,
}

impl AtWork<'_> {
    pub(super) const NOTHING: Self = Self { running: &[], meanwhile: false };

    /// Whether a segment that ends there stays until a job has ended: one reads it. And while they work, too, what leaves a
    /// horizon that reaches into the time of one of several inputs (K10), which might have it thrown away.
    pub(super) fn hold(&self, id: u64, end: Timestamp) -> bool {
        self.running.iter().any(|due| self.holds(due, id, end))
    }

    fn holds(&self, due: &Due, id: u64, end: Timestamp) -> bool {
        let is_hidden_from = || due.job.why != Why::Drop && due.job.inputs.len() > 1 && due.time.start < end;
        due.reads(id) || (self.meanwhile && is_hidden_from())
    }

    /// Ends jobs that work for nothing, since all that they read is to go; where `much` is held by jobs, those that hold
    /// any of it. What goes is `(number, end)` of segments.
    pub(super) fn halt(&self, goes: &[(u64, Timestamp)], much: bool) {
        let for_nothing = |due: &&Due| due.job.inputs.iter().all(|input| goes.iter().any(|(id, _)| id == input));
        let holds = |due: &&Due| goes.iter().any(|&(id, end)| self.holds(due, id, end));
        self.running.iter().filter(for_nothing).for_each(Due::halt);
        let held_back = || self.running.iter().filter(|due| much && !for_nothing(due) && holds(due));
        held_back().for_each(Due::halt);
        // It is for the largest that the others had to end.
        if let Some(largest) = held_back().max_by_key(|due| due.bytes) {
            largest.held_back.store(true, Ordering::Relaxed);
        }
    }
}

/// Whose turn it is, by the jobs that were begun.
#[derive(Debug, Default)]
pub(super) struct Turns {
    since_rewrite: u32,
    since_chill: u32,
    since_newer: u32,
}

/// So many other jobs are begun while a segment waits to be rewritten, or made cold. That one may wait: it gives back little.
pub(super) const BEFORE_REWRITE: u32 = 4;
pub(super) const BEFORE_CHILL: u32 = 16;

impl Turns {
    pub(super) fn next(&self) -> Turn {
        Turn { rewrites: self.since_rewrite >= BEFORE_REWRITE, chills: self.since_chill >= BEFORE_CHILL }
    }

    pub(super) fn begun(&mut self, due: &Due) {
        let Self { since_rewrite, since_chill, since_newer } = self;
        // What only removes takes no time.
        let (rewrite, chill) = match due.job.why {
            Why::Drop => return,
            Why::Rewrite => (0, since_chill.saturating_add(1)),
            Why::Chill => (since_rewrite.saturating_add(1), 0),
            Why::Spread | Why::Stack | Why::Join => (since_rewrite.saturating_add(1), since_chill.saturating_add(1)),
        };
        (*since_rewrite, *since_chill) = (rewrite, chill);
        *since_newer = if due.is_newer { 1 } else { since_newer.saturating_add(1) };
    }

    /// Whether it is the turn of what came since all was asked for.
    pub(super) fn is_newers(&self) -> bool {
        self.since_newer >= BEFORE_REWRITE
    }
}

pub(super) type Plan = fn(&[Piece], &Rules) -> Option<Job>;

/// What is worth a job would touch one that is at work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Occupied;

/// The next job that may run beside those in `running`: apart from each of them in time, from the first to the last
/// sample of its inputs; and together they need no more extra disk than one may (K11). One that writes nothing may lie
/// around them: none of its inputs is in the time of any.
pub(super) fn beside(pieces: &[Piece], running: &[Due], rules: &Rules, plan: Plan) -> Result<Option<Due>, Occupied> {
    let is_busy = |time: TimeRange| running.iter().any(|due| due.time.overlaps(&time));
    let as_seen = |piece: &Piece| Piece { busy: piece.busy || is_busy(piece.time), ..*piece };
    let seen: Vec<Piece> = pieces.iter().map(as_seen).collect();
    let Some(job) = plan(&seen, rules) else { return Ok(None) };
    let ids: HashSet<u64> = job.inputs.iter().copied().collect();
    let inputs = || pieces.iter().filter(|piece| ids.contains(&piece.id));
    let start = inputs().map(|piece| piece.time.start).min().unwrap_or_default();
    let end = inputs().map(|piece| piece.time.end).max().unwrap_or_default();
    let (time, bytes) = (TimeRange::new(start, end), inputs().map(|piece| piece.bytes).sum::<u64>());
    let at_work: u64 = running.iter().map(|due| due.bytes).sum();
    let is_much = !running.is_empty() && at_work.saturating_add(bytes) > rules.job_bytes();
    if job.why == Why::Drop {
        return Ok(Some(Due::new(job, time, 0)));
    }
    // Whoever has waited for so long that it is his turn waits for those at work at most: nothing else is begun before.
    let in_turn = matches!(job.why, Why::Rewrite | Why::Chill);
    let waits = !running.is_empty() && !in_turn && rules.turn != Turn::default() && plan_turn(pieces, rules).is_some();
    if is_busy(time) || is_much || waits { Err(Occupied) } else { Ok(Some(Due::new(job, time, bytes))) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A job of which retention by size lets all inputs go went on to its end, and they stayed as long.
    #[test]
    fn k12_jobs_that_hold_back_what_is_to_go_are_ended() {
        let at = Timestamp::from_nanos;
        let job = |inputs: &[u64], why| Job {
            inputs: inputs.to_vec(),
            keeps: Vec::new(),
            cuts: Vec::new(),
            cold: false,
            why,
        };
        let all = || {
            [
                Due::new(job(&[1, 2], Why::Join), TimeRange::new(at(0), at(20)), 1),
                Due::new(job(&[2, 3], Why::Join), TimeRange::new(at(10), at(30)), 1),
                Due::new(job(&[4], Why::Chill), TimeRange::new(at(30), at(90)), 1),
                Due::new(job(&[5, 6], Why::Spread), TimeRange::new(at(40), at(90)), 1),
            ]
        };
        let goes = [(1, at(10)), (2, at(20)), (9, at(50))];
        let halted = |much, meanwhile| {
            let running = all();
            AtWork { running: &running, meanwhile }.halt(&goes, much);
            running.map(|due| due.is_halted())
        };
        assert_eq!(halted(false, true), [true, false, false, false], "it works for nothing");
        assert_eq!(halted(true, false), [true, true, false, false], "they read some of it");
        assert_eq!(halted(true, true), [true, true, false, true], "and that would be thrown away by a horizon");
        let held_back = |much| {
            let running = all().map(|due| Due { bytes: 9 - due.job.inputs[0], ..due });
            AtWork { running: &running, meanwhile: true }.halt(&goes, much);
            running.map(|due| due.held_back())
        };
        assert_eq!(held_back(false), [false; 4]);
        assert_eq!(held_back(true), [false, true, false, false], "the largest of those that are ended for others");
        let held = |id, end, meanwhile| AtWork { running: &all(), meanwhile }.hold(id, at(end));
        assert_eq!([held(3, 30, false), held(9, 50, false), held(9, 50, true)], [true, false, true]);
        assert!(!held(9, 0, true), "it ends before all of them");
        assert!(!AtWork::NOTHING.hold(1, at(10)));
    }
}
