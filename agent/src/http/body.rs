//! Reading a request's body: never more than a bound, never longer than a deadline, and never more than there is memory
//! for beside all others.

use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use axum::body::Body;
use axum::http::StatusCode;
use bytes::BytesMut;
use http_body_util::BodyExt;
use hyper::body::Body as HttpBody;

use super::reply::{ApiError, Retry};
use crate::own::Counters;

/// A client that needs longer for one body hangs, or is a thousand times too slow.
const BODY_TIME_MAX: Duration = Duration::from_secs(30);
/// What each body has without asking, so that those who hold much keep nobody from a push of the usual size. There are
/// as many bodies as connections at most.
const OWN_BYTES: usize = 128 << 10;
/// What all bodies have beyond that, together.
const SHARED_BYTES_MAX: usize = 256 << 20;

/// Why a body was not read to its end.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BodyError {
    #[error("the body is longer than {limit} bytes: send it in parts, or ask for less")]
    TooLong { limit: usize },
    #[error("the body did not arrive within {} s", BODY_TIME_MAX.as_secs())]
    TooSlow,
    #[error("the body ended early: {0}")]
    Broken(axum::Error),
    #[error("too many large bodies are under way: try again, or send this one in parts of {} KiB", OWN_BYTES >> 10)]
    NoRoom,
}

