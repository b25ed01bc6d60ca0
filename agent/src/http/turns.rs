//! How many requests for data run at a time; the others wait for their turn, and not for ever.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::reply::ApiError;
use crate::own::Counters;

/// How long a request waits for its turn before it is told to come back.
const WAIT_MAX: Duration = Duration::from_secs(10);

pub(super) struct Turns {
    free: Arc<Semaphore>,
    all: usize,
    wait_max: Duration,
    counters: Arc<Counters>,
}

/// Until dropped, one request runs.
pub(super) struct Turn {
    _permit: OwnedSemaphorePermit,
    _counted: Counted,
}

/// Counts one more while it is there.
struct Counted(Arc<Counters>, fn(&Counters) -> &AtomicU64);

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
        Self { free: Arc::new(Semaphore::new(all)), all, wait_max: WAIT_MAX, counters }
    }

    /// Waits for a turn.
    pub(super) async fn take(&self) -> Result<Turn, ApiError> {
        if let Some(turn) = self.take_at_once() {
            return Ok(turn);
        }
        let waiting = Counted::new(&self.counters, |c| &c.waiting);
        let permit = tokio::time::timeout(self.wait_max, Arc::clone(&self.free).acquire_owned()).await;
        drop(waiting);
        match permit {
            Ok(Ok(permit)) => Ok(self.turn(permit)),
            Ok(Err(_)) => Err(ApiError::Unavailable("the agent is stopping".to_owned())),
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
        Arc::clone(&self.free).try_acquire_owned().ok().map(|permit| self.turn(permit))
    }

    fn turn(&self, permit: OwnedSemaphorePermit) -> Turn {
        Turn { _permit: permit, _counted: Counted::new(&self.counters, |c| &c.running) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_waits_in_vain_is_told_to_come_back_and_counted() {
        let counters = Arc::new(Counters::new());
        let read = |which: fn(&Counters) -> &AtomicU64| which(&counters).load(Relaxed);
        let turns = Turns { wait_max: Duration::ZERO, ..Turns::new(2, Arc::clone(&counters)) };
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
        let text = crate::own::text(&crate::own::measure(&tidegauge::Engine::in_memory().unwrap(), &counters));
        assert!(text.contains("\ntidegauge_queries_turned_away_total 1\n"), "{text}");
    }
}
