//! Choosing the smallest encoding for a vector of values, and writing it.

use super::{bits, decimal};
use crate::chunk::cursor::{put_signed, signed_len};
use crate::chunk::format::{Effort, HAS_EXCEPTIONS, ValueEncoding};
use crate::chunk::ints::{Plan, Scratch};
use crate::chunk::vectors;

/// Integers compared to guess whether values or their differences lie closer together.
const ROUGH_SAMPLE: usize = 31;

/// Encodes value columns. Owns its memory, so keep it: no allocation once warm.
#[derive(Debug, Default)]
pub struct ValueEncoder {
    effort: Effort,
    scratch: Scratch,
    decimals: Series,
    patterns: Series,
    exceptions: Vec<u16>,
}

/// A vector as integers, and as their differences.
#[derive(Debug, Default)]
struct Series {
    integers: Vec<i64>,
    deltas: Vec<i64>,
}

/// What was found for a [`Series`]: whether its differences are taken, and how they pack.
#[derive(Clone, Copy, Debug)]
struct Choice {
    delta: bool,
    plan: Plan,
    /// Bytes of the packed integers and of the first one, where it stands apart.
    bytes: usize,
}

impl ValueEncoder {
    /// An encoder without warm memory.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// How hard values are tried from now on. [`Effort::Fresh`] at first.
    pub fn set_effort(&mut self, effort: Effort) {
        self.effort = effort;
    }

    /// Appends the column of 1 to 4,096 values to `out`. O(n).
    ///
    /// # Panics
    /// If `values` is empty or longer than a chunk.
    pub fn encode(&mut self, values: &[f64], out: &mut Vec<u8>) {
        vectors::write(values, out, |vector, out| self.vector(vector, out));
    }

    fn vector(&mut self, values: &[f64], out: &mut Vec<u8>) {
        let first = values[0].to_bits();
        // Ahead of the whole comparison: what varies mostly shows it at once.
        let constant = |run: &[f64]| run.iter().fold(0, |sum, value| sum | (value.to_bits() ^ first)) == 0;
        if constant(&values[..values.len().min(8)]) && constant(values) {
            out.push(ValueEncoding::Constant as u8);
            out.extend_from_slice(&first.to_le_bytes());
            return;
        }
        let raw = 1 + values.len() * 8;
        let decimal = self.plan_decimal(values).filter(|(_, _, bytes, _)| *bytes < raw);
        // Decimals this wide may be plain doubles in disguise.
        if self.effort == Effort::Cold || decimal.is_none_or(|(_, _, bytes, _)| bytes > raw / 2) {
            let zeros = bits::integers(values, &mut self.patterns.integers);
            let choice = self.patterns.choose(self.effort);
            let bytes = 2 + choice.bytes;
            if bytes < decimal.map_or(raw, |(_, _, bytes, _)| bytes) {
                out.push(if choice.delta { ValueEncoding::BitsDelta } else { ValueEncoding::Bits } as u8);
                out.push(zeros);
                return self.patterns.write(choice, &mut self.scratch, out);
            }
        }
        let Some((exponent, zeros, _, choice)) = decimal else {
            out.push(ValueEncoding::Raw as u8);
            values.iter().for_each(|value| out.extend_from_slice(&value.to_bits().to_le_bytes()));
            return;
        };
        let encoding = if choice.delta { ValueEncoding::DecimalDelta } else { ValueEncoding::Decimal };
        out.push(encoding as u8 | if self.exceptions.is_empty() { 0 } else { HAS_EXCEPTIONS });
        out.push(exponent);
        out.push(zeros);
        self.decimals.write(choice, &mut self.scratch, out);
        self.write_exceptions(values, out);
    }

    /// Exponent, low zeros stripped, bytes, and how the integers pack; `None` if `values` are no decimals.
    fn plan_decimal(&mut self, values: &[f64]) -> Option<(u8, u8, usize, Choice)> {
        let exponent = decimal::exponent(values)?;
        decimal::integers(values, exponent, &mut self.decimals.integers, &mut self.exceptions);
        let zeros = self.decimals.strip_zeros();
        let choice = self.decimals.choose(self.effort);
        let list = if self.exceptions.is_empty() { 0 } else { 2 + self.exceptions.len() * 10 };
        Some((exponent, zeros, 3 + choice.bytes + list, choice))
    }

    fn write_exceptions(&self, values: &[f64], out: &mut Vec<u8>) {
        if self.exceptions.is_empty() {
            return;
        }
        out.extend_from_slice(&(self.exceptions.len() as u16).to_le_bytes());
        self.exceptions.iter().for_each(|at| out.extend_from_slice(&at.to_le_bytes()));
        for &at in &self.exceptions {
            out.extend_from_slice(&values[usize::from(at)].to_bits().to_le_bytes());
        }
    }
}

impl Series {
    /// Divides all integers by the greatest power of two that divides them; answers its exponent.
    fn strip_zeros(&mut self) -> u8 {
        let used = self.integers.iter().fold(0, |sum, n| sum | n);
        let zeros = if used == 0 { 0 } else { used.trailing_zeros() };
        if zeros > 0 {
            self.integers.iter_mut().for_each(|n| *n >>= zeros);
        }
        zeros as u8
    }

    /// Plans the integers and their differences, unless a sample shows which of them is hopeless; [`Effort::Cold`] looks at both.
    fn choose(&mut self, effort: Effort) -> Choice {
        let first = self.integers[0];
        self.deltas.clear();
        self.deltas.push(self.integers.get(1).map_or(0, |second| second.wrapping_sub(first)));
        self.deltas.extend(self.integers.windows(2).map(|w| w[1].wrapping_sub(w[0])));

        // A short run is planned both ways as quickly as it is sampled.
        let sampled = self.integers.len() > ROUGH_SAMPLE && effort == Effort::Fresh;
        let (levels, steps) = if sampled { (roughness(&self.integers), roughness(&self.deltas)) } else { (0, 0) };
        let plain = || {
            let plan = Plan::of(&self.integers);
            Choice { delta: false, plan, bytes: plan.bytes }
        };
        let delta = || {
            let plan = Plan::of(&self.deltas);
            Choice { delta: true, plan, bytes: plan.bytes + signed_len(first) }
        };
        if levels > steps + 2 {
            return delta();
        }
        if steps > levels + 1 {
            return plain();
        }
        let (plain, delta) = (plain(), delta());
        if delta.bytes < plain.bytes { delta } else { plain }
    }

    fn write(&self, choice: Choice, scratch: &mut Scratch, out: &mut Vec<u8>) {
        if choice.delta {
            put_signed(out, self.integers[0]);
            choice.plan.encode(&self.deltas, scratch, out);
        } else {
            choice.plan.encode(&self.integers, scratch, out);
        }
    }
}

/// Bits of the typical distance from the middle, from a sample.
fn roughness(integers: &[i64]) -> u32 {
    let mut sample = [0i64; ROUGH_SAMPLE];
    let len = integers.len().min(ROUGH_SAMPLE);
    for (i, slot) in sample[..len].iter_mut().enumerate() {
        *slot = integers[i * integers.len() / len];
    }
    let sample = &mut sample[..len];
    let middle = *sample.select_nth_unstable(len / 2).1;
    sample.iter_mut().for_each(|x| *x = x.wrapping_sub(middle).saturating_abs());
    u64::BITS - sample.select_nth_unstable(len / 2).1.leading_zeros()
}
