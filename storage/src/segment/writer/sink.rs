//! Appending to the file of a segment in large writes.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use crate::fs::FsFile;
use crate::segment::WriteError;
use crate::segment::format::{ALIGN, INDEX_BLOCK_LEN, SectionRecord};

/// Bytes gathered before they go to the file.
const BUFFER_BYTES: usize = 1 << 20;

#[derive(Debug)]
pub(super) struct Sink {
    file: Arc<dyn FsFile>,
    path: PathBuf,
    /// Bytes already in the file.
    flushed: u64,
    buffer: Vec<u8>,
    /// Of the index, from its first section on.
    blocks: Blocks,
}

/// Checksums of what was written of the index so far.
#[derive(Debug, Default)]
struct Blocks {
    done: Vec<u32>,
    /// Checksum and length of the block begun.
    crc: u32,
    len: usize,
}

impl Blocks {
    fn add(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let (now, later) = bytes.split_at(bytes.len().min(INDEX_BLOCK_LEN - self.len));
            self.crc = crc32c::crc32c_append(self.crc, now);
            self.len += now.len();
            if self.len == INDEX_BLOCK_LEN {
                self.end();
            }
            bytes = later;
        }
    }

    fn end(&mut self) {
        if self.len > 0 {
            self.done.push(self.crc);
            (self.crc, self.len) = (0, 0);
        }
    }
}

impl Sink {
    pub(super) fn new(file: Arc<dyn FsFile>, path: PathBuf) -> Self {
        Self {
            file,
            path,
            flushed: 0,
            buffer: Vec::with_capacity(BUFFER_BYTES + (64 << 10)),
            blocks: Blocks::default(),
        }
    }

    /// Where the next byte goes.
    pub(super) fn offset(&self) -> u64 {
        self.flushed + self.buffer.len() as u64
    }

    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<(), WriteError> {
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= BUFFER_BYTES { self.flush() } else { Ok(()) }
    }

    /// Reads what was written at `offset` by one [`write`](Self::write): all of it is in the file, or none.
    pub(super) fn read_back(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        if let Some(at) = offset.checked_sub(self.flushed) {
            out.copy_from_slice(&self.buffer[at as usize..][..out.len()]);
            return Ok(());
        }
        let mut done = 0;
        while done < out.len() {
            match self.file.read_at(offset + done as u64, &mut out[done..])? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                n => done += n,
            }
        }
        Ok(())
    }

    /// Writes a section of the index at the next aligned place.
    pub(super) fn section(&mut self, bytes: &[u8]) -> Result<SectionRecord, WriteError> {
        self.section_of(bytes.chunks(BUFFER_BYTES), |part, out| out.extend_from_slice(part))
    }

    /// Writes a section that is made part by part, so that nobody has to hold all of it: `make` appends a part.
    pub(super) fn section_of<T>(
        &mut self,
        parts: impl Iterator<Item = T>,
        mut make: impl FnMut(T, &mut Vec<u8>),
    ) -> Result<SectionRecord, WriteError> {
        self.align()?;
        let mut record = SectionRecord { offset: self.offset(), len: 0, crc: 0, reserved: 0 };
        for part in parts {
            let start = self.buffer.len();
            make(part, &mut self.buffer);
            let made = &self.buffer[start..];
            record.len += made.len() as u64;
            record.crc = crc32c::crc32c_append(record.crc, made);
            self.blocks.add(made);
            if self.buffer.len() >= BUFFER_BYTES {
                self.flush()?;
            }
        }
        let padding = self.align()?;
        self.blocks.add(padding);
        Ok(record)
    }

    /// Writes the checksums of the index' blocks, behind its last section; answers where, and their own checksum.
    pub(super) fn checksums(&mut self) -> Result<(u64, u32), WriteError> {
        self.blocks.end();
        let checksums = std::mem::take(&mut self.blocks.done);
        let (offset, bytes) = (self.offset(), bytemuck::cast_slice(&checksums));
        self.write(bytes)?;
        self.align()?;
        Ok((offset, crc32c::crc32c(bytes)))
    }

    fn align(&mut self) -> Result<&'static [u8], WriteError> {
        let padding = self.offset().next_multiple_of(ALIGN) - self.offset();
        let zeros = &[0; ALIGN as usize][..padding as usize];
        self.write(zeros)?;
        Ok(zeros)
    }

    fn flush(&mut self) -> Result<(), WriteError> {
        self.file.write_all_at(self.flushed, &self.buffer).map_err(|source| self.io(source))?;
        self.flushed += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }

    /// Writes what is left and waits until it survives a power loss.
    pub(super) fn finish(mut self) -> Result<(), WriteError> {
        self.flush()?;
        self.file.sync_data().map_err(|source| self.io(source))
    }

    fn io(&self, source: std::io::Error) -> WriteError {
        WriteError::Io { file: self.path.clone(), source }
    }
}
