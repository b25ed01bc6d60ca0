//! Differences of integers, laid out so that sixteen sums run side by side.
//!
//! Byte layout: docs/format/chunk.md, "Differences". A full vector is cut into sixteen
//! stretches of 64 integers. The packed integers take one difference of each stretch in
//! turn, so that each lane sums up its own stretch and none waits for another; what the
//! stretches begin with follows from the sums of those before. It costs no byte.

use super::ChunkError;
use super::cursor::{Cursor, put_signed, signed_len};
use super::format::{LANE_ROWS, LANES, VECTOR_SAMPLES};
use super::ints::{self, Packed, Plan, Scratch};
use super::kernel;
use super::places::Bits;
use super::room::Room;
use super::values::Scale;

/// Bytes that [`write`] needs beside the packed integers.
#[inline(always)]
pub(super) fn head_len(first: i64) -> usize {
    signed_len(first)
}

/// Fills `out` with the differences of `integers` (not empty) in the order in which they are packed.
#[inline(always)]
pub(super) fn differences(integers: &[i64], out: &mut Vec<i64>) {
    // The first has no meaning: it repeats the second, so that it widens nothing.
    let second = integers.get(1).map_or(0, |second| second.wrapping_sub(integers[0]));
    let Ok(full) = <&[i64; VECTOR_SAMPLES]>::try_from(integers) else {
        out.clear();
        out.push(second);
        out.extend(integers.windows(2).map(|w| w[1].wrapping_sub(w[0])));
        return;
    };
    out.resize(VECTOR_SAMPLES, 0);
    let (rows, _) = out.as_chunks_mut::<LANES>();
    let mut before = full[0];
    for (lane, stretch) in full.as_chunks::<LANE_ROWS>().0.iter().enumerate() {
        for (row, n) in rows.iter_mut().zip(stretch) {
            row[lane] = n.wrapping_sub(before);
            before = *n;
        }
    }
    out[0] = second;
}

/// Appends the first integer and what [`differences`] made of the rest.
pub(super) fn write(first: i64, differences: &[i64], plan: &Plan, scratch: &mut Scratch, out: &mut Vec<u8>) {
    put_signed(out, first);
    kernel::encode_integers(plan, differences, scratch, out);
}

/// Decodes `out.len()` integers from their first and their differences.
pub(super) fn decode(cursor: &mut Cursor<'_>, out: &mut [u64], room: &mut Room) -> Result<(), ChunkError> {
    let first = cursor.signed("first value")?;
    decode_from(first, cursor, out, room)
}

/// Like [`decode`], for a first integer that stands elsewhere.
pub(super) fn decode_from(
    first: i64,
    cursor: &mut Cursor<'_>,
    out: &mut [u64],
    room: &mut Room,
) -> Result<(), ChunkError> {
    let Ok(full) = <&mut [u64; VECTOR_SAMPLES]>::try_from(&mut *out) else { return sum_up(first, cursor, out, room) };
    let starts = decode_lanes(first, cursor, room)?;
    kernel::in_order(&room.words, &starts, full);
    Ok(())
}

/// Like [`decode`], to the bits of the decimals that the integers stand for.
pub(super) fn decode_decimals(
    cursor: &mut Cursor<'_>,
    scale: &Scale,
    out: &mut [u64],
    room: &mut Room,
) -> Result<(), ChunkError> {
    let first = cursor.signed("first value")?;
    let Ok(full) = <&mut [u64; VECTOR_SAMPLES]>::try_from(&mut *out) else {
        return sum_up_decimals(first, cursor, scale, &[u8::MAX; VECTOR_SAMPLES / 8], out.len(), out, room);
    };
    let starts = decode_lanes(first, cursor, room)?;
    kernel::in_order_decimals(&room.words, &starts, scale, full);
    Ok(())
}

/// Differences that lie in order.
fn sum_up(first: i64, cursor: &mut Cursor<'_>, out: &mut [u64], room: &mut Room) -> Result<(), ChunkError> {
    ints::decode(cursor, out, room)?;
    out[0] = first as u64;
    kernel::sum_in_order(out);
    Ok(())
}

/// Decodes the decimals of `count` runs, less than a vector, to where they lie in `out`: `bits` tell where they begin.
pub(super) fn decode_runs_decimals(
    cursor: &mut Cursor<'_>,
    scale: &Scale,
    bits: &Bits,
    count: usize,
    out: &mut [u64],
    room: &mut Room,
) -> Result<(), ChunkError> {
    let first = cursor.signed("first value")?;
    sum_up_decimals(first, cursor, scale, bits, count, out, room)
}

fn sum_up_decimals(
    first: i64,
    cursor: &mut Cursor<'_>,
    scale: &Scale,
    bits: &Bits,
    count: usize,
    out: &mut [u64],
    room: &mut Room,
) -> Result<(), ChunkError> {
    let Room { words: steps, patches } = room;
    ints::decode_into(cursor, &mut steps[..count], patches)?;
    steps[0] = first as u64;
    kernel::sum_runs_decimals(steps, bits, scale, out);
    Ok(())
}

