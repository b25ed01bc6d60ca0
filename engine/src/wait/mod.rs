//! Waiting for a level to be reached, without polling and without a lost wake-up.
//!
//! Protocol and invariants N1–N3: `docs/concurrency.md`, "Waiting". Models:
//! `loom-tests/tests/wait.rs`.

#[cfg(not(loom))]
mod ack;

use std::task::Waker;

#[cfg(not(loom))]
pub use ack::AckFuture;
#[cfg(not(loom))]
pub(crate) use ack::block;

use crate::sync::atomic::{AtomicU64, AtomicUsize, Ordering, fence};
use crate::sync::{Mutex, weakenable};

/// Names one registration, so that it can be renewed or withdrawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ticket(u64);

/// Those who wait for a number to be reached.
///
/// A waiter registers, then looks at the number; the one who raises the number stores it,
/// then looks for waiters. A fence on both sides: one of them sees the other (N1).
pub(crate) struct WaitList {
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
    pub(crate) fn new() -> Self {
        Self { entries: Mutex::new(Vec::new()), waiting: AtomicUsize::new(0), next_ticket: AtomicU64::new(0) }
    }

    /// Registers before the caller looks (again) at the number (N1). A registration is used up
    /// when it is woken.
    pub(crate) fn register(&self, target: u64, waker: &Waker) -> Ticket {
        let ticket = self.next_ticket.fetch_add(1, Ordering::Relaxed);
        {
            let mut entries = self.entries.lock().expect("wait list lock");
            entries.push(Entry { ticket, target, waker: waker.clone() });
            self.waiting.store(entries.len(), weakenable!("wait_count", Release));
        }
        // Orders the registration before the caller's look: pairs with the fence in `reached`.
        fence(Ordering::SeqCst);
        Ticket(ticket)
    }

    /// Withdraws a registration that may have been used up.
    pub(crate) fn withdraw(&self, ticket: Ticket) {
        let mut entries = self.entries.lock().expect("wait list lock");
        entries.retain(|e| e.ticket != ticket.0);
        self.waiting.store(entries.len(), Ordering::Release);
    }

    /// Wakes those whose target `number` has reached. The number was stored before this call.
    pub(crate) fn reached(&self, number: u64) {
        // Orders the caller's store before this look: pairs with the fence in `register`.
        fence(Ordering::SeqCst);
        if self.waiting.load(Ordering::Relaxed) == 0 {
            return;
        }
        let due: Vec<Entry> = {
            let mut entries = self.entries.lock().expect("wait list lock");
            let due = entries.extract_if(.., |e| e.target <= number).collect();
            self.waiting.store(entries.len(), Ordering::Release);
            due
        };
        // Outside the lock: a waker may do anything.
        due.into_iter().for_each(|e| e.waker.wake());
    }

    /// Wakes everybody: what they wait for may never come.
    pub(crate) fn wake_all(&self) {
        self.reached(u64::MAX);
    }

    /// Whether somebody waits. For decisions that may be late, such as when to sync.
    pub(crate) fn is_waiting(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) > 0
    }
}
