//! A pinned, consistent view of everything stored.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use super::{Columns, ReadCounts, ReadError, SampleSource};
use crate::model::{Labels, Sample, SeqNo, TimeRange, Timestamp};

/// What a query works on: sources that do not change, and the watermark they were taken at.
///
/// Cheap to clone; what it reads stays until the last clone is dropped.
#[derive(Clone)]
pub struct Snapshot {
    sources: Arc<[Arc<dyn SampleSource>]>,
    watermark: SeqNo,
    _pin: Option<Arc<dyn Any + Send + Sync>>,
}

impl Snapshot {
    /// A view of `sources`, earliest accepted first: the later one wins a duplicate.
    #[must_use]
    pub fn new(sources: Vec<Arc<dyn SampleSource>>, watermark: SeqNo) -> Self {
        Self { sources: sources.into(), watermark, _pin: None }
    }

    /// Holds `pin` until the last clone of this snapshot is dropped.
    #[must_use]
    pub fn with_pin(self, pin: Arc<dyn Any + Send + Sync>) -> Self {
        Self { _pin: Some(pin), ..self }
    }

    /// The sources, earliest accepted first.
    #[must_use]
    pub fn sources(&self) -> &[Arc<dyn SampleSource>] {
        &self.sources
    }

    /// Every sample accepted below this is in one of the sources, none at or above it.
    #[must_use]
    pub fn watermark(&self) -> SeqNo {
        self.watermark
    }

    /// The newest sample of the series that has exactly these labels; `None` if there is none. Later sources are asked
    /// first, and those that can only hold older samples not at all.
    ///
    /// # Errors
    /// [`ReadError`] if a source that was asked is damaged.
    pub fn last_of(&self, labels: &Labels) -> Result<Option<Sample>, ReadError> {
        self.last_by(|_, source| source.find(labels))
    }

    /// As [`last_of`](Self::last_of), of the series that `find` finds in the source with a number, if it is there.
    ///
    /// # Errors
    /// What `find` says, and [`ReadError`] if a source that was asked is damaged.
    pub fn last_by<E: From<ReadError>>(
        &self,
        mut find: impl FnMut(usize, &dyn SampleSource) -> Result<Option<u32>, E>,
    ) -> Result<Option<Sample>, E> {
        let (mut scratch, mut counts) = (Columns::default(), ReadCounts::default());
        let mut best: Option<Sample> = None;
        for (i, source) in self.sources.iter().enumerate().rev() {
            // A later source wins a tie: earlier ones must be newer.
            let Some(after) = best.map_or(Some(i64::MIN), |best| best.timestamp.nanos().checked_add(1)) else { break };
            let range = TimeRange::new(Timestamp::from_nanos(after), Timestamp::MAX);
            if !source.time_range().is_some_and(|own| own.overlaps(&range)) {
                continue;
            }
            if let Some(ordinal) = find(i, &**source)? {
                best = source.last(ordinal, range, &mut scratch, &mut counts)?.or(best);
            }
        }
        Ok(best)
    }
}

impl fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Snapshot").field("sources", &self.sources.len()).field("watermark", &self.watermark).finish()
    }
}
