//! The worker's end of all lanes.

use super::common::CommonLane;
use super::lane::Lane;
use super::progress::LaneId;
use super::shared::Shared;
use crate::sync::Arc;

/// The one reader of all lanes. A round is [`observe`](Self::observe), [`for_each_slice`](Self::for_each_slice) as
/// often as needed, [`take`](Self::take), and [`publish`](Self::publish) once the samples are visible.
///
/// Dropping it severs all lanes: pushes are refused from then on.
pub struct Drain<T: Copy> {
    shared: Arc<Shared<T>>,
    common: Cursor,
    bars: Bars,
    lanes: Vec<DrainLane<T>>,
    /// How many joined lanes have been picked up (R10).
    joined_seen: u64,
    /// Samples of the round at hand.
    ready: u64,
    /// Where the next round begins: at this lane; behind the last one, at the common lane (R17).
    at: usize,
    /// Where the common lane's claims ended when the sweep came by: it ends there, however much follows.
    common_to: Option<u64>,
    /// How many sweeps are over (R18).
    sweeps: u64,
    /// Whether a lane was found half full, in this sweep and in the one before.
    crowded: [bool; 2],
}

/// Where the drain stands in a lane: `visible <= released <= observed`.
#[derive(Clone, Copy, Default)]
struct Cursor {
    /// Waiters know of all below.
    visible: u64,
    /// Slots below are given back.
    released: u64,
    /// Found published; `released..observed` is what a round reads.
    observed: u64,
}

/// How far the lanes were filled at one moment ([`Drain::mark`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    sweep: u64,
    common: u64,
}

/// Bars across the common lane (R16), numbered from 1. One is on its way at a time.
#[derive(Default)]
struct Bars {
    asked: u64,
    /// Where the next one lies, once there was room for it.
    at: Option<u64>,
    passed: u64,
}

impl Bars {
    /// Lays the bar that is asked for, if that was not done. All below `read_to` is read.
    fn lay<T: Copy>(&mut self, common: &CommonLane<T>, read_to: u64) {
        if self.passed < self.asked && self.at.is_none() {
            self.at = common.bar(read_to);
        }
    }
}

struct DrainLane<T> {
    lane: Arc<Lane<T>>,
    cursor: Cursor,
    /// The final end, once the lane was seen closed.
    closed_at: Option<u64>,
}

impl<T> DrainLane<T> {
    /// Closed, and every sample of it visible (R11).
    fn is_done(&self) -> bool {
        self.closed_at == Some(self.cursor.visible)
    }
}

impl<T: Copy> Drain<T> {
    pub(super) fn new(shared: Arc<Shared<T>>) -> Self {
        Drain {
            shared,
            common: Cursor::default(),
            bars: Bars::default(),
            lanes: Vec::new(),
            joined_seen: 0,
            ready: 0,
            at: 0,
            common_to: None,
            sweeps: 0,
            crowded: [false; 2],
        }
    }

    /// Begins a round: picks up new lanes and looks how far they have come. Gives the number of samples ready.
    ///
    /// Lanes are taken into it whole, one after the other, until the next one would bring it above `max`; the first that
    /// has anything is taken however much it is. The common lane is the last one; of it, whole batches. The next round
    /// begins where this one stopped, so no lane starves another (R17). A round that was not taken is not added to.
    /// 0: no lane has anything. O(lanes), and O(batches) for the common lane.
    pub fn observe(&mut self, max: usize) -> usize {
        if self.ready > 0 {
            return self.ready as usize;
        }
        let lanes = &mut self.lanes;
        self.joined_seen = self.shared.pick_up(self.joined_seen, |lane| {
            lanes.push(DrainLane { lane, cursor: Cursor::default(), closed_at: None });
        });
        let amid = self.at > 0;
        self.ready = self.go_on(max as u64);
        if self.ready == 0 && amid {
            // Behind it nothing is left; before it something may be.
            self.ready = self.go_on(max as u64);
        }
        self.ready as usize
    }

    /// Goes on with the sweep as far as a round reaches. Gives its samples; if there are none, the sweep is over.
    fn go_on(&mut self, max: u64) -> u64 {
        if self.at == 0 {
            self.crowded = [false, self.crowded[0]];
        }
        let mut ready = 0;
        let mut any_done = false;
        while let Some(drained) = self.lanes.get_mut(self.at) {
            let end = match drained.closed_at {
                Some(end) => end,
                None => {
                    let published = drained.lane.published();
                    drained.closed_at = published.closed.then_some(published.end);
                    published.end
                }
            };
            let len = end - drained.cursor.released;
            any_done |= drained.is_done();
            if len > 0 && ready > 0 && ready + len > max {
                break;
            }
            drained.cursor.observed = end;
            ready += len;
            self.crowded[0] |= len >= drained.lane.capacity() / 2;
            self.at += 1;
        }
        if any_done {
            self.retire_done();
        }
        if self.at == self.lanes.len() {
            ready += self.observe_common(ready, max);
        }
        ready
    }

