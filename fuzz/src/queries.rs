//! What queries are asked of, and what is asked: see `fuzz_targets/promql.rs` and `fuzz_targets/http.rs`.

use tidegauge_storage::model::{Labels, Sample, Timestamp};
use tidegauge_storage::source::VecSource;

/// Seconds of the first sample.
pub const BEGIN: i64 = 1_700_000_000;

/// A few series with gaps, staleness markers, resets and odd values; of counters, of histograms, of facts.
#[must_use]
pub fn series() -> Vec<(Labels, Vec<Sample>)> {
    let mut all = Vec::new();
    let mut add = |pairs: &[(&str, &str)], value: &dyn Fn(i64) -> Option<f64>| {
        let mut pairs = pairs.to_vec();
        pairs.sort_unstable();
        let at = |i: i64| Timestamp::from_nanos((BEGIN + 15 * i) * 1_000_000_000);
        let samples = (0..40).filter_map(|i| value(i).map(|value| Sample { timestamp: at(i), value }));
        all.push((Labels::from_sorted(&pairs), samples.collect()));
    };
    let stale = f64::from_bits(0x7ff0_0000_0000_0002);
    let odd = [0.0, -0.0, 1.5, f64::NAN, f64::INFINITY, f64::NEG_INFINITY, f64::MAX, 5e-324, -3.0];
    for host in ["a", "b", "c"] {
        add(&[("__name__", "c_total"), ("host", host), ("job", "j")], &|i| Some((i % 17 * 3) as f64));
        add(&[("__name__", "g"), ("host", host), ("job", "j")], &|i| Some((i * i) as f64 / 7.0));
        add(&[("__name__", "o"), ("host", host)], &|i| Some(odd[(i as usize + host.len()) % odd.len()]));
        add(&[("__name__", "target_info"), ("host", host), ("job", "j"), ("instance", "i")], &|_| Some(1.0));
    }
    for (bound, share) in [("0.1", 2.0), ("0.5", 5.0), ("1", 4.0), ("+Inf", 9.0)] {
        add(&[("__name__", "h_bucket"), ("le", bound), ("job", "j")], &|i| Some(share * i as f64));
    }
    add(&[("__name__", "s")], &|i| match i % 8 {
        0..4 => Some(i as f64),
        4 => Some(stale),
        _ => None,
    });
    add(&[("__name__", "a.b"), ("x y", "\"\\\n")], &|i| Some(i as f64));
    all
}

/// The same as a source.
#[must_use]
pub fn source() -> VecSource {
    let mut source = VecSource::new();
    series().into_iter().for_each(|(labels, samples)| source.insert(&labels, samples));
    source
}

/// Every kind of expression, to start from.
pub const EXPRESSIONS: &[&str] = &[
    "g",
    "{\"a.b\"}",
    "{__name__=~\"g|o\",host!~\"a.*\"}",
    "g offset -1m @ end()",
    "g[1m]",
    "-g ^ 2 ^ 3",
    "sum by (host) (rate(c_total[2m])) > bool 0.5",
    "histogram_quantile(0.9, sum by (le) (rate(h_bucket[5m])))",
    "avg_over_time(rate(c_total[1m])[5m:30s] offset 15s)",
    "g * on (host) group_left (job) g",
    "g + on (host) fill_left (1) fill_right (2) o",
    "topk(2, g) or bottomk without (job) (1, o) unless s",
    "quantile(0.5, g) and on () vector(1)",
    "count_values(\"v\", g)",
    "limitk(2, g)",
    "limit_ratio(-0.5, g)",
    "label_replace(g, \"x\", \"$1-${2}\", \"host\", \"(.)(.*)\")",
    "label_join(g, \"x\", \"-\", \"host\", \"job\")",
    "absent(nope{a=\"b\"})",
    "absent_over_time(nope[5m])",
    "info(c_total, {instance=~\".+\"})",
    "rate(c_total[5m] anchored)",
    "g smoothed",
    "predict_linear(g[5m], 3600)",
    "deriv(g[step() + 1m])",
    "double_exponential_smoothing(g[5m], 0.5, 0.5)",
    "quantile_over_time(0.5, g[5m])",
    "holt_winters(g[5m],1,1)",
    "clamp(o, -1, 1)",
    "round(g, 0.1)",
    "sort_by_label(g, \"host\")",
    "scalar(s) + time()",
    "day_of_week()",
    "timestamp(g)",
    "0x1F + 1_000 + 1e3 + 5m + Inf",
    "\"a\\x41\\u00e9\"",
    "`raw`",
    "'single'",
    "# only",
    "stddev_over_time(o[5m]) atan2 mad_over_time(g[max_of(1m, 30s)])",
    "max_of(start(), end() - range())",
    "histogram_fraction(0, 0.5, h_bucket)",
    "histogram_quantiles(h_bucket, \"q\", 0.5, 0.9)",
    "g </ 5",
    "g >/ 5",
];
