//! How far a lane's samples are visible, for those who wait (R13, R14).

use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sync::{Arc, CachePadded, weakenable};

/// A lane's number, never used twice by one engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LaneId(pub(super) u64);

impl LaneId {
    /// The common lane's, which is there as long as the engine.
    pub const COMMON: LaneId = LaneId(0);

    /// No lane's: of what did not come through one.
    pub const NONE: LaneId = LaneId(u64::MAX);

    /// Any number.
    #[cfg(all(test, not(loom)))]
    pub(crate) fn for_test(number: u64) -> Self {
        Self(number)
    }

    /// The number itself.
    pub fn get(self) -> u64 {
        self.0
    }
}

/// How far a lane has become visible.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LaneProgress {
    /// Every sample of the lane below this position is visible.
    pub visible_position: u64,
    /// A sequence number at or above that of each of those samples, and visible itself.
    pub visible_seq: u64,
}

/// The two words the drain stores after the engine's watermark moved.
#[derive(Debug)]
pub(super) struct Visible {
    position: AtomicU64,
    seq: AtomicU64,
}

impl Visible {
    pub(super) fn new() -> Self {
        Visible { position: AtomicU64::new(0), seq: AtomicU64::new(0) }
    }

    /// Only the drain calls this, with positions and numbers that grow.
    pub(super) fn publish(&self, position: u64, seq: u64) {
        // Relaxed: the store below carries it.
        self.seq.store(seq, Ordering::Relaxed);
        // Release: who sees the position sees the number, and the engine's watermark that was stored before (R13).
        self.position.store(position, weakenable!("progress_publish", Release));
    }

    pub(super) fn load(&self) -> LaneProgress {
        // Acquire: pairs with the Release in `publish` (R13).
        let visible_position = self.position.load(weakenable!("progress_read", Acquire));
        // Relaxed: at or above what was stored before that position. A newer one is a number above still.
        let visible_seq = self.seq.load(Ordering::Relaxed);
        LaneProgress { visible_position, visible_seq }
    }
}

/// Looks at one lane's progress without a lock, and may outlive the lane.
///
/// Of a retired lane it shows the final state: everything visible.
#[derive(Clone)]
pub struct LaneWatch {
    pub(super) visible: Arc<CachePadded<Visible>>,
}

impl LaneWatch {
    /// How far the lane is visible now.
    pub fn progress(&self) -> LaneProgress {
        self.visible.load()
    }
}
