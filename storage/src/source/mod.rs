//! The seam between what stores samples and what asks for them.
//!
//! Memtable and segment implement [`SampleSource`]; the engine hands out a
//! [`Snapshot`] of them; the query crate reads nothing else.

mod cursor;
mod masked;
mod memory;
mod named;
mod snapshot;

use std::ops::Range;
use std::path::PathBuf;

pub use cursor::{ColumnCursor, ReadCounts};
pub use masked::{AgeMask, Mask, Masked};
pub use memory::VecSource;
pub use named::{Named, Naming};
pub use snapshot::Snapshot;

use crate::chunk::{ChunkStats, StatsWanted};
use crate::fs::what_to_mend;
use crate::model::{Labels, Matcher, Sample, SeqRange, SeriesKey, TimeRange, Timestamp};

/// A series inside one source: valid with the source that named it, nowhere else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SeriesHit {
    /// The source's own number for the series.
    pub ordinal: u32,
    /// Joins the series with the same one in other sources; compare the labels too.
    pub key: SeriesKey,
}

/// A run of samples as two columns of equal length, timestamps strictly ascending.
///
/// Values are `f64` today. The disk formats carry a type tag beside each value
/// column, so that other types can join here.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Columns {
    /// Nanoseconds since the Unix epoch.
    pub timestamps: Vec<i64>,
    /// One value for each timestamp.
    pub values: Vec<f64>,
}

impl Columns {
    /// Samples held.
    #[must_use]
    pub fn len(&self) -> usize {
        self.timestamps.len()
    }

    /// Whether no sample is held.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.timestamps.is_empty()
    }

    /// Forgets the samples, keeps the memory.
    pub fn clear(&mut self) {
        self.timestamps.clear();
        self.values.clear();
    }

    /// The last sample held.
    #[must_use]
    pub fn last(&self) -> Option<Sample> {
        let (&at, &value) = (self.timestamps.last()?, self.values.last()?);
        Some(Sample { timestamp: Timestamp::from_nanos(at), value })
    }

    /// Appends one sample.
    pub fn push(&mut self, timestamp: i64, value: f64) {
        self.timestamps.push(timestamp);
        self.values.push(value);
    }
}

/// Something that holds samples of many series: a memtable, a segment, a `Vec`.
///
/// Everything a source answers is fixed from the moment a [`Snapshot`] holds it.
pub trait SampleSource: Send + Sync {
    /// Place in the order of acceptance. Where two sources hold the same (series,
    /// timestamp), the one that stands later in the snapshot wins.
    fn seq_range(&self) -> SeqRange;

    /// A range that holds every timestamp of this source; `None` if it is empty.
    fn time_range(&self) -> Option<TimeRange>;

    /// The series that pass all `matchers`, in any order, each once. A series may turn
    /// out to have no sample in the range asked for later.
    ///
    /// # Errors
    /// [`ReadError`] if the index is damaged.
    fn select(&self, matchers: &[Matcher]) -> Result<Vec<SeriesHit>, ReadError>;

    /// The ordinals of what [`select`](Self::select) names, each once.
    ///
    /// # Errors
    /// [`ReadError`] if the index is damaged.
    fn ordinals(&self, matchers: &[Matcher]) -> Result<Vec<u32>, ReadError> {
        Ok(self.select(matchers)?.iter().map(|hit| hit.ordinal).collect())
    }

    /// About how often [`ordinals`](Self::ordinals) tries one of these matchers on a text, or does what takes as long.
    /// `None` where that is once a series: there is no index.
    fn looks_to_select(&self, matchers: &[Matcher]) -> Option<u64> {
        let _ = matchers;
        None
    }

    /// About how many series it has. `None` where nobody counts them.
    fn series_about(&self) -> Option<u64> {
        None
    }

    /// The labels of a series that [`select`](Self::select) named.
    ///
    /// # Errors
    /// [`ReadError`] if the index is damaged.
    fn labels(&self, ordinal: u32) -> Result<Labels, ReadError>;

    /// The labels of many series, in the order asked for. Cheaper together than one by one.
    ///
    /// # Errors
    /// [`ReadError`] if the index is damaged.
    fn labels_of(&self, ordinals: &[u32]) -> Result<Vec<Labels>, ReadError> {
        ordinals.iter().map(|&ordinal| self.labels(ordinal)).collect()
    }

    /// The series that has exactly these labels.
    ///
    /// # Errors
    /// [`ReadError`] if the index is damaged.
    fn find(&self, labels: &Labels) -> Result<Option<u32>, ReadError> {
        let key = labels.key();
        for hit in self.select(&[])?.iter().filter(|hit| hit.key == key) {
            if self.labels(hit.ordinal)? == *labels {
                return Ok(Some(hit.ordinal));
            }
        }
        Ok(None)
    }

