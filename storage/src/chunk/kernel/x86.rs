//! Loops written out for x86: shuffles, which the compiler makes several times as many instructions of.

use std::arch::x86_64::*;

use crate::chunk::bitpack::linear;
use crate::chunk::format::{LANE_ROWS, LANES, VECTOR_SAMPLES};
use crate::chunk::places::{self, Bits};
use crate::chunk::values::Scale;

/// [`steps::in_order`](crate::chunk::steps::in_order) by blocks of four lanes and four rows.
#[target_feature(enable = "avx2")]
pub(super) fn in_order_avx2(steps: &[u64; VECTOR_SAMPLES], starts: &[u64; LANES], out: &mut [u64; VECTOR_SAMPLES]) {
    transpose_by_four(steps, starts, out, |sums| sums);
}

#[target_feature(enable = "avx2,fma")]
pub(super) fn in_order_decimals_avx2(
    steps: &[u64; VECTOR_SAMPLES],
    starts: &[u64; LANES],
    scale: &Scale,
    out: &mut [u64; VECTOR_SAMPLES],
) {
    let all = |float: f64| _mm256_set1_pd(float);
    let (factor, power, inverse) = (all(scale.factor), all(scale.power), all(scale.inverse));
    let magic = all(Scale::MAGIC);
    let starts = starts.map(|start| start.wrapping_add(Scale::MAGIC.to_bits()));
    // As `Scaled::bits`.
    let product = |shifted| _mm256_mul_pd(_mm256_sub_pd(_mm256_castsi256_pd(shifted), magic), factor);
    if scale.is_whole() {
        return transpose_by_four(steps, &starts, out, |shifted| _mm256_castpd_si256(product(shifted)));
    }
    transpose_by_four(steps, &starts, out, |shifted| {
        let product = product(shifted);
        let guess = _mm256_mul_pd(product, inverse);
        let rest = _mm256_fnmadd_pd(guess, power, product);
        _mm256_castpd_si256(_mm256_fmadd_pd(rest, inverse, guess))
    });
}

/// Sums up the lanes of `steps` from `starts` on and writes them one behind the other, four sums of one lane at a time,
/// each through `finish`.
#[inline]
#[target_feature(enable = "avx2")]
fn transpose_by_four(
    steps: &[u64; VECTOR_SAMPLES],
    starts: &[u64; LANES],
    out: &mut [u64; VECTOR_SAMPLES],
    finish: impl Fn(__m256i) -> __m256i,
) {
    let (quads, _) = steps.as_chunks::<4>();
    let (to, _) = out.as_chunks_mut::<4>();
    for (group, starts) in starts.as_chunks::<4>().0.iter().enumerate() {
        let mut sums: __m256i = bytemuck::cast(*starts);
        for block in 0..LANE_ROWS / 4 {
            let mut row = |row: usize| {
                sums = _mm256_add_epi64(sums, bytemuck::cast(quads[(block * 4 + row) * (LANES / 4) + group]));
                sums
            };
            let (a, b, c, d) = (row(0), row(1), row(2), row(3));
            let (low, high) = (_mm256_unpacklo_epi64(a, b), _mm256_unpackhi_epi64(a, b));
            let (low2, high2) = (_mm256_unpacklo_epi64(c, d), _mm256_unpackhi_epi64(c, d));
            let lanes = [
                _mm256_permute2x128_si256::<0x20>(low, low2),
                _mm256_permute2x128_si256::<0x20>(high, high2),
                _mm256_permute2x128_si256::<0x31>(low, low2),
                _mm256_permute2x128_si256::<0x31>(high, high2),
            ];
            for (i, values) in lanes.into_iter().enumerate() {
                to[(group * 4 + i) * (LANE_ROWS / 4) + block] = bytemuck::cast(finish(values));
            }
        }
    }
}

/// [`steps::in_order`](crate::chunk::steps::in_order) by blocks of eight lanes and eight rows.
#[target_feature(enable = "avx512f,avx512dq")]
pub(super) fn in_order_avx512(steps: &[u64; VECTOR_SAMPLES], starts: &[u64; LANES], out: &mut [u64; VECTOR_SAMPLES]) {
    transpose(steps, starts, out, |sums| sums);
}

