//! The sections of the index: records and bytes, checked before anybody sees them.
//!
//! A part of the index is checked when it is first looked at, and then never again: opening a
//! segment costs the same however many series it has, and a question about one series checks
//! what that takes. Byte layout: docs/format/segment.md, "Checksums of the index".

use std::ops::Range;
use std::path::Path;
use std::sync::OnceLock;

use bytemuck::AnyBitPattern;

use super::lost::unreadable;
use crate::fs::Map;
use crate::segment::format::{
    ChunkRecord, INDEX_BLOCK_LEN, LabelRecord, NameRecord, SECTIONS, STATS_UNIT, Section, SeriesRecord,
    TimestampsRecord, v1,
};
use crate::source::ReadError;

/// Length of a record of each section; 1 for sections that are plain bytes.
const RECORD_LEN: [usize; SECTIONS] = [
    size_of::<TimestampsRecord>(),
    size_of::<ChunkRecord>(),
    STATS_UNIT,
    size_of::<SeriesRecord>(),
    1,
    size_of::<NameRecord>(),
    size_of::<LabelRecord>(),
    1,
    1,
];

const RECORD_LEN_V1: [usize; SECTIONS] = {
    let mut lengths = RECORD_LEN;
    lengths[Section::Chunks as usize] = size_of::<v1::ChunkRecord>();
    lengths[Section::Stats as usize] = size_of::<v1::StatsRecord>();
    lengths[Section::Series as usize] = size_of::<v1::SeriesRecord>();
    lengths
};

/// Lengths of records in files of a version.
pub(super) fn record_len(version: u32) -> &'static [usize; SECTIONS] {
    if version == 1 { &RECORD_LEN_V1 } else { &RECORD_LEN }
}

/// Where the sections lie, and which parts of them were found right.
#[derive(Debug)]
pub(super) struct Index {
    /// Of the file: what records look like.
    pub(super) version: u32,
    pub(super) sections: [Range<usize>; SECTIONS],
    /// Of each section whole.
    pub(super) crcs: [u32; SECTIONS],
    pub(super) checks: Checks,
}

/// What is checked at once.
#[derive(Debug)]
pub(super) enum Checks {
    /// Blocks of the index, from `start` on; their checksums lie in `table`. Of a damaged file, sections that are `sound`
    /// are so whatever their blocks are.
    Blocks { start: usize, table: Range<usize>, passed: Box<[OnceLock<()>]>, sound: [bool; SECTIONS] },
    /// Whole sections: the file has no checksums of blocks.
    Sections([OnceLock<()>; SECTIONS]),
}

impl Checks {
    /// Nothing is checked yet. `blocks`: where those of the index begin, and where their checksums lie.
    pub(super) fn new(blocks: Option<(usize, Range<usize>)>, sound: [bool; SECTIONS]) -> Self {
        match blocks {
            Some((start, table)) => {
                let passed = (0..table.len() / 4).map(|_| OnceLock::new()).collect();
                Self::Blocks { start, table, passed, sound }
            }
            None => Self::Sections(Default::default()),
        }
    }
}

impl Index {
    /// Records of `T` in a section. Its length was found to be a multiple at opening.
    pub(super) fn count<T>(&self, section: Section) -> usize {
        self.sections[section as usize].len() / size_of::<T>()
    }

    /// Records in a section, whatever the version.
    pub(super) fn records(&self, section: Section) -> usize {
        self.len(section) / record_len(self.version)[section as usize]
    }

    /// Length of a section in bytes.
    pub(super) fn len(&self, section: Section) -> usize {
        self.sections[section as usize].len()
    }

