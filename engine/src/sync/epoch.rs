//! Deferred freeing: what a reader may still hold is freed once no such reader is left.
//!
//! [`pin`] gives a guard. Memory that was unlinked before [`Guard::defer_unchecked`] is called on it is reached by no
//! guard taken later, and is freed when every guard that was out at the call is gone.
//! Outside models this is crossbeam-epoch. Its guards cost a few nanoseconds and a fence, and a guard held for long
//! holds back everything deferred after it.

#[cfg(not(loom))]
#[allow(unreachable_pub)]
pub use crossbeam_epoch::{Guard, pin};

#[cfg(loom)]
pub use stand_in::{Guard, pin};

/// Frees what was deferred before this call by threads that have let go of their guards, all but the last few dozen
/// pieces of each. Each turn of crossbeam's frees 512 at most, and a memtable of short tails leaves a million.
///
/// Some microseconds a turn. Gives up where a guard that is out holds the rest back.
#[cfg(not(loom))]
pub(crate) fn settle() {
    use super::Arc;
    use super::atomic::{AtomicBool, Ordering};
    /// Enough for 32 million pieces.
    const TURNS: u32 = 1 << 16;
    let is_last_freed = Arc::new(AtomicBool::new(false));
    let last = Arc::clone(&is_last_freed);
    // Freed in the order in which it came, so this is the last.
    pin().defer(move || last.store(true, Ordering::Relaxed));
    for _ in 0..TURNS {
        pin().flush();
        // Relaxed: only tells when to stop.
        if is_last_freed.load(Ordering::Relaxed) {
            return;
        }
    }
}

/// Guards are counted under a mutex, and deferred work runs when the last one goes: later than crossbeam's epochs
/// would at times, never sooner.
#[cfg(loom)]
#[allow(unsafe_code, unreachable_pub)]
mod stand_in {
    use loom::sync::Mutex;

    struct Deferred(Box<dyn FnOnce()>);

    // SAFETY: whoever deferred it promised, by `defer_unchecked`, that any thread may run it.
    unsafe impl Send for Deferred {}

    #[derive(Default)]
    struct State {
        guards: usize,
        deferred: Vec<Deferred>,
    }

    loom::lazy_static! {
        static ref STATE: Mutex<State> = Mutex::new(State::default());
    }

    /// While it lives, nothing that was reachable when it was taken is freed.
    pub struct Guard(());

    /// Takes a guard.
    pub fn pin() -> Guard {
        STATE.lock().expect("no panic while it is held").guards += 1;
        Guard(())
    }

    impl Guard {
        /// Runs `f` when no guard is left that was taken before this call.
        ///
        /// # Safety
        /// Any thread may run `f`, and what it captures stays valid until then.
        pub unsafe fn defer_unchecked<F: FnOnce() -> R, R>(&self, f: F) {
            let boxed: Box<dyn FnOnce() + '_> = Box::new(move || drop(f()));
            // SAFETY: only the lifetime changes, and the caller promised that the captures last.
            let boxed = unsafe { std::mem::transmute::<Box<dyn FnOnce() + '_>, Box<dyn FnOnce()>>(boxed) };
            STATE.lock().expect("no panic while it is held").deferred.push(Deferred(boxed));
        }
    }

    impl Drop for Guard {
        fn drop(&mut self) {
            let due = {
                let mut state = STATE.lock().expect("no panic while it is held");
                state.guards -= 1;
                if state.guards == 0 { std::mem::take(&mut state.deferred) } else { Vec::new() }
            };
            for deferred in due {
                (deferred.0)();
            }
        }
    }
}
