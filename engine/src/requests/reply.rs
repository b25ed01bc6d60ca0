//! The slot for one answer: told once, or known to stay empty.

use std::time::{Duration, Instant};

use crate::sync::{Arc, Condvar, Mutex, lock, weakenable_step};

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoReply {
    /// Not yet: ask again.
    Timeout,
    /// Whoever should have answered is gone, and did not.
    Gone,
}

struct Slot<T> {
    state: Mutex<State<T>>,
    told: Condvar,
}

enum State<T> {
    Open,
    Told(T),
    Gone,
}

/// The end that answers. Dropped without an answer, it says so.
pub struct Replier<T>(Arc<Slot<T>>);

/// The end that waits.
pub struct Reply<T>(Arc<Slot<T>>);

/// Both ends of a slot.
pub fn reply<T>() -> (Replier<T>, Reply<T>) {
    let slot = Arc::new(Slot { state: Mutex::new(State::Open), told: Condvar::new() });
    (Replier(Arc::clone(&slot)), Reply(slot))
}

impl<T> Replier<T> {
    /// Answers. Never waits for the other end.
    pub fn tell(self, answer: T) {
        *lock(&self.0.state) = State::Told(answer);
        weakenable_step!("reply_told", self.0.told.notify_one());
    }
}

impl<T> Drop for Replier<T> {
    fn drop(&mut self) {
        let mut state = lock(&self.0.state);
        if matches!(*state, State::Open) {
            *state = State::Gone;
            drop(state);
            weakenable_step!("reply_gone", self.0.told.notify_one());
        }
    }
}

impl<T> Reply<T> {
    /// Waits for the answer, at most `timeout`; `None` waits as long as it takes. Given once.
    pub fn wait(&mut self, timeout: Option<Duration>) -> Result<T, NoReply> {
        let began = Instant::now();
        let mut state = lock(&self.0.state);
        loop {
            match std::mem::replace(&mut *state, State::Gone) {
                State::Told(answer) => return Ok(answer),
                State::Gone => return Err(NoReply::Gone),
                State::Open => *state = State::Open,
            }
            state = match timeout {
                None => self.0.told.wait(state).unwrap_or_else(std::sync::PoisonError::into_inner),
                Some(timeout) => {
                    let left = timeout.saturating_sub(began.elapsed());
                    if left.is_zero() {
                        return Err(NoReply::Timeout);
                    }
                    self.0.told.wait_timeout(state, left).unwrap_or_else(std::sync::PoisonError::into_inner).0
                }
            };
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn an_answer_comes_once_and_a_dropped_replier_is_known() {
        let (replier, mut answer) = reply();
        assert_eq!(answer.wait(Some(Duration::ZERO)), Err(NoReply::Timeout));
        replier.tell(7);
        assert_eq!(answer.wait(None), Ok(7));
        assert_eq!(answer.wait(None), Err(NoReply::Gone));
        let (replier, mut answer) = reply::<()>();
        let waiter = std::thread::spawn(move || answer.wait(None));
        drop(replier);
        assert_eq!(waiter.join().unwrap(), Err(NoReply::Gone));
    }
}
