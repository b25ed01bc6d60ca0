//! What collects while the agent lives.

use std::net::SocketAddr;
use std::sync::Arc;

use tidegauge::Engine;
use tokio::task::JoinHandle;

use crate::cli::Failure;
use crate::config::Settings;
use crate::own::{self, Counters};

/// Running collectors; they end with [`Collectors::stop`].
pub(super) struct Collectors {
    own: Option<JoinHandle<()>>,
}

impl Collectors {
    /// Starts what the settings ask for. Our own metrics go with this machine's: who wants
    /// neither wants a store that holds what was pushed and nothing else.
    pub(super) fn start(
        engine: &Engine,
        settings: &Settings,
        counters: &Arc<Counters>,
        bound: SocketAddr,
    ) -> Result<Self, Failure> {
        let own = if settings.host_metrics {
            let collector =
                own::Collector::new(engine.clone(), Arc::clone(counters), bound.to_string()).map_err(Failure::found)?;
            Some(tokio::spawn(collector.run(settings.scrape_interval)))
        } else {
            None
        };
        Ok(Self { own })
    }

    /// Ends all of them, so that the engine can be closed.
    pub(super) async fn stop(self) {
        if let Some(own) = self.own {
            own.abort();
            let _ = own.await;
        }
    }
}
