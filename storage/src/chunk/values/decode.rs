//! Decoding one vector of values.

use super::decimal::Scale;
use super::{exceptions, halves};
use crate::chunk::cursor::Cursor;
use crate::chunk::format::{HAS_CORRECTIONS, HAS_EXCEPTIONS, HAS_RUNS, VECTOR_SAMPLES, ValueEncoding};
use crate::chunk::places::Places;
use crate::chunk::room::Room;
use crate::chunk::{ChunkError, bitpack, ints, kernel, steps};

/// Decodes exactly `out.len()` values, at most 1,024. `first` is the first vector of the column.
pub(super) fn vector(first: &[u8], bytes: &[u8], out: &mut [f64]) -> Result<(), ChunkError> {
    let mut cursor = Cursor::new(bytes);
    let byte = cursor.u8("value encoding")?;
    if ValueEncoding::from_byte(byte)? == ValueEncoding::Cold {
        return cold(first, bytes, out);
    }
    Room::with(|room| {
        if byte & HAS_RUNS == 0 {
            body(&mut cursor, byte, out, room)?;
            return cursor.end("bytes behind a vector of values");
        }
        let starts = Places::read(&mut cursor, out.len())?;
        let runs = starts.len + 1;
        // Their differences are summed up where the runs lie, so that nothing is moved.
        if byte == ValueEncoding::DecimalDelta as u8 | HAS_RUNS && runs < VECTOR_SAMPLES && runs <= out.len() {
            let scale = scale(&mut cursor)?;
            let begins = starts.runs(&mut room.patches.places)?;
            steps::decode_runs_decimals(&mut cursor, &scale, &begins, runs, bytemuck::cast_slice_mut(out), room)?;
            return cursor.end("bytes behind a vector of values");
        }
        let firsts = out.get_mut(..=starts.len).ok_or(ChunkError::damaged("more runs than samples"))?;
        body(&mut cursor, byte & !HAS_RUNS, firsts, room)?;
        cursor.end("bytes behind a vector of values")?;
        starts.spread(bytemuck::cast_slice_mut(out), &mut room.patches.places)
    })
}

#[cfg(feature = "cold")]
fn cold(first: &[u8], bytes: &[u8], out: &mut [f64]) -> Result<(), ChunkError> {
    if bytes.first().is_some_and(|byte| byte & HAS_RUNS != 0) {
        return Err(ChunkError::damaged("flags of cold values"));
    }
    super::cold::decode(first, bytes, out)
}

#[cfg(not(feature = "cold"))]
fn cold(_: &[u8], _: &[u8], _: &mut [f64]) -> Result<(), ChunkError> {
    Err(ChunkError::MissingFeature { feature: "cold" })
}

fn body(cursor: &mut Cursor<'_>, byte: u8, out: &mut [f64], room: &mut Room) -> Result<(), ChunkError> {
    let encoding = ValueEncoding::from_byte(byte)?;
    if encoding != ValueEncoding::Dictionary {
        return plain(cursor, byte, encoding, out, room);
    }
    if byte & (HAS_CORRECTIONS | HAS_EXCEPTIONS) != 0 {
        return Err(ChunkError::damaged("flags of a dictionary"));
    }
    let count = usize::from(cursor.u16("count of forms")?);
    if count == 0 || count > out.len() {
        return Err(ChunkError::damaged("count of forms"));
    }
    let width = bitpack::width_of(count as u64 - 1);
    let codes = cursor.take(bitpack::packed_len(out.len(), width), "numbers of forms")?;
    let byte = cursor.u8("encoding of forms")?;
    let encoding = ValueEncoding::from_byte(byte)?;
    if byte & HAS_RUNS != 0 || encoding == ValueEncoding::Dictionary {
        return Err(ChunkError::damaged("encoding of forms"));
    }
    // Where the values will be, until their numbers are.
    let forms = &mut out[..count];
    plain(cursor, byte, encoding, forms, room)?;
    room.words[..count].copy_from_slice(bytemuck::cast_slice(forms));
    bitpack::unpack(codes, width, 0, bytemuck::cast_slice_mut(out))?;
    let forms: &[f64; VECTOR_SAMPLES] = bytemuck::cast_ref(&room.words);
    let mut most = 0;
    for slot in out {
        let code = slot.to_bits();
        most = most.max(code);
        *slot = forms[code as usize % VECTOR_SAMPLES];
    }
    if most >= count as u64 { Err(ChunkError::damaged("number of a form")) } else { Ok(()) }
}

fn plain(
    cursor: &mut Cursor<'_>,
    byte: u8,
    encoding: ValueEncoding,
    out: &mut [f64],
    room: &mut Room,
) -> Result<(), ChunkError> {
    let words: &mut [u64] = bytemuck::cast_slice_mut(&mut *out);
    match encoding {
        ValueEncoding::Raw => {
            let raw = cursor.take(words.len() * 8, "raw values")?;
            words.iter_mut().zip(raw.as_chunks::<8>().0).for_each(|(slot, bits)| *slot = u64::from_le_bytes(*bits));
        }
        ValueEncoding::Constant => kernel::fill(cursor.u64("constant value")?, words),
        ValueEncoding::Decimal => {
            let scale = scale(cursor)?;
            ints::decode_decimals(cursor, &scale, words, room)?;
        }
        ValueEncoding::DecimalDelta => {
            let scale = scale(cursor)?;
            steps::decode_decimals(cursor, &scale, words, room)?;
        }
        ValueEncoding::Bits => {
            let zeros = low_zeros(cursor)?;
            ints::decode(cursor, words, room)?;
            kernel::shift(zeros, words);
        }
        ValueEncoding::BitsDelta => {
            let zeros = low_zeros(cursor)?;
            steps::decode(cursor, words, room)?;
            kernel::shift(zeros, words);
        }
        ValueEncoding::Halves => halves::decode(cursor, words, &mut room.words)?,
        ValueEncoding::Dictionary => return Err(ChunkError::damaged("a dictionary within a dictionary")),
        ValueEncoding::Cold => return Err(ChunkError::damaged("cold values within others")),
    }
    tail(cursor, byte, out, room)
}

/// Corrections and exceptions, where the encoding byte says that there are some.
pub(super) fn tail(cursor: &mut Cursor<'_>, byte: u8, out: &mut [f64], room: &mut Room) -> Result<(), ChunkError> {
    if byte & HAS_CORRECTIONS != 0 {
        ints::decode_onto(cursor, bytemuck::cast_slice_mut(&mut *out), room)?;
    }
    if byte & HAS_EXCEPTIONS != 0 {
        exceptions::decode(cursor, out, room)?;
    }
    Ok(())
}

/// Inlined: an answer that goes through memory, which is read in other pieces than it was written in, waits until all that
/// was stored before it has left the processor.
#[inline(always)]
pub(super) fn scale(cursor: &mut Cursor<'_>) -> Result<Scale, ChunkError> {
    let exponent = cursor.u8("decimal exponent")?;
    Scale::new(exponent, cursor.varint("decimal factor")?).ok_or(ChunkError::damaged("decimal exponent or factor"))
}

fn low_zeros(cursor: &mut Cursor<'_>) -> Result<u32, ChunkError> {
    match cursor.u8("low zeros")? {
        zeros @ 0..=63 => Ok(u32::from(zeros)),
        _ => Err(ChunkError::damaged("low zeros")),
    }
}
