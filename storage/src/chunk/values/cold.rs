//! Columns that are read seldom: the values, or the integers of decimals, by the `pco` crate.
//!
//! Byte layout: docs/format/chunk.md, "Cold". What the vectors of a column have in common (bins and their odds) stands
//! once, in the first of them; each vector is a page of its own, so that it decodes without the others.

use pco::wrapped::FileCompressor;
use pco::{ChunkConfig, PagingSpec};

use super::decimal::{self, Decimals, Scale};
use super::{bins, exceptions, opened};
use crate::chunk::cursor::{Cursor, put_varint, unzigzag, zigzag};
use crate::chunk::format::{HAS_CORRECTIONS, HAS_EXCEPTIONS, VECTOR_SAMPLES, ValueEncoding};
use crate::chunk::ints::Scratch;
use crate::chunk::room::Room;
use crate::chunk::{ChunkError, kernel, vectors};

/// What the pages hold: doubles, or the integers of decimals. These as what is left above the least of them, where all
/// of them fit two bytes or four: a bin, of which a column of two decimals needs a dozen, costs pco the whole width.
pub(super) const DOUBLES: u8 = 0;
pub(super) const DECIMALS: u8 = 1;
pub(super) const DECIMALS_16: u8 = 2;
pub(super) const DECIMALS_32: u8 = 3;
/// As these two, but what the pages share is [packed](bins), and a page that nothing follows has no length.
pub(super) const PACKED_16: u8 = 4;
pub(super) const PACKED_32: u8 = 5;

/// How hard pco tries, from 0 to 12. Beyond this it takes much longer and gains a few thousandths.
const LEVEL: usize = 8;

/// Encodes columns by pco.
#[derive(Debug, Default)]
pub(super) struct Cold {
    decimals: Decimals,
    integers: Vec<i64>,
    /// Of each vector: its encoding byte, and what follows its page.
    tails: Vec<(u8, Vec<u8>)>,
    best: Vec<u8>,
    other: Vec<u8>,
}

impl Cold {
    /// The column of `values` by pco, however long that is.
    pub(super) fn encode(&mut self, values: &[f64], scratch: &mut Scratch) -> Option<&[u8]> {
        self.best.clear();
        self.tails.clear();
        self.tails.resize(values.len().div_ceil(VECTOR_SAMPLES), (ValueEncoding::Cold as u8, Vec::new()));
        write_column(values, &[DOUBLES], &self.tails, &mut self.best).ok()?;
        if let Some(exponent) = self.find_decimals(values, scratch) {
            self.other.clear();
            self.write_decimals(exponent).ok()?;
            if self.other.len() < self.best.len() {
                std::mem::swap(&mut self.best, &mut self.other);
            }
        }
        Some(&self.best)
    }

    /// Fills `integers` and `tails`; answers the exponent.
    fn find_decimals(&mut self, values: &[f64], scratch: &mut Scratch) -> Option<u8> {
        let exponent = decimal::exponent(values)?;
        let scale = Scale::new(exponent, 1)?;
        self.integers.clear();
        for (vector, (byte, tail)) in values.chunks(VECTOR_SAMPLES).zip(&mut self.tails) {
            // Undivided, since all vectors must share a factor; pco finds one by itself.
            kernel::find_decimals(&mut self.decimals, vector, &scale);
            let factor = self.decimals.factor as i64;
            self.integers.extend(self.decimals.integers.iter().map(|n| n * factor));
            if !self.decimals.corrections.is_empty() {
                *byte |= HAS_CORRECTIONS;
                let plan = kernel::plan(&self.decimals.corrections);
                kernel::encode_integers(&plan, &self.decimals.corrections, scratch, tail);
            }
            if !self.decimals.exceptions.is_empty() {
                *byte |= HAS_EXCEPTIONS;
                exceptions::write(vector, &self.decimals.exceptions, &mut scratch.gaps, tail);
            }
        }
        Some(exponent)
    }

    /// Writes the column of `integers` to `other`, as narrow as they are apart.
    fn write_decimals(&mut self, exponent: u8) -> pco::errors::PcoResult<()> {
        let Self { integers, tails, other, .. } = self;
        let base = integers.iter().copied().min().unwrap_or(0);
        let span = integers.iter().map(|n| n.abs_diff(base)).max().unwrap_or(0);
        let head = |kind| {
            let mut head = vec![kind, exponent];
            put_varint(&mut head, 1);
            if kind != DECIMALS {
                put_varint(&mut head, zigzag(base));
            }
            head
        };
        let above = integers.iter().map(|n| n.abs_diff(base));
        if span <= u16::MAX.into() {
            write_column(&above.map(|n| n as u16).collect::<Vec<_>>(), &head(DECIMALS_16), tails, other)
        } else if span <= u32::MAX.into() {
            write_column(&above.map(|n| n as u32).collect::<Vec<_>>(), &head(DECIMALS_32), tails, other)
        } else {
            write_column(integers, &head(DECIMALS), tails, other)
        }
    }
}

