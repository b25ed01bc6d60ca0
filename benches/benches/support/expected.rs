//! What questions must be answered with: counted from samples that are generated a second time, by the shortest way.

use std::collections::BTreeMap;

use tidegauge_bench::workload::{METRICS, Part, Workload};

pub(crate) const NS_PER_S: i64 = 1_000_000_000;
const RANGE_NS: i64 = 300 * NS_PER_S;

/// Series by what tells them apart, each as (time, value).
pub(crate) type Answer = BTreeMap<String, Vec<(i64, f64)>>;
type Points = Vec<(i64, f64)>;

/// All samples of a workload, series by series.
pub(crate) struct Generated {
    slots: Vec<Points>,
    hosts: Vec<String>,
    regions: Vec<String>,
}

impl Generated {
    pub(crate) fn new(workload: &Workload) -> Self {
        let mut slots = vec![Points::new(); workload.slots() as usize];
        workload.generate(&Part::split(workload, 1, 1_000).unwrap()[0], |cell| {
            let at = workload.timestamp_ns(u64::from(cell.tick));
            slots[cell.slot as usize].push((at, workload.value(cell.scaled)));
        });
        let label = |slot, name| workload.labels(slot).get(name).unwrap().to_owned();
        let all = (0..u64::from(workload.slots())).step_by(METRICS as usize);
        let hosts = all.clone().map(|slot| label(slot, "host")).collect();
        Self { slots, hosts, regions: all.map(|slot| label(slot, "region")).collect() }
    }

    /// Of all values, in whole hundredths: the order of adding makes no difference.
    pub(crate) fn sum(&self) -> f64 {
        let hundredths = self.slots.iter().flatten().map(|one| (one.1 * 100.0).round() as i64);
        hundredths.sum::<i64>() as f64 / 100.0
    }

    pub(crate) fn last(&self, slot: usize) -> (i64, f64) {
        self.slots[slot].iter().copied().max_by_key(|one| one.0).unwrap()
    }

    /// The mean of all metrics of a host, window by window.
    pub(crate) fn means(&self, every: i64) -> Answer {
        let mean = |metrics: &[Points]| {
            let mut windows = BTreeMap::<i64, Vec<f64>>::new();
            for &(at, value) in metrics.iter().flatten() {
                windows.entry(at.div_euclid(every) * every).or_default().push(value);
            }
            windows.into_iter().map(|(at, all)| (at, all.iter().sum::<f64>() / all.len() as f64)).collect()
        };
        self.hosts.iter().cloned().zip(self.slots.chunks(METRICS as usize).map(mean)).collect()
    }

    /// Of each host the metric that comes at this place.
    fn metric(&self, place: usize) -> impl Iterator<Item = &Points> {
        self.slots.iter().skip(place).step_by(METRICS as usize)
    }

    /// The answer to an expression, by its name in the bench; `topk` is judged by [`Self::assert_topk`].
    pub(crate) fn promql(&self, name: &str, steps: &[i64]) -> Answer {
        let over = |of: fn(&[(i64, f64)], i64) -> f64| -> Answer {
            let series = self.metric(0).map(|points| {
                let window = |at: i64| points.iter().copied().filter(move |p| p.0 > at - RANGE_NS && p.0 <= at);
                steps.iter().map(|&at| (at, of(&window(at).collect::<Points>(), at))).collect()
            });
            self.hosts.iter().cloned().zip(series).collect()
        };
        match name {
            "rate_over_400_series" => over(rate),
            "avg_over_time" => over(|all, _| all.iter().map(|p| p.1).sum::<f64>() / all.len() as f64),
            "max_over_time" => over(|all, _| all.iter().map(|p| p.1).fold(f64::MIN, f64::max)),
            "quantile_over_time" => over(|all, _| quantile(0.9, all)),
            "deriv" => over(|all, _| slope(all)),
            "sum_by_region_of_rate" => self.by_region(&over(rate)),
            "binary_of_two_metrics" => {
                let both = self.metric(0).zip(self.metric(1));
                let ratio = |(one, other): (&Points, &Points)| {
                    steps.iter().map(|&at| (at, value_at(one, at) / value_at(other, at))).collect()
                };
                self.hosts.iter().cloned().zip(both.map(ratio)).collect()
            }
            _ => Answer::new(),
        }
    }