/// Leaves the differences of a full vector in the room's words, lane by lane; answers what each lane starts at.
fn decode_lanes(first: i64, cursor: &mut Cursor<'_>, room: &mut Room) -> Result<[u64; LANES], ChunkError> {
    let Room { words: steps, patches } = room;
    let totals = Packed::read(cursor, VECTOR_SAMPLES)?.decode_totals(steps, patches)?;
    // The first difference is without meaning, but was added up with the rest of its lane.
    let mut starts = [(first as u64).wrapping_sub(steps[0]); LANES];
    // A stretch begins where the one before ended.
    for lane in 1..LANES {
        starts[lane] = starts[lane - 1].wrapping_add(totals[lane - 1]);
    }
    Ok(starts)
}

/// Sums up differences that lie in order, and turns the sums into the bits of the decimals that they stand for. Each
/// stands for a run: at each bit that is set the next one is added, the other samples repeat the one before. The lowest
/// bit is set, and the first difference counts from nought.
#[inline(always)]
pub(super) fn sum_runs_decimals<const FUSED: bool>(
    steps: &[u64; VECTOR_SAMPLES],
    bits: &Bits,
    scale: &Scale,
    out: &mut [u64],
) {
    let (mut sum, mut rank) = (0u64, 0);
    for (slots, byte) in out.chunks_mut(8).zip(bits) {
        for (bit, slot) in slots.iter_mut().enumerate() {
            let begins = usize::from(byte >> bit & 1);
            sum = sum.wrapping_add(steps[rank % VECTOR_SAMPLES] & (begins as u64).wrapping_neg());
            rank += begins;
            *slot = sum;
        }
    }
    scale.convert::<FUSED>(out);
}

/// What each lane adds up to.
#[inline(always)]
pub(super) fn totals(steps: &[u64; VECTOR_SAMPLES]) -> [u64; LANES] {
    let mut totals = [0u64; LANES];
    for row in steps.as_chunks::<LANES>().0 {
        for lane in 0..LANES {
            totals[lane] = totals[lane].wrapping_add(row[lane]);
        }
    }
    totals
}

/// Sums up one behind the other.
#[inline(always)]
pub(super) fn sum_in_order(steps: &mut [u64]) {
    let mut sum = 0u64;
    for slot in steps {
        sum = sum.wrapping_add(*slot);
        *slot = sum;
    }
}

/// Sums up each lane from its start on, and writes the lanes one behind the other.
#[inline(always)]
pub(super) fn in_order(steps: &[u64; VECTOR_SAMPLES], starts: &[u64; LANES], out: &mut [u64; VECTOR_SAMPLES]) {
    let (rows, _) = steps.as_chunks::<LANES>();
    for (lane, stretch) in out.as_chunks_mut::<LANE_ROWS>().0.iter_mut().enumerate() {
        let mut sum = starts[lane];
        for (slot, row) in stretch.iter_mut().zip(rows) {
            sum = sum.wrapping_add(row[lane]);
            *slot = sum;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What the lanes must give: one sum after the other.
    fn naive(first: i64, differences: &[i64]) -> Vec<i64> {
        let lanes = differences.len() == VECTOR_SAMPLES;
        let mut at = first;
        let place = |i: usize| if lanes { (i % LANE_ROWS) * LANES + i / LANE_ROWS } else { i };
        (0..differences.len())
            .map(|i| {
                at = if i == 0 { first } else { at.wrapping_add(differences[place(i)]) };
                at
            })
            .collect()
    }

    fn check(integers: &[i64]) {
        let mut steps = Vec::new();
        differences(integers, &mut steps);
        assert_eq!(naive(integers[0], &steps), integers);
        let (plan, mut bytes) = (Plan::of(&steps), Vec::new());
        write(integers[0], &steps, &plan, &mut Scratch::default(), &mut bytes);
        let mut got = vec![0u64; integers.len()];
        let mut cursor = Cursor::new(&bytes);
        decode(&mut cursor, &mut got, &mut Room::new()).unwrap();
        cursor.end("rest").unwrap();
        assert_eq!(got.iter().map(|n| *n as i64).collect::<Vec<i64>>(), integers);
    }

    #[test]
    fn a_walk_across_all_stretches_comes_back() {
        for count in [1, 2, 3, 63, 64, 1000, 1023, 1024] {
            check(&(0..count).map(|i: i64| i * i % 1000 - i * 7).collect::<Vec<_>>());
        }
        check(&(0..1024).map(|i| if i % 2 == 0 { i64::MIN } else { i64::MAX }).collect::<Vec<_>>());
    }

    proptest! {
        #[test]
        fn any_integers_come_back(integers in prop_oneof![
            prop::collection::vec(any::<i64>(), 1..40),
            prop::collection::vec(any::<i64>(), 1023..=1024),
            prop::collection::vec(-100i64..100, 1024),
        ]) {
            check(&integers);
        }
    }
}
