//! Windows for stores that have none of their own: made of the samples that a range gives.

use crate::store::Error;

/// What `of` makes of each window of each of these series, of which `range` gives the samples in time order.
pub(super) fn windows_of(
    series: &[u32],
    every_ns: i64,
    of: fn(&mut dyn Iterator<Item = f64>) -> f64,
    mut range: impl FnMut(u32) -> Result<Vec<(i64, f64)>, Error>,
) -> Result<Vec<(u32, i64, f64)>, Error> {
    let mut found = Vec::new();
    for &one in series {
        windows(range(one)?, every_ns, |window, values| found.push((one, window, of(values))));
    }
    Ok(found)
}

fn windows(
    samples: impl IntoIterator<Item = (i64, f64)>,
    every_ns: i64,
    mut see: impl FnMut(i64, &mut dyn Iterator<Item = f64>),
) {
    let mut window: Option<(i64, Vec<f64>)> = None;
    for (at, value) in samples {
        let start = at.div_euclid(every_ns) * every_ns;
        match &mut window {
            Some((open, values)) if *open == start => values.push(value),
            _ => {
                if let Some((open, values)) = window.replace((start, vec![value])) {
                    see(open, &mut values.into_iter());
                }
            }
        }
    }
    if let Some((open, values)) = window {
        see(open, &mut values.into_iter());
    }
}

/// The greatest of a window.
pub(super) fn greatest(values: &mut dyn Iterator<Item = f64>) -> f64 {
    values.fold(f64::MIN, f64::max)
}

/// The mean of a window.
pub(super) fn mean(values: &mut dyn Iterator<Item = f64>) -> f64 {
    let (n, sum) = values.fold((0, 0.0), |(n, sum), value| (n + 1, sum + value));
    sum / f64::from(n)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_are_those_that_a_map_makes() {
        let samples: Vec<(i64, f64)> = (0..100).map(|i| (i * 7 - 50, f64::from(i as i32 % 13))).collect();
        let mut naive = std::collections::BTreeMap::<i64, Vec<f64>>::new();
        samples.iter().for_each(|&(at, value)| naive.entry(at.div_euclid(60) * 60).or_default().push(value));
        let mut found = Vec::new();
        windows(samples.iter().copied(), 60, |start, values| found.push((start, values.collect::<Vec<_>>())));
        let naive: Vec<_> = naive.into_iter().collect();
        assert_eq!(found, naive);
        let greatest_of = windows_of(&[7, 3], 60, greatest, |_| Ok(samples.clone())).unwrap();
        let of =
            |series| naive.iter().map(move |(at, all)| (series, *at, all.iter().copied().fold(f64::MIN, f64::max)));
        assert_eq!(greatest_of, of(7).chain(of(3)).collect::<Vec<_>>());
        assert_eq!(mean(&mut [1.0, 2.0, 6.0].into_iter()), 3.0);
        assert_eq!(greatest(&mut [1.0, 6.0, 2.0].into_iter()), 6.0);
    }
}
