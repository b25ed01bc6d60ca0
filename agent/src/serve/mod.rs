//! The life of the agent: open, collect, answer, and stop without losing anything.

mod collectors;
mod stop;

use std::net::SocketAddr;
use std::sync::Arc;

use tidegauge::{Builder, Engine, Retention, RetentionRule};
use tokio::net::TcpListener;

use crate::collect::{self, Report};
use crate::config::Settings;
use crate::failure::Failure;
use crate::http::{self, App};
use crate::own::Counters;
use collectors::Collectors;

/// Runs until a signal, or until something makes it impossible to begin.
pub(crate) fn run(settings: Settings) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name("tidegauge-http")
        .build()
        .map_err(|e| Failure::found(format_args!("cannot start threads: {e}")))?;
    runtime.block_on(live(settings))
}

async fn live(settings: Settings) -> Result<(), Failure> {
    // Signals first: one that comes during a long recovery must not kill us half-way.
    let mut stop = stop::Stop::listen().map_err(|e| Failure::found(format_args!("cannot listen for signals: {e}")))?;
    // The address before the data: a taken port must not cost a recovery.
    let listener = TcpListener::bind(settings.listen)
        .await
        .map_err(|e| Failure::found(format_args!("cannot listen on {}: {e}", settings.listen)))?;
    let bound = listener.local_addr().unwrap_or(settings.listen);
    let engine = open(&settings, builder(&settings, bound, collect::to_stderr())).await?;

    let counters = Arc::new(Counters::new());
    let collectors = Collectors::start(&engine, &settings, &counters, bound)?;
    let app = App::new(engine.clone(), settings.clone(), counters);
    announce(&settings, bound);
    http::serve(listener, http::router(app), stop.asked()).await;
    collectors.stop().await;

    let closed = tokio::task::spawn_blocking(move || engine.close()).await;
    match closed {
        Ok(Ok(())) => Ok(()),
        Ok(Err(why)) => Err(Failure::found(why)),
        Err(why) => Err(Failure::found(format_args!("closing failed: {why}"))),
    }
}

/// The engine as the settings want it; what it warns of goes to `report`.
fn builder(settings: &Settings, bound: SocketAddr, report: Report) -> Builder {
    Engine::builder(&settings.data_dir)
        .durability(settings.durability)
        .address(bound.to_string())
        .on_warning(move |warning| report(&format!("warning: {warning}")))
}

async fn open(settings: &Settings, builder: Builder) -> Result<Engine, Failure> {
    let max_age = settings.retention;
    let opened = tokio::task::spawn_blocking(move || {
        let engine = builder.open().map_err(Failure::found)?;
        if let Some(age) = max_age {
            let rule = RetentionRule { matchers: Vec::new(), max_age: Some(age) };
            let kept = Retention { rules: vec![rule], ..engine.retention() };
            if engine.retention() != kept {
                engine.set_retention(kept).map_err(Failure::found)?;
            }
        }
        Ok(engine)
    });
    match opened.await {
        Ok(opened) => opened,
        Err(why) => Err(Failure::found(format_args!("opening failed: {why}"))),
    }
}

/// The one line on stdout: where to look.
fn announce(settings: &Settings, bound: SocketAddr) {
    use std::io::Write;
    let mut out = std::io::stdout().lock();
    // Nobody reading our stdout is no reason to stop.
    let _ = writeln!(
        out,
        "tidegauge {} is ready: http://{bound}  (data in {}, durability {})",
        env!("CARGO_PKG_VERSION"),
        settings.data_dir.display(),
        settings.durability
    );
    let _ = out.flush();
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::config::ServeArgs;

    #[test]
    fn what_the_engine_warns_of_is_a_line_in_the_log() {
        let dir = tempfile::tempdir().unwrap();
        let args = ServeArgs { data_dir: Some(dir.path().join("data")), ..ServeArgs::default() };
        let settings = crate::config::settle(args).unwrap();
        let (lines, log) = std::sync::mpsc::channel();
        let report: Report = Arc::new(move |line: &str| drop(lines.send(line.to_owned())));
        let builder = builder(&settings, settings.listen, report).snapshot_warn_after(Duration::from_millis(1));
        let engine = builder.open().unwrap();
        let _held = engine.snapshot();
        let line = log.recv_timeout(Duration::from_secs(30)).expect("a warning");
        assert!(line.starts_with("warning: a snapshot has been held"), "{line}");
    }
}
