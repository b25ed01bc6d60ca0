//! Cold columns whose shared part was read: each thread keeps the last, since the vectors of a column come one after the
//! other. Reading it (bins, and the tables made of them) takes as long as a vector of what is decoded then.

use std::cell::RefCell;

use pco::metadata::{DeltaEncoding, Mode};
use pco::wrapped::{ChunkDecompressor, FileDecompressor};

use super::bins;
use super::cold::{DECIMALS_16, DECIMALS_32, DOUBLES, PACKED_16, PACKED_32};
use crate::chunk::ChunkError;
use crate::chunk::cursor::Cursor;
use crate::chunk::format::VECTOR_SAMPLES;

/// The major version of pco's format that this release writes and reads.
const PCO_MAJOR: u8 = 4;

/// Longest window that pco may look back in, as a power of two: longer than a chunk makes no sense.
const WINDOW_LOG_MAX: u32 = 15;

const BAD_PAGE: ChunkError = ChunkError::damaged("a page of pco");

/// What the vectors of a column share, ready to read their pages.
pub(super) struct Column {
    kind: u8,
    /// The bytes that it was made of.
    shared: Box<[u8]>,
    pages: Pages,
}

enum Pages {
    Doubles(ChunkDecompressor<f64>),
    Long(ChunkDecompressor<i64>),
    Short(ChunkDecompressor<u16>),
    Middle(ChunkDecompressor<u32>),
}

/// Calls `work` with the column of this kind whose shared part `bytes` begin with.
pub(super) fn with<R>(
    kind: u8,
    bytes: &[u8],
    work: impl FnOnce(&mut Column) -> Result<R, ChunkError>,
) -> Result<R, ChunkError> {
    thread_local! {
        static LAST: RefCell<Option<Column>> = const { RefCell::new(None) };
    }
    LAST.with(|last| match last.try_borrow_mut() {
        Ok(mut last) => {
            // By what it says, not by where it lies: another column may lie there by now.
            if !last.as_ref().is_some_and(|column| column.kind == kind && bytes.starts_with(&column.shared)) {
                *last = Some(Column::open(kind, bytes)?);
            }
            work(last.as_mut().expect("opened above"))
        }
        // Decoding does not call itself; if it ever did, it would only be slower.
        Err(_) => work(&mut Column::open(kind, bytes)?),
    })
}

impl Column {
    /// What `bytes` begin with. The same bytes give the same, whatever follows them.
    fn open(kind: u8, bytes: &[u8]) -> Result<Self, ChunkError> {
        let mut cursor = Cursor::new(bytes);
        let unpacked;
        let meta = if kind >= PACKED_16 {
            let packed = bins::unpack(bytes, if kind == PACKED_16 { 16 } else { 32 });
            let (meta, len) = packed.ok_or(ChunkError::damaged("bins of a cold column"))?;
            cursor.take(len, "bins of a cold column")?;
            unpacked = meta;
            &unpacked
        } else {
            let len = usize::from(cursor.u16("length of what cold vectors share")?);
            cursor.take(len, "what cold vectors share")?
        };
        let pages = match kind {
            DOUBLES => Pages::Doubles(open(meta)?),
            DECIMALS_16 | PACKED_16 => Pages::Short(open(meta)?),
            DECIMALS_32 | PACKED_32 => Pages::Middle(open(meta)?),
            _ => Pages::Long(open(meta)?),
        };
        let len = bytes.len() - cursor.rest().len();
        Ok(Self { kind, shared: bytes[..len].into(), pages })
    }

    /// Bytes of the shared part.
    pub(super) fn len(&self) -> usize {
        self.shared.len()
    }

    /// The doubles of a page.
    pub(super) fn read_doubles(&mut self, page: &[u8], out: &mut [f64]) -> Result<(), ChunkError> {
        match &mut self.pages {
            Pages::Doubles(chunk) => read_page(chunk, page, out),
            _ => Err(BAD_PAGE),
        }
    }

    /// The integers of a page, each with `base` added.
    pub(super) fn read_integers(&mut self, page: &[u8], base: i64, words: &mut [u64]) -> Result<(), ChunkError> {
        match &mut self.pages {
            Pages::Short(chunk) => spread(chunk, page, words, |n| base.wrapping_add(n.into())),
            Pages::Middle(chunk) => spread(chunk, page, words, |n| base.wrapping_add(n.into())),
            Pages::Long(chunk) => spread(chunk, page, words, |n| n),
            Pages::Doubles(_) => Err(BAD_PAGE),
        }
    }
}

fn spread<T: pco::data_types::Number + Default>(
    chunk: &mut ChunkDecompressor<T>,
    page: &[u8],
    words: &mut [u64],
    integer: impl Fn(T) -> i64,
) -> Result<(), ChunkError> {
    let mut numbers = [T::default(); VECTOR_SAMPLES];
    let numbers = &mut numbers[..words.len()];
    read_page(chunk, page, numbers)?;
    words.iter_mut().zip(numbers).for_each(|(word, n)| *word = integer(*n) as u64);
    Ok(())
}

fn read_page<T: pco::data_types::Number>(
    chunk: &mut ChunkDecompressor<T>,
    page: &[u8],
    out: &mut [T],
) -> Result<(), ChunkError> {
    let mut pages = chunk.page_decompressor(page, out.len()).map_err(|_| BAD_PAGE)?;
    let progress = pages.read(out).map_err(|_| BAD_PAGE)?;
    if progress.finished && progress.n_processed == out.len() && pages.into_src().is_empty() {
        Ok(())
    } else {
        Err(BAD_PAGE)
    }
}

fn open<T: pco::data_types::Number>(meta: &[u8]) -> Result<ChunkDecompressor<T>, ChunkError> {
    const DAMAGED: ChunkError = ChunkError::damaged("bins of pco");
    // The mode is in the lower half of the third byte. A dictionary, which the encoder never asks for, would be
    // allocated before it is read.
    const DICTIONARY: u8 = 4;
    let (Some(&major), Some(mode)) = (meta.first(), meta.get(2)) else { return Err(DAMAGED) };
    if major > PCO_MAJOR {
        return Err(ChunkError::TooNew { what: "pco format", found: major, supported: PCO_MAJOR });
    }
    if major != PCO_MAJOR || mode & 0x0f == DICTIONARY {
        return Err(DAMAGED);
    }
    let (file, rest) = FileDecompressor::new(meta).map_err(|_| DAMAGED)?;
    let (chunk, rest) = file.chunk_decompressor::<T, _>(rest).map_err(|_| DAMAGED)?;
    let modes =
        matches!(chunk.meta().mode, Mode::Classic | Mode::IntMult(_) | Mode::FloatMult(_) | Mode::FloatQuant(_));
    let deltas = match &chunk.meta().delta_encoding {
        DeltaEncoding::NoOp | DeltaEncoding::Consecutive { .. } => true,
        // A window is allocated before anything is read.
        DeltaEncoding::Lookback { config, .. } => config.window_n_log <= WINDOW_LOG_MAX,
        _ => false,
    };
    let known = modes && deltas;
    if known && rest.is_empty() { Ok(chunk) } else { Err(DAMAGED) }
}