    /// A cursor over the samples of one series whose timestamps lie in `range`.
    ///
    /// # Errors
    /// [`ReadError`] if the directory is damaged.
    fn read<'a>(&'a self, ordinal: u32, range: TimeRange) -> Result<Box<dyn ColumnCursor + 'a>, ReadError>;

    /// Hands `see` the statistics of the chunks of series, at least one, that stand one behind the other: each with the
    /// number of its series, and in order of time. Answers of how many of these, from the first one on, that tells every
    /// sample in `range`: each chunk that holds some lies whole inside it and has statistics, and `see` answered true. It
    /// ends before the first series of which that is not so, or earlier; what `see` was told of one behind that must be
    /// forgotten, and the series [read](Self::read). What is not `wanted` may be 0. What was looked at of those that were
    /// told is added to `counts`.
    ///
    /// Looks at the directory alone: three records a chunk.
    ///
    /// # Errors
    /// [`ReadError`] if the directory is damaged.
    fn statistics(
        &self,
        ordinals: Range<u32>,
        range: TimeRange,
        wanted: StatsWanted,
        counts: &mut ReadCounts,
        see: &mut dyn FnMut(u32, &ChunkStats) -> bool,
    ) -> Result<u32, ReadError> {
        let _ = (ordinals, range, wanted, counts, see);
        Ok(0)
    }

    /// About how many samples of one series lie in `range`, if the directory tells without a look at each chunk. It
    /// decides who does the work, and changes no answer.
    fn samples_about(&self, ordinal: u32, range: TimeRange) -> Option<u64> {
        let _ = (ordinal, range);
        None
    }

    /// The last sample of one series in `range`. `scratch` is memory to decode in; what was
    /// read is added to `counts`. A source that stores chunks reads the last one at most, and
    /// answers from its statistics where they tell.
    ///
    /// # Errors
    /// As [`read`](Self::read) and [`ColumnCursor::next`].
    fn last(
        &self,
        ordinal: u32,
        range: TimeRange,
        scratch: &mut Columns,
        counts: &mut ReadCounts,
    ) -> Result<Option<Sample>, ReadError> {
        let mut cursor = self.read(ordinal, range)?;
        let mut last = None;
        scratch.clear();
        while cursor.next(scratch)? {
            last = scratch.last();
            scratch.clear();
        }
        *counts += cursor.counts();
        Ok(last)
    }

    /// Hands `each` the names of all labels of this source, in any order, some perhaps more than once; ends once it
    /// answers false. Locks may be held meanwhile: `each` asks nothing of the source or its engine.
    ///
    /// # Errors
    /// [`ReadError`] if the index is damaged.
    fn label_names(&self, each: &mut dyn FnMut(&str) -> bool) -> Result<(), ReadError> {
        for hit in self.select(&[])? {
            if !self.labels(hit.ordinal)?.iter().all(|(name, _)| each(name)) {
                break;
            }
        }
        Ok(())
    }

    /// Hands `each` the values that label `name` takes in this source, as [`label_names`](Self::label_names) does.
    ///
    /// # Errors
    /// [`ReadError`] if the index is damaged.
    fn label_values(&self, name: &str, each: &mut dyn FnMut(&str) -> bool) -> Result<(), ReadError> {
        for hit in self.select(&[])? {
            if !self.labels(hit.ordinal)?.get(name).is_none_or(&mut *each) {
                break;
            }
        }
        Ok(())
    }
}

/// Why stored samples could not be read. Nothing stored was changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// The bytes are wrong. Retrying will not help: run `tidegauge verify`, then repair or restore.
    #[error("{} is damaged at byte {offset}: {what}; repair it (`tidegauge repair`), or restore it from a backup", file.display())]
    Corrupt {
        /// The damaged file.
        file: PathBuf,
        /// Where in it.
        offset: u64,
        /// What is wrong there.
        what: String,
    },
    /// Written by a newer release. Upgrade, then reopen.
    #[error("{} has format version {found}; this release reads up to {supported}: upgrade, then reopen", file.display())]
    TooNew {
        /// The file.
        file: PathBuf,
        /// The version it carries.
        found: u32,
        /// The newest version known here.
        supported: u32,
    },
    /// Sound, and this program was built without what reads it. Build it with that feature, then reopen.
    #[error("{} holds data that only programs with the feature `{feature}` read: build this one with it, then reopen", file.display())]
    MissingFeature {
        /// The file.
        file: PathBuf,
        /// The feature of the crate `tidegauge`.
        feature: &'static str,
    },
    /// The device or the operating system failed. Mend what it names, then read again.
    #[error("{}: {source}; {}, then read again", file.display(), what_to_mend(source))]
    Io {
        /// The file.
        file: PathBuf,
        /// What the operating system says.
        source: std::io::Error,
    },
}
