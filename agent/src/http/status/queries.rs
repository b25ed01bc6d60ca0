//! `status/active_queries` and `status/top_queries`.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use serde_json::{Value, json};

use super::super::App;
use super::super::params::Params;
use super::super::reply::{ApiResult, Envelope};
use crate::ask::When;
use crate::units::show_duration;

/// Entries of each list of top queries, unless `topN` says otherwise.
const TOP: usize = 20;
/// How far they look back, unless `maxLifetime` says otherwise.
const WITHIN: Duration = Duration::from_secs(600);

/// Times in milliseconds, as in the API's other lists of this kind.
pub(in super::super) async fn active(State(app): State<Arc<App>>) -> Envelope {
    let list: Vec<Value> = app
        .queries
        .active()
        .into_iter()
        .map(|query| {
            let (start, end, step) = match query.when {
                When::At(at) => (at, at, Duration::ZERO),
                When::Every { start, end, step } => (start, end, step),
            };
            json!({
                "id": format!("{:016X}", query.id),
                "query": &*query.text,
                "duration": format!("{:.3}s", query.began.elapsed().as_secs_f64()),
                "begin": query.at.millis(),
                "start": start.millis(),
                "end": end.millis(),
                "step": u64::try_from(step.as_millis()).unwrap_or(u64::MAX),
            })
        })
        .collect();
    Envelope::json(&list.into())
}

/// What one text asked over one span has cost.
#[derive(Default)]
struct Total {
    count: u64,
    seconds: f64,
}

pub(in super::super) async fn top(State(app): State<Arc<App>>, params: Params) -> ApiResult {
    let top = params.limit("topN")?.unwrap_or(TOP);
    let within = params.duration("maxLifetime")?.unwrap_or(WITHIN);
    let mut totals: HashMap<(Arc<str>, u64), Total> = HashMap::new();
    for done in app.queries.done(within) {
        let total = totals.entry((done.text, done.span.as_secs())).or_default();
        total.count += 1;
        total.seconds += done.took.as_secs_f64();
    }
    let list = |name: &str, weight: fn(&Total) -> f64| -> Value {
        let mut all: Vec<_> = totals.iter().collect();
        all.sort_by(|a, b| weight(b.1).total_cmp(&weight(a.1)).then_with(|| a.0.cmp(b.0)));
        let shown = all.into_iter().take(top).map(|((text, span), total)| {
            let mut one = json!({"query": &**text, "timeRangeSeconds": span, "count": total.count});
            one[name] = if name == "count" { total.count.into() } else { weight(total).into() };
            one
        });
        shown.collect()
    };
    Ok(Envelope::json(&json!({
        "topN": top,
        "maxLifetime": show_duration(within),
        "topByCount": list("count", |total| total.count as f64),
        "topByAvgDuration": list("avgDurationSeconds", |total| total.seconds / total.count as f64),
        "topBySumDuration": list("sumDurationSeconds", |total| total.seconds),
    })))
}
