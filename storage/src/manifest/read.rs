//! Reading a manifest back: header, first commit, then every commit that chains.

use std::io;
use std::path::{Path, PathBuf};

use super::closed::Closed;
use super::codec::{BadEdits, DiskEdit, take_edit};
use super::error::ManifestError;
use super::format::{
    COMMIT_ALIGN, COMMIT_HEADER_LEN, CommitHeader, FILE_HEADER_LEN, FILE_NAME, FileHeader, MAGIC, VERSION, Witness,
    commit_checksum, kind,
};
use super::state::State;
use crate::fs::{Fs, read_up_to};

/// A longer file is none of ours: it would hold some ten million segments.
const FILE_BYTES_MAX: u64 = 1 << 30;
/// How many times the file's bytes a search may check.
const SEARCH_EFFORT: usize = 4;
/// What a search may check in any case.
const SEARCH_BYTES_MIN: usize = 64 << 20;

/// A manifest as it was read.
#[derive(Debug)]
pub(super) struct Loaded {
    pub(super) state: State,
    /// Number of the commit that comes next.
    pub(super) next_commit: u64,
}

/// What one look at the file found.
struct Look {
    loaded: Loaded,
    missing: Option<Missing>,
    /// Which file it was.
    seed: u32,
}

/// A commit that is known to have been durable.
struct Missing {
    at: usize,
    number: u64,
    what: &'static str,
}

/// Reads the manifest in `dir`. Writes nothing. Last commits that nothing calls durable may be torn, and are left out.
pub(super) fn load(fs: &dyn Fs, dir: &Path) -> Result<Loaded, ManifestError> {
    let path = dir.join(FILE_NAME);
    let mut missed: Option<(u32, u64)> = None;
    loop {
        let Look { loaded, missing, seed } = look(fs, dir, &path)?;
        let Some(Missing { at, number, what }) = missing else { return Ok(loaded) };
        match missed {
            // What was durable when the first look began is there, and more was written meanwhile (E6).
            Some((of, known)) if of == seed && loaded.next_commit > known => return Ok(loaded),
            Some((of, _)) if of == seed => {
                return Err(ManifestError::Corrupt { file: path, offset: at as u64, what });
            }
            // Beside an owner its place may have been read before it was written. Or this is another file.
            _ => missed = Some((seed, number)),
        }
    }
}

fn look(fs: &dyn Fs, dir: &Path, path: &Path) -> Result<Look, ManifestError> {
    // Before: what it says is in a manifest that is read behind it.
    let closed = Closed::read(fs, dir);
    let bytes = read_file(fs, path).map_err(|source| match source.kind() {
        io::ErrorKind::NotFound => ManifestError::NoStore { dir: dir.to_owned() },
        io::ErrorKind::NotADirectory => ManifestError::NotADirectory { dir: dir.to_owned() },
        _ => ManifestError::io(path, source),
    })?;
    let mut look = Parser { path, bytes: &bytes }.parse()?;
    let Loaded { state, next_commit } = &look.loaded;
    if look.missing.is_none()
        && let Some(number) = closed.and_then(|closed| closed.lacking(state, *next_commit))
    {
        let what = "an older copy of itself: the store was closed behind a later commit";
        look.missing = Some(Missing { at: 0, number, what });
    }
    Ok(look)
}

/// The header of the manifest that has the name now.
pub(super) fn load_header(fs: &dyn Fs, path: &Path) -> io::Result<Option<FileHeader>> {
    let file = fs.open_read(path)?;
    let mut bytes = [0; FILE_HEADER_LEN];
    let n = file.read_at(0, &mut bytes)?;
    let header: FileHeader = bytemuck::pod_read_unaligned(&bytes);
    let sound = n == FILE_HEADER_LEN && header.magic == MAGIC && header.crc == header.checksum();
    Ok(sound.then_some(header))
}

pub(super) fn read_file(fs: &dyn Fs, path: &Path) -> io::Result<Vec<u8>> {
    let file = fs.open_read(path)?;
    if file.len()? > FILE_BYTES_MAX {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "longer than a manifest can be"));
    }
    read_up_to(&*file, FILE_BYTES_MAX)
}

struct Parser<'a> {
    path: &'a Path,
    bytes: &'a [u8],
}

