//! What the fuzz targets see of the agent, and nobody else: it exists under `cfg(fuzzing)` only.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::{Method, Request, header};
use http_body_util::BodyExt;
use hyper::service::Service;
use hyper_util::service::TowerToHyperService;
use tidegauge::{Durability, Engine};
use tokio::runtime::{Builder, Runtime};

use crate::collect::Outcomes;
use crate::config::Settings;
use crate::http::{App, router};
use crate::own::Counters;

/// Answers requests as the agent does, without a socket.
#[derive(Debug)]
pub struct Asker {
    service: TowerToHyperService<axum::Router>,
    runtime: Runtime,
}

impl Asker {
    /// Serves what `engine` holds.
    ///
    /// # Panics
    /// If the machine has no thread to give.
    #[must_use]
    pub fn new(engine: Engine) -> Self {
        let settings = Settings {
            data_dir: "nowhere".into(),
            listen: ([127, 0, 0, 1], 0).into(),
            durability: Durability::Memory,
            scrape: Vec::new(),
            scrape_interval: Duration::from_secs(1),
            host_metrics: false,
            admin_api: false,
            experimental: true,
            query_memory: tidegauge::Builder::QUERY_MEMORY_BYTES,
            query_concurrency: 20,
            kept: crate::config::Kept::default(),
            series_idle: None,
        };
        let app = App::new(engine, settings, Arc::new(Counters::new()), Outcomes::default());
        let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
        Self { service: TowerToHyperService::new(router(app)), runtime }
    }

    /// Status and body of the answer to a form that is sent to `path`, as address (`GET`) or as body (`POST`).
    ///
    /// `None` if no request can be made of it.
    #[must_use]
    pub fn ask(&self, path: &str, form: &[u8], post: bool) -> Option<(u16, Vec<u8>)> {
        let request = if post {
            let kind = "application/x-www-form-urlencoded";
            let request = Request::builder().method(Method::POST).uri(path).header(header::CONTENT_TYPE, kind);
            request.body(Body::from(form.to_vec())).ok()?
        } else {
            let uri = format!("{path}?{}", std::str::from_utf8(form).ok()?);
            Request::builder().uri(uri).body(Body::empty()).ok()?
        };
        self.answer(request)
    }

    /// Status and body of the answer to a body of remote write or remote read, packed by snappy first if `pack`.
    ///
    /// `None` if no request can be made of it.
    #[must_use]
    pub fn send(&self, path: &str, kind: &str, body: &[u8], pack: bool) -> Option<(u16, Vec<u8>)> {
        let packed = if pack { snap::raw::Encoder::new().compress_vec(body).ok()? } else { body.to_vec() };
        let request = Request::builder().method(Method::POST).uri(path).header(header::CONTENT_TYPE, kind);
        self.answer(request.header(header::CONTENT_ENCODING, "snappy").body(Body::from(packed)).ok()?)
    }

    fn answer(&self, request: Request<Body>) -> Option<(u16, Vec<u8>)> {
        self.runtime.block_on(async {
            let Ok(answer) = self.service.call(request).await;
            let status = answer.status().as_u16();
            let body = answer.into_body().collect().await.ok()?.to_bytes();
            Some((status, body.to_vec()))
        })
    }
}
