//! What all queries of one engine hold together, and whether they stand back: each may keep within its own limits, and
//! many at a time could still take all the memory there is.
//!
//! Atomics that count and order nothing else, so all accesses are relaxed.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use super::Limit;
use crate::QueryError;

/// Hears how long an answer took.
type Hear = dyn Fn(Duration) + Send + Sync;

/// The memory that queries hold together, with one bound for all of them. Cheap to clone; clones are the same ledger.
///
/// A [`Budget`](crate::Budget) [made for it](crate::Budget::charged_to) charges every byte twice: against its own
/// limit, and here.
#[derive(Clone)]
pub struct Ledger(Arc<Inner>);

struct Inner {
    bytes_max: u64,
    bytes: AtomicU64,
    peak: AtomicU64,
    refused: AtomicU64,
    pressed: AtomicBool,
    paused_ns: AtomicU64,
    hear: Option<Box<Hear>>,
}

impl Ledger {
    /// A ledger whose queries hold at most `bytes_max` bytes together.
    #[must_use]
    pub fn new(bytes_max: u64) -> Self {
        Self::make(bytes_max, None)
    }

    /// As [`Ledger::new`]; how long each answer took is told to `hear`, by the thread that worked on it.
    #[must_use]
    pub fn heard_by(bytes_max: u64, hear: impl Fn(Duration) + Send + Sync + 'static) -> Self {
        Self::make(bytes_max, Some(Box::new(hear)))
    }

    fn make(bytes_max: u64, hear: Option<Box<Hear>>) -> Self {
        let (bytes, peak, refused) = (AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0));
        let (pressed, paused_ns) = (AtomicBool::new(false), AtomicU64::new(0));
        Self(Arc::new(Inner { bytes_max, bytes, peak, refused, pressed, paused_ns, hear }))
    }

    /// Bytes that all of them may hold.
    #[must_use]
    pub fn bytes_max(&self) -> u64 {
        self.0.bytes_max
    }

    /// Bytes held now.
    #[must_use]
    pub fn bytes_held(&self) -> u64 {
        self.0.bytes.load(Relaxed)
    }

    /// The most bytes that were held at one time.
    #[must_use]
    pub fn bytes_peak(&self) -> u64 {
        self.0.peak.load(Relaxed)
    }

    /// Queries that ended because all of them together would have held too much.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.0.refused.load(Relaxed)
    }

    /// Says whether the store takes in more than it keeps up with beside its queries. While it does they stand back:
    /// each pauses after each piece of work, so that processors are left for what comes in.
    pub fn press(&self, pressed: bool) {
        // Written only if it changes: every query reads it.
        if self.is_pressed() != pressed {
            self.0.pressed.store(pressed, Relaxed);
        }
    }

    /// Whether queries stand back now.
    #[must_use]
    pub fn is_pressed(&self) -> bool {
        self.0.pressed.load(Relaxed)
    }

    /// For how long they have stood back, all together.
    #[must_use]
    pub fn time_paused(&self) -> Duration {
        Duration::from_nanos(self.0.paused_ns.load(Relaxed))
    }

    /// One of them pauses.
    pub(super) fn paused(&self, pause: Duration) {
        self.0.paused_ns.fetch_add(u64::try_from(pause.as_nanos()).unwrap_or(u64::MAX), Relaxed);
    }

    /// Takes `more` bytes, or none of them.
    pub(super) fn take(&self, more: u64) -> Result<(), QueryError> {
        let Inner { bytes, bytes_max, peak, .. } = &*self.0;
        let within = |held: u64| held.checked_add(more).filter(|all| all <= bytes_max);
        // Not added first and taken back if too much: a neighbour would be refused meanwhile for what nobody holds.
        match bytes.fetch_update(Relaxed, Relaxed, within) {
            Ok(before) => {
                peak.fetch_max(before + more, Relaxed);
                Ok(())
            }
            Err(_) => Err(QueryError::LimitExceeded { which: Limit::SharedMemory, limit: *bytes_max }),
        }
    }

    pub(super) fn give_back(&self, bytes: u64) {
        self.0.bytes.fetch_sub(bytes, Relaxed);
    }

    /// One query was refused.
    pub(super) fn refuse(&self) {
        self.0.refused.fetch_add(1, Relaxed);
    }

    /// One query was answered.
    pub(super) fn hear(&self, took: Duration) {
        if let Some(hear) = &self.0.hear {
            hear(took);
        }
    }
}

impl fmt::Debug for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ledger")
            .field("bytes_max", &self.bytes_max())
            .field("bytes_held", &self.bytes_held())
            .field("bytes_peak", &self.bytes_peak())
            .field("refused", &self.refused())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_threads_never_hold_more_than_is_allowed() {
        let ledger = Ledger::new(100);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for more in (1..=60).cycle().take(20_000) {
                        if ledger.take(more).is_ok() {
                            assert!(ledger.bytes_held() <= 100);
                            ledger.give_back(more);
                        }
                    }
                });
            }
        });
        assert_eq!(ledger.bytes_held(), 0);
        assert!((60..=100).contains(&ledger.bytes_peak()), "{ledger:?}");
    }

    #[test]
    fn what_does_not_fit_takes_nothing() {
        let ledger = Ledger::new(100);
        ledger.take(100).unwrap();
        for more in [1, u64::MAX] {
            assert!(matches!(
                ledger.take(more),
                Err(QueryError::LimitExceeded { which: Limit::SharedMemory, limit: 100 })
            ));
        }
        ledger.give_back(100);
        assert_eq!((ledger.bytes_held(), ledger.bytes_peak()), (0, 100));
    }
}
