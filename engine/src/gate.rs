//! What lets a sample in: one load on the hot path answers "open, and not too far ahead".

use std::io;
use std::time::Duration;

use tidegauge_storage::fs::{is_out_of_files, is_out_of_memory};
use tidegauge_storage::model::Labels;

use crate::clock;
use crate::error::{Poisoned, PushError};
use crate::sync::atomic::{AtomicI64, Ordering};
use crate::sync::{Mutex, Process};

/// What writing has run out of. It comes back, and writing resumes by itself then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Shortage {
    /// Space on the disk: make some.
    Space,
    /// Files that may be open at a time: raise the limit (`ulimit -n`; of the whole machine `fs.file-max`).
    Files,
    /// Memory, addresses or maps for a segment that was written: free some, or raise the limit (`ulimit -v`,
    /// `vm.max_map_count`).
    Memory,
}

impl Shortage {
    /// Of an error that says that something has run out.
    pub(crate) fn of(error: &io::Error) -> Self {
        if is_out_of_files(error) {
            Self::Files
        } else if is_out_of_memory(error) {
            Self::Memory
        } else {
            Self::Space
        }
    }
}

/// Why nothing is let in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Shut {
    Short(Shortage),
    Closed,
    ReadOnly,
    Poisoned(Poisoned),
}

/// Who found the disk full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Full {
    /// The gate stays shut until there is space.
    Log,
    /// Segments: a flush waits. The gate stays shut if there is nowhere else for samples to go.
    Segments { refuses: bool },
    /// An fdatasync of the log, which waits: the gate stays open.
    Sync,
    /// The worker, for the next push: nothing is waiting for it yet. The gate stays shut until there is space (X11).
    NextPush,
}

#[derive(Default)]
struct State {
    shut: Option<Shut>,
    /// What the log waits for.
    log_waits: Option<Shortage>,
    /// What a flush waits for.
    flush_waits: Option<Shortage>,
    /// And nothing is let in until it has it.
    flush_refuses: bool,
    /// How often a flush has found none.
    flushes_failed: u64,
    /// What an fdatasync of the log waits for.
    sync_waits: Option<Shortage>,
    /// What the next push would wait for.
    next_would_wait: Option<Shortage>,
}

impl State {
    fn note(&mut self, whose: Full, short: Option<Shortage>) {
        match whose {
            Full::Log => self.log_waits = short,
            Full::Segments { refuses } => {
                (self.flush_waits, self.flush_refuses) = (short, short.is_some() && refuses);
                self.flushes_failed += u64::from(short.is_some());
            }
            Full::Sync => self.sync_waits = short,
            Full::NextPush => self.next_would_wait = short,
        }
    }

    /// What anybody waits for.
    fn waits_for(&self) -> Option<Shortage> {
        self.log_waits.or(self.flush_waits).or(self.sync_waits).or(self.next_would_wait)
    }

    /// What samples wait for that are there: what is to be flushed is not all of it.
    fn holds_up(&self) -> Option<Shortage> {
        self.log_waits.or(self.flush_waits.filter(|_| self.flush_refuses))
    }

    /// What samples wait for, or would.
    fn short(&self) -> Option<Shortage> {
        self.holds_up().or(self.next_would_wait)
    }
}

/// Open or shut, and up to which timestamp.
pub(crate) struct Gate {
    /// Timestamps below this are let in; `i64::MIN` while the gate is shut.
    horizon: AtomicI64,
    state: Mutex<State>,
    max_ahead: Duration,
    /// Whose the engine is.
    opened_in: Process,
}

impl Gate {
    pub(crate) fn new(max_ahead: Duration) -> Self {
        let (horizon, opened_in) = (AtomicI64::new(i64::MIN), Process::current());
        let gate = Self { horizon, state: Mutex::default(), max_ahead, opened_in };
        gate.refresh();
        gate
    }

    /// Whether a sample of this timestamp may come in now.
    #[inline]
    pub(crate) fn admits(&self, timestamp: i64) -> bool {
        // Relaxed: a coarse clock; a push that overlaps with the shutting may still get in.
        timestamp < self.horizon.load(Ordering::Relaxed)
    }

    /// Moves the horizon to the clock's now. The worker calls this about once a millisecond.
    pub(crate) fn refresh(&self) {
        let state = self.state.lock().expect("gate lock");
        if state.shut.is_none() {
            self.horizon.store(self.horizon_now(), Ordering::Relaxed);
        }
    }

    fn horizon_now(&self) -> i64 {
        let ahead = i64::try_from(self.max_ahead.as_nanos()).unwrap_or(i64::MAX);
        clock::now().nanos().saturating_add(ahead).saturating_add(1)
    }

    /// Shuts the gate. Poison stays; closed gives way to nothing but poison.
    pub(crate) fn shut(&self, why: Shut) {
        self.shut_in(&mut self.state.lock().expect("gate lock"), why);
    }

