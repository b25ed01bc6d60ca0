//! Reading the WAL back, by promise P5.
//!
//! - WR1: Frames of one opening count up by one, over its files in order of epoch. What
//!   comes back is that chain up to the first number that is missing or unreadable.
//! - WR2: If a frame of that number or above is known to have been durable (by the manifest, or
//!   by any sound frame, witness or header, wherever it lies), its absence is corruption, and so is a
//!   file that is shorter than the manifest knows. Otherwise nobody is known to have been told that it
//!   was durable: the chain ends there.
//! - WR3: A file of an earlier opening holds exactly the frames that the manifest names:
//!   they were made durable before that was written.
//! - WR4: Nothing here writes, so recovering again gives the same.
//! - WR5: A follower, who reads while the owner writes, may miss a frame that was written after he looked at its place,
//!   and then meet its witness. Whoever has the witness finds the frame if he looks again, from the listing of the
//!   folder on: a missing frame is damage only if it is missing then, too, and the manifest has not moved after that.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

use super::decode::{Decoded, Undecodable};
use super::file::HeaderState;
use super::format::{FrameHeader, PAGE};
use super::holes::Edges;
use super::names::{files_of_log, open_read};
use super::recovered::{CutFrames, Damage, EpochEnd, LostRange, Recovered, TornTail, WalState};
use super::types::{Epoch, FrameNo, GenerationId, Origin, WalError, WalSample};
use super::unsure::UnsureFrames;
use crate::fs::Fs;
use crate::model::{Labels, SeqNo, Tombstone};

mod files;

use files::{Head, MISSING, OpenFile, Unread};

/// What to do where frames are missing that were durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecoverMode {
    /// Refuse, naming file and offset.
    Strict,
    /// Read on behind the damage and report what is lost.
    Salvage,
    /// For a process that reads beside the owner, who may be writing: stop at the first frame that does not chain, and
    /// say in [`Recovered::damage`] if it was durable (WR5). That counts only if the manifest has not moved by then.
    Follow,
}

/// A piece of the WAL, in the order it was written.
#[derive(Debug)]
#[non_exhaustive]
pub enum Replay<'a> {
    /// What a series number means in a generation, from here on.
    Define {
        /// The generation.
        generation: GenerationId,
        /// The number.
        series: u32,
        /// The series.
        labels: &'a Labels,
    },
    /// The samples of a frame, in order of acceptance; at most
    /// [`FRAME_SAMPLES_MAX`](super::FRAME_SAMPLES_MAX).
    Samples {
        /// The generation in which their series are defined.
        generation: GenerationId,
        /// The first sample's number; the others count up from it.
        first_seq: SeqNo,
        /// The samples. They were decoded for the sink, which may use their memory as it likes.
        samples: &'a mut [WalSample],
    },
    /// A delete, which takes one number.
    Delete(&'a Tombstone),
    /// The frame before holds a batch of another node.
    Origin(Origin),
    /// So many bytes of the files are read, of all that may have to be. A file that is not full is shorter than it is
    /// long: `read` may jump, at the end to `total`.
    Progress {
        /// Bytes read.
        read: u64,
        /// Bytes of all files that are needed.
        total: u64,
    },
}

/// The sink's answer to a piece that makes no sense, such as a sample of a series that no
/// one defined. The frame counts as damaged; the sink keeps nothing of the piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused(pub &'static str);

/// Takes the pieces, one after the other.
pub type Sink<'s> = dyn FnMut(Replay<'_>) -> Result<(), Refused> + 's;