#[target_feature(enable = "avx512f,avx512dq")]
pub(super) fn in_order_decimals_avx512(
    steps: &[u64; VECTOR_SAMPLES],
    starts: &[u64; LANES],
    scale: &Scale,
    out: &mut [u64; VECTOR_SAMPLES],
) {
    let scaled = Scaled::new(scale);
    let starts = starts.map(|start| start.wrapping_add(Scale::MAGIC.to_bits()));
    match (scale.is_whole(), scale.factor == 1.0) {
        (true, true) => transpose(steps, &starts, out, |shifted| scaled.bits::<true, true>(shifted)),
        (true, false) => transpose(steps, &starts, out, |shifted| scaled.bits::<true, false>(shifted)),
        (false, true) => transpose(steps, &starts, out, |shifted| scaled.bits::<false, true>(shifted)),
        (false, false) => transpose(steps, &starts, out, |shifted| scaled.bits::<false, false>(shifted)),
    }
}

/// A [`Scale`] for eight integers at once.
#[derive(Clone, Copy)]
struct Scaled {
    factor: __m512d,
    power: __m512d,
    inverse: __m512d,
}

impl Scaled {
    #[inline]
    #[target_feature(enable = "avx512f")]
    fn new(scale: &Scale) -> Self {
        let all = |float: f64| _mm512_set1_pd(float);
        Self { factor: all(scale.factor), power: all(scale.power), inverse: all(scale.inverse) }
    }

    /// The bits of the floats that integers stand for to which those of the magic number were added. `WHOLE` if they
    /// are divided by nothing, `ONE` if multiplied by nothing.
    #[inline]
    #[target_feature(enable = "avx512f")]
    fn bits<const WHOLE: bool, const ONE: bool>(self, shifted: __m512i) -> __m512i {
        let float = _mm512_sub_pd(_mm512_castsi512_pd(shifted), _mm512_set1_pd(Scale::MAGIC));
        let product = if ONE { float } else { _mm512_mul_pd(float, self.factor) };
        if WHOLE {
            return _mm512_castpd_si512(product);
        }
        // As in `Scale::quotient`.
        let guess = _mm512_mul_pd(product, self.inverse);
        let rest = _mm512_fnmadd_pd(guess, self.power, product);
        _mm512_castpd_si512(_mm512_fmadd_pd(rest, self.inverse, guess))
    }
}

#[target_feature(enable = "avx512f,avx512vbmi2")]
pub(super) fn unpack_avx512(bytes: &[u8], width: u32, base: u64, out: &mut [u64; VECTOR_SAMPLES]) {
    let base = _mm512_set1_epi64(base as i64);
    unpack(bytes, width, out, |_, values, _| _mm512_add_epi64(values, base));
}

#[target_feature(enable = "avx512f,avx512vbmi2")]
pub(super) fn add_unpacked_avx512(bytes: &[u8], width: u32, base: u64, out: &mut [u64; VECTOR_SAMPLES]) {
    let base = _mm512_set1_epi64(base as i64);
    unpack(bytes, width, out, |_, values, there| _mm512_add_epi64(there, _mm512_add_epi64(values, base)));
}

#[target_feature(enable = "avx512f,avx512vbmi2")]
pub(super) fn unpack_totals_avx512(
    bytes: &[u8],
    width: u32,
    base: u64,
    out: &mut [u64; VECTOR_SAMPLES],
) -> [u64; LANES] {
    let base = _mm512_set1_epi64(base as i64);
    let mut totals = [_mm512_setzero_si512(); 2];
    unpack(bytes, width, out, |half, values, _| {
        let values = _mm512_add_epi64(values, base);
        totals[half] = _mm512_add_epi64(totals[half], values);
        values
    });
    bytemuck::cast(totals)
}

#[target_feature(enable = "avx512f,avx512vbmi2")]
pub(super) fn unpack_decimals_avx512(
    bytes: &[u8],
    width: u32,
    base: u64,
    scale: &Scale,
    out: &mut [u64; VECTOR_SAMPLES],
) {
    let scaled = Scaled::new(scale);
    let base = _mm512_set1_epi64(base.wrapping_add(Scale::MAGIC.to_bits()) as i64);
    let shifted = |values: __m512i| _mm512_add_epi64(values, base);
    match (scale.is_whole(), scale.factor == 1.0) {
        (true, true) => unpack(bytes, width, out, |_, values, _| scaled.bits::<true, true>(shifted(values))),
        (true, false) => unpack(bytes, width, out, |_, values, _| scaled.bits::<true, false>(shifted(values))),
        (false, true) => unpack(bytes, width, out, |_, values, _| scaled.bits::<false, true>(shifted(values))),
        (false, false) => unpack(bytes, width, out, |_, values, _| scaled.bits::<false, false>(shifted(values))),
    }
}

