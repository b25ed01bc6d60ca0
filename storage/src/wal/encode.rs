//! Samples and definitions into the bytes of a frame.

use bytemuck::Zeroable;

use super::decode::series_of;
use super::format::{
    FRAME_ALIGN, FRAME_BYTES_MAX, FRAME_HEADER_LEN, FRAME_MAGIC, FRAME_SAMPLES_MAX, FrameHeader, GROUP_OVERHEAD_MAX,
    GROUP_SAMPLES_MAX, KIND_DELETE, KIND_SAMPLES, KIND_WITNESS, ORIGIN_LEN,
};
use super::group::GroupEncoder;
use super::types::{Epoch, FrameNo, GenerationId, Origin, WalSample};
use crate::model::{Labels, SeqNo, Tombstone};

/// What a sample takes at most: its columns raw.
const SAMPLE_BYTES_MAX: usize = 20;
/// Kept free for padding, the group in waiting, and the last, shorter one of a slice.
const SLACK: usize = FRAME_ALIGN as usize + 3 * GROUP_OVERHEAD_MAX;
/// Slices shorter than this wait until they make a group together. Longer ones are
/// worth one of their own: copying them would cost more than some 30 bytes.
const STAGE_BELOW: usize = 128;

/// The frame has no room for this. Append it, begin another, and try there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the frame is full: append it and begin another")]
pub struct FrameFull;

/// Builds frames one after the other in memory that it keeps: no allocation once warm.
///
/// [`begin`](Self::begin), then [`define`](Self::define) and [`samples`](Self::samples)
/// in any number, then [`WalWriter::append`](super::WalWriter::append).
#[derive(Debug)]
pub struct FrameEncoder {
    /// Room for the header, then groups; the rest follows when the frame is finished.
    bytes: Vec<u8>,
    definitions: Vec<u8>,
    origins: Vec<u8>,
    header: FrameHeader,
    /// Samples waiting until they fill a group.
    stage: Vec<WalSample>,
    group: GroupEncoder,
    taken: usize,
    finished: bool,
}

impl Default for FrameEncoder {
    fn default() -> Self {
        Self::new()
    }
}

impl FrameEncoder {
    /// An encoder with an empty frame begun at `SeqNo` 0.
    #[must_use]
    pub fn new() -> Self {
        let mut encoder = Self {
            bytes: Vec::new(),
            definitions: Vec::new(),
            origins: Vec::new(),
            header: FrameHeader::zeroed(),
            stage: Vec::with_capacity(GROUP_SAMPLES_MAX),
            group: GroupEncoder::new(),
            taken: 0,
            finished: false,
        };
        encoder.begin(SeqNo(0));
        encoder
    }

    /// Forgets what was there and begins a frame whose first sample has number `first_seq`;
    /// the others count up from it.
    pub fn begin(&mut self, first_seq: SeqNo) {
        self.bytes.clear();
        self.bytes.resize(FRAME_HEADER_LEN, 0);
        self.definitions.clear();
        self.origins.clear();
        self.stage.clear();
        self.header =
            FrameHeader { magic: FRAME_MAGIC, kind: KIND_SAMPLES, first_seq: first_seq.0, ..FrameHeader::zeroed() };
        self.taken = 0;
        self.finished = false;
    }

    /// Forgets what was there and makes a frame of one delete: complete, nothing can be added.
    pub fn delete(&mut self, tombstone: &Tombstone) {
        self.begin(tombstone.seq);
        tombstone.encode(&mut self.bytes);
        self.header.kind = KIND_DELETE;
        self.taken = 1;
        self.finish();
    }

    /// Defines what `series` means in this generation, for all samples of this frame
    /// and of those behind it. O(bytes of the labels).
    ///
    /// # Errors
    /// [`FrameFull`]; nothing was added then.
    pub fn define(&mut self, series: u32, labels: &Labels) -> Result<(), FrameFull> {
        debug_assert!(!self.finished, "begin comes first");
        let labels = labels.encoded();
        if labels.len() + 8 > self.room() {
            return Err(FrameFull);
        }
        self.definitions.extend_from_slice(&series.to_le_bytes());
        self.definitions.extend_from_slice(&(labels.len() as u32).to_le_bytes());
        self.definitions.extend_from_slice(labels);
        self.header.definitions += 1;
        Ok(())
    }

    /// The series of its samples, each once: for who finds that the frame goes to another file than those that define
    /// them, and defines them again. The frame takes more from here on, though its length was asked for. O(samples).
    #[must_use]
    pub fn series(&mut self) -> Vec<u32> {
        if self.finished {
            self.finished = false;
            self.bytes.truncate(FRAME_HEADER_LEN + self.header.groups_len as usize);
        }
        self.flush_stage();
        series_of(&self.bytes[FRAME_HEADER_LEN..], self.taken).expect("just encoded")
    }

