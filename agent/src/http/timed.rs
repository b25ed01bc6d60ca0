//! How long each request takes, until the last byte of its answer was taken or its client went away.

use std::sync::Arc;
use std::time::Instant;

use axum::body::Body;
use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::Response;

use super::held::Held;
use crate::own::Counters;

/// Of a path that has no route.
const OTHER: &str = "other";

pub(super) async fn timed(State(counters): State<Arc<Counters>>, request: Request, next: Next) -> Response {
    let handler = request.extensions().get::<MatchedPath>().cloned();
    let watch = Watch { counters, handler, began: Instant::now() };
    next.run(request).await.map(|body| Body::new(Held::new(body, watch)))
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
