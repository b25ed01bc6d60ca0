//! Reading chunks.

use super::cursor::Cursor;
use super::format::{CHUNK_VERSION, VALUE_TYPE_F64};
use super::{ChunkError, TimestampColumn, ValueColumn};
use crate::model::{TimeRange, Timestamp};
use crate::source::Columns;

/// An encoded chunk whose outline was checked. Borrows the bytes, copies nothing.
#[derive(Clone, Copy, Debug)]
pub struct ChunkView<'a> {
    first: i64,
    last: i64,
    timestamps: TimestampColumn<'a>,
    values: ValueColumn<'a>,
}

impl<'a> ChunkView<'a> {
    /// Checks header and outline of a chunk that fills `bytes`. O(1).
    ///
    /// # Errors
    /// [`ChunkError`] if the bytes are no chunk, or one of a newer release.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, ChunkError> {
        let mut cursor = Cursor::new(bytes);
        let version = cursor.u8("version")?;
        if version == 0 {
            return Err(ChunkError::damaged("version 0"));
        }
        if version > CHUNK_VERSION {
            return Err(ChunkError::TooNew { what: "version", found: version, supported: CHUNK_VERSION });
        }
        let value_type = cursor.u8("value type")?;
        if value_type != VALUE_TYPE_F64 {
            return Err(ChunkError::TooNew { what: "value type", found: value_type, supported: VALUE_TYPE_F64 });
        }
        let count = usize::from(cursor.u16("count")?);
        let timestamp_bytes = cursor.u32("length of the timestamp column")? as usize;
        let (first, last) = (cursor.i64("first timestamp")?, cursor.i64("last timestamp")?);
        let timestamps = TimestampColumn::parse(cursor.take(timestamp_bytes, "timestamp column")?, count)?;
        let values = ValueColumn::parse(cursor.rest(), count)?;
        if timestamps.first(0)? != first || last < timestamps.first(timestamps.vectors() - 1)? {
            return Err(ChunkError::damaged("first or last timestamp contradicts the column"));
        }
        Ok(Self { first, last, timestamps, values })
    }

    /// Samples in the chunk: 1 to 4,096.
    #[must_use]
    pub fn count(&self) -> usize {
        self.timestamps.count()
    }

    /// First timestamp, in nanoseconds since the Unix epoch.
    #[must_use]
    pub fn first_timestamp(&self) -> i64 {
        self.first
    }

    /// Last timestamp, in nanoseconds since the Unix epoch.
    #[must_use]
    pub fn last_timestamp(&self) -> i64 {
        self.last
    }

    /// The timestamp column.
    #[must_use]
    pub fn timestamps(&self) -> TimestampColumn<'a> {
        self.timestamps
    }

    /// The value column.
    #[must_use]
    pub fn values(&self) -> ValueColumn<'a> {
        self.values
    }

    /// Appends all samples to `out`. `out` is as before after an error.
    ///
    /// # Errors
    /// [`ChunkError`] if the chunk is damaged.
    pub fn decode_into(&self, out: &mut Columns) -> Result<(), ChunkError> {
        self.decode_range(TimeRange::ALL, out)
    }

    /// Appends the samples inside `range` to `out`, decoding only vectors that may hold some.
    /// `out` is as before after an error.
    ///
    /// # Errors
    /// [`ChunkError`] if what had to be decoded is damaged.
    pub fn decode_range(&self, range: TimeRange, out: &mut Columns) -> Result<(), ChunkError> {
        let start = out.len();
        let decoded = (0..self.timestamps.vectors())
            .try_for_each(|vector| decode_vector(&self.timestamps, &self.values, vector, range, out))
            .and_then(|()| self.check_last(start, range, out));
        if decoded.is_err() {
            out.timestamps.truncate(start);
            out.values.truncate(start);
        }
        decoded
    }

    fn check_last(&self, start: usize, range: TimeRange, out: &Columns) -> Result<(), ChunkError> {
        let last_is_in = range.contains(Timestamp::from_nanos(self.last));
        let last = out.timestamps[start..].last();
        if last.is_some_and(|at| *at > self.last) || (last_is_in && last != Some(&self.last)) {
            return Err(ChunkError::damaged("last timestamp contradicts the column"));
        }
        Ok(())
    }
}

/// Appends the samples of one vector that lie inside `range`. Both columns of `out` grow alike or not at all.
///
/// # Errors
/// [`ChunkError`] if the vector is damaged, or overlaps the next one.
pub fn decode_vector(
    timestamps: &TimestampColumn<'_>,
    values: &ValueColumn<'_>,
    vector: usize,
    range: TimeRange,
    out: &mut Columns,
) -> Result<(), ChunkError> {
    let is_last = vector + 1 == timestamps.vectors();
    let next = if is_last { None } else { Some(timestamps.first(vector + 1)?) };
    let before = |at: i64| at < range.start.nanos();
    if next.is_some_and(|next| before(next) || next == range.start.nanos()) {
        return Ok(());
    }
    let first = timestamps.first(vector)?;
    if !before(first) && !range.contains(Timestamp::from_nanos(first)) {
        return Ok(());
    }
    let start = out.len();
    timestamps.decode_vector(vector, &mut out.timestamps)?;
    let whole = &out.timestamps[start..];
    if next.is_some_and(|next| whole.last().is_some_and(|last| *last >= next)) {
        out.timestamps.truncate(start);
        return Err(ChunkError::damaged("vectors of timestamps overlap"));
    }
    // Most lie whole inside, which their ends show.
    let inside = |at: Option<&i64>| at.is_some_and(|at| range.contains(Timestamp::from_nanos(*at)));
    let (skip, keep) = if inside(whole.first()) && inside(whole.last()) {
        (0, whole.len())
    } else {
        let skip = whole.partition_point(|at| before(*at));
        (skip, whole[skip..].partition_point(|at| range.contains(Timestamp::from_nanos(*at))))
    };
    if keep == 0 {
        out.timestamps.truncate(start);
        return Ok(());
    }
    if let Err(error) = values.decode_vector(vector, &mut out.values) {
        out.timestamps.truncate(start);
        return Err(error);
    }
    out.timestamps.truncate(start + skip + keep);
    out.values.truncate(start + skip + keep);
    if skip > 0 {
        out.timestamps.drain(start..start + skip);
        out.values.drain(start..start + skip);
    }
    Ok(())
}