    /// The last part of a sweep: the common lane, for a round that has `ready` samples. Gives how many it adds.
    fn observe_common(&mut self, ready: u64, max: u64) -> u64 {
        // Before a bar is laid: whatever is behind that came later.
        let to = *self.common_to.get_or_insert_with(|| self.shared.common.claimed());
        self.step_over_bar();
        let (common, lane) = (&mut self.common, &self.shared.common);
        let (end, more) = lane.published(common.observed, max.saturating_sub(ready), ready == 0);
        common.observed = end;
        let len = end - common.released;
        self.crowded[0] |= more || len >= lane.capacity() / 2;
        // What lies behind a bar may have been there when the sweep began.
        let stopped = more || (ready + len > 0 && self.bars.at == Some(end));
        if !stopped || end >= to {
            self.sweeps += 1;
            (self.at, self.common_to) = (0, None);
        }
        len
    }

    /// How many sweeps are over: each observed every lane to the end that it had.
    pub fn sweeps(&self) -> u64 {
        self.sweeps
    }

    /// The number of sweeps when one is over that begins after this call: all that is published by now has been observed
    /// then (R18).
    pub fn next_sweep(&self) -> u64 {
        // Of a sweep that has come by the common lane nothing else counts any more, though there be no other lane.
        self.sweeps + 1 + u64::from(self.at > 0 || self.common_to.is_some())
    }

    /// How far the lanes are filled now, for [`Self::is_past`].
    pub fn mark(&self) -> Mark {
        Mark { sweep: self.next_sweep(), common: self.shared.common.claimed() }
    }

    /// Whether all that was pushed before the mark was taken, and published if the last round was. A sweep alone does not
    /// tell of the common lane, where what was pushed waits for claims before it that are not finished (R18).
    pub fn is_past(&self, mark: &Mark) -> bool {
        self.ready == 0 && self.sweeps >= mark.sweep && self.common.released >= mark.common
    }

    /// Behind a round that found nothing: whether somebody is amid a push through the common lane.
    pub fn is_claimed(&self) -> bool {
        self.ready == 0 && self.common.released < self.shared.common.claimed()
    }

    /// Whether a lane was found half full or fuller in this sweep or in the one before: its appender may soon wait.
    pub fn is_crowded(&self) -> bool {
        self.crowded.contains(&true)
    }

    /// Lends every sample of the round, in the order of acceptance: lane by lane, the common one last, each in the
    /// order of its pushes. The same on every call until [`take`](Self::take) or the next
    /// [`observe`](Self::observe). The slices lie in the slots themselves: no copy.
    pub fn for_each_slice(&self, mut f: impl FnMut(&[T])) {
        for drained in &self.lanes {
            let Cursor { released, observed, .. } = drained.cursor;
            if released < observed {
                // SAFETY: this is the drain, `released` is what it gave to `release` last, and `observed` came from
                // `published` (R3).
                unsafe { drained.lane.read(released, observed, &mut f) };
            }
        }
        let Cursor { released, observed, .. } = self.common;
        if released < observed {
            // SAFETY: as above, with R8 for the common lane.
            unsafe { self.shared.common.read(released, observed, &mut f) };
        }
    }

    /// Lends every sample of the round to be changed, as [`for_each_slice`](Self::for_each_slice) does to be read: what
    /// is lent later in the round is as it was left.
    pub fn for_each_slice_mut(&mut self, mut f: impl FnMut(&mut [T])) {
        for drained in &self.lanes {
            let Cursor { released, observed, .. } = drained.cursor;
            if released < observed {
                // SAFETY: as in `for_each_slice`, and `&mut self` of the only reader: nobody else looks at the round.
                unsafe { drained.lane.change(released, observed, &mut f) };
            }
        }
        let Cursor { released, observed, .. } = self.common;
        if released < observed {
            // SAFETY: as above.
            unsafe { self.shared.common.change(released, observed, &mut f) };
        }
    }

