//! The lanes of an engine: joining, looking up progress, statistics (R10 to R12).

use super::common_sender::CommonSender;
use super::drain::Drain;
use super::lane::{Lane, LaneSender};
use super::limits::{JoinError, RingLimits, lane_bytes};
use super::progress::{LaneId, LaneProgress, LaneWatch};
use super::shared::Shared;
use super::stats::{LaneStats, RingStats};
use crate::sync::Arc;
use crate::sync::atomic::Ordering;

/// The ring of one engine: where senders come from. A handle; its clones are the same ring.
pub struct Rings<T> {
    shared: Arc<Shared<T>>,
}

impl<T> Clone for Rings<T> {
    fn clone(&self) -> Self {
        Rings { shared: Arc::clone(&self.shared) }
    }
}

impl<T: Copy> Rings<T> {
    /// A ring without lanes but the common one, and its only drain.
    // The drain is the other half, and there is no ring without one.
    #[allow(clippy::new_ret_no_self)]
    pub fn new(limits: RingLimits) -> (Rings<T>, Drain<T>) {
        let shared = Arc::new(Shared::new(limits.settled()));
        (Rings { shared: Arc::clone(&shared) }, Drain::new(shared))
    }

    /// Opens a lane. Takes a mutex and allocates: once an appender, not once a push.
    ///
    /// # Errors
    /// [`JoinError`] at a limit or when the drain is gone.
    pub fn join(&self) -> Result<LaneSender<T>, JoinError> {
        let limits = &self.shared.limits;
        let wanted = lane_bytes::<T>(limits.lane_samples);
        let mut registry = self.shared.registry();
        // Relaxed: it is cleared under the mutex we hold.
        if !self.shared.open.load(Ordering::Relaxed) {
            return Err(JoinError::Closed);
        }
        if registry.lanes.len() >= limits.lanes_max {
            return Err(JoinError::TooManyLanes { lanes_max: limits.lanes_max });
        }
        if registry.bytes.saturating_add(wanted) > limits.lane_bytes_max {
            return Err(JoinError::TooManyBytes { wanted, lane_bytes_max: limits.lane_bytes_max });
        }
        let id = LaneId(registry.id_next);
        registry.id_next += 1;
        registry.bytes += wanted;
        let lane = Arc::new(Lane::new(id, limits.lane_samples));
        registry.lanes.insert(id, Arc::clone(&lane));
        registry.inbox.push(Arc::clone(&lane));
        // Relaxed: see `pick_up`. Under the mutex, so that a count is never ahead of the inbox.
        self.shared.joined.fetch_add(1, Ordering::Relaxed);
        Ok(LaneSender::new(lane))
    }

    /// A sender into the common lane.
    pub fn common(&self) -> CommonSender<T> {
        CommonSender { shared: Arc::clone(&self.shared) }
    }

    /// How far a lane is visible; `None` when it is retired, and then all of it is visible, and the engine's watermark
    /// as loaded from now on is at or above each of its samples (R11). Takes the registry's mutex.
    pub fn progress(&self, id: LaneId) -> Option<LaneProgress> {
        self.watch(id).map(|watch| watch.progress())
    }

    /// A look at a lane's progress that takes no lock later; `None` when it is retired, see
    /// [`progress`](Self::progress).
    pub fn watch(&self, id: LaneId) -> Option<LaneWatch> {
        if id == LaneId::COMMON {
            return Some(LaneWatch { visible: Arc::clone(&self.shared.common.visible) });
        }
        self.shared.registry().lanes.get(&id).map(|lane| LaneWatch { visible: Arc::clone(&lane.visible) })
    }

    /// What the sender of each lane there is has said that it saw, or more; `None` without lanes. One that joins later
    /// comes after this call. What they pushed before they said so is found by the next round that is observed. Takes the
    /// registry's mutex.
    pub fn seen_by_all(&self) -> Option<u32> {
        self.shared.registry().lanes.values().map(|lane| lane.seen()).min()
    }

    /// Whether pushes and joins are accepted.
    pub fn is_open(&self) -> bool {
        // Relaxed: it hands nothing over.
        self.shared.open.load(Ordering::Relaxed)
    }

    /// Refuses pushes and joins from now on. What was pushed before can still be drained; a push that runs at this
    /// very moment may be accepted and yet come too late for the last round: only a visible answer is a promise.
    pub fn close(&self) {
        self.shared.close();
    }

    /// What the lanes hold and have counted. Takes the registry's mutex; each number is right by itself, and they are
    /// not of one instant.
    pub fn stats(&self) -> RingStats {
        let registry = self.shared.registry();
        let mut stats = RingStats {
            lanes: Vec::with_capacity(registry.lanes.len() + 1),
            pushed: registry.pushed,
            full_events: registry.full_events,
            dropped_samples: registry.dropped_samples,
            bytes: registry.bytes,
        };
        let common = &self.shared.common;
        stats.add(LaneStats::of(LaneId::COMMON, common.capacity(), common.counts()));
        registry.lanes.values().for_each(|lane| stats.add(LaneStats::of(lane.id, lane.capacity(), lane.counts())));
        stats
    }
}
