//! What the manifest knows, and the edits that change it.

use std::collections::BTreeMap;

use super::error::ManifestError;
use super::metadata::{METADATA_BYTES_MAX, Metadata, MetadataTable};
use crate::model::{SeqNo, SeqRange, TimeRange};
use crate::wal::{FrameNo, WalLife, WalRelease, WalState};

/// A segment that counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentRef {
    /// Its number, and so its name.
    pub id: u64,
    /// The samples' place in the order of acceptance.
    pub seq_range: SeqRange,
    /// Holds every timestamp of the segment.
    pub time_range: TimeRange,
    /// The late one of a flush's two segments: it wins over the other, which has the same sequence range.
    pub late: bool,
    /// Bytes of the file.
    pub bytes: u64,
    /// Samples inside.
    pub samples: u64,
    /// Series inside.
    pub series: u64,
    /// How often its samples were compacted.
    pub level: u64,
}

/// One change of the [`State`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Edit {
    /// A segment counts from now on. Its file must be durable already.
    SegmentAdd(SegmentRef),
    /// A segment does not count any more; its file may go once this is committed.
    SegmentRemove(u64),
    /// Segment numbers below this are taken. Never goes down.
    NextSegment(u64),
    /// A new life of the WAL begins. Commit it before its first frame is written.
    WalLife(WalLife),
    /// Older WAL generations are not needed any more.
    WalRelease(WalRelease),
    /// Numbers that were given out, in case nothing else names them. Never go down.
    Numbers {
        /// Sample numbers below this are taken.
        next_seq: SeqNo,
        /// Frame numbers up to this are taken.
        greatest_frame: FrameNo,
    },
    /// What a metric means; replaces what was known of it.
    Metadata {
        /// The metric's name.
        metric: String,
        /// What it means.
        metadata: Metadata,
    },
}

/// Everything the manifest says, as of its last commit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// The store, whatever its directory is called.
    pub store_id: u128,
    /// How often the store was opened for writing.
    pub open_number: u32,
    /// The version of the manifest's format.
    pub format: u32,
    /// The segments that count, by number.
    pub segments: BTreeMap<u64, SegmentRef>,
    /// The number the next segment gets.
    pub next_segment_id: u64,
    /// Where the WAL begins and ends.
    pub wal: WalState,
    /// One above the greatest sample number that manifest or segments ever named.
    pub next_seq: SeqNo,
    /// The greatest frame number that the manifest ever named.
    pub greatest_frame: FrameNo,
    pub(super) metadata: MetadataTable,
}

impl State {
    /// What metrics mean, by name.
    #[must_use]
    pub fn metadata(&self) -> &BTreeMap<String, Metadata> {
        self.metadata.entries()
    }

    /// Applies one edit, or changes nothing and says why.
    pub(super) fn apply(&mut self, edit: &Edit) -> Result<(), ManifestError> {
        match edit {
            Edit::SegmentAdd(segment) => self.add_segment(segment)?,
            Edit::SegmentRemove(id) => {
                self.segments.remove(id).ok_or(bad("the segment to remove is not there"))?;
            }
            Edit::NextSegment(id) => self.next_segment_id = self.next_segment_id.max(*id),
            Edit::WalLife(life) => self.begin_life(life)?,
            Edit::WalRelease(release) => self.release(release)?,
            Edit::Numbers { next_seq, greatest_frame } => {
                self.next_seq = self.next_seq.max(*next_seq);
                self.greatest_frame = self.greatest_frame.max(*greatest_frame);
            }
            Edit::Metadata { metric, metadata } => {
                if !self.metadata.set(metric, metadata) {
                    return Err(ManifestError::MetadataFull { metric: metric.clone(), limit: METADATA_BYTES_MAX });
                }
            }
        }
        Ok(())
    }

    fn add_segment(&mut self, segment: &SegmentRef) -> Result<(), ManifestError> {
        if self.segments.contains_key(&segment.id) {
            return Err(bad("a segment of this number is there already"));
        }
        if segment.id == u64::MAX || segment.seq_range.end < segment.seq_range.start {
            return Err(bad("a segment's numbers make no sense"));
        }
        self.segments.insert(segment.id, *segment);
        self.next_segment_id = self.next_segment_id.max(segment.id + 1);
        self.next_seq = self.next_seq.max(segment.seq_range.end);
        Ok(())
    }

    fn begin_life(&mut self, life: &WalLife) -> Result<(), ManifestError> {
        if life.live_epoch < self.wal.live_epoch || life.first_frame < self.wal.next_frame {
            return Err(bad("a new life of the WAL must begin above the old ones"));
        }
        self.wal.live_epoch = life.live_epoch;
        self.wal.next_frame = life.first_frame;
        self.wal.synced_through = self.wal.synced_through.max(life.synced_through);
        self.wal.ends = life.ends.clone();
        self.greatest_frame = self.greatest_frame.max(FrameNo(life.first_frame.0.saturating_sub(1)));
        Ok(())
    }

    fn release(&mut self, release: &WalRelease) -> Result<(), ManifestError> {
        let wal = &mut self.wal;
        if release.oldest_epoch < wal.live_epoch.max(wal.oldest_epoch) || release.next_frame < wal.next_frame {
            return Err(bad("a release of the WAL must not go back"));
        }
        wal.oldest_epoch = release.oldest_epoch;
        wal.next_frame = release.next_frame;
        wal.synced_through = wal.synced_through.max(release.synced_through);
        wal.ends = wal.ends.split_off(&release.oldest_epoch);
        self.greatest_frame = self.greatest_frame.max(FrameNo(release.next_frame.0.saturating_sub(1)));
        Ok(())
    }
}

fn bad(what: &'static str) -> ManifestError {
    ManifestError::BadEdit { what }
}