/// [`lanes::unpack`](crate::chunk::bitpack::lanes::unpack): two words become one value by a single shift of both.
/// `finish` answers what to write, told which half of the row it is, the values, and what is there.
#[inline]
#[target_feature(enable = "avx512f,avx512vbmi2")]
fn unpack(
    bytes: &[u8],
    width: u32,
    out: &mut [u64; VECTOR_SAMPLES],
    mut finish: impl FnMut(usize, __m512i, __m512i) -> __m512i,
) {
    let mask = _mm512_set1_epi64((u64::MAX >> (64 - width.clamp(1, 64))) as i64);
    let (stripes, _) = bytes.as_chunks::<{ LANES * 8 }>();
    let last = stripes.len() - 1;
    let (mut bit, mut shifts, step) = (0, _mm512_setzero_si512(), _mm512_set1_epi64(width.into()));
    for row in out.as_chunks_mut::<LANES>().0 {
        let at = (bit / 64) as usize;
        let (low, high): ([__m512i; 2], [__m512i; 2]) =
            (bytemuck::cast(stripes[at.min(last)]), bytemuck::cast(stripes[(at + 1).min(last)]));
        let mut there: [__m512i; 2] = bytemuck::cast(*row);
        for half in 0..2 {
            // The count is taken modulo 64. A value that ends within `low` takes nothing of `high`: the mask cuts it off.
            let values = _mm512_and_si512(_mm512_shrdv_epi64(low[half], high[half], shifts), mask);
            there[half] = finish(half, values, there[half]);
        }
        *row = bytemuck::cast(there);
        bit += width;
        shifts = _mm512_add_epi64(shifts, step);
    }
}

/// Eight sums at a time: each takes what lies one, two, then four places before it, and the sum of all eights before.
#[target_feature(enable = "avx512f")]
pub(super) fn sum_in_order_avx512(steps: &mut [u64]) {
    let (zero, last_of_eight) = (_mm512_setzero_si512(), _mm512_set1_epi64(7));
    let mut before = zero;
    let (eights, rest) = steps.as_chunks_mut::<8>();
    for eight in eights {
        let mut sums: __m512i = bytemuck::cast(*eight);
        sums = _mm512_add_epi64(sums, _mm512_alignr_epi64::<7>(sums, zero));
        sums = _mm512_add_epi64(sums, _mm512_alignr_epi64::<6>(sums, zero));
        sums = _mm512_add_epi64(sums, _mm512_alignr_epi64::<4>(sums, zero));
        *eight = bytemuck::cast(_mm512_add_epi64(sums, before));
        // Not what was just stored: so that eights wait for each other by a single addition.
        before = _mm512_add_epi64(before, _mm512_permutexvar_epi64(last_of_eight, sums));
    }
    let mut sum = bytemuck::cast::<__m512i, [u64; 8]>(before)[0];
    for slot in rest {
        sum = sum.wrapping_add(*slot);
        *slot = sum;
    }
}

/// Eight samples at a time: the differences of those that begin a run, nought for the others, then sums as above.
#[target_feature(enable = "avx512f,popcnt")]
pub(super) fn sum_runs_decimals_avx512(steps: &[u64; VECTOR_SAMPLES], bits: &Bits, scale: &Scale, out: &mut [u64]) {
    let scaled = Scaled::new(scale);
    match (scale.is_whole(), scale.factor == 1.0) {
        (true, true) => sum_runs(steps, bits, out, |shifted| scaled.bits::<true, true>(shifted)),
        (true, false) => sum_runs(steps, bits, out, |shifted| scaled.bits::<true, false>(shifted)),
        (false, true) => sum_runs(steps, bits, out, |shifted| scaled.bits::<false, true>(shifted)),
        (false, false) => sum_runs(steps, bits, out, |shifted| scaled.bits::<false, false>(shifted)),
    }
}

