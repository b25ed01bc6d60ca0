//! What the agent answers over HTTP.

// bytes in, bytes out
mod body;
mod figures;
mod held;
mod idle;
mod multipart;
mod outlet;
mod params;
mod patience;
mod raw;
mod reply;
mod server;
mod snappy;
mod timed;
mod turns;
mod wire;

// is it alive
mod health;
mod metrics;
mod status;

// samples in
mod write;

// samples out
mod federate;
mod read;

// questions
mod found;
mod meta;
mod queries;
mod query;
mod rules;
mod text;

// changes to the store
mod admin;

// for people
mod page;

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use axum::Router;
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get, post};
use tidegauge::{Engine, Level, Timestamp};
use tokio::sync::{Semaphore, oneshot};
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::compression::CompressionLayer;
use tower_http::compression::predicate::{NotForContentType, Predicate, SizeAbove};

use crate::blocking;
use crate::collect::Outcomes;
use crate::config::Settings;
use crate::own::Counters;
use crate::panic;
use body::Bodies;
pub(crate) use health::is_ready;
use outlet::Answer;
use queries::Queries;
use reply::ApiError;
pub(crate) use server::serve;
use turns::{Lane, Turn, Turns};

/// Chunks are packed as they are, and their readers take no other packing.
const PACKED_ALREADY: NotForContentType = NotForContentType::const_new("application/x-streamed-protobuf");

/// What every handler shares.
pub(crate) struct App {
    /// Where samples go and come from.
    pub(crate) engine: Engine,
    /// What the agent runs with.
    pub(crate) settings: Settings,
    /// When the agent began.
    started: Timestamp,
    turns: Turns,
    probes: Arc<Semaphore>,
    writes: Semaphore,
    bodies: Arc<Bodies>,
    known: write::Known,
    queries: Queries,
    counters: Arc<Counters>,
    outcomes: Outcomes,
}