impl Parser<'_> {
    fn file(&self) -> PathBuf {
        self.path.to_owned()
    }

    fn corrupt(&self, offset: usize, what: &'static str) -> ManifestError {
        ManifestError::Corrupt { file: self.file(), offset: offset as u64, what }
    }

    fn too_new(&self, what: &'static str, found: u32, supported: u32) -> ManifestError {
        ManifestError::TooNew { file: self.file(), what, found, supported }
    }

    fn parse(&self) -> Result<Look, ManifestError> {
        let header = self.header()?;
        let seed = header.seed();
        let mut state = State {
            store_id: u128::from_le_bytes(header.store_id),
            open_number: header.open_number,
            format: header.version,
            ..State::default()
        };
        let mut at = header.commits_at();
        let mut next = header.first_commit;
        while let Some(edits) = self.commit_at(at, next, seed) {
            let from = at + COMMIT_HEADER_LEN;
            self.apply(&mut state, from, edits)?;
            at = (from + edits.len()).next_multiple_of(COMMIT_ALIGN as usize);
            next += 1;
        }
        if next == header.first_commit {
            return Err(self.corrupt(at, "the first commit is damaged"));
        }
        // Each commit was durable before the next was begun.
        let followed = self.commit_behind(at, next, seed).map(|behind| {
            let what = "a commit before the last is damaged";
            Missing { at, number: behind - 1, what }
        });
        let witnessed = Witness::find(self.bytes, &header).filter(|through| *through >= next).map(|number| {
            let what = "the last commit, which was durable, is damaged or gone";
            Missing { at, number, what }
        });
        Ok(Look { loaded: Loaded { state, next_commit: next }, missing: followed.or(witnessed), seed })
    }

    fn header(&self) -> Result<FileHeader, ManifestError> {
        let bytes = self.bytes.get(..FILE_HEADER_LEN).ok_or_else(|| self.corrupt(0, "shorter than its header"))?;
        let header: FileHeader = bytemuck::pod_read_unaligned(bytes);
        if header.magic != MAGIC {
            return Err(self.corrupt(0, "not a manifest"));
        }
        if header.crc != header.checksum() {
            return Err(self.corrupt(0, "the header's checksum is wrong"));
        }
        if header.version == 0 || header.version > VERSION || header.reserved != 0 {
            return Err(self.too_new("format version", header.version, VERSION));
        }
        if header.first_commit == 0 || header.first_commit >= 1 << 63 {
            return Err(self.corrupt(0, "the header's commit number makes no sense"));
        }
        Ok(header)
    }

    /// The edits of commit `number`, if it lies at `at` and is sound.
    fn commit_at(&self, at: usize, number: u64, seed: u32) -> Option<&[u8]> {
        let rest = self.bytes.get(at..)?;
        let header: CommitHeader = bytemuck::pod_read_unaligned(rest.get(..COMMIT_HEADER_LEN)?);
        if header.number != number {
            return None;
        }
        let end = COMMIT_HEADER_LEN.checked_add(header.len as usize)?;
        let sound = commit_checksum(seed, rest.get(4..end)?) == header.crc;
        sound.then(|| &rest[COMMIT_HEADER_LEN..end])
    }

    /// The number of a sound commit that lies anywhere behind `from`, where `number` should.
    fn commit_behind(&self, from: usize, number: u64, seed: u32) -> Option<u64> {
        let mut effort = SEARCH_BYTES_MIN.max(self.bytes.len() * SEARCH_EFFORT);
        let mut at = from;
        while let Some(head) = self.bytes.get(at..at + COMMIT_HEADER_LEN) {
            let header: CommitHeader = bytemuck::pod_read_unaligned(head);
            // A file is rewritten long before it holds so many commits.
            let plausible = header.number >= number && header.number - number < 1 << 32;
            let fits = header.len as usize <= self.bytes.len() - at - COMMIT_HEADER_LEN;
            if plausible && fits && (at, header.number) != (from, number) {
                if self.commit_at(at, header.number, seed).is_some() {
                    return Some(header.number);
                }
                effort = effort.saturating_sub(header.len as usize);
                if effort == 0 {
                    return None;
                }
            }
            at += COMMIT_ALIGN as usize;
        }
        None
    }

    fn apply(&self, state: &mut State, at: usize, edits: &[u8]) -> Result<(), ManifestError> {
        let mut rest = edits;
        while !rest.is_empty() {
            let offset = at + edits.len() - rest.len();
            match take_edit(&mut rest) {
                Ok(DiskEdit::WalState(wal)) => state.wal = wal,
                Ok(DiskEdit::Edit(edit)) => {
                    state.apply(&edit).map_err(|_| self.corrupt(offset, "an edit contradicts those before it"))?;
                }
                Err(BadEdits::Malformed(what)) => return Err(self.corrupt(offset, what)),
                Err(BadEdits::TooNew(found)) => {
                    return Err(self.too_new("an edit of kind", found.into(), kind::LAST.into()));
                }
            }
        }
        Ok(())
    }
}
