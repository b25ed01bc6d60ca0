//! Work off the threads that serve connections.

use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::task::{JoinError, JoinHandle};

use crate::panic;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotDone {
    /// The work was not begun, and will not be.
    #[error("no thread for this ({0}): try again, or {allow}", allow = panic::ALLOW_THREADS)]
    NoThread(String),
    #[error("internal error: {0}")]
    Panicked(JoinError),
}

/// Runs `work` on a thread that may block, from its first poll on, whether it is polled again or not.
pub(crate) async fn run<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, NotDone> {
    let done = begin(work)?.await.map_err(NotDone::Panicked)?;
    Ok(done.expect("what was begun is done once"))
}

/// As [`run`], for work whose end nobody waits for.
///
/// Where the system gives no thread the runtime panics, and has the work in its queue nevertheless: whichever thread comes
/// next would do it, long after it was refused, and what it holds would be held until then. So the queue gets an empty
/// hand: what was refused is dropped here.
pub(crate) fn begin<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<JoinHandle<Option<T>>, NotDone> {
    let work = Arc::new(Mutex::new(Some(work)));
    let theirs = Arc::clone(&work);
    let take = |work: &Mutex<Option<_>>| work.lock().unwrap_or_else(PoisonError::into_inner).take();
    let spawned = std::panic::catch_unwind(AssertUnwindSafe(|| {
        tokio::task::spawn_blocking(move || {
            let work = take(&theirs);
            work.map(|work| work())
        })
    }));
    spawned.map_err(|payload| {
        // Another thread may have been that quick: then it is being done, and that is no refusal.
        if take(&work).is_none() || !panic::is_out_of_threads(panic::message(&*payload)) {
            std::panic::resume_unwind(payload);
        }
        NotDone::NoThread(panic::message(&*payload).to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// No system has room for such a stack, which is the same error as that of too many threads.
    pub(crate) fn without_threads() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread().enable_all().thread_stack_size(1 << 50).build().unwrap()
    }

    #[test]
    fn what_gets_no_thread_is_dropped_and_never_done() {
        let runtime = without_threads();
        let held = Arc::new(());
        let refused = runtime.block_on(run({
            let held = Arc::clone(&held);
            move || drop(held)
        }));
        assert!(matches!(refused, Err(NotDone::NoThread(_))), "{refused:?}");
        assert_eq!(Arc::strong_count(&held), 1, "it is still waiting for a thread");
        let why = refused.unwrap_err().to_string();
        assert!(why.contains("try again") && why.contains("ulimit -u"), "{why}");
    }

    #[test]
    fn what_panics_is_told() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let panicked = runtime.block_on(run(|| panic!("as asked")));
        assert!(matches!(panicked, Err(NotDone::Panicked(_))), "{panicked:?}");
        assert_eq!(runtime.block_on(run(|| 7)).unwrap(), 7);
    }
}
