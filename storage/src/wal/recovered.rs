//! What recovery found, and what must happen before the new life's first durable answer.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use super::format::PAGE;
use super::names::renew;
use super::reserve::FOR_OPENING;
use super::types::{Epoch, FrameNo, WalError};
use super::unsure::Unsure;
use crate::fs::Fs;
use crate::model::SeqNo;

/// New numbers start this far above the greatest one known: those of samples, and those
/// of frames. What was lost behind a cut can then never be confused with what comes.
pub const NUMBER_GAP: u64 = 1 << 32;

/// The frames of a file that count: `first` to `last`, none if `last` is below `first`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EpochEnd {
    /// The first good frame.
    pub first: FrameNo,
    /// The last good frame. Whatever follows in the file is of no account.
    pub last: FrameNo,
}

impl EpochEnd {
    /// A file without a good frame.
    pub const NONE: Self = Self { first: FrameNo(1), last: FrameNo(0) };

    /// Whether no frame counts.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.last < self.first
    }
}

/// What the manifest knows about the WAL: where recovery begins, and where it must not end early.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WalState {
    /// Files below are not needed any more.
    pub oldest_epoch: Epoch,
    /// Files from here on belong to the opening that is running, or was at the crash.
    pub live_epoch: Epoch,
    /// The first frame needed of those files.
    pub next_frame: FrameNo,
    /// Frames up to this one are known to be durable.
    pub synced_through: FrameNo,
    /// The good frames of each needed file of earlier openings.
    pub ends: BTreeMap<Epoch, EpochEnd>,
    /// Files of the opening that is running, or was at the crash, that are durable, and the bytes that each has at
    /// least. More may be there.
    pub files: BTreeMap<Epoch, u64>,
}

impl Default for WalState {
    fn default() -> Self {
        Self {
            oldest_epoch: Epoch(0),
            live_epoch: Epoch(0),
            next_frame: FrameNo(1),
            synced_through: FrameNo(0),
            ends: BTreeMap::new(),
            files: BTreeMap::new(),
        }
    }
}

/// What became durable in the running opening: commit it as
/// [`Edit::WalSynced`](crate::manifest::Edit::WalSynced) when a file is new, so that it is missed when it is gone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WalSynced {
    /// Frames up to this one.
    pub through: FrameNo,
    /// Files, and the bytes that each has from now on at least.
    pub files: BTreeMap<Epoch, u64>,
}

/// What the manifest must know before a new life's first frame is written: commit it as
/// [`Edit::WalLife`](crate::manifest::Edit::WalLife) after [`Recovered::secure`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WalLife {
    /// The new life's first epoch.
    pub live_epoch: Epoch,
    /// The new life's first frame.
    pub first_frame: FrameNo,
    /// The last frame of the old lives; all of them are durable.
    pub synced_through: FrameNo,
    /// The good frames of each needed file of the old lives.
    pub ends: BTreeMap<Epoch, EpochEnd>,
}

/// Frames that are not known to have been durable, and were cut off.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TornTail {
    /// The file in which the good frames end.
    pub file: PathBuf,
    /// Where in it.
    pub offset: u64,
    /// The last good frame.
    pub last_good: FrameNo,
    /// Sound frames that lie behind it. A power loss leaves them, since pages reach a disk in any order; where there was
    /// none, what should lie before them was damaged. `None` if there are none.
    pub behind: Option<CutFrames>,
}

/// Sound frames of the same opening that lie behind a cut, where nobody was told that they are durable. They are not
/// shown: something is missing before them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CutFrames {
    /// The file of the first one.
    pub file: PathBuf,
    /// Where in it.
    pub offset: u64,
    /// How many they are.
    pub frames: u64,
    /// How many samples they hold.
    pub samples: u64,
}

/// `15 sound frames with 4500 samples lie behind, from byte 8192 of data/wal/0000000200000001.wal on`
impl fmt::Display for CutFrames {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, offset, frames, samples } = self;
        let (file, s) = (file.display(), |n: u64| if n == 1 { "" } else { "s" });
        let (lie, of_frames, of_samples) = (if *frames == 1 { "lies" } else { "lie" }, s(*frames), s(*samples));
        write!(
            f,
            "{frames} sound frame{of_frames} with {samples} sample{of_samples} {lie} behind, from byte {offset} of {file} on"
        )
    }
}

/// Durable frames that salvage could not read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LostRange {
    /// The damaged file.
    pub file: PathBuf,
    /// Its epoch.
    pub epoch: Epoch,
    /// Where the damage begins.
    pub offset: u64,
    /// The first frame lost.
    pub first: FrameNo,
    /// The last frame lost; below `first` if none is: the file is damaged all the same.
    pub last: FrameNo,
    /// Whether frames behind `last` may be lost too: their file is cut short or gone, or a part of it cannot be read.
    pub open_ended: bool,
    /// What is wrong there.
    pub what: String,
    /// Number behind the last sample or delete before the hole; of the last frame with samples, the greatest timestamp.
    /// Holes with nothing but other holes between them have the same.
    pub before: Option<Edge>,
    /// Number of the first sample or delete behind the hole; of the first frame with samples, the least timestamp.
    pub behind: Option<Edge>,
}

