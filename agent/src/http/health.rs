//! `/-/healthy`: the process answers. `/-/ready`: queries and pushes work.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use tidegauge::query::{Budget, QueryLimits, Selection};
use tidegauge::{Matcher, TimeRange};

use super::App;
use super::reply::ApiError;

/// An engine that needs longer than this to take nothing is not ready for more.
const PROBE_TIME_MAX: Duration = Duration::from_secs(2);

pub(super) async fn healthy() -> Response {
    text(StatusCode::OK, "tidegauge is healthy.\n".to_owned())
}

pub(super) async fn ready(State(app): State<Arc<App>>) -> Response {
    let probed = tokio::time::timeout(PROBE_TIME_MAX, app.in_turn(probe)).await;
    match probed {
        Ok(Ok(())) => text(StatusCode::OK, "tidegauge is ready.\n".to_owned()),
        Ok(Err(ApiError::Unavailable(why) | ApiError::Internal(why))) => {
            text(StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {why}\n"))
        }
        Ok(Err(other)) => other.into_response(),
        Err(_) => text(
            StatusCode::SERVICE_UNAVAILABLE,
            format!("not ready: no answer from the engine within {} s\n", PROBE_TIME_MAX.as_secs()),
        ),
    }
}

/// The worker goes round and takes pushes, and a selection that matches no series is made.
fn probe(app: &App) -> Result<(), ApiError> {
    let unavailable = |why: &dyn std::fmt::Display| ApiError::Unavailable(why.to_string());
    app.engine.probe(PROBE_TIME_MAX).map_err(|e| unavailable(&e))?;
    let nothing = Matcher::equal(tidegauge::METRIC_NAME, "a name with blanks, which no exporter gives");
    let budget = Budget::new(QueryLimits { time: PROBE_TIME_MAX, ..QueryLimits::DEFAULT });
    app.engine
        .snapshot()
        .install(|sources| Selection::within(sources, &[nothing], TimeRange::ALL, &budget).map(drop))
        .map_err(|e| unavailable(&e))
}

fn text(status: StatusCode, body: String) -> Response {
    (status, [(header::CONTENT_TYPE, "text/plain; charset=utf-8")], body).into_response()
}
