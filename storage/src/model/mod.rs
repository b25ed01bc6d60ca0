//! Samples, labels, matchers: the words of `docs/glossary.md` as types.

mod labels;
mod matcher;
mod pattern;
mod sample;
mod time;

pub use labels::{LabelError, LabelLimits, Labels, METRIC_NAME, SeriesKey};
pub use matcher::{MatchOp, Matcher, MatcherError};
pub use pattern::compile_anchored;
pub use sample::{Sample, SeqNo, SeqRange};
pub use time::{TimeRange, Timestamp, TimestampOutOfRange};
