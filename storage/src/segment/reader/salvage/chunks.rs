//! The samples of a damaged segment, chunk by chunk.

use std::borrow::Cow;
use std::collections::HashMap;

use super::{Mends, Salvage};
use crate::chunk::{ChunkStats, TimestampColumn, ValueColumn, decode_vector};
use crate::model::{TimeRange, Timestamp};
use crate::segment::format::{Chunk, STATS_SAMPLES_MIN, Section, TimestampsRecord, WideStats};
use crate::segment::mend::{OneBit, one_bit};
use crate::segment::reader::Segment;
use crate::source::{Columns, ReadError};

/// A chunk that cannot be read.
#[derive(Debug)]
pub struct LostChunk {
    /// Holds its timestamps, as the directory says; `None` if the directory is damaged there.
    pub time_range: Option<TimeRange>,
    /// Samples that were in it, as the directory says.
    pub samples: u64,
    /// Why it cannot be read.
    pub why: ReadError,
}

/// What is known of timestamp columns, which many chunks may share.
#[derive(Debug, Default)]
pub(super) struct Columned {
    /// Where in the file the bit is that was turned over in a damaged one, if it is one. By all that the directory says of
    /// the bytes: records may contradict each other.
    flipped: HashMap<(u64, u16, u32), Option<(usize, u8)>>,
    /// Where they end, by number: where the first value column of a chunk that has them begins. Not made before a record
    /// must be proved.
    ends: Option<HashMap<u32, u64>>,
}

/// A column's bytes, and the bit that was put right.
type Read<'a> = (Cow<'a, [u8]>, Option<(usize, u8)>);

impl Columned {
    fn timestamps<'a>(&mut self, segment: &'a Segment, record: &TimestampsRecord) -> Result<Read<'a>, ReadError> {
        let told = (record.offset, record.len, record.crc);
        let known = self.flipped.get(&told).copied();
        let read = column(segment, told, "a timestamp column", known);
        if known.is_none() && !matches!(read, Ok((_, None))) {
            let flipped = read.as_ref().ok().and_then(|(_, bit)| *bit);
            self.flipped.insert(told, flipped);
        }
        read
    }

    /// Whether a column that ends here is number `number` (SM5).
    fn ends_at(&mut self, segment: &Segment, number: u32, end: Option<u64>) -> bool {
        let ends = self.ends.get_or_insert_with(|| {
            let mut ends = HashMap::new();
            for at in 0..segment.index.records(Section::Chunks) {
                let Ok(records) = segment.chunk_records(at..at + 1) else { continue };
                let Chunk { timestamps, offset, .. } = records.get(0);
                ends.entry(timestamps).and_modify(|end: &mut u64| *end = offset.min(*end)).or_insert(offset);
            }
            ends
        });
        end.is_some() && ends.get(&number).copied() == end
    }
}

/// Reads a column, one bit of it put right. `known`: what was found of it before.
fn column<'a>(
    segment: &'a Segment,
    (offset, len, crc): (u64, u16, u32),
    what: &str,
    known: Option<Option<(usize, u8)>>,
) -> Result<Read<'a>, ReadError> {
    let wrong = match segment.column(offset, len, crc, what) {
        Ok(bytes) => return Ok((Cow::Borrowed(bytes), None)),
        Err(wrong) => wrong,
    };
    let start = usize::try_from(offset).unwrap_or(usize::MAX);
    let end = start.saturating_add(usize::from(len));
    let Some(bytes) = segment.map.get(start..end) else { return Err(wrong) };
    // Zeros that took the place of what is lost tell no bit.
    if segment.map.is_lost(&(start..end)) {
        return Err(wrong);
    }
    // The directory has its own checksums: what it says of the column is right.
    let found = known.unwrap_or_else(|| match one_bit(bytes, crc) {
        Some(OneBit::Bytes { at, bit }) => Some((start + at, bit)),
        _ => None,
    });
    let Some((at, bit)) = found else { return Err(wrong) };
    let mut bytes = bytes.to_vec();
    bytes[at - start] ^= 1 << bit;
    Ok((Cow::Owned(bytes), Some((at, bit))))
}

/// A chunk as it was read, and the bits that were put right to read it.
struct Decoded {
    samples: Columns,
    timestamps: Option<(usize, u8)>,
    values: Option<(usize, u8)>,
}

impl Salvage {
    /// Hands the samples of a series that can be read to `take`, chunk by chunk in ascending time, and appends the chunks
    /// that cannot to `lost`. O(bytes of its columns); holds one chunk.
    ///
    /// # Errors
    /// That of `take`, at once.
    pub fn read<E>(
        &mut self,
        ordinal: u32,
        lost: &mut Vec<LostChunk>,
        mut take: impl FnMut(&Columns) -> Result<(), E>,
    ) -> Result<(), E> {
        let nowhere = |why| LostChunk { time_range: None, samples: 0, why };
        let chunks = match self.holes.chunks(&self.segment, ordinal) {
            Ok(chunks) => chunks,
            Err(why) => {
                lost.push(nowhere(why));
                return Ok(());
            }
        };
        let mut after = None;
        for number in chunks.range {
            match self.chunk(number, after) {
                Ok(read) => {
                    take(&read.samples)?;
                    after = read.samples.timestamps.last().copied().or(after);
                    note(&mut self.mends, read.timestamps, "a timestamp column");
                    note(&mut self.mends, read.values, "a value column");
                }
                Err(why) => {
                    let at = Timestamp::from_nanos;
                    lost.push(match self.segment.chunk(number) {
                        Ok((_, told)) => LostChunk {
                            time_range: Some(TimeRange::covering(at(told.first), at(told.last))),
                            samples: u64::from(told.count),
                            why,
                        },
                        Err(_) => nowhere(why),
                    });
                }
            }
        }
        if !chunks.whole {
            let what = format!("where the chunks of series {ordinal} end is lost");
            lost.push(nowhere(self.segment.corrupt(Section::Series, what)));
        }
        Ok(())
    }

