//! Remote read: the samples of series, for another Prometheus to evaluate.
//!
//! <https://prometheus.io/docs/prometheus/latest/querying/remote_read_api/>

mod chunks;
mod encode;
mod request;
mod samples;
mod xor;

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use tidegauge::Snapshot;
use tidegauge::query::{Budget, Cancel, QueryLimits};

use super::query::HangUp;
use super::reply::ApiError;
use super::{App, snappy};
use request::{Format, Request};

/// A request names matchers; this is room for millions of them.
const BODY_BYTES_MAX: usize = 32 << 20;

const SAMPLES: HeaderValue = HeaderValue::from_static("application/x-protobuf");
const CHUNKS: HeaderValue =
    HeaderValue::from_static("application/x-streamed-protobuf; proto=prometheus.ChunkedReadResponse");
const PACKED: HeaderValue = HeaderValue::from_static("snappy");

/// Errors are plain text here, as remote read's clients expect.
pub(super) async fn answer(State(app): State<Arc<App>>, body: Body) -> Response {
    let bytes = match app.bodies.collect(body, BODY_BYTES_MAX).await {
        Ok(bytes) => bytes,
        Err(why) => return (why.status(), why.retry(), format!("{why}\n")).into_response(),
    };
    // To compile regular expressions may take a second.
    let read = move |_: &App| {
        let message = snappy::decompress(&bytes, BODY_BYTES_MAX);
        Ok(message.and_then(|m| Request::read(&m).map_err(|e| e.to_string())))
    };
    let request = match app.in_turn(read).await {
        Ok(Ok(request)) => request,
        Ok(Err(why)) => return (StatusCode::BAD_REQUEST, format!("{why}\n")).into_response(),
        Err(why) => return why.into_plain_text(),
    };
    let hung_up = HangUp::default();
    let cancel = hung_up.cancel();
    let answered = match request.format {
        Format::Samples => app
            .in_turn(move |app| {
                let snapshot = app.engine.snapshot();
                samples::answer(&snapshot, &request, &budget(&snapshot, &cancel))
            })
            .await
            .map(|packed| {
                ([(header::CONTENT_TYPE, SAMPLES), (header::CONTENT_ENCODING, PACKED)], packed).into_response()
            }),
        Format::Chunks => {
            app.in_turn_streaming(CHUNKS, move |app, out| {
                let snapshot = app.engine.snapshot();
                chunks::answer(&snapshot, &request, &budget(&snapshot, &cancel), out)
            })
            .await
        }
    };
    answered.unwrap_or_else(ApiError::into_plain_text)
}

fn budget(snapshot: &Snapshot, cancel: &Cancel) -> Budget {
    snapshot.budget(QueryLimits::DEFAULT, cancel.clone())
}
