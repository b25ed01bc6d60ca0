//! The same safe code, compiled once more for machines with wider vector units, and chosen when it runs.
//!
//! But for one transposition nothing here knows of instructions: each function only says for which machine the code that
//! it calls is compiled.
//! What it calls must be inlined into it, all the way, so loops in there are plain loops rather than closures, and only
//! the innermost loops are here: all the rest is there once. The portable build is the twin that the other must agree
//! with (`tests`).
#![allow(unsafe_code)]

#[cfg(target_arch = "x86_64")]
use super::format::LANE_ROWS;
use super::format::{LANES, VECTOR_SAMPLES};
use super::ints::{Plan, Scratch};
use super::values::{Decimals, Scale};
use super::{bitpack, steps};

macro_rules! by_machine {
    ($(#[$doc:meta])* fn $name:ident($($arg:ident: $type:ty),*) $(-> $answer:ty)? = $portable:path, $wide:path) => {
        $(#[$doc])*
        pub(super) fn $name($($arg: $type),*) $(-> $answer)? {
            #[cfg(target_arch = "x86_64")]
            if has_avx2() {
                #[target_feature(enable = "avx2,fma,bmi2,lzcnt")]
                fn wide($($arg: $type),*) $(-> $answer)? {
                    $wide($($arg),*)
                }
                // SAFETY: the features that `wide` is compiled for were just found on this machine.
                return unsafe { wide($($arg),*) };
            }
            $portable($($arg),*)
        }
    };
}

/// Whether this machine has what the wide twins are compiled for.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn has_avx2() -> bool {
    is_x86_feature_detected!("avx2")
        && is_x86_feature_detected!("fma")
        && is_x86_feature_detected!("bmi2")
        && is_x86_feature_detected!("lzcnt")
}

by_machine! {
    /// Unpacks a full vector and adds `base` to each value.
    fn unpack(bytes: &[u8], width: u32, base: u64, out: &mut [u64; VECTOR_SAMPLES]) = bitpack::unpack_full, bitpack::unpack_full
}
by_machine! {
    /// Sums up the differences of a full vector, lane by lane.
    fn sum_steps(steps: &mut [u64; VECTOR_SAMPLES]) -> [u64; LANES] = steps::sum_in_lanes, steps::sum_in_lanes
}
by_machine! {
    /// Writes the lanes of a full vector one behind the other, each with its start added.
    fn in_order(rows: &[u64; VECTOR_SAMPLES], starts: &[u64; LANES], out: &mut [u64; VECTOR_SAMPLES]) = steps::in_order, in_order_avx2
}
by_machine! {
    /// Turns integers into the bits of the decimals that they stand for.
    fn decimals(scale: &Scale, words: &mut [u64]) = Scale::convert::<false>, Scale::convert::<true>
}
by_machine! {
    /// The cheapest way found to store integers: see [`Plan`].
    fn plan(xs: &[i64]) -> Plan = Plan::of, Plan::of
}
by_machine! {
    /// Appends integers as planned.
    fn encode_integers(plan: &Plan, xs: &[i64], scratch: &mut Scratch, out: &mut Vec<u8>) = Plan::encode, Plan::encode
}
by_machine! {
    /// Fills `out` with differences in the order in which they are packed.
    fn differences(integers: &[i64], out: &mut Vec<i64>) = steps::differences, steps::differences
}
by_machine! {
    /// Finds the integers of decimals.
    fn find_decimals(found: &mut Decimals, values: &[f64], scale: &Scale) = Decimals::find::<false>, Decimals::find::<true>
}

/// [`steps::in_order`] by blocks of four lanes and four rows. The compiler makes of the plain loop four times as many
/// instructions as these.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn in_order_avx2(rows: &[u64; VECTOR_SAMPLES], starts: &[u64; LANES], out: &mut [u64; VECTOR_SAMPLES]) {
    use std::arch::x86_64::{
        __m256i, _mm256_add_epi64, _mm256_permute2x128_si256, _mm256_set1_epi64x, _mm256_unpackhi_epi64,
        _mm256_unpacklo_epi64,
    };
    let (quads, _) = rows.as_chunks::<4>();
    let (to, _) = out.as_chunks_mut::<4>();
    for block in 0..LANE_ROWS / 4 {
        for group in 0..LANES / 4 {
            let quad = |row: usize| -> __m256i { bytemuck::cast(quads[(block * 4 + row) * (LANES / 4) + group]) };
            let (a, b, c, d) = (quad(0), quad(1), quad(2), quad(3));
            let (low, high) = (_mm256_unpacklo_epi64(a, b), _mm256_unpackhi_epi64(a, b));
            let (low2, high2) = (_mm256_unpacklo_epi64(c, d), _mm256_unpackhi_epi64(c, d));
            let lanes = [
                _mm256_permute2x128_si256::<0x20>(low, low2),
                _mm256_permute2x128_si256::<0x20>(high, high2),
                _mm256_permute2x128_si256::<0x31>(low, low2),
                _mm256_permute2x128_si256::<0x31>(high, high2),
            ];
            for (i, values) in lanes.into_iter().enumerate() {
                let lane = group * 4 + i;
                let start = _mm256_set1_epi64x(starts[lane] as i64);
                to[lane * (LANE_ROWS / 4) + block] = bytemuck::cast(_mm256_add_epi64(values, start));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What is called by name is the portable twin; the kernels take the wide one where the machine has it.
    fn check(noise: &[u64], width: u32, base: u64, exponent: u8, factor: u64) {
        let packed: Vec<u8> = noise.iter().flat_map(|x| x.to_le_bytes()).take(128 * width as usize).collect();
        let (mut wide, mut portable) = ([0; VECTOR_SAMPLES], [0; VECTOR_SAMPLES]);
        unpack(&packed, width, base, &mut wide);
        bitpack::unpack_full(&packed, width, base, &mut portable);
        assert_eq!(wide, portable);

        let sums = sum_steps(&mut wide);
        assert_eq!(sums, steps::sum_in_lanes(&mut portable));
        assert_eq!(wide, portable);
        let (mut wide_order, mut portable_order) = ([0; VECTOR_SAMPLES], [1; VECTOR_SAMPLES]);
        in_order(&wide, &sums, &mut wide_order);
        steps::in_order(&portable, &sums, &mut portable_order);
        assert_eq!(wide_order, portable_order);

        // Integers that times the factor stay below 2⁵¹, as the encoder makes them.
        let scale = Scale::new(exponent, factor).unwrap();
        let magnitudes = 51 - (64 - factor.leading_zeros());
        let small = |x: u64| ((x as i64) >> (63 - magnitudes)) as u64;
        let (mut wide, mut portable) = (wide.map(small), portable.map(small));
        decimals(&scale, &mut wide);
        scale.convert::<false>(&mut portable);
        assert_eq!(wide, portable);

        let integers: Vec<i64> = noise.iter().map(|x| (x >> (64 - width)) as i64).collect();
        assert_eq!(plan(&integers), Plan::of(&integers));
        let (mut wide, mut portable) = (Vec::new(), Vec::new());
        differences(&integers, &mut wide);
        steps::differences(&integers, &mut portable);
        assert_eq!(wide, portable);
        let (mut wide, mut portable) = (Vec::new(), Vec::new());
        encode_integers(&plan(&integers), &integers, &mut Scratch::default(), &mut wide);
        plan(&integers).encode(&integers, &mut Scratch::default(), &mut portable);
        assert_eq!(wide, portable);

        let scale = Scale::new(exponent, 1).unwrap();
        let near = |n: &i64| f64::from_bits((*n as f64 / 10f64.powi(exponent.into())).to_bits() + (*n as u64 & 1));
        for values in
            [integers.iter().map(near).collect(), noise.iter().map(|x| f64::from_bits(*x)).collect::<Vec<f64>>()]
        {
            let mut found = [Decimals::default(), Decimals::default()];
            find_decimals(&mut found[0], &values, &scale);
            found[1].find::<false>(&values, &scale);
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
            check(&noise, width, base, exponent, factor);
        }
    }
}
