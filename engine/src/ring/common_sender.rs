//! The common lane as a thread without an appender sees it.

use super::common::CommonLane;
use super::pressure::{BackPressure, Refused};
use super::progress::{LaneId, LaneProgress};
use super::shared::Shared;
use crate::sync::Arc;

/// Pushes from any thread, without an appender: lock-free, but shared with the others that do so.
///
/// For a thread that pushes much, an appender's own lane is several times cheaper.
pub struct CommonSender<T> {
    pub(super) shared: Arc<Shared<T>>,
}

impl<T> Clone for CommonSender<T> {
    fn clone(&self) -> Self {
        CommonSender { shared: Arc::clone(&self.shared) }
    }
}

impl<T: Copy> CommonSender<T> {
    /// The common lane's number.
    pub fn id(&self) -> LaneId {
        LaneId::COMMON
    }

    /// Samples that fit in the lane at once, and so the longest batch.
    pub fn capacity(&self) -> usize {
        self.lane().capacity() as usize
    }

    /// How far the common lane is visible. Takes no lock.
    pub fn progress(&self) -> LaneProgress {
        self.lane().visible.load()
    }

    /// Pushes one sample and gives the position behind it.
    ///
    /// # Errors
    /// [`Refused::Full`] if the worker is behind by the whole lane, [`Refused::Closed`] if it is gone.
    #[inline]
    pub fn push(&self, sample: T) -> Result<u64, Refused> {
        self.lane().push_slice(&[sample])
    }

    /// Pushes a whole batch or nothing: one claim, one stamp. Gives the position behind its last sample.
    ///
    /// # Errors
    /// As [`push`](Self::push), and [`Refused::TooLong`] if it never fits.
    #[inline]
    pub fn push_slice(&self, samples: &[T]) -> Result<u64, Refused> {
        self.lane().push_slice(samples)
    }

    /// [`push_slice`](Self::push_slice), with `pressure` deciding what happens when the lane is full.
    ///
    /// # Errors
    /// As [`push_slice`](Self::push_slice), and [`Refused::Dropped`] under [`BackPressure::DropNewest`].
    #[inline]
    pub fn push_slice_under(&self, pressure: BackPressure, samples: &[T]) -> Result<u64, Refused> {
        match self.push_slice(samples) {
            Err(Refused::Full) => self.when_full(pressure, samples),
            answer => answer,
        }
    }

    #[cold]
    fn when_full(&self, pressure: BackPressure, samples: &[T]) -> Result<u64, Refused> {
        let lane = self.lane();
        lane.count_full();
        pressure.when_full(|| lane.push_slice(samples), || lane.count_dropped(samples.len()))
    }

    #[inline(always)]
    fn lane(&self) -> &CommonLane<T> {
        &self.shared.common
    }
}
