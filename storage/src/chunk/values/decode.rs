//! Decoding one vector of values.

use super::decimal::{self, POWERS};
use crate::chunk::ChunkError;
use crate::chunk::cursor::Cursor;
use crate::chunk::format::{HAS_EXCEPTIONS, ValueEncoding};
use crate::chunk::ints;

/// Decodes exactly `out.len()` values.
pub(super) fn vector(bytes: &[u8], out: &mut [f64]) -> Result<(), ChunkError> {
    let mut cursor = Cursor::new(bytes);
    let byte = cursor.u8("value encoding")?;
    match ValueEncoding::from_byte(byte & !HAS_EXCEPTIONS)? {
        ValueEncoding::Raw => {
            let raw = cursor.take(out.len() * 8, "raw values")?;
            out.iter_mut().zip(raw.as_chunks::<8>().0).for_each(|(slot, bits)| *slot = f64::from_le_bytes(*bits));
        }
        ValueEncoding::Constant => out.fill(f64::from_bits(cursor.u64("constant value")?)),
        ValueEncoding::Decimal => {
            let (power, zeros) = scale(&mut cursor)?;
            // Apart, because a division costs more than all the rest.
            if power == 1.0 {
                ints::decode(&mut cursor, out, |n| decimal::to_float(n << zeros))?;
            } else {
                ints::decode(&mut cursor, out, |n| decimal::to_float(n << zeros) / power)?;
            }
        }
        ValueEncoding::DecimalDelta => {
            let (power, zeros) = scale(&mut cursor)?;
            deltas(&mut cursor, out)?;
            if power == 1.0 {
                sum(out, |n| decimal::to_float(n << zeros));
            } else {
                sum(out, |n| decimal::to_float(n << zeros) / power);
            }
        }
        ValueEncoding::Bits => {
            let zeros = low_zeros(&mut cursor)?;
            ints::decode(&mut cursor, out, |n| f64::from_bits((n as u64) << zeros))?;
        }
        ValueEncoding::BitsDelta => {
            let zeros = low_zeros(&mut cursor)?;
            deltas(&mut cursor, out)?;
            sum(out, |n| f64::from_bits((n as u64) << zeros));
        }
    }
    if byte & HAS_EXCEPTIONS != 0 {
        exceptions(&mut cursor, out)?;
    }
    cursor.end("bytes behind a vector of values")
}

fn scale(cursor: &mut Cursor<'_>) -> Result<(f64, u32), ChunkError> {
    let exponent = usize::from(cursor.u8("decimal exponent")?);
    let power = *POWERS.get(exponent).ok_or(ChunkError::damaged("decimal exponent"))?;
    Ok((power, low_zeros(cursor)?))
}

fn low_zeros(cursor: &mut Cursor<'_>) -> Result<u32, ChunkError> {
    match cursor.u8("low zeros")? {
        zeros @ 0..=63 => Ok(u32::from(zeros)),
        _ => Err(ChunkError::damaged("low zeros")),
    }
}

/// Leaves differences in `out`, as bits: the first integer itself, then the steps from one to the next.
fn deltas(cursor: &mut Cursor<'_>, out: &mut [f64]) -> Result<(), ChunkError> {
    let first = cursor.signed("first value")?;
    ints::decode(cursor, out, |n| f64::from_bits(n as u64))?;
    out[0] = f64::from_bits(first as u64);
    Ok(())
}

/// Adds up what [`deltas`] left, and stores `f` of each sum.
#[inline]
fn sum(out: &mut [f64], f: impl Fn(i64) -> f64) {
    let mut at = 0i64;
    let (blocks, rest) = out.as_chunks_mut::<16>();
    for block in blocks {
        // The sums wait for each other, the conversions do not: apart, the latter vectorise.
        let mut sums = [0i64; 16];
        for (sum, slot) in sums.iter_mut().zip(&*block) {
            at = at.wrapping_add(slot.to_bits() as i64);
            *sum = at;
        }
        for (slot, sum) in block.iter_mut().zip(sums) {
            *slot = f(sum);
        }
    }
    for slot in rest {
        at = at.wrapping_add(slot.to_bits() as i64);
        *slot = f(at);
    }
}

fn exceptions(cursor: &mut Cursor<'_>, out: &mut [f64]) -> Result<(), ChunkError> {
    let count = usize::from(cursor.u16("exception count")?);
    let places = cursor.take(count * 2, "exception places")?;
    let values = cursor.take(count * 8, "exception values")?;
    for (place, bits) in places.as_chunks::<2>().0.iter().zip(values.as_chunks::<8>().0) {
        let slot = out.get_mut(usize::from(u16::from_le_bytes(*place)));
        *slot.ok_or(ChunkError::damaged("exception behind the last value"))? = f64::from_le_bytes(*bits);
    }
    Ok(())
}
