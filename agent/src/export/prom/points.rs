//! The samples of several series together, time by time, and whether they are what their type says.

use tidegauge::query::{Cursor, Series};
use tidegauge::{Columns, Labels, METRIC_NAME, ReadError};

use super::super::{is_stale, next_columns};
use super::family::Kind;

/// Series that one histogram, summary or stateset may have: each is read beside the others.
pub(super) const PARTS_MAX: usize = 512;

/// What a series is to its family; in the order in which a point is written.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub(super) enum Role {
    /// A bucket, by its upper bound; a quantile.
    At(f64),
    /// The one value of a counter, an info, a state.
    Value,
    Count,
    Sum,
    Created,
}

impl Role {
    /// What the series `labels` is to the family called `family`, of the type `kind`. The error says why it is nothing.
    pub(super) fn of(labels: &Labels, family: &str, kind: Kind) -> Result<Self, &'static str> {
        let metric = labels.metric_name().unwrap_or_default();
        let bound = |label| labels.get(label).and_then(|text| text.parse::<f64>().ok()).filter(|bound| !bound.is_nan());
        // Others write it in one way only.
        let spelt = |label| labels.get(label).is_none_or(|text| text == "+Inf" || !text.to_lowercase().contains("inf"));
        match (metric.strip_prefix(family).unwrap_or_default(), kind) {
            ("_bucket", _) if spelt("le") => bound("le").map(Role::At).ok_or("a bucket's label `le` is no number"),
            ("_bucket", _) => Err("a bucket's label `le` is no number, nor +Inf"),
            ("", Kind::Summary) => {
                let quantile = bound("quantile").filter(|quantile| (0.0..=1.0).contains(quantile));
                quantile.map(Role::At).ok_or("a label `quantile` is no number from 0 to 1")
            }
            ("", Kind::StateSet) if labels.get(family).is_none() => Err("a state has no label of the metric's name"),
            ("_count" | "_gcount", _) => Ok(Role::Count),
            ("_sum" | "_gsum", _) => Ok(Role::Sum),
            ("_created", _) => Ok(Role::Created),
            _ => Ok(Role::Value),
        }
    }
}

/// The labels that all series of one histogram, summary, stateset or counter share.
pub(super) fn shared<'a>(labels: &'a Labels, family: &str, kind: Kind) -> Vec<(&'a str, &'a str)> {
    let metric = labels.metric_name().unwrap_or_default();
    let own = match (metric.strip_prefix(family).unwrap_or_default(), kind) {
        ("_bucket", _) => "le",
        ("", Kind::Summary) => "quantile",
        ("", Kind::StateSet) => family,
        _ => METRIC_NAME,
    };
    labels.iter().filter(|(name, _)| *name != METRIC_NAME && *name != own).collect()
}

/// A series that is read beside others.
struct Head<'a> {
    cursor: Cursor<'a>,
    columns: Columns,
    at: usize,
}

/// Walks over series side by side.
pub(super) struct Points<'a> {
    heads: Vec<Head<'a>>,
    without_stale: bool,
}

impl<'a> Points<'a> {
    pub(super) fn of(series: impl Iterator<Item = Series<'a>>, without_stale: bool) -> Self {
        let head = |series: Series<'a>| Head { cursor: series.cursor(), columns: Columns::default(), at: 0 };
        Self { heads: series.map(head).collect(), without_stale }
    }

    /// The samples of the next time, as (which series, value) in the order of the series. `None` behind the last.
    pub(super) fn next(&mut self, out: &mut Vec<(usize, f64)>) -> Result<Option<i64>, ReadError> {
        let mut first = None;
        for head in &mut self.heads {
            if head.at == head.columns.len() {
                head.at = 0;
                next_columns(&mut head.cursor, &mut head.columns, self.without_stale)?;
            }
            if let Some(&at) = head.columns.timestamps.get(head.at) {
                first = Some(first.map_or(at, |first: i64| first.min(at)));
            }
        }
        out.clear();
        let Some(first) = first else { return Ok(None) };
        for (nth, head) in self.heads.iter_mut().enumerate() {
            if head.columns.timestamps.get(head.at) == Some(&first) {
                out.push((nth, head.columns.values[head.at]));
                head.at += 1;
            }
        }
        Ok(Some(first))
    }
}

/// Whether the samples of one time are what OpenMetrics asks of the type. Staleness markers are not looked at.
pub(super) fn check(kind: Kind, point: &[(Role, f64)]) -> Result<(), &'static str> {
    let fresh = || point.iter().copied().filter(|(_, value)| !is_stale(*value));
    let one = |wanted: Role| fresh().find(|(role, _)| *role == wanted).map(|(_, value)| value);
    let is_count = |value: f64| value >= 0.0 && value.is_finite() && value.fract() == 0.0;
    let (count, sum) = (one(Role::Count), one(Role::Sum));
    if fresh().next().is_none() {
        return Ok(());
    }
    if count.is_some_and(|count| !is_count(count)) {
        return Err("a count is no whole number");
    }
    match kind {
        Kind::Plain => Ok(()),
        Kind::Counter => match one(Role::Value) {
            Some(total) if total >= 0.0 => Ok(()),
            Some(_) => Err("a counter is below zero, or no number"),
            None => Err("a counter has no _total at some time"),
        },
        Kind::Info if one(Role::Value) != Some(1.0) => Err("an info has another value than 1"),
        Kind::StateSet if fresh().any(|(_, value)| value != 0.0 && value != 1.0) => {
            Err("a state has another value than 0 and 1")
        }
        Kind::Info | Kind::StateSet => Ok(()),
        Kind::Summary => {
            let is_below = |(role, value): (Role, f64)| matches!(role, Role::At(_)) && value < 0.0;
            match sum {
                _ if fresh().any(is_below) => Err("a quantile is below zero"),
                Some(sum) if sum.is_nan() || sum < 0.0 => Err("a sum is below zero, or no number"),
                _ => Ok(()),
            }
        }
        Kind::Histogram | Kind::GaugeHistogram => {
            let (mut last, mut lowest) = ((f64::NEG_INFINITY, 0.0), f64::INFINITY);
            for (role, value) in fresh() {
                let Role::At(bound) = role else { continue };
                if !(bound > last.0 && value >= last.1 && is_count(value)) {
                    return Err("buckets do not add up");
                }
                last = (bound, value);
                lowest = lowest.min(bound);
            }
            match (count, sum) {
                _ if last.0 != f64::INFINITY => Err("a histogram has no bucket +Inf at some time"),
                (Some(count), _) if count != last.1 => Err("a count is not that of the bucket +Inf"),
                (Some(_), None) => Err("a histogram has no sum at some time"),
                (None, Some(_)) => Err("a histogram has no count at some time"),
                (_, Some(sum)) if sum.is_nan() => Err("a sum is no number"),
                (_, Some(sum)) if sum < 0.0 && (kind == Kind::Histogram || lowest >= 0.0) => Err("a sum is below zero"),
                (_, Some(_)) if kind == Kind::Histogram && lowest < 0.0 => Err("buckets below zero have no sum"),
                _ => Ok(()),
            }
        }
    }
}
