//! How long each request takes, until the last byte of its answer was taken or its client went away.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use axum::body::{Body, Bytes};
use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::Response;
use hyper::body::{Body as HttpBody, Frame, SizeHint};

use crate::own::Counters;

/// Of a path that has no route.
const OTHER: &str = "other";

pub(super) async fn timed(State(counters): State<Arc<Counters>>, request: Request, next: Next) -> Response {
    let handler = request.extensions().get::<MatchedPath>().cloned();
    let watch = Watch { counters, handler, began: Instant::now() };
    next.run(request).await.map(|body| Body::new(Watched { body, _watch: watch }))
}

/// Counts a request when it is dropped.
struct Watch {
    counters: Arc<Counters>,
    handler: Option<MatchedPath>,
    began: Instant,
}

impl Drop for Watch {
    fn drop(&mut self) {
        let handler = self.handler.as_ref().map_or(OTHER, MatchedPath::as_str);
        self.counters.handlers.took(handler, self.began.elapsed());
    }
}

/// An answer on its way.
struct Watched {
    body: Body,
    _watch: Watch,
}

impl HttpBody for Watched {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
