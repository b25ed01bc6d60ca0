//! When to stop: SIGINT or SIGTERM; a second one stops at once.

use std::io::{self, Write};
use std::process;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;

/// Whoever ends a group of processes may signal us twice, and means it once.
const ONE_ASKING: Duration = Duration::from_millis(200);

/// The first signal, which arrived or will.
pub(super) struct Stop(oneshot::Receiver<()>);

impl Stop {
    /// From here on the signals are ours. After the second one the process is gone with exit code 1, wherever it is,
    /// as after `kill -9`: what was acknowledged as durable comes back.
    pub(super) fn listen() -> io::Result<Self> {
        let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
        // Where files may not grow (`ulimit -f`) a write is to fail with an error that is told, and not to end the process.
        // Whoever listened once has the signal kept from ending it for good.
        drop(signal(SignalKind::from_raw(Signal::XFSZ.as_raw()))?);
        let mut asked = async move || {
            tokio::select! {
                _ = interrupt.recv() => (),
                _ = terminate.recv() => (),
            }
        };
        let (first, stop) = oneshot::channel();
        tokio::spawn(async move {
            asked().await;
            let since = Instant::now();
            let _ = first.send(());
            loop {
                asked().await;
                if since.elapsed() >= ONE_ASKING {
                    let _ = writeln!(io::stderr(), "tidegauge: stopped at once, as asked twice");
                    process::exit(1);
                }
            }
        });
        Ok(Self(stop))
    }

    /// Done once one arrived.
    pub(super) async fn asked(self) {
        let _ = self.0.await;
    }
}
