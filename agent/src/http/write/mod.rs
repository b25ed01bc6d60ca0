//! Remote write, 1.0 and 2.0: a 2xx means that the next query sees the samples.

mod known;
mod request;
mod store;

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::reply::ApiError;
use super::{App, snappy};
use crate::blocking;
pub(super) use known::Known;
use request::Protocol;
use store::{StoreError, Stored};

/// Requests decoded at a time; the others wait, and take no memory but their bodies.
pub(super) const WRITES_MAX: usize = 8;
/// A body as it travels.
const BODY_BYTES_MAX: usize = 16 << 20;
/// The same, decompressed.
const MESSAGE_BYTES_MAX: usize = 64 << 20;
/// How long an accepted request may take to reach the level that its answer promises.
const ACK_TIME_MAX: Duration = Duration::from_secs(30);

const SAMPLES_WRITTEN: HeaderName = HeaderName::from_static("x-prometheus-remote-write-samples-written");
const HISTOGRAMS_WRITTEN: HeaderName = HeaderName::from_static("x-prometheus-remote-write-histograms-written");
const EXEMPLARS_WRITTEN: HeaderName = HeaderName::from_static("x-prometheus-remote-write-exemplars-written");

pub(super) async fn receive(State(app): State<Arc<App>>, headers: HeaderMap, body: Body) -> Response {
    let protocol = match protocol(&headers) {
        Ok(protocol) => protocol,
        Err(why) => return answer(StatusCode::UNSUPPORTED_MEDIA_TYPE, why, Stored::default()),
    };
    let bytes = match app.bodies.collect(body, BODY_BYTES_MAX).await {
        Ok(bytes) => bytes,
        Err(why) => {
            return (why.retry(), answer(why.status(), why.to_string(), Stored::default())).into_response();
        }
    };
    let Ok(_turn) = app.writes.acquire().await else {
        return answer(StatusCode::SERVICE_UNAVAILABLE, "the agent is stopping".to_owned(), Stored::default());
    };
    let shared = Arc::clone(&app);
    let stored = blocking::run(move || {
        let message = snappy::decompress(&bytes, MESSAGE_BYTES_MAX).map_err(StoreError::Malformed)?;
        store::store(&shared.engine, &shared.known, protocol, &message)
    })
    .await;
    let mut stored = match stored {
        Ok(Ok(stored)) => stored,
        Ok(Err(why)) => return answer(why.status(), why.to_string(), Stored::default()),
        Err(why) => return ApiError::from(why).into_response(),
    };
    app.counters.wrote(stored.samples, stored.failed.is_some());
    if let Some(ack) = stored.ack.take() {
        let reached = tokio::time::timeout(ACK_TIME_MAX, app.engine.wait_async(ack, app.level())).await;
        let why = match reached {
            Ok(Ok(_)) => None,
            Ok(Err(why)) => Some(why.to_string()),
            Err(_) => Some(format!("not acknowledged within {} s", ACK_TIME_MAX.as_secs())),
        };
        if let Some(why) = why {
            return answer(StatusCode::SERVICE_UNAVAILABLE, why, Stored::default());
        }
    }
    match stored.failed.take() {
        None => answer(StatusCode::NO_CONTENT, String::new(), stored),
        Some(why) => answer(why.status(), why.to_string(), stored),
    }
}

/// What the headers say the body is, or why that is not supported.
fn protocol(headers: &HeaderMap) -> Result<Protocol, String> {
    let text = |name| headers.get(name).map(|v: &HeaderValue| v.to_str().unwrap_or("?").trim()).unwrap_or_default();
    let encoding = text(header::CONTENT_ENCODING);
    let kind = text(header::CONTENT_TYPE);
    let mut parts = kind.split(';').map(str::trim);
    // One message, whatever is wrong: who sends text has neither.
    let unsupported = || {
        format!(
            "content type {kind:?} with content encoding {encoding:?} is not supported: this takes remote write 1.0 and 2.0, \
             which is application/x-protobuf (with proto=prometheus.WriteRequest, the default, or \
             proto=io.prometheus.write.v2.Request) behind Content-Encoding: snappy (block format). Text cannot be \
             pushed: have it scraped (tidegauge serve --scrape URL), or import it (tidegauge import)"
        )
    };
    if !encoding.eq_ignore_ascii_case("snappy") {
        return Err(unsupported());
    }
    if !parts.next().is_some_and(|media| media.eq_ignore_ascii_case("application/x-protobuf")) {
        return Err(unsupported());
    }
    let mut protocol = Protocol::V1;
    for part in parts {
        let (name, value) = part.split_once('=').ok_or_else(unsupported)?;
        if name.trim().eq_ignore_ascii_case("proto") {
            protocol = match value.trim().trim_matches('"') {
                "prometheus.WriteRequest" => Protocol::V1,
                "io.prometheus.write.v2.Request" => Protocol::V2,
                _ => return Err(unsupported()),
            };
        }
    }
    Ok(protocol)
}

fn answer(status: StatusCode, why: String, stored: Stored) -> Response {
    let counts = [(SAMPLES_WRITTEN, stored.samples), (HISTOGRAMS_WRITTEN, 0), (EXEMPLARS_WRITTEN, 0)]
        .map(|(name, count)| (name, HeaderValue::from(count)));
    if status == StatusCode::NO_CONTENT {
        return (status, counts).into_response();
    }
    let kind = [(header::CONTENT_TYPE, "text/plain; charset=utf-8")];
    (status, counts, kind, format!("{why}\n")).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(kind: &str, encoding: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_str(kind).unwrap());
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_str(encoding).unwrap());
        headers
    }

    #[test]
    fn the_headers_tell_the_protocol() {
        for (kind, protocol_) in [
            ("application/x-protobuf", Protocol::V1),
            ("application/x-protobuf;proto=prometheus.WriteRequest", Protocol::V1),
            ("application/x-protobuf; proto=io.prometheus.write.v2.Request", Protocol::V2),
        ] {
            assert_eq!(protocol(&headers(kind, "snappy")), Ok(protocol_), "{kind}");
        }
        for (kind, encoding) in [
            ("application/json", "snappy"),
            ("", "snappy"),
            ("application/x-protobuf;proto=io.prometheus.write.v3.Request", "snappy"),
            ("application/x-protobuf", "gzip"),
            ("application/x-protobuf", ""),
        ] {
            assert!(protocol(&headers(kind, encoding)).is_err(), "{kind} {encoding}");
        }
    }
}