#[inline]
#[target_feature(enable = "avx512f,popcnt")]
fn sum_runs(steps: &[u64; VECTOR_SAMPLES], bits: &Bits, out: &mut [u64], finish: impl Fn(__m512i) -> __m512i) {
    let (zero, last_of_eight) = (_mm512_setzero_si512(), _mm512_set1_epi64(7));
    let mut before = _mm512_set1_epi64(Scale::MAGIC.to_bits() as i64);
    let mut rank = 0;
    let mut sum = |byte: u8| -> [u64; 8] {
        // Always there: before each eight samples, no more than as many differences as samples were taken.
        let next = steps[rank..].first_chunk::<8>().copied().unwrap_or_default();
        rank += byte.count_ones() as usize;
        let mut sums = _mm512_maskz_expand_epi64(byte, bytemuck::cast(next));
        sums = _mm512_add_epi64(sums, _mm512_alignr_epi64::<7>(sums, zero));
        sums = _mm512_add_epi64(sums, _mm512_alignr_epi64::<6>(sums, zero));
        sums = _mm512_add_epi64(sums, _mm512_alignr_epi64::<4>(sums, zero));
        let all = _mm512_add_epi64(sums, before);
        before = _mm512_add_epi64(before, _mm512_permutexvar_epi64(last_of_eight, sums));
        bytemuck::cast(finish(all))
    };
    let (eights, rest) = out.as_chunks_mut::<8>();
    let (bytes, last) = bits.split_at(eights.len().min(bits.len()));
    for (eight, byte) in eights.iter_mut().zip(bytes) {
        *eight = sum(*byte);
    }
    if let (Some(byte), false) = (last.first(), rest.is_empty()) {
        rest.copy_from_slice(&sum(*byte)[..rest.len()]);
    }
}

#[target_feature(enable = "avx512f,popcnt")]
pub(super) fn patch_avx512(bits: &[u8], base: u64, far: &[u64; VECTOR_SAMPLES + 8], out: &mut [u64]) {
    let base = _mm512_set1_epi64(base as i64);
    places::patch_by(bits, far, out, |byte, far, values| {
        let patches = _mm512_add_epi64(unzigzag(far), base);
        *values = bytemuck::cast(_mm512_mask_expand_epi64(bytemuck::cast(*values), byte, patches));
    });
}

#[target_feature(enable = "avx512f,popcnt")]
pub(super) fn patch_onto_avx512(bits: &[u8], base: u64, far: &[u64; VECTOR_SAMPLES + 8], out: &mut [u64]) {
    let base = _mm512_set1_epi64(base as i64);
    places::patch_by(bits, far, out, |byte, far, values| {
        let distances = _mm512_maskz_expand_epi64(byte, unzigzag(far));
        let sums = _mm512_add_epi64(_mm512_add_epi64(bytemuck::cast(*values), base), distances);
        *values = bytemuck::cast(sums);
    });
}

#[inline]
#[target_feature(enable = "avx512f")]
fn unzigzag(far: &[u64; 8]) -> __m512i {
    let far: __m512i = bytemuck::cast(*far);
    let sign = _mm512_sub_epi64(_mm512_setzero_si512(), _mm512_and_si512(far, _mm512_set1_epi64(1)));
    _mm512_xor_si512(_mm512_srli_epi64::<1>(far), sign)
}

