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
    let mut four = [bytemuck::cast(*sums), _mm512_setzero_pd(), _mm512_setzero_pd(), _mm512_setzero_pd()];
    let (fours, rest) = rows.as_chunks::<4>();
    for rows in fours {
        for (sum, row) in four.iter_mut().zip(rows) {
            *sum = _mm512_add_pd(*sum, bytemuck::cast(*row));
        }
    }
    for (sum, row) in four.iter_mut().zip(rest) {
        *sum = _mm512_add_pd(*sum, bytemuck::cast(*row));
    }
    let [a, b, c, d] = four;
    *sums = bytemuck::cast(_mm512_add_pd(_mm512_add_pd(a, b), _mm512_add_pd(c, d)));
}

#[target_feature(enable = "avx2")]
pub(super) fn add_avx2(sums: &mut Row, rows: &[Row]) {
    let zero = [_mm256_setzero_pd(); 2];
    let mut four: [[__m256d; 2]; 4] = [bytemuck::cast(*sums), zero, zero, zero];
    let add = |sum: &mut [__m256d; 2], row: &Row| {
        let row: [__m256d; 2] = bytemuck::cast(*row);
        *sum = [_mm256_add_pd(sum[0], row[0]), _mm256_add_pd(sum[1], row[1])];
    };
    let (fours, rest) = rows.as_chunks::<4>();
    for rows in fours {
        four.iter_mut().zip(rows).for_each(|(sum, row)| add(sum, row));
    }
    four.iter_mut().zip(rest).for_each(|(sum, row)| add(sum, row));
    let [a, b, c, d] = four;
    let sum = |half: usize| _mm256_add_pd(_mm256_add_pd(a[half], b[half]), _mm256_add_pd(c[half], d[half]));
    *sums = bytemuck::cast([sum(0), sum(1)]);
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
