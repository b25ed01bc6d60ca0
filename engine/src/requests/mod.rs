//! What is asked of the ingest worker between two commits: a bounded queue, and a slot for each answer.
//!
//! Protocol and invariants Q1–Q5: `docs/concurrency.md`, "Requests". Models: `loom-tests/tests/requests.rs`.

// Reached from outside by the models; see `loom_only` in the crate's root.
#![allow(unreachable_pub, missing_docs)]

mod reply;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

pub use reply::{NoReply, Replier, reply};

use crate::sync::atomic::{AtomicUsize, Ordering};
use crate::sync::{Condvar, Mutex, MutexGuard, lock, weakenable_step};

/// Names one request, so that it can be withdrawn. They count up in the order of asking.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct RequestNo(u64);

/// Why a request was not queued. It was not taken, and never will be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotAsked {
    /// No room within the time given.
    Full,
    /// Nobody answers any more.
    Closed,
}

/// Requests to the worker, oldest first. Bounded by their weight.
///
/// The worker looks at a count once a round, and takes the lock only if there is a request.
pub struct Requests<R> {
    desk: Mutex<Desk<R>>,
    /// Requests on the desk, readable without the lock.
    waiting: AtomicUsize,
    /// Somebody took a request, or the desk was closed.
    changed: Condvar,
    weight_max: usize,
    /// What those of weight 1 may bring beyond.
    light_max: usize,
}

struct Desk<R> {
    queue: VecDeque<Entry<R>>,
    weight: usize,
    next: u64,
    closed: bool,
}

struct Entry<R> {
    no: u64,
    weight: usize,
    request: R,
}

impl<R> Requests<R> {
    /// `weight_max` bounds the sum of what waits; a single request may weigh more, and waits alone.
    pub fn new(weight_max: usize) -> Self {
        let desk = Desk { queue: VecDeque::new(), weight: 0, next: 0, closed: false };
        let (waiting, changed) = (AtomicUsize::new(0), Condvar::new());
        Self { desk: Mutex::new(desk), waiting, changed, weight_max, light_max: 0 }
    }

    /// With room for so many requests of weight 1 that heavier ones do not take (Q4).
    pub fn with_room_for(self, light: usize) -> Self {
        Self { light_max: light, ..self }
    }

    /// Queues a request; waits for room for at most `patience`. The caller then wakes the worker.
    pub fn ask(&self, request: R, weight: usize, patience: Duration) -> Result<RequestNo, NotAsked> {
        let weight_max = self.weight_max + if weight == 1 { self.light_max } else { 0 };
        let mut desk = lock(&self.desk);
        let mut began = None;
        loop {
            if desk.closed {
                return Err(NotAsked::Closed);
            }
            if desk.queue.is_empty() || desk.weight + weight <= weight_max {
                break;
            }
            let left = patience.saturating_sub(began.get_or_insert_with(Instant::now).elapsed());
            if left.is_zero() {
                return Err(NotAsked::Full);
            }
            let waited = self.changed.wait_timeout(desk, left);
            desk = waited.unwrap_or_else(std::sync::PoisonError::into_inner).0;
        }
        let no = desk.next;
        desk.next += 1;
        desk.weight += weight;
        desk.queue.push_back(Entry { no, weight, request });
        self.count(&desk);
        Ok(RequestNo(no))
    }

    /// Takes a request back that was not taken yet: then nothing of it happens (Q2).
    pub fn withdraw(&self, no: RequestNo) -> Option<R> {
        let mut desk = lock(&self.desk);
        let at = desk.queue.iter().position(|entry| entry.no == no.0)?;
        let entry = desk.queue.remove(at)?;
        self.taken(&mut desk, entry.weight);
        Some(entry.request)
    }

    /// Whether there may be a request: one that is missed is found in a later round.
    #[inline]
    pub fn is_waiting(&self) -> bool {
        // Relaxed: the lock hands the request over; a count seen late costs a round (Q1).
        self.waiting.load(Ordering::Relaxed) > 0
    }

    /// The number that the next request will have: those that were asked by now have smaller ones. Whatever their
    /// askers did before is seen behind this (Q5).
    pub fn next_no(&self) -> RequestNo {
        RequestNo(lock(&self.desk).next)
    }

    /// The oldest request that passes, if there is one (Q1). For the worker. Takes time by the number of those that do not.
    pub fn take_first_that(&self, mut passes: impl FnMut(RequestNo, &R) -> bool) -> Option<R> {
        if !self.is_waiting() {
            return None;
        }
        let mut desk = lock(&self.desk);
        let at = desk.queue.iter().position(|entry| passes(RequestNo(entry.no), &entry.request))?;
        let entry = desk.queue.remove(at)?;
        self.taken(&mut desk, entry.weight);
        Some(entry.request)
    }

    /// Nobody takes requests any more: those that wait are dropped, and with them the slots of their answers (Q3).
    pub fn close(&self) {
        let dropped = {
            let mut desk = lock(&self.desk);
            weakenable_step!("requests_closed", desk.closed = true);
            desk.weight = 0;
            std::mem::take(&mut desk.queue)
        };
        self.waiting.store(0, Ordering::Relaxed);
        self.changed.notify_all();
        // Outside the lock: a request may hold anything.
        drop(dropped);
    }

    fn taken(&self, desk: &mut MutexGuard<'_, Desk<R>>, weight: usize) {
        desk.weight -= weight;
        self.count(desk);
        weakenable_step!("requests_room", self.changed.notify_all());
    }

    fn count(&self, desk: &Desk<R>) {
        // Relaxed: the lock orders the stores among themselves.
        self.waiting.store(desk.queue.len(), Ordering::Relaxed);
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn batches_that_wait_leave_room_for_who_brings_no_samples() {
        let requests = Requests::new(10).with_room_for(2);
        requests.ask('a', 10, Duration::ZERO).unwrap();
        assert_eq!(requests.ask('b', 2, Duration::ZERO), Err(NotAsked::Full));
        let asked = ['c', 'd', 'e'].map(|light| requests.ask(light, 1, Duration::ZERO).is_ok());
        assert_eq!(asked, [true, true, false]);
        assert_eq!(requests.take_first_that(|_, request| *request != 'a'), Some('c'));
        assert_eq!(requests.ask('f', 2, Duration::ZERO), Err(NotAsked::Full));
        assert_eq!(requests.take_first_that(|no, _| no < RequestNo(1)), Some('a'));
    }

    #[test]
    fn requests_come_in_order_and_a_heavy_one_waits_alone() {
        let requests = Requests::new(10);
        requests.ask('a', 4, Duration::ZERO).unwrap();
        let b = requests.ask('b', 6, Duration::ZERO).unwrap();
        assert_eq!(requests.ask('c', 1, Duration::ZERO), Err(NotAsked::Full));
        assert_eq!(requests.withdraw(b), Some('b'));
        assert_eq!(requests.withdraw(b), None);
        requests.ask('d', 6, Duration::ZERO).unwrap();
        assert_eq!(requests.take_first_that(|_, _| false), None);
        assert_eq!(
            [requests.take_first_that(|_, _| true), requests.take_first_that(|_, _| true)],
            [Some('a'), Some('d')]
        );
        assert!(!requests.is_waiting());
        requests.ask('e', 11, Duration::ZERO).unwrap();
        assert_eq!(requests.ask('f', 1, Duration::from_millis(1)), Err(NotAsked::Full));
        requests.close();
        assert_eq!(requests.ask('g', 1, Duration::MAX), Err(NotAsked::Closed));
        assert_eq!(requests.take_first_that(|_, _| true), None);
    }
}
