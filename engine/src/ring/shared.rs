//! What the ends of a ring share: the common lane, and who is there (R10, R11).

use std::collections::BTreeMap;

use super::common::CommonLane;
use super::lane::Lane;
use super::limits::{RingLimits, common_bytes, lane_bytes};
use super::progress::LaneId;
use super::stats::LaneStats;
use crate::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use crate::sync::{Arc, Mutex, MutexGuard, lock};

/// What every handle reaches.
pub(super) struct Shared<T> {
    pub(super) common: CommonLane<T>,
    pub(super) limits: RingLimits,
    /// Cleared once, with the registry's mutex held.
    pub(super) open: AtomicBool,
    /// How many lanes ever joined (R10).
    pub(super) joined: AtomicU64,
    registry: Mutex<Registry<T>>,
}

pub(super) struct Registry<T> {
    /// The next lane's number; 0 is the common lane's.
    pub(super) id_next: u64,
    /// Every lane that is not retired.
    pub(super) lanes: BTreeMap<LaneId, Arc<Lane<T>>>,
    /// Lanes the drain has not picked up yet.
    pub(super) inbox: Vec<Arc<Lane<T>>>,
    /// Bytes of all slots.
    pub(super) bytes: usize,
    /// What the retired lanes had counted.
    pub(super) pushed: u64,
    pub(super) full_events: u64,
    pub(super) dropped_samples: u64,
}

impl<T> Shared<T> {
    pub(super) fn registry(&self) -> MutexGuard<'_, Registry<T>> {
        // Nothing that runs with the mutex held leaves the registry half changed if it panics.
        lock(&self.registry)
    }
}

impl<T: Copy> Shared<T> {
    /// No lanes but the common one.
    pub(super) fn new(limits: RingLimits) -> Self {
        Shared {
            common: CommonLane::new(limits.common_samples),
            open: AtomicBool::new(true),
            joined: AtomicU64::new(0),
            registry: Mutex::new(Registry {
                id_next: LaneId::COMMON.0 + 1,
                lanes: BTreeMap::new(),
                inbox: Vec::new(),
                bytes: common_bytes::<T>(limits.common_samples),
                pushed: 0,
                full_events: 0,
                dropped_samples: 0,
            }),
            limits,
        }
    }

    /// Moves the lanes that joined since `joined_seen` to `lanes`, and gives the new count.
    pub(super) fn pick_up(&self, joined_seen: u64, mut take: impl FnMut(Arc<Lane<T>>)) -> u64 {
        // Relaxed: the mutex hands the lanes over; a count seen late costs a round (R10).
        let joined = self.joined.load(Ordering::Relaxed);
        if joined != joined_seen {
            let inbox = std::mem::take(&mut self.registry().inbox);
            inbox.into_iter().for_each(&mut take);
        }
        joined
    }

    /// Forgets lanes that are closed and whose every sample is visible (R11).
    pub(super) fn retire<'a>(&self, retired: impl Iterator<Item = &'a Arc<Lane<T>>>)
    where
        T: 'a,
    {
        let mut registry = self.registry();
        for lane in retired {
            registry.lanes.remove(&lane.id);
            registry.bytes -= lane_bytes::<T>(lane.capacity() as usize);
            let last = LaneStats::of(lane.id, lane.capacity(), lane.counts());
            registry.pushed += last.pushed;
            registry.full_events += last.full_events;
            registry.dropped_samples += last.dropped_samples;
        }
    }

    /// Refuses pushes and joins from now on.
    pub(super) fn close(&self) {
        let registry = self.registry();
        // Relaxed: whoever must not miss it reads it under the mutex (`join`).
        self.open.store(false, Ordering::Relaxed);
        self.common.sever();
        registry.lanes.values().for_each(|lane| lane.sever());
    }
}
