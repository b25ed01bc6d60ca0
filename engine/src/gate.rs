//! What lets a sample in: one load on the hot path answers "open, and not too far ahead".

use std::time::Duration;

use crate::clock;
use crate::error::{Poisoned, PushError};
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicI64, Ordering};

/// Why nothing is let in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Shut {
    DiskFull,
    Closed,
    ReadOnly,
    Poisoned(Poisoned),
}

/// Open or shut, and up to which timestamp.
pub(crate) struct Gate {
    /// Timestamps below this are let in; `i64::MIN` while the gate is shut.
    horizon: AtomicI64,
    shut: Mutex<Option<Shut>>,
    max_ahead: Duration,
}

impl Gate {
    pub(crate) fn new(max_ahead: Duration) -> Self {
        let gate = Self { horizon: AtomicI64::new(i64::MIN), shut: Mutex::new(None), max_ahead };
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
        let shut = self.shut.lock().expect("gate lock");
        if shut.is_none() {
            self.horizon.store(self.horizon_now(), Ordering::Relaxed);
        }
    }

    fn horizon_now(&self) -> i64 {
        let ahead = i64::try_from(self.max_ahead.as_nanos()).unwrap_or(i64::MAX);
        clock::now().nanos().saturating_add(ahead).saturating_add(1)
    }

    /// Shuts the gate. Poison stays; closed gives way to nothing but poison.
    pub(crate) fn shut(&self, why: Shut) {
        let mut shut = self.shut.lock().expect("gate lock");
        self.horizon.store(i64::MIN, Ordering::Relaxed);
        let keep = match &*shut {
            Some(Shut::Poisoned(_)) => true,
            Some(Shut::Closed | Shut::ReadOnly) => !matches!(why, Shut::Poisoned(_)),
            Some(Shut::DiskFull) | None => false,
        };
        if !keep {
            *shut = Some(why);
        }
    }

    /// Opens the gate again after a full disk; other causes stay.
    pub(crate) fn space_is_back(&self) {
        let mut shut = self.shut.lock().expect("gate lock");
        if *shut == Some(Shut::DiskFull) {
            *shut = None;
            self.horizon.store(self.horizon_now(), Ordering::Relaxed);
        }
    }

    pub(crate) fn why_shut(&self) -> Option<Shut> {
        self.shut.lock().expect("gate lock").clone()
    }

    /// The poison, if that is why.
    pub(crate) fn poisoned(&self) -> Option<Poisoned> {
        match self.why_shut() {
            Some(Shut::Poisoned(poisoned)) => Some(poisoned),
            _ => None,
        }
    }

    /// Why a sample of this timestamp was not admitted; `None` if by now it would be.
    #[cold]
    pub(crate) fn refusal(&self, timestamp: i64) -> Option<PushError> {
        match self.why_shut() {
            Some(Shut::DiskFull) => Some(PushError::DiskFull),
            Some(Shut::Closed) => Some(PushError::Closed),
            Some(Shut::ReadOnly) => Some(PushError::ReadOnly),
            Some(Shut::Poisoned(poisoned)) => Some(poisoned.into()),
            None if self.admits(timestamp) => None,
            // The coarse clock may be behind when the worker is busy: ask the real one.
            None if timestamp < self.horizon_now() => None,
            None => Some(PushError::TooFarAhead { timestamp, max_ahead: self.max_ahead }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timestamp_ahead_of_the_clock_is_refused_with_its_reason() {
        let gate = Gate::new(Duration::from_secs(600));
        let now = clock::now().nanos();
        assert!(gate.admits(i64::MIN) && gate.admits(now + 599_000_000_000));
        assert!(!gate.admits(now + 700_000_000_000));
        assert!(matches!(gate.refusal(now + 700_000_000_000), Some(PushError::TooFarAhead { .. })));
    }

    #[test]
    fn poison_outlives_every_other_cause_and_a_full_disk_ends() {
        let gate = Gate::new(Duration::ZERO);
        gate.shut(Shut::DiskFull);
        assert_eq!(gate.refusal(0), Some(PushError::DiskFull));
        gate.refresh();
        assert!(!gate.admits(0), "a shut gate stays shut when the clock moves");
        gate.space_is_back();
        assert!(gate.admits(0));
        let poisoned = Poisoned { cause: "disk".into() };
        gate.shut(Shut::Poisoned(poisoned.clone()));
        gate.shut(Shut::Closed);
        gate.space_is_back();
        assert_eq!(gate.poisoned(), Some(poisoned));
    }
}
