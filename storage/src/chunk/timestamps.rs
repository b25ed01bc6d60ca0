//! Timestamps: nothing at all for a regular step, differences or distances from a line for the rest.
//!
//! Byte layout: docs/format/chunk.md, "Timestamp vector".

use super::ChunkError;
use super::cursor::{Cursor, put_varint, varint_len};
use super::format::{Effort, SLOPE_FRACTION_BITS, TimestampEncoding, UNITS, VECTOR_SAMPLES};
use super::ints::{self, Scratch};
use super::kernel;
use super::room::Room;
use super::steps;
use super::vectors::{self, Vectors};

/// Greatest distance from first to last, in units, that a line is tried for: no product overflows below it.
const LINE_MAX: i64 = 1 << 50;

/// Encodes timestamp columns. Owns its memory, so keep it: no allocation once warm.
#[derive(Debug, Default)]
pub struct TimestampEncoder {
    effort: Effort,
    scratch: Scratch,
    scaled: Vec<i64>,
    deltas: Vec<i64>,
    residuals: Vec<i64>,
    cold: Vec<u8>,
}

impl TimestampEncoder {
    /// An encoder without warm memory.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// How hard timestamps are tried from now on. [`Effort::Fresh`] at first.
    pub fn set_effort(&mut self, effort: Effort) {
        self.effort = effort;
    }

    /// Appends the column of 1 to 4,096 strictly ascending timestamps to `out`. O(n).
    ///
    /// # Panics
    /// If `timestamps` is empty or longer than a chunk. Timestamps that do not ascend
    /// strictly give bytes that do not decode.
    pub fn encode(&mut self, timestamps: &[i64], out: &mut Vec<u8>) {
        vectors::write(timestamps, out, |vector, out| self.vector(vector, out));
    }

    fn vector(&mut self, timestamps: &[i64], out: &mut Vec<u8>) {
        if let Some(step) = regular_step(timestamps) {
            start(TimestampEncoding::Regular, timestamps[0], out);
            put_varint(out, step);
            return;
        }
        let start = out.len();
        let mut packed = self.packed(timestamps, Effort::Fresh, out);
        if self.effort == Effort::Cold {
            // Plans are estimates: only the bytes themselves show which is smaller.
            let mut cold = std::mem::take(&mut self.cold);
            cold.clear();
            if self.packed(timestamps, Effort::Cold, &mut cold) && (!packed || cold.len() < out.len() - start) {
                out.truncate(start);
                out.extend_from_slice(&cold);
                packed = true;
            }
            self.cold = cold;
        }
        // Here, too: the promise is kept whatever was estimated.
        if !packed || out.len() - start > 1 + 8 * timestamps.len() {
            out.truncate(start);
            out.push(TimestampEncoding::Raw as u8);
            timestamps.iter().for_each(|at| out.extend_from_slice(&at.to_le_bytes()));
        }
    }

