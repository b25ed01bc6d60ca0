//! The receiving end of a lane that has a reader of its own (R1 to R6).

use super::lane::{Lane, LaneSender, Published};
use super::progress::LaneId;
use crate::sync::{Arc, weakenable_step};

/// The receiving end of a lane that stands alone: not one of the engine's lanes, which one drain reads together.
/// Dropping it refuses what is pushed.
pub struct LaneReceiver<T: Copy> {
    lane: Arc<Lane<T>>,
    /// Every position below is released.
    head: u64,
    /// Every position below was found published (R3).
    observed: u64,
}

/// A lane that stands alone: its two ends. `capacity` is rounded up to a power of two.
pub fn lane<T: Copy>(capacity: usize) -> (LaneSender<T>, LaneReceiver<T>) {
    let lane = Arc::new(Lane::new(LaneId::NONE, capacity.max(2).next_power_of_two()));
    (LaneSender::new(Arc::clone(&lane)), LaneReceiver { lane, head: 0, observed: 0 })
}

impl<T: Copy> LaneReceiver<T> {
    /// Looks how far the sender has come. Answers whether he is gone: then nothing follows.
    pub fn observe(&mut self) -> bool {
        let Published { end, closed } = self.lane.published();
        self.observed = end;
        closed
    }

    /// What was observed and not taken.
    pub fn ready(&self) -> usize {
        (self.observed - self.head) as usize
    }

    /// Takes the next one of what was observed.
    pub fn pop(&mut self) -> Option<T> {
        let mut popped = None;
        self.take(1, |slice| popped = slice.first().copied());
        popped
    }

    /// Lends the next `n` of what was observed, or fewer if there are no more, and gives their slots back.
    pub fn take(&mut self, n: usize, f: impl FnMut(&[T])) {
        let end = self.observed.min(self.head + n as u64);
        if end > self.head {
            // SAFETY: this is the only reader of the lane, `head` is what it released last, and `observed` came from
            // `published` (R3).
            unsafe { self.lane.read(self.head, end, f) };
            self.head = end;
            self.lane.release(end);
        }
    }
}

impl<T: Copy> Drop for LaneReceiver<T> {
    fn drop(&mut self) {
        weakenable_step!("lane_sever", self.lane.sever());
    }
}
