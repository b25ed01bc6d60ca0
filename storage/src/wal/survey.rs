//! What the files of a WAL tell by themselves, for a manifest that is made anew.
//!
//! - SV1: What is taken is a suffix of the order: replaying it over segments that hold a part of it changes nothing that
//!   they have, and adds what they have not.
//! - SV2: It begins with the last flush if all of that is still here, else behind it. Both are where a generation begins,
//!   and each generation defines its series.
//! - SV3: Each opening's frames count up by one. They end at the first that is missing, unless a frame of the same
//!   opening witnesses that a later one was durable: then what is missing is damage, and recovery reports it.
//! - SV4: A frame is the first of its generation if it is the first of a file that must be the generation's first, by its
//!   epoch; if the frame before it is of another generation; or if nothing but deletes, which define nothing, lies
//!   between it and such a one. Where none of these holds, files that are gone may have held the beginning.
//! - SV5: The last flush is all there if its frames count up by one from such a beginning on, and where another opening
//!   went on, if that began with a frame as far above all before it as an opening begins. Numbers begin with the flush's
//!   first, or as far above that as an opening begins. So neither the first opening is missing, nor the end of one, nor
//!   one in between.
//! - SV6: What a manifest called durable and did not let go of is missed as if a frame witnessed it. Where nothing of that
//!   opening counts, there is no file that could be said to end too early: then the survey itself tells the frames that
//!   are missing, unless a later opening was there, which may have let go of them.
//! - SV7: Where the disk refuses to read a part of a file, a witness may have lain there: all sound frames of that opening
//!   count, and what is missing between them is damage.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

use super::file::{FrameFile, HeaderState, stretches};
use super::format::{FILE_HEADER_LEN, FILE_MAGIC, FileHeader, FrameHeader, KIND_DELETE, PAGE};
use super::names::renew;
use super::recovered::{EpochEnd, NUMBER_GAP, WalState};
use super::types::{Epoch, FrameNo, WalError};
use super::unsure::Unsure;
use crate::fs::{Fs, is_unreadable};
use crate::model::SeqNo;

/// Gaps in the frames of one file that are told apart; what lies behind more of them is left out.
const RUNS_MAX: usize = 1 << 16;

/// What a survey found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Survey {
    /// What a manifest would say of the WAL: all of it belongs to former openings.
    pub wal: WalState,
    /// The greatest open number that a file's name has.
    pub open_number: Option<u32>,
    /// Sound frames behind a gap that nothing witnesses to have been durable: they are left out.
    pub left_out: u64,
    /// The files in which they lie.
    pub left_out_of: BTreeSet<Epoch>,
    /// How many numbers the log has of the last flush, if it has all that were given (SV5).
    pub of_newest: Option<u64>,
    /// The files of which not every sound frame lies below the last flush: what they hold may be nowhere else.
    pub unflushed: BTreeSet<Epoch>,
    /// The first number of what counts; none if nothing does.
    pub first_seq: Option<SeqNo>,
    /// Behind the last number of what is left, replayed or not; none if there is nothing.
    pub end_seq: Option<SeqNo>,
    /// Frames that were durable, where nothing of their opening counts (SV6): the first one and the last one.
    pub missing: Option<(FrameNo, FrameNo)>,
    /// What the disk refuses to read: in which file, from which byte on, and how many bytes (SV7).
    pub unread: Vec<(Epoch, u64, u64)>,
}