impl App {
    pub(crate) fn new(engine: Engine, settings: Settings, counters: Arc<Counters>, outcomes: Outcomes) -> Arc<Self> {
        Arc::new(Self {
            engine,
            started: tidegauge::now(),
            turns: Turns::new(settings.query_concurrency, Arc::clone(&counters)),
            settings,
            probes: Arc::new(Semaphore::new(health::PROBES_MAX)),
            writes: Semaphore::new(write::WRITES_MAX),
            bodies: Bodies::new(Arc::clone(&counters)),
            known: write::Known::default(),
            queries: Queries::default(),
            counters,
            outcomes,
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
        // It may outlive this future: work goes on when the client hangs up.
        let turn = self.turns.take().await?;
        let app = Arc::clone(self);
        let done = blocking::run(move || {
            let _turn = turn;
            work(&app)
        });
        done.await?
    }

    /// As [`in_turn`](Self::in_turn), for work that may have a long answer: it is sent while
    /// it is made. The turn lasts until all of it was taken.
    async fn in_turn_streaming(
        self: &Arc<Self>,
        kind: HeaderValue,
        work: impl FnOnce(&App, &mut Answer) -> Result<(), ApiError> + Send + 'static,
    ) -> Result<Response, ApiError> {
        let turn = self.turns.take().await?;
        self.stream(turn, kind, work).await
    }

    /// The same for work that may be begun anew, so that a short one waits for no turn: it is told how far it may go.
    async fn in_turn_or_try(
        self: &Arc<Self>,
        kind: HeaderValue,
        work: impl Fn(&App, &mut Answer, Lane) -> Result<(), ApiError> + Send + Sync + 'static,
    ) -> Result<Response, ApiError> {
        let turn = self.turns.take_or_try().await?;
        let (lane, work) = (turn.lane(), Arc::new(work));
        let again = Arc::clone(&work);
        match self.stream(turn, kind.clone(), move |app, out| work(app, out, lane)).await {
            Err(why) if lane.may_be_out_of_bounds(&why) => {
                self.in_turn_streaming(kind, move |app, out| again(app, out, Lane::Turn)).await
            }
            done => done,
        }
    }

    async fn stream(
        self: &Arc<Self>,
        turn: Turn,
        kind: HeaderValue,
        work: impl FnOnce(&App, &mut Answer) -> Result<(), ApiError> + Send + 'static,
    ) -> Result<Response, ApiError> {
        let (head, answer) = oneshot::channel();
        let app = Arc::clone(self);
        blocking::begin(move || {
            let mut out = Answer::new(kind, head);
            if turn.lane() == Lane::Try {
                // A client that reads slowly would hold it, and there are few.
                out = out.whole();
            }
            let _turn = turn;
            let done = std::panic::catch_unwind(AssertUnwindSafe(|| work(&app, &mut out)));
            out.finish(done.unwrap_or_else(|payload| {
                Err(ApiError::Internal(format!("internal error: {}", panic::message(&*payload))))
            }));
        })?;
        answer.await.unwrap_or_else(|_| Err(ApiError::Unavailable("the agent is stopping".to_owned())))
    }
}

/// Every path that is answered.
pub(crate) fn router(app: Arc<App>) -> Router {
    let counters = Arc::clone(&app.counters);
    let big_enough = SizeAbove::new(1024);
    // Assets may be compressed already, and the event of a tiny answer costs more than it saves.
    let gzip =
        CompressionLayer::new().gzip(true).compress_when(big_enough.and(NotForContentType::IMAGES).and(PACKED_ALREADY));
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
        .route("/api/v1/format_query", get(text::format).post(text::format))
        .route("/api/v1/parse_query", get(text::parsed).post(text::parsed))
        .route("/api/v1/query_exemplars", get(rules::exemplars).post(rules::exemplars))
        .route("/api/v1/rules", get(rules::rules))
        .route("/api/v1/alerts", get(rules::alerts))
        .route("/api/v1/alertmanagers", get(rules::alertmanagers))
        .route("/api/v1/targets", get(rules::targets))
        .route("/api/v1/status/buildinfo", get(status::build_info))
        .route("/api/v1/status/runtimeinfo", get(status::runtime_info))
        .route("/api/v1/status/config", get(status::config))
        .route("/api/v1/status/flags", get(status::flags))
        .route("/api/v1/status/tsdb", get(status::tsdb::tsdb))
        .route("/api/v1/status/walreplay", get(status::wal_replay))
        .route("/api/v1/status/active_queries", get(status::queries::active))
        .route("/api/v1/status/top_queries", get(status::queries::top))
        .route("/api/v1/write", post(write::receive))
        .route("/api/v1/read", post(read::answer))
        .route("/federate", get(federate::federate))
        .merge(admin::routes())
        .route("/api/v1/{*rest}", any(not_there))
        .fallback(no_such_page)
        .method_not_allowed_fallback(wrong_method)
        .layer(gzip)
        .layer(CatchPanicLayer::custom(after_a_panic))
        .layer(from_fn_with_state(counters, timed::timed))
        .with_state(app)
}

/// Parts of Prometheus' API that this release does not have are told from typing errors.
async fn not_there(method: Method, uri: axum::http::Uri) -> Response {
    const LATER: [&str; 6] = ["features", "notifications", "otlp/", "scrape_pools", "search/", "targets/"];
    let rest = uri.path().trim_start_matches("/api/v1/");
    if LATER.iter().any(|known| rest.starts_with(known)) {
        ApiError::not_there_yet(&format!("/api/v1/{rest}")).into_response()
    } else if method == Method::OPTIONS {
        StatusCode::NO_CONTENT.into_response()
    } else {
        no_such_page().await
    }
}

async fn wrong_method(method: Method, uri: axum::http::Uri) -> Response {
    // Asked before a request from elsewhere; without a header that allows it the answer is no.
    if method == Method::OPTIONS && uri.path().starts_with("/api/v1/") {
        return StatusCode::NO_CONTENT.into_response();
    }
    let kind = [(header::CONTENT_TYPE, "text/plain; charset=utf-8")];
    (StatusCode::METHOD_NOT_ALLOWED, kind, "Method Not Allowed\n").into_response()
}

async fn no_such_page() -> Response {
    let kind = [(header::CONTENT_TYPE, "text/plain; charset=utf-8")];
    (StatusCode::NOT_FOUND, kind, "404 page not found\n").into_response()
}

/// The connection goes on, and so does everything else.
fn after_a_panic(payload: Box<dyn std::any::Any + Send>) -> Response {
    ApiError::Internal(format!("internal error: {}", panic::message(&*payload))).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::Body;
    use axum::http::Request;
    use http_body_util::BodyExt;
    use hyper::service::Service;
    use hyper_util::service::TowerToHyperService;
    use serde_json::{Value, json};

    pub(super) fn app(turns: usize) -> Arc<App> {
        let settings = Settings {
            data_dir: "nowhere".into(),
            listen: ([127, 0, 0, 1], 0).into(),
            durability: tidegauge::Durability::Memory,
            scrape: Vec::new(),
            scrape_interval: std::time::Duration::from_secs(1),
            series_idle: None,
            host_metrics: false,
            admin_api: false,
            experimental: true,
            query_memory: tidegauge::Builder::QUERY_MEMORY_BYTES,
            query_concurrency: turns,
            kept: crate::config::Kept::default(),
        };
        let counters = Arc::new(Counters::new());
        let mut app = App::new(Engine::in_memory().unwrap(), settings, Arc::clone(&counters), Outcomes::default());
        Arc::get_mut(&mut app).unwrap().turns = Turns::impatient(turns, counters);
        app
    }

    /// It was 500, as of a defect: nothing said that it passes.
    #[test]
    fn a_request_that_gets_no_thread_is_told_to_try_again_and_holds_nothing() {
        const SERIES: &str = "/api/v1/series?match[]=up";
        let app = app(1);
        let service = TowerToHyperService::new(router(Arc::clone(&app)));
        // No system has room for such a stack, which is the same error as that of too many threads.
        let mut builder = tokio::runtime::Builder::new_current_thread();
        let runtime = builder.enable_all().thread_stack_size(1 << 50).build().unwrap();
        let requests = [("GET", "/api/v1/labels"), ("GET", "/-/ready"), ("POST", "/api/v1/write"), ("GET", SERIES)];
        // More often than there are turns, and places for probes.
        for (method, uri) in requests.repeat(8) {
            let request = Request::builder().method(method).uri(uri).header("content-encoding", "snappy");
            let request = request.header("content-type", "application/x-protobuf").body(Body::empty()).unwrap();
            let answer = runtime.block_on(async {
                let Ok(answer) = service.call(request).await;
                answer
            });
            assert_eq!(answer.status().as_u16(), 503, "{uri}");
            let body = runtime.block_on(answer.into_body().collect()).unwrap().to_bytes();
            let body = String::from_utf8_lossy(&body);
            assert!(body.contains("ulimit -u") && !body.contains("internal"), "{uri}: {body}");
        }
        assert!(app.turns.take_at_once().is_some(), "the turn is there again");
    }

    /// The only turn is taken for as long as the test wants, as by a long query.
    #[test]
    fn short_questions_need_no_turn_and_long_ones_wait_for_theirs() {
        let app = app(1);
        let service = TowerToHyperService::new(router(Arc::clone(&app)));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let ask = |path: &str, form: &[(&str, &str)]| -> (u16, Value) {
            let query = form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
            let request = Request::builder().uri(format!("/api/v1/{path}?{query}")).body(Body::empty()).unwrap();
            runtime.block_on(async {
                let Ok(answer) = service.call(request).await;
                let status = answer.status().as_u16();
                let body = answer.into_body().collect().await.unwrap().to_bytes();
                (status, serde_json::from_slice(&body).unwrap())
            })
        };
        let query = |text: &str| ask("query", &[("query", text), ("time", "5")]);
        let turn = app.turns.take_at_once().unwrap();
        // On the connection's thread.
        assert_eq!(query("1").1["data"]["result"], json!([5, "1"]));
        // As a try: a regular expression may find many series.
        let (status, tried) = query("count({a=~\".+\"}) or vector(7)");
        assert_eq!((status, &tried["data"]["result"][0]["value"]), (200, &json!([5, "7"])));
        assert_eq!(ask("labels", &[]).0, 200);
        assert_eq!(ask("series", &[("match[]", "{a=~\".+\"}")]).1["data"], json!([]));
        assert_eq!(query("a +").0, 400);
        assert_eq!(query("vector(1) * on () {a=~\".+\"} / label_replace(vector(1), \"b\", \"\", \"\", \"(\")").0, 503);
        let long = "count_over_time(vector(1)[30d:1s])";
        let (status, why) = query(long);
        assert_eq!((status, &why["errorType"]), (503, &json!("unavailable")), "{why}");
        let done = app.queries.done(std::time::Duration::MAX).len();
        drop(turn);
        assert_eq!(query(long).1["data"]["result"][0]["value"], json!([5, "2592000"]));
        assert_eq!(app.queries.done(std::time::Duration::MAX).len(), done + 1, "a try does not count");
        assert_eq!(done, 2, "nor did the others, but those that were answered");
    }
}
