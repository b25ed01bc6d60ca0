//! Reading one WAL file, a bounded window of it at a time.

use std::collections::BTreeSet;
use std::io;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use super::format::{FILE_HEADER_LEN, FILE_MAGIC, FRAME_ALIGN, FRAME_HEADER_LEN, FRAME_MAGIC, FileHeader, FrameHeader};
use super::format::{PAGE, VERSION};
use super::types::{Epoch, WalError};
use crate::fs::{FsFile, is_unreadable};

/// Bytes read ahead; a larger frame makes the window as large as itself.
const WINDOW: usize = 1 << 20;
/// A search gives up on a file once it has checked this many times the file's bytes:
/// headers made to overlap would cost the square of its length otherwise.
const SEARCH_EFFORT: u64 = 4;

/// A WAL file open for reading.
#[derive(Debug)]
pub(super) struct FrameFile {
    pub(super) path: PathBuf,
    pub(super) epoch: Epoch,
    store_id: u128,
    file: Arc<dyn FsFile>,
    len: u64,
    window: Vec<u8>,
    window_at: u64,
    /// Where the pages begin that the disk refused. They pass for zeros.
    refused: BTreeSet<u64>,
}

/// What the header of a file says.
#[derive(Debug)]
pub(super) enum HeaderState {
    /// This file's, in a version that is understood.
    Sound(FileHeader),
    /// None of this file's present life.
    Bad(&'static str),
}

impl FrameFile {
    pub(super) fn new(path: PathBuf, file: Arc<dyn FsFile>, epoch: Epoch, store_id: u128) -> Result<Self, WalError> {
        let len = file.len().map_err(|e| WalError::io(&path, e))?;
        Ok(Self { path, epoch, store_id, file, len, window: Vec::new(), window_at: 0, refused: BTreeSet::new() })
    }

    /// Pages that the disk has refused are not asked for again: a dead sector can take seconds.
    pub(super) fn with_refused(self, refused: BTreeSet<u64>) -> Self {
        Self { refused, ..self }
    }

    /// Where the pages begin that the disk refused so far.
    pub(super) fn refused(&self) -> &BTreeSet<u64> {
        &self.refused
    }

    /// Bytes of the file.
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// Checks the file's header.
    ///
    /// # Errors
    /// [`WalError::TooNew`] for a later version, or if reading fails.
    pub(super) fn header(&mut self) -> Result<HeaderState, WalError> {
        let (store_id, epoch) = (self.store_id, self.epoch);
        let bytes = self.bytes(0, FILE_HEADER_LEN)?;
        let Some(bytes) = bytes.get(..FILE_HEADER_LEN) else {
            return Ok(HeaderState::Bad("the file is shorter than its header"));
        };
        let header: FileHeader = bytemuck::pod_read_unaligned(bytes);
        if header.magic != FILE_MAGIC || header.crc != header.checksum() {
            return Ok(HeaderState::Bad("the file's header is damaged"));
        }
        if header.version != VERSION {
            let (found, supported) = (header.version, VERSION);
            return Err(WalError::TooNew { file: self.path.clone(), what: "format version", found, supported });
        }
        if header.store_id != store_id.to_le_bytes() {
            return Ok(HeaderState::Bad("the file belongs to another store"));
        }
        if header.synced_through >= header.first_frame || header.first_frame >= 1 << 63 {
            return Ok(HeaderState::Bad("the file's header contradicts itself"));
        }
        if header.epoch != epoch.0 {
            return Ok(HeaderState::Bad("the file's header is that of its former life"));
        }
        Ok(HeaderState::Sound(header))
    }

    /// The header of the frame at `at`, if a whole and sound frame of this file lies there.
    pub(super) fn frame_at(&mut self, at: u64) -> Result<Option<FrameHeader>, WalError> {
        let Some(header) = self.frame_header_at(at)? else { return Ok(None) };
        let bytes = self.bytes(at, header.frame_len as usize)?;
        let sound = bytes.get(FRAME_HEADER_LEN..header.frame_len as usize);
        Ok(sound.filter(|payload| crc32c::crc32c(payload) == header.payload_crc).map(|_| header))
    }

    /// The header at `at`, if it is sound; what follows may not be.
    pub(super) fn frame_header_at(&mut self, at: u64) -> Result<Option<FrameHeader>, WalError> {
        if at.checked_add(FRAME_HEADER_LEN as u64).is_none_or(|end| end > self.len) {
            return Ok(None);
        }
        let (store_id, epoch) = (self.store_id, self.epoch);
        Ok(FrameHeader::read(self.bytes(at, FRAME_HEADER_LEN)?, store_id, epoch))
    }

    /// Whether a frame of number `next` or above was begun at `at`: its header holds, or it has the magic of one and
    /// does not hold. Headers of the file's former life do.
    pub(super) fn begun_at(&mut self, at: u64, next: u64) -> Result<bool, WalError> {
        if let Some(header) = self.frame_header_at(at)? {
            return Ok(header.frame_no >= next && !header.is_witness());
        }
        let bytes = self.bytes(at, FRAME_HEADER_LEN)?;
        let has_magic = bytes.starts_with(&FRAME_MAGIC.to_le_bytes());
        let holds = bytes.get(..FRAME_HEADER_LEN).is_some_and(|bytes| {
            let header: FrameHeader = bytemuck::pod_read_unaligned(bytes);
            header.header_crc == header.checksum()
        });
        Ok(has_magic && !holds)
    }

