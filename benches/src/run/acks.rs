//! How long an appender waits from a push until its batch is durable.

use serde::Serialize;
use tidegauge::{Durability, Stats};

use crate::measure::Latency;

/// Times from before a push until its durable acknowledgement, and what the device took meanwhile. In microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct AckTimes {
    /// The median.
    pub p50: f64,
    /// 99 % lie below.
    pub p99: f64,
    /// 99.9 % lie below.
    pub p999: f64,
    /// The longest.
    pub max: f64,
    /// Batches that were waited for.
    pub acks: u64,
    /// The fdatasyncs of the log that answered them: the median.
    pub fdatasync_p50: f64,
    /// 99 % of them lie below.
    pub fdatasync_p99: f64,
    /// What 99 % of the acknowledgements should lie below under `sync`: one fdatasync that had begun before the push,
    /// the one that covers it, and a millisecond.
    pub p99_bound: Option<f64>,
}

impl AckTimes {
    /// `None` if nobody waited. `stats` are those of the engine that was pushed to.
    pub(crate) fn of(acks: &Latency, stats: &Stats, durability: Durability) -> Option<Self> {
        let times = acks.quantiles()?;
        let us = |ns: f64| ns / 1e3;
        let device = |ns: u64| ns as f64 / 1e3;
        let fdatasync_p99 = device(stats.fdatasync.p99);
        Some(Self {
            p50: us(times.p50),
            p99: us(times.p99),
            p999: us(times.p999),
            max: us(times.max),
            acks: acks.len(),
            fdatasync_p50: device(stats.fdatasync.p50),
            fdatasync_p99,
            p99_bound: (durability == Durability::Sync).then_some(2.0 * fdatasync_p99 + 1e3),
        })
    }
}
