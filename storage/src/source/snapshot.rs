//! A pinned, consistent view of everything stored.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use super::SampleSource;
use crate::model::SeqNo;

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
}

impl fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Snapshot").field("sources", &self.sources.len()).field("watermark", &self.watermark).finish()
    }
}