    /// Appends a packed vector unless raw is as small. At least two timestamps.
    fn packed(&mut self, timestamps: &[i64], effort: Effort, out: &mut Vec<u8>) -> bool {
        let (first, count) = (timestamps[0], timestamps.len());
        let Some(span) = timestamps[count - 1].checked_sub(first) else { return false };
        let unit = common_unit(timestamps);
        let scale = UNITS[usize::from(unit)];
        self.scaled.clear();
        // By a constant where that matters: a division by a variable costs ten times as much.
        let distances = timestamps.iter().map(|at| at.wrapping_sub(first) as u64);
        match unit {
            0 => self.scaled.extend(distances.map(|d| d as i64)),
            1 => self.scaled.extend(distances.map(|d| (d / UNITS[1]) as i64)),
            2 => self.scaled.extend(distances.map(|d| (d / UNITS[2]) as i64)),
            _ => self.scaled.extend(distances.map(|d| (d / UNITS[3]) as i64)),
        }
        kernel::differences(&self.scaled, &mut self.deltas);
        let delta = kernel::plan(&self.deltas);

        let reach = span / scale as i64;
        let slope = if reach < LINE_MAX { mean_slope(&self.scaled) } else { 0 };
        let mut linear = None;
        if slope > 0 {
            self.residuals.clear();
            self.residuals.extend((0u64..).zip(&self.scaled).map(|(i, x)| x.wrapping_sub(line(i, slope))));
            // A line must earn its slope; differences decode as fast, so a byte or two do not matter to fresh data.
            let margin = if effort == Effort::Cold { varint_len(slope) } else { 8 };
            linear = Some(kernel::plan(&self.residuals)).filter(|plan| plan.bytes + margin < delta.bytes);
        }
        let raw = 8 * (count - 1);
        match linear {
            Some(plan) if plan.bytes + 10 < raw => {
                start(TimestampEncoding::Linear, first, out);
                out.push(unit);
                put_varint(out, slope);
                kernel::encode_integers(&plan, &self.residuals, &mut self.scratch, out);
                true
            }
            None if delta.bytes + 1 < raw => {
                start(TimestampEncoding::Delta, first, out);
                out.push(unit);
                kernel::encode_integers(&delta, &self.deltas, &mut self.scratch, out);
                true
            }
            _ => false,
        }
    }
}

/// The slope between the means of the earlier and the later half: noise at the ends does not tilt it.
fn mean_slope(scaled: &[i64]) -> u64 {
    let half = scaled.len() / 2;
    let sum = |run: &[i64]| run.iter().map(|x| *x as u64).sum::<u64>();
    let rise = sum(&scaled[scaled.len() - half..]) - sum(&scaled[..half]);
    let run = half * (scaled.len() - half);
    ((u128::from(rise) << SLOPE_FRACTION_BITS) / run as u128) as u64
}

/// Where the line stands at timestamp `i`, in units from the first.
const fn line(i: u64, slope: u64) -> i64 {
    (i.wrapping_mul(slope) >> SLOPE_FRACTION_BITS) as i64
}

fn start(encoding: TimestampEncoding, first: i64, out: &mut Vec<u8>) {
    out.push(encoding as u8);
    out.extend_from_slice(&first.to_le_bytes());
}

/// The distance between all neighbours, if it is one. A single timestamp has a step of 0.
fn regular_step(timestamps: &[i64]) -> Option<u64> {
    let [first, second, ..] = timestamps else { return Some(0) };
    let step = second.wrapping_sub(*first);
    // Ahead of the whole comparison: irregular ones mostly show it at once.
    let differs = |run: &[i64]| run.windows(2).fold(0, |sum, w| sum | (w[1].wrapping_sub(w[0]) ^ step));
    if differs(&timestamps[..timestamps.len().min(8)]) != 0 || differs(timestamps) != 0 {
        return None;
    }
    Some(step as u64)
}

/// Code of the longest unit that divides every distance from the first timestamp.
fn common_unit(timestamps: &[i64]) -> u8 {
    fn divides<const UNIT: u64>(timestamps: &[i64]) -> bool {
        let first = timestamps[0];
        timestamps.iter().all(|at| (at.wrapping_sub(first) as u64).is_multiple_of(UNIT))
    }
    if divides::<{ UNITS[3] }>(timestamps) {
        3
    } else if divides::<{ UNITS[2] }>(timestamps) {
        2
    } else if divides::<{ UNITS[1] }>(timestamps) {
        1
    } else {
        0
    }
}

/// An encoded timestamp column whose outline was checked.
#[derive(Clone, Copy, Debug)]
pub struct TimestampColumn<'a>(pub(super) Vectors<'a>);

impl<'a> TimestampColumn<'a> {
    /// Checks the outline of a column of `count` timestamps. O(1).
    ///
    /// # Errors
    /// [`ChunkError`] if the bytes cannot be such a column.
    pub fn parse(bytes: &'a [u8], count: usize) -> Result<Self, ChunkError> {
        let column = Self(Vectors::parse(bytes, count)?);
        for vector in 1..column.vectors() {
            if column.first(vector - 1)? >= column.first(vector)? {
                return Err(ChunkError::damaged("vectors of timestamps do not ascend"));
            }
        }
        column.first(0)?;
        Ok(column)
    }

