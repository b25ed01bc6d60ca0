//! What the manifest knows, and the edits that change it.

use std::collections::BTreeMap;

use super::error::ManifestError;
use super::horizon::{Horizon, Horizons};
use super::metadata::{METADATA_BYTES_MAX, Metadata, MetadataTable};
use super::retention::Retention;
use crate::model::{SeqNo, SeqRange, TimeRange, Timestamp, Tombstone};
use crate::wal::{Epoch, FrameNo, WalLife, WalRelease, WalState, WalSynced};

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
    /// Files of the WAL that are durable for the first time, and frames that are. What of it was released meanwhile
    /// counts no more.
    WalSynced(WalSynced),
    /// Older WAL generations are not needed any more.
    WalRelease(WalRelease),
    /// Numbers that were given out, in case nothing else names them. Never go down.
    Numbers {
        /// Sample numbers below this are taken.
        next_seq: SeqNo,
        /// Frame numbers up to this are taken.
        greatest_frame: FrameNo,
    },
    /// Whatever has a number below this was flushed, though maybe into no segment. Never goes down. A segment that is added
    /// says so of its numbers.
    Flushed(SeqNo),
    /// Samples are deleted from here on. Commit it before, or together with, any segment of greater
    /// numbers, and before the WAL generation that holds the delete is released.
    TombstoneAdd(Tombstone),
    /// Nothing that a delete hides is left.
    TombstoneRemove(SeqNo),
    /// How long and how much is kept; replaces what was said before.
    Retention(Retention),
    /// What retention has dropped for good. Commit it together with what removes it.
    Horizon(Horizon),
    /// Nothing that a horizon hides is left.
    HorizonRemove {
        /// Its time.
        before: Timestamp,
        /// Its number.
        through: SeqNo,
    },
    /// What a metric means; replaces what was known of it.
    Metadata {
        /// The metric's name.
        metric: String,
        /// What it means.
        metadata: Metadata,
    },
}

impl Edit {
    /// Whether it helps to empty a full disk, or to open on one. Commits of such edits alone may use the manifest's
    /// reserve.
    #[must_use]
    pub fn gives_space_back(&self) -> bool {
        matches!(
            self,
            Self::SegmentRemove(_)
                | Self::WalLife(_)
                | Self::WalRelease(_)
                | Self::Flushed(_)
                | Self::TombstoneAdd(_)
                | Self::TombstoneRemove(_)
                | Self::Retention(_)
                | Self::Horizon(_)
                | Self::HorizonRemove { .. }
        )
    }
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
    /// One above the greatest sample number that was ever flushed, or that a segment ever had, whatever became of it since:
    /// a file with lower numbers alone is not needed because a commit is lost.
    pub flushed_through: SeqNo,
    /// The greatest frame number that the manifest ever named.
    pub greatest_frame: FrameNo,
    /// Deletes whose samples are not all gone yet.
    pub tombstones: BTreeMap<SeqNo, Tombstone>,
    /// How long and how much is kept.
    pub retention: Retention,
    /// What was dropped for good, as far as anything is left to hide.
    pub horizons: Horizons,
    pub(super) metadata: MetadataTable,
}

impl State {
    /// What metrics mean, by name.
    #[must_use]
    pub fn metadata(&self) -> &BTreeMap<String, Metadata> {
        self.metadata.entries()
    }

    /// The same store with nothing left in its log. Numbers that were given out stay taken.
    pub(super) fn without_log(&self) -> Self {
        let next = Epoch::new(self.open_number.saturating_add(1), 0);
        let greatest_frame = self.greatest_frame.max(self.wal.synced_through);
        let wal = WalState {
            oldest_epoch: next,
            live_epoch: next,
            next_frame: FrameNo(greatest_frame.0.saturating_add(1)),
            synced_through: greatest_frame,
            ends: BTreeMap::new(),
            files: BTreeMap::new(),
        };
        Self { wal, greatest_frame, ..self.clone() }
    }

    /// This state and what `edits` make of it.
    ///
    /// # Errors
    /// [`ManifestError::BadEdit`] if one contradicts those before it.
    pub fn with(mut self, edits: &[Edit]) -> Result<Self, ManifestError> {
        edits.iter().try_for_each(|edit| self.apply(edit))?;
        Ok(self)
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
            Edit::WalSynced(synced) => self.note_synced(synced),
            Edit::WalRelease(release) => self.release(release)?,
            Edit::Numbers { next_seq, greatest_frame } => {
                self.next_seq = self.next_seq.max(*next_seq);
                self.greatest_frame = self.greatest_frame.max(*greatest_frame);
            }
            Edit::Flushed(through) => self.note_flushed(*through),
            Edit::TombstoneAdd(tombstone) => {
                if tombstone.seq.0 == u64::MAX || !tombstone.fits() {
                    return Err(bad("a delete is too large, or its number makes no sense"));
                }
                if self.tombstones.insert(tombstone.seq, tombstone.clone()).is_some_and(|old| old != *tombstone) {
                    return Err(bad("two deletes have one number"));
                }
                self.next_seq = self.next_seq.max(SeqNo(tombstone.seq.0 + 1));
            }
            Edit::TombstoneRemove(seq) => {
                self.tombstones.remove(seq).ok_or(bad("the delete to forget is not there"))?;
            }
            Edit::Retention(retention) => {
                if !retention.fits() {
                    return Err(bad("too many retention rules, or too large ones"));
                }
                self.retention = retention.clone();
            }
            Edit::Horizon(horizon) => self.horizons.add(*horizon),
            Edit::HorizonRemove { before, through } => {
                if !self.horizons.remove(*before, *through) {
                    return Err(bad("the horizon to forget is not there"));
                }
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
        self.note_flushed(segment.seq_range.end);
        Ok(())
    }

    fn note_flushed(&mut self, through: SeqNo) {
        self.flushed_through = self.flushed_through.max(through);
        self.next_seq = self.next_seq.max(through);
    }

    fn begin_life(&mut self, life: &WalLife) -> Result<(), ManifestError> {
        if life.live_epoch < self.wal.live_epoch || life.first_frame < self.wal.next_frame {
            return Err(bad("a new life of the WAL must begin above the old ones"));
        }
        self.wal.live_epoch = life.live_epoch;
        self.wal.next_frame = life.first_frame;
        self.wal.synced_through = self.wal.synced_through.max(life.synced_through);
        self.wal.ends = life.ends.clone();
        self.wal.files.clear();
        self.greatest_frame = self.greatest_frame.max(FrameNo(life.first_frame.0.saturating_sub(1)));
        Ok(())
    }

    fn note_synced(&mut self, synced: &WalSynced) {
        let wal = &mut self.wal;
        let from = wal.oldest_epoch.max(wal.live_epoch);
        wal.files.extend(synced.files.range(from..));
        wal.synced_through = wal.synced_through.max(synced.through);
        self.greatest_frame = self.greatest_frame.max(synced.through);
    }

    /// Whether `later` differs in nothing but in what is known to be durable, and in numbers that were given out.
    pub(super) fn grew_only_in_what_is_synced(&self, mut later: Self) -> bool {
        later.wal.synced_through = self.wal.synced_through;
        later.wal.files = self.wal.files.clone();
        (later.next_seq, later.greatest_frame) = (self.next_seq, self.greatest_frame);
        later == *self
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
        wal.files = wal.files.split_off(&release.oldest_epoch);
        self.greatest_frame = self.greatest_frame.max(FrameNo(release.next_frame.0.saturating_sub(1)));
        Ok(())
    }
}

fn bad(what: &'static str) -> ManifestError {
    ManifestError::BadEdit { what }
}
