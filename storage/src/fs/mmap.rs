//! The one place that maps files.
#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::sync::Arc;

use super::unreadable::Watched;
use super::{Map, MapKind, MapMut, MapMutKind};

/// A map, and that it is one: it is unmapped behind the other.
#[derive(Debug)]
pub(super) struct Mapped<M> {
    pub(super) watched: Watched,
    pub(super) bytes: M,
}

/// Maps the whole of `file` for reading.
///
/// The caller promises what the engine keeps for segments: written once, renamed into
/// place, never written or truncated again, only unlinked (the map keeps the bytes).
/// Another process that truncates a segment, or a disk that refuses a page of it, raises
/// SIGBUS in whoever reads that: see `unreadable.rs`.
pub(super) fn map(file: &File) -> io::Result<Map> {
    // SAFETY: `Mmap` asks that the file is not changed while it is mapped. Only sealed
    // segments reach this call (`Fs::map` says so), and nothing in this crate opens a
    // sealed segment for writing.
    let map = unsafe { memmap2::Mmap::map(file) }?;
    let watched = Watched::new(&map, false);
    Ok(Map { lost: Arc::clone(watched.lost()), kind: MapKind::File(Arc::new(Mapped { watched, bytes: map })) })
}

/// As [`map`], and what is written to the map stays in this process: pages are copied when they are first written to.
pub(super) fn map_to_mend(file: &File) -> io::Result<MapMut> {
    // SAFETY: as above. The map is private, so writing to it changes no file.
    let map = unsafe { memmap2::MmapOptions::new().map_copy(file) }?;
    let (len, watched) = (map.len(), Watched::new(&map, true));
    Ok(MapMut(MapMutKind::File(Mapped { watched, bytes: map }, len)))
}

/// Lets whoever touches these pages of a map be answered with SIGBUS, as where the disk refuses them. For tests.
#[cfg(target_os = "linux")]
pub(super) fn spoil(map: &[u8], pages: std::ops::Range<usize>, writable: bool) -> io::Result<()> {
    use std::os::fd::AsRawFd;

    assert!(pages.start <= pages.end && pages.start < map.len(), "pages of the map");
    let empty = rustix::fs::memfd_create("spoiled", rustix::fs::MemfdFlags::CLOEXEC)?;
    let access = libc::PROT_READ | if writable { libc::PROT_WRITE } else { 0 };
    let len = pages.end.min(map.len().next_multiple_of(super::unreadable::page_size())) - pages.start;
    let at = map[pages.start..].as_ptr().cast_mut().cast();
    // SAFETY: the pages are of a map that is held, and stay its own; the file behind them has no byte, so none of theirs
    // can be read any more, and no answer comes of them (`unreadable.rs`).
    let spoiled = unsafe { libc::mmap(at, len, access, libc::MAP_FIXED | libc::MAP_PRIVATE, empty.as_raw_fd(), 0) };
    if spoiled == libc::MAP_FAILED { Err(io::Error::last_os_error()) } else { Ok(()) }
}

#[cfg(not(target_os = "linux"))]
pub(super) fn spoil(_map: &[u8], _pages: std::ops::Range<usize>, _writable: bool) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}
