//! The samples of one series, out of all sources that hold it, in order of time.

mod input;

use tidegauge_storage::chunk::ChunkStats;
use tidegauge_storage::model::TimeRange;
use tidegauge_storage::source::{ColumnCursor, Columns, ReadCounts, ReadError, SampleSource};

use input::Input;

/// Samples after which a call returns when it must copy them out of buffers.
const BATCH: usize = 2048;

/// Merges what several sources hold of one series: ascending time, each timestamp once,
/// the source that was added last winning.
///
/// Sources that do not overlap in time are read one behind the other, straight into the
/// caller's columns; a source is opened only when its time has come. Where k sources
/// overlap, runs are copied whole; it costs O(k) a run, and a run is one sample at worst.
///
/// [`whole`](ColumnCursor::whole) answers only for chunks in whose time no other source has
/// a sample of the series, as far as the directories of the sources tell.
pub struct Merge<'a> {
    /// The only source there is, which needs none of the rest.
    only: Option<Input<'a>>,
    /// Not begun, the one that begins first standing last.
    waiting: Vec<Input<'a>>,
    /// Begun, in order of precedence. One whose buffer is empty is read when its
    /// [head](Input::head), a bound then, is due: so a whole chunk can still be passed over.
    open: Vec<Input<'a>>,
    /// The open source that [`whole`](ColumnCursor::whole) told of.
    whole: usize,
    /// What the sources done with have counted.
    counts: ReadCounts,
}