/// Gives everything in the WAL's folder `dir` that `state` (the manifest's) still needs
/// to `sink`: an exact prefix of what was written, with every frame that was ever
/// durable. Writes nothing. Memory is bounded by one frame.
///
/// # Errors
/// - [`WalError::Corrupt`] in `Strict` mode, if a frame that was durable cannot be read. The sink
///   may have got what lies before it.
/// - [`WalError::TooNew`] if a later release wrote there.
/// - [`WalError::Io`] if reading fails.
pub fn recover(
    fs: &dyn Fs,
    dir: &Path,
    store_id: u128,
    state: &WalState,
    mode: RecoverMode,
    sink: &mut Sink<'_>,
) -> Result<Recovered, WalError> {
    let live_from = state.oldest_epoch.max(state.live_epoch);
    let live = files_from(fs, dir, live_from)?;
    let live: BTreeSet<Epoch> = live.into_iter().chain(state.files.keys().copied()).collect();
    let live: Vec<Epoch> = live.into_iter().collect();
    let ended: Vec<(Epoch, EpochEnd)> = state.ends.range(state.oldest_epoch..).map(|(&e, &end)| (e, end)).collect();
    let before = FrameNo(state.next_frame.0.saturating_sub(1));
    let greatest_end = ended.iter().map(|(_, end)| end.last).max().unwrap_or_default();
    let unread = live.iter().map(|&epoch| (epoch, EpochEnd::NONE));
    let files = ended.iter().map(|&(epoch, _)| epoch).chain(live.iter().copied());
    // A file that is missing is no news here: it is missed where it is read.
    let length = |epoch: Epoch| open_read(fs, &dir.join(epoch.file_name())).and_then(|file| file.len()).unwrap_or(0);
    let mut total = 0;
    let begins: BTreeMap<Epoch, u64> = files.map(|epoch| (epoch, total_before(&mut total, length(epoch)))).collect();
    let mut recovery = Recovery {
        fs,
        store_id,
        mode,
        live_from,
        sink,
        known: &state.files,
        decoded: Decoded::default(),
        unsure: UnsureFrames::default(),
        open: None,
        edges: Edges::default(),
        heads: BTreeMap::new(),
        greatest: None,
        refused: BTreeMap::new(),
        begins,
        total,
        out: Recovered {
            samples: 0,
            frames: 0,
            next_seq: SeqNo(0),
            end_seq: SeqNo(0),
            greatest_frame: before.max(state.synced_through).max(greatest_end),
            last_frame: before,
            synced_through: state.synced_through,
            ends: unread.chain(ended.iter().copied()).collect(),
            torn_tail: None,
            cut: Vec::new(),
            lost: Vec::new(),
            damage: None,
            dir: dir.to_owned(),
            unsure: Vec::new(),
            used: BTreeMap::new(),
        },
    };
    for (epoch, end) in ended {
        if !end.is_empty() && !recovery.chain(&[epoch], end.first.0, Some(end.last.0))? {
            return Ok(recovery.out);
        }
    }
    recovery.chain(&live, state.next_frame.0, None)?;
    recovery.tell(total);
    let Recovery { unsure, mut out, .. } = recovery;
    if mode != RecoverMode::Follow {
        out.unsure = unsure.into_parts(out.synced_through);
    }
    Ok(out)
}

/// The least timestamp and the greatest one.
fn times_of(samples: &[WalSample]) -> Option<(i64, i64)> {
    let timestamps = || samples.iter().map(|sample| sample.timestamp);
    timestamps().min().zip(timestamps().max())
}

/// The files of this epoch and later ones, oldest first. A folder that is missing holds none.
fn files_from(fs: &dyn Fs, dir: &Path, from: Epoch) -> Result<Vec<Epoch>, WalError> {
    match fs.list(dir) {
        Ok(names) => {
            let epochs = files_of_log(&names).filter_map(|(_, name)| Epoch::from_file_name(name));
            Ok(epochs.filter(|&e| e >= from).collect())
        }
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(e) => Err(WalError::io(dir, e)),
    }
}

/// Adds `length` to `total`, and answers what it was before.
fn total_before(total: &mut u64, length: u64) -> u64 {
    let before = *total;
    *total += length;
    before
}

/// Where the chain is being read: the place behind its last frame.
#[derive(Clone, Copy, Debug)]
struct Place {
    /// Which of the files.
    index: usize,
    at: u64,
    /// Whether the file's header matters: not where salvage found a sound frame behind a bad one.
    check_header: bool,
}

/// A sound frame behind a break.
#[derive(Clone, Copy, Debug)]
struct Ahead {
    place: Place,
    frame: u64,
}

struct Recovery<'a, 's> {
    fs: &'a dyn Fs,
    store_id: u128,
    mode: RecoverMode,
    /// The first file that may be written to.
    live_from: Epoch,
    sink: &'a mut Sink<'s>,
    /// Files that the manifest knows, and their bytes.
    known: &'a BTreeMap<Epoch, u64>,
    decoded: Decoded,
    unsure: UnsureFrames,
    open: Option<OpenFile>,
    edges: Edges,
    /// What the chain's files begin with, of those that were opened: a salvage looks there again at each hole.
    heads: BTreeMap<usize, Head>,
    /// The greatest frame of each file that has one behind the chain's first break, once all was looked at.
    greatest: Option<BTreeMap<usize, u64>>,
    /// Where the pages begin that the disk refused, of files that were closed again.
    refused: BTreeMap<Epoch, BTreeSet<u64>>,
    /// Bytes of the files before each.
    begins: BTreeMap<Epoch, u64>,
    total: u64,
    out: Recovered,
}

