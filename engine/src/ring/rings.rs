//! The lanes of an engine: joining, limits, looking up progress, statistics (R10 to R12).

use std::collections::BTreeMap;

use thiserror::Error;

use super::common::{CommonLane, CommonSender};
use super::drain::Drain;
use super::lane::{Lane, LaneSender};
use super::progress::{LaneId, LaneProgress, LaneWatch};
use crate::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use crate::sync::{Arc, Mutex, MutexGuard, lock, weakenable};

/// The shortest lane: two slots, so that one can be filled while the other is read.
const LANE_SAMPLES_MIN: usize = 2;
/// The longest lane: what a slot's index and a sane amount of memory allow.
const LANE_SAMPLES_MAX: usize = 1 << 26;

/// Bounds on the memory of the ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RingLimits {
    /// Samples in a lane, rounded up to a power of two (2 at least).
    ///
    /// Larger: longer batches, and a worker that is held up for longer before pushes are refused. Smaller: less memory
    /// an appender, and more of it in the cache.
    pub lane_samples: usize,
    /// Samples in the common lane, rounded likewise.
    pub common_samples: usize,
    /// Lanes at once, the common one apart.
    pub lanes_max: usize,
    /// Bytes of the slots of all lanes together, the common one included. The common lane is always there.
    pub lane_bytes_max: usize,
}

impl Default for RingLimits {
    fn default() -> Self {
        RingLimits { lane_samples: 16 * 1024, common_samples: 16 * 1024, lanes_max: 1024, lane_bytes_max: 512 << 20 }
    }
}

/// Why there is no lane for a new appender.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum JoinError {
    /// Every lane is taken. Drop an appender (its lane is free once it is drained), push through the common lane, or
    /// raise the limit.
    #[error("all {lanes_max} lanes are taken; drop an appender or raise the limit")]
    TooManyLanes {
        /// The limit.
        lanes_max: usize,
    },
    /// The slots would need more memory than allowed. Drop an appender, shorten the lanes or raise the limit.
    #[error(
        "a lane of {wanted} bytes would bring all lanes above {lane_bytes_max} bytes; drop an appender, shorten the lanes or raise the limit"
    )]
    TooManyBytes {
        /// What one lane takes.
        wanted: usize,
        /// The limit.
        lane_bytes_max: usize,
    },
    /// The engine no longer drains. Open a new one.
    #[error("the engine is closed")]
    Closed,
}

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
    fn add(&mut self, lane: LaneStats) {
        self.pushed += lane.pushed;
        self.full_events += lane.full_events;
        self.dropped_samples += lane.dropped_samples;
        self.lanes.push(lane);
    }
}

/// What every handle reaches.
pub(super) struct Shared<T> {
    pub(super) common: CommonLane<T>,
    limits: RingLimits,
    /// Cleared once, with the registry's mutex held.
    open: AtomicBool,
    /// Set once, by the drain as it goes.
    drain_gone: AtomicBool,
    /// How many lanes ever joined (R10).
    joined: AtomicU64,
    registry: Mutex<Registry<T>>,
}

struct Registry<T> {
    /// The next lane's number; 0 is the common lane's.
    id_next: u64,
    /// Every lane that is not retired.
    lanes: BTreeMap<LaneId, Arc<Lane<T>>>,
    /// Lanes the drain has not picked up yet.
    inbox: Vec<Arc<Lane<T>>>,
    /// Bytes of all slots.
    bytes: usize,
    /// What the retired lanes had counted.
    pushed: u64,
    full_events: u64,
    dropped_samples: u64,
}

impl<T> Shared<T> {
    fn registry(&self) -> MutexGuard<'_, Registry<T>> {
        // Nothing that runs with the mutex held leaves the registry half changed if it panics.
        lock(&self.registry)
    }
}

impl<T: Copy> Shared<T> {
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
            let last = stats_of(lane.id, lane.capacity(), lane.counts());
            registry.pushed += last.pushed;
            registry.full_events += last.full_events;
            registry.dropped_samples += last.dropped_samples;
        }
    }

    /// For the drain, as it goes.
    pub(super) fn drain_goes(&self) {
        self.close();
        // Release: who sees it sees all that the drain published (R14).
        self.drain_gone.store(true, weakenable!("drain_gone", Release));
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
        let limits = RingLimits {
            lane_samples: lane_capacity(limits.lane_samples),
            common_samples: lane_capacity(limits.common_samples),
            ..limits
        };
        let shared = Arc::new(Shared {
            common: CommonLane::new(limits.common_samples),
            open: AtomicBool::new(true),
            drain_gone: AtomicBool::new(false),
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
        });
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

    /// Whether pushes and joins are accepted.
    pub fn is_open(&self) -> bool {
        // Relaxed: it hands nothing over.
        self.shared.open.load(Ordering::Relaxed)
    }

    /// Whether somebody still drains. Once nobody does, the progress of each lane is final, as seen from here on: what
    /// is not visible then never will be (R14).
    pub fn has_drain(&self) -> bool {
        // Acquire: pairs with the Release in `drain_goes`, so that a last look finds the last publish.
        !self.shared.drain_gone.load(weakenable!("drain_gone_read", Acquire))
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
        stats.add(stats_of(LaneId::COMMON, common.capacity(), common.counts()));
        registry.lanes.values().for_each(|lane| stats.add(stats_of(lane.id, lane.capacity(), lane.counts())));
        stats
    }
}

fn stats_of(id: LaneId, capacity: u64, counts: (u64, u64, u64, u64)) -> LaneStats {
    let (pushed, depth, full_events, dropped_samples) = counts;
    LaneStats { id, capacity, pushed, depth, full_events, dropped_samples }
}

fn lane_capacity(samples: usize) -> usize {
    samples.clamp(LANE_SAMPLES_MIN, LANE_SAMPLES_MAX).next_power_of_two()
}

fn lane_bytes<T>(capacity: usize) -> usize {
    capacity * size_of::<T>()
}

fn common_bytes<T>(capacity: usize) -> usize {
    capacity * (size_of::<T>() + size_of::<u64>())
}
