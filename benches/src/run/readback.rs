//! Reads everything back.

use rayon::prelude::*;
use tidegauge::query::{QueryError, QueryLimits, Selection};
use tidegauge::{Engine, MatchOp, Matcher, Snapshot, TimeRange, Timestamp};
use tidegauge_storage::source::{ColumnCursor, Columns};

use crate::checksum::{Checksum, hash_labels};
use crate::error::Error;

/// Fewer series than this are read in slices of time, so that all cores have work.
const SLICED_BELOW: usize = 64;
const SLICES: i64 = 64;

/// Selects by equality of labels, without limits: the driver reads more than a query may.
pub(crate) fn select(snapshot: &Snapshot, matchers: &[Matcher]) -> Result<Selection, Error> {
    let selection = snapshot.select_matching(matchers);
    Ok(selection.map_err(Error::engine("selecting series"))?.limits(QueryLimits::NONE))
}

pub(crate) fn equal(name: &str, value: &str) -> Matcher {
    Matcher::new(name, MatchOp::Equal, value).expect("a matcher by equality is always legal")
}

/// Count and checksum of everything visible now, and in how many series it is.
///
/// # Errors
/// [`Error::Engine`] if something cannot be read.
pub fn read_back(engine: &Engine) -> Result<(Checksum, u64), Error> {
    let snapshot = engine.snapshot();
    let selection = select(&snapshot, &[])?;
    let series = selection.len() as u64;
    let sum = |selection: &Selection, i: usize, columns: &mut Columns| {
        let labels = hash_labels(selection.labels(i).iter());
        let mut sum = Checksum::default();
        drain(selection, i, columns, |columns| sum.add_columns(labels, &columns.timestamps, &columns.values))?;
        Ok(sum)
    };
    let all = everything(&snapshot, &selection, Cores::All, sum, |mut a, b| {
        a.merge(b);
        a
    })?;
    Ok((all, series))
}

/// Who reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cores {
    /// As many threads as there are processors.
    All,
    /// The thread that asks.
    One,
}

/// What a scan saw: every timestamp and every value was touched.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Scanned {
    pub(crate) count: u64,
    pub(crate) sum: f64,
    /// Wrapping sum of the timestamps.
    pub(crate) timestamps: i64,
}

/// Reads and sums all columns, selecting included.
pub(crate) fn scan(engine: &Engine, cores: Cores) -> Result<Scanned, Error> {
    let snapshot = engine.snapshot();
    let selection = select(&snapshot, &[])?;
    let sum = |selection: &Selection, i: usize, columns: &mut Columns| {
        let mut seen = Scanned::default();
        drain(selection, i, columns, |columns| {
            seen.count += columns.len() as u64;
            seen.sum += sum_of(&columns.values);
            seen.timestamps = columns.timestamps.iter().fold(seen.timestamps, |sum, &at| sum.wrapping_add(at));
        })?;
        Ok(seen)
    };
    everything(&snapshot, &selection, cores, sum, |a, b| Scanned {
        count: a.count + b.count,
        sum: a.sum + b.sum,
        timestamps: a.timestamps.wrapping_add(b.timestamps),
    })
}

/// Eight sums side by side, so that additions need not wait for each other.
pub(super) fn sum_of(values: &[f64]) -> f64 {
    let (chunks, rest) = values.as_chunks::<8>();
    let mut sums = [0.0; 8];
    chunks.iter().for_each(|chunk| sums.iter_mut().zip(chunk).for_each(|(sum, value)| *sum += value));
    sums.iter().sum::<f64>() + rest.iter().sum::<f64>()
}

/// Hands all samples of series `i` to `see`, some thousand at a time, in `columns`, which serve for one series after the other:
/// new ones for each are a good part of what a short series takes.
fn drain(
    selection: &Selection,
    i: usize,
    columns: &mut Columns,
    mut see: impl FnMut(&Columns),
) -> Result<(), QueryError> {
    let mut cursor = selection.series(i).cursor();
    columns.clear();
    while cursor.next(columns)? {
        see(columns);
        columns.clear();
    }
    Ok(())
}

fn everything<R: Send + Default>(
    snapshot: &Snapshot,
    selection: &Selection,
    cores: Cores,
    read: impl Fn(&Selection, usize, &mut Columns) -> Result<R, QueryError> + Sync,
    join: impl Fn(R, R) -> R + Send + Sync,
) -> Result<R, Error> {
    let slices = if selection.len() < SLICED_BELOW { slices(snapshot) } else { vec![TimeRange::ALL] };
    let narrowed: Vec<Selection> = slices.into_iter().map(|slice| selection.clone().range(slice)).collect();
    let one = |columns: &mut Columns, n: usize| read(&narrowed[n % narrowed.len()], n / narrowed.len(), columns);
    let all = 0..selection.len() * narrowed.len();
    let read = match cores {
        Cores::All => {
            let work =
                || all.into_par_iter().map_init(Columns::default, one).try_reduce(R::default, |a, b| Ok(join(a, b)));
            snapshot.install(|_| work())
        }
        Cores::One => {
            let mut columns = Columns::default();
            all.into_iter().map(|n| one(&mut columns, n)).try_fold(R::default(), |a, b| Ok(join(a, b?)))
        }
    };
    read.map_err(Error::engine("reading everything back"))
}

/// The time of all sources, cut into equal slices that together are all time.
fn slices(snapshot: &Snapshot) -> Vec<TimeRange> {
    let ranges = || snapshot.sources().iter().filter_map(|source| source.time_range());
    let (Some(start), Some(end)) = (ranges().map(|r| r.start).min(), ranges().map(|r| r.end).max()) else {
        return vec![TimeRange::ALL];
    };
    let width = (end.nanos().saturating_sub(start.nanos()) / SLICES).max(1);
    let mut cuts = vec![Timestamp::MIN];
    cuts.extend((1..SLICES).map(|k| Timestamp::from_nanos(start.nanos().saturating_add(k.saturating_mul(width)))));
    cuts.push(Timestamp::MAX);
    cuts.windows(2).map(|w| TimeRange::new(w[0], w[1])).collect()
}
