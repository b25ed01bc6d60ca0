//! The one place that maps files.
#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::sync::Arc;

use super::{Map, MapKind, MapMut, MapMutKind};

/// Maps the whole of `file` for reading.
///
/// The caller promises what the engine keeps for segments: written once, renamed into
/// place, never written or truncated again, only unlinked (the map keeps the bytes).
/// Another process that truncates a segment can still raise SIGBUS; data directories
/// belong to one owner, and `README.md` says so.
pub(super) fn map(file: &File) -> io::Result<Map> {
    // SAFETY: `Mmap` asks that the file is not changed while it is mapped. Only sealed
    // segments reach this call (`Fs::map` says so), and nothing in this crate opens a
    // sealed segment for writing.
    let map = unsafe { memmap2::Mmap::map(file) }?;
    Ok(Map(MapKind::File(Arc::new(map))))
}

/// As [`map`], and what is written to the map stays in this process: pages are copied when they are first written to.
pub(super) fn map_to_mend(file: &File) -> io::Result<MapMut> {
    // SAFETY: as above. The map is private, so writing to it changes no file.
    let map = unsafe { memmap2::MmapOptions::new().map_copy(file) }?;
    let len = map.len();
    Ok(MapMut(MapMutKind::File(map, len)))
}
