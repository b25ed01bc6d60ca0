//! What a Prometheus server has beside its samples: rules, alerts, exemplars, targets.
//! Of the first three there are none here, and the answers say so in the form that
//! dashboards expect.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use tidegauge::query::promql::Expr;
use tidegauge::query::{Cancel, QueryLimits, Selection};
use tidegauge::{Matcher, Sample, TimeRange, Timestamp};

use super::App;
use super::params::{Params, UrlencodedParams};
use super::query::api_error;
use super::reply::{ApiError, ApiResult, Envelope};
use super::text;
use crate::scrape::Target;
use crate::units::{show_duration, show_time};

pub(super) async fn rules(UrlencodedParams(params): UrlencodedParams) -> ApiResult {
    let kind = params.get("type").unwrap_or_default().to_ascii_lowercase();
    if !matches!(kind.as_str(), "" | "alert" | "record") {
        return Err(ApiError::parameter("type", format_args!("not supported value {kind:?}")));
    }
    Ok(Envelope::json(&json!({"groups": []})))
}

pub(super) async fn alerts() -> Envelope {
    Envelope::json(&json!({"alerts": []}))
}

pub(super) async fn alertmanagers() -> Envelope {
    Envelope::json(&json!({"activeAlertmanagers": [], "droppedAlertmanagers": []}))
}

/// Exemplars are not kept; what could have one gets an empty list.
pub(super) async fn exemplars(State(app): State<Arc<App>>, params: Params) -> Response {
    match check_exemplars(&app, &params) {
        Ok(true) => Envelope::json(&json!([])).into_response(),
        Ok(false) => StatusCode::NO_CONTENT.into_response(),
        Err(wrong) => wrong.into_response(),
    }
}

/// Whether the query selects any series.
fn check_exemplars(app: &App, params: &Params) -> Result<bool, ApiError> {
    let start = params.time("start")?.unwrap_or(TimeRange::ALL.start);
    let end = params.time("end")?.unwrap_or(TimeRange::ALL.end);
    if end < start {
        return Err(ApiError::BadData("end timestamp must not be before start timestamp".to_owned()));
    }
    Ok(selects(&text::parse(app, params).map_err(|why| ApiError::BadData(why.to_string()))?))
}

fn selects(expr: &Expr) -> bool {
    matches!(expr, Expr::Vector(_) | Expr::Matrix(_)) || expr.children().into_iter().any(selects)
}

/// What is scraped. How the last scrape went is what was stored about it.
pub(super) async fn targets(State(app): State<Arc<App>>, params: Params) -> ApiResult {
    let state = params.get("state").unwrap_or("any").to_ascii_lowercase();
    app.in_turn(move |app| {
        let active: Vec<Value> = if matches!(state.as_str(), "any" | "active") {
            app.settings.scrape.iter().map(|target| one_target(app, target)).collect::<Result<_, _>>()?
        } else {
            Vec::new()
        };
        Ok(Envelope::json(&json!({"activeTargets": active, "droppedTargets": [], "droppedTargetCounts": {}})))
    })
    .await
}

fn one_target(app: &App, target: &Target) -> Result<Value, ApiError> {
    let up = last(app, "up", target)?;
    let took = last(app, "scrape_duration_seconds", target)?;
    let health = match up {
        Some(Sample { value: 1.0, .. }) => "up",
        Some(_) => "down",
        None => "unknown",
    };
    let at = up.map_or(Timestamp::from_nanos(0), |sample| sample.timestamp);
    let interval = show_duration(app.settings.scrape_interval);
    let url = target.url();
    let (scheme, rest) = url.split_once("://").unwrap_or(("http", url));
    let path = rest.find('/').map_or("", |slash| &rest[slash..]);
    Ok(json!({
        "discoveredLabels": {
            "__address__": target.instance(),
            "__metrics_path__": path,
            "__scheme__": scheme,
            "__scrape_interval__": interval,
            "job": target.job(),
        },
        "labels": {"instance": target.instance(), "job": target.job()},
        "scrapePool": target.job(),
        "scrapeUrl": url,
        "globalUrl": url,
        "lastError": app.outcomes.last_error(target),
        "lastScrape": show_time(at),
        "lastScrapeDuration": took.map_or(0.0, |sample| sample.value),
        "health": health,
        "scrapeInterval": interval,
        "scrapeTimeout": interval,
    }))
}

fn last(app: &App, name: &str, target: &Target) -> Result<Option<Sample>, ApiError> {
    let labels = [(tidegauge::METRIC_NAME, name), ("instance", target.instance()), ("job", target.job())];
    let matchers = labels.map(|(label, value)| Matcher::equal(label, value));
    let snapshot = app.engine.snapshot();
    let budget = snapshot.budget(QueryLimits::DEFAULT, Cancel::new());
    snapshot
        .install(|sources| Selection::within(sources, &matchers, TimeRange::ALL, &budget)?.last())
        .map(|found| found.into_iter().flatten().max_by_key(|sample| sample.timestamp))
        .map_err(api_error)
}