    /// A chunk, which stands behind what was read before. Read anew where a page was lost meanwhile (UR2).
    fn chunk(&mut self, number: usize, after: Option<i64>) -> Result<Decoded, ReadError> {
        loop {
            let losses = self.segment.map.losses();
            let read = self.segment.chunk_records(number..number + 1).map(|records| records.get(0)).and_then(|chunk| {
                let (record, checked) = self.timestamps_record(number, &chunk)?;
                let read = decode(&self.segment, &mut self.columns, &chunk, &record, checked)?;
                check(&self.segment, &chunk, &record, &read, after).map(|()| read)
            });
            if self.segment.map.losses() == losses {
                return read;
            }
        }
    }

    /// What the directory says of the timestamps of a chunk, and whether that was found right. A record of a damaged block
    /// is proved by its column: that has its checksum, what is decoded of it says everything that the record says, and it
    /// lies where the column of this number must (SM5).
    fn timestamps_record(&mut self, number: usize, chunk: &Chunk) -> Result<(TimestampsRecord, bool), ReadError> {
        match self.segment.timestamps_of(number, chunk) {
            Ok(record) => Ok((*record, true)),
            Err(e) => {
                let Ok(record) = self.unchecked.timestamps_of(number, chunk) else { return Err(e) };
                let end = record.offset.checked_add(u64::from(record.len)).filter(|_| record.len > 0);
                if self.columns.ends_at(&self.segment, chunk.timestamps, end) { Ok((*record, false)) } else { Err(e) }
            }
        }
    }
}

fn note(mends: &mut Mends, bit: Option<(usize, u8)>, what: &'static str) {
    if let Some((at, bit)) = bit {
        mends.note(at, Some(bit), what);
    }
}

fn decode(
    segment: &Segment,
    columns: &mut Columned,
    chunk: &Chunk,
    record: &TimestampsRecord,
    checked: bool,
) -> Result<Decoded, ReadError> {
    segment.check_type(chunk)?;
    let count = usize::from(record.count);
    let (bytes, timestamps) = if checked {
        columns.timestamps(segment, record)?
    } else {
        (Cow::Borrowed(segment.column(record.offset, record.len, record.crc, "a timestamp column")?), None)
    };
    // What was put right and looks like another release's was not put right.
    let wrong = |offset, e, mended: bool| match segment.chunk_error(offset, e) {
        ReadError::TooNew { .. } | ReadError::MissingFeature { .. } if mended => {
            segment.corrupt_at(offset, "checksum of a column is wrong".to_owned())
        }
        e => e,
    };
    let at = TimestampColumn::parse(&bytes, count).map_err(|e| wrong(record.offset, e, timestamps.is_some()))?;
    let (bytes, values) = column(segment, (chunk.offset, chunk.len, chunk.crc), "a value column", None)?;
    let of_values = ValueColumn::parse(&bytes, count).map_err(|e| wrong(chunk.offset, e, values.is_some()))?;
    let mended = timestamps.is_some() || values.is_some();
    let mut samples = Columns::default();
    for vector in 0..at.vectors() {
        decode_vector(&at, &of_values, vector, TimeRange::ALL, &mut samples)
            .map_err(|e| wrong(chunk.offset, e, mended))?;
    }
    Ok(Decoded { samples, timestamps, values })
}

/// Whether what was read is what the directory says, and stands behind what was read before.
fn check(
    segment: &Segment,
    chunk: &Chunk,
    record: &TimestampsRecord,
    read: &Decoded,
    after: Option<i64>,
) -> Result<(), ReadError> {
    let Columns { timestamps, values } = &read.samples;
    let bounds = (timestamps.first().copied(), timestamps.last().copied());
    let as_told = bounds == (Some(record.first), Some(record.last)) && timestamps.len() == usize::from(record.count);
    if !as_told {
        return Err(segment.corrupt_at(record.offset, "timestamps contradict the directory".to_owned()));
    }
    if !timestamps.is_sorted_by(|a, b| a < b) || after.is_some_and(|after| after >= record.first) {
        return Err(segment.corrupt_at(record.offset, "timestamps are not in order".to_owned()));
    }
    // Of values that were put right the statistics must be these, to the bit.
    if read.values.is_some() && values.len() >= STATS_SAMPLES_MIN {
        let found = WideStats::new(&ChunkStats::of(timestamps, values));
        let told = segment.stats(chunk, record)?.map(|stats| WideStats::new(&stats).words());
        if told != Some(found.words()) {
            return Err(segment.corrupt_at(chunk.offset, "checksum of a value column is wrong".to_owned()));
        }
    }
    Ok(())
}
