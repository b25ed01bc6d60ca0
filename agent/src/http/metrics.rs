//! `/metrics`, in the text format.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};

use super::App;
use crate::own;

const TEXT: HeaderValue = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");

pub(super) async fn show(State(app): State<Arc<App>>) -> Response {
    let text = own::text(&own::shown(&app.engine, &app.counters));
    ([(header::CONTENT_TYPE, TEXT)], text).into_response()
}
