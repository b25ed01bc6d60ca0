//! The files of a chain: what they begin with, and what of them cannot be read.

use std::io;

use super::{Place, RecoverMode, Recovery};
use crate::wal::file::{FrameFile, HeaderState, stretches};
use crate::wal::format::PAGE;
use crate::wal::names::open_read;
use crate::wal::types::{Epoch, WalError};

pub(super) const MISSING: &str = "the file is missing";
const DAMAGED: &str = "a frame is missing or damaged";

/// How a file begins.
#[derive(Clone, Copy, Debug)]
pub(super) struct Head {
    /// The first frame that its header names, or what is wrong with that; none if there is no file.
    pub(super) header: Option<Result<u64, &'static str>>,
    /// The frame that lies at its beginning, for a salvage.
    pub(super) frame: Option<u64>,
}

/// A stretch of a file that the disk refuses to read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Unread {
    pub(super) index: usize,
    pub(super) at: u64,
    pub(super) bytes: u64,
}

pub(super) struct OpenFile {
    pub(super) index: usize,
    pub(super) file: FrameFile,
    pub(super) header: HeaderState,
}

impl Recovery<'_, '_> {
    /// The file number `index`, opened if it was not, or `None` if it is not there.
    pub(super) fn file(&mut self, files: &[Epoch], index: usize) -> Result<Option<&mut OpenFile>, WalError> {
        if self.open.as_ref().is_none_or(|open| open.index != index) {
            // What is open stays so, if there is no other.
            let Some(&epoch) = files.get(index) else { return Ok(None) };
            self.close();
            let path = self.path(epoch);
            let file = match open_read(self.fs, &path) {
                Ok(file) => file,
                Err(e) if e.kind() == io::ErrorKind::NotFound => {
                    self.heads.insert(index, Head { header: None, frame: None });
                    return Ok(None);
                }
                Err(e) => return Err(WalError::io(&path, e)),
            };
            let refused = self.refused.get(&epoch).cloned().unwrap_or_default();
            let mut file = FrameFile::new(path, file, epoch, self.store_id)?.with_refused(refused);
            let header = file.header()?;
            if let HeaderState::Sound(header) = &header {
                self.witness(header.synced_through);
            }
            let first = match &header {
                HeaderState::Sound(header) => Ok(header.first_frame),
                HeaderState::Bad(why) => Err(*why),
            };
            let frame = if self.mode == RecoverMode::Salvage { file.frame_at(PAGE)? } else { None };
            let frame = frame.filter(|frame| !frame.is_witness()).map(|frame| frame.frame_no);
            self.heads.insert(index, Head { header: Some(first), frame });
            self.open = Some(OpenFile { index, file, header });
        }
        Ok(self.open.as_mut())
    }

    pub(super) fn close(&mut self) {
        if let Some(OpenFile { file, .. }) = self.open.take()
            && !file.refused().is_empty()
        {
            self.refused.insert(file.epoch, file.refused().clone());
        }
    }

    /// How the file number `index` begins, if it is there.
    pub(super) fn head(&mut self, files: &[Epoch], index: usize) -> Result<Option<Head>, WalError> {
        let is_known = self.mode == RecoverMode::Salvage && self.heads.contains_key(&index);
        if index >= files.len() || (!is_known && self.file(files, index)?.is_none()) {
            return Ok(None);
        }
        Ok(self.heads.get(&index).copied().filter(|head| head.header.is_some()))
    }

    /// What cannot be read of the files behind `place`, as far as it was tried.
    pub(super) fn unread_behind<'s>(&'s self, files: &'s [Epoch], place: Place) -> impl Iterator<Item = Unread> + 's {
        (place.index..files.len()).flat_map(move |index| {
            let from = if index == place.index && !place.check_header { place.at / PAGE * PAGE } else { 0 };
            let pages = match &self.open {
                Some(open) if open.index == index => Some(open.file.refused()),
                _ => self.refused.get(&files[index]),
            };
            let stretches = pages.into_iter().flat_map(move |pages| stretches(pages, from));
            stretches.map(move |stretch| Unread { index, at: stretch.start, bytes: stretch.end - stretch.start })
        })
    }

    /// The first stretch that cannot be read, and of an end of the chain how many others there are.
    pub(super) fn tell_unread(&self, files: &[Epoch], place: Place, at_end: bool) -> String {
        let mut unread = self.unread_behind(files, place);
        let bytes = unread.next().map_or(0, |first| first.bytes);
        match if at_end { unread.count() } else { 0 } {
            0 => format!("{bytes} bytes from there cannot be read"),
            others => {
                format!("{bytes} bytes from there cannot be read, nor can {others} other parts of the log behind them")
            }
        }
    }

    /// In which file the missing frame `next` should have been, where, and what is wrong there.
    pub(super) fn locate(
        &mut self,
        files: &[Epoch],
        place: Place,
        next: u64,
    ) -> Result<(Epoch, u64, &'static str), WalError> {
        let from = if place.check_header { place.index } else { place.index + 1 };
        let known = files.get(from).is_some_and(|epoch| self.known.contains_key(epoch));
        match self.head(files, from)?.and_then(|head| head.header) {
            Some(Ok(first)) if first == next => return Ok((files[from], PAGE, DAMAGED)),
            Some(Err(why)) => return Ok((files[from], 0, why)),
            None if known => return Ok((files[from], 0, MISSING)),
            _ => {}
        }
        match files.get(place.index) {
            None => Ok((Epoch(0), 0, "no file is there")),
            Some(&epoch) => match self.head(files, place.index)? {
                None => Ok((epoch, 0, MISSING)),
                Some(_) => Ok((epoch, place.at, DAMAGED)),
            },
        }
    }
}