impl Survey {
    /// Makes durable what was found, before a manifest says that it is: of a process that was killed, and of who put
    /// files back by hand, it may be in the page cache only, and after a sync that failed the kernel takes it for
    /// written. So the files are written anew in their place, the same bytes, and get their names anew; and so do those in
    /// `besides`. O(bytes).
    ///
    /// # Errors
    /// [`WalError::Io`]; no manifest may name the log then.
    pub fn secure(&self, fs: &dyn Fs, dir: &Path, besides: &BTreeSet<Epoch>) -> Result<(), WalError> {
        let files: BTreeSet<Epoch> = self.wal.ends.keys().chain(besides).copied().collect();
        for epoch in &files {
            let path = dir.join(epoch.file_name());
            let len = fs.open_read(&path).and_then(|file| file.len());
            let all = len.map(|to| Unsure { file: path.clone(), from: 0, to });
            let secured = all.and_then(|all| all.rewrite(fs)).and_then(|()| renew(fs, &path));
            secured.map_err(|e| WalError::io(&path, e))?;
        }
        if !files.is_empty() {
            fs.sync_dir(dir).map_err(|e| WalError::io(dir, e))?;
        }
        Ok(())
    }
}

/// The stores that the headers of the WAL's files name, each with the number of its files.
///
/// # Errors
/// [`WalError::Io`] if reading fails.
pub fn stores_of(fs: &dyn Fs, dir: &Path) -> Result<BTreeMap<u128, usize>, WalError> {
    let mut stores = BTreeMap::new();
    for epoch in epochs(fs, dir)? {
        let path = dir.join(epoch.file_name());
        let mut bytes = [0; FILE_HEADER_LEN];
        let read = match fs.open_read(&path).and_then(|file| file.read_at(0, &mut bytes)) {
            Err(e) if is_unreadable(&e) => 0,
            read => read.map_err(|e| WalError::io(&path, e))?,
        };
        let header: FileHeader = bytemuck::pod_read_unaligned(&bytes);
        if read == FILE_HEADER_LEN && header.magic == FILE_MAGIC && header.crc == header.checksum() {
            *stores.entry(u128::from_le_bytes(header.store_id)).or_default() += 1;
        }
    }
    Ok(stores)
}

/// Files of the WAL in `dir` of openings behind `open_number`, in order. A manifest that says this number is an older
/// copy of itself, or they come from elsewhere: an opening has its number in the manifest before it makes a file.
///
/// # Errors
/// [`WalError::Io`] if the folder cannot be read.
pub fn later_than(fs: &dyn Fs, dir: &Path, open_number: u32) -> Result<Vec<Epoch>, WalError> {
    Ok(epochs(fs, dir)?.into_iter().filter(|epoch| epoch.open_number() > open_number).collect())
}

/// Whether the file of `epoch` has a sound header of the store, or a sound frame. O(bytes) if it has none.
///
/// # Errors
/// [`WalError::TooNew`] if a later release wrote there, [`WalError::Io`] if reading fails.
pub fn holds_anything(fs: &dyn Fs, dir: &Path, store_id: u128, epoch: Epoch) -> Result<bool, WalError> {
    let path = dir.join(epoch.file_name());
    let file = fs.open_read(&path).map_err(|e| WalError::io(&path, e))?;
    let mut file = FrameFile::new(path, file, epoch, store_id)?;
    Ok(matches!(file.header()?, HeaderState::Sound(_)) || file.search(PAGE)?.is_some())
}