    /// Timestamps in the column.
    #[must_use]
    pub fn count(&self) -> usize {
        self.0.count()
    }

    /// Vectors in the column, of 1,024 timestamps each but for the last.
    #[must_use]
    pub fn vectors(&self) -> usize {
        self.0.len()
    }

    /// First timestamp of a vector below [`vectors`](Self::vectors).
    ///
    /// # Errors
    /// [`ChunkError`] if the vector is damaged.
    pub fn first(&self, vector: usize) -> Result<i64, ChunkError> {
        let mut cursor = Cursor::new(self.0.bytes(vector));
        cursor.u8("timestamp encoding")?;
        cursor.i64("first timestamp")
    }

    /// How a vector is stored.
    ///
    /// # Errors
    /// [`ChunkError`] if the vector is damaged or its encoding unknown here.
    pub fn encoding(&self, vector: usize) -> Result<TimestampEncoding, ChunkError> {
        TimestampEncoding::from_byte(Cursor::new(self.0.bytes(vector)).u8("timestamp encoding")?)
    }

    /// Samples and bytes of a vector below [`vectors`](Self::vectors).
    #[must_use]
    pub fn size(&self, vector: usize) -> (usize, usize) {
        (self.0.samples(vector), self.0.bytes(vector).len())
    }

    /// Appends the timestamps of one vector to `out`. O(1,024). `out` is as before after an error.
    ///
    /// # Errors
    /// [`ChunkError`] if the vector is damaged: what comes back ascends strictly.
    pub fn decode_vector(&self, vector: usize, out: &mut Vec<i64>) -> Result<(), ChunkError> {
        let start = out.len();
        let decoded = decode(self.0.bytes(vector), self.0.samples(vector), out);
        if decoded.is_err() {
            out.truncate(start);
        }
        decoded
    }
}

/// Appends `count` timestamps; after an error, anything.
fn decode(bytes: &[u8], count: usize, out: &mut Vec<i64>) -> Result<(), ChunkError> {
    let mut cursor = Cursor::new(bytes);
    let encoding = TimestampEncoding::from_byte(cursor.u8("timestamp encoding")?)?;
    if encoding == TimestampEncoding::Regular {
        let first = cursor.i64("first timestamp")?;
        let step = cursor.varint("step")?;
        cursor.end("bytes behind a step")?;
        return regular(first, step, count, out);
    }
    let start = out.len();
    out.resize(start + count, 0);
    decode_irregular(&mut cursor, encoding, &mut out[start..])
}

fn decode_irregular(cursor: &mut Cursor<'_>, encoding: TimestampEncoding, out: &mut [i64]) -> Result<(), ChunkError> {
    if encoding == TimestampEncoding::Raw {
        let raw = cursor.take(out.len() * 8, "raw timestamps")?;
        out.iter_mut().zip(raw.as_chunks::<8>().0).for_each(|(slot, at)| *slot = i64::from_le_bytes(*at));
        cursor.end("bytes behind raw timestamps")?;
        return ascending(out);
    }
    let first = cursor.i64("first timestamp")?;
    let unit = usize::from(cursor.u8("unit of timestamps")?);
    let unit = *UNITS.get(unit).ok_or(ChunkError::damaged("unit of timestamps"))? as i64;
    let words: &mut [u64] = bytemuck::cast_slice_mut(out);
    if encoding == TimestampEncoding::Delta {
        Room::with(|room| steps::decode_from(0, cursor, words, room))?;
        out.iter_mut().for_each(|slot| *slot = first.wrapping_add(slot.wrapping_mul(unit)));
    } else {
        let slope = cursor.varint("slope")?;
        Room::with(|room| ints::decode(cursor, words, room))?;
        for (i, slot) in (0u64..).zip(out.iter_mut()) {
            *slot = first.wrapping_add(slot.wrapping_add(line(i, slope)).wrapping_mul(unit));
        }
    }
    cursor.end("bytes behind packed timestamps")?;
    ascending(out)
}

