//! Reading a request's body: never more than a bound, never longer than a deadline.

use std::time::Duration;

use axum::body::Body;
use axum::http::StatusCode;
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::body::Body as HttpBody;

use super::reply::ApiError;

/// A client that needs longer for one body hangs, or is a thousand times too slow.
const BODY_TIME_MAX: Duration = Duration::from_secs(30);

/// Why a body was not read to its end.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BodyError {
    #[error("the body is longer than {limit} bytes: send it in parts, or ask for less")]
    TooLong { limit: usize },
    #[error("the body did not arrive within {} s", BODY_TIME_MAX.as_secs())]
    TooSlow,
    #[error("the body ended early: {0}")]
    Broken(axum::Error),
}

impl BodyError {
    /// The status that says whose fault it was.
    pub(crate) fn status(&self) -> StatusCode {
        match self {
            Self::TooLong { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Self::TooSlow => StatusCode::REQUEST_TIMEOUT,
            Self::Broken(_) => StatusCode::BAD_REQUEST,
        }
    }

    /// The same inside the query API's envelope.
    pub(crate) fn into_api(self) -> ApiError {
        match self {
            Self::TooLong { .. } => ApiError::TooLarge(self.to_string()),
            _ => ApiError::BadData(self.to_string()),
        }
    }
}

/// The whole body, if it has at most `limit` bytes. Memory grows with what arrived,
/// not with what was announced.
pub(crate) async fn collect(body: Body, limit: usize) -> Result<Bytes, BodyError> {
    tokio::time::timeout(BODY_TIME_MAX, collect_patiently(body, limit)).await.map_err(|_| BodyError::TooSlow)?
}

async fn collect_patiently(mut body: Body, limit: usize) -> Result<Bytes, BodyError> {
    // What its head announces needs not be waited for.
    if HttpBody::size_hint(&body).lower() > limit as u64 {
        return Err(BodyError::TooLong { limit });
    }
    let mut whole = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(BodyError::Broken)?.into_data() else { continue };
        if whole.len() + data.len() > limit {
            return Err(BodyError::TooLong { limit });
        }
        whole.extend_from_slice(&data);
    }
    Ok(whole.freeze())
}
