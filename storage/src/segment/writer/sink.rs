//! Appending to the file of a segment in large writes.

use std::path::PathBuf;
use std::sync::Arc;

use crate::fs::FsFile;
use crate::segment::WriteError;
use crate::segment::format::{ALIGN, SectionRecord};

/// Bytes gathered before they go to the file.
const BUFFER_BYTES: usize = 1 << 20;

#[derive(Debug)]
pub(super) struct Sink {
    file: Arc<dyn FsFile>,
    path: PathBuf,
    /// Bytes already in the file.
    flushed: u64,
    buffer: Vec<u8>,
}

impl Sink {
    pub(super) fn new(file: Arc<dyn FsFile>, path: PathBuf) -> Self {
        Self { file, path, flushed: 0, buffer: Vec::with_capacity(BUFFER_BYTES + (64 << 10)) }
    }

    /// Where the next byte goes.
    pub(super) fn offset(&self) -> u64 {
        self.flushed + self.buffer.len() as u64
    }

    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<(), WriteError> {
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= BUFFER_BYTES { self.flush() } else { Ok(()) }
    }

    /// Writes a section of the index at the next aligned place.
    pub(super) fn section(&mut self, bytes: &[u8]) -> Result<SectionRecord, WriteError> {
        self.align()?;
        let record =
            SectionRecord { offset: self.offset(), len: bytes.len() as u64, crc: crc32c::crc32c(bytes), reserved: 0 };
        for part in bytes.chunks(BUFFER_BYTES) {
            self.write(part)?;
        }
        self.align()?;
        Ok(record)
    }

    fn align(&mut self) -> Result<(), WriteError> {
        let padding = self.offset().next_multiple_of(ALIGN) - self.offset();
        self.write(&[0; ALIGN as usize][..padding as usize])
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