/// Looks through all files of the WAL in `dir`. `newest` holds the numbers of the last flush that is known to be in
/// segments, at least in part: everything below it is in segments whole. `known` is what can be read of a manifest. Writes
/// nothing; memory is bounded by the number of files and gaps.
///
/// # Errors
/// [`WalError::TooNew`] if a later release wrote there, [`WalError::Io`] if reading fails.
pub fn survey(
    fs: &dyn Fs,
    dir: &Path,
    store_id: u128,
    newest: Range<SeqNo>,
    known: &WalState,
) -> Result<Survey, WalError> {
    let epochs = epochs(fs, dir)?;
    let open = |epoch: Epoch| -> Result<FrameFile, WalError> {
        let path: PathBuf = dir.join(epoch.file_name());
        let file = fs.open_read(&path).map_err(|e| WalError::io(&path, e))?;
        FrameFile::new(path, file, epoch, store_id)
    };
    let mut lives: BTreeMap<u32, Life> = BTreeMap::new();
    let mut survey = Survey::default();
    for &epoch in &epochs {
        let life = lives.entry(epoch.open_number()).or_default();
        let mut file = open(epoch)?;
        let holds_more = life.read(&mut file, epoch, newest.start)?;
        life.is_unread |= !file.refused().is_empty();
        if holds_more || !file.refused().is_empty() {
            survey.unflushed.insert(epoch);
        }
        let unread = stretches(file.refused(), 0).map(|bytes| (epoch, bytes.start, bytes.end - bytes.start));
        survey.unread.extend(unread);
    }
    for life in lives.values_mut().filter(|life| life.is_unread) {
        life.witness = life.runs.iter().map(|run| run.last).max().unwrap_or(0).max(life.witness);
    }
    survey.open_number = lives.keys().next_back().copied();
    survey.of_newest = all_of(&lives, &newest);
    survey.end_seq = lives.values().flat_map(|life| &life.runs).map(|run| run.end_seq).max();
    // What was kept of a released generation is not all of it, and all of it is in segments.
    if !reach(lives.values(), newest.end) {
        lives.values_mut().for_each(|life| life.runs.retain(|run| run.first_seq >= newest.end));
    }
    let mut greatest = 0;
    // SV6; of openings before the last one, the ends of their files.
    for (epoch, end) in known.ends.iter().filter(|(_, end)| !end.is_empty()) {
        if let Some(life) = lives.get_mut(&epoch.open_number()).filter(|life| !life.runs.is_empty()) {
            life.witness = life.witness.max(end.last.0);
        }
    }
    if known.synced_through >= known.next_frame {
        greatest = known.synced_through.0;
        survey.missing = miss(&mut lives, known);
    }
    for life in lives.into_values() {
        greatest = greatest.max(life.greatest);
        let last = life.end();
        let counts = life.runs.iter().filter(|run| run.first <= last).map(|run| run.first_seq);
        survey.first_seq = survey.first_seq.into_iter().chain(counts).min();
        for run in life.ends_by(last, &mut survey.wal.ends) {
            survey.left_out += run.last - run.first + 1;
            survey.left_out_of.insert(run.epoch);
        }
        survey.wal.synced_through = survey.wal.synced_through.max(FrameNo(last));
    }
    // Nothing may be let go of before what is replayed is in segments again.
    survey.wal.oldest_epoch = epochs.first().copied().unwrap_or_default();
    survey.wal.live_epoch = Epoch::new(survey.open_number.map_or(0, |n| n.saturating_add(1)), 0);
    survey.wal.next_frame = FrameNo(greatest.saturating_add(1));
    Ok(survey)
}

/// In order, oldest first.
fn epochs(fs: &dyn Fs, dir: &Path) -> Result<Vec<Epoch>, WalError> {
    let names = match fs.list(dir) {
        Ok(names) => names,
        Err(e) if e.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(e) => return Err(WalError::io(dir, e)),
    };
    let mut epochs: Vec<Epoch> = names.iter().filter_map(|name| Epoch::from_file_name(name)).collect();
    epochs.sort_unstable();
    Ok(epochs)
}

/// Whether the log holds, from the beginning of a generation, everything below `end` without a gap.
fn reach<'a>(lives: impl Iterator<Item = &'a Life>, end: SeqNo) -> bool {
    for life in lives {
        let mut next = None;
        for run in &life.runs {
            let joins = next.map_or(run.begins_generation, |next| run.first == next);
            if !joins {
                return false;
            }
            if run.end_seq >= end {
                return true;
            }
            next = Some(run.last + 1);
        }
    }
    false
}

