//! A sealed tail: samples that never change, and what a pinned commit may see of them.

use tidegauge_storage::chunk::{ChunkEncoder, ChunkView};
use tidegauge_storage::model::{TimeRange, Timestamp};
use tidegauge_storage::source::Columns;

use super::tail::{ChunkMark, Full, Kind, Pair, len_at};

/// Samples of one series that were a full tail, or an idle one of a sealed memtable.
pub struct SealedChunk {
    samples: Samples,
    len: u32,
    marks: Vec<ChunkMark>,
    first: i64,
    last: i64,
    last_seq: u64,
}

enum Samples {
    /// Strictly ascending, encoded as in a segment.
    Encoded(Box<[u8]>),
    /// In order of acceptance: late samples are sorted by whoever reads them.
    Raw(Box<[Pair]>),
}

/// Seals tails, with scratch memory that is reused.
#[derive(Default)]
pub struct Sealer {
    encoder: ChunkEncoder,
    timestamps: Vec<i64>,
    values: Vec<f64>,
    bytes: Vec<u8>,
}

impl Sealer {
    pub fn seal(&mut self, full: Full<'_>) -> SealedChunk {
        let samples = match full.kind {
            Kind::Late => Samples::Raw(full.pairs.into()),
            Kind::InOrder => Samples::Encoded(self.encode(full.pairs)),
        };
        let times = || full.pairs.iter().map(|p| p.timestamp);
        SealedChunk {
            samples,
            len: full.pairs.len() as u32,
            marks: full.marks,
            first: times().min().unwrap_or(i64::MAX),
            last: times().max().unwrap_or(i64::MIN),
            last_seq: full.last_seq,
        }
    }

    fn encode(&mut self, pairs: &[Pair]) -> Box<[u8]> {
        self.timestamps.clear();
        self.values.clear();
        self.bytes.clear();
        if pairs.is_empty() {
            return Box::default();
        }
        self.timestamps.extend(pairs.iter().map(|p| p.timestamp));
        self.values.extend(pairs.iter().map(|p| p.value));
        self.encoder.encode(&self.timestamps, &self.values, &mut self.bytes);
        self.bytes.as_slice().into()
    }
}

impl SealedChunk {
    /// Bytes on the heap, the skiplist's node included (about).
    pub fn bytes(&self) -> usize {
        const NODE: usize = 64;
        self.encoded_len() + size_of::<Self>() + self.marks.len() * size_of::<ChunkMark>() + NODE
    }

    /// Bytes that its samples take.
    pub fn encoded_len(&self) -> usize {
        match &self.samples {
            Samples::Encoded(bytes) => bytes.len(),
            Samples::Raw(pairs) => size_of_val(&**pairs),
        }
    }

    /// Its least timestamp.
    pub fn first(&self) -> i64 {
        self.first
    }

    /// Its greatest timestamp.
    pub fn last(&self) -> i64 {
        self.last
    }

    /// See [`Full::last_seq`].
    pub fn last_seq(&self) -> u64 {
        self.last_seq
    }

    pub fn overlaps(&self, range: TimeRange) -> bool {
        let own = TimeRange::covering(Timestamp::from_nanos(self.first), Timestamp::from_nanos(self.last));
        self.len > 0 && own.overlaps(&range)
    }

    /// How many of its samples were there at `commit`.
    fn len_at(&self, commit: u64) -> usize {
        len_at(commit, self.len, self.marks.iter().copied()) as usize
    }

    /// Appends what lies in `range` and was there at `commit`, ascending. In-order chunks only.
    pub fn decode(&self, range: TimeRange, commit: u64, out: &mut Columns) {
        let Samples::Encoded(bytes) = &self.samples else {
            unreachable!("late chunks are read by `pairs`");
        };
        let len = self.len_at(commit);
        if len == 0 {
            return;
        }
        let view = ChunkView::parse(bytes).expect("encoded by this process, never changed");
        if len == self.len as usize {
            view.decode_range(range, out).expect("encoded by this process, never changed");
            return;
        }
        let mut all = Columns::default();
        view.decode_into(&mut all).expect("encoded by this process, never changed");
        for (&at, &value) in all.timestamps[..len].iter().zip(&all.values) {
            if range.contains(Timestamp::from_nanos(at)) {
                out.push(at, value);
            }
        }
    }

    /// All of it, undecoded, if there is anything: `commit` must cover it. In-order chunks only.
    pub fn whole(&self, commit: u64) -> Option<ChunkView<'_>> {
        assert_eq!(self.len_at(commit), self.len as usize, "a commit that covers all of it");
        let Samples::Encoded(bytes) = &self.samples else {
            unreachable!("late chunks are read by `pairs`");
        };
        (self.len > 0).then(|| ChunkView::parse(bytes).expect("encoded by this process, never changed"))
    }

    /// What was there at `commit`, in order of acceptance. Late chunks only.
    pub fn pairs(&self, commit: u64) -> &[Pair] {
        match &self.samples {
            Samples::Raw(pairs) => &pairs[..self.len_at(commit)],
            Samples::Encoded(_) => unreachable!("in-order chunks are read by `decode`"),
        }
    }
}
