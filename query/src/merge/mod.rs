//! The samples of one series, out of all sources that hold it, in order of time.

mod input;

use tidegauge_storage::model::TimeRange;
use tidegauge_storage::source::{ColumnCursor, Columns, ReadError, SampleSource};

use input::Input;

/// Samples after which a call returns when it must copy them out of buffers.
const BATCH: usize = 2048;

/// Merges what several sources hold of one series: ascending time, each timestamp once,
/// the source that was added last winning.
///
/// Sources that do not overlap in time are read one behind the other, straight into the
/// caller's columns; a source is opened only when its time has come. Where k sources
/// overlap, runs are copied whole; it costs O(k) a run, and a run is one sample at worst.
pub struct Merge<'a> {
    /// The only source there is, which needs none of the rest.
    only: Option<Input<'a>>,
    /// Not begun, the one that begins first standing last.
    waiting: Vec<Input<'a>>,
    /// Begun, in order of precedence. When there is more than one, each has samples buffered.
    open: Vec<Input<'a>>,
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
        Self { only, waiting, open: Vec::new() }
    }

    /// The earliest timestamp that a source not yet begun can have.
    fn barrier(&self) -> Option<i64> {
        self.waiting.last().map(Input::first)
    }

    /// Opens the next waiting source; answers whether there was one.
    fn open_next(&mut self) -> Result<bool, ReadError> {
        let Some(mut input) = self.waiting.pop() else { return Ok(false) };
        input.open()?;
        // Alone until its end, it can do without a buffer.
        let alone = self.open.is_empty() && self.barrier().is_none_or(|barrier| barrier > input.last());
        if alone || input.refill()? {
            let at = self.open.partition_point(|other| other.rank < input.rank);
            self.open.insert(at, input);
        }
        Ok(true)
    }

    /// Moves samples of the only open source.
    fn take_alone(&mut self, out: &mut Columns) -> Result<(), ReadError> {
        let barrier = self.barrier();
        let [input] = &mut self.open[..] else { return Ok(()) };
        let going = match barrier {
            Some(barrier) if barrier <= input.last() => {
                input.take_before(barrier, out);
                input.refill()?
            }
            _ if input.has_buffered() => {
                input.take_all(out);
                true
            }
            _ => input.read_into(out)?,
        };
        if !going {
            self.open.clear();
        }
        Ok(())
    }

    /// Moves a run, or one sample that several open sources have.
    fn take_merged(&mut self, out: &mut Columns) -> Result<(), ReadError> {
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
        let mut spent = false;
        if tie {
            self.open[winner].take_one(out);
            for input in &mut self.open {
                input.skip(earliest);
                spent |= !input.has_buffered();
            }
        } else {
            let before = self.barrier().map_or(second, |barrier| second.min(barrier));
            self.open[winner].take_before(before, out);
            spent = !self.open[winner].has_buffered();
        }
        if spent {
            self.refill_or_close()?;
        }
        Ok(())
    }

    /// Moves samples of two open sources until one of them must be read again: the shape
    /// that late samples make, one sample here and one there.
    fn take_two(&mut self, out: &mut Columns) -> Result<(), ReadError> {
        let barrier = self.barrier();
        let [earlier, later] = &mut self.open[..] else { return self.take_merged(out) };
        let (a, b) = (earlier.buffered_before(barrier), later.buffered_before(barrier));
        if a == 0 || b == 0 {
            return self.take_merged(out);
        }
        input::merge_two(earlier, a, later, b, out);
        if !earlier.has_buffered() || !later.has_buffered() {
            self.refill_or_close()?;
        }
        Ok(())
    }

    fn refill_or_close(&mut self) -> Result<(), ReadError> {
        let mut at = 0;
        while at < self.open.len() {
            if self.open[at].refill()? {
                at += 1;
            } else {
                self.open.remove(at);
            }
        }
        Ok(())
    }
}

impl ColumnCursor for Merge<'_> {
    fn next(&mut self, out: &mut Columns) -> Result<bool, ReadError> {
        if let Some(input) = &mut self.only {
            let going = input.open()? && input.read_into(out)?;
            if !going {
                self.only = None;
            }
            return Ok(going);
        }
        let before = out.len();
        while out.len() - before < BATCH {
            let due = self.open.iter().map(Input::head).min();
            let due = due.is_none_or(|head| self.barrier().is_some_and(|barrier| barrier <= head));
            if due {
                if !self.open_next()? {
                    break;
                }
            } else {
                match self.open.len() {
                    1 => self.take_alone(out)?,
                    2 => self.take_two(out)?,
                    _ => self.take_merged(out)?,
                }
            }
        }
        Ok(out.len() > before)
    }
}
