//! How many requests for data run at a time; the others wait for their turn, and not for ever.
//!
//! Long ones may have all the turns. So who finds none free gets a *try*, if it can be asked twice: it runs at once,
//! within bounds that only a short one keeps, and waits for its turn if it turns out not to be one.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use tidegauge::query::QueryLimits;
use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore};

use super::reply::ApiError;
use crate::own::Counters;

/// How long a request waits for its turn before it is told to come back.
const WAIT_MAX: Duration = Duration::from_secs(10);
/// Tries at a time, beside the turns.
const TRIES: usize = 4;
/// What is short.
const TRY: QueryLimits =
    QueryLimits { samples: 2_000_000, memory_bytes: 32 << 20, time: Duration::from_secs(1), series: 100_000 };

pub(super) struct Turns {
    free: Arc<Semaphore>,
    tries: Arc<Semaphore>,
    all: usize,
    wait_max: Duration,
    counters: Arc<Counters>,
}

/// Until dropped, one request runs.
pub(super) struct Turn {
    lane: Lane,
    _permit: OwnedSemaphorePermit,
    _counted: Counted,
}

/// How far a request may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lane {
    /// As far as it is allowed to.
    Turn,
    /// As far as a short one does.
    Try,
}

impl Lane {
    /// Never more than `limits`.
    pub(super) fn bound(self, limits: QueryLimits) -> QueryLimits {
        match self {
            Self::Turn => limits,
            Self::Try => QueryLimits {
                samples: limits.samples.min(TRY.samples),
                memory_bytes: limits.memory_bytes.min(TRY.memory_bytes),
                time: limits.time.min(TRY.time),
                series: limits.series.min(TRY.series),
            },
        }
    }

    /// Whether such an error may be one of the bounds of a try, so that it says nothing yet.
    pub(super) fn may_be_out_of_bounds(self, error: &ApiError) -> bool {
        self == Self::Try && matches!(error, ApiError::Timeout(_) | ApiError::Execution(_))
    }
}

/// Counts one more while it is there.
pub(super) struct Counted(Arc<Counters>, fn(&Counters) -> &AtomicU64);

impl Counted {
    fn new(counters: &Arc<Counters>, which: fn(&Counters) -> &AtomicU64) -> Self {
        which(counters).fetch_add(1, Relaxed);
        Self(Arc::clone(counters), which)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        (self.1)(&self.0).fetch_sub(1, Relaxed);
    }
}

impl Turns {
    pub(super) fn new(all: usize, counters: Arc<Counters>) -> Self {
        let [free, tries] = [all, TRIES].map(|permits| Arc::new(Semaphore::new(permits)));
        Self { free, tries, all, wait_max: WAIT_MAX, counters }
    }

    /// As [`new`](Self::new), but nobody waits.
    #[cfg(test)]
    pub(super) fn impatient(all: usize, counters: Arc<Counters>) -> Self {
        Self { wait_max: Duration::ZERO, ..Self::new(all, counters) }
    }

    /// Waits for a turn.
    pub(super) async fn take(&self) -> Result<Turn, ApiError> {
        if let Some(turn) = self.take_at_once() {
            return Ok(turn);
        }
        self.wait(async { (Arc::clone(&self.free).acquire_owned().await, Lane::Turn) }).await
    }

    /// Waits for a turn or for a try, whichever is first.
    pub(super) async fn take_or_try(&self) -> Result<Turn, ApiError> {
        if let Some(turn) = self.take_at_once() {
            return Ok(turn);
        }
        let either = async {
            tokio::select! {
                biased;
                turn = Arc::clone(&self.free).acquire_owned() => (turn, Lane::Turn),
                place = Arc::clone(&self.tries).acquire_owned() => (place, Lane::Try),
            }
        };
        self.wait(either).await
    }

    async fn wait(
        &self,
        place: impl Future<Output = (Result<OwnedSemaphorePermit, AcquireError>, Lane)>,
    ) -> Result<Turn, ApiError> {
        let waiting = Counted::new(&self.counters, |c| &c.waiting);
        let place = tokio::time::timeout(self.wait_max, place).await;
        drop(waiting);
        match place {
            Ok((Ok(permit), lane)) => Ok(self.turn(permit, lane)),
            Ok((Err(_), _)) => Err(ApiError::Unavailable("the agent is stopping".to_owned())),
            Err(_) => {
                self.counters.turned_away();
                Err(ApiError::Unavailable(format!(
                    "{} requests for data run already (--query-concurrency), and none ended within {} s: try again later",
                    self.all,
                    self.wait_max.as_secs()
                )))
            }
        }
    }

    /// A turn, if one is free now.
    pub(super) fn take_at_once(&self) -> Option<Turn> {
        Arc::clone(&self.free).try_acquire_owned().ok().map(|permit| self.turn(permit, Lane::Turn))
    }

    /// Counts a request that needs no turn, since it blocks nobody: it runs until that is dropped.
    pub(super) fn without(&self) -> Counted {
        Counted::new(&self.counters, |c| &c.running)
    }

    fn turn(&self, permit: OwnedSemaphorePermit, lane: Lane) -> Turn {
        Turn { lane, _permit: permit, _counted: self.without() }
    }
}

impl Turn {
    pub(super) fn lane(&self) -> Lane {
        self.lane
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_waits_in_vain_is_told_to_come_back_and_counted() {
        let counters = Arc::new(Counters::new());
        let read = |which: fn(&Counters) -> &AtomicU64| which(&counters).load(Relaxed);
        let turns = Turns::impatient(2, Arc::clone(&counters));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let first = turns.take().await.unwrap();
            let second = turns.take_at_once().unwrap();
            assert_eq!(read(|c| &c.running), 2);
            assert!(turns.take_at_once().is_none());
            let Err(ApiError::Unavailable(why)) = turns.take().await else { panic!("there was no turn") };
            assert!(why.contains("2 requests") && why.contains("--query-concurrency"), "{why}");
            drop(first);
            let patient = Turns { wait_max: Duration::from_secs(30), ..turns };
            let third = patient.take().await.unwrap();
            // One who waits gets the turn of one who ends.
            let (fourth, ()) = tokio::join!(patient.take(), async {
                assert_eq!(read(|c| &c.waiting), 1);
                drop(second);
            });
            assert_eq!((read(|c| &c.running), read(|c| &c.waiting)), (2, 0));
            drop((third, fourth));
            assert_eq!(read(|c| &c.running), 0);
        });
        runtime.block_on(async {
            let turns = Turns::impatient(1, Arc::clone(&counters));
            let turn = turns.take_or_try().await.unwrap();
            assert_eq!(turn.lane(), Lane::Turn);
            let mut tries = Vec::new();
            for _ in 0..TRIES {
                tries.push(turns.take_or_try().await.unwrap());
            }
            assert!(tries.iter().all(|turn| turn.lane() == Lane::Try));
            assert!(turns.take_or_try().await.is_err());
            drop(turn);
            assert_eq!(turns.take_or_try().await.unwrap().lane(), Lane::Turn, "better than a try");
        });
        let text = crate::own::text(&crate::own::measure(&tidegauge::Engine::in_memory().unwrap(), &counters));
        assert!(text.contains("\ntidegauge_queries_turned_away_total 2\n"), "{text}");
    }
}
