//! The loops written out for x86: the compiler finds gathers and halves of vectors in the plain ones, and makes several
//! times as many instructions of them.

use std::arch::x86_64::*;

use super::super::{LANES, Row, any_nan};

#[target_feature(enable = "avx512f")]
pub(super) fn add_compensated_avx512(sums: &mut Row, lost: &mut Row, rows: &[Row]) {
    let (mut sum, mut loss): (__m512d, __m512d) = (bytemuck::cast(*sums), bytemuck::cast(*lost));
    for row in rows {
        let row: __m512d = bytemuck::cast(*row);
        let next = _mm512_add_pd(sum, row);
        let part = _mm512_sub_pd(next, sum);
        let lost_of_sum = _mm512_sub_pd(sum, _mm512_sub_pd(next, part));
        loss = _mm512_add_pd(loss, _mm512_add_pd(lost_of_sum, _mm512_sub_pd(row, part)));
        sum = next;
    }
    (*sums, *lost) = (bytemuck::cast(sum), bytemuck::cast(loss));
}

#[target_feature(enable = "avx2")]
pub(super) fn add_compensated_avx2(sums: &mut Row, lost: &mut Row, rows: &[Row]) {
    let (mut sum, mut loss): ([__m256d; 2], [__m256d; 2]) = (bytemuck::cast(*sums), bytemuck::cast(*lost));
    for row in rows {
        let row: [__m256d; 2] = bytemuck::cast(*row);
        for half in 0..2 {
            let next = _mm256_add_pd(sum[half], row[half]);
            let part = _mm256_sub_pd(next, sum[half]);
            let lost_of_sum = _mm256_sub_pd(sum[half], _mm256_sub_pd(next, part));
            loss[half] = _mm256_add_pd(loss[half], _mm256_add_pd(lost_of_sum, _mm256_sub_pd(row[half], part)));
            sum[half] = next;
        }
    }
    (*sums, *lost) = (bytemuck::cast(sum), bytemuck::cast(loss));
}

#[target_feature(enable = "avx512f")]
pub(super) fn add_avx512(sums: &mut Row, rows: &[Row]) {
    // Each row is added in its turn, so that what comes out is what the plain loop answers.
    let mut sum: __m512d = bytemuck::cast(*sums);
    for row in rows {
        sum = _mm512_add_pd(sum, bytemuck::cast(*row));
    }
    *sums = bytemuck::cast(sum);
}

#[target_feature(enable = "avx2")]
pub(super) fn add_avx2(sums: &mut Row, rows: &[Row]) {
    let mut sum: [__m256d; 2] = bytemuck::cast(*sums);
    for row in rows {
        let row: [__m256d; 2] = bytemuck::cast(*row);
        sum = [_mm256_add_pd(sum[0], row[0]), _mm256_add_pd(sum[1], row[1])];
    }
    *sums = bytemuck::cast(sum);
}

/// The machine's maximum answers the second of its operands where one of them is NaN, or both are equal.
#[target_feature(enable = "avx512f")]
pub(super) fn greatest_avx512(best: &mut Row, rows: &[Row]) {
    let mut kept: __m512d = bytemuck::cast(*best);
    for row in rows {
        kept = _mm512_max_pd(bytemuck::cast(*row), kept);
    }
    *best = bytemuck::cast(kept);
}

#[target_feature(enable = "avx2")]
pub(super) fn greatest_avx2(best: &mut Row, rows: &[Row]) {
    let mut kept: [__m256d; 2] = bytemuck::cast(*best);
    for row in rows {
        let row: [__m256d; 2] = bytemuck::cast(*row);
        kept = [_mm256_max_pd(row[0], kept[0]), _mm256_max_pd(row[1], kept[1])];
    }
    *best = bytemuck::cast(kept);
}

#[target_feature(enable = "avx512f")]
pub(super) fn least_avx512(best: &mut Row, rows: &[Row]) {
    let mut kept: __m512d = bytemuck::cast(*best);
    for row in rows {
        kept = _mm512_min_pd(bytemuck::cast(*row), kept);
    }
    *best = bytemuck::cast(kept);
}

#[target_feature(enable = "avx2")]
pub(super) fn least_avx2(best: &mut Row, rows: &[Row]) {
    let mut kept: [__m256d; 2] = bytemuck::cast(*best);
    for row in rows {
        let row: [__m256d; 2] = bytemuck::cast(*row);
        kept = [_mm256_min_pd(row[0], kept[0]), _mm256_min_pd(row[1], kept[1])];
    }
    *best = bytemuck::cast(kept);
}

/// Two rows a comparison: it tells whether either of two values is NaN.
#[target_feature(enable = "avx512f")]
pub(super) fn has_nan_avx512(values: &[f64]) -> bool {
    let (pairs, rest) = values.as_chunks::<{ 2 * LANES }>();
    let mut found = 0;
    for pair in pairs {
        let [a, b]: [__m512d; 2] = bytemuck::cast(*pair);
        found |= _mm512_cmp_pd_mask::<_CMP_UNORD_Q>(a, b);
    }
    found != 0 || any_nan(rest)
}

#[target_feature(enable = "avx2")]
pub(super) fn has_nan_avx2(values: &[f64]) -> bool {
    let (pairs, rest) = values.as_chunks::<{ 2 * LANES }>();
    let mut found = _mm256_setzero_pd();
    for pair in pairs {
        let [a, b, c, d]: [__m256d; 4] = bytemuck::cast(*pair);
        let (first, second) = (_mm256_cmp_pd::<_CMP_UNORD_Q>(a, b), _mm256_cmp_pd::<_CMP_UNORD_Q>(c, d));
        found = _mm256_or_pd(found, _mm256_or_pd(first, second));
    }
    _mm256_movemask_pd(found) != 0 || any_nan(rest)
}
