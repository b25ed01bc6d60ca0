//! What an engine does that nobody asks: it makes a sample visible in a while, and costs little when nothing comes.

use std::thread;
use std::time::{Duration, Instant};

use tidegauge::Engine;

use super::ingest::PATIENCE;
use crate::error::Error;
use crate::measure::{Latency, cpu_s};

/// Long enough for the worker to have gone to sleep; a little different each time, so that the sample does not come
/// at the same place of its nap.
const BETWEEN: Duration = Duration::from_micros(3_000);
const SHIFT: Duration = Duration::from_micros(137);
/// As long as the worker of an idle engine naps.
const WORKER_NAP: Duration = Duration::from_micros(1_800);
/// After the last sample: syncs and flushes that are owed come to rest.
const SETTLE: Duration = Duration::from_millis(500);

/// Times from the push of a sample until a snapshot holds it, while nobody waits for it. `push` pushes one sample.
pub(super) fn visible_unasked(
    engine: &Engine,
    times: u32,
    mut push: impl FnMut() -> Result<(), Error>,
) -> Result<Latency, Error> {
    let mut latency = Latency::new();
    for i in 0..times {
        thread::sleep(BETWEEN + SHIFT * (i % 16));
        let before = engine.snapshot().watermark();
        let start = Instant::now();
        push()?;
        while engine.snapshot().watermark() == before {
            if start.elapsed() > PATIENCE {
                return Err(Error::Wrong("a sample never became visible unasked".into()));
            }
            std::hint::spin_loop();
        }
        latency.record_ns(start.elapsed().as_nanos() as u64);
    }
    Ok(latency)
}

/// The share of one processor that the whole process takes for `time` in which nothing is asked of it.
pub(super) fn idle_share(time: Duration) -> f64 {
    thread::sleep(SETTLE);
    let (before_s, start) = (cpu_s(), Instant::now());
    thread::sleep(time);
    (cpu_s() - before_s) / start.elapsed().as_secs_f64()
}

/// The share of one processor that this thread takes for `time` in which it only naps as often as an idle worker: what
/// the system's wake-ups alone cost.
pub(super) fn nap_share(time: Duration) -> f64 {
    let (before_s, start) = (cpu_s(), Instant::now());
    while start.elapsed() < time {
        thread::park_timeout(WORKER_NAP);
    }
    (cpu_s() - before_s) / start.elapsed().as_secs_f64()
}
