//! Inner loops, chosen by what the machine can do when they run.
//!
//! Most are the same safe code, compiled once more for machines with wider vector units: what is called must be inlined
//! all the way, so loops in there are plain loops, and only the innermost loops are here, as all the rest is there once.
//! A few, where the compiler makes several times as many instructions of the plain loop, are written out in [`x86`].
//! The portable build is the twin that all others must agree with (`tests`).
#![allow(unsafe_code)]

mod portable;
#[cfg(target_arch = "x86_64")]
mod x86;

use std::sync::OnceLock;

use super::format::{LANES, VECTOR_SAMPLES};
use super::ints::{Plan, Scratch};
use super::places::{self, Bits};
use super::values::{Decimals, Scale};
use super::{bitpack::linear, steps};

/// What the machine can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Machine {
    Portable,
    /// Vectors of 256 bits.
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// Vectors of 512 bits, and shuffles of bytes across them.
    #[cfg(target_arch = "x86_64")]
    Avx512,
}

impl Machine {
    /// The most of what this machine can do.
    #[inline]
    pub(crate) fn here() -> Self {
        static HERE: OnceLock<Machine> = OnceLock::new();
        *HERE.get_or_init(|| Self::all().last().copied().unwrap_or(Self::Portable))
    }

    /// All that this machine can do, the least first. No other value of this type is ever made but [`Self::Portable`].
    pub(crate) fn all() -> Vec<Self> {
        let mut all = vec![Self::Portable];
        #[cfg(target_arch = "x86_64")]
        if is_x86_feature_detected!("avx2")
            && is_x86_feature_detected!("fma")
            && is_x86_feature_detected!("bmi2")
            && is_x86_feature_detected!("lzcnt")
            && is_x86_feature_detected!("popcnt")
        {
            all.push(Self::Avx2);
            if is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512bw")
                && is_x86_feature_detected!("avx512cd")
                && is_x86_feature_detected!("avx512dq")
                && is_x86_feature_detected!("avx512vl")
                && is_x86_feature_detected!("avx512vbmi")
                && is_x86_feature_detected!("avx512vbmi2")
            {
                all.push(Self::Avx512);
            }
        }
        all
    }
}

/// Bytes that [`prefetch`] asks for at most: more would push out what is worked on.
const PREFETCHED_MAX: usize = 4096;

/// Asks the processor to load `bytes`, soon to be decoded, and does not wait for them.
///
/// Vectors are short: without it, most of the wait for memory is at the beginning of each.
#[inline]
pub fn prefetch(bytes: &[u8]) {
    #[cfg(target_arch = "x86_64")]
    for line in bytes[..bytes.len().min(PREFETCHED_MAX)].chunks(64) {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: nothing is read or written, whatever the address; and the line is borrowed.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(line.as_ptr().cast()) };
    }
}