    fn shut_in(&self, state: &mut State, why: Shut) {
        self.horizon.store(i64::MIN, Ordering::Relaxed);
        let keep = match &state.shut {
            Some(Shut::Poisoned(_)) => true,
            Some(Shut::Closed | Shut::ReadOnly) => !matches!(why, Shut::Poisoned(_)),
            Some(Shut::Short(_)) | None => false,
        };
        if !keep {
            state.shut = Some(why);
        }
    }

    /// Notes that `whose` space is gone, or files may not be opened for it, and shuts the gate if that must be so.
    pub(crate) fn disk_is_full(&self, whose: Full, short: Shortage) {
        self.note(whose, Some(short));
    }

    /// Opens the gate again after a full disk, unless another one still has no space; other
    /// causes stay. Each takes back what it has noted, and nothing else.
    pub(crate) fn space_is_back(&self, whose: Full) {
        self.note(whose, None);
    }

    fn note(&self, whose: Full, short: Option<Shortage>) {
        let mut state = self.state.lock().expect("gate lock");
        state.note(whose, short);
        if let Some(short) = state.short() {
            self.shut_in(&mut state, Shut::Short(short));
        } else if matches!(state.shut, Some(Shut::Short(_))) {
            state.shut = None;
            self.horizon.store(self.horizon_now(), Ordering::Relaxed);
        }
    }

    /// What that which lies in lanes waits for: the log has no space, or a flush that must come first. `held_back`:
    /// whether the worker takes nothing before a flush.
    pub(crate) fn keeps_waiting(&self, held_back: bool) -> Option<Shortage> {
        let state = self.state.lock().expect("gate lock");
        // After a close as well: one that has no end (X13) tells nobody else that it has given up.
        let is_short = matches!(state.shut, Some(Shut::Short(_) | Shut::Closed));
        let waits = state.log_waits.or(state.flush_waits.filter(|_| state.flush_refuses && held_back));
        waits.filter(|_| is_short)
    }

    /// What shuts the gate to samples that are there already, so that no flush has all of them. That the next push would
    /// find no space is no such thing: what is there is flushed.
    pub(crate) fn holds_up(&self) -> Option<Shortage> {
        self.state.lock().expect("gate lock").holds_up()
    }

    /// What a flush waits for, be the gate shut or not.
    pub(crate) fn flush_waits(&self) -> Option<Shortage> {
        self.state.lock().expect("gate lock").flush_waits
    }

    /// What an fdatasync of the log waits for.
    pub(crate) fn sync_waits(&self) -> Option<Shortage> {
        self.state.lock().expect("gate lock").sync_waits
    }

    /// What the log, one of its syncs, a flush or the next push waits for, or waited for when the engine ended.
    pub(crate) fn waits_for(&self) -> Option<Shortage> {
        self.state.lock().expect("gate lock").waits_for()
    }

    /// The same, and nothing once the engine is closed or poisoned: nobody resumes then.
    pub(crate) fn short(&self) -> Option<Shortage> {
        let state = self.state.lock().expect("gate lock");
        state.waits_for().filter(|_| matches!(state.shut, None | Some(Shut::Short(_))))
    }

    /// How often a flush has found no space.
    pub(crate) fn flushes_failed(&self) -> u64 {
        self.state.lock().expect("gate lock").flushes_failed
    }

    /// Whether this process is a child of the one that opened the engine: none of its threads is here, and what they held
    /// when it was forked, locks among it, is held for ever.
    #[inline]
    pub(crate) fn is_forked(&self) -> bool {
        self.opened_in.is_left()
    }

    /// What is answered in such a child, before anything is locked.
    #[inline]
    pub(crate) fn not_in_child(&self) -> Result<(), Poisoned> {
        if self.is_forked() { Err(Poisoned::by_fork()) } else { Ok(()) }
    }

    pub(crate) fn why_shut(&self) -> Option<Shut> {
        if let Err(poisoned) = self.not_in_child() {
            return Some(Shut::Poisoned(poisoned));
        }
        self.state.lock().expect("gate lock").shut.clone()
    }

    /// The poison, if that is why.
    pub(crate) fn poisoned(&self) -> Option<Poisoned> {
        match self.why_shut() {
            Some(Shut::Poisoned(poisoned)) => Some(poisoned),
            _ => None,
        }
    }

