//! The aggregates' inner loops: slices of samples in, one value out.

mod both;
mod compensated;
mod count;
mod edge;
mod extreme;
mod rate;
mod sum;

use tidegauge_storage::chunk::{ChunkStats, StatsWanted};

use crate::Aggregate;

pub(super) use both::Both;
pub(super) use count::Count;
pub(super) use edge::Edge;
pub(super) use extreme::Extreme;
pub(super) use rate::Rate;
pub(super) use sum::{Sum, Totals};

/// Gathers one series' samples in one window. [`finish`](Self::finish) makes it ready for the next.
///
/// What comes out must not depend on how the samples were cut into slices; only a sum may
/// differ in its last bit where statistics stand for samples.
pub(super) trait Fold: Default {
    /// What is kept of a window when its samples are gone: it can still be joined with
    /// what other series have in the same window.
    type Partial: Copy + Send + Sync;

    /// What of a chunk's statistics [`is_told`](Self::is_told) and [`add_chunk`](Self::add_chunk) look at.
    const WANTED: StatsWanted;

    /// Adds samples, later than all before; no staleness marker among them, at least one.
    fn add(&mut self, timestamps: &[i64], values: &[f64]);

    /// Whether a chunk's statistics tell all that there is to know of its samples, which are later than all before.
    fn is_told(&self, stats: &ChunkStats) -> bool {
        let _ = stats;
        true
    }

    /// Adds the samples of a whole chunk, staleness markers left out, by statistics that [tell](Self::is_told) all.
    fn add_chunk(&mut self, stats: &ChunkStats);

    /// What was added since the last call; `None` if that makes no value.
    fn finish(&mut self) -> Option<Self::Partial>;

    /// Joins with what another series, later in label order, has in the same window.
    fn join(into: &mut Self::Partial, other: &Self::Partial);

    /// The value answered of one of the aggregates that are told by what is kept; `None` if it has none, or is not told.
    fn value(partial: &Self::Partial, aggregate: Aggregate) -> Option<f64>;
}

/// Samples of a chunk that are no staleness markers.
fn present(stats: &ChunkStats) -> u64 {
    u64::from(stats.count.saturating_sub(stats.stale))
}
