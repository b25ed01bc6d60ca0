//! Samples, labels, matchers: the words of `docs/glossary.md` as types.

mod labels;
mod lately;
mod matcher;
mod pattern;
mod prefixes;
mod replacement;
mod sample;
mod states;
mod time;
mod tombstone;

pub use labels::{LabelError, LabelLimits, Labels, METRIC_NAME, SeriesKey};
pub use matcher::{MatchOp, Matcher, MatcherError};
pub use pattern::{Pattern, compile_anchored};
pub use replacement::expand;
pub use sample::{Sample, SeqNo, SeqRange};
pub use time::{TimeRange, Timestamp, TimestampOutOfRange};
pub use tombstone::{TOMBSTONE_BYTES_MAX, TOMBSTONE_MATCHERS_MAX, Tombstone};
pub(crate) use tombstone::{decode_matchers, encode_matchers, i64_of, u32_of};
