//! Samples as keys and values: series and time in big-endian order, so that a series lies together in time order.

const KEY_BYTES: usize = 12;

pub(super) fn key(series: u32, timestamp_ns: i64) -> [u8; KEY_BYTES] {
    let mut key = [0; KEY_BYTES];
    key[..4].copy_from_slice(&series.to_be_bytes());
    // The sign turned over, so that times before 1970 come first.
    key[4..].copy_from_slice(&(timestamp_ns as u64 ^ 1 << 63).to_be_bytes());
    key
}

/// Series, time, value; `None` for what is no sample.
pub(super) fn sample(key: &[u8], value: &[u8]) -> Option<(u32, i64, f64)> {
    let series = u32::from_be_bytes(key.get(..4)?.try_into().ok()?);
    let at = u64::from_be_bytes(key.get(4..)?.try_into().ok()?) ^ 1 << 63;
    Some((series, at as i64, f64::from_le_bytes(value.try_into().ok()?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_ordered_as_series_and_times_are() {
        let all = [(0, i64::MIN), (0, -1), (0, 0), (0, 5), (1, -7), (u32::MAX, i64::MAX)];
        assert!(all.windows(2).all(|w| key(w[0].0, w[0].1) < key(w[1].0, w[1].1)));
        for (series, at) in all {
            assert_eq!(sample(&key(series, at), &1.5f64.to_le_bytes()), Some((series, at, 1.5)));
        }
        assert_eq!(sample(&[1, 2], &[0; 8]), None);
    }
}
