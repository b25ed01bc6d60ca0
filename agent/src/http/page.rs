//! The page for people, and what it needs: all of it inside the binary.

use std::sync::Arc;

use axum::Router;
use axum::http::{HeaderName, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use super::App;

const HTML: HeaderValue = HeaderValue::from_static("text/html; charset=utf-8");
const SCRIPT: HeaderValue = HeaderValue::from_static("text/javascript; charset=utf-8");
const STYLE: HeaderValue = HeaderValue::from_static("text/css; charset=utf-8");
const PICTURE: HeaderValue = HeaderValue::from_static("image/svg+xml");

/// Nothing from elsewhere, no script or style in the page itself, no page around the page.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
);

macro_rules! asset {
    ($kind:expr, $file:literal) => {
        get(|| async { serve($kind, include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/", $file))) })
    };
}

/// `/` and the files it names.
pub(super) fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/", asset!(HTML, "assets/index.html"))
        .route("/assets/style.css", asset!(STYLE, "assets/style.css"))
        .route("/assets/api.js", asset!(SCRIPT, "assets/api.js"))
        .route("/assets/chart.js", asset!(SCRIPT, "assets/chart.js"))
        .route("/assets/explore.js", asset!(SCRIPT, "assets/explore.js"))
        .route("/assets/format.js", asset!(SCRIPT, "assets/format.js"))
        .route("/assets/main.js", asset!(SCRIPT, "assets/main.js"))
        .route("/assets/overview.js", asset!(SCRIPT, "assets/overview.js"))
        .route("/assets/icon.svg", asset!(PICTURE, "assets/icon.svg"))
        .route("/assets/uplot.js", asset!(SCRIPT, "vendor/uplot/dist/uPlot.iife.min.js"))
        .route("/assets/uplot.css", asset!(STYLE, "vendor/uplot/dist/uPlot.min.css"))
}

fn serve(kind: HeaderValue, bytes: &'static [u8]) -> Response {
    let headers: [(HeaderName, HeaderValue); 5] = [
        (header::CONTENT_TYPE, kind),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
        // A new release brings new files under the same names.
        (header::CACHE_CONTROL, HeaderValue::from_static("no-cache")),
    ];
    (headers, bytes).into_response()
}
