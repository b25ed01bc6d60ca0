//! What the handlers count.

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use tidegauge::Quantiles;

use super::handlers::Handlers;

/// Relaxed throughout: each number is right by itself.
#[derive(Debug)]
pub(crate) struct Counters {
    began: Instant,
    writes: AtomicU64,
    written_samples: AtomicU64,
    refused_writes: AtomicU64,
    queries: AtomicU64,
    failed_queries: AtomicU64,
    query: Mutex<Histogram<u64>>,
    pub(crate) running: AtomicU64,
    pub(crate) waiting: AtomicU64,
    turned_away: AtomicU64,
    slow_clients: AtomicU64,
    made_room: AtomicU64,
    pub(crate) body_bytes: AtomicU64,
    bodies_refused: AtomicU64,
    pub(crate) handlers: Handlers,
    /// Where the log is, if there is one on a disk.
    pub(super) log_dir: Option<PathBuf>,
}

/// The counters at one moment.
#[derive(Debug)]
pub(super) struct Seen {
    pub(super) uptime: Duration,
    pub(super) writes: u64,
    pub(super) written_samples: u64,
    pub(super) refused_writes: u64,
    pub(super) queries: u64,
    pub(super) failed_queries: u64,
    pub(super) query: Quantiles,
    pub(super) running: u64,
    pub(super) waiting: u64,
    pub(super) turned_away: u64,
    pub(super) slow_clients: u64,
    pub(super) made_room: u64,
    pub(super) body_bytes: u64,
    pub(super) bodies_refused: u64,
}

impl Counters {
    pub(crate) fn new() -> Self {
        // Up to an hour, two significant digits: some kilobytes.
        let query = Histogram::new_with_bounds(1, 3_600_000_000_000, 2).expect("constant bounds");
        Self {
            began: Instant::now(),
            writes: AtomicU64::new(0),
            written_samples: AtomicU64::new(0),
            refused_writes: AtomicU64::new(0),
            queries: AtomicU64::new(0),
            failed_queries: AtomicU64::new(0),
            query: Mutex::new(query),
            running: AtomicU64::new(0),
            waiting: AtomicU64::new(0),
            turned_away: AtomicU64::new(0),
            slow_clients: AtomicU64::new(0),
            made_room: AtomicU64::new(0),
            body_bytes: AtomicU64::new(0),
            bodies_refused: AtomicU64::new(0),
            handlers: Handlers::default(),
            log_dir: None,
        }
    }

    /// Of an agent whose store is in `data_dir`.
    pub(crate) fn beside(data_dir: &Path) -> Self {
        Self { log_dir: Some(data_dir.join("wal")), ..Self::new() }
    }

    /// A remote-write request was handled, and `samples` were taken.
    pub(crate) fn wrote(&self, samples: u64, refused: bool) {
        self.writes.fetch_add(1, Relaxed);
        self.written_samples.fetch_add(samples, Relaxed);
        self.refused_writes.fetch_add(u64::from(refused), Relaxed);
    }

    /// A request waited in vain for its turn.
    pub(crate) fn turned_away(&self) {
        self.turned_away.fetch_add(1, Relaxed);
    }

    /// A client took too long over its answer.
    pub(crate) fn slow_client(&self) {
        self.slow_clients.fetch_add(1, Relaxed);
    }

    /// A connection without a request was ended for a new one.
    pub(crate) fn made_room(&self) {
        self.made_room.fetch_add(1, Relaxed);
    }

    /// A body found no room beside others.
    pub(crate) fn body_refused(&self) {
        self.bodies_refused.fetch_add(1, Relaxed);
    }

    /// A query was evaluated.
    pub(crate) fn query(&self, took: Duration, answered: bool) {
        self.queries.fetch_add(1, Relaxed);
        self.failed_queries.fetch_add(u64::from(!answered), Relaxed);
        if let Ok(mut query) = self.query.lock() {
            query.saturating_record(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX).max(1));
        }
    }

    /// How many, so far.
    #[cfg(test)]
    pub(crate) fn slow_clients(&self) -> u64 {
        self.slow_clients.load(Relaxed)
    }

    /// How many, so far.
    #[cfg(test)]
    pub(crate) fn rooms_made(&self) -> u64 {
        self.made_room.load(Relaxed)
    }

    /// How many, so far.
    #[cfg(test)]
    pub(crate) fn bodies_refused(&self) -> u64 {
        self.bodies_refused.load(Relaxed)
    }

    pub(super) fn read(&self) -> Seen {
        let mut quantiles = Quantiles::default();
        if let Ok(query) = self.query.lock() {
            let at = |q| query.value_at_quantile(q);
            quantiles =
                Quantiles { count: query.len(), p50: at(0.5), p99: at(0.99), p999: at(0.999), max: query.max() };
        }
        Seen {
            uptime: self.began.elapsed(),
            writes: self.writes.load(Relaxed),
            written_samples: self.written_samples.load(Relaxed),
            refused_writes: self.refused_writes.load(Relaxed),
            queries: self.queries.load(Relaxed),
            failed_queries: self.failed_queries.load(Relaxed),
            query: quantiles,
            running: self.running.load(Relaxed),
            waiting: self.waiting.load(Relaxed),
            turned_away: self.turned_away.load(Relaxed),
            slow_clients: self.slow_clients.load(Relaxed),
            made_room: self.made_room.load(Relaxed),
            body_bytes: self.body_bytes.load(Relaxed),
            bodies_refused: self.bodies_refused.load(Relaxed),
        }
    }
}
