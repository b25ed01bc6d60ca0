//! The parallel run: series in pieces, pieces in waves, answers joined in label order.
//!
//! How series are cut into pieces depends on their number alone, and what the pieces
//! answer is joined in their order; so the answer does not depend on the number of threads.

use std::collections::BTreeMap;
use std::ops::Range;

use tidegauge_storage::model::Labels;

use super::fold::Fold;
use super::group::{Grouping, Groups, join};
use super::scan::{Asked, Partials, Scan};
use super::{Aggregate, ResultSeries, Table};
use crate::limits::Budget;
use crate::parallel::chunks_with;
use crate::{QueryError, Selection};

/// Into how many chunks series are cut, where there are enough of them.
const CHUNKS: usize = 256;
/// What a thread takes at a time, but for the last quarter of the series, of which it takes chunk by chunk.
const CHUNKS_OF_A_LARGE_PIECE: usize = 4;
/// How many chunks a thread works on before the first join. More of them wait longer in
/// memory; fewer leave threads idle at the end of each wave.
const CHUNKS_OF_A_WAVE: usize = 8;
const _: () = assert!(CHUNKS_OF_A_WAVE.is_multiple_of(CHUNKS_OF_A_LARGE_PIECE), "a wave ends where a piece does");
/// A wave is longer than that where it answers no more windows than these in any case, and one that answered
/// fewer is followed by one twice as long: each join leaves threads without work, which must be woken again.
const WINDOWS_OF_A_WAVE: usize = 1 << 16;

/// A table of each of the aggregates, which `F` tells.
pub(super) fn tables<F: Fold>(
    selection: &Selection,
    asked: Asked,
    grouping: &Grouping,
    aggregates: &[Aggregate],
    budget: &Budget,
) -> Result<Vec<Table>, QueryError> {
    budget.check()?;
    match grouping {
        Grouping::Series => each::<F>(selection, asked, aggregates, budget),
        Grouping::By(names) => grouped::<F>(selection, asked, names, aggregates, budget),
    }
}

/// Where series are cut: pieces of several chunks at first, which cost the threads fewer looks at what they share, and of
/// one chunk where the work comes to its end, so that none waits long for another.
#[derive(Clone, Copy)]
struct Cut {
    chunk: usize,
    large: usize,
    /// The first series behind the large pieces.
    large_until: usize,
}

impl Cut {
    fn of(selection: &Selection) -> Self {
        Self::new(selection.len())
    }

    fn new(series: usize) -> Self {
        let chunk = series.div_ceil(CHUNKS).clamp(1, 1024);
        // Few series may be long ones, each worth a thread.
        let large = if series > CHUNKS { chunk * CHUNKS_OF_A_LARGE_PIECE } else { chunk };
        Self { chunk, large, large_until: series / 4 * 3 / large * large }
    }

    /// The pieces of `series`, which begin where one begins and end where one ends.
    fn pieces(self, series: Range<usize>) -> Vec<Range<usize>> {
        let mut pieces = Vec::with_capacity(series.len() / self.chunk + 1);
        let mut at = series.start;
        while at < series.end {
            let len = if at < self.large_until { self.large } else { self.chunk };
            let next = (at + len).min(series.end);
            pieces.push(at..next);
            at = next;
        }
        pieces
    }
}

/// What a thread works with.
type Scratch<'a, F> = (Scan<'a>, Partials<<F as Fold>::Partial>);

fn begin<F: Fold>(budget: &Budget) -> Result<Scratch<'_, F>, QueryError> {
    Ok((Scan::new(budget), Partials::new(budget)?))
}

fn end<F: Fold>((mut scan, _): Scratch<'_, F>) -> Result<(), QueryError> {
    scan.settle()
}

/// Each series its own answer.
fn each<F: Fold>(
    selection: &Selection,
    asked: Asked,
    aggregates: &[Aggregate],
    budget: &Budget,
) -> Result<Vec<Table>, QueryError> {
    let one = |(scan, partials): &mut Scratch<'_, F>, series: Range<usize>| {
        let mut held = budget.hold(0)?;
        let mut answers = Answers::new(aggregates);
        scan.each::<F>(selection, series, asked, partials, &mut |i, partials| {
            let answer = size_of::<ResultSeries>() + partials.windows.len() * 16;
            held.grow((aggregates.len() * answer) as u64)?;
            answers.add::<F>(selection.labels(i), partials);
            Ok(())
        })?;
        Ok((answers, held))
    };
    let cut = Cut::of(selection);
    let (helpers, long) = (selection.helpers(), selection.is_long(cut.large));
    let pieces = cut.pieces(0..selection.len());
    let found = chunks_with(helpers, long, pieces, || begin::<F>(budget), one, end::<F>)?;
    let mut answers = Answers::new(aggregates);
    for (more, _) in found {
        answers.join(more);
    }
    Ok(answers.tables)
}

