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
        self.push_slice(&[sample])
    }

    /// Pushes a whole batch or nothing: one claim, one stamp. Gives the position behind its last sample.
    ///
    /// # Errors
    /// As [`push`](Self::push), and [`Refused::TooLong`] if it never fits.
    #[inline]
    pub fn push_slice(&self, samples: &[T]) -> Result<u64, Refused> {
        self.lane().push_slice_if(samples, || true)
    }

    /// [`push_slice`](Self::push_slice), if `holds` says so at the last moment: it is asked when every bar is seen that
    /// the drain laid across the lane below these samples ([`Drain::bar`](super::Drain::bar)).
    ///
    /// # Errors
    /// As [`push_slice`](Self::push_slice), and [`Refused::Outdated`] if it says no.
    #[inline]
    pub fn push_slice_if(&self, samples: &[T], holds: impl Fn() -> bool) -> Result<u64, Refused> {
        self.lane().push_slice_if(samples, holds)
    }

    /// As a claimer that is descheduled between its claim and its copy, while `claimed` goes on.
    #[cfg(all(test, not(loom)))]
    pub(crate) fn push_slice_amid(&self, samples: &[T], claimed: impl FnOnce()) {
        self.lane().push_slice_amid(samples, || true, claimed).expect("there is room");
    }

    /// [`push_slice`](Self::push_slice), with `pressure` deciding what happens when the lane is full.
    ///
    /// # Errors
    /// As [`push_slice`](Self::push_slice), and [`Refused::Dropped`] under [`BackPressure::DropNewest`].
    #[inline]
    pub fn push_slice_under(&self, pressure: BackPressure, samples: &[T]) -> Result<u64, Refused> {
        match self.push_slice(samples) {
            Err(Refused::Full) => self.when_full(pressure, samples.len(), || self.push_slice(samples)),
            answer => answer,
        }
    }

    /// After a push of so many samples found the lane full: `push` tries again, as `pressure` says.
    ///
    /// # Errors
    /// As [`push_slice_under`](Self::push_slice_under), and what `push` refuses.
    #[cold]
    pub fn when_full(
        &self,
        pressure: BackPressure,
        samples: usize,
        push: impl FnMut() -> Result<u64, Refused>,
    ) -> Result<u64, Refused> {
        let lane = self.lane();
        lane.count_full();
        pressure.when_full(push, || lane.count_dropped(samples))
    }

    #[inline(always)]
    fn lane(&self) -> &CommonLane<T> {
        &self.shared.common
    }
}
