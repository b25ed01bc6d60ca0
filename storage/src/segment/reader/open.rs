//! Opening: the outline is checked at once, the rest when it is looked at.

use std::ops::Range;
use std::path::Path;
use std::sync::OnceLock;

use bytemuck::Pod;

use super::Segment;
use super::index::{Checks, Index, record_len};
use super::lost::unreadable;
use crate::fs::{Fs, Map};
use crate::model::{SeqNo, SeqRange, TimeRange, Timestamp};
use crate::segment::SegmentInfo;
use crate::segment::format::{
    ALIGN, FLAG_COLD, FLAG_LATE, FOOTER_CRC_AT, FOOTER_LEN, FOOTER_MAGIC, Footer, HEADER_CRC_AT, HEADER_LEN,
    HEADER_MAGIC, Header, INDEX_BLOCK_LEN, RECORDS_MAX, SECTIONS, SEGMENT_VERSION, SectionRecord,
};
use crate::source::ReadError;

impl Segment {
    /// Maps a segment and checks its outline: length, versions, where the sections lie, and the
    /// checksums of header and footer. Index and columns are checked when they are looked at:
    /// it costs the same for one series and for millions, but for four bytes in each 16 KiB of
    /// the index, which are read.
    ///
    /// # Errors
    /// [`ReadError::Corrupt`] if something is wrong or cut off, [`ReadError::TooNew`] if a
    /// newer release wrote the file, [`ReadError::Io`] if it cannot be mapped.
    pub fn open(fs: &dyn Fs, path: &Path) -> Result<Self, ReadError> {
        let io = |source| ReadError::Io { file: path.to_owned(), source };
        // An empty file cannot be mapped everywhere.
        if fs.open_read(path).and_then(|file| file.is_empty()).map_err(io)? {
            return Err(corrupt(path, 0, "the file is empty"));
        }
        let map = fs.map(path).map_err(io)?;
        let opened = Self::from_map(path, map.clone());
        // Whatever else is wrong then is wrong for that.
        if map.losses() == 0 { opened } else { Err(unreadable(path, &map, &(map.last_lost()..map.last_lost() + 1))) }
    }

    fn from_map(path: &Path, map: Map) -> Result<Self, ReadError> {
        let (header, footer) = frame(path, &map)?;
        let sections = sections(path, map.len(), header.version, &footer)?;
        let blocks = blocks(path, map.len(), &footer, &sections)?;
        if let Some((_, table)) = &blocks
            && crc32c::crc32c(&map[table.clone()]) != footer.checksums_crc
        {
            return Err(corrupt(path, footer.checksums, "the checksums of the index are damaged"));
        }
        Self::assemble(path, map, &header, &footer, sections, Checks::new(blocks, [false; SECTIONS]))
    }

    /// A segment of an outline that was found right.
    pub(super) fn assemble(
        path: &Path,
        map: Map,
        header: &Header,
        footer: &Footer,
        sections: Sections,
        checks: Checks,
    ) -> Result<Self, ReadError> {
        let record_len = record_len(header.version);
        let count = |section: usize| (sections[section].len() / record_len[section]) as u64;
        let (chunks, series) = (count(1), count(3));
        if [count(0), chunks, series, count(6)].into_iter().any(|n| n > RECORDS_MAX as u64) {
            return Err(corrupt(path, 0, "more records than can be numbered"));
        }
        let first_last = (footer.first_timestamp, footer.last_timestamp);
        let range = TimeRange::covering(Timestamp::from_nanos(first_last.0), Timestamp::from_nanos(first_last.1));
        let info = SegmentInfo {
            id: header.id,
            store_id: u128::from(header.store_id[1]) << 64 | u128::from(header.store_id[0]),
            file_bytes: map.len() as u64,
            series,
            chunks,
            samples: footer.samples,
            time_range: (footer.samples > 0).then_some(range),
            seq_range: SeqRange { start: SeqNo(header.seq_start), end: SeqNo(header.seq_end) },
            late: header.flags & FLAG_LATE != 0,
            cold: header.flags & FLAG_COLD != 0,
            level: header.level,
            created: header.created,
            opening: footer.opening,
        };
        let crcs = footer.sections.map(|section| section.crc);
        let index = Index { version: header.version, sections, crcs, checks };
        Ok(Self { path: path.to_owned(), map, info, index, names: OnceLock::new() })
    }
}