/// Where a follower met damage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// The damaged file.
    pub file: PathBuf,
    /// Where in it.
    pub offset: u64,
    /// The frame expected there.
    pub frame: FrameNo,
    /// What is wrong.
    pub what: String,
}

impl From<Damage> for WalError {
    fn from(damage: Damage) -> Self {
        let Damage { file, offset, frame, what } = damage;
        Self::Corrupt { file, offset, frame, what }
    }
}

/// An end of a hole in the chain of frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Edge {
    /// In the order of acceptance.
    pub seq: SeqNo,
    /// Nanoseconds since the Unix epoch; none if only deletes, which have no time, lie on this side.
    pub timestamp: Option<i64>,
}

/// What [`recover`](super::recover()) found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recovered {
    /// Samples given to the sink.
    pub samples: u64,
    /// Frames given to the sink.
    pub frames: u64,
    /// One above the greatest sample number that any sound frame names, those behind the cut included.
    pub next_seq: SeqNo,
    /// One above the greatest number that was given to the sink; 0 if nothing was.
    pub end_seq: SeqNo,
    /// The greatest number of any frame there ever was, as far as can be known.
    pub greatest_frame: FrameNo,
    /// The last frame given to the sink, or the one before the first.
    pub last_frame: FrameNo,
    /// The greatest frame known to be durable before the crash.
    pub synced_through: FrameNo,
    /// The good frames of each needed file.
    pub ends: BTreeMap<Epoch, EpochEnd>,
    /// Set if frames were begun behind the last good one.
    pub torn_tail: Option<TornTail>,
    /// The files that hold something behind the cut.
    pub cut: Vec<PathBuf>,
    /// What salvage had to leave out; empty unless it was asked for.
    pub lost: Vec<LostRange>,
    /// Where a follower had to stop although what lies there was durable: damage, unless the owner has moved on.
    pub damage: Option<Damage>,
    pub(super) dir: PathBuf,
    pub(super) unsure: Vec<Unsure>,
    /// Where in each file its last good frame ends.
    pub(super) used: BTreeMap<Epoch, u64>,
}

impl Recovered {
    /// Makes all that was replayed durable: frames that a running process could read may
    /// be in the page cache only, and after a failed sync the kernel believes them
    /// written. So what is not known to be durable is written anew in its place, the same
    /// bytes, and synced; and a file of which not even the first frame is gets its name anew. Call it before [`life`](Self::life) is committed.
    ///
    /// # Errors
    /// [`WalError::Io`]; the store must not be opened for writing then.
    pub fn secure(&self, fs: &dyn Fs) -> Result<(), WalError> {
        for part in &self.unsure {
            let secured = part.rewrite(fs).and_then(|()| if part.from == 0 { renew(fs, &part.file) } else { Ok(()) });
            secured.map_err(|e| WalError::io(&part.file, e))?;
        }
        if !self.unsure.is_empty() {
            fs.sync_dir(&self.dir).map_err(|e| WalError::io(&self.dir, e))?;
        }
        Ok(())
    }

    /// Gives back to a full disk what is allocated behind the good frames, and answers whether that was anything.
    /// `state` is what the manifest says by now: once it has this recovery's [`life`](Self::life), all of it; before,
    /// of the last opening's files the end that no delete went to, where the manifest knows no length of the file, as
    /// of one that was the reserve. A file that holds something behind the cut is left alone as far as may be.
    pub fn give_back(&self, fs: &dyn Fs, state: &WalState) -> bool {
        if !self.lost.is_empty() {
            return false;
        }
        let mut given = false;
        for epoch in self.ends.keys() {
            let path = self.dir.join(epoch.file_name());
            let Some((file, len)) = fs.open(&path).ok().and_then(|file| file.len().ok().map(|len| (file, len))) else {
                continue;
            };
            // Its header at least.
            let used = self.used.get(epoch).map_or(PAGE, |used| used.next_multiple_of(PAGE));
            let keep = if !state.ends.contains_key(epoch) {
                let known = state.files.get(epoch).copied().unwrap_or(0);
                // With the place of a witness.
                (used + PAGE).max(known).max(len.saturating_sub(FOR_OPENING))
            } else if self.cut.contains(&path) {
                len
            } else {
                used
            };
            given |= keep < len && file.set_len(keep).is_ok();
        }
        given
    }

    /// What to commit to the manifest before writing goes on under `open_number`.
    #[must_use]
    pub fn life(&self, open_number: u32) -> WalLife {
        WalLife {
            live_epoch: Epoch::new(open_number, 0),
            first_frame: FrameNo(self.greatest_frame.0.saturating_add(NUMBER_GAP)),
            synced_through: self.last_frame,
            ends: self.ends.clone(),
        }
    }
}
