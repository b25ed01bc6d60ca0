//! What collects while the agent lives.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tidegauge::Engine;
use tokio::task::JoinHandle;

use crate::blocking;
use crate::collect::{self, Outcomes};
use crate::config::Settings;
use crate::failure::Failure;
use crate::own::{self, Counters};

/// A target that hangs holds its thread until its timeout; stopping does not wait for that.
const STOP_TIME_MAX: Duration = Duration::from_secs(1);

/// Running collectors; they end with [`Collectors::stop`].
pub(super) struct Collectors {
    others: collect::Collectors,
    own: Option<JoinHandle<()>>,
}

impl Collectors {
    /// Starts what the settings ask for. Our own metrics go with this machine's: who wants
    /// neither wants a store that holds what was pushed and nothing else.
    pub(super) fn start(
        engine: &Engine,
        settings: &Settings,
        counters: &Arc<Counters>,
        outcomes: Outcomes,
        bound: SocketAddr,
    ) -> Result<Self, Failure> {
        let wanted = collect::Settings {
            interval: settings.scrape_interval,
            host: settings.host_metrics,
            targets: settings.scrape.clone(),
            outcomes,
            ..collect::Settings::default()
        };
        let others = collect::Collectors::start(engine, &wanted).map_err(Failure::found)?;
        let own = if settings.host_metrics {
            let collector =
                own::Collector::new(engine.clone(), Arc::clone(counters), bound.to_string()).map_err(Failure::found)?;
            Some(tokio::spawn(collector.run(settings.scrape_interval)))
        } else {
            None
        };
        Ok(Self { others, own })
    }

    /// Ends all of them, so that the engine can be closed. One that is still busy after a
    /// second is left behind: its next push finds the engine closed.
    pub(super) async fn stop(self) {
        if let Some(own) = self.own {
            own.abort();
            let _ = own.await;
        }
        let others = self.others;
        let _ = tokio::time::timeout(STOP_TIME_MAX, blocking::run(move || others.stop())).await;
    }
}
