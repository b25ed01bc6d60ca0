//! Header and footer of a damaged file.

use std::path::Path;

use bytemuck::Pod;

use super::{Expected, Mends};
use crate::model::Timestamp;
use crate::segment::format::{
    FLAG_LATE, FOOTER_CRC_AT, FOOTER_LEN, FOOTER_MAGIC, Footer, HEADER_CRC_AT, HEADER_LEN, HEADER_MAGIC, Header,
    SEGMENT_VERSION, Section, SectionRecord,
};
use crate::segment::mend::{OneBit, one_bit};
use crate::segment::reader::index::record_len;
use crate::segment::reader::open::{corrupt, crc_of, section};
use crate::source::ReadError;

/// Both, as they are, put right, or made anew.
pub(super) fn read(
    path: &Path,
    image: &[u8],
    expected: Option<&Expected>,
    mends: &mut Mends,
) -> Result<(Header, Footer), ReadError> {
    if image.len() < HEADER_LEN + FOOTER_LEN {
        return Err(corrupt(path, 0, "the file is too short to be a segment"));
    }
    let footer_at = image.len() - FOOTER_LEN;
    let footer: Option<Footer> = record(&image[footer_at..], footer_at, FOOTER_CRC_AT, "the footer", mends);
    let header: Option<Header> = record(&image[..HEADER_LEN], 0, HEADER_CRC_AT, "the header", mends);
    let (header, footer) = match (header, footer, expected) {
        (Some(header), Some(footer), _) => (header, footer),
        (None, Some(footer), Some(expected)) => {
            mends.note(0, None, "the header");
            (header_of(expected, footer.version), footer)
        }
        (Some(header), None, Some(expected)) => {
            let footer = footer_of(path, image, header.version, expected)?;
            mends.note(footer_at, None, "the footer");
            (header, footer)
        }
        (None, ..) => return Err(corrupt(path, 0, "checksum of the header is wrong")),
        (_, None, _) => return Err(corrupt(path, footer_at as u64, "checksum of the footer is wrong")),
    };
    if header.magic != HEADER_MAGIC {
        return Err(corrupt(path, 0, "the file does not begin like a segment"));
    }
    if footer.magic != FOOTER_MAGIC {
        // Its checksum is right, and does not cover this.
        let off = u64::from_le_bytes(footer.magic) ^ u64::from_le_bytes(FOOTER_MAGIC);
        let place = off.trailing_zeros();
        let one = off.is_power_of_two().then_some((place % 8) as u8);
        mends.note(footer_at + FOOTER_LEN - 8 + place as usize / 8, one, "the mark at the end");
    }
    if !(1..=SEGMENT_VERSION).contains(&header.version) || header.version != footer.version {
        return Err(corrupt(path, 0, "header and footer differ in version"));
    }
    if footer.file_bytes != image.len() as u64 {
        return Err(corrupt(path, footer_at as u64, "the file has not the length it was written with"));
    }
    Ok((header, footer))
}

/// A record with its checksum at `crc_at`, one bit of both put right. `at`: where it lies in the file.
fn record<T: Pod>(bytes: &[u8], at: usize, crc_at: usize, what: &'static str, mends: &mut Mends) -> Option<T> {
    let mut record: T = bytemuck::pod_read_unaligned(bytes);
    let stored = u32::from_le_bytes(bytes[crc_at..crc_at + 4].try_into().expect("four bytes"));
    if crc_of(&record, crc_at) == stored {
        return Some(record);
    }
    let (byte, bit) = match one_bit(&bytes[..crc_at], stored)? {
        OneBit::Bytes { at, bit } => (at, bit),
        OneBit::Checksum { bit } => (crc_at + usize::from(bit / 8), bit % 8),
    };
    bytemuck::bytes_of_mut(&mut record)[byte] ^= 1 << bit;
    mends.note(at + byte, Some(bit), what);
    Some(record)
}

/// A header of what is known elsewhere. When the file was made nobody knows any more.
fn header_of(expected: &Expected, version: u32) -> Header {
    Header {
        magic: HEADER_MAGIC,
        version,
        flags: if expected.late { FLAG_LATE } else { 0 },
        store_id: [expected.store_id as u64, (expected.store_id >> 64) as u64],
        id: expected.id,
        seq_start: expected.seq_range.start.0,
        seq_end: expected.seq_range.end.0,
        created: 0,
        level: expected.level,
        crc: 0,
    }
}

/// A footer whose places of sections are proved by the sections' own checksums. Statistics and postings are given up if
/// theirs are not; nothing else can be missed.
fn footer_of(path: &Path, image: &[u8], version: u32, expected: &Expected) -> Result<Footer, ReadError> {
    let footer_at = image.len() - FOOTER_LEN;
    let mut footer: Footer = bytemuck::pod_read_unaligned(&image[footer_at..]);
    let lengths = record_len(version.clamp(1, SEGMENT_VERSION));
    for (i, record) in footer.sections.iter_mut().enumerate() {
        let range = section(path, HEADER_LEN..footer_at, record, lengths[i]).ok();
        let range = range.filter(|range| crc32c::crc32c(&image[range.clone()]) == record.crc);
        let of_series = i == Section::Series as usize;
        match range {
            Some(range) if !of_series || (range.len() / lengths[i]) as u64 == expected.series => {}
            _ if i == Section::Stats as usize || i == Section::Postings as usize => {
                *record = SectionRecord { offset: HEADER_LEN as u64, len: 0, crc: 0, reserved: 0 };
            }
            _ => {
                return Err(corrupt(path, footer_at as u64, "the footer is damaged, and where the index lies is lost"));
            }
        }
    }
    let range = expected.time_range;
    footer.samples = expected.samples;
    footer.first_timestamp = range.start.nanos();
    footer.last_timestamp = if range.end == Timestamp::MAX { i64::MAX } else { range.end.nanos().saturating_sub(1) };
    footer.file_bytes = image.len() as u64;
    // Each section is checked by its own.
    footer.checksums = 0;
    footer.opening = 0;
    footer.version = version;
    footer.magic = FOOTER_MAGIC;
    Ok(footer)
}
