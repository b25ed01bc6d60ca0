//! What compaction undertakes after a job has failed: pure, so that it can be tested without a clock.

use std::time::{Duration, Instant};

use super::CompactError;
use super::plan::{Job, Why};

/// The first pause before what failed is tried again. Each one after it is twice as long, up to the longest: a job that
/// finds no space has taken what there was until then, from flushes and the log.
const PAUSE: Duration = Duration::from_secs(5);
const PAUSE_MAX: Duration = Duration::from_secs(300);

/// Which jobs may be begun, the widest choice first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum May {
    Everything,
    /// Those that give space back, one at a time.
    Free,
    /// Those that write no segment.
    Drop,
}

/// How long a job that held back what was to go is remembered: it would again, as long as as much comes in.
const HELD_FOR: Duration = Duration::from_secs(3_600);

/// What may be begun now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Allowed {
    pub(super) may: May,
    /// No job may be larger than this, unless it writes anew what is left of a segment.
    pub(super) most: u64,
}

impl Allowed {
    /// What writes nothing may always be.
    pub(super) fn drop() -> Self {
        Self { may: May::Drop, most: u64::MAX }
    }
}

/// What is remembered of failures.
pub(super) struct Restraint {
    may: May,
    until: Option<Instant>,
    pause: Duration,
    /// It is space that was wanted last.
    short: bool,
    /// A larger job was given up, since it took or held too much; until when that is remembered.
    most: Option<(u64, Instant)>,
}

impl Default for Restraint {
    fn default() -> Self {
        Self { may: May::Everything, until: None, pause: PAUSE, short: false, most: None }
    }
}

impl Restraint {
    /// What may be begun.
    pub(super) fn may(&self, now: Instant) -> May {
        if self.left(now).is_some() { self.may } else { May::Everything }
    }

    /// How long it is until everything may be begun again, if it may not.
    pub(super) fn left(&self, now: Instant) -> Option<Duration> {
        self.until.filter(|until| now < *until).map(|until| until - now)
    }

    /// A job failed that was begun when so much might be. Answers what may be begun before the next look; `None`:
    /// nothing, for not even what writes no segment went well.
    pub(super) fn failed(&mut self, begun: May, why: &CompactError, now: Instant) -> Option<May> {
        let left = match (begun, why) {
            (May::Everything, CompactError::DiskFull) => Some(May::Free),
            (May::Everything | May::Free, _) => Some(May::Drop),
            (May::Drop, _) => None,
        };
        if self.left(now).is_none() {
            (self.may, self.until) = (May::Everything, Some(now + self.pause));
            // Files that may be open come back in a moment, and who finds none has taken nothing.
            if *why != CompactError::OutOfFiles {
                self.pause = (self.pause * 2).min(PAUSE_MAX);
            }
        }
        self.may = self.may.max(left.unwrap_or(May::Drop));
        self.short = *why == CompactError::DiskFull;
        left
    }

    /// Space came back: what gives back more may be tried, if that is what was wanted. Answers whether it was.
    pub(super) fn freed(&mut self) -> bool {
        if self.short {
            self.may = self.may.min(May::Free);
        }
        self.short
    }

    /// A job ended, carried out or not: one that was thrown away since rules have changed has given nothing back. Answers
    /// whether space came back that was wanted.
    pub(super) fn freed_by(&mut self, job: &Job, carried_out: bool) -> bool {
        carried_out && job.why == Why::Drop && self.freed()
    }

    /// Everything that was worth a job was done. How large one may be does not come of that.
    pub(super) fn lift(&mut self) {
        *self = Self { most: self.most, ..Self::default() };
    }

    /// What may be begun where that choice is left.
    pub(super) fn allows(&self, may: May, now: Instant) -> Allowed {
        let most = self.most.filter(|(_, until)| now < *until);
        Allowed { may, most: most.map_or(u64::MAX, |(most, _)| most) }
    }

    /// A job of so many bytes was ended, since it held back what was to go: the next is half as large at most, or so large
    /// as hardly holds anything back. It may have been small, and all that is newer waits as long.
    pub(super) fn held_too_much(&mut self, bytes: u64, least: u64, now: Instant) {
        self.most = Some(((bytes / 2).max(least), now + HELD_FOR));
    }