/// Has the opening that `known` speaks of miss what it calls durable. Answers the frames that are missing where none of it
/// counts (SV6).
fn miss(lives: &mut BTreeMap<u32, Life>, known: &WalState) -> Option<(FrameNo, FrameNo)> {
    let (opening, through) = (known.live_epoch.open_number(), known.synced_through);
    let is_last = lives.keys().next_back().is_none_or(|last| *last <= opening);
    let life = lives.entry(opening).or_default();
    if !life.runs.is_empty() {
        life.witness = life.witness.max(through.0);
        return None;
    }
    // A witness has the number behind the last.
    let last = life.last.map_or(0, |last| last.number);
    let first = known.next_frame.max(FrameNo(last.saturating_add(1)));
    (is_last && first <= through).then_some((first, through))
}

/// How many numbers of `newest` the log has, if it has each that was given (SV5).
fn all_of(lives: &BTreeMap<u32, Life>, newest: &Range<SeqNo>) -> Option<u64> {
    // The opening before, and the greatest frame up to its end.
    let (mut before, mut greatest, mut numbers) = (None, 0, 0u64);
    for (&opening, life) in lives {
        let mut next = None;
        for run in &life.runs {
            let joins = match (next, before) {
                (Some(next), _) => run.first == next,
                // Between two openings lie numbers that nobody has.
                (None, None) => run.begins_generation && begins(run, newest.start),
                (None, Some(before)) => run.begins_opening() && follows(greatest, run.first, opening - before),
            };
            if !joins || run.first_seq >= newest.end {
                return None;
            }
            numbers = run.end_seq.min(newest.end).0.saturating_sub(run.first_seq.0).saturating_add(numbers);
            if run.end_seq >= newest.end {
                return Some(numbers);
            }
            next = Some(run.last + 1);
        }
        greatest = greatest.max(life.greatest).max(life.witness);
        before = next.map(|_| opening).or(before);
    }
    None
}

/// Whether nothing from `start` on was given before a run: it begins there, or with the first opening that gave anything.
fn begins(run: &Run, start: SeqNo) -> bool {
    let leap = run.first_seq.0.saturating_sub(start.0);
    leap == 0 || (run.begins_opening() && leap.is_multiple_of(NUMBER_GAP))
}

/// Whether frame `first` is the first that one of the next `openings` gives, if `greatest` is the greatest there is
/// ([`Recovered::life`](super::Recovered::life)). One that writes nothing leaves a gap, too: the next one begins above
/// the frame that it would have begun with.
fn follows(greatest: u64, first: u64, openings: u32) -> bool {
    let leap = first.saturating_sub(greatest);
    (1..=u64::from(openings)).any(|n| NUMBER_GAP.checked_mul(n).is_some_and(|gap| gap - (n - 1) == leap))
}

/// Whether a file of this epoch is for certain the first of its generation (SV4). An opening's first generation has the
/// number of its first file; each other one took a number that no file has, and the file that it begins the next one
/// (`WalWriter::rotate`).
fn is_first_of(generation: u64, epoch: Epoch) -> bool {
    let rotated = generation != Epoch::new(epoch.open_number(), 0).0;
    epoch.0 == generation || (rotated && epoch.0.checked_sub(1) == Some(generation))
}

/// Frames of one file that count up by one.
#[derive(Clone, Copy, Debug)]
struct Run {
    epoch: Epoch,
    first: u64,
    last: u64,
    first_seq: SeqNo,
    /// Behind the last frame's.
    end_seq: SeqNo,
    begins_generation: bool,
    /// Of the first frame.
    generation: u64,
}

impl Run {
    /// Whether nothing of the opening lies before it.
    fn begins_opening(&self) -> bool {
        self.begins_generation && self.generation == Epoch::new(self.epoch.open_number(), 0).0
    }
}

/// A frame that was read.
#[derive(Clone, Copy, Debug)]
struct Read {
    number: u64,
    generation: u64,
    /// Whether its generation has defined nothing up to its end.
    is_bare: bool,
}

