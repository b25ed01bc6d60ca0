//! What one collection found.

use std::collections::HashSet;
use std::fmt::Display;

use crate::exposition::write_series;

/// The type of a metric that only grows.
pub(super) const COUNTER: &str = "counter";
/// The type of a metric that goes up and down.
pub(super) const GAUGE: &str = "gauge";
/// The type of a metric whose kind the kernel does not tell.
pub(super) const UNTYPED: &str = "unknown";

/// Samples of one moment, each under the text that names its series.
///
/// The buffers are kept from one collection to the next; descriptions are made once for
/// each metric.
#[derive(Debug, Default)]
pub struct Readings {
    text: String,
    samples: Vec<(usize, f64)>,
    described: HashSet<String>,
    fresh: Vec<Description>,
}

/// HELP and TYPE of a metric.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Description {
    /// The metric's name.
    pub metric: String,
    /// `counter`, `gauge` or `unknown`.
    pub kind: &'static str,
    /// One sentence on what it means.
    pub help: String,
}

impl Readings {
    /// Forgets the samples, not which metrics were described.
    pub fn clear(&mut self) {
        self.text.clear();
        self.samples.clear();
    }

    /// Adds a sample; `help` is only rendered for a metric not seen before.
    pub fn put(&mut self, metric: &str, kind: &'static str, help: impl Display, labels: &[(&str, &str)], value: f64) {
        if !self.described.contains(metric) {
            self.described.insert(metric.to_owned());
            self.fresh.push(Description { metric: metric.to_owned(), kind, help: help.to_string() });
        }
        write_series(&mut self.text, metric, labels.iter().copied());
        self.samples.push((self.text.len(), value));
    }

    /// Each sample's series, as the text format writes it, and its value.
    pub fn iter(&self) -> impl Iterator<Item = (&str, f64)> {
        let mut start = 0;
        self.samples.iter().map(move |&(end, value)| {
            let series = &self.text[start..end];
            start = end;
            (series, value)
        })
    }

    /// How many samples there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.samples.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.samples.is_empty()
    }

    /// Hands out the descriptions that came up since the last call.
    pub fn take_descriptions(&mut self) -> Vec<Description> {
        std::mem::take(&mut self.fresh)
    }

    #[cfg(test)]
    pub(super) fn value(&self, series: &str) -> Option<f64> {
        self.iter().find(|&(s, _)| s == series).map(|(_, v)| v)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_keep_their_order_and_metrics_are_described_once() {
        let mut readings = Readings::default();
        for _ in 0..2 {
            readings.clear();
            readings.put("a_total", COUNTER, "A.", &[("x", "q\"")], 1.0);
            readings.put("b", GAUGE, format_args!("B {}", 1), &[], 2.0);
            let all: Vec<_> = readings.iter().collect();
            assert_eq!(all, [(r#"a_total{x="q\""}"#, 1.0), ("b", 2.0)]);
        }
        let described = readings.take_descriptions();
        assert_eq!(described.len(), 2);
        assert_eq!(described[1], Description { metric: "b".into(), kind: GAUGE, help: "B 1".into() });
        assert!(readings.take_descriptions().is_empty());
    }
}