impl BodyError {
    /// The status that says whose fault it was.
    pub(crate) fn status(&self) -> StatusCode {
        match self {
            Self::TooLong { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Self::TooSlow => StatusCode::REQUEST_TIMEOUT,
            Self::Broken(_) => StatusCode::BAD_REQUEST,
            Self::NoRoom => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// When to try again, if that helps.
    pub(crate) fn retry(&self) -> Option<Retry> {
        matches!(self, Self::NoRoom).then_some(Retry)
    }

    /// The same inside the query API's envelope.
    pub(crate) fn into_api(self) -> ApiError {
        match self {
            Self::TooLong { .. } => ApiError::TooLarge(self.to_string()),
            Self::NoRoom => ApiError::Crowded(self.to_string()),
            _ => ApiError::BadData(self.to_string()),
        }
    }
}

/// The memory of all bodies under way.
pub(crate) struct Bodies {
    shared_max: usize,
    counters: Arc<Counters>,
}

impl Bodies {
    pub(crate) fn new(counters: Arc<Counters>) -> Arc<Self> {
        Arc::new(Self { shared_max: SHARED_BYTES_MAX, counters })
    }

    /// The whole body, if it has at most `limit` bytes. Memory grows with what arrived,
    /// not with what was announced.
    pub(crate) async fn collect(self: &Arc<Self>, body: Body, limit: usize) -> Result<Collected, BodyError> {
        tokio::time::timeout(BODY_TIME_MAX, self.collect_patiently(body, limit))
            .await
            .map_err(|_| BodyError::TooSlow)?
    }

    async fn collect_patiently(self: &Arc<Self>, mut body: Body, limit: usize) -> Result<Collected, BodyError> {
        // What its head announces needs not be waited for.
        if HttpBody::size_hint(&body).lower() > limit as u64 {
            return Err(BodyError::TooLong { limit });
        }
        let (mut bytes, mut share) = (BytesMut::new(), Share { bytes: 0, of: Arc::clone(self) });
        while let Some(frame) = body.frame().await {
            let Ok(data) = frame.map_err(BodyError::Broken)?.into_data() else { continue };
            let len = bytes.len() + data.len();
            if len > limit {
                return Err(BodyError::TooLong { limit });
            }
            share.reach(len.saturating_sub(OWN_BYTES))?;
            bytes.extend_from_slice(&data);
        }
        Ok(Collected { bytes, share })
    }
}

/// A whole body. Its memory is others' again once it and its [`Share`] are gone.
pub(crate) struct Collected {
    bytes: BytesMut,
    share: Share,
}

impl Collected {
    /// For who keeps what was made of the bytes.
    pub(crate) fn into_share(self) -> Share {
        self.share
    }
}

impl Deref for Collected {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

/// What one body has of the memory for all. Given back when it is dropped.
pub(crate) struct Share {
    bytes: usize,
    of: Arc<Bodies>,
}

impl Share {
    /// Takes what is missing to so many bytes.
    fn reach(&mut self, bytes: usize) -> Result<(), BodyError> {
        let (more, counters) = (bytes - self.bytes, &self.of.counters);
        if more == 0 {
            return Ok(());
        }
        // Relaxed: the number alone is shared.
        let taken = counters.body_bytes.fetch_update(Relaxed, Relaxed, |held| {
            Some(held + more as u64).filter(|&held| held <= self.of.shared_max as u64)
        });
        if taken.is_err() {
            counters.body_refused();
            return Err(BodyError::NoRoom);
        }
        self.bytes = bytes;
        Ok(())
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.of.counters.body_bytes.fetch_sub(self.bytes as u64, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::{Method, Request, header};
    use hyper::service::Service;
    use hyper_util::service::TowerToHyperService;

    fn bodies(shared_max: usize) -> Arc<Bodies> {
        Arc::new(Bodies { shared_max, counters: Arc::new(Counters::new()) })
    }

    #[test]
    fn all_bodies_together_have_a_bound_and_each_has_a_little_of_its_own() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let bodies = bodies(3 << 20);
        let collect = |len: usize| runtime.block_on(bodies.collect(Body::from(vec![7; len]), 16 << 20));
        let held = || bodies.counters.body_bytes.load(Relaxed);
        let first = collect(2 << 20).unwrap_or_else(|e| panic!("{e}"));
        assert!(first.len() == 2 << 20 && first.iter().all(|&byte| byte == 7));
        assert_eq!(held(), (2 << 20) - OWN_BYTES as u64);
        assert!(matches!(collect(2 << 20), Err(BodyError::NoRoom)));
        assert_eq!(held(), (2 << 20) - OWN_BYTES as u64, "who was refused gave back what it had");
        let second = collect((1 << 20) + 2 * OWN_BYTES).unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(held(), 3 << 20);
        let small: Vec<_> = (0..9).map(|_| collect(OWN_BYTES)).collect();
        assert!(small.iter().all(Result::is_ok), "those of the usual size are taken all the same");
        assert!(matches!(collect(OWN_BYTES + 1), Err(BodyError::NoRoom)));
        assert_eq!(bodies.counters.bodies_refused(), 2);
        let share = second.into_share();
        drop(first);
        assert_eq!(held(), (1 << 20) + OWN_BYTES as u64);
        drop(share);
        assert_eq!(held(), 0);
        assert!(collect(3 << 20).is_ok());
    }

    #[test]
    fn who_finds_no_room_is_told_to_come_again_on_every_path() {
        let app = super::super::tests::app(1);
        let service = TowerToHyperService::new(super::super::router(Arc::clone(&app)));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let ask = |path: &str, kind: &str, body: Vec<u8>| {
            let request = Request::builder().method(Method::POST).uri(format!("/api/v1/{path}"));
            let request = request.header(header::CONTENT_TYPE, kind).header(header::CONTENT_ENCODING, "snappy");
            let answer = runtime.block_on(service.call(request.body(Body::from(body)).unwrap()));
            let Ok(answer) = answer;
            (answer.status().as_u16(), answer.headers().contains_key(header::RETRY_AFTER))
        };
        let (proto, form) = ("application/x-protobuf", "application/x-www-form-urlencoded");
        let parts = "multipart/form-data; boundary=b";
        let paths = [("write", proto), ("read", proto), ("query", form), ("query", parts), ("series", form)];
        app.counters.body_bytes.store(SHARED_BYTES_MAX as u64, Relaxed);
        for (path, kind) in paths {
            assert_eq!(ask(path, kind, vec![b'a'; OWN_BYTES + 1]), (503, true), "{path} {kind}");
            assert_eq!(ask(path, kind, vec![b'a'; OWN_BYTES]), (400, false), "{path} {kind}");
        }
        app.counters.body_bytes.store(0, Relaxed);
        for (path, kind) in paths {
            assert_eq!(ask(path, kind, vec![b'a'; OWN_BYTES + 1]), (400, false), "{path} {kind}");
        }
        assert_eq!(app.counters.body_bytes.load(Relaxed), 0);
    }
}