    /// Asks for a bar across the common lane, and gives its number. When [`bars_passed`](Self::bars_passed) has reached
    /// that, whatever comes out of that lane in later rounds was pushed by somebody who had seen, when his
    /// [`push_slice_if`](super::CommonSender::push_slice_if) asked, what the caller did before this call (R16).
    pub fn bar(&mut self) -> u64 {
        self.bars.asked = self.bars.passed + 1 + u64::from(self.bars.at.is_some());
        self.bars.lay(&self.shared.common, self.common.released);
        self.bars.asked
    }

    /// How many bars the drain has come by.
    pub fn bars_passed(&self) -> u64 {
        self.bars.passed
    }

    /// Between two rounds: if the bar is what comes next in the common lane, the drain stands behind it then.
    fn step_over_bar(&mut self) {
        let common = &mut self.common;
        if self.bars.at == Some(common.observed) && common.released == common.observed {
            common.released += 1;
            common.observed += 1;
            self.shared.common.release(common.released);
            self.bars.at = None;
            self.bars.passed += 1;
        }
        self.bars.lay(&self.shared.common, common.released);
    }

    /// Lends a few samples of the round, with their lanes: before each, as many are passed over as `skip` says.
    pub fn look(&self, mut skip: impl FnMut() -> usize, mut f: impl FnMut(LaneId, &T)) {
        let lanes = self.lanes.iter().map(|drained| (drained.lane.id, Some(&drained.lane), drained.cursor));
        let mut ahead = skip() as u64;
        for (id, lane, Cursor { released, observed, .. }) in lanes.chain([(LaneId::COMMON, None, self.common)]) {
            let len = observed - released;
            while ahead < len {
                let (from, to) = (released + ahead, released + ahead + 1);
                let lend = |slice: &[T]| slice.iter().for_each(|sample| f(id, sample));
                match lane {
                    // SAFETY: as in `for_each_slice`: the position lies in the round.
                    Some(lane) => unsafe { lane.read(from, to, lend) },
                    // SAFETY: as above.
                    None => unsafe { self.shared.common.read(from, to, lend) },
                }
                ahead += 1 + skip() as u64;
            }
            ahead -= len;
        }
    }

    /// Lends every sample of the round a last time, as [`for_each_slice`](Self::for_each_slice) does, at most `at_once`
    /// of them at a time, and gives their slots back to the senders as soon as `f` is done with them: a sender whose
    /// lane is full goes on while the rest of the round is worked on.
    pub fn take(&mut self, at_once: usize, mut f: impl FnMut(&[T])) {
        let at_once = at_once.max(1) as u64;
        for DrainLane { lane, cursor, .. } in &mut self.lanes {
            while cursor.released < cursor.observed {
                let end = cursor.observed.min(cursor.released.saturating_add(at_once));
                // SAFETY: as in `for_each_slice`: the positions lie in the round.
                unsafe { lane.read(cursor.released, end, &mut f) };
                cursor.released = end;
                lane.release(end);
            }
        }
        let Cursor { released, observed, .. } = &mut self.common;
        while released < observed {
            let end = (*observed).min(released.saturating_add(at_once));
            // SAFETY: as above.
            unsafe { self.shared.common.read(*released, end, &mut f) };
            *released = end;
            // Before others may claim what is free now: so there is room.
            self.bars.lay(&self.shared.common, end);
            self.shared.common.release(end);
        }
        self.ready = 0;
    }

    /// Lets waiters know that everything released so far is visible at `seq`, and retires lanes that have come to
    /// their end. To be called after the engine's watermark reached `seq`, which never goes back (R13).
    pub fn publish(&mut self, seq: u64) {
        let mut any_done = false;
        for drained in &mut self.lanes {
            if drained.cursor.visible < drained.cursor.released {
                drained.cursor.visible = drained.cursor.released;
                drained.lane.visible.publish(drained.cursor.visible, seq);
                any_done |= drained.is_done();
            }
        }
        if self.common.visible < self.common.released {
            self.common.visible = self.common.released;
            self.shared.common.visible.publish(self.common.visible, seq);
        }
        if any_done {
            self.retire_done();
        }
    }

    /// Lanes that are drained now, the common one apart.
    pub fn lanes(&self) -> usize {
        self.lanes.len()
    }

    #[cold]
    fn retire_done(&mut self) {
        self.shared.retire(self.lanes.iter().filter(|drained| drained.is_done()).map(|drained| &drained.lane));
        self.at -= self.lanes[..self.at].iter().filter(|drained| drained.is_done()).count();
        self.lanes.retain(|drained| !drained.is_done());
    }
}

impl<T: Copy> Drop for Drain<T> {
    fn drop(&mut self) {
        self.shared.close();
    }
}
