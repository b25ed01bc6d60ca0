//! The thread that looks for idle series.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::request::{IdleSince, NotEvicted, evict};
use crate::core::Core;
use crate::registry::Registry;
use crate::sync::atomic::Ordering;
use crate::sync::{Condvar, Mutex, lock};

/// It looks this often while series are near their limit; otherwise by [`IdleLimits::after`].
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Near the limit at most this part of the time goes into looks.
const BUSY_PART: u32 = 5;
/// A flush is asked for no more often.
const FLUSH_EVERY: Duration = Duration::from_millis(100);
/// The worker answers within this, or the eviction is tried again later.
const PATIENCE: Duration = Duration::from_secs(10);

/// When series leave memory.
#[derive(Clone, Copy, Debug)]
pub(crate) struct IdleLimits {
    /// Idle for so long at least.
    pub(crate) after: Duration,
    pub(crate) series_max: usize,
    pub(crate) label_bytes_max: u64,
}

impl IdleLimits {
    /// Series that must be idle before a registry is built without them.
    pub(crate) fn enough(&self, registry: &Registry) -> usize {
        self.enough_of(registry.len(), registry.label_bytes())
    }

    fn enough_of(&self, series: usize, label_bytes: u64) -> usize {
        if self.is_near(series, label_bytes) { 1 } else { (series / 16).max(64) }
    }

    /// Whether so many series, or their labels, are near the limit.
    fn is_near(&self, series: usize, label_bytes: u64) -> bool {
        series as u64 * 4 >= self.series_max as u64 * 3 || label_bytes >= self.label_bytes_max / 4 * 3
    }
}

/// The evictor.
#[derive(Default)]
pub(crate) struct Evictor {
    stop: Mutex<bool>,
    stopped: Condvar,
}

impl Evictor {
    pub(crate) fn stop(&self) {
        *lock(&self.stop) = true;
        self.stopped.notify_all();
    }

    /// The thread's life.
    pub(crate) fn run(&self, core: &Core, limits: IdleLimits) {
        let every = (limits.after / 8).clamp(Duration::from_millis(1), LOOK_EVERY);
        let (mut past, mut state) = (Past::default(), State::default());
        loop {
            let stop = lock(&self.stop);
            let (stop, _) = self.stopped.wait_timeout_while(stop, every, |stop| !*stop).expect("evict lock");
            if *stop {
                return;
            }
            drop(stop);
            let now = Instant::now();
            past.note(now, IdleSince { seq: core.watermark.seq(), look: core.heads.next_look() });
            if let Some(since) = past.before(now, limits.after) {
                state.look(core, &limits, since, now);
            }
        }
    }
}

/// When a scan is due.
#[derive(Default)]
struct State {
    next: Option<Instant>,
    /// Near the limit of series.
    next_if_near: Option<Instant>,
    flush_asked_at: Option<Instant>,
}

impl State {
    fn look(&mut self, core: &Core, limits: &IdleLimits, since: IdleSince, now: Instant) {
        let near = limits.is_near(core.registry().len(), core.registry().label_bytes());
        let next = if near { self.next_if_near } else { self.next };
        if next.is_some_and(|next| now < next) {
            return;
        }
        let series = core.registry().len();
        let result = evict(core, since, limits.enough(&core.registry()), PATIENCE);
        let pause = now.elapsed() * BUSY_PART;
        self.next_if_near = Some(now + pause);
        // What was held back in a large eviction goes soon.
        self.next = Some(now + if result.is_ok() { pause } else { pause.max(limits.after / 4) });
        let may_ask =
            self.flush_asked_at.is_none_or(|at| now.duration_since(at) >= (limits.after / 2).max(FLUSH_EVERY));
        if let Err(NotEvicted::TooFew { unflushed }) = result
            && near
            && may_ask
            && unflushed * 16 >= series
        {
            // Idle they are, but a flush must come first.
            self.flush_asked_at = Some(now);
            let version = core.versions.load();
            // An empty memtable needs no flush.
            let wanted = version.active.generation - u32::from(version.active.samples() == 0);
            core.flush_wanted.fetch_max(wanted, Ordering::AcqRel);
            core.wake_worker();
        }
    }
}

/// What was current when, for as long as it matters.
#[derive(Default)]
pub(crate) struct Past(VecDeque<(Instant, IdleSince)>);

/// Moments kept.
const MOMENTS: usize = 4096;

impl Past {
    pub(crate) fn note(&mut self, now: Instant, current: IdleSince) {
        // Where moments are many, the newest one is moved on: idle is said later then, never too early.
        if self.0.len() == MOMENTS {
            self.0.pop_back();
        }
        self.0.push_back((now, current));
    }

    /// What was current `age` ago or earlier, as late as it is known.
    pub(crate) fn before(&mut self, now: Instant, age: Duration) -> Option<IdleSince> {
        while self.0.get(1).is_some_and(|(at, _)| now.duration_since(*at) >= age) {
            self.0.pop_front();
        }
        self.0.front().filter(|(at, _)| now.duration_since(*at) >= age).map(|(_, since)| *since)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_current_long_enough_ago_is_known_and_nothing_younger() {
        let (mut past, start, second) = (Past::default(), Instant::now(), Duration::from_secs(1));
        for n in 0..20_000u32 {
            let now = start + second * n;
            past.note(now, IdleSince { seq: n.into(), look: n });
            let found = past.before(now, second * 3_000).map(|since| since.seq);
            assert_eq!(found, n.checked_sub(3_000).map(u64::from));
        }
        let (mut past, mut greatest) = (Past::default(), 0);
        for n in 0..20_000u32 {
            let now = start + second * n;
            past.note(now, IdleSince { seq: n.into(), look: n });
            if let Some(since) = past.before(now, second * 10_000) {
                assert!(since.seq + 10_000 <= n.into(), "too early");
                greatest = since.seq;
            }
        }
        assert!(greatest > 0 && past.0.len() <= MOMENTS, "longer than moments are kept: later, but not never");
    }

    #[test]
    fn near_the_limit_few_are_enough() {
        let limits = IdleLimits { after: Duration::ZERO, series_max: 1_000, label_bytes_max: 8_000 };
        assert_eq!([0, 749, 750, 1_000].map(|n| limits.enough_of(n, 5_999)), [64, 64, 1, 1]);
        assert_eq!(limits.enough_of(9, 6_000), 1, "so are they where labels are near theirs");
        let limits = IdleLimits { series_max: 1 << 30, ..limits };
        assert_eq!([1_600, 1 << 20].map(|n| limits.enough_of(n, 0)), [100, 1 << 16], "a share of what there is");
    }
}
