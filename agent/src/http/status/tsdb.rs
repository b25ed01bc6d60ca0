//! `status/tsdb`: which names and labels make the series that are stored.

use std::collections::HashMap;
use std::sync::Arc;

use axum::extract::State;
use serde_json::{Value, json};
use tidegauge::query::{Cancel, QueryLimits, Selection};
use tidegauge::{Labels, METRIC_NAME, TimeRange};

use super::super::App;
use super::super::params::Params;
use super::super::query::api_error;
use super::super::reply::{ApiError, ApiResult, Envelope};

/// Entries of each list, unless `limit` says otherwise.
const LIMIT: usize = 10;
/// The greatest `limit`.
const LIMIT_MAX: usize = 10_000;

pub(in super::super) async fn tsdb(State(app): State<Arc<App>>, params: Params) -> ApiResult {
    let limit = match params.get("limit") {
        None => LIMIT,
        Some(text) => text
            .parse()
            .ok()
            .filter(|&limit| limit > 0)
            .ok_or_else(|| ApiError::BadData("limit must be a positive number".to_owned()))?,
    };
    if limit > LIMIT_MAX {
        return Err(ApiError::BadData(format!("limit must not exceed {LIMIT_MAX}")));
    }
    app.in_turn(move |app| answer(app, limit)).await
}

fn answer(app: &App, limit: usize) -> ApiResult {
    let snapshot = app.engine.snapshot();
    let budget = snapshot.budget(QueryLimits::DEFAULT, Cancel::new());
    let ranges = || snapshot.sources().iter().filter_map(|source| source.time_range());
    // An empty store has no first and no last time; Prometheus shows it like this.
    let first = ranges().map(|range| range.start.millis()).min().unwrap_or(i64::MAX);
    let last = ranges().map(|range| range.end.millis()).max().unwrap_or(i64::MIN);
    snapshot.install(|sources| {
        let selection = Selection::within(sources, &[], TimeRange::ALL, &budget).map_err(api_error)?;
        let mut counts = Counts::default();
        // What the counts refer to is held by the selection; this is for the tables themselves.
        let _held = budget.hold(selection.len() as u64 * 64).map_err(api_error)?;
        for i in 0..selection.len() {
            counts.add(selection.labels(i));
            if i % 8192 == 0 {
                budget.check().map_err(api_error)?;
            }
        }
        let stats = app.engine.stats();
        let mut data = counts.show(limit);
        data["headStats"] = json!({
            "numSeries": selection.len(),
            "numLabelPairs": counts.pairs.len(),
            "chunkCount": stats.chunks,
            "minTime": first,
            "maxTime": last,
        });
        Ok(Envelope::json(&data))
    })
}

/// How many series carry each pair of label and value.
#[derive(Default)]
struct Counts<'a> {
    pairs: HashMap<(&'a str, &'a str), u64>,
}

impl<'a> Counts<'a> {
    fn add(&mut self, labels: &'a Labels) {
        for pair in labels.iter() {
            *self.pairs.entry(pair).or_default() += 1;
        }
    }

    fn show(&self, limit: usize) -> Value {
        let (mut values, mut bytes) = (HashMap::<&str, u64>::new(), HashMap::<&str, u64>::new());
        for (&(name, value), &series) in &self.pairs {
            *values.entry(name).or_default() += 1;
            *bytes.entry(name).or_default() += value.len() as u64 * series;
        }
        let metrics = self.pairs.iter().filter(|((name, _), _)| *name == METRIC_NAME);
        let owned = |table: HashMap<&str, u64>| table.into_iter().map(|(name, n)| (name.to_owned(), n)).collect();
        json!({
            "seriesCountByMetricName": top(metrics.map(|((_, metric), n)| ((*metric).to_owned(), *n)).collect(), limit),
            "labelValueCountByLabelName": top(owned(values), limit),
            "memoryInBytesByLabelName": top(owned(bytes), limit),
            "seriesCountByLabelValuePair":
                top(self.pairs.iter().map(|((name, value), n)| (format!("{name}={value}"), *n)).collect(), limit),
        })
    }
}

/// The greatest first; of equal ones, by name.
fn top(mut table: Vec<(String, u64)>, limit: usize) -> Value {
    table.sort_unstable_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    table.truncate(limit);
    table.into_iter().map(|(name, value)| json!({"name": name, "value": value})).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidegauge::LabelLimits;

    #[test]
    fn series_are_counted_by_name_label_and_pair() {
        let of = |pairs: &[(&str, &str)]| Labels::new(pairs.iter().copied(), &LabelLimits::DEFAULT).unwrap();
        let series = [
            of(&[("__name__", "a"), ("k", "x")]),
            of(&[("__name__", "a"), ("k", "yy")]),
            of(&[("__name__", "b"), ("k", "x")]),
        ];
        let mut counts = Counts::default();
        series.iter().for_each(|labels| counts.add(labels));
        let shown = counts.show(2);
        let entry = |name: &str, value: u64| json!({"name": name, "value": value});
        assert_eq!(shown["seriesCountByMetricName"], json!([entry("a", 2), entry("b", 1)]));
        assert_eq!(shown["labelValueCountByLabelName"], json!([entry("__name__", 2), entry("k", 2)]));
        assert_eq!(shown["memoryInBytesByLabelName"], json!([entry("k", 4), entry("__name__", 3)]));
        assert_eq!(shown["seriesCountByLabelValuePair"], json!([entry("__name__=a", 2), entry("k=x", 2)]));
    }
}
