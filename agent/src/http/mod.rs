//! What the agent answers over HTTP.

// bytes in, bytes out
mod body;
mod params;
mod reply;
mod server;

// is it alive
mod health;
mod metrics;
mod status;

// samples in
mod write;

// questions
mod meta;
mod query;

// for people
mod page;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get, post};
use tidegauge::{Engine, Level, Timestamp};
use tokio::sync::Semaphore;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::compression::CompressionLayer;
use tower_http::compression::predicate::{NotForContentType, Predicate, SizeAbove};

use crate::config::Settings;
use crate::own::Counters;
use crate::panic;
use reply::ApiError;
pub(crate) use server::serve;

/// Queries that run at a time; the others wait their turn.
const QUERIES_MAX: usize = 20;
/// How long a request waits for its turn before it is told to come back.
const TURN_TIME_MAX: Duration = Duration::from_secs(10);

/// What every handler shares.
pub(crate) struct App {
    /// Where samples go and come from.
    pub(crate) engine: Engine,
    /// What the agent runs with.
    pub(crate) settings: Settings,
    /// When the agent began.
    started: Timestamp,
    queries: Semaphore,
    writes: Semaphore,
    counters: Arc<Counters>,
}

impl App {
    pub(crate) fn new(engine: Engine, settings: Settings, counters: Arc<Counters>) -> Arc<Self> {
        Arc::new(Self {
            engine,
            settings,
            started: tidegauge::now(),
            queries: Semaphore::new(QUERIES_MAX),
            writes: Semaphore::new(write::WRITES_MAX),
            counters,
        })
    }

    /// What a push waits for before it is answered 2xx.
    fn level(&self) -> Level {
        match self.settings.durability {
            tidegauge::Durability::Sync => Level::Durable,
            _ => Level::Visible,
        }
    }

    /// Runs `work`, which may block, off the threads that serve connections, once it is
    /// its turn. A panic inside becomes an error.
    async fn in_turn<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&App) -> Result<T, ApiError> + Send + 'static,
    ) -> Result<T, ApiError> {
        let turn = tokio::time::timeout(TURN_TIME_MAX, self.queries.acquire()).await;
        let _turn = match turn {
            Ok(Ok(turn)) => turn,
            Ok(Err(_)) => return Err(ApiError::Unavailable("the agent is stopping".to_owned())),
            Err(_) => return Err(ApiError::Unavailable("too many queries at a time: try again later".to_owned())),
        };
        let app = Arc::clone(self);
        match tokio::task::spawn_blocking(move || work(&app)).await {
            Ok(done) => done,
            Err(panicked) => Err(ApiError::Internal(format!("internal error: {panicked}"))),
        }
    }
}

/// Every path that is answered.
pub(crate) fn router(app: Arc<App>) -> Router {
    let big_enough = SizeAbove::new(1024);
    // Assets may be compressed already, and the event of a tiny answer costs more than it saves.
    let gzip = CompressionLayer::new().gzip(true).compress_when(big_enough.and(NotForContentType::IMAGES));
    Router::new()
        .route("/-/ready", get(health::ready))
        .route("/-/healthy", get(health::healthy))
        .route("/metrics", get(metrics::show))
        .merge(page::routes())
        .route("/api/v1/query", get(query::instant).post(query::instant))
        .route("/api/v1/query_range", get(query::range).post(query::range))
        .route("/api/v1/labels", get(meta::labels).post(meta::labels))
        .route("/api/v1/label/{name}/values", get(meta::label_values))
        .route("/api/v1/series", get(meta::series).post(meta::series))
        .route("/api/v1/metadata", get(meta::metadata))
        .route("/api/v1/status/buildinfo", get(status::build_info))
        .route("/api/v1/status/runtimeinfo", get(status::runtime_info))
        .route("/api/v1/status/flags", get(status::flags))
        .route("/api/v1/write", post(write::receive))
        .route("/api/v1/{*rest}", any(not_there))
        .fallback(no_such_page)
        .layer(gzip)
        .layer(CatchPanicLayer::custom(after_a_panic))
        .with_state(app)
}

/// Parts of Prometheus' API that this release does not have are told from typing errors.
async fn not_there(uri: axum::http::Uri) -> ApiError {
    const LATER: [&str; 14] = [
        "format_query",
        "parse_query",
        "query_exemplars",
        "status/config",
        "status/tsdb",
        "status/walreplay",
        "rules",
        "alerts",
        "targets",
        "alertmanagers",
        "read",
        "admin/",
        "features",
        "notifications",
    ];
    let rest = uri.path().trim_start_matches("/api/v1/");
    if LATER.iter().any(|known| rest.starts_with(known)) {
        ApiError::not_there_yet(&format!("/api/v1/{rest}"))
    } else {
        ApiError::NotFound(format!("there is no {}", uri.path()))
    }
}

async fn no_such_page() -> Response {
    (StatusCode::NOT_FOUND, [(header::CONTENT_TYPE, "text/plain; charset=utf-8")], "404: there is no such page\n")
        .into_response()
}

/// The connection goes on, and so does everything else.
fn after_a_panic(payload: Box<dyn std::any::Any + Send>) -> Response {
    ApiError::Internal(format!("internal error: {}", panic::message(&*payload))).into_response()
}