impl Recovery<'_, '_> {
    /// Reads the chain that begins with frame `next` in these files. With `end`, it must
    /// reach to that frame and stops there (WR3), else it reaches as far as it goes (WR1, WR2).
    /// Answers false if a follower has to stop.
    fn chain(&mut self, files: &[Epoch], mut next: u64, end: Option<u64>) -> Result<bool, WalError> {
        self.close();
        self.heads.clear();
        self.greatest = None;
        let mut place = Place { index: 0, at: PAGE, check_header: true };
        loop {
            while end.is_none_or(|end| next <= end)
                && let Some((found, header)) = self.find(files, place, next)?
            {
                let taken = self.give(files, found, &header)?;
                place = Place { at: found.at + u64::from(header.frame_len), check_header: false, ..found };
                self.tell(self.begins.get(&files[place.index]).map_or(0, |begin| begin + place.at));
                match taken {
                    Ok(()) if end.is_none() => {
                        let path = self.path(files[found.index]);
                        self.unsure.add(FrameNo(next), &path, found.at, place.at, self.out.synced_through);
                    }
                    Ok(()) => {}
                    Err(what) => {
                        if !self.damage(files[found.index], found.at, (next, next), false, what)? {
                            return Ok(false);
                        }
                    }
                }
                next += 1;
            }
            if end.is_some_and(|end| next > end) {
                return Ok(true);
            }
            let ahead = self.look_ahead(files, place, next)?;
            let durable = end.unwrap_or(self.out.synced_through.0);
            let short = if end.is_none() { self.is_short(files, place)? } else { None };
            let unread = self.unread_behind(files, place).next();
            // Behind the end of a file that was cut short, or of what can be read, nobody knows what was durable: a witness
            // may have lain there. All that is left counts.
            let unknown = end.is_none() && (short.is_some() || unread.is_some());
            let ends = next > durable && !unknown;
            if self.mode == RecoverMode::Follow && (ends || self.appeared(files, place, next, end)?) {
                return Ok(false);
            }
            if ends {
                self.cut(files, place, next)?;
                return Ok(true);
            }
            let resume = ahead.filter(|ahead| unknown || ahead.frame <= end.unwrap_or(durable + 1));
            let last = resume.map_or(durable, |ahead| ahead.frame - 1);
            // What lies behind the next sound frame is not to blame for what is missing before it, but for not knowing
            // whether that was durable.
            let refuses = next > durable && self.mode != RecoverMode::Salvage;
            let to_blame = |unread: &Unread| {
                let is_before = |ahead: Ahead| (unread.index, unread.at) < (ahead.place.index, ahead.place.at);
                refuses || resume.is_none_or(is_before)
            };
            let (epoch, offset, what) = match (short, unread.filter(to_blame)) {
                (Some(len), _) => (files[place.index], len, "the file is cut short".to_owned()),
                (None, Some(unread)) => {
                    (files[unread.index], unread.at, self.tell_unread(files, place, resume.is_none()))
                }
                (None, None) => {
                    self.locate(files, place, next).map(|(epoch, at, what)| (epoch, at, what.to_owned()))?
                }
            };
            let gone = unknown || what == MISSING;
            if !self.damage(epoch, offset, (next, last), gone && resume.is_none(), &what)? {
                return Ok(false);
            }
            match resume {
                Some(ahead) => (place, next) = (ahead.place, ahead.frame),
                None => return Ok(true),
            }
        }
    }

    fn path(&self, epoch: Epoch) -> PathBuf {
        self.out.dir.join(epoch.file_name())
    }

    fn tell(&mut self, read: u64) {
        let total = self.total;
        // There is nothing in it to refuse.
        let _ = (self.sink)(Replay::Progress { read: read.min(total), total });
    }

    /// The frame `next`: right behind the last one, at the next page, or first in a later file.
    fn find(&mut self, files: &[Epoch], place: Place, next: u64) -> Result<Option<(Place, FrameHeader)>, WalError> {
        for index in place.index..files.len() {
            // Behind each hole all files were looked into again.
            let salvaged = if self.mode == RecoverMode::Salvage { self.heads.get(&index) } else { None };
            if index > place.index && salvaged.is_some_and(|head| head.frame != Some(next)) {
                continue;
            }
            let Some(open) = self.file(files, index)? else { continue };
            let here = if index == place.index { place } else { Place { index, at: PAGE, check_header: true } };
            if here.check_header && matches!(open.header, HeaderState::Bad(_)) {
                continue;
            }
            let page = here.at.next_multiple_of(PAGE);
            for at in [here.at, page].into_iter().take(if page == here.at { 1 } else { 2 }) {
                if let Some(header) = open.file.frame_at(at)?
                    && header.frame_no == next
                    && !header.is_witness()
                {
                    return Ok(Some((Place { at, ..here }, header)));
                }
            }
        }
        Ok(None)
    }