fn regular(first: i64, step: u64, count: usize, out: &mut Vec<i64>) -> Result<(), ChunkError> {
    let steps = count as u64 - 1;
    let last = step.checked_mul(steps).and_then(|span| first.checked_add_unsigned(span));
    if last.is_none() || (step == 0 && steps > 0) {
        return Err(ChunkError::damaged("step of timestamps"));
    }
    kernel::regular(first, step as i64, count, out);
    Ok(())
}

/// Damage that the checksums missed must not break what cursors promise.
fn ascending(timestamps: &[i64]) -> Result<(), ChunkError> {
    debug_assert!(timestamps.len() <= VECTOR_SAMPLES);
    if timestamps.windows(2).fold(true, |ok, w| ok & (w[0] < w[1])) {
        Ok(())
    } else {
        Err(ChunkError::damaged("timestamps do not ascend"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round_trip(timestamps: &[i64]) -> (TimestampEncoding, usize) {
        let mut bytes = Vec::new();
        TimestampEncoder::new().encode(timestamps, &mut bytes);
        let column = TimestampColumn::parse(&bytes, timestamps.len()).unwrap();
        let mut got = Vec::new();
        for vector in 0..column.vectors() {
            column.decode_vector(vector, &mut got).unwrap();
        }
        assert_eq!(got, timestamps);
        (column.encoding(0).unwrap(), bytes.len())
    }

    #[test]
    fn a_regular_step_costs_nothing_per_sample() {
        let ten_seconds: Vec<i64> = (0..4096).map(|i| 1_700_000_000_000_000_000 + i * 10_000_000_000).collect();
        assert_eq!(round_trip(&ten_seconds), (TimestampEncoding::Regular, 6 + 4 * 14));
        assert_eq!(round_trip(&[i64::MIN, i64::MAX]).0, TimestampEncoding::Regular);
        assert_eq!(round_trip(&[5]), (TimestampEncoding::Regular, 10));
    }

    #[test]
    fn jitter_around_a_grid_is_a_line_and_random_gaps_are_differences() {
        let mut x = 1u64;
        let mut noise = |n: u64| {
            x = x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            ((x >> 33) % n) as i64
        };
        let grid: Vec<i64> = (0..1024).map(|i| (i * 15_000 + noise(16)) * 1_000_000).collect();
        assert_eq!(round_trip(&grid).0, TimestampEncoding::Linear);
        assert!(round_trip(&grid).1 <= 1024 * 5 / 8 + 40, "{}", round_trip(&grid).1);
        let mut at = 0;
        let gaps: Vec<i64> = (0..1024)
            .map(|_| {
                at += (1 + noise(64)) * 1_000_000;
                at
            })
            .collect();
        assert_eq!(round_trip(&gaps), (TimestampEncoding::Delta, 10 + 2 + 1024 * 6 / 8));
    }

    #[test]
    fn noise_over_the_whole_range_stays_within_raw_and_one_byte() {
        let mut all: Vec<i64> = (0..1024u64).map(|i| i.wrapping_mul(0x9e37_79b9_7f4a_7c15) as i64).collect();
        all.sort_unstable();
        assert!(round_trip(&all).1 <= 1 + 8 * 1024);
    }

    #[test]
    fn a_step_that_overflows_or_stands_still_is_damage() {
        let mut out = Vec::new();
        assert!(regular(i64::MAX - 1, 1, 3, &mut out).is_err());
        assert!(regular(0, 0, 3, &mut out).is_err());
        assert!(regular(0, u64::MAX, 3, &mut out).is_err());
        assert!(regular(i64::MIN, u64::MAX / 2, 3, &mut out).is_ok());
    }
}