/// One answer for each group.
fn grouped<F: Fold>(
    selection: &Selection,
    asked: Asked,
    names: &[String],
    aggregates: &[Aggregate],
    budget: &Budget,
) -> Result<Vec<Table>, QueryError> {
    let groups = Groups::new(selection, names, budget)?;
    let cut = Cut::of(selection);
    let (helpers, long) = (selection.helpers(), selection.is_long(cut.large));
    let surely = WINDOWS_OF_A_WAVE / asked.windows.most_in(selection.time_range());
    let mut wave = (cut.chunk * CHUNKS_OF_A_WAVE * helpers.threads()).max(surely - surely % cut.large);
    let mut total: BTreeMap<usize, Partials<F::Partial>> = BTreeMap::new();
    let one = |scratch: &mut Scratch<'_, F>, series: Range<usize>| {
        piece_by_group::<F>(selection, asked, &groups, series, scratch, budget)
    };
    let mut next = 0;
    while next < selection.len() {
        let series = next..next.saturating_add(wave).min(selection.len());
        next = series.end;
        let mut windows = 0;
        let found = chunks_with(helpers, long, cut.pieces(series), || begin::<F>(budget), one, end::<F>)?;
        for (group, mut partials) in found.into_iter().flatten() {
            windows += partials.windows.len();
            add::<F>(&mut total, group, &mut partials, budget)?;
        }
        if windows < WINDOWS_OF_A_WAVE {
            wave = wave.saturating_mul(2);
        }
        budget.check()?;
    }
    let windows: usize = total.values().map(|partials| partials.windows.len()).sum();
    let answers = total.len() * size_of::<ResultSeries>() + windows * 16;
    let _held = budget.hold((aggregates.len() * answers) as u64)?;
    let mut total: Vec<_> = total.iter().map(|(&group, partials)| (&groups.labels[group], partials)).collect();
    total.sort_unstable_by_key(|(labels, _)| *labels);
    let mut answers = Answers::new(aggregates);
    for (labels, partials) in total {
        answers.add::<F>(labels, partials);
    }
    Ok(answers.tables)
}

fn piece_by_group<F: Fold>(
    selection: &Selection,
    asked: Asked,
    groups: &Groups,
    series: Range<usize>,
    (scan, partials): &mut Scratch<'_, F>,
    budget: &Budget,
) -> Result<BTreeMap<usize, Partials<F::Partial>>, QueryError> {
    let mut found = BTreeMap::new();
    scan.each::<F>(selection, series, asked, partials, &mut |i, partials| {
        add::<F>(&mut found, groups.of(i), partials, budget)
    })?;
    Ok(found)
}

/// Joins `partials` into their group, which takes them as they are if it has none yet.
fn add<F: Fold>(
    into: &mut BTreeMap<usize, Partials<F::Partial>>,
    group: usize,
    partials: &mut Partials<F::Partial>,
    budget: &Budget,
) -> Result<(), QueryError> {
    match into.get_mut(&group) {
        Some(so_far) => join::<F>(so_far, partials, budget),
        None => {
            into.insert(group, std::mem::replace(partials, Partials::new(budget)?));
            Ok(())
        }
    }
}

/// What has a value, of each aggregate.
struct Answers<'a> {
    aggregates: &'a [Aggregate],
    /// One for each of them.
    tables: Vec<Table>,
}

impl<'a> Answers<'a> {
    fn new(aggregates: &'a [Aggregate]) -> Self {
        Self { aggregates, tables: vec![Table::default(); aggregates.len()] }
    }

    /// Adds what is told of one series or group, later in label order than all before.
    fn add<F: Fold>(&mut self, labels: &Labels, partials: &Partials<F::Partial>) {
        let n = partials.windows.len();
        for (&aggregate, table) in self.aggregates.iter().zip(&mut self.tables) {
            let (mut timestamps, mut values) = (Vec::with_capacity(n), Vec::with_capacity(n));
            for (&window, partial) in partials.windows.iter().zip(&partials.values) {
                if let Some(value) = F::value(partial, aggregate) {
                    timestamps.push(window);
                    values.push(value);
                }
            }
            if !values.is_empty() {
                table.series.push(ResultSeries { labels: labels.clone(), timestamps, values });
            }
        }
    }

    fn join(&mut self, later: Self) {
        for (table, more) in self.tables.iter_mut().zip(later.tables) {
            table.series.extend(more.series);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_the_same_however_long_the_waves_are() {
        for series in (0..600).chain([1_000, 4_000, 99_999, 262_144, 300_000, 1_000_003]) {
            let cut = Cut::new(series);
            let all = cut.pieces(0..series);
            assert_eq!(all.iter().flat_map(Clone::clone).collect::<Vec<_>>(), (0..series).collect::<Vec<_>>());
            let large = all.iter().filter(|piece| piece.len() > cut.chunk);
            assert!(large.map(|piece| piece.end).all(|end| end <= series - series / 4), "{series}: {all:?}");
            for threads in [1, 3] {
                let (mut wave, mut next, mut of_waves) = (cut.chunk * CHUNKS_OF_A_WAVE * threads, 0, Vec::new());
                while next < series {
                    let end = (next + wave).min(series);
                    of_waves.extend(cut.pieces(next..end));
                    (next, wave) = (end, wave * 2);
                }
                assert_eq!(of_waves, all, "{series} series by {threads} threads");
            }
        }
    }

    #[test]
    fn few_series_are_a_piece_each() {
        assert_eq!(Cut::new(CHUNKS).pieces(0..CHUNKS).len(), CHUNKS);
        assert!(Cut::new(4_000).pieces(0..4_000).len() < 120, "threads look seldom at what they share");
    }
}
