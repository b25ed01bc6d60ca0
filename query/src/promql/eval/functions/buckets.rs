//! Quantiles and fractions of classic histograms: counts below bounds.

/// How many observations were at or below a bound.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Bucket {
    pub(super) bound: f64,
    pub(super) count: f64,
}

/// What had to be mended, because counts fell from one bound to the next.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Mended {
    pub(super) bucket_min: f64,
    pub(super) bucket_max: f64,
    pub(super) diff_max: f64,
}

/// Counts that differ by less, relative to themselves, are the same but for rounding.
const TOLERANCE: f64 = 1e-12;

/// Sorts by bound and adds up equal bounds. `false` if observations are missing at the top.
fn prepare(buckets: &mut Vec<Bucket>) -> bool {
    buckets.sort_by(|a, b| a.bound.total_cmp(&b.bound));
    if buckets.last().is_none_or(|b| b.bound != f64::INFINITY) {
        return false;
    }
    buckets.dedup_by(|next, kept| {
        let same = next.bound == kept.bound;
        if same {
            kept.count += next.count;
        }
        same
    });
    true
}

/// The value below which `q` of the observations lie, spread evenly within each bucket.
pub(super) fn quantile(q: f64, buckets: &mut Vec<Bucket>) -> (f64, Option<Mended>) {
    if q.is_nan() {
        return (f64::NAN, None);
    }
    if q < 0.0 {
        return (f64::NEG_INFINITY, None);
    }
    if q > 1.0 {
        return (f64::INFINITY, None);
    }
    if !prepare(buckets) {
        return (f64::NAN, None);
    }
    let mended = make_monotonic(buckets);
    let top = buckets.len() - 1;
    let all = buckets[top].count;
    if top == 0 || all == 0.0 {
        return (f64::NAN, mended);
    }
    let mut rank = q * all;
    // A NaN count is nowhere above the rank.
    let at = buckets[..top].partition_point(|b| b.count.is_nan() || b.count < rank);
    if at == top {
        return (buckets[top - 1].bound, mended);
    }
    if at == 0 && buckets[0].bound <= 0.0 {
        return (buckets[0].bound, mended);
    }
    let (mut low, mut count) = (0.0, buckets[at].count);
    if let Some(below) = at.checked_sub(1).map(|i| buckets[i]) {
        low = below.bound;
        count -= below.count;
        rank -= below.count;
    }
    (low + (buckets[at].bound - low) * (rank / count), mended)
}

fn make_monotonic(buckets: &mut [Bucket]) -> Option<Mended> {
    let mut mended: Option<Mended> = None;
    let mut before = buckets[0].count;
    for bucket in &mut buckets[1..] {
        let count = bucket.count;
        if count == before {
            continue;
        }
        if nearly(before, count) {
            bucket.count = before;
        } else if count < before {
            bucket.count = before;
            let (bound, diff) = (bucket.bound, before - count);
            let so_far = mended.unwrap_or(Mended { bucket_min: bound, bucket_max: bound, diff_max: diff });
            mended = Some(Mended {
                bucket_min: so_far.bucket_min.min(bound),
                bucket_max: so_far.bucket_max.max(bound),
                diff_max: so_far.diff_max.max(diff),
            });
        } else {
            before = count;
        }
    }
    mended
}

/// Equal but for rounding. Near zero nothing is.
fn nearly(a: f64, b: f64) -> bool {
    if a.is_nan() && b.is_nan() || a == b {
        return true;
    }
    let (sum, diff) = (a.abs() + b.abs(), (a - b).abs());
    if a == 0.0 || b == 0.0 || sum < f64::MIN_POSITIVE {
        return diff < TOLERANCE * f64::MIN_POSITIVE;
    }
    diff / sum.min(f64::MAX) < TOLERANCE
}

/// The part of the observations between two values.
pub(super) fn fraction(lower: f64, upper: f64, buckets: &mut Vec<Bucket>) -> f64 {
    if !prepare(buckets) {
        return f64::NAN;
    }
    let all = buckets[buckets.len() - 1].count;
    if all == 0.0 || lower.is_nan() || upper.is_nan() {
        return f64::NAN;
    }
    if lower >= upper {
        return 0.0;
    }
    (rank_of(upper, buckets, all) - rank_of(lower, buckets, all)) / all
}

/// How many observations lie below `value`.
fn rank_of(value: f64, buckets: &[Bucket], all: f64) -> f64 {
    let mut low = if buckets[0].bound <= 0.0 { f64::NEG_INFINITY } else { 0.0 };
    let mut rank = 0.0;
    for bucket in buckets {
        if low >= value {
            break;
        }
        if bucket.bound > value {
            // Nothing can be said within a bucket that has no end.
            rank = match low == f64::NEG_INFINITY {
                true => bucket.count,
                false => rank + (bucket.count - rank) * (value - low) / (bucket.bound - low),
            };
            return if rank > all { all } else { rank };
        }
        (low, rank) = (bucket.bound, bucket.count);
    }
    if low >= value && rank <= all { rank } else { all }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn buckets(pairs: &[(f64, f64)]) -> Vec<Bucket> {
        pairs.iter().map(|&(bound, count)| Bucket { bound, count }).collect()
    }

    #[test]
    fn quantiles_are_spread_evenly_within_a_bucket() {
        let data = [(f64::INFINITY, 10.0), (1.0, 5.0), (2.0, 10.0)];
        assert_eq!(quantile(0.25, &mut buckets(&data)).0, 0.5);
        assert_eq!(quantile(0.75, &mut buckets(&data)).0, 1.5);
        assert_eq!(quantile(1.0, &mut buckets(&data)).0, 2.0);
        assert!(quantile(0.5, &mut buckets(&data[1..])).0.is_nan());
        assert!(quantile(0.5, &mut Vec::new()).0.is_nan());
    }

    #[test]
    fn falling_counts_are_mended_and_reported() {
        let data = [(1.0, 5.0), (2.0, 3.0), (4.0, 2.0), (f64::INFINITY, 10.0)];
        let (_, mended) = quantile(0.5, &mut buckets(&data));
        assert_eq!(mended, Some(Mended { bucket_min: 2.0, bucket_max: 4.0, diff_max: 3.0 }));
        let data = [(1.0, 5.0), (2.0, 5.0 - 1e-14), (f64::INFINITY, 5.0)];
        assert_eq!(quantile(0.5, &mut buckets(&data)).1, None);
    }

    #[test]
    fn fractions_lie_between_bounds() {
        let data = [(1.0, 5.0), (2.0, 10.0), (f64::INFINITY, 20.0)];
        assert_eq!(fraction(0.0, 1.0, &mut buckets(&data)), 0.25);
        assert_eq!(fraction(0.5, 1.5, &mut buckets(&data)), 0.25);
        assert_eq!(fraction(f64::NEG_INFINITY, f64::INFINITY, &mut buckets(&data)), 1.0);
        assert_eq!(fraction(2.0, 1.0, &mut buckets(&data)), 0.0);
        assert_eq!(fraction(0.0, 5.0, &mut buckets(&data)), 0.5);
    }
}
