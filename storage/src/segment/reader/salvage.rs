//! Reading what can be read of a damaged segment.

use super::Segment;
use crate::model::{TimeRange, Timestamp};
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

impl Segment {
    /// Appends the samples of a series that can be read to `out`, in ascending time, and the chunks that cannot to
    /// `lost`. O(bytes of its columns).
    pub fn salvage(&self, ordinal: u32, out: &mut Columns, lost: &mut Vec<LostChunk>) {
        let chunks = match self.chunk_range(ordinal) {
            Ok(chunks) => chunks,
            Err(why) => return lost.push(LostChunk { time_range: None, samples: 0, why }),
        };
        let mut read = Columns::default();
        for number in chunks {
            let (chunk, timestamps) = match self.chunk(number) {
                Ok(found) => found,
                Err(why) => {
                    lost.push(LostChunk { time_range: None, samples: 0, why });
                    continue;
                }
            };
            let at = Timestamp::from_nanos;
            let time_range = Some(TimeRange::covering(at(timestamps.first), at(timestamps.last)));
            let samples = u64::from(timestamps.count);
            read.clear();
            let whole = self.decode_chunk(&chunk, timestamps, TimeRange::ALL, &mut read).and_then(|()| {
                let ascends = read.timestamps.is_sorted_by(|a, b| a < b);
                match (read.timestamps.first(), out.timestamps.last()) {
                    (Some(first), last) if ascends && last.is_none_or(|last| last < first) => Ok(()),
                    (None, _) => Ok(()),
                    _ => Err(self.corrupt_at(timestamps.offset, "timestamps are not in order".to_owned())),
                }
            });
            match whole {
                Ok(()) => {
                    out.timestamps.append(&mut read.timestamps);
                    out.values.append(&mut read.values);
                }
                Err(why) => lost.push(LostChunk { time_range, samples, why }),
            }
        }
    }
}
