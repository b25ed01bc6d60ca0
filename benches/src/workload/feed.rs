//! Gives one appender its samples, a block at a time.

use tidegauge::{Engine, SeriesId, SeriesSample, Timestamp};

use super::{Cell, Part, Workload};
use crate::error::Error;

/// The prepared input of one appender: one pass.
#[derive(Debug)]
pub struct Input {
    /// In the order of pushing.
    cells: Vec<Cell>,
    /// The same as samples ready to push. Empty where they are made while pushing: with
    /// many series (whose memory is looked at), and where series come and go.
    ready: Vec<SeriesSample>,
}

impl Input {
    /// Generates the cells. Needs no engine.
    #[must_use]
    pub fn generate(workload: &Workload, part: &Part) -> Self {
        let mut cells = Vec::with_capacity(part.cells_per_pass() as usize);
        workload.generate(part, |cell| cells.push(cell));
        Self { cells, ready: Vec::new() }
    }

    /// Makes the samples of the first pass, for series that are registered: `ids` has one for
    /// each of the part's slots.
    pub fn make_ready(&mut self, workload: &Workload, part: &Part, ids: &[SeriesId]) {
        let first = part.slots().start;
        let make = |cell: &Cell| sample(workload, ids[(cell.slot - first) as usize], *cell, 0);
        self.ready = self.cells.iter().map(make).collect();
    }

    /// Bytes held.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        (self.cells.capacity() * size_of::<Cell>() + self.ready.capacity() * size_of::<SeriesSample>()) as u64
    }
}

fn sample(workload: &Workload, id: SeriesId, cell: Cell, first_tick: u64) -> SeriesSample {
    let at = workload.timestamp_ns(first_tick + u64::from(cell.tick));
    SeriesSample::new(id, Timestamp::from_nanos(at), workload.value(cell.scaled))
}

/// The same sample, later. Costs less than making it: the clock of a sustained run goes on meanwhile.
fn moved(sample: &SeriesSample, ahead_ns: i64) -> SeriesSample {
    let at = Timestamp::from_nanos(sample.timestamp().nanos() + ahead_ns);
    SeriesSample::new(sample.series(), at, sample.value())
}

/// Where a slot's series changes, the series that holds it.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Holder {
    series: u64,
    id: SeriesId,
}

/// Walks through an [`Input`], pass after pass, each moved on in time.
#[derive(Debug)]
pub struct Feed<'a> {
    workload: &'a Workload,
    input: &'a Input,
    engine: &'a Engine,
    first_slot: u32,
    holders: Vec<Holder>,
    /// Samples that [`Self::next`] still gives; `None` for a run that ends by time.
    left: Option<u64>,
    at: usize,
    pass: u64,
    block: usize,
    made: Vec<SeriesSample>,
    registered: u64,
}

/// glibc maps a block above 32 MiB alone. Twice the largest smaller one that was given back stays at the end of each heap,
/// and would count as the engine's memory.
const MAPPED_ALONE: usize = 33 << 20;

fn alone<T>(values: impl Iterator<Item = T>) -> Vec<T> {
    let mut all = Vec::with_capacity(MAPPED_ALONE / size_of::<T>());
    all.extend(values);
    all
}

/// Samples of a block, about: what is made while pushing stays in a cache.
const BLOCK_SAMPLES: usize = 4096;

impl<'a> Feed<'a> {
    /// A feed for pushing batches of `batch`. `ids` has the series that hold the part's slots
    /// at tick 0. It ends after the part's cells, or never if `endless`.
    #[must_use]
    pub fn new(
        workload: &'a Workload,
        part: &Part,
        input: &'a Input,
        engine: &'a Engine,
        ids: &[SeriesId],
        batch: usize,
        endless: bool,
    ) -> Self {
        let holder = |(slot, &id)| Holder { series: workload.series(slot, 0), id };
        let block = batch * (BLOCK_SAMPLES / batch).max(1);
        Self {
            workload,
            input,
            engine,
            first_slot: part.slots().start,
            holders: alone(part.slots().zip(ids).map(holder)),
            left: (!endless).then(|| part.cells()),
            at: 0,
            pass: 0,
            block,
            made: Vec::with_capacity(block),
            registered: 0,
        }
    }

    /// The next samples: some batches, the last one shorter where a pass ends. `None` at the
    /// end.
    ///
    /// # Errors
    /// [`Error::Engine`] if a series that comes up is refused.
    pub fn next_block(&mut self) -> Result<Option<&[SeriesSample]>, Error> {
        self.next_block_of(self.block)
    }

    /// The same, of no more than so many samples.
    ///
    /// # Errors
    /// As [`Self::next_block`].
    pub fn next_block_of(&mut self, most: usize) -> Result<Option<&[SeriesSample]>, Error> {
        if self.at == self.input.cells.len() {
            self.at = 0;
            self.pass += 1;
        }
        let rest = self.input.cells.len() - self.at;
        let len = rest.min(self.block.min(most)).min(self.left.unwrap_or(u64::MAX).min(usize::MAX as u64) as usize);
        if len == 0 {
            return Ok(None);
        }
        self.left = self.left.map(|left| left - len as u64);
        let range = self.at..self.at + len;
        self.at += len;
        if !self.input.ready.is_empty() {
            let ready = &self.input.ready[range];
            if self.pass == 0 {
                return Ok(Some(ready));
            }
            let ahead_ns = self.pass as i64 * self.workload.pass_ns();
            self.made.clear();
            self.made.extend(ready.iter().map(|sample| moved(sample, ahead_ns)));
            return Ok(Some(&self.made));
        }
        let (workload, first_tick) = (self.workload, self.pass * u64::from(self.workload.pass_ticks()));
        self.made.clear();
        for &cell in &self.input.cells[range] {
            let holder = &mut self.holders[(cell.slot - self.first_slot) as usize];
            if workload.churns() {
                let series = workload.series(cell.slot, first_tick + u64::from(cell.tick));
                if series != holder.series {
                    let labels = workload.labels(series);
                    let id = self.engine.series(&labels.borrowed()).map_err(Error::engine("registering a series"))?;
                    *holder = Holder { series, id };
                    self.registered += 1;
                }
            }
            self.made.push(sample(workload, holder.id, cell, first_tick));
        }
        Ok(Some(&self.made))
    }

    /// Series registered on the way, where series come and go.
    #[must_use]
    pub fn registered(&self) -> u64 {
        self.registered
    }
}
