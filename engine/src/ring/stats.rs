//! What the ring says of itself.

use super::progress::LaneId;

/// One lane, as the statistics see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LaneStats {
    /// Its number.
    pub id: LaneId,
    /// Samples that fit.
    pub capacity: u64,
    /// Samples pushed since it was opened.
    pub pushed: u64,
    /// Samples in it now.
    pub depth: u64,
    /// Pushes that found it full.
    pub full_events: u64,
    /// Samples dropped by `DropNewest`.
    pub dropped_samples: u64,
}

/// The lanes that are open, and the sums over all there ever were.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RingStats {
    /// The common lane first, then by number.
    pub lanes: Vec<LaneStats>,
    /// Samples pushed, retired lanes included.
    pub pushed: u64,
    /// Pushes that found their lane full, retired lanes included.
    pub full_events: u64,
    /// Samples dropped by `DropNewest`, retired lanes included.
    pub dropped_samples: u64,
    /// Bytes of all slots.
    pub bytes: usize,
}

impl RingStats {
    pub(super) fn add(&mut self, lane: LaneStats) {
        self.pushed += lane.pushed;
        self.full_events += lane.full_events;
        self.dropped_samples += lane.dropped_samples;
        self.lanes.push(lane);
    }
}

impl LaneStats {
    /// Of what a lane counted: pushed, depth, full events, dropped samples.
    pub(super) fn of(id: LaneId, capacity: u64, counts: (u64, u64, u64, u64)) -> LaneStats {
        let (pushed, depth, full_events, dropped_samples) = counts;
        LaneStats { id, capacity, pushed, depth, full_events, dropped_samples }
    }
}