    /// What lies behind the header of a frame that [`frame_at`](Self::frame_at) found.
    pub(super) fn payload(&mut self, at: u64, header: &FrameHeader) -> Result<&[u8], WalError> {
        let len = header.frame_len as usize;
        let bytes = self.bytes(at, len)?;
        Ok(bytes.get(FRAME_HEADER_LEN..len).unwrap_or_default())
    }

    /// The next whole and sound frame at or behind `from`, wherever it begins.
    pub(super) fn search(&mut self, from: u64) -> Result<Option<(u64, FrameHeader)>, WalError> {
        let mut at = from.max(PAGE).next_multiple_of(FRAME_ALIGN);
        let mut effort = self.len.saturating_mul(SEARCH_EFFORT);
        while at < self.len {
            // All that is there of the window: reading on before its end would read the half of each twice.
            let bytes = self.bytes(at, FRAME_HEADER_LEN)?;
            let (words, _) = bytes.as_chunks::<{ FRAME_ALIGN as usize }>();
            if words.is_empty() {
                break;
            }
            let magic = FRAME_MAGIC.to_le_bytes();
            let Some(hit) = words.iter().position(|word| word[..4] == magic) else {
                at += words.len() as u64 * FRAME_ALIGN;
                continue;
            };
            at += hit as u64 * FRAME_ALIGN;
            if let Some(header) = self.frame_header_at(at)? {
                if self.frame_at(at)?.is_some() {
                    return Ok(Some((at, header)));
                }
                effort = effort.saturating_sub(header.frame_len.into());
                if effort == 0 {
                    break;
                }
            }
            at += FRAME_ALIGN;
        }
        Ok(None)
    }

    /// The bytes from `at`: `n` of them or more, fewer only at the end of the file.
    fn bytes(&mut self, at: u64, n: usize) -> Result<&[u8], WalError> {
        let wanted = (n as u64).min(self.len.saturating_sub(at));
        let skip = at.wrapping_sub(self.window_at);
        let inside = at >= self.window_at && skip + wanted <= self.window.len() as u64;
        if !inside {
            self.fill(at, n.max(WINDOW)).map_err(|e| WalError::io(&self.path, e))?;
        }
        Ok(self.window.get((at - self.window_at) as usize..).unwrap_or_default())
    }

    fn fill(&mut self, at: u64, n: usize) -> io::Result<()> {
        let n = (n as u64).min(self.len.saturating_sub(at)) as usize;
        self.window.clear();
        self.window_at = at;
        self.window.resize(n, 0);
        let got = read_around(&*self.file, at, &mut self.window, &mut self.refused)?;
        if got < n {
            // Cut short by somebody else since it was opened.
            self.len = at + got as u64;
        }
        self.window.truncate(got);
        Ok(())
    }
}

/// The stretches that `refused` pages make, of those at `from` or behind.
pub(super) fn stretches(refused: &BTreeSet<u64>, from: u64) -> impl Iterator<Item = Range<u64>> {
    let mut pages = refused.range(from..).copied().peekable();
    std::iter::from_fn(move || {
        let begin = pages.next()?;
        let mut end = begin.saturating_add(PAGE);
        while pages.next_if_eq(&end).is_some() {
            end = end.saturating_add(PAGE);
        }
        Some(begin..end)
    })
}

/// Reads from `at` on until `buf` is full or the file ends, and answers how much that is. What the disk refuses to read is
/// zeros; where those pages begin is added to `refused`.
pub(super) fn read_around(
    file: &dyn FsFile,
    at: u64,
    buf: &mut [u8],
    refused: &mut BTreeSet<u64>,
) -> io::Result<usize> {
    let end = at.saturating_add(buf.len() as u64);
    if refused.range(at / PAGE * PAGE..end).next().is_none() {
        match read_full(file, at, buf) {
            Err(e) if is_unreadable(&e) => {}
            read => return read,
        }
    }
    // All pages but those that are known.
    let mut done = 0;
    while done < buf.len() {
        let from = at + done as u64;
        let page = from / PAGE * PAGE;
        let n = ((page + PAGE).min(end) - from) as usize;
        let part = &mut buf[done..done + n];
        let read = if refused.contains(&page) { None } else { Some(read_full(file, from, part)) };
        match read {
            Some(Ok(got)) if got < n => return Ok(done + got),
            Some(Ok(_)) => {}
            Some(Err(e)) if !is_unreadable(&e) => return Err(e),
            None | Some(Err(_)) => {
                refused.insert(page);
                part.fill(0);
            }
        }
        done += n;
    }
    Ok(done)
}

fn read_full(file: &dyn FsFile, at: u64, buf: &mut [u8]) -> io::Result<usize> {
    let mut done = 0;
    while done < buf.len() {
        match file.read_at(at + done as u64, &mut buf[done..])? {
            0 => break,
            got => done += got,
        }
    }
    Ok(done)
}