    /// Why a sample of this timestamp was not admitted; `None` if by now it would be. `series` is asked for the labels
    /// that the refusal names.
    #[cold]
    pub(crate) fn refusal(&self, timestamp: i64, series: impl FnOnce() -> Option<Labels>) -> Option<PushError> {
        match self.why_shut() {
            Some(Shut::Short(short)) => Some(short.into()),
            Some(Shut::Closed) => Some(PushError::Closed),
            Some(Shut::ReadOnly) => Some(PushError::ReadOnly),
            Some(Shut::Poisoned(poisoned)) => Some(poisoned.into()),
            None if self.admits(timestamp) => None,
            // The coarse clock may be behind when the worker is busy: ask the real one.
            None if timestamp < self.horizon_now() => None,
            None => Some(match series() {
                Some(series) => PushError::TooFarAhead { series, timestamp, max_ahead: self.max_ahead },
                None => PushError::StaleSeries,
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use tidegauge_storage::model::LabelLimits;

    use super::*;

    #[test]
    fn a_timestamp_ahead_of_the_clock_is_refused_with_its_reason() {
        let gate = Gate::new(Duration::from_secs(600));
        let now = clock::now().nanos();
        assert!(gate.admits(i64::MIN) && gate.admits(now + 599_000_000_000));
        assert!(!gate.admits(now + 700_000_000_000));
        let cpu = || Some(Labels::new([("__name__", "cpu")], &LabelLimits::default()).unwrap());
        let refusal = gate.refusal(now + 700_000_000_000, cpu).unwrap();
        assert!(matches!(refusal, PushError::TooFarAhead { .. }));
        assert!(refusal.to_string().contains("cpu"), "{refusal}");
    }

    #[test]
    fn poison_outlives_every_other_cause_and_a_full_disk_ends() {
        let gate = Gate::new(Duration::ZERO);
        gate.disk_is_full(Full::Log, Shortage::Space);
        gate.disk_is_full(Full::Segments { refuses: true }, Shortage::Files);
        assert_eq!(gate.refusal(0, || None), Some(PushError::DiskFull));
        gate.space_is_back(Full::Segments { refuses: true });
        assert!(!gate.admits(0), "the log still has no space");
        assert_eq!(gate.keeps_waiting(false), Some(Shortage::Space));
        gate.refresh();
        assert!(!gate.admits(0), "a shut gate stays shut when the clock moves");
        gate.space_is_back(Full::Log);
        assert!(gate.admits(0) && gate.keeps_waiting(true).is_none());
        gate.disk_is_full(Full::Segments { refuses: true }, Shortage::Files);
        assert_eq!(gate.refusal(0, || None), Some(PushError::OutOfFiles));
        assert_eq!(gate.keeps_waiting(true), Some(Shortage::Files), "nothing is taken before the flush");
        assert_eq!(gate.keeps_waiting(false), None, "what is in a lane is taken in a moment");
        gate.disk_is_full(Full::Segments { refuses: false }, Shortage::Files);
        assert!(gate.admits(0) && gate.flush_waits().is_some(), "there is room for samples, but none for the flush");
        gate.space_is_back(Full::Segments { refuses: false });
        gate.disk_is_full(Full::Sync, Shortage::Files);
        assert!(gate.admits(0) && gate.keeps_waiting(true).is_none(), "a sync that waits holds no sample up");
        assert_eq!(gate.short(), Some(Shortage::Files));
        let poisoned = Poisoned { cause: "disk".into() };
        gate.shut(Shut::Poisoned(poisoned.clone()));
        gate.disk_is_full(Full::Log, Shortage::Space);
        assert!(gate.keeps_waiting(true).is_none(), "it waits for nothing any more");
        assert_eq!(gate.short(), None, "nobody resumes, so it would never fall");
        assert_eq!(gate.waits_for(), Some(Shortage::Space), "who closes is told why nothing could be written");
        gate.shut(Shut::Closed);
        gate.space_is_back(Full::Log);
        assert_eq!(gate.poisoned(), Some(poisoned));
    }
    /// X11: what was found out before a push shuts the gate as the push would, and each opens for itself alone.
    #[test]
    fn what_the_next_push_would_find_shuts_the_gate_and_holds_up_nothing_that_is_there() {
        let gate = Gate::new(Duration::ZERO);
        gate.disk_is_full(Full::NextPush, Shortage::Space);
        assert_eq!((gate.refusal(0, || None), gate.short()), (Some(PushError::DiskFull), Some(Shortage::Space)));
        assert_eq!((gate.keeps_waiting(true), gate.holds_up()), (None, None), "nothing is there yet");
        gate.disk_is_full(Full::Log, Shortage::Files);
        gate.space_is_back(Full::NextPush);
        assert!(!gate.admits(0), "a push that was under way waits");
        assert_eq!((gate.keeps_waiting(false), gate.holds_up()), (Some(Shortage::Files), Some(Shortage::Files)));
        gate.disk_is_full(Full::NextPush, Shortage::Space);
        for other in [Full::Log, Full::Segments { refuses: true }, Full::Sync] {
            gate.space_is_back(other);
            assert!(!gate.admits(0), "{other:?} has not shut it");
        }
        assert_eq!(gate.refusal(0, || None), Some(PushError::DiskFull), "it is space again, and no files");
        gate.space_is_back(Full::NextPush);
        assert!(gate.admits(0) && gate.short().is_none());
    }
}
