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
        let in_order = self.last_in_order(slot, range, scratch, counts);
        let late = self.last_late(slot, range, in_order.map_or(i64::MIN, |in_order| in_order.timestamp.nanos()));
        // Not older, and of equal timestamps the late one was accepted later.
        late.or(in_order)
    }

    /// The last accepted of the greatest late timestamp in `range` that is not below `from`. Nothing is sorted, and
    /// chunks that end before what was found are passed over.
    fn last_late(&self, slot: u32, range: TimeRange, from: i64) -> Option<Sample> {
        let (chunks, tail) = self.parts(slot, Kind::Late);
        let mut best: Option<Pair> = None;
        // Backwards, so that of equal timestamps the first that is met stays.
        let mut look = |pairs: &[Pair]| {
            for pair in pairs.iter().rev().filter(|pair| range.contains(Timestamp::from_nanos(pair.timestamp))) {
                if best.map_or(pair.timestamp >= from, |best| pair.timestamp > best.timestamp) {
                    best = Some(*pair);
                }
            }
            best.map_or(from, |best| best.timestamp.saturating_add(1))
        };
        let mut least = look(&tail);
        for chunk in chunks.iter().rev() {
            if chunk.last() >= least && chunk.overlaps(range) {
                least = look(chunk.pairs(self.commit));
            }
        }
        best.as_ref().map(sample)
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
