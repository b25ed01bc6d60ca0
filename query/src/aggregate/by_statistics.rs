//! Series that the statistics of one source's chunks tell all of.

use tidegauge_storage::chunk::{ChunkStats, StatsWanted};
use tidegauge_storage::source::ReadCounts;

use super::between::Told;
use super::fold::Fold;
use super::scan::{Asked, Partials, ruled};
use super::window::Window;
use crate::QueryError;
use crate::limits::Meter;
use crate::select::OfOneSource;

/// Folds as many of these series, from the first on, as statistics tell all of. Hands `each` the place of a series and
/// what has a value, which is in `out` meanwhile. Answers how many series were told.
pub(super) fn by_statistics<F: Fold>(
    series: &OfOneSource<'_>,
    asked: Asked,
    meter: &mut Meter<'_>,
    out: &mut Partials<F::Partial>,
    each: &mut impl FnMut(usize, &mut Partials<F::Partial>) -> Result<(), QueryError>,
) -> Result<u32, QueryError> {
    out.clear();
    let first = series.ordinals.start;
    let mut counts = ReadCounts::default();
    let wanted = StatsWanted { extremes: F::WANTED.extremes || asked.between.is_some(), ..F::WANTED };
    let mut telling = Telling {
        asked,
        fold: F::default(),
        of: None,
        window: None,
        so_far: Seen::default(),
        seen: Seen::default(),
        out,
        failed: None,
    };
    let told = series.source.statistics(
        series.ordinals.clone(),
        series.range,
        wanted,
        &mut counts,
        &mut |ordinal, stats| {
            let at = ordinal - first;
            if telling.of != Some(at) {
                telling.end(each);
                telling.of = Some(at);
            }
            telling.failed.is_none() && telling.see(stats)
        },
    )?;
    if telling.of.is_some_and(|at| at < told) {
        telling.end(each);
    }
    let Telling { so_far, failed, .. } = telling;
    if let Some(failed) = failed {
        return Err(failed);
    }
    meter.read(ruled(counts, so_far.ruled_out));
    meter.series(told.into())?;
    meter.statistics(counts.chunks_by_statistics, so_far.samples)?;
    Ok(told)
}

/// What was seen of chunks.
#[derive(Clone, Copy, Default)]
struct Seen {
    samples: u64,
    /// Chunks of which no sample counts.
    ruled_out: u64,
}

/// A fold of one series after the other.
struct Telling<'a, F: Fold> {
    asked: Asked,
    fold: F,
    /// The place of the series that is told of.
    of: Option<u32>,
    window: Option<Window>,
    /// Of the series before.
    so_far: Seen,
    /// Of this one.
    seen: Seen,
    out: &'a mut Partials<F::Partial>,
    failed: Option<QueryError>,
}

impl<F: Fold> Telling<'_, F> {
    /// Folds a chunk, if its statistics tell all of it.
    #[inline(always)]
    fn see(&mut self, stats: &ChunkStats) -> bool {
        match self.asked.tells(stats) {
            Told::Everything => {}
            Told::Some => return false,
            Told::Nothing => {
                self.seen.ruled_out += 1;
                return true;
            }
        }
        let window = match self.window {
            Some(window) if stats.first_timestamp <= window.last => window,
            _ => self.asked.windows.holding(stats.first_timestamp),
        };
        if stats.last_timestamp > window.last {
            return false;
        }
        if self.window != Some(window)
            && let (Some(before), Some(value)) = (self.window.replace(window), self.fold.finish())
        {
            self.out.push(before, value);
        }
        if !self.fold.is_told(stats) {
            return false;
        }
        self.seen.samples += u64::from(stats.count);
        self.fold.add_chunk(stats);
        true
    }

    /// The series that was told of, if there was one, is told whole.
    #[inline(always)]
    fn end(&mut self, each: &mut impl FnMut(usize, &mut Partials<F::Partial>) -> Result<(), QueryError>) {
        let Some(at) = self.of else { return };
        if let (Some(window), Some(value)) = (self.window.take(), self.fold.finish()) {
            self.out.push(window, value);
        }
        let Seen { samples, ruled_out } = std::mem::take(&mut self.seen);
        self.so_far.samples += samples;
        self.so_far.ruled_out += ruled_out;
        if !self.out.windows.is_empty() {
            let handed = self.out.weigh().and_then(|()| each(at as usize, self.out));
            self.failed = self.failed.take().or(handed.err());
            self.out.clear();
        }
    }
}
