//! Choosing the smallest encoding for values one by one, and writing it: decimals, bits, halves, or raw.

use super::decimal::{self, Decimals, Scale};
use super::halves::Halves;
use super::{bits, exceptions};
use crate::chunk::cursor::{put_varint, varint_len};
use crate::chunk::format::{Effort, HAS_CORRECTIONS, HAS_EXCEPTIONS, ValueEncoding};
use crate::chunk::ints::{Plan, Scratch};
use crate::chunk::{kernel, steps};

/// Integers compared to guess whether values or their differences lie closer together.
const ROUGH_SAMPLE: usize = 31;

/// Plans and writes a vector whose values are taken one by one.
#[derive(Debug, Default)]
pub(super) struct Plain {
    decimals: Decimals,
    patterns: Vec<i64>,
    /// Differences of the decimals' integers, and of the bit patterns.
    decimal_steps: Vec<i64>,
    pattern_steps: Vec<i64>,
    halves: Halves,
}

/// How a vector will be stored, and the bytes that will probably take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Choice {
    pub(super) bytes: usize,
    way: Way,
}

#[derive(Clone, Copy, Debug)]
enum Way {
    Raw,
    Decimal { exponent: u8, packed: Packed, corrections: Option<Plan> },
    Bits { zeros: u8, packed: Packed },
    Halves,
}

/// Whether differences are taken, and how they pack.
#[derive(Clone, Copy, Debug)]
struct Packed {
    delta: bool,
    plan: Plan,
    /// Bytes of the packed integers and of the first one, where it stands apart.
    bytes: usize,
}

impl Plain {
    /// What suits `values` (not empty) best.
    pub(super) fn plan(&mut self, values: &[f64], effort: Effort) -> Choice {
        let raw = 1 + values.len() * 8;
        let mut best = Choice { bytes: raw, way: Way::Raw };
        let mut consider = |choice: Choice| {
            if choice.bytes < best.bytes {
                best = choice;
            }
            best.bytes
        };
        if let Some(choice) = self.plan_decimal(values, effort) {
            consider(choice);
        }
        // Decimals this wide may be plain doubles in disguise.
        let bytes = consider(Choice { bytes: raw, way: Way::Raw });
        if bytes > raw / 2 || effort == Effort::Cold {
            let zeros = bits::integers(values, &mut self.patterns);
            let packed = Packed::choose(&self.patterns, &mut self.pattern_steps, effort);
            let bytes = consider(Choice { bytes: 2 + packed.bytes, way: Way::Bits { zeros, packed } });
            if bytes > raw / 4 * 3 {
                consider(Choice { bytes: self.halves.find(values, u32::from(zeros)), way: Way::Halves });
            }
        }
        best
    }

    fn plan_decimal(&mut self, values: &[f64], effort: Effort) -> Option<Choice> {
        let exponent = decimal::exponent(values)?;
        let scale = Scale::new(exponent, 1)?;
        kernel::find_decimals(&mut self.decimals, values, &scale);
        let packed = Packed::choose(&self.decimals.integers, &mut self.decimal_steps, effort);
        let corrections = (!self.decimals.corrections.is_empty()).then(|| kernel::plan(&self.decimals.corrections));
        let bytes = 2
            + varint_len(self.decimals.factor)
            + packed.bytes
            + corrections.map_or(0, |plan| plan.bytes)
            + self.decimals.exception_bytes(values.len());
        Some(Choice { bytes, way: Way::Decimal { exponent, packed, corrections } })
    }

    /// Appends `values`, for which `choice` was made last, but for their encoding byte, which is answered.
    pub(super) fn write(&mut self, values: &[f64], choice: Choice, scratch: &mut Scratch, out: &mut Vec<u8>) -> u8 {
        match choice.way {
            Way::Raw => {
                values.iter().for_each(|value| out.extend_from_slice(&value.to_bits().to_le_bytes()));
                ValueEncoding::Raw as u8
            }
            Way::Decimal { exponent, packed, corrections } => {
                out.push(exponent);
                put_varint(out, self.decimals.factor);
                packed.write(&self.decimals.integers, &self.decimal_steps, scratch, out);
                let mut byte = if packed.delta { ValueEncoding::DecimalDelta } else { ValueEncoding::Decimal } as u8;
                if let Some(plan) = corrections {
                    byte |= HAS_CORRECTIONS;
                    kernel::encode_integers(&plan, &self.decimals.corrections, scratch, out);
                }
                byte | write_exceptions(values, &self.decimals.exceptions, scratch, out)
            }
            Way::Bits { zeros, packed } => {
                out.push(zeros);
                packed.write(&self.patterns, &self.pattern_steps, scratch, out);
                if packed.delta { ValueEncoding::BitsDelta as u8 } else { ValueEncoding::Bits as u8 }
            }
            Way::Halves => {
                self.halves.write(values, out);
                ValueEncoding::Halves as u8 | write_exceptions(values, &self.halves.exceptions, scratch, out)
            }
        }
    }
}

fn write_exceptions(values: &[f64], places: &[u16], scratch: &mut Scratch, out: &mut Vec<u8>) -> u8 {
    if places.is_empty() {
        return 0;
    }
    exceptions::write(values, places, &mut scratch.gaps, out);
    HAS_EXCEPTIONS
}

impl Packed {
    /// Plans the integers and their differences, unless a sample shows which of them is hopeless;
    /// [`Effort::Cold`] looks at both.
    fn choose(integers: &[i64], differences: &mut Vec<i64>, effort: Effort) -> Self {
        let (mut try_plain, mut try_delta) = (true, true);
        // A short run is planned both ways as quickly as it is sampled.
        if integers.len() > ROUGH_SAMPLE && effort == Effort::Fresh {
            let levels = roughness(integers, |i| integers[i]);
            let steps = roughness(integers, |i| integers[i].wrapping_sub(integers[i.saturating_sub(1)]));
            try_plain = levels <= steps + 1;
            try_delta = steps <= levels;
        }
        let plain = try_plain.then(|| {
            let plan = kernel::plan(integers);
            Self { delta: false, plan, bytes: plan.bytes }
        });
        let delta = try_delta.then(|| {
            kernel::differences(integers, differences);
            let plan = kernel::plan(differences);
            Self { delta: true, plan, bytes: plan.bytes + steps::head_len(integers[0]) }
        });
        match (plain, delta) {
            (Some(plain), Some(delta)) if delta.bytes < plain.bytes => delta,
            (None, Some(delta)) => delta,
            (Some(plain), _) => plain,
            (None, None) => unreachable!("levels > steps + 1 and steps > levels exclude each other"),
        }
    }

    fn write(&self, integers: &[i64], differences: &[i64], scratch: &mut Scratch, out: &mut Vec<u8>) {
        if self.delta {
            steps::write(integers[0], differences, &self.plan, scratch, out);
        } else {
            kernel::encode_integers(&self.plan, integers, scratch, out);
        }
    }
}

/// Bits of the typical distance from the middle, from a sample.
fn roughness(integers: &[i64], at: impl Fn(usize) -> i64) -> u32 {
    let mut sample = [0i64; ROUGH_SAMPLE];
    for (i, slot) in sample.iter_mut().enumerate() {
        *slot = at((i * integers.len() + integers.len() / 2) / ROUGH_SAMPLE);
    }
    let middle = *sample.select_nth_unstable(ROUGH_SAMPLE / 2).1;
    sample.iter_mut().for_each(|x| *x = x.wrapping_sub(middle).saturating_abs());
    u64::BITS - sample.select_nth_unstable(ROUGH_SAMPLE * 2 / 3).1.leading_zeros()
}
