//! How often things are repeated.

use std::time::Duration;

/// Repetitions of what is measured beside the throughput. A run of few samples is there to see
/// that everything works, and takes little of anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Effort {
    /// 64 KiB writes with fdatasync, half of them before the run and half after it.
    pub(super) disk_writes: u64,
    /// Times that a question is asked, at most.
    pub(super) questions: u32,
    /// Bursts of 1,024 pushes into an idle ring, for each way of timing them.
    pub(super) bursts: usize,
    /// Samples pushed one by one, nobody waiting, to see when they become visible.
    pub(super) unasked: u32,
    /// How long an engine is watched doing nothing.
    pub(super) idle: Duration,
    /// Whether roofs are taken before and after all.
    pub(super) roofs: bool,
}

/// Runs of fewer samples get little effort.
const FEW_SAMPLES: u64 = 200_000;

impl Effort {
    pub(super) fn of(samples: u64) -> Self {
        match samples {
            0..FEW_SAMPLES => Self {
                disk_writes: 20,
                questions: 20,
                bursts: 20,
                unasked: 20,
                idle: Duration::from_millis(100),
                roofs: false,
            },
            _ => Self {
                disk_writes: 200,
                questions: 1_000,
                bursts: 500,
                unasked: 1_000,
                idle: Duration::from_secs(5),
                roofs: true,
            },
        }
    }
}