    /// A job of so many bytes found no space. Space may come, so that is remembered for as long as a pause lasts.
    pub(super) fn took_too_much(&mut self, bytes: u64, now: Instant) {
        self.most = Some((bytes / 2, now + PAUSE_MAX));
    }

    /// Somebody wants everything tried.
    pub(super) fn forget_sizes(&mut self) {
        self.most = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A drop that was thrown away, since a rule had been changed meanwhile, passed for space that came back.
    #[test]
    fn what_was_not_carried_out_lifts_nothing() {
        let now = Instant::now();
        let job = |why| Job { inputs: vec![1], keeps: Vec::new(), cuts: Vec::new(), cold: false, why };
        let mut restraint = Restraint::default();
        restraint.failed(May::Free, &CompactError::DiskFull, now);
        assert!(!restraint.freed_by(&job(Why::Drop), false) && !restraint.freed_by(&job(Why::Rewrite), true));
        assert_eq!(restraint.may(now), May::Drop);
        assert!(restraint.freed_by(&job(Why::Drop), true));
        assert_eq!(restraint.may(now), May::Free);
    }

    /// What took, or held back, too much was begun again as it was, and given up again, for ever.
    #[test]
    fn what_was_too_much_is_half_as_large_the_next_time() {
        let mut restraint = Restraint::default();
        let start = Instant::now();
        let most = |restraint: &Restraint, seconds| {
            restraint.allows(May::Everything, start + Duration::from_secs(seconds)).most
        };
        assert_eq!(most(&restraint, 0), u64::MAX);
        restraint.held_too_much(100, 10, start);
        restraint.lift();
        assert_eq!([0, 3_599, 3_600].map(|at| most(&restraint, at)), [50, 50, u64::MAX]);
        restraint.held_too_much(50, 10, start);
        assert_eq!(most(&restraint, 0), 25);
        restraint.held_too_much(15, 10, start);
        assert_eq!(most(&restraint, 0), 10, "what is small goes on");
        restraint.took_too_much(1_000, start);
        assert_eq!([0, 299, 300].map(|at| most(&restraint, at)), [500, 500, u64::MAX], "space may have come");
        restraint.forget_sizes();
        assert_eq!(most(&restraint, 0), u64::MAX);
    }

    #[test]
    fn what_failed_is_tried_again_after_pauses_that_grow_and_the_rest_meanwhile() {
        let mut restraint = Restraint::default();
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(restraint.may(at(0)), May::Everything);
        assert_eq!(restraint.failed(May::Everything, &CompactError::DiskFull, at(0)), Some(May::Free));
        assert_eq!((restraint.may(at(4)), restraint.may(at(5))), (May::Free, May::Everything));
        // The next to fail waits for twice as long, and what gives space back fails, too.
        assert_eq!(restraint.failed(May::Everything, &CompactError::DiskFull, at(5)), Some(May::Free));
        assert_eq!(restraint.failed(May::Free, &CompactError::DiskFull, at(6)), Some(May::Drop));
        assert_eq!(restraint.failed(May::Drop, &CompactError::DiskFull, at(6)), None);
        assert_eq!((restraint.may(at(7)), restraint.left(at(7))), (May::Drop, Some(Duration::from_secs(8))));
        assert!(restraint.freed());
        assert_eq!((restraint.may(at(14)), restraint.may(at(15))), (May::Free, May::Everything));
        // A disk that fails takes nothing at all.
        let failed = CompactError::Failed { cause: String::new() };
        assert_eq!(restraint.failed(May::Everything, &failed, at(20)), Some(May::Drop));
        assert!(!restraint.freed());
        assert_eq!(restraint.may(at(39)), May::Drop);
        let mut now = at(40);
        for _ in 0..10 {
            restraint.failed(May::Everything, &failed, now);
            now += restraint.left(now).unwrap();
        }
        restraint.failed(May::Everything, &failed, now);
        assert_eq!(restraint.left(now), Some(PAUSE_MAX));
        restraint.lift();
        assert_eq!(restraint.may(now), May::Everything);
        for _ in 0..3 {
            restraint.failed(May::Everything, &CompactError::OutOfFiles, now);
            assert_eq!(restraint.left(now), Some(PAUSE), "files come back soon");
            now += PAUSE;
        }
    }
}
