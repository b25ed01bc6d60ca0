//! The chunks of a segment while it is written.

use super::pieces::Pieces;
use crate::chunk::{ChunkError, Cursor, put_signed, put_varint, unzigzag, zigzag};
use crate::segment::format::{Chunk, NO_STATS};

/// Records of chunks, in the order of the file: each as what it differs in from the one before, some ten bytes where
/// the record has twenty.
#[derive(Debug, Default)]
pub(super) struct ChunkList {
    pieces: Pieces,
    before: Before,
    len: usize,
}

/// What an entry is told from.
#[derive(Clone, Copy, Debug, Default)]
struct Before {
    /// Where the value column ends.
    end: u64,
    timestamps: u32,
    stats: u32,
}

impl Before {
    fn follow(&mut self, chunk: &Chunk) {
        self.end = chunk.offset + u64::from(chunk.len);
        self.timestamps = chunk.timestamps;
        if chunk.stats != NO_STATS {
            self.stats = chunk.stats;
        }
    }

    /// Appends what makes `chunk` of this again: the gap before its column, its checksum, its timestamps, its
    /// statistics (0: none; otherwise 1 more than the distance), its length and its type.
    fn put(&self, chunk: &Chunk, out: &mut Vec<u8>) {
        put_varint(out, chunk.offset - self.end);
        out.extend_from_slice(&chunk.crc.to_le_bytes());
        put_signed(out, i64::from(chunk.timestamps) - i64::from(self.timestamps));
        let stats = (chunk.stats != NO_STATS).then(|| zigzag(i64::from(chunk.stats) - i64::from(self.stats)) + 1);
        put_varint(out, stats.unwrap_or(0));
        put_varint(out, chunk.len.into());
        out.push(chunk.value_type);
    }

    fn take(&self, entry: &mut Cursor<'_>) -> Result<Chunk, ChunkError> {
        const WHAT: &str = "an entry of a chunk";
        let offset = self.end + entry.varint(WHAT)?;
        let crc = entry.u32(WHAT)?;
        let from = |place: u32, way: i64| (i64::from(place) + way) as u32;
        let timestamps = from(self.timestamps, entry.signed(WHAT)?);
        let stats = entry.varint(WHAT)?.checked_sub(1).map_or(NO_STATS, |way| from(self.stats, unzigzag(way)));
        let len = entry.varint(WHAT)? as u16;
        Ok(Chunk { offset, crc, timestamps, stats, len, value_type: entry.u8(WHAT)? })
    }
}

impl ChunkList {
    /// Adds a chunk, whose value column lies behind those before.
    pub(super) fn push(&mut self, chunk: &Chunk) {
        self.pieces.push(|out| self.before.put(chunk, out));
        self.before.follow(chunk);
        self.len += 1;
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// The chunks from the first on.
    pub(super) fn iter(&self) -> impl Iterator<Item = Chunk> {
        let (mut entries, mut before) = (self.pieces.entries(), Before::default());
        std::iter::from_fn(move || {
            let chunk = before.take(entries.next()?).expect("put by this process");
            before.follow(&chunk);
            Some(chunk)
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn chunk() -> impl Strategy<Value = (u64, Chunk)> {
        let gap = prop_oneof![Just(0), 0..1u64 << 39];
        let stats = prop_oneof![Just(NO_STATS), 0..9u32, any::<u32>()];
        let timestamps = prop_oneof![0..3u32, any::<u32>()];
        (gap, any::<u32>(), timestamps, stats, any::<u16>(), any::<u8>()).prop_map(
            |(gap, crc, timestamps, stats, len, value_type)| {
                (gap, Chunk { offset: 0, crc, timestamps, stats, len, value_type })
            },
        )
    }

    proptest! {
        #[test]
        fn chunks_come_back_in_order(gapped in prop::collection::vec(chunk(), 0..40)) {
            let (mut list, mut chunks, mut end) = (ChunkList::default(), vec![], 0);
            for (gap, chunk) in gapped {
                chunks.push(Chunk { offset: end + gap, ..chunk });
                end += gap + u64::from(chunk.len);
                list.push(&chunks[chunks.len() - 1]);
            }
            prop_assert_eq!(list.len(), chunks.len());
            prop_assert_eq!(list.iter().collect::<Vec<_>>(), chunks);
        }
    }

    #[test]
    fn a_chunk_costs_ten_bytes() {
        let mut list = ChunkList::default();
        let stats = |i: u32| if i.is_multiple_of(2) { NO_STATS } else { i * 2 };
        let chunk = |i: u32| Chunk {
            offset: u64::from(i) * 900,
            crc: !i,
            timestamps: 7,
            stats: stats(i),
            len: 900,
            value_type: 0,
        };
        (0..10_000).for_each(|i| list.push(&chunk(i)));
        assert!(list.pieces.len() <= 10_000 * 10 + 9, "{}", list.pieces.len());
    }
}
