//! The last sample of a series in a memtable, without decoding what comes before it.

use tidegauge_storage::model::{Sample, TimeRange, Timestamp};
use tidegauge_storage::source::{Columns, ReadCounts};

use super::{Kind, MemtableSource, Pair};

impl MemtableSource {
    pub(super) fn last_of(
        &self,
        slot: u32,
        range: TimeRange,
        scratch: &mut Columns,
        counts: &mut ReadCounts,
    ) -> Option<Sample> {
        let late = self.late(slot, range).last().map(sample);
        let in_order = self.last_in_order(slot, range, scratch, counts);
        match (in_order, late) {
            // Of equal timestamps the late one was accepted later.
            (Some(in_order), Some(late)) if in_order.timestamp > late.timestamp => Some(in_order),
            (in_order, late) => late.or(in_order),
        }
    }

    fn last_in_order(
        &self,
        slot: u32,
        range: TimeRange,
        scratch: &mut Columns,
        counts: &mut ReadCounts,
    ) -> Option<Sample> {
        let (chunks, tail) = self.parts(slot, Kind::InOrder);
        if let Some(pair) = tail.iter().rev().find(|pair| range.contains(Timestamp::from_nanos(pair.timestamp))) {
            counts.bytes += size_of::<Pair>() as u64;
            return Some(sample(pair));
        }
        for chunk in chunks.iter().rev().filter(|chunk| chunk.overlaps(range)) {
            scratch.clear();
            chunk.decode(range, self.commit, scratch);
            counts.chunks_decoded += 1;
            counts.bytes += chunk.encoded_len() as u64;
            if let Some(last) = scratch.last() {
                return Some(last);
            }
        }
        None
    }
}

fn sample(pair: &Pair) -> Sample {
    Sample { timestamp: Timestamp::from_nanos(pair.timestamp), value: pair.value }
}
