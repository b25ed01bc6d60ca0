//! Questions to a snapshot: a selector, an expression of PromQL, a last value.

use std::cell::OnceCell;
use std::sync::Arc;

use tidegauge_query::promql::{self, ParseError, Query};
use tidegauge_query::{Budget, Cancel, QueryError, QueryLimits, Selection};
use tidegauge_storage::model::{LabelLimits, Labels, Matcher, Sample, Timestamp};
use tidegauge_storage::source::ReadError;

use super::{Cut, Snapshot};
use crate::batch::LastError;
use crate::memtable::HeadTable;
use crate::registry::SeriesId;
use crate::sync::epoch;

/// Why series could not be selected. Nothing stored was changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SelectError {
    /// The selector does not parse; the message points at the place.
    #[error(transparent)]
    Parse(#[from] ParseError),
    /// An index is damaged, or a limit was reached.
    #[error(transparent)]
    Query(#[from] QueryError),
}

impl Snapshot {
    /// The series that a PromQL selector such as `cpu{host=~"web.*"}` names. Cost: that of
    /// finding them; samples are read when the selection is.
    ///
    /// # Errors
    /// [`SelectError`] if the selector does not parse or an index is damaged.
    pub fn select(&self, selector: &str) -> Result<Selection, SelectError> {
        let matchers = promql::parse_selector(selector)?;
        Ok(self.select_matching(&matchers)?)
    }

    /// As [`select`](Self::select), for predicates that nobody has to write down and parse.
    ///
    /// # Errors
    /// [`QueryError`] if an index is damaged, or a limit was reached.
    pub fn select_matching(&self, matchers: &[Matcher]) -> Result<Selection, QueryError> {
        Selection::new_on(self, matchers, self.reads().threads.clone(), &self.reads().core.ledger)
    }

    /// The newest sample of a series as of this snapshot; `None` if it holds none. In memory the id alone finds it, without
    /// a list of sources where the open tail tells; its labels are made only where a segment may hold something newer.
    ///
    /// # Errors
    /// [`LastError`] if the id is stale by now (ask by its labels), or a segment cannot be read.
    pub fn last(&self, series: SeriesId) -> Result<Option<Sample>, LastError> {
        let (core, version) = (&self.reads().core, &self.cut.version);
        if !core.heads.is_live(series) {
            return Err(LastError::StaleSeries);
        }
        // After that look: while a registry is the current one none of its slots is another series' (V7). If another one
        // has followed, the slot may have been somebody else's when this snapshot was taken.
        let now = core.versions.peek();
        let labels = || now.registry.slots().labels_of(series).ok_or(LastError::StaleSeries);
        if !Arc::ptr_eq(&now.registry, &version.registry) {
            return Ok(self.sources().last_of(&labels()?)?);
        }
        if let Some(newest) = self.newest(series) {
            return Ok(Some(newest));
        }
        let (segments, made) = (version.segments.len(), OnceCell::new());
        self.sources().last_by(|i, source| {
            if i >= segments {
                return Ok(Some(series.slot));
            }
            let labels = made.get_or_init(|| labels().ok()).as_ref().ok_or(LastError::StaleSeries)?;
            Ok(source.find(labels)?)
        })
    }

    /// The newest sample of a live series of this snapshot's registry, if its open tail alone tells (T9); `None` says
    /// nothing.
    fn newest(&self, series: SeriesId) -> Option<Sample> {
        let (core, Cut { version, ages, pin }) = (&self.reads().core, &*self.cut);
        // What hides samples by their age may hide this one. Deletes do not: each begins a new memtable.
        if ages.is_some() {
            return None;
        }
        let head = core.heads.head(series.slot);
        let pair = head.newest_at(&epoch::pin(), version.active.origin(), pin.visible().commit)?;
        // After the sample: while the series is live nothing of its late samples was forgotten (V7).
        if !core.heads.is_live(series) {
            return None;
        }
        // Of equal timestamps the active memtable's sample was accepted later.
        let newest = Sample { timestamp: Timestamp::from_nanos(pair.timestamp), value: pair.value };
        (pair.timestamp >= version.last_of_older()).then_some(newest)
    }

    /// The newest sample of the series that has exactly these labels, given in any order; `None` if there is none. It
    /// selects nothing, and so costs a lookup for each source that may hold something newer: about a microsecond, where
    /// [`last`](Self::last) by its id looks nothing up in memory, and [`Engine::last`](crate::Engine::last) needs no
    /// snapshot and a tenth of that.
    ///
    /// # Errors
    /// [`ReadError`] if a segment cannot be read.
    pub fn last_of(&self, labels: &[(&str, &str)]) -> Result<Option<Sample>, ReadError> {
        // Labels that are not acceptable are nobody's.
        let Ok(labels) = Labels::new(labels.iter().copied(), &LabelLimits::NONE) else { return Ok(None) };
        self.sources().last_of(&labels)
    }

    /// An expression of PromQL, to be evaluated on this snapshot; the engine's query threads help.
    pub fn promql(&self, expr: impl Into<String>) -> Query {
        Query::new(self, expr).on(self.reads().threads.clone()).charged_to(&self.reads().core.ledger)
    }

    /// A budget for one query of whoever puts it together by hand, charged to the memory of all queries of this
    /// engine. One made otherwise is bounded by itself alone.
    #[must_use]
    pub fn budget(&self, limits: QueryLimits, cancel: Cancel) -> Budget {
        Budget::charged_to(&self.reads().core.ledger, limits, cancel)
    }
}