    /// Whether a follower finds frame `next`, which was not found before, if he looks again (WR5).
    fn appeared(&mut self, files: &[Epoch], place: Place, next: u64, end: Option<u64>) -> Result<bool, WalError> {
        let now = match end {
            // Of an earlier opening: nobody makes files of it.
            Some(_) => files.to_vec(),
            None => files_from(self.fs, &self.out.dir, self.live_from)?,
        };
        // Nothing that was read before counts.
        self.close();
        let begun = files.get(place.index).filter(|_| place.index > 0 || !place.check_header);
        // The log may have let go of the file that the chain ends in: the frame is first in a later one then.
        let Some(index) = begun.map_or(Some(0), |begun| now.iter().position(|epoch| epoch >= begun)) else {
            return Ok(false);
        };
        let place = match begun {
            Some(begun) if now[index] != *begun => Place { index, at: PAGE, check_header: true },
            _ => Place { index, ..place },
        };
        let found = self.find(&now, place, next)?.is_some();
        self.close();
        Ok(found)
    }

    /// Looks at all sound frames behind a break, once: what they witness, and the first of `next` or above, which may be
    /// `next` itself in a file whose header is bad. Behind later breaks nothing is left to hear: it looks no further than
    /// to that frame.
    fn look_ahead(&mut self, files: &[Epoch], place: Place, next: u64) -> Result<Option<Ahead>, WalError> {
        let known = self.greatest.take();
        let is_known = known.is_some();
        let mut greatest = known.unwrap_or_default();
        let mut first: Option<Ahead> = None;
        'files: for index in place.index..files.len() {
            if is_known && greatest.get(&index).is_none_or(|greatest| *greatest < next) {
                continue;
            }
            let mut at = if index == place.index { place.at } else { PAGE };
            while let Some(open) = self.file(files, index)?
                && let Some((found, header)) = open.file.search(at)?
            {
                at = found + u64::from(header.frame_len);
                match self.mode {
                    // The order of what is shown ends before the break.
                    RecoverMode::Follow => self.witness(header.synced_through),
                    RecoverMode::Strict | RecoverMode::Salvage => self.note(&header),
                }
                if header.is_witness() {
                    continue;
                }
                let of_file = greatest.entry(index).or_default();
                *of_file = header.frame_no.max(*of_file);
                if header.frame_no >= next && first.is_none_or(|ahead| header.frame_no < ahead.frame) {
                    let place = Place { index, at: found, check_header: false };
                    first = Some(Ahead { place, frame: header.frame_no });
                    if is_known {
                        break 'files;
                    }
                }
            }
        }
        self.greatest = Some(greatest);
        Ok(first)
    }

    /// Hands a frame to the sink. The inner error says why it is damaged all the same.
    fn give(
        &mut self,
        files: &[Epoch],
        place: Place,
        header: &FrameHeader,
    ) -> Result<Result<(), &'static str>, WalError> {
        let Some(OpenFile { file, .. }) = &mut self.open else { return Ok(Err("the file is missing")) };
        match header.decode(file.payload(place.at, header)?, &mut self.decoded) {
            Ok(()) => {}
            Err(Undecodable::Malformed(what)) => return Ok(Err(what)),
            Err(Undecodable::TooNew { what, found, supported }) => {
                return Err(WalError::TooNew { file: file.path.clone(), what, found, supported });
            }
        }
        let generation = GenerationId(Epoch(header.generation));
        let Decoded { samples, definitions, origins, delete } = &mut self.decoded;
        let given = samples.len() as u64;
        // Before the sink has them: it uses their memory as it likes.
        let times = if self.mode == RecoverMode::Salvage { times_of(samples) } else { None };
        if let Some(Err(Refused(what))) = delete.as_ref().map(|delete| (self.sink)(Replay::Delete(delete))) {
            return Ok(Err(what));
        }
        for (series, labels) in &*definitions {
            if let Err(Refused(what)) = (self.sink)(Replay::Define { generation, series: *series, labels }) {
                return Ok(Err(what));
            }
        }
        if given > 0 {
            let piece = Replay::Samples { generation, first_seq: SeqNo(header.first_seq), samples };
            if let Err(Refused(what)) = (self.sink)(piece) {
                return Ok(Err(what));
            }
        }
        for origin in &*origins {
            if let Err(Refused(what)) = (self.sink)(Replay::Origin(*origin)) {
                return Ok(Err(what));
            }
        }
        self.note(header);
        if header.samples > 0 {
            self.edges.pass(&mut self.out.lost, header, times);
        }
        self.out.samples += given;
        self.out.frames += 1;
        self.out.end_seq = self.out.end_seq.max(header.end_seq());
        self.out.last_frame = FrameNo(header.frame_no);
        let end = self.out.ends.entry(files[place.index]).or_insert(EpochEnd::NONE);
        if end.is_empty() {
            end.first = FrameNo(header.frame_no);
        }
        end.last = end.last.max(FrameNo(header.frame_no));
        self.out.used.insert(files[place.index], place.at + u64::from(header.frame_len));
        Ok(Ok(()))
    }

    fn note(&mut self, header: &FrameHeader) {
        self.witness(header.synced_through);
        self.out.greatest_frame = self.out.greatest_frame.max(FrameNo(header.frame_no));
        self.out.next_seq = self.out.next_seq.max(header.end_seq());
    }

    fn witness(&mut self, synced_through: u64) {
        self.out.synced_through = self.out.synced_through.max(FrameNo(synced_through));
        self.out.greatest_frame = self.out.greatest_frame.max(FrameNo(synced_through));
    }

    /// The length of the file in which the chain stands, if the manifest knows that it was longer.
    fn is_short(&mut self, files: &[Epoch], place: Place) -> Result<Option<u64>, WalError> {
        let known = files.get(place.index).and_then(|epoch| self.known.get(epoch)).copied().unwrap_or(0);
        let len = self.file(files, place.index)?.map(|open| open.file.len());
        Ok(len.filter(|len| *len < known))
    }

    /// Durable frames are lost. Answers whether to go on.
    fn damage(
        &mut self,
        epoch: Epoch,
        offset: u64,
        lost: (u64, u64),
        open_ended: bool,
        what: &str,
    ) -> Result<bool, WalError> {
        let (file, first, what) = (self.path(epoch), FrameNo(lost.0), what.to_owned());
        match self.mode {
            RecoverMode::Strict => Err(WalError::Corrupt { file, offset, frame: first, what }),
            RecoverMode::Follow => {
                self.out.damage = Some(Damage { file, offset, frame: first, what });
                Ok(false)
            }
            RecoverMode::Salvage => {
                let (last, before) = (FrameNo(lost.1), self.edges.before());
                let hole = LostRange { file, epoch, offset, first, last, open_ended, what, before, behind: None };
                self.out.lost.push(hole);
                self.edges.add_hole();
                Ok(true)
            }
        }
    }

    /// The chain ends here. It is a torn tail if more was begun than nothing, as where sound frames lie behind.
    fn cut(&mut self, files: &[Epoch], place: Place, next: u64) -> Result<(), WalError> {
        for index in place.index..files.len() {
            let greatest = self.greatest.as_ref().and_then(|greatest| greatest.get(&index));
            let mut begun = greatest.is_some_and(|greatest| *greatest >= next);
            let at = if index == place.index { place.at } else { PAGE };
            if let Some(open) = self.file(files, index)? {
                for at in [at, at.next_multiple_of(PAGE)] {
                    begun |= open.file.begun_at(at, next)?;
                }
            }
            if begun {
                let file = self.path(files[index]);
                self.out.cut.push(file);
            }
        }
        if !self.out.cut.is_empty() {
            let last_good = FrameNo(next - 1);
            let behind = self.sound_behind(files, place, next)?;
            let file = self.path(files[place.index]);
            self.out.torn_tail = Some(TornTail { file, offset: place.at, last_good, behind });
        }
        Ok(())
    }

    /// The sound frames of number `next` and above behind a cut. Reads the rest of the files that have any.
    fn sound_behind(&mut self, files: &[Epoch], place: Place, next: u64) -> Result<Option<CutFrames>, WalError> {
        let mut behind: Option<CutFrames> = None;
        for index in place.index..files.len() {
            let greatest = self.greatest.as_ref().and_then(|greatest| greatest.get(&index));
            if greatest.is_none_or(|greatest| *greatest < next) {
                continue;
            }
            let mut at = if index == place.index { place.at } else { PAGE };
            while let Some(open) = self.file(files, index)?
                && let Some((found, header)) = open.file.search(at)?
            {
                at = found + u64::from(header.frame_len);
                if header.is_witness() || header.frame_no < next {
                    continue;
                }
                let file = || self.out.dir.join(files[index].file_name());
                let behind =
                    behind.get_or_insert_with(|| CutFrames { file: file(), offset: found, frames: 0, samples: 0 });
                behind.frames += 1;
                behind.samples += u64::from(header.samples);
            }
        }
        Ok(behind)
    }
}