    /// One record; `None` if there are not so many.
    pub(super) fn record<'a, T: AnyBitPattern>(
        &self,
        path: &Path,
        map: &'a Map,
        section: Section,
        at: usize,
    ) -> Result<Option<&'a T>, ReadError> {
        if at >= self.count::<T>(section) {
            return Ok(None);
        }
        let start = at * size_of::<T>();
        let bytes = self.bytes(path, map, section, start..start + size_of::<T>())?;
        // Sections are aligned, and so is the map.
        Ok(bytes.map(bytemuck::from_bytes))
    }

    /// Bytes of a section; `None` if it is not so long.
    #[inline]
    pub(super) fn bytes<'a>(
        &self,
        path: &Path,
        map: &'a Map,
        section: Section,
        range: Range<usize>,
    ) -> Result<Option<&'a [u8]>, ReadError> {
        let whole = &self.sections[section as usize];
        if range.start > range.end || range.end > whole.len() {
            return Ok(None);
        }
        let inside = whole.start + range.start..whole.start + range.end;
        if !inside.is_empty() {
            self.check(path, map, section, &inside)?;
        }
        Ok(Some(&map[inside]))
    }

    #[inline]
    fn check(&self, path: &Path, map: &Map, section: Section, bytes: &Range<usize>) -> Result<(), ReadError> {
        match &self.checks {
            Checks::Blocks { start, passed, sound, .. } => {
                // Most often one: an inclusive range would look twice.
                for block in (bytes.start - start) / INDEX_BLOCK_LEN..(bytes.end - 1 - start) / INDEX_BLOCK_LEN + 1 {
                    if passed[block].get().is_none() && !sound[section as usize] {
                        self.check_block(path, map, block)?;
                    }
                }
            }
            Checks::Sections(passed) => {
                if passed[section as usize].get().is_none() {
                    self.check_section(path, map, section as usize)?;
                    let _ = passed[section as usize].set(());
                }
            }
        }
        // They were right once (UR1).
        if map.is_lost(bytes) { Err(unreadable(path, map, bytes)) } else { Ok(()) }
    }

    #[cold]
    fn check_block(&self, path: &Path, map: &Map, block: usize) -> Result<(), ReadError> {
        let Checks::Blocks { start, table, passed, .. } = &self.checks else { return Ok(()) };
        let from = start + block * INDEX_BLOCK_LEN;
        let bytes = &map[from..(from + INDEX_BLOCK_LEN).min(table.start)];
        let at = table.start + block * 4..table.start + block * 4 + 4;
        let stored: u32 = bytemuck::pod_read_unaligned(&map[at.clone()]);
        if crc32c::crc32c(bytes) != stored {
            let of_block = from..from + bytes.len();
            return Err(if map.is_lost(&at) { unreadable(path, map, &at) } else { damaged(path, map, of_block) });
        }
        // Two threads may check the same block; both find the same.
        let _ = passed[block].set(());
        Ok(())
    }

    fn check_section(&self, path: &Path, map: &Map, section: usize) -> Result<(), ReadError> {
        let range = &self.sections[section];
        if crc32c::crc32c(&map[range.clone()]) != self.crcs[section] {
            return Err(damaged(path, map, range.clone()));
        }
        Ok(())
    }

    /// Checks every part anew, and tells of each that is damaged: blocks, and sections that touch none of these.
    pub(super) fn check_all(&self, path: &Path, map: &Map, mut tell: impl FnMut(ReadError)) {
        let mut damaged_blocks: Vec<Range<usize>> = Vec::new();
        if let Checks::Blocks { start, table, passed, .. } = &self.checks {
            for block in 0..passed.len() {
                if let Err(e) = self.check_block(path, map, block) {
                    let from = start + block * INDEX_BLOCK_LEN;
                    damaged_blocks.push(from..(from + INDEX_BLOCK_LEN).min(table.start));
                    tell(e);
                }
            }
        }
        for section in 0..SECTIONS {
            let range = &self.sections[section];
            if !damaged_blocks.iter().any(|block| block.start < range.end && range.start < block.end)
                && let Err(e) = self.check_section(path, map, section)
            {
                tell(e);
            }
        }
    }
}

fn damaged(path: &Path, map: &Map, bytes: Range<usize>) -> ReadError {
    if map.is_lost(&bytes) {
        return unreadable(path, map, &bytes);
    }
    ReadError::Corrupt {
        file: path.to_owned(),
        offset: bytes.start as u64,
        what: "checksum of the index is wrong".to_owned(),
    }
}
