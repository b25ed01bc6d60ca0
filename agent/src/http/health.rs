//! `/-/healthy`: the process answers, and need not be started anew. `/-/ready`: queries and pushes work.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use tidegauge::query::{Budget, QueryLimits, Selection};
use tidegauge::{Matcher, TimeRange};

use super::App;
use crate::blocking;

/// An engine that needs longer than this to take nothing is not ready for more.
const PROBE_TIME_MAX: Duration = Duration::from_secs(2);
/// Probes at a time: each has a thread for as long as the engine lets it wait.
pub(super) const PROBES_MAX: usize = 4;

/// Whoever looks after the process ends it if this fails. An engine that writes no more is still read: `ready` tells that.
pub(super) async fn healthy(State(app): State<Arc<App>>) -> Response {
    match app.engine.can_read() {
        Ok(()) => text(StatusCode::OK, "tidegauge is healthy.\n".to_owned()),
        Err(why) => text(StatusCode::SERVICE_UNAVAILABLE, format!("not healthy: {why}\n")),
    }
}

pub(super) async fn ready(State(app): State<Arc<App>>) -> Response {
    match is_ready(app).await {
        Ok(()) => text(StatusCode::OK, "tidegauge is ready.\n".to_owned()),
        Err(why) => text(StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {why}\n")),
    }
}

/// Whether queries and pushes work, or why not.
pub(crate) async fn is_ready(app: Arc<App>) -> Result<(), String> {
    let late = || format!("no answer from the engine within {} s", PROBE_TIME_MAX.as_secs());
    tokio::time::timeout(PROBE_TIME_MAX, probed(app)).await.unwrap_or_else(|_| Err(late()))
}

/// Takes no turn of a request for data: an agent that is busy with them works.
async fn probed(app: Arc<App>) -> Result<(), String> {
    let one = Arc::clone(&app.probes).acquire_owned().await.map_err(|e| e.to_string())?;
    let done = blocking::run(move || {
        let _one = one;
        probe(&app)
    });
    done.await.unwrap_or_else(|why| Err(why.to_string()))
}

/// The worker goes round and takes pushes, and a selection that matches no series is made: on this thread, since those
/// of queries may be busy.
fn probe(app: &App) -> Result<(), String> {
    app.engine.probe(PROBE_TIME_MAX).map_err(|e| e.to_string())?;
    let nothing = Matcher::equal(tidegauge::METRIC_NAME, "a name with blanks, which no exporter gives");
    let budget = Budget::new(QueryLimits { time: PROBE_TIME_MAX, ..QueryLimits::DEFAULT });
    Selection::within(&app.engine.snapshot(), &[nothing], TimeRange::ALL, &budget).map(drop).map_err(|e| e.to_string())
}

fn text(status: StatusCode, body: String) -> Response {
    (status, [(header::CONTENT_TYPE, "text/plain; charset=utf-8")], body).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::Body;
    use http_body_util::BodyExt;
    use hyper::service::Service;
    use hyper_util::service::TowerToHyperService;

    #[test]
    fn an_agent_whose_engine_writes_no_more_is_healthy_and_not_ready() {
        let mut app = super::super::tests::app(1);
        let dir = tempfile::tempdir().unwrap();
        let builder = tidegauge::Engine::builder(dir.path()).durability(tidegauge::Durability::Sync);
        let engine = builder.open().unwrap();
        Arc::get_mut(&mut app).unwrap().engine = engine.clone();
        let service = TowerToHyperService::new(super::super::router(app));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let ask = |path: &str| {
            let request = axum::http::Request::builder().uri(path).body(Body::empty()).unwrap();
            runtime.block_on(async {
                let Ok(answer) = service.call(request).await;
                let status = answer.status().as_u16();
                let body = answer.into_body().collect().await.unwrap().to_bytes();
                (status, String::from_utf8(body.to_vec()).unwrap())
            })
        };
        let healthy = (200, "tidegauge is healthy.\n".to_owned());
        assert_eq!(ask("/-/healthy"), healthy);
        // Who has lost its directory writes no more.
        std::fs::remove_file(dir.path().join("LOCK")).unwrap();
        let id = engine.series(&[("__name__", "m")]).unwrap();
        let end = std::time::Instant::now() + Duration::from_secs(30);
        while engine.is_healthy().is_ok() {
            assert!(std::time::Instant::now() < end, "the lock was not missed");
            let pushed = engine.push(id, tidegauge::now(), 1.0);
            let _ = pushed.map(|ack| engine.wait(ack, tidegauge::Level::Durable, Duration::from_secs(1)));
        }
        assert_eq!(ask("/-/healthy"), healthy, "it can be read");
        let (status, why) = ask("/-/ready");
        assert!(status == 503 && why.contains("poisoned"), "{status}: {why}");
    }
}
