//! A manifest that is written anew: whole under a name of its own first, then in the place of the one before.

use std::fmt;
use std::io;
use std::path::Path;

use bytemuck::Zeroable;

use super::codec::put_state;
use super::error::ManifestError;
use super::format::{
    COMMIT_HEADER_LEN, EDITS_BYTES_MAX, FILE_NAME, FileHeader, GROW_BYTES, MAGIC, RESERVE_BYTES, VERSION, WITNESS_LEN,
    Witness, is_temp_name, temp_name,
};
use super::log::{Log, commit_bytes};
use super::names::Names;
use super::state::State;
use crate::fs::{Fs, is_exhausted};

/// How a write failed.
#[derive(Debug)]
pub(super) enum WriteFailed {
    /// No space, and what was durable still is all there is.
    NoSpace(io::Error),
    /// Something else, before anything that counts was touched.
    Before(io::Error),
    /// It may be durable or not.
    After(io::Error),
}

impl WriteFailed {
    pub(super) fn before(error: io::Error) -> Self {
        if is_exhausted(&error) { Self::NoSpace(error) } else { Self::Before(error) }
    }

    /// Of a write behind what counts: where it found no space, some of it may be there, and the next one goes over it.
    pub(super) fn behind(error: io::Error) -> Self {
        if is_exhausted(&error) { Self::NoSpace(error) } else { Self::After(error) }
    }

    pub(super) fn nothing_written(&self) -> bool {
        matches!(self, Self::NoSpace(_))
    }

    pub(super) fn on_commit(self, dir: &Path) -> ManifestError {
        let file = dir.join(FILE_NAME);
        match self {
            Self::NoSpace(source) => ManifestError::NoSpace { file, source },
            Self::Before(source) | Self::After(source) => ManifestError::Failed { file, source },
        }
    }

    /// Of an opening, which has committed nothing before.
    pub(super) fn on_open(self, dir: &Path) -> ManifestError {
        let file = dir.join(FILE_NAME);
        match self {
            Self::NoSpace(source) | Self::Before(source) => ManifestError::io(&file, source),
            // Whatever it says, it is not to be tried again by who could not know whether it has the name.
            Self::After(source) => ManifestError::Io { file, source },
        }
    }
}

/// Who hears whether the file could be written anew.
pub(super) struct ToldAnew(pub(super) Box<Hears>);

type Hears = dyn Fn(Option<&Grows>) + Send + Sync;

/// The file was to be written anew, could not be, and grows.
#[derive(Debug)]
pub struct Grows {
    /// What it has of commits by now.
    pub bytes: u64,
    /// What the operating system says.
    pub cause: io::Error,
}

impl fmt::Debug for ToldAnew {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ToldAnew")
    }
}

/// What a write leaves of the space that is allocated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Space {
    /// The reserve, or nothing is written.
    Reserved,
    /// What there is: the reserve is taken anew where that is possible.
    AsIs,
}

/// Writes a file whose first commit, number `number`, is all of `state`, under this opening's temporary name.
pub(super) fn write_temp(
    fs: &dyn Fs,
    dir: &Path,
    state: &State,
    number: u64,
    space: Space,
) -> Result<Log, WriteFailed> {
    let temp = dir.join(temp_name(state.open_number));
    let header = FileHeader {
        magic: MAGIC,
        version: VERSION,
        store_id: state.store_id.to_le_bytes(),
        open_number: state.open_number,
        first_commit: number,
        ..FileHeader::zeroed()
    }
    .sealed();
    let seed = header.seed();
    let mut edits = Vec::new();
    put_state(&mut edits, state);
    let mut bytes = bytemuck::bytes_of(&header).to_vec();
    // The file gets its name once all of it is durable.
    bytes.extend_from_slice(bytemuck::bytes_of(&Witness::new(seed, number)));
    bytes.extend_from_slice(&commit_bytes(seed, number, &edits));
    let end = bytes.len() as u64;
    let mut allocated = allocated_for(end);
    let mut write = || {
        match fs.remove(&temp) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
            _ => {}
        }
        let file = fs.create(&temp)?;
        match file.allocate(allocated) {
            Err(e) if is_exhausted(&e) && space == Space::AsIs => {
                allocated = end.next_multiple_of(GROW_BYTES);
                file.allocate(allocated)?;
            }
            other => other?,
        }
        file.write_all_at(0, &bytes)?;
        file.sync_data()?;
        Ok(file)
    };
    let file = write().map_err(|e| {
        drop_temp(fs, dir, state.open_number);
        WriteFailed::before(e)
    })?;
    Ok(Log { file, seed, end, witnessed: number, allocated, rewrite_at: 2 * end + EDITS_BYTES_MAX })
}

/// Bytes that a file of `state` alone takes, with its reserve.
pub(super) fn bytes_of(state: &State) -> u64 {
    let mut edits = Vec::new();
    put_state(&mut edits, state);
    let end = (size_of::<FileHeader>() + WITNESS_LEN + COMMIT_HEADER_LEN + edits.len()) as u64;
    allocated_for(end)
}

fn allocated_for(end: u64) -> u64 {
    (end + RESERVE_BYTES).next_multiple_of(GROW_BYTES)
}

/// Gives what [`write_temp`] wrote the manifest's name, durably. Whoever can have a rival makes sure first that what it
/// replaces is his.
pub(super) fn take_name(fs: &dyn Fs, dir: &Path, open_number: u32, names: &Names) -> Result<(), WriteFailed> {
    // Where no more files may be open, nothing is changed yet: told behind the renaming, nobody would know.
    let sync_names = fs.ready_to_sync(dir).map_err(|e| {
        drop_temp(fs, dir, open_number);
        WriteFailed::before(e)
    })?;
    let failures = names.failures();
    fs.rename(&dir.join(temp_name(open_number)), &dir.join(FILE_NAME)).map_err(WriteFailed::After)?;
    names.sync_since(failures, sync_names).map_err(WriteFailed::After)
}

/// Removes what [`write_temp`] wrote.
pub(super) fn drop_temp(fs: &dyn Fs, dir: &Path, open_number: u32) {
    let _ = fs.remove(&dir.join(temp_name(open_number)));
}

/// Removes what openings before left unfinished: each has a name of its own. One that cannot be removed takes space.
pub(super) fn remove_left(fs: &dyn Fs, dir: &Path) {
    for name in fs.list(dir).unwrap_or_default().iter().filter(|name| is_temp_name(name)) {
        let _ = fs.remove(&dir.join(name));
    }
}
