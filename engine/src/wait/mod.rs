//! Waiting for a level to be reached, without polling and without a lost wake-up.
//!
//! Protocol and invariants N1–N6: `docs/concurrency.md`, "Waiting". Models:
//! `loom-tests/tests/wait.rs`.

#[cfg(not(loom))]
mod ack;
mod durable;
mod ended;
mod entries;
#[cfg(not(loom))]
mod looks;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::task::Waker;

#[cfg(not(loom))]
pub use ack::AckFuture;
#[cfg(not(loom))]
pub(crate) use ack::{NotDurable, Pushed, block, block_durable};
pub use durable::DurableWaiters;
pub use ended::Ended;
pub use entries::Target;
use entries::{Entries, Entry};
#[cfg(not(loom))]
pub(crate) use looks::Looks;

use crate::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use crate::sync::{Mutex, expect_none_held, weakenable_fence};

/// Names one registration, so that it can be renewed or withdrawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticket(u64);

/// Those who wait for something to be reached: a number, or whatever `T` stands for.
///
/// A waiter registers, then looks at the number; the one who raises the number stores it,
/// then looks for waiters. A fence on both sides: one of them sees the other (N1).
pub struct WaitList<T: Target = u64> {
    entries: Mutex<Entries<T>>,
    /// Entries, readable without the lock.
    waiting: AtomicUsize,
    next_ticket: AtomicU64,
}

impl<T: Target> WaitList<T> {
    /// Nobody waits.
    pub fn new() -> Self {
        Self::with_tickets_from(0)
    }

    /// Lists of which the one hands entries to the other must not give out the same tickets.
    fn with_tickets_from(first: u64) -> Self {
        Self { entries: Mutex::new(Entries::new()), waiting: AtomicUsize::new(0), next_ticket: AtomicU64::new(first) }
    }

    /// Registers before the caller looks (again) at the number (N1). A registration is used up
    /// when it is woken.
    pub fn register(&self, target: T, waker: &Waker) -> Ticket {
        let ticket = Ticket(self.next_ticket.fetch_add(1, Ordering::Relaxed));
        // Outside the lock: a waker is someone else's code (N3).
        let waker = waker.clone();
        self.change(|entries| entries.add(Entry { ticket, target, waker }));
        // Orders the registration before the caller's look: pairs with the fence in `wake`.
        weakenable_fence!("wait_register");
        ticket
    }

    /// Withdraws a registration that may have been used up. Answers whether it was not.
    pub fn withdraw(&self, ticket: Ticket) -> bool {
        let withdrawn = self.change(|entries| entries.withdraw(ticket));
        // Outside the lock: the last waker of a task may drop the task, and with it other waits (N3).
        withdrawn.is_some()
    }

    /// Wakes those whose target `is_reached`, for which [`Target`]'s order holds. What makes it so was stored before this call.
    ///
    /// # Panics
    /// In debug builds, if the thread holds a lock: wakers are other people's code.
    pub fn wake(&self, is_reached: impl Fn(&T) -> bool) {
        expect_none_held();
        // Orders the caller's store before this look: pairs with the fence in `register`.
        weakenable_fence!("wait_reached");
        if !self.is_waiting() {
            return;
        }
        let due: Vec<Entry<T>> = self.change(|entries| entries.take_due(is_reached));
        // Outside the lock: a waker may do anything.
        // And its panic is its own: the thread that tells must live.
        for entry in due {
            let _ = catch_unwind(AssertUnwindSafe(|| entry.waker.wake()));
        }
    }

    /// Wakes everybody: what they wait for may never come.
    pub fn wake_all(&self) {
        self.wake(|_| true);
    }

    /// Whether somebody waits. For decisions that may be late, such as when to sync.
    pub fn is_waiting(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) > 0
    }

    fn change<R>(&self, change: impl FnOnce(&mut Entries<T>) -> R) -> R {
        let mut entries = self.entries.lock().expect("wait list lock");
        let answer = change(&mut entries);
        // Relaxed: the lock orders the stores among themselves, and the fences order them against the numbers (N1).
        self.waiting.store(entries.len(), Ordering::Relaxed);
        answer
    }
}

impl WaitList {
    /// Wakes those whose number `number` has reached. It was stored before this call.
    pub fn reached(&self, number: u64) {
        self.wake(|&target| target <= number);
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
