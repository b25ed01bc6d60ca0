//! Waiting for a level to be reached, without polling and without a lost wake-up.
//!
//! Protocol and invariants N1–N3: `docs/concurrency.md`, "Waiting". Models:
//! `loom-tests/tests/wait.rs`.

#[cfg(not(loom))]
mod ack;
mod ended;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::task::Waker;

#[cfg(not(loom))]
pub use ack::AckFuture;
#[cfg(not(loom))]
pub(crate) use ack::{block, block_durable};
pub use ended::Ended;

use crate::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use crate::sync::{Mutex, weakenable_fence};

/// Names one registration, so that it can be renewed or withdrawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticket(u64);

/// Those who wait for a number to be reached.
///
/// A waiter registers, then looks at the number; the one who raises the number stores it,
/// then looks for waiters. A fence on both sides: one of them sees the other (N1).
pub struct WaitList {
    entries: Mutex<Vec<Entry>>,
    /// Entries, readable without the lock.
    waiting: AtomicUsize,
    next_ticket: AtomicU64,
}

struct Entry {
    ticket: u64,
    /// Woken when the number is at or above this.
    target: u64,
    waker: Waker,
}

impl WaitList {
    /// Nobody waits.
    pub fn new() -> Self {
        Self { entries: Mutex::new(Vec::new()), waiting: AtomicUsize::new(0), next_ticket: AtomicU64::new(0) }
    }

    /// Registers before the caller looks (again) at the number (N1). A registration is used up
    /// when it is woken.
    pub fn register(&self, target: u64, waker: &Waker) -> Ticket {
        let ticket = self.next_ticket.fetch_add(1, Ordering::Relaxed);
        // Outside the lock: a waker is someone else's code (N3).
        let waker = waker.clone();
        {
            let mut entries = self.entries.lock().expect("wait list lock");
            entries.push(Entry { ticket, target, waker });
            // Relaxed, here and below: the lock orders the stores among themselves, and the fences order them against
            // the numbers (N1).
            self.waiting.store(entries.len(), Ordering::Relaxed);
        }
        // Orders the registration before the caller's look: pairs with the fence in `reached`.
        weakenable_fence!("wait_register");
        Ticket(ticket)
    }

    /// Withdraws a registration that may have been used up.
    pub fn withdraw(&self, ticket: Ticket) {
        let mut entries = self.entries.lock().expect("wait list lock");
        let at = entries.iter().position(|e| e.ticket == ticket.0);
        let withdrawn = at.map(|at| entries.swap_remove(at));
        self.waiting.store(entries.len(), Ordering::Relaxed);
        drop(entries);
        // Outside the lock: the last waker of a task may drop the task, and with it other waits (N3).
        drop(withdrawn);
    }

    /// Wakes those whose target `number` has reached. The number was stored before this call.
    pub fn reached(&self, number: u64) {
        // Orders the caller's store before this look: pairs with the fence in `register`.
        weakenable_fence!("wait_reached");
        if self.waiting.load(Ordering::Relaxed) == 0 {
            return;
        }
        let due: Vec<Entry> = {
            let mut entries = self.entries.lock().expect("wait list lock");
            let due = entries.extract_if(.., |e| e.target <= number).collect();
            self.waiting.store(entries.len(), Ordering::Relaxed);
            due
        };
        // Outside the lock: a waker may do anything.
        // And its panic is its own: the thread that tells must live.
        for entry in due {
            let _ = catch_unwind(AssertUnwindSafe(|| entry.waker.wake()));
        }
    }

    /// Wakes everybody: what they wait for may never come.
    pub fn wake_all(&self) {
        self.reached(u64::MAX);
    }

    /// Whether somebody waits. For decisions that may be late, such as when to sync.
    pub fn is_waiting(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) > 0
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::sync::Arc;
    use std::task::Wake;

    use super::*;

    /// A task that lives by its waker alone and holds a wait on the same list.
    struct Task {
        list: Arc<WaitList>,
        other: Ticket,
    }

    impl Wake for Task {
        fn wake(self: Arc<Self>) {}
    }

    impl Drop for Task {
        fn drop(&mut self) {
            self.list.withdraw(self.other);
        }
    }

    /// N3.
    #[test]
    fn withdrawing_the_last_waker_of_a_task_that_waits_too_does_not_lock_twice() {
        let list = Arc::new(WaitList::new());
        let other = list.register(2, Waker::noop());
        let waker = Waker::from(Arc::new(Task { list: Arc::clone(&list), other }));
        let ticket = list.register(1, &waker);
        drop(waker);
        list.withdraw(ticket);
        assert!(!list.is_waiting());
    }
}
