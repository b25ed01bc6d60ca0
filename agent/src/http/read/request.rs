//! A remote-read request: which series, over which times, in which form.

use tidegauge::query::promql::PATTERN_BYTES_MAX;
use tidegauge::{MatchOp, Matcher, TimeRange, Timestamp};

use super::super::meta::too_large;
use super::super::wire::{Field, Message, WireError};

/// Queries of one request. Prometheus sends one.
const QUERIES_MAX: usize = 1024;
/// Matchers of one query.
const MATCHERS_MAX: usize = 1024;

/// In which form the answer goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    /// One message with all samples.
    Samples,
    /// A frame for each series, or for a part of it, its samples packed as XOR chunks.
    Chunks,
}

#[derive(Debug)]
pub(super) struct Query {
    pub(super) matchers: Vec<Matcher>,
    pub(super) range: TimeRange,
    /// What the regular expressions of the request take up to here.
    pattern_bytes: u64,
}

#[derive(Debug)]
pub(super) struct Request {
    pub(super) queries: Vec<Query>,
    pub(super) format: Format,
}

/// Why a request cannot be answered. Sending it again will not help.
#[derive(Debug, thiserror::Error)]
pub(super) enum RequestError {
    #[error(transparent)]
    Wire(#[from] WireError),
    #[error("{0}")]
    Matcher(String),
    #[error(
        "none of the requested response types is supported: {asked:?}; supported: samples (0), streamed XOR chunks (1)"
    )]
    Format { asked: Vec<u64> },
}

impl Request {
    pub(super) fn read(message: &[u8]) -> Result<Self, RequestError> {
        let mut message = Message::new(message);
        let (mut queries, mut asked, mut pattern_bytes) = (Vec::new(), Vec::new(), 0);
        while let Some((number, field)) = message.field()? {
            match (number, field) {
                (1, _) if queries.len() == QUERIES_MAX => return Err(message.wrong("too many queries").into()),
                (1, field) => {
                    let query = Query::read(field.bytes(&message)?, pattern_bytes)?;
                    pattern_bytes = query.pattern_bytes;
                    queries.push(query);
                }
                (2, Field::Varint(kind)) => asked.push(kind),
                (2, Field::Bytes(mut packed)) => {
                    while let Some(kind) = packed.packed()? {
                        asked.push(kind);
                    }
                }
                _ => {}
            }
        }
        // The first that we know; who names none knows samples only.
        let format = if asked.is_empty() { Some(Format::Samples) } else { asked.iter().find_map(|&kind| format(kind)) };
        let format = format.ok_or_else(|| RequestError::Format { asked: asked.into_iter().take(8).collect() })?;
        Ok(Self { queries, format })
    }
}

fn format(kind: u64) -> Option<Format> {
    match kind {
        0 => Some(Format::Samples),
        1 => Some(Format::Chunks),
        _ => None,
    }
}

impl Query {
    fn read(mut message: Message<'_>, mut pattern_bytes: u64) -> Result<Self, RequestError> {
        let (mut start, mut end, mut matchers) = (0, 0, Vec::new());
        while let Some((number, field)) = message.field()? {
            match number {
                // An int64 travels as the same 64 bits.
                1 => start = field.varint(&message)? as i64,
                2 => end = field.varint(&message)? as i64,
                3 if matchers.len() == MATCHERS_MAX => return Err(message.wrong("too many matchers").into()),
                3 => {
                    let matcher = matcher(field.bytes(&message)?)?;
                    pattern_bytes += matcher.pattern_bytes();
                    if pattern_bytes > PATTERN_BYTES_MAX {
                        return Err(RequestError::Matcher(too_large()));
                    }
                    matchers.push(matcher);
                }
                // Hints tell what becomes of the samples; all of them are sent anyway.
                _ => {}
            }
        }
        // Both ends are inside, and stand for their whole millisecond.
        let range = TimeRange::new(millis(start), millis(end.saturating_add(1)));
        Ok(Self { matchers, range, pattern_bytes })
    }
}

fn millis(millis: i64) -> Timestamp {
    Timestamp::from_nanos(millis.saturating_mul(1_000_000))
}

fn matcher(mut message: Message<'_>) -> Result<Matcher, RequestError> {
    let (mut op, mut name, mut value) = (MatchOp::Equal, "", "");
    while let Some((number, field)) = message.field()? {
        match number {
            1 => {
                op = match field.varint(&message)? {
                    0 => MatchOp::Equal,
                    1 => MatchOp::NotEqual,
                    2 => MatchOp::Regex,
                    3 => MatchOp::NotRegex,
                    _ => return Err(RequestError::Matcher("invalid matcher type".to_owned())),
                };
            }
            2 => name = field.bytes(&message)?.text()?,
            3 => value = field.bytes(&message)?.text()?,
            _ => {}
        }
    }
    Matcher::new(name, op, value).map_err(|e| RequestError::Matcher(e.to_string()))
}
