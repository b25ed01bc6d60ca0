//! Loops over columns of floats that sum, compare and look for NaN, as fast as the machine can.
//!
//! A column is taken in rows of [`LANES`] values; each lane has a result of its own, so that the
//! processor works on several at once, and which lane a value belongs to depends on its place
//! alone. The loops are plain and safe; `kernel` has the same for wider vector units.

mod kernel;

pub use kernel::{add, add_compensated, greatest, has_nan, least};

/// Values side by side.
pub const LANES: usize = 8;

/// One value for each lane.
pub type Row = [f64; LANES];

/// Adds rows to sums, and what the roundings lost to `lost`, by Knuth's two-sum: it is exact
/// whichever of the two summands is the greater, and needs no branch.
#[inline(always)]
fn add_rows(sums: &mut Row, lost: &mut Row, rows: &[Row]) {
    let (mut sum, mut loss) = (*sums, *lost);
    for row in rows {
        for i in 0..LANES {
            let next = sum[i] + row[i];
            let part = next - sum[i];
            loss[i] += (sum[i] - (next - part)) + (row[i] - part);
            sum[i] = next;
        }
    }
    (*sums, *lost) = (sum, loss);
}

/// Adds rows to sums, each row to one of four that take turns: a single one would wait for itself.
#[inline(always)]
fn add_plain_rows(sums: &mut Row, rows: &[Row]) {
    let mut four = [*sums, [0.0; LANES], [0.0; LANES], [0.0; LANES]];
    for rows in rows.chunks(4) {
        for (sum, row) in four.iter_mut().zip(rows) {
            for i in 0..LANES {
                sum[i] += row[i];
            }
        }
    }
    let [a, b, c, d] = four;
    for i in 0..LANES {
        sums[i] = (a[i] + b[i]) + (c[i] + d[i]);
    }
}

/// Keeps the greatest value of each lane. A comparison with NaN is false, so NaN never wins.
#[inline(always)]
fn greatest_rows(best: &mut Row, rows: &[Row]) {
    let mut kept = *best;
    for row in rows {
        for i in 0..LANES {
            kept[i] = if row[i] > kept[i] { row[i] } else { kept[i] };
        }
    }
    *best = kept;
}

/// Keeps the least value of each lane.
#[inline(always)]
fn least_rows(best: &mut Row, rows: &[Row]) {
    let mut kept = *best;
    for row in rows {
        for i in 0..LANES {
            kept[i] = if row[i] < kept[i] { row[i] } else { kept[i] };
        }
    }
    *best = kept;
}

/// Whether a value is NaN.
#[inline(always)]
fn any_nan(values: &[f64]) -> bool {
    let (rows, rest) = values.as_chunks::<LANES>();
    let mut found = [0u64; LANES];
    for row in rows {
        for i in 0..LANES {
            found[i] |= u64::from(row[i].is_nan());
        }
    }
    found.iter().any(|&nan| nan != 0) || rest.iter().any(|value| value.is_nan())
}