/// Sums up the lanes of `steps` from `starts` on and writes them one behind the other, eight sums of one lane at a time,
/// each through `finish`.
#[inline]
#[target_feature(enable = "avx512f,avx512dq")]
fn transpose(
    steps: &[u64; VECTOR_SAMPLES],
    starts: &[u64; LANES],
    out: &mut [u64; VECTOR_SAMPLES],
    finish: impl Fn(__m512i) -> __m512i,
) {
    let (eights, _) = steps.as_chunks::<8>();
    let (to, _) = out.as_chunks_mut::<8>();
    for (group, starts) in starts.as_chunks::<8>().0.iter().enumerate() {
        let mut sums: __m512i = bytemuck::cast(*starts);
        for block in 0..LANE_ROWS / 8 {
            let mut row = |row: usize| {
                sums = _mm512_add_epi64(sums, bytemuck::cast(eights[(block * 8 + row) * (LANES / 8) + group]));
                sums
            };
            // Pairs of rows, quads of pairs, then halves: lane i of all eight rows.
            let mut pair = |i: usize| {
                let (a, b) = (row(2 * i), row(2 * i + 1));
                (_mm512_unpacklo_epi64(a, b), _mm512_unpackhi_epi64(a, b))
            };
            let pairs = [pair(0), pair(1), pair(2), pair(3)];
            let quads = |even: [__m512i; 4]| {
                let [a, b, c, d] = even;
                // Lanes 0, 4 then 2, 6 (of the even ones) of rows 0 to 3, then of rows 4 to 7.
                let (front, back) = (_mm512_shuffle_i64x2::<0x88>(a, b), _mm512_shuffle_i64x2::<0xdd>(a, b));
                let (front2, back2) = (_mm512_shuffle_i64x2::<0x88>(c, d), _mm512_shuffle_i64x2::<0xdd>(c, d));
                [
                    _mm512_shuffle_i64x2::<0x88>(front, front2),
                    _mm512_shuffle_i64x2::<0x88>(back, back2),
                    _mm512_shuffle_i64x2::<0xdd>(front, front2),
                    _mm512_shuffle_i64x2::<0xdd>(back, back2),
                ]
            };
            let even = quads(pairs.map(|(low, _)| low));
            let odd = quads(pairs.map(|(_, high)| high));
            for i in 0..8 {
                let lane = group * 8 + i;
                let values = if i % 2 == 0 { even[i / 2] } else { odd[i / 2] };
                to[lane * (LANE_ROWS / 8) + block] = bytemuck::cast(finish(values));
            }
        }
    }
}

/// Where the eight bytes of each value of a group begin, by width: what a shuffle of bytes takes.
static WINDOWS: [[u8; linear::WINDOW]; linear::GROUPED_WIDTH_MAX as usize + 1] = {
    let mut windows = [[0; linear::WINDOW]; linear::GROUPED_WIDTH_MAX as usize + 1];
    let mut width = 0;
    while width < windows.len() {
        let mut at = 0;
        while at < linear::WINDOW {
            windows[width][at] = (at / 8 * width / 8 + at % 8) as u8;
            at += 1;
        }
        width += 1;
    }
    windows
};

#[target_feature(enable = "avx512f,avx512bw,avx512vbmi,bmi2")]
pub(super) fn unpack_linear_avx512(bytes: &[u8], width: u32, base: u64, out: &mut [u64]) {
    if width > linear::GROUPED_WIDTH_MAX {
        return linear::unpack(bytes, width, base, out);
    }
    let windows: __m512i = bytemuck::cast(WINDOWS[width as usize]);
    let bits = |i: u32| i64::from(i * width % 8);
    let shifts = _mm512_setr_epi64(bits(0), bits(1), bits(2), bits(3), bits(4), bits(5), bits(6), bits(7));
    let mask = _mm512_set1_epi64((u64::MAX >> (64 - width.clamp(1, 64))) as i64);
    let base = _mm512_set1_epi64(base as i64);
    let mut rest = bytes;
    let mut take = || -> [u64; 8] {
        let words = _mm512_permutexvar_epi8(windows, window(rest));
        rest = rest.get(width as usize..).unwrap_or_default();
        bytemuck::cast(_mm512_add_epi64(_mm512_and_si512(_mm512_srlv_epi64(words, shifts), mask), base))
    };
    let (groups, last) = out.as_chunks_mut::<8>();
    for group in groups {
        *group = take();
    }
    if !last.is_empty() {
        last.copy_from_slice(&take()[..last.len()]);
    }
}

/// The first 64 of `bytes`, nought where there are no more.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,bmi2")]
fn window(bytes: &[u8]) -> __m512i {
    match bytes.first_chunk::<{ linear::WINDOW }>() {
        Some(window) => bytemuck::cast(*window),
        None => {
            let there = _bzhi_u64(u64::MAX, bytes.len() as u32);
            // SAFETY: less than 64 bytes are there, and the mask has one bit for each of them: no other is read.
            unsafe { _mm512_maskz_loadu_epi8(there, bytes.as_ptr().cast()) }
        }
    }
}

#[target_feature(enable = "avx512f,popcnt")]
pub(super) fn spread_avx512(bits: &Bits, len: usize, out: &mut [u64]) {
    places::spread_runs_by(bits, len, out, |ranks, values| {
        let ranks = _mm512_cvtepu8_epi64(_mm_cvtsi64_si128(i64::from_le_bytes(*ranks)));
        bytemuck::cast(_mm512_permutexvar_epi64(ranks, bytemuck::cast(*values)))
    });
}
