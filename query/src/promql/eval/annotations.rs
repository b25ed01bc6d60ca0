//! Remarks on an answer: what a careful reader of it should know.

use std::collections::BTreeMap;

use super::civil::rfc3339;
use crate::promql::parse::{Span, line_and_column};

/// Remarks on an answer, each once.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Annotations {
    warnings: BTreeMap<String, Remark>,
    infos: BTreeMap<String, Remark>,
}

#[derive(Clone, Debug, PartialEq)]
struct Remark {
    span: Span,
    forced: Option<Forced>,
}

/// What [`histogram_quantile`](super::functions) had to mend, over all steps.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Forced {
    pub(super) bucket_min: f64,
    pub(super) bucket_max: f64,
    pub(super) diff_max: f64,
    pub(super) samples: u64,
    /// Seconds since the Unix epoch.
    pub(super) first: i64,
    pub(super) last: i64,
}

impl Forced {
    fn merge(self, other: Self) -> Self {
        Self {
            bucket_min: self.bucket_min.min(other.bucket_min),
            bucket_max: self.bucket_max.max(other.bucket_max),
            diff_max: self.diff_max.max(other.diff_max),
            samples: self.samples + other.samples,
            first: self.first.min(other.first),
            last: self.last.max(other.last),
        }
    }
}

impl Annotations {
    /// Whether there is no remark.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.warnings.is_empty() && self.infos.is_empty()
    }

    /// The warnings, with the place in `query`'s text each is about.
    #[must_use]
    pub fn warnings(&self, query: &str) -> Vec<String> {
        self.warnings.iter().map(|(text, remark)| shown(text, remark, query)).collect()
    }

    /// The infos, with the place in `query`'s text each is about.
    #[must_use]
    pub fn infos(&self, query: &str) -> Vec<String> {
        self.infos.iter().map(|(text, remark)| shown(text, remark, query)).collect()
    }

    pub(super) fn warn(&mut self, span: Span, text: impl AsRef<str>) {
        self.warnings.insert(format!("PromQL warning: {}", text.as_ref()), Remark { span, forced: None });
    }

    pub(super) fn info(&mut self, span: Span, text: impl AsRef<str>) {
        self.infos.insert(format!("PromQL info: {}", text.as_ref()), Remark { span, forced: None });
    }

    pub(super) fn forced_monotonic(&mut self, span: Span, metric: &str, forced: Forced) {
        let mut text = "PromQL info: input to histogram_quantile needed to be fixed for monotonicity (see \
                        https://prometheus.io/docs/prometheus/latest/querying/functions/#histogram_quantile)"
            .to_owned();
        if !metric.is_empty() {
            text.push_str(&format!(" for metric name {metric:?}"));
        }
        let remark = self.infos.entry(text).or_insert(Remark { span, forced: None });
        remark.forced = Some(remark.forced.map_or(forced, |before| before.merge(forced)));
    }
}

fn shown(text: &str, remark: &Remark, query: &str) -> String {
    let (line, column) = line_and_column(query, remark.span.start);
    let detail = remark.forced.map_or_else(String::new, |f| {
        format!(
            ", from buckets {} to {}, with a max diff of {}, over {} samples from {} to {}",
            general(f.bucket_min),
            general(f.bucket_max),
            two_digits(f.diff_max),
            f.samples,
            rfc3339(f.first),
            rfc3339(f.last),
        )
    });
    format!("{text}{detail} ({line}:{column})")
}

/// A number as remarks show it: the fewest digits, an exponent for very large and very small ones.
pub(super) fn general(value: f64) -> String {
    if value.is_nan() || value.is_infinite() {
        return if value.is_nan() {
            "NaN"
        } else if value > 0.0 {
            "+Inf"
        } else {
            "-Inf"
        }
        .to_owned();
    }
    let scientific = format!("{value:e}");
    let exponent: i32 = scientific.split_once('e').and_then(|(_, e)| e.parse().ok()).unwrap_or(0);
    // As Go's %g has it.
    if (-4..6).contains(&exponent) { format!("{value}") } else { with_exponent(&scientific) }
}

/// At most two significant digits.
fn two_digits(value: f64) -> String {
    if !value.is_finite() || value == 0.0 {
        return general(value);
    }
    let scientific = format!("{value:.1e}");
    let rounded: f64 = scientific.parse().unwrap_or(value);
    let exponent = rounded.abs().log10().floor() as i32;
    if (-4..2).contains(&exponent) {
        return format!("{rounded}");
    }
    with_exponent(&format!("{rounded:e}"))
}

/// `1e5` as `1e+05`.
fn with_exponent(scientific: &str) -> String {
    match scientific.split_once('e') {
        Some((digits, exponent)) => {
            let exponent: i32 = exponent.parse().unwrap_or(0);
            let sign = if exponent < 0 { '-' } else { '+' };
            format!("{digits}e{sign}{:02}", exponent.abs())
        }
        None => scientific.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_remark_is_kept_once_and_shown_with_its_place() {
        let mut annotations = Annotations::default();
        annotations.warn(Span { start: 4, end: 5 }, "odd");
        annotations.warn(Span { start: 4, end: 5 }, "odd");
        assert_eq!(annotations.warnings("sum\n(x)"), ["PromQL warning: odd (2:1)"]);
        assert!(annotations.infos("").is_empty());
    }

    #[test]
    fn numbers_are_shown_with_few_digits() {
        assert_eq!(general(0.5), "0.5");
        assert_eq!(general(-1.1), "-1.1");
        assert_eq!(general(1e22), "1e+22");
        assert_eq!(general(999_999.0), "999999");
        assert_eq!(general(1e6), "1e+06");
        assert_eq!(general(1_700_003_600.0), "1.7000036e+09");
        assert_eq!(general(0.0001), "0.0001");
        assert_eq!(general(-0.00001), "-1e-05");
        assert_eq!(general(0.0), "0");
        assert_eq!(general(f64::NAN), "NaN");
        assert_eq!(two_digits(0.123), "0.12");
        assert_eq!(two_digits(1234.0), "1.2e+03");
    }
}