impl<'a> Merge<'a> {
    /// Merges the given (source, its ordinal for the series, its time range), later ones
    /// winning, within `range`. The time ranges must hold all timestamps of their source.
    pub fn new(parts: impl IntoIterator<Item = (&'a dyn SampleSource, u32, TimeRange)>, range: TimeRange) -> Self {
        let (mut only, mut waiting) = (None, Vec::new());
        for (rank, (source, ordinal, bounds)) in parts.into_iter().enumerate() {
            let inside = bounds.intersect(&range);
            if !inside.is_empty() {
                let input = Input::new(rank, source, ordinal, inside);
                if waiting.is_empty() && only.is_none() {
                    only = Some(input);
                } else {
                    waiting.extend(only.take());
                    waiting.push(input);
                }
            }
        }
        waiting.sort_by_key(|input| std::cmp::Reverse(input.first()));
        Self { only, waiting, open: Vec::new(), whole: 0, counts: ReadCounts::default() }
    }

    /// The earliest timestamp that a source not yet begun can have.
    fn barrier(&self) -> Option<i64> {
        self.waiting.last().map(Input::first)
    }

    /// The open source that is due first, and its head. Of equal heads the one that must be read first.
    fn due(&self) -> Option<(usize, i64)> {
        let heads = self.open.iter().enumerate().map(|(at, input)| (input.head(), input.has_buffered(), at));
        heads.min().map(|(head, _, at)| (at, head))
    }

    /// Opens waiting sources until none of them can come before the source that is due.
    fn open_due(&mut self) -> Result<Option<(usize, i64)>, ReadError> {
        loop {
            let due = self.due();
            let opened = match (due, self.barrier()) {
                (Some((_, head)), Some(barrier)) if barrier <= head => self.open_next()?,
                (None, _) => self.open_next()?,
                _ => false,
            };
            if !opened {
                return Ok(due);
            }
        }
    }

    /// Opens the next waiting source; answers whether there was one.
    fn open_next(&mut self) -> Result<bool, ReadError> {
        let Some(mut input) = self.waiting.pop() else { return Ok(false) };
        input.open()?;
        let at = self.open.partition_point(|other| other.rank < input.rank);
        self.open.insert(at, input);
        Ok(true)
    }

    fn close(&mut self, at: usize) {
        self.counts += self.open.remove(at).counts();
    }

    /// Reads an open source whose buffer is empty: into `out`, if it is alone until its end, else into its buffer.
    fn read(&mut self, at: usize, out: &mut Columns) -> Result<(), ReadError> {
        let alone = self.open.len() == 1 && self.barrier().is_none_or(|barrier| barrier > self.open[at].last());
        let going = if alone { self.open[at].read_into(out)? } else { self.open[at].refill()? };
        if !going {
            self.close(at);
        }
        Ok(())
    }

    /// Moves what is buffered of the only open source, as far as no other begins.
    fn take_alone(&mut self, out: &mut Columns) {
        let barrier = self.barrier();
        let [input] = &mut self.open[..] else { return };
        match barrier {
            Some(barrier) if barrier <= input.last() => input.take_before(barrier, out),
            _ => input.take_all(out),
        }
    }

    /// Moves a run, or one sample that several open sources have. Whoever is due has samples buffered.
    fn take_merged(&mut self, out: &mut Columns) {
        let (mut winner, mut earliest, mut second) = (0, i64::MAX, i64::MAX);
        let mut tie = false;
        for (at, input) in self.open.iter().enumerate() {
            let head = input.head();
            if at == 0 || head < earliest {
                (winner, second, earliest, tie) = (at, earliest, head, false);
            } else if head == earliest {
                // The later source wins.
                (winner, tie) = (at, true);
            } else {
                second = second.min(head);
            }
        }
        if tie {
            self.open[winner].take_one(out);
            self.open.iter_mut().for_each(|input| input.skip(earliest));
        } else {
            let before = self.barrier().map_or(second, |barrier| second.min(barrier));
            self.open[winner].take_before(before, out);
        }
    }

    /// Moves samples of two open sources until one of them must be read again: the shape
    /// that late samples make, one sample here and one there.
    fn take_two(&mut self, out: &mut Columns) {
        let barrier = self.barrier();
        let [earlier, later] = &mut self.open[..] else { return self.take_merged(out) };
        let (a, b) = (earlier.buffered_before(barrier), later.buffered_before(barrier));
        if a == 0 || b == 0 {
            return self.take_merged(out);
        }
        input::merge_two(earlier, a, later, b, out);
    }
}

impl ColumnCursor for Merge<'_> {
    fn next(&mut self, out: &mut Columns) -> Result<bool, ReadError> {
        if let Some(input) = &mut self.only {
            let going = input.open()? && input.read_into(out)?;
            if !going {
                self.counts += input.counts();
                self.only = None;
            }
            return Ok(going);
        }
        let before = out.len();
        while out.len() - before < BATCH {
            let Some((at, _)) = self.open_due()? else { break };
            if !self.open[at].has_buffered() {
                if out.len() > before {
                    // Statistics may tell of what comes next.
                    break;
                }
                self.read(at, out)?;
                continue;
            }
            match self.open.len() {
                1 => self.take_alone(out),
                2 => self.take_two(out),
                _ => self.take_merged(out),
            }
        }
        Ok(out.len() > before)
    }

    fn bound(&self) -> Option<i64> {
        let waiting = self.waiting.iter().map(Input::first);
        self.only.iter().chain(&self.open).map(Input::head).chain(waiting).min()
    }

    fn whole(&mut self) -> Result<Option<ChunkStats>, ReadError> {
        if let Some(input) = &mut self.only {
            return if input.open()? { input.whole() } else { Ok(None) };
        }
        loop {
            let Some((at, _)) = self.open_due()? else { return Ok(None) };
            let input = &mut self.open[at];
            if !input.has_buffered() && input.bound().is_none() {
                // Only its samples tell when they begin.
                if !input.refill()? {
                    self.close(at);
                }
                continue;
            }
            let Some(stats) = input.whole()? else { return Ok(None) };
            let last = stats.last_timestamp;
            if self.open.iter().enumerate().any(|(other, input)| other != at && input.head() <= last) {
                return Ok(None);
            }
            if self.barrier().is_none_or(|barrier| barrier > last) {
                self.whole = at;
                return Ok(Some(stats));
            }
            self.open_next()?;
        }
    }

    fn pass(&mut self) {
        match &mut self.only {
            Some(input) => input.pass(),
            None => self.open[self.whole].pass(),
        }
    }

    fn counts(&self) -> ReadCounts {
        let mut counts = self.counts;
        self.only.iter().chain(&self.open).for_each(|input| counts += input.counts());
        counts
    }
}