    fn by_region(&self, by_host: &Answer) -> Answer {
        let mut sums = BTreeMap::<&str, BTreeMap<i64, f64>>::new();
        for (host, region) in self.hosts.iter().zip(&self.regions) {
            let sums = sums.entry(region).or_default();
            by_host[host].iter().for_each(|&(at, value)| *sums.entry(at).or_default() += value);
        }
        sums.into_iter().map(|(region, sums)| (region.to_owned(), sums.into_iter().collect())).collect()
    }

    /// At each step the greatest `k` values, each of a series that has it. Of equal ones any may be left out.
    pub(crate) fn assert_topk(&self, found: &Answer, k: usize, steps: &[i64]) {
        for &at in steps {
            let mut all: Vec<f64> = self.metric(0).map(|points| value_at(points, at)).collect();
            all.sort_by(|a, b| b.total_cmp(a));
            let mut told = Vec::new();
            for (host, points) in found {
                let of_host = || self.metric(0).nth(self.hosts.iter().position(|one| one == host).unwrap()).unwrap();
                for &(_, value) in points.iter().filter(|point| point.0 == at) {
                    assert_eq!(value, value_at(of_host(), at), "{host} at {at}");
                    told.push(value);
                }
            }
            told.sort_by(|a, b| b.total_cmp(a));
            assert_eq!(told, all[..k], "at {at}");
        }
        let points: usize = found.values().map(Vec::len).sum();
        assert_eq!(points, k * steps.len(), "at no other times");
    }
}

fn value_at(points: &[(i64, f64)], at: i64) -> f64 {
    points.iter().rev().find(|point| point.0 <= at).unwrap().1
}

/// A counter's, as Prometheus extrapolates it to the ends of the range.
fn rate(all: &[(i64, f64)], at: i64) -> f64 {
    let seconds = |ns: i64| ns as f64 / NS_PER_S as f64;
    let (first, last) = (all[0], all[all.len() - 1]);
    let resets: f64 = all.windows(2).filter(|w| w[1].1 < w[0].1).map(|w| w[0].1).sum();
    let increase = last.1 - first.1 + resets;
    let sampled = seconds(last.0 - first.0);
    let between = sampled / (all.len() - 1) as f64;
    let ahead = |gap: f64| if gap < between * 1.1 { gap } else { between / 2.0 };
    let mut before = ahead(seconds(first.0 - (at - RANGE_NS)));
    if increase > 0.0 {
        // It cannot have been below nought.
        before = before.min(sampled * first.1 / increase);
    }
    increase * (sampled + before + ahead(seconds(at - last.0))) / sampled / seconds(RANGE_NS)
}

fn quantile(q: f64, all: &[(i64, f64)]) -> f64 {
    let mut values: Vec<f64> = all.iter().map(|point| point.1).collect();
    values.sort_by(f64::total_cmp);
    let rank = q * (values.len() - 1) as f64;
    let below = rank.floor() as usize;
    let above = (below + 1).min(values.len() - 1);
    values[below] + (values[above] - values[below]) * rank.fract()
}

/// Least squares, by the means.
fn slope(all: &[(i64, f64)]) -> f64 {
    let n = all.len() as f64;
    let x = |at: i64| (at - all[0].0) as f64 / NS_PER_S as f64;
    let (mean_x, mean_y) = (all.iter().map(|p| x(p.0)).sum::<f64>() / n, all.iter().map(|p| p.1).sum::<f64>() / n);
    let both: f64 = all.iter().map(|p| (x(p.0) - mean_x) * (p.1 - mean_y)).sum();
    both / all.iter().map(|p| (x(p.0) - mean_x).powi(2)).sum::<f64>()
}

/// The same series, times and values; the order in which sums were taken may differ.
pub(crate) fn assert_same(what: &str, found: &Answer, right: &Answer) {
    assert!(found.keys().eq(right.keys()), "{what}: {} series, not {}", found.len(), right.len());
    for (key, points) in found {
        let right = &right[key];
        assert_eq!(points.len(), right.len(), "{what}, {key}");
        for (&(at, value), &(at_right, value_right)) in points.iter().zip(right) {
            let same = value == value_right
                || (value.is_nan() && value_right.is_nan())
                || (value - value_right).abs() <= 1e-9 * value_right.abs().max(1.0);
            assert!(at == at_right && same, "{what}, {key}: {value} at {at}, not {value_right} at {at_right}");
        }
    }
}