macro_rules! by_machine {
    ($(#[$doc:meta])* fn $name:ident($($arg:ident: $type:ty),*) $(-> $answer:ty)? = $portable:path, $avx2:path, $avx512:path) => {
        $(#[$doc])*
        pub(super) fn $name($($arg: $type),*) $(-> $answer)? {
            $name::on(Machine::here(), $($arg),*)
        }

        mod $name {
            use super::*;

            #[inline]
            pub(super) fn on(machine: Machine, $($arg: $type),*) $(-> $answer)? {
                #[cfg(target_arch = "x86_64")]
                #[target_feature(enable = "avx2,fma,bmi2,lzcnt,popcnt")]
                fn avx2($($arg: $type),*) $(-> $answer)? {
                    $avx2($($arg),*)
                }

                #[cfg(target_arch = "x86_64")]
                #[target_feature(enable = "avx2,fma,bmi2,lzcnt,popcnt,avx512f,avx512bw,avx512cd,avx512dq,avx512vl,avx512vbmi,avx512vbmi2")]
                fn avx512($($arg: $type),*) $(-> $answer)? {
                    $avx512($($arg),*)
                }

                match machine {
                    Machine::Portable => $portable($($arg),*),
                    // SAFETY: `Machine::all` found the features that `avx2` is compiled for on this machine.
                    #[cfg(target_arch = "x86_64")]
                    Machine::Avx2 => unsafe { avx2($($arg),*) },
                    // SAFETY: likewise.
                    #[cfg(target_arch = "x86_64")]
                    Machine::Avx512 => unsafe { avx512($($arg),*) },
                }
            }
        }
    };
}

by_machine! {
    /// Unpacks a full vector and adds `base` to each value.
    fn unpack(bytes: &[u8], width: u32, base: u64, out: &mut [u64; VECTOR_SAMPLES]) =
        portable::unpack, portable::unpack, x86::unpack_avx512
}
by_machine! {
    /// Unpacks a full vector and adds its values and `base` to what is there.
    fn add_unpacked(bytes: &[u8], width: u32, base: u64, out: &mut [u64; VECTOR_SAMPLES]) =
        portable::add_unpacked, portable::add_unpacked, x86::add_unpacked_avx512
}
by_machine! {
    /// Unpacks a full vector and adds `base` to each value; answers what each lane adds up to.
    fn unpack_totals(bytes: &[u8], width: u32, base: u64, out: &mut [u64; VECTOR_SAMPLES]) -> [u64; LANES] =
        portable::unpack_totals, portable::unpack_totals, x86::unpack_totals_avx512
}
by_machine! {
    /// Unpacks a full vector, adds `base`, and turns the integers into the bits of the decimals that they stand for.
    fn unpack_decimals(bytes: &[u8], width: u32, base: u64, scale: &Scale, out: &mut [u64; VECTOR_SAMPLES]) =
        portable::unpack_decimals::<false>, portable::unpack_decimals::<true>, x86::unpack_decimals_avx512
}
by_machine! {
    /// Unpacks values that lie one behind the other and adds `base` to each. `width` is 1 to 64.
    fn unpack_linear(bytes: &[u8], width: u32, base: u64, out: &mut [u64]) =
        linear::unpack, linear::unpack, x86::unpack_linear_avx512
}
by_machine! {
    /// What each lane of a full vector adds up to.
    fn totals(steps: &[u64; VECTOR_SAMPLES]) -> [u64; LANES] = steps::totals, steps::totals, steps::totals
}
by_machine! {
    /// Sums up differences one behind the other.
    fn sum_in_order(steps: &mut [u64]) =
        steps::sum_in_order, steps::sum_in_order, x86::sum_in_order_avx512
}
by_machine! {
    /// Sums up the differences of a full vector, lane by lane from its start on, and writes the lanes one behind the other.
    fn in_order(steps: &[u64; VECTOR_SAMPLES], starts: &[u64; LANES], out: &mut [u64; VECTOR_SAMPLES]) =
        steps::in_order, x86::in_order_avx2, x86::in_order_avx512
}
by_machine! {
    /// Likewise, turned into the bits of the decimals that they stand for.
    fn in_order_decimals(
        steps: &[u64; VECTOR_SAMPLES], starts: &[u64; LANES], scale: &Scale, out: &mut [u64; VECTOR_SAMPLES]
    ) = portable::in_order_decimals, x86::in_order_decimals_avx2, x86::in_order_decimals_avx512
}
by_machine! {
    /// Sums up differences that lie in order, each of which stands for a run: see [`steps::sum_runs_decimals`].
    fn sum_runs_decimals(steps: &[u64; VECTOR_SAMPLES], bits: &Bits, scale: &Scale, out: &mut [u64]) =
        steps::sum_runs_decimals::<false>, steps::sum_runs_decimals::<true>, x86::sum_runs_decimals_avx512
}
by_machine! {
    /// Turns integers into the bits of the decimals that they stand for.
    fn decimals(scale: &Scale, words: &mut [u64]) =
        Scale::convert::<false>, Scale::convert::<true>, Scale::convert::<true>
}
by_machine! {
    /// Appends `first`, and from then on what is `step` more each.
    fn regular(first: i64, step: i64, count: usize, out: &mut Vec<i64>) =
        portable::regular, portable::regular, portable::regular
}
by_machine! {
    /// Fills `out`.
    fn fill(value: u64, out: &mut [u64]) = portable::fill, portable::fill, portable::fill
}
by_machine! {
    /// Shifts each word left by less than 64 bits.
    fn shift(zeros: u32, out: &mut [u64]) = portable::shift, portable::shift, portable::shift
}
by_machine! {
    /// Adds each word of `more` to what is there.
    fn add(more: &[u64], out: &mut [u64]) = portable::add, portable::add, portable::add
}
by_machine! {
    /// Replaces the values at the bits that are set: see [`places::patch`].
    fn patch(bits: &[u8], base: u64, far: &[u64; VECTOR_SAMPLES + 8], out: &mut [u64]) =
        places::patch, places::patch, x86::patch_avx512
}
by_machine! {
    /// Adds to each value what [`patch`] would put there, and `base` where it would put nothing.
    fn patch_onto(bits: &[u8], base: u64, far: &[u64; VECTOR_SAMPLES + 8], out: &mut [u64]) =
        places::patch_onto, places::patch_onto, x86::patch_onto_avx512
}
by_machine! {
    /// Moves the first value of each run to where the run lies, and repeats it there: see [`places::spread_runs`].
    fn spread(bits: &Bits, len: usize, out: &mut [u64]) =
        places::spread_runs, places::spread_runs, x86::spread_avx512
}
by_machine! {
    /// The cheapest way found to store integers: see [`Plan`].
    fn plan(xs: &[i64]) -> Plan = Plan::of, Plan::of, Plan::of
}
by_machine! {
    /// Appends integers as planned.
    fn encode_integers(plan: &Plan, xs: &[i64], scratch: &mut Scratch, out: &mut Vec<u8>) =
        Plan::encode, Plan::encode, Plan::encode
}
by_machine! {
    /// Fills `out` with differences in the order in which they are packed.
    fn differences(integers: &[i64], out: &mut Vec<i64>) = steps::differences, steps::differences, steps::differences
}
by_machine! {
    /// Finds the integers of decimals.
    fn find_decimals(found: &mut Decimals, values: &[f64], scale: &Scale) =
        Decimals::find::<false>, Decimals::find::<true>, Decimals::find::<true>
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Checks one machine against the portable twin.
    fn check(machine: Machine, noise: &[u64], width: u32, base: u64, exponent: u8, factor: u64) {
        const TWIN: Machine = Machine::Portable;
        let packed: Vec<u8> = noise.iter().flat_map(|x| x.to_le_bytes()).take(128 * width as usize).collect();
        let both = |run: &dyn Fn(Machine, &mut [u64; VECTOR_SAMPLES])| {
            let (mut got, mut want) = ([3; VECTOR_SAMPLES], [3; VECTOR_SAMPLES]);
            run(machine, &mut got);
            run(TWIN, &mut want);
            assert_eq!(got, want);
            got
        };
        let unpacked = both(&|machine, out| unpack::on(machine, &packed, width, base, out));
        let added = both(&|machine, out| add_unpacked::on(machine, &packed, width, base, out));
        assert_eq!(added, unpacked.map(|x| x.wrapping_add(3)));
        let totals_of = |machine, words: &[u64; VECTOR_SAMPLES]| {
            let got = totals::on(machine, words);
            let lane = |lane| words.iter().skip(lane).step_by(LANES).fold(0u64, |sum, word| sum.wrapping_add(*word));
            assert_eq!(got, std::array::from_fn(lane));
            got
        };
        let stepped = both(&|machine, out| {
            let totals = unpack_totals::on(machine, &packed, width, base, out);
            assert_eq!(totals, totals_of(machine, out));
        });
        assert_eq!(stepped, unpacked);
        let sums = &mut [0; LANES];
        sums.copy_from_slice(&noise[..LANES]);
        both(&|machine, out| {
            let some = &mut out[..noise[0] as usize % VECTOR_SAMPLES];
            some.copy_from_slice(&noise[..some.len()]);
            sum_in_order::on(machine, some);
        });
        let ordered = both(&|machine, out| in_order::on(machine, &unpacked, sums, out));

        // Integers that times the factor stay below 2⁵¹, as the encoder makes them.
        let scale = Scale::new(exponent, factor).unwrap();
        let magnitudes = 51 - (64 - factor.leading_zeros());
        let small = |x: u64| ((x as i64) >> (63 - magnitudes)) as u64;
        let integers = ordered.map(small);
        let converted = both(&|machine, out| {
            *out = integers;
            decimals::on(machine, &scale, out);
        });
        both(&|machine, out| {
            let shorter = &mut out[..noise[0] as usize % VECTOR_SAMPLES];
            shorter.copy_from_slice(&integers[..shorter.len()]);
            decimals::on(machine, &scale, shorter);
        });
        let mut rows = [0; VECTOR_SAMPLES];
        for (i, integer) in integers.iter().enumerate() {
            let before = if i % 64 == 0 { sums[i / 64] } else { integers[i - 1] };
            rows[i % 64 * LANES + i / 64] = integer.wrapping_sub(before);
        }
        assert_eq!(converted, both(&|machine, out| in_order_decimals::on(machine, &rows, sums, &scale, out)));
        let narrow = width.min(magnitudes - 1);
        let packed_narrow = &packed[..128 * narrow as usize];
        let halved = both(&|machine, out| {
            unpack_decimals::on(machine, packed_narrow, narrow, 7, &scale, out);
        });
        assert_eq!(
            halved,
            both(&|machine, out| {
                unpack::on(machine, packed_narrow, narrow, 7, out);
                decimals::on(machine, &scale, out);
            })
        );

        for count in [1, 7, 8, 9, 63, 64, 100, 1023, 1024, base as usize % 1024 + 1] {
            let packed = &packed[..(count * width as usize).div_ceil(8)];
            both(&|machine, out| unpack_linear::on(machine, packed, width, base, &mut out[..count]));
            let mut bits = [0; VECTOR_SAMPLES / 8];
            for i in (1..count).filter(|&i| noise[i].is_multiple_of(u64::from(width))) {
                bits[i / 8] |= 1 << (i % 8);
            }
            let len = bits.iter().map(|byte: &u8| byte.count_ones() as usize).sum();
            both(&|machine, out| {
                out[..count].copy_from_slice(&noise[..count]);
                spread::on(machine, &bits, len, &mut out[..count]);
            });
            let begins = |i: usize| i == 0 || bits[i / 8] >> (i % 8) & 1 == 1;
            let (mut run_bits, mut n, mut sum_at_run) = (bits, 0, 0u64);
            run_bits[0] |= 1;
            let mut run_steps = [5; VECTOR_SAMPLES];
            for i in (0..count).filter(|&i| begins(i)) {
                run_steps[n] = integers[i].wrapping_sub(if n == 0 { 0 } else { sum_at_run });
                (sum_at_run, n) = (integers[i], n + 1);
            }
            let runs = both(&|machine, out| {
                sum_runs_decimals::on(machine, &run_steps, &run_bits, &scale, &mut out[..count]);
            });
            let mut last = 0;
            let want: Vec<u64> = (0..count)
                .map(|i| {
                    last = if begins(i) { converted[i] } else { last };
                    last
                })
                .collect();
            assert_eq!(runs[..count], want);
            let mut far = [0; VECTOR_SAMPLES + 8];
            far[..len].copy_from_slice(&noise[..len]);
            both(&|machine, out| patch::on(machine, &bits[..count.div_ceil(8)], base, &far, &mut out[..count]));
            both(&|machine, out| add::on(machine, &noise[..count], &mut out[..count]));
            let onto = both(&|machine, out| {
                out[..count].copy_from_slice(&noise[..count]);
                patch_onto::on(machine, &bits[..count.div_ceil(8)], base, &far, &mut out[..count]);
            });
            let both_steps = both(&|machine, out| {
                let mut patched = [base; VECTOR_SAMPLES];
                patch::on(machine, &bits[..count.div_ceil(8)], base, &far, &mut patched[..count]);
                out[..count].copy_from_slice(&noise[..count]);
                add::on(machine, &patched[..count], &mut out[..count]);
            });
            assert_eq!(onto, both_steps);
            both(&|machine, out| shift::on(machine, width - 1, &mut out[..count]));
            assert!(
                both(&|machine, out| fill::on(machine, base, &mut out[..count]))[..count].iter().all(|x| *x == base)
            );
        }

        for count in [1, 15, 16, 17, 1024] {
            let mut got = vec![7; 3];
            regular::on(machine, base as i64, noise[1] as i64, count, &mut got);
            let mut want = vec![7, 7, 7, base as i64];
            (1..count).for_each(|i| want.push(want[i + 2].wrapping_add(noise[1] as i64)));
            assert_eq!(got, want);
        }

        let integers: Vec<i64> = noise.iter().map(|x| (x >> (64 - width)) as i64).collect();
        let made = plan::on(machine, &integers);
        assert_eq!(made, plan::on(TWIN, &integers));
        let (mut got, mut want) = (Vec::new(), Vec::new());
        differences::on(machine, &integers, &mut got);
        differences::on(TWIN, &integers, &mut want);
        assert_eq!(got, want);
        let (mut got, mut want) = (Vec::new(), Vec::new());
        encode_integers::on(machine, &made, &integers, &mut Scratch::default(), &mut got);
        encode_integers::on(TWIN, &made, &integers, &mut Scratch::default(), &mut want);
        assert_eq!(got, want);

        let scale = Scale::new(exponent, 1).unwrap();
        let near = |n: &i64| f64::from_bits((*n as f64 / 10f64.powi(exponent.into())).to_bits() + (*n as u64 & 1));
        for values in
            [integers.iter().map(near).collect(), noise.iter().map(|x| f64::from_bits(*x)).collect::<Vec<f64>>()]
        {
            let mut found = [Decimals::default(), Decimals::default()];
            find_decimals::on(machine, &mut found[0], &values, &scale);
            find_decimals::on(TWIN, &mut found[1], &values, &scale);
            assert_eq!(found[0], found[1]);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

        #[test]
        fn the_twins_agree(
            noise in prop::collection::vec(any::<u64>(), VECTOR_SAMPLES), width in 1u32..=64, base in any::<u64>(),
            exponent in 0u8..=18, factor in prop_oneof![Just(1u64), 1u64..10_000],
        ) {
            for machine in Machine::all() {
                check(machine, &noise, width, base, exponent, factor);
            }
        }
    }
}
