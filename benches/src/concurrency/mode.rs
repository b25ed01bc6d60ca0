//! What the workers of a cell do, and what others have published for it.

use std::fmt;

use clap::ValueEnum;
use serde::Serialize;

/// What the workers of a cell do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// The last value of a random series, by its handle, as of the moment of the call.
    Read,
    /// The last value of a random series, by its handle, in a snapshot taken for it.
    ReadSnapshot,
    /// The same, by its labels.
    ReadSnapshotLabels,
    /// Write a sample of a random series, wait until it is visible.
    Write,
    /// 70 % reads as of the moment of the call, 30 % writes, of random series.
    Mixed,
    /// The same, each read in a snapshot taken for it.
    MixedSnapshot,
    /// As `mixed`, all of one series.
    HotKey,
    /// As `mixed`, each worker of series of its own.
    Sharded,
    /// Write 100 samples of random series in one batch, wait until they are visible.
    Batches,
    /// As `read`, after a flush: the values lie in segments only.
    ReadFlushed,
}

/// Samples of a batch in [`Mode::Batches`].
pub(super) const BATCH: u64 = 100;

/// Workers that figures are published for.
const PUBLISHED_WORKERS: [u32; 4] = [1, 5, 10, 20];

impl Mode {
    /// In the order of the table: reads come before anything was written.
    pub const ALL: [Self; 10] = [
        Self::Read,
        Self::ReadSnapshot,
        Self::ReadSnapshotLabels,
        Self::Write,
        Self::Mixed,
        Self::MixedSnapshot,
        Self::HotKey,
        Self::Sharded,
        Self::Batches,
        Self::ReadFlushed,
    ];

    /// Reads among 100 operations.
    pub(super) fn reads_percent(self) -> u64 {
        match self {
            Self::Read | Self::ReadSnapshot | Self::ReadSnapshotLabels | Self::ReadFlushed => 100,
            Self::Write | Self::Batches => 0,
            Self::Mixed | Self::MixedSnapshot | Self::HotKey | Self::Sharded => 70,
        }
    }

    /// Samples of one write.
    pub(super) fn samples_of_a_write(self) -> u64 {
        if self == Self::Batches { BATCH } else { 1 }
    }

    /// The published figures of an embedded concurrent store, on one machine, in process. Its reads are last values from
    /// a fresh snapshot: reads as of the moment of the call have none to stand beside.
    #[must_use]
    pub fn published_ops_per_s(self, workers: u32) -> Option<f64> {
        let row = match self {
            Self::ReadSnapshot => [0.8e6, 4e6, 8e6, 16e6],
            Self::Write => [600e3, 300e3, 250e3, 200e3],
            Self::MixedSnapshot => [720e3, 800e3, 850e3, 900e3],
            _ => return None,
        };
        PUBLISHED_WORKERS.iter().position(|&n| n == workers).map(|i| row[i])
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.to_possible_value().expect("no mode is left out");
        f.write_str(name.get_name())
    }
}