fn write_column<T: pco::data_types::Number>(
    numbers: &[T],
    head: &[u8],
    tails: &[(u8, Vec<u8>)],
    out: &mut Vec<u8>,
) -> pco::errors::PcoResult<()> {
    let pages = numbers.chunks(VECTOR_SAMPLES).map(<[T]>::len).collect();
    let config = ChunkConfig::default().with_compression_level(LEVEL).with_paging_spec(PagingSpec::Exact(pages));
    let file = FileCompressor::default();
    let mut chunk = file.chunk_compressor(numbers, &config)?;
    let mut meta = Vec::new();
    file.write_header(&mut meta)?;
    chunk.write_meta(&mut meta)?;
    let packed = match head[0] {
        DECIMALS_16 => bins::pack(&meta, 16).map(|meta| (PACKED_16, meta)),
        DECIMALS_32 => bins::pack(&meta, 32).map(|meta| (PACKED_32, meta)),
        _ => None,
    };
    let mut result = Ok(());
    let mut number = 0;
    let mut page = Vec::new();
    vectors::write(numbers, out, |_, out| {
        let (byte, tail) = &tails[number];
        let doubles = head[0] == DOUBLES;
        out.push(if doubles { ValueEncoding::Cold as u8 } else { *byte });
        if number == 0 {
            let kind = out.len();
            out.extend_from_slice(head);
            match &packed {
                Some((packed_kind, meta)) => {
                    out[kind] = *packed_kind;
                    out.extend_from_slice(meta);
                }
                None => {
                    out.extend_from_slice(&(meta.len() as u16).to_le_bytes());
                    out.extend_from_slice(&meta);
                }
            }
        }
        page.clear();
        let written = chunk.write_page(number, &mut page);
        if let (Err(error), true) = (written, result.is_ok()) {
            result = Err(error);
        }
        if packed.is_none() || !tail.is_empty() {
            out.extend_from_slice(&(page.len() as u16).to_le_bytes());
        }
        out.extend_from_slice(&page);
        if !doubles {
            out.extend_from_slice(tail);
        }
        number += 1;
    });
    result
}

/// Decodes one vector of a column whose first vector is `first`. The encoding byte of `bytes` was looked at.
pub(super) fn decode(first: &[u8], bytes: &[u8], out: &mut [f64]) -> Result<(), ChunkError> {
    let mut head = Cursor::new(first);
    let encoding = ValueEncoding::from_byte(head.u8("value encoding")?)?;
    if encoding != ValueEncoding::Cold {
        return Err(ChunkError::damaged("a cold vector in a column that is not"));
    }
    let kind = head.u8("kind of a cold column")?;
    let scale = match kind {
        DOUBLES => None,
        DECIMALS | DECIMALS_16 | DECIMALS_32 | PACKED_16 | PACKED_32 => Some(super::decode::scale(&mut head)?),
        _ => return Err(ChunkError::damaged("kind of a cold column")),
    };
    let base = if kind >= DECIMALS_16 { unzigzag(head.varint("least integer")?) } else { 0 };
    opened::with(kind, head.rest(), |column| {
        head.take(column.len(), "what cold vectors share")?;
        // The first vector goes on behind what is shared.
        let mut cursor = if std::ptr::eq(first, bytes) { head } else { Cursor::new(&bytes[1..]) };
        let byte = bytes[0];
        let followed = byte & (HAS_CORRECTIONS | HAS_EXCEPTIONS) != 0;
        let len =
            if kind >= PACKED_16 && !followed { cursor.rest().len() } else { cursor.u16("length of a page")?.into() };
        let page = cursor.take(len, "page")?;
        let Some(scale) = scale else {
            if followed {
                return Err(ChunkError::damaged("flags of cold doubles"));
            }
            column.read_doubles(page, out)?;
            return cursor.end("bytes behind a cold vector");
        };
        let words: &mut [u64] = bytemuck::cast_slice_mut(&mut *out);
        column.read_integers(page, base, words)?;
        kernel::decimals(&scale, words);
        Room::with(|room| super::decode::tail(&mut cursor, byte, out, room))?;
        cursor.end("bytes behind a cold vector")
    })
}