/// What one opening wrote.
#[derive(Default)]
struct Life {
    /// At or above the floor, in order of file and place.
    runs: Vec<Run>,
    /// The greatest frame that one of its own calls durable.
    witness: u64,
    /// The greatest frame of all, those below the floor included.
    greatest: u64,
    /// Of those that count up, the last one.
    last: Option<Read>,
    /// Whether the disk refuses to read a part of its files.
    is_unread: bool,
}

impl Life {
    /// Answers whether the file holds anything but frames below the floor.
    fn read(&mut self, file: &mut FrameFile, epoch: Epoch, floor: SeqNo) -> Result<bool, WalError> {
        // Sound frames count even under a header that is damaged; a later version is refused.
        let first_frame = match file.header()? {
            HeaderState::Sound(header) if is_first_of(header.generation, epoch) => Some(header.first_frame),
            _ => None,
        };
        let (mut at, mut below, mut above) = (PAGE, false, false);
        while let Some((found, header)) = file.search(at)? {
            at = found + u64::from(header.frame_len);
            let number = header.frame_no;
            self.greatest = self.greatest.max(number);
            self.witness = self.witness.max(header.synced_through);
            if header.is_witness() {
                continue;
            }
            let first_seq = SeqNo(header.first_seq);
            let end_seq = SeqNo(header.first_seq.saturating_add(header.samples.into()));
            let begins_generation = self.follow(&header, first_frame == Some(number));
            if first_seq < floor {
                below = true;
                continue;
            }
            above = true;
            let known = self.runs.len();
            match self.runs.last_mut() {
                Some(run) if run.epoch == epoch && run.last + 1 == number => {
                    (run.last, run.end_seq) = (number, end_seq)
                }
                // Numbers go up with the place: what does not is no frame of this life's chain.
                Some(run) if run.last >= number => {}
                _ if known < RUNS_MAX => {
                    let (first, last, generation) = (number, number, header.generation);
                    self.runs.push(Run { epoch, first, last, first_seq, end_seq, begins_generation, generation });
                }
                _ => {}
            }
        }
        Ok(above || !below)
    }

    /// The next frame that was read. Answers whether nothing that its generation defined lies before it (SV4); it is
    /// `first` where the files tell so.
    fn follow(&mut self, header: &FrameHeader, first: bool) -> bool {
        let number = header.frame_no;
        let follows = |last: &Read| last.number + 1 == number && (last.is_bare || last.generation != header.generation);
        let begins = first || self.last.as_ref().is_some_and(follows);
        if self.last.is_none_or(|last| last.number < number) {
            let is_bare = begins && header.kind == KIND_DELETE;
            self.last = Some(Read { number, generation: header.generation, is_bare });
        }
        begins
    }

    /// The last frame that counts (SV3), there or not; 0 if none does.
    fn end(&self) -> u64 {
        let mut end = 0;
        for run in &self.runs {
            let joins = end == 0 || run.first == end + 1;
            if !joins && self.witness <= end {
                break;
            }
            end = run.last;
        }
        // What a witness says was durable behind the last run is missing.
        if end == 0 { 0 } else { end.max(self.witness) }
    }

    /// Where each file's frames begin and end, those that are missing included. Answers the sound ones that lie behind.
    fn ends_by(&self, last: u64, ends: &mut BTreeMap<Epoch, EpochEnd>) -> Vec<Run> {
        let mut left_out = Vec::new();
        let mut before: Option<Epoch> = None;
        for run in &self.runs {
            if run.first > last {
                left_out.push(*run);
                continue;
            }
            if let Some(end) = before.and_then(|epoch| ends.get_mut(&epoch)) {
                end.last = FrameNo(run.first - 1);
            }
            let end = ends.entry(run.epoch).or_insert(EpochEnd { first: FrameNo(run.first), last: FrameNo(run.last) });
            end.last = FrameNo(run.last);
            before = Some(run.epoch);
        }
        if let Some(end) = before.and_then(|epoch| ends.get_mut(&epoch)) {
            end.last = FrameNo(last);
        }
        left_out
    }
}
