//! What can still be read of a damaged manifest, and a manifest made anew.
//!
//! - MR1: Sound commits are taken from wherever they lie. What they say of deletes and of metrics holds: a delete is
//!   never taken back, and hides only what was accepted before it.
//! - MR2: Rules of retention are not taken over: a later commit may have loosened them, and dropping data by an old rule
//!   could not be undone.
//! - MR3: What counts as stored is what lies in the folder; a sound commit that removed a segment is believed.
//! - MR4: What sound commits call durable of the log, and did not let go of, is missed where the log has not got it.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;
use std::sync::Arc;

use super::closed::Closed;
use super::codec::{DiskEdit, take_edit};
use super::error::ManifestError;
use super::format::{
    COMMIT_ALIGN, COMMIT_HEADER_LEN, CommitHeader, FILE_HEADER_LEN, FILE_NAME, FileHeader, MAGIC, VERSION,
    commit_checksum,
};
use super::log::{Manifest, random_id};
use super::read::read_file;
use super::state::{Edit, SegmentRef, State};
use crate::fs::Fs;
use crate::model::SeqNo;
use crate::wal::Epoch;

/// How many times the file's bytes a search may check.
const SEARCH_EFFORT: usize = 4;
const SEARCH_BYTES_MIN: usize = 64 << 20;

/// What can still be read of a damaged manifest.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Remains {
    /// Whether there is a file at all.
    pub found: bool,
    /// The store, if the header or a sound commit tells.
    pub store_id: Option<u128>,
    /// The greatest open number that is known.
    pub open_number: u32,
    /// Sound commits.
    pub commits: u64,
    /// What they say besides segments: deletes, metrics, numbers, the log. The rules of retention are left out (MR2).
    pub state: State,
    /// Whatever has a number below this was flushed, as sound commits say; into which segments, or none, they may not.
    pub flushed_through: SeqNo,
    /// Segments that a sound commit removed.
    pub removed: BTreeSet<u64>,
    /// Segments that a sound commit added and none removed.
    pub named: BTreeMap<u64, SegmentRef>,
}

impl Remains {
    /// Reads what is left in `dir`. Writes nothing. A manifest that is missing leaves nothing.
    ///
    /// # Errors
    /// [`ManifestError::TooNew`] if a later release wrote it; whatever keeps it from being read.
    pub fn read(fs: &dyn Fs, dir: &Path) -> Result<Self, ManifestError> {
        let mut remains = Self::read_file(fs, &dir.join(FILE_NAME))?;
        // What a closed store says of its manifest is left of it, too.
        if let Some(closed) = Closed::read(fs, dir)
            && *remains.store_id.get_or_insert(closed.store_id) == closed.store_id
        {
            remains.open_number = remains.open_number.max(closed.open_number);
        }
        Ok(remains)
    }

    fn read_file(fs: &dyn Fs, path: &Path) -> Result<Self, ManifestError> {
        let bytes = match read_file(fs, path) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            // Longer than any manifest: nothing in it is ours.
            Err(e) if e.kind() == io::ErrorKind::InvalidData => return Ok(Self { found: true, ..Self::default() }),
            Err(source) => return Err(ManifestError::io(path, source)),
        };
        let mut remains = Self { found: true, ..Self::default() };
        let Some(head) = bytes.get(..FILE_HEADER_LEN) else { return Ok(remains) };
        let header: FileHeader = bytemuck::pod_read_unaligned(head);
        let sound = header.magic == MAGIC && header.crc == header.checksum();
        if sound && header.version > VERSION {
            let (found, supported) = (header.version, VERSION);
            return Err(ManifestError::TooNew { file: path.to_owned(), what: "format version", found, supported });
        }
        remains.take_commits(&bytes, &header);
        // Commits carry the header's fields under their checksum: one that is sound proves them.
        if sound || remains.commits > 0 {
            remains.store_id = Some(u128::from_le_bytes(header.store_id));
            remains.open_number = header.open_number;
        }
        Ok(remains)
    }

    fn take_commits(&mut self, bytes: &[u8], header: &FileHeader) {
        let (seed, open_number) = (header.seed(), header.open_number);
        let mut effort = SEARCH_BYTES_MIN.max(bytes.len() * SEARCH_EFFORT);
        // From the least place of all versions on: the header may be damaged.
        let (mut at, mut last) = (FILE_HEADER_LEN, 0);
        while let Some(head) = bytes.get(at..at + COMMIT_HEADER_LEN) {
            let header: CommitHeader = bytemuck::pod_read_unaligned(head);
            let end = at + COMMIT_HEADER_LEN + header.len as usize;
            let content = bytes.get(at + 4..end).filter(|_| header.number > last && header.len > 0);
            if let Some(content) = content {
                if commit_checksum(seed, content) == header.crc {
                    self.commits += 1;
                    last = header.number;
                    self.take_edits(&bytes[at + COMMIT_HEADER_LEN..end], open_number);
                    at = end.next_multiple_of(COMMIT_ALIGN as usize);
                    continue;
                }
                effort = effort.saturating_sub(header.len as usize);
                if effort == 0 {
                    return;
                }
            }
            at += COMMIT_ALIGN as usize;
        }
    }

    /// An edit that cannot be read ends its commit; what contradicts is left out.
    fn take_edits(&mut self, mut rest: &[u8], open_number: u32) {
        // A file is one opening's, and what its commits call durable is so too, but for what the first one takes over.
        let mut life = Epoch::new(open_number, 0);
        while !rest.is_empty() {
            let Ok(edit) = take_edit(&mut rest) else { return };
            match edit {
                DiskEdit::Edit(Edit::SegmentAdd(segment)) => {
                    self.removed.remove(&segment.id);
                    self.flushed_through = self.flushed_through.max(segment.seq_range.end);
                    let taken = Edit::NextSegment(segment.id.saturating_add(1));
                    self.named.insert(segment.id, segment);
                    let _ = self.state.apply(&taken);
                }
                DiskEdit::Edit(Edit::SegmentRemove(id)) => {
                    self.named.remove(&id);
                    self.removed.insert(id);
                }
                // Segments that are lost may be made of what the log still has.
                DiskEdit::Edit(Edit::Flushed(through)) => {
                    self.flushed_through = self.flushed_through.max(through);
                }
                // MR2.
                DiskEdit::Edit(Edit::Retention(_)) => {}
                DiskEdit::WalState(wal) => {
                    (self.state.wal, life) = (wal, Epoch(0));
                }
                DiskEdit::Edit(Edit::WalSynced(synced)) => {
                    // Where the commit is damaged with which this opening's life began.
                    self.state.wal.live_epoch = self.state.wal.live_epoch.max(life);
                    let _ = self.state.apply(&Edit::WalSynced(synced));
                }
                DiskEdit::Edit(edit) => {
                    let _ = self.state.apply(&edit);
                }
            }
        }
    }
}

impl Manifest {
    /// An id that no other store has.
    #[must_use]
    pub fn new_store_id() -> u128 {
        random_id()
    }

    /// Puts a manifest that says what `state` says in the place of the one in `dir`, or of none, and opens it. What was
    /// there must have another name by now, if it is to be kept. The caller holds the directory's lock.
    ///
    /// Whole or not at all, whatever happens meanwhile; durable when this returns. A store without an id gets one.
    ///
    /// # Errors
    /// [`ManifestError`]; nothing was changed then.
    pub fn make_anew(fs: Arc<dyn Fs>, dir: &Path, mut state: State) -> Result<Self, ManifestError> {
        if state.store_id == 0 {
            state.store_id = Self::new_store_id();
        }
        Self::begin_with(fs, dir, state)
    }
}