/// Header and footer, which must agree that the file is whole.
fn frame(path: &Path, map: &Map) -> Result<(Header, Footer), ReadError> {
    if map.len() < HEADER_LEN + FOOTER_LEN {
        return Err(corrupt(path, 0, "the file is too short to be a segment"));
    }
    let footer_at = map.len() - FOOTER_LEN;
    let header: Header = bytemuck::pod_read_unaligned(&map[..HEADER_LEN]);
    let footer: Footer = bytemuck::pod_read_unaligned(&map[footer_at..]);
    if header.magic != HEADER_MAGIC {
        return Err(corrupt(path, 0, "the file does not begin like a segment"));
    }
    if footer.magic != FOOTER_MAGIC {
        return Err(corrupt(path, footer_at as u64, "the file does not end like a segment: it was cut off"));
    }
    // Both must say so: a flipped bit in one of them is damage, not the future.
    if header.version > SEGMENT_VERSION && footer.version == header.version {
        return Err(ReadError::TooNew { file: path.to_owned(), found: header.version, supported: SEGMENT_VERSION });
    }
    if header.crc != crc_of(&header, HEADER_CRC_AT) {
        return Err(corrupt(path, 0, "checksum of the header is wrong"));
    }
    if footer.crc != crc_of(&footer, FOOTER_CRC_AT) {
        return Err(corrupt(path, footer_at as u64, "checksum of the footer is wrong"));
    }
    if header.version == 0 || header.version != footer.version {
        return Err(corrupt(path, 0, "header and footer differ in version"));
    }
    if footer.file_bytes != map.len() as u64 || !footer_at.is_multiple_of(ALIGN as usize) {
        return Err(corrupt(path, footer_at as u64, "the file has not the length it was written with"));
    }
    Ok((header, footer))
}

pub(super) fn crc_of<T: Pod>(record: &T, len: usize) -> u32 {
    crc32c::crc32c(&bytemuck::bytes_of(record)[..len])
}

pub(super) fn section(
    path: &Path,
    data: Range<usize>,
    record: &SectionRecord,
    record_len: usize,
) -> Result<Range<usize>, ReadError> {
    let bounds = || {
        let start = usize::try_from(record.offset).ok()?;
        let end = start.checked_add(usize::try_from(record.len).ok()?)?;
        let whole = (end - start).is_multiple_of(record_len) && start.is_multiple_of(ALIGN as usize);
        (data.start <= start && end <= data.end && whole).then_some(start..end)
    };
    bounds().ok_or_else(|| corrupt(path, record.offset, "a section of the index lies askew"))
}

/// Where each section lies.
pub(super) type Sections = [Range<usize>; SECTIONS];

/// Where the sections lie, all of them between header and footer.
pub(super) fn sections(path: &Path, file_len: usize, version: u32, footer: &Footer) -> Result<Sections, ReadError> {
    let mut sections = [const { 0..0 }; SECTIONS];
    for (i, record) in footer.sections.iter().enumerate() {
        sections[i] = section(path, HEADER_LEN..file_len - FOOTER_LEN, record, record_len(version)[i])?;
    }
    Ok(sections)
}

/// Where the blocks of the index begin, and where their checksums lie; `None` if the file has none.
pub(super) fn blocks(
    path: &Path,
    file_len: usize,
    footer: &Footer,
    sections: &Sections,
) -> Result<Option<(usize, Range<usize>)>, ReadError> {
    if footer.checksums == 0 {
        return Ok(None);
    }
    let (start, data_end) = (sections.iter().map(|section| section.start).min().unwrap_or(0), file_len - FOOTER_LEN);
    let table = || {
        let end = usize::try_from(footer.checksums).ok()?;
        let blocks = end.checked_sub(start)?.div_ceil(INDEX_BLOCK_LEN);
        let inside = end <= data_end && sections.iter().all(|section| section.end <= end);
        let table = end..end.checked_add(blocks.checked_mul(4)?)?;
        (inside && table.end <= data_end).then_some(table)
    };
    let table = table().ok_or_else(|| corrupt(path, footer.checksums, "the checksums of the index lie askew"))?;
    Ok(Some((start, table)))
}

pub(super) fn corrupt(path: &Path, offset: u64, what: &str) -> ReadError {
    ReadError::Corrupt { file: path.to_owned(), offset, what: what.to_owned() }
}
