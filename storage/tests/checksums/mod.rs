//! Checksums made right again after damage, so that the decoder behind them is reached. For the tests of this folder and
//! for the fuzz targets; written from docs/format/, not from the code under test.
#![allow(dead_code, unreachable_pub)]

/// Bytes of a segment's header.
pub const SEGMENT_HEADER: usize = 72;
/// Bytes of a segment's footer.
pub const SEGMENT_FOOTER: usize = 280;
/// Sections of a segment's index.
pub const SECTIONS: usize = 9;
const INDEX_BLOCK: usize = 16 << 10;

/// Eight bytes as a number.
pub fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("8 bytes"))
}

/// Four bytes as a number.
pub fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("4 bytes"))
}

/// Puts a number there.
pub fn put_u32(bytes: &mut [u8], at: usize, value: u32) {
    bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
}

/// Where the index of a segment begins: after all columns.
#[must_use]
pub fn index_start(segment: &[u8]) -> usize {
    u64_at(segment, segment.len() - SEGMENT_FOOTER) as usize
}

/// Makes every checksum of a segment right: columns, sections, blocks of the index, header, footer.
pub fn fix_segment(bytes: &mut [u8]) {
    fix_columns(bytes);
    fix_outline(bytes);
}

/// Where the footer says that a section lies: begin and length.
fn section_of(bytes: &[u8], i: usize) -> Option<(usize, usize)> {
    let footer = bytes.len().checked_sub(SEGMENT_FOOTER).filter(|at| *at >= SEGMENT_HEADER)?;
    let (offset, len) = (u64_at(bytes, footer + i * 24) as usize, u64_at(bytes, footer + i * 24 + 8) as usize);
    (offset <= footer && len <= footer - offset).then_some((offset, len))
}

fn fix_columns(bytes: &mut [u8]) {
    if bytes.len() < SEGMENT_HEADER + SEGMENT_FOOTER {
        return;
    }
    // Section, length of a record, places of offset, length (u16) and checksum in it.
    let first_version = u32_at(bytes, 8) == 1;
    let chunks = if first_version { (1, 24, 0, 20, 8) } else { (1, 20, 0, 16, 4) };
    for (i, record, offset_at, len_at, crc_at) in [(0, 32, 16, 28, 24), chunks] {
        let Some((start, len)) = section_of(bytes, i) else { continue };
        for at in (start..start + len / record * record).step_by(record) {
            let offset = match i {
                1 if !first_version => usize::from(bytes[at + 18]) << 32 | u32_at(bytes, at) as usize,
                _ => u64_at(bytes, at + offset_at) as usize,
            };
            let len = usize::from(u16::from_le_bytes([bytes[at + len_at], bytes[at + len_at + 1]]));
            if let Some(column) = offset.checked_add(len).and_then(|end| bytes.get(offset..end)) {
                let crc = crc32c::crc32c(column);
                put_u32(bytes, at + crc_at, crc);
            }
        }
    }
}

/// Makes the checksums of a segment's sections, blocks of the index, header and footer right, and leaves those of columns.
pub fn fix_outline(bytes: &mut [u8]) {
    let Some(footer) = bytes.len().checked_sub(SEGMENT_FOOTER).filter(|at| *at >= SEGMENT_HEADER) else { return };
    for i in 0..SECTIONS {
        if let Some((start, len)) = section_of(bytes, i) {
            let crc = crc32c::crc32c(&bytes[start..start + len]);
            put_u32(bytes, footer + i * 24 + 16, crc);
        }
    }
    let start = (0..SECTIONS).map(|i| u64_at(bytes, footer + i * 24) as usize).min().unwrap_or(0);
    let table = u64_at(bytes, footer + 248) as usize;
    if start <= table && table <= footer {
        let blocks = (table - start).div_ceil(INDEX_BLOCK);
        for block in (0..blocks).take((footer - table) / 4) {
            let from = start + block * INDEX_BLOCK;
            let crc = crc32c::crc32c(&bytes[from..(from + INDEX_BLOCK).min(table)]);
            put_u32(bytes, table + block * 4, crc);
        }
        if let Some(checksums) = bytes.get(table..table + blocks * 4) {
            let crc = crc32c::crc32c(checksums);
            put_u32(bytes, footer + 256, crc);
        }
    }
    let crc = crc32c::crc32c(&bytes[..SEGMENT_HEADER - 4]);
    put_u32(bytes, SEGMENT_HEADER - 4, crc);
    let crc = crc32c::crc32c(&bytes[footer..footer + SEGMENT_FOOTER - 12]);
    put_u32(bytes, footer + SEGMENT_FOOTER - 12, crc);
}

/// Where the first commit of a manifest lies: behind the header, from version 2 on behind the witness, too.
pub fn commits_start(manifest: &[u8]) -> usize {
    if u32_at(manifest, 8) == 1 { 48 } else { 64 }
}

/// Makes the checksums of a manifest's header, of its witness and of its commits right, as far as their lengths make sense.
pub fn fix_manifest(bytes: &mut [u8]) {
    if bytes.len() < 48 {
        return;
    }
    let crc = crc32c::crc32c_append(crc32c::crc32c(&bytes[..12]), &bytes[16..48]);
    put_u32(bytes, 12, crc);
    let seed = crc32c::crc32c(&bytes[16..48]);
    let mut at = commits_start(bytes);
    if at == 64 && bytes.len() >= at {
        let crc = crc32c::crc32c_append(seed, &bytes[52..64]);
        put_u32(bytes, 48, crc);
    }
    while at + 16 <= bytes.len() {
        let len = u32_at(bytes, at + 4) as usize;
        let Some(end) = at.checked_add(16 + len).filter(|end| len > 0 && *end <= bytes.len()) else { return };
        let crc = crc32c::crc32c_append(seed, &bytes[at + 4..end]);
        put_u32(bytes, at, crc);
        at = end.next_multiple_of(8);
    }
}

/// Makes the checksums of a WAL file's header and of its frames right, as far as their lengths make sense.
pub fn fix_wal(bytes: &mut [u8]) {
    if bytes.len() < 64 {
        return;
    }
    let crc = crc32c::crc32c_append(crc32c::crc32c(&bytes[..12]), &bytes[16..64]);
    put_u32(bytes, 12, crc);
    let mut at = 4096;
    while at + 96 <= bytes.len() {
        if bytes[at..at + 4] != *b"TGFR" {
            at = (at + 1).next_multiple_of(4096);
            continue;
        }
        let len = u32_at(bytes, at + 12) as usize;
        let Some(end) = at.checked_add(len).filter(|end| len >= 96 && *end <= bytes.len()) else { return };
        let crc = crc32c::crc32c(&bytes[at + 96..end]);
        put_u32(bytes, at + 8, crc);
        let crc = crc32c::crc32c(&bytes[at + 8..at + 96]);
        put_u32(bytes, at + 4, crc);
        at = end;
    }
}