    /// Notes that the frame holds a batch of another node.
    ///
    /// # Errors
    /// [`FrameFull`]; nothing was added then.
    pub fn origin(&mut self, origin: Origin) -> Result<(), FrameFull> {
        debug_assert!(!self.finished, "begin comes first");
        if ORIGIN_LEN > self.room() || self.header.origins == u16::MAX {
            return Err(FrameFull);
        }
        self.origins.extend_from_slice(&origin.node.to_le_bytes());
        self.origins.extend_from_slice(&origin.boot.to_le_bytes());
        self.origins.extend_from_slice(&origin.seq.to_le_bytes());
        self.header.origins += 1;
        Ok(())
    }

    /// Adds samples, as they lie in a lane, and answers how many the frame took: all of
    /// them, or fewer if it is full now. About 2 ns a sample.
    #[must_use = "what was not taken belongs into the next frame"]
    pub fn samples(&mut self, samples: &[WalSample]) -> usize {
        debug_assert!(!self.finished, "begin comes first");
        let n = samples.len().min(self.room() / SAMPLE_BYTES_MAX).min(FRAME_SAMPLES_MAX - self.taken);
        self.taken += n;
        let samples = &samples[..n];
        let fits = self.stage.len() + samples.len() <= GROUP_SAMPLES_MAX;
        if samples.len() < STAGE_BELOW && fits {
            self.stage.extend_from_slice(samples);
            return n;
        }
        self.flush_stage();
        let (groups, rest) = samples.as_chunks::<GROUP_SAMPLES_MAX>();
        for group in groups {
            self.group.encode(group, &mut self.bytes);
        }
        if rest.len() < STAGE_BELOW {
            self.stage.extend_from_slice(rest);
        } else {
            self.group.encode(rest, &mut self.bytes);
        }
        n
    }

    /// Samples in the frame.
    #[must_use]
    pub fn len(&self) -> usize {
        self.taken
    }

    /// Whether the frame holds neither sample nor definition nor origin.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.taken == 0 && self.header.definitions == 0 && self.header.origins == 0
    }

    /// The number of the frame's first sample.
    #[must_use]
    pub fn first_seq(&self) -> SeqNo {
        SeqNo(self.header.first_seq)
    }

    fn flush_stage(&mut self) {
        if !self.stage.is_empty() {
            self.group.encode(&self.stage, &mut self.bytes);
            self.stage.clear();
        }
    }

    /// Bytes left, if all that comes takes the most it can.
    fn room(&self) -> usize {
        let used = self.bytes.len()
            + self.stage.len() * SAMPLE_BYTES_MAX
            + self.definitions.len()
            + self.origins.len()
            + SLACK;
        // The overhead of groups to come is a 160th of their samples.
        FRAME_BYTES_MAX.saturating_sub(used) / 160 * 159
    }

    /// Puts the parts together. A second call changes nothing: a refused append may be repeated.
    fn finish(&mut self) {
        if self.finished {
            return;
        }
        self.finished = true;
        self.flush_stage();
        self.header.samples = self.taken as u32;
        self.header.groups_len = (self.bytes.len() - FRAME_HEADER_LEN) as u32;
        self.header.definitions_len = self.definitions.len() as u32;
        self.bytes.extend_from_slice(&self.definitions);
        self.bytes.extend_from_slice(&self.origins);
        let padded = self.bytes.len().next_multiple_of(FRAME_ALIGN as usize);
        self.bytes.resize(padded, 0);
        self.header.frame_len = padded as u32;
        debug_assert!(padded <= FRAME_BYTES_MAX);
    }

    /// Bytes that the frame takes in a file.
    pub fn frame_len(&mut self) -> u64 {
        self.finish();
        self.bytes.len() as u64
    }

    /// The frame for its place: fills in what only the writer knows, then the checksums.
    pub(super) fn seal(&mut self, place: &Place) -> &[u8] {
        self.finish();
        let (head, payload) = self.bytes.split_at_mut(FRAME_HEADER_LEN);
        self.header = self.header.placed(place).sealed(payload);
        head.copy_from_slice(bytemuck::bytes_of(&self.header));
        &self.bytes
    }
}

impl FrameHeader {
    /// The frame that says what is durable, and holds nothing.
    pub(super) fn witness(place: &Place, next_seq: SeqNo) -> Self {
        Self {
            magic: FRAME_MAGIC,
            frame_len: FRAME_HEADER_LEN as u32,
            first_seq: next_seq.0,
            kind: KIND_WITNESS,
            ..Self::zeroed().placed(place)
        }
        .sealed(&[])
    }

    fn placed(mut self, place: &Place) -> Self {
        self.store_id = place.store_id.to_le_bytes();
        self.epoch = place.epoch.0;
        self.frame_no = place.frame.0;
        self.synced_through = place.synced_through.0;
        self.generation = place.generation.0.0;
        self
    }
}

/// Where a frame stands: what ties it to one place of one file's one life.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub(super) store_id: u128,
    pub(super) epoch: Epoch,
    pub(super) frame: FrameNo,
    pub(super) synced_through: FrameNo,
    pub(super) generation: GenerationId,
}
