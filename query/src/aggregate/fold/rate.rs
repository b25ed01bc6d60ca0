//! A counter's increase per second.

use tidegauge_storage::chunk::{ChunkStats, StatsWanted};

use super::Fold;
use super::compensated::Compensated;
use crate::Aggregate;

/// The ends of the window's samples, and what resets took away between them.
#[derive(Default)]
pub(in super::super) struct Rate(Option<Span>);

struct Span {
    first: (i64, f64),
    last: (i64, f64),
    resets: f64,
}

impl Rate {
    /// What the resets of a chunk took, if adding all of it at once gives the bits of adding one after the other.
    fn taken(&self, stats: &ChunkStats) -> Option<f64> {
        if stats.resets == 0 {
            return Some(0.0);
        }
        let taken = stats.taken()?;
        let before = self
            .0
            .as_ref()
            .map_or(0.0, |span| span.resets + if stats.first_value < span.last.1 { span.last.1 } else { 0.0 });
        let is_exact = |sum: f64| sum.fract() == 0.0 && sum.abs() < (1u64 << 53) as f64;
        (is_exact(before) && is_exact(before + taken)).then_some(taken)
    }
}

impl Fold for Rate {
    /// The sum of the rates of the series joined so far.
    type Partial = Compensated;

    /// What resets took is proved by all the others.
    const WANTED: StatsWanted = StatsWanted::ALL;

    fn add(&mut self, timestamps: &[i64], values: &[f64]) {
        let (&[first_at, ..], &[first, ..]) = (timestamps, values) else { return };
        let (&[.., last_at], &[.., last]) = (timestamps, values) else { return };
        let span = self.0.get_or_insert(Span { first: (first_at, first), last: (first_at, first), resets: 0.0 });
        if first < span.last.1 {
            span.resets += span.last.1;
        }
        let pairs = || values.iter().zip(&values[1..]);
        // Without a branch inside, so that it vectorises: resets are rare.
        if pairs().fold(false, |any, (before, after)| any | (after < before)) {
            span.resets =
                pairs().filter(|(before, after)| after < before).fold(span.resets, |sum, (before, _)| sum + before);
        }
        span.last = (last_at, last);
    }

    /// Of NaN values the statistics keep no place.
    fn is_told(&self, stats: &ChunkStats) -> bool {
        stats.nan | stats.stale == 0 && self.taken(stats).is_some()
    }

    fn add_chunk(&mut self, stats: &ChunkStats) {
        let taken = self.taken(stats).unwrap_or_default();
        self.add(&[stats.first_timestamp], &[stats.first_value]);
        if let Some(span) = &mut self.0 {
            span.resets += taken;
            span.last = (stats.last_timestamp, stats.last_value);
        }
    }

    fn finish(&mut self) -> Option<Compensated> {
        let Span { first, last, resets } = self.0.take()?;
        let seconds = last.0.abs_diff(first.0) as f64 / 1e9;
        if seconds == 0.0 {
            return None;
        }
        let mut rate = Compensated::default();
        rate.add((last.1 - first.1 + resets) / seconds);
        Some(rate)
    }

    fn join(into: &mut Compensated, other: &Compensated) {
        into.join(other);
    }

    fn value(partial: &Compensated, aggregate: Aggregate) -> Option<f64> {
        (aggregate == Aggregate::Rate).then(|| partial.value())
    }
}
