//! One list of series out of those of all sources.

use std::ops::Range;
use std::time::Instant;

use rayon::prelude::*;
use tidegauge_storage::model::{Labels, Matcher, SeriesKey, TimeRange};
use tidegauge_storage::source::Snapshot;

use crate::limits::{Budget, Held, watched};
use crate::parallel::{self, Helpers, chunks};
use crate::select::order::{FEW, ascending};
use crate::{QueryError, Threads};

/// A series in one source.
#[derive(Clone, Copy, Debug)]
pub(super) struct Part {
    /// Place of the source in the snapshot.
    pub(super) source: u32,
    /// The source's own number for the series.
    pub(super) ordinal: u32,
}

#[derive(Clone)]
struct Member {
    labels: Labels,
    /// Where its parts begin; they end where those of the member made next begin.
    parts: (u32, u32),
}

/// What a source holds of a series, before joining.
struct Found {
    key: SeriesKey,
    part: Part,
    labels: Labels,
}

/// Series sorted by labels, each with its parts, earlier accepted sources first.
pub(super) struct Joined {
    members: Vec<Member>,
    parts: Vec<Part>,
    /// The time range of each source of the snapshot.
    bounds: Vec<Option<TimeRange>>,
    _held: Held,
}

/// What a series found in a source weighs, labels aside.
const BYTES_OF_ONE: u64 = (size_of::<Found>() + size_of::<Member>() + size_of::<Part>() + 16) as u64;

/// Label sets decoded before what they weigh is known: one may take a megabyte.
const TOGETHER: usize = 64;

impl Joined {
    pub(super) fn new(
        snapshot: &Snapshot,
        matchers: &[Matcher],
        range: TimeRange,
        budget: &Budget,
        threads: Option<&Threads>,
    ) -> Result<Self, QueryError> {
        let started = Instant::now();
        let bounds: Vec<_> = snapshot.sources().iter().map(|source| source.time_range()).collect();
        let mut held = budget.hold(0)?;
        let mut found = Vec::new();
        let (matchers, matching) = watched(matchers, budget);
        for (at, (source, bounds)) in (0u32..).zip(snapshot.sources().iter().zip(&bounds)) {
            if !bounds.is_some_and(|bounds| bounds.overlaps(&range)) {
                continue;
            }
            budget.check()?;
            let hits = source.select(&matchers)?;
            matching.as_ref().map_or(Ok(()), |matching| matching.end())?;
            budget.check_series((found.len() + hits.len()) as u64)?;
            held.grow(hits.len() as u64 * BYTES_OF_ONE)?;
            found.extend(hits.into_iter().map(|hit| (hit.key, Part { source: at, ordinal: hit.ordinal })));
        }
        let n = found.len();
        // Those of one source together: neighbours share most of their labels. At most TOGETHER are not held yet.
        let decode = |some: Range<usize>| -> Result<(Vec<Found>, Held), QueryError> {
            let (mut decoded, mut held) = (Vec::with_capacity(some.len()), budget.hold_nothing());
            let runs = found[some].chunk_by(|a, b| a.1.source == b.1.source);
            for run in runs.flat_map(|run| run.chunks(TOGETHER)) {
                let ordinals: Vec<u32> = run.iter().map(|(_, part)| part.ordinal).collect();
                let labels = snapshot.sources()[run[0].1.source as usize].labels_of(&ordinals)?;
                // Twice: the keys they are sorted by are as long.
                held.grow(labels.iter().map(|labels| labels.encoded().len() as u64 * 2 + 48).sum())?;
                decoded.extend(run.iter().zip(labels).map(|(&(key, part), labels)| Found { key, part, labels }));
            }
            budget.check()?;
            Ok((decoded, held))
        };
        let join = move || -> Result<Self, QueryError> {
            let mut decoded = Vec::with_capacity(n);
            for (some, held_of_some) in chunks(Helpers::Pool, false, 0..n, FEW, decode)? {
                decoded.extend(some);
                held.join(held_of_some);
            }
            let mut joined =
                Self { members: Vec::new(), parts: Vec::with_capacity(decoded.len()), bounds, _held: held };
            joined.join(decoded);
            // One segment answers them in order.
            if !joined.members.is_sorted_by(|a, b| a.labels <= b.labels) {
                let order = ascending(|at| &joined.members[at].labels, joined.members.len());
                joined.members = order.into_iter().map(|at| joined.members[at as usize].clone()).collect();
            }
            Ok(joined)
        };
        let joined = parallel::install(threads, n > FEW, join)?;
        budget.selected(joined.len(), started);
        Ok(joined)
    }

    fn join(&mut self, mut found: Vec<Found>) {
        let one_source = found.iter().all(|one| one.part.source == found[0].part.source);
        // The same series in several sources has the same key; others that have it too are
        // told apart by their labels.
        let order = |a: &Found, b: &Found| {
            let of_key = a.key.cmp(&b.key);
            of_key.then_with(|| a.labels.encoded().cmp(b.labels.encoded())).then(a.part.source.cmp(&b.part.source))
        };
        if !one_source && found.len() <= FEW {
            found.sort_unstable_by(order);
        } else if !one_source {
            found.par_sort_unstable_by(order);
        }
        self.members.reserve(found.len());
        let mut last: Option<SeriesKey> = None;
        for Found { key, part, labels } in found {
            let at = self.parts.len() as u32;
            self.parts.push(part);
            match self.members.last_mut() {
                Some(member) if !one_source && last == Some(key) && member.labels == labels => member.parts.1 = at + 1,
                _ => self.members.push(Member { labels, parts: (at, at + 1) }),
            }
            last = Some(key);
        }
    }

    pub(super) fn len(&self) -> usize {
        self.members.len()
    }

    pub(super) fn labels(&self, i: usize) -> &Labels {
        &self.members[i].labels
    }

    /// The parts of series `i`, each with the time range of its source.
    pub(super) fn parts(&self, i: usize) -> impl DoubleEndedIterator<Item = (Part, TimeRange)> + '_ {
        let (start, end) = self.members[i].parts;
        let parts = &self.parts[start as usize..end as usize];
        parts.iter().filter_map(|part| Some((*part, self.bounds[part.source as usize]?)))
    }
}
