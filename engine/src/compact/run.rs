//! Carrying out a job: series by series, chunk by chunk, never a whole segment in memory.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use rayon::prelude::*;
use tidegauge_query::merge::Merge;
use tidegauge_storage::fs::Fs;
use tidegauge_storage::model::{Labels, SeqNo, SeqRange, TimeRange, Timestamp};
use tidegauge_storage::segment::{ChunkSpan, Segment, SegmentHeader, SegmentInfo, SegmentWriter, Walk, WriteError};
use tidegauge_storage::source::{ColumnCursor, Columns, ReadError};

use super::apart::{Apart, apart};
use super::input::{Input, Touch, touch};
use crate::chunker::Chunker;
use crate::clock;
use crate::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Chunks whose weight over time is looked at to find where to cut.
const WEIGHED_CHUNKS_MAX: usize = 1 << 16;
/// Outputs that are written at once by one thread: what reaches into several of them is decoded once for all of these.
const OPEN_MAX: usize = 8;
/// So many series at most stand in the directories of all of them.
const OPEN_SERIES_MAX: u32 = 1 << 20;

/// Why a job was not carried out. What it had written is gone; its inputs are as they were.
#[derive(Debug, thiserror::Error)]
pub(super) enum RunError {
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Write(#[from] WriteError),
    /// All is written, and there is no memory to map it. Of a write, which may fail for want of memory as well, nothing is
    /// said.
    #[error("{} cannot be mapped: {source}", file.display())]
    Unmapped { file: PathBuf, source: io::Error },
    #[error("interrupted")]
    Interrupted,
}

/// Where outputs go, and how they are numbered.
pub(super) struct Target<'a> {
    pub(super) fs: &'a Arc<dyn Fs>,
    pub(super) dir: &'a PathBuf,
    pub(super) store_id: u128,
    /// Which opening of the store this is.
    pub(super) opening: u32,
    pub(super) next_id: &'a (dyn Fn() -> u64 + Sync),
    /// Makes the names there durable.
    pub(super) sync_folder: &'a (dyn Fn() -> io::Result<()> + Sync),
    /// What a segment shall weigh at most.
    pub(super) segment_bytes: u64,
    /// Asked often: whether to go on.
    pub(super) go_on: &'a (dyn Fn() -> bool + Sync),
    /// Counts the chunks that were decoded: those of each stretch that was merged.
    pub(super) decoded: &'a AtomicU64,
}

/// Writes what `inputs` (by precedence) hold together, each timestamp of a series once, cut at
/// `cuts`; `cold`: as small as it gets. What was written is in `made`, also after an error.
///
/// The outputs are written side by side by the threads of the pool that this is called in, neighbours by one of them.
pub(super) fn run(
    inputs: &[Input],
    cuts: &[i64],
    cold: bool,
    target: &Target<'_>,
    made: &mut Vec<SegmentInfo>,
) -> Result<(), RunError> {
    let failed = AtomicBool::new(false);
    let slices = slices(inputs, cuts, target)?;
    let apart = apart(inputs, &slices, target)?;
    let write = |ranges: &[TimeRange]| {
        let mut made = Vec::new();
        let written = Band::new(inputs, ranges, &apart, cold, target, &failed).write(&mut made);
        // Relaxed: it only saves the others work.
        failed.fetch_or(written.is_err(), Ordering::Relaxed);
        (made, written)
    };
    let series = inputs.iter().map(|input| input.segment.series_count()).max().unwrap_or(0).max(1);
    let most = OPEN_MAX.min((OPEN_SERIES_MAX / series) as usize).max(1);
    let each = slices.len().div_ceil(rayon::current_num_threads()).clamp(1, most);
    let written: Vec<_> = slices.par_chunks(each).map(write).collect();
    let mut result = Ok(());
    for (own, how) in written {
        made.extend(own);
        match how {
            Ok(()) => {}
            // The cause, not those that were stopped by it; and what is not this job's alone before all others.
            Err(e) if result.as_ref().err().is_none_or(|known| weight(&e) > weight(known)) => {
                result = Err(e);
            }
            Err(_) => {}
        }
    }
    result
}

/// Which of several errors is told.
pub(super) fn weight(error: &RunError) -> u8 {
    match error {
        RunError::Interrupted => 0,
        RunError::Write(WriteError::Folder { .. }) => 2,
        _ => 1,
    }
}

/// Removes what an unfinished job has written.
pub(super) fn discard(made: &[SegmentInfo], target: &Target<'_>) {
    for info in made {
        // What cannot be removed now is removed at the next opening: the manifest does not name it.
        let _ = target.fs.remove(&target.dir.join(tidegauge_storage::segment::file_name(info.id)));
    }
}

/// The time ranges of the outputs, ascending: cut where the plan says so, and where one would weigh too much.
pub(super) fn slices(inputs: &[Input], cuts: &[i64], target: &Target<'_>) -> Result<Vec<TimeRange>, RunError> {
    let segment_bytes = target.segment_bytes;
    let bytes: u64 = inputs.iter().map(|i| i.segment.info().file_bytes).sum();
    let mut all = cuts.to_vec();
    if bytes > segment_bytes.saturating_add(segment_bytes / 4) {
        let weights = weights(inputs, target)?;
        let total: u64 = weights.iter().map(|(_, bytes)| bytes).sum();
        let (mut filled, mut next_cut) = (0, 0);
        let parts = bytes.div_ceil(segment_bytes);
        let part = (total / parts).max(1);
        for (at, bytes) in weights {
            while cuts.get(next_cut).is_some_and(|cut| *cut <= at) {
                (filled, next_cut) = (0, next_cut + 1);
            }
            if filled >= part {
                all.push(at);
                filled = 0;
            }
            filled += bytes;
        }
    }
    // A range that ends there has the last timestamp of all, and so would the next one.
    all.retain(|&at| at < i64::MAX);
    all.sort_unstable();
    all.dedup();
    let starts = [i64::MIN].into_iter().chain(all.iter().copied());
    let ends = all.iter().copied().chain([i64::MAX]);
    let range = |(start, end)| TimeRange::new(Timestamp::from_nanos(start), Timestamp::from_nanos(end));
    Ok(starts.zip(ends).map(range).collect())
}

/// Where chunks begin and what they weigh, by time: all of them, or evenly chosen ones.
fn weights(inputs: &[Input], target: &Target<'_>) -> Result<Vec<(i64, u64)>, RunError> {
    let chunks: u64 = inputs.iter().map(|i| i.segment.info().chunks).sum();
    let step = (chunks as usize).div_ceil(WEIGHED_CHUNKS_MAX).max(1);
    let mut weights = Vec::new();
    let mut n = 0usize;
    for Input { segment, .. } in inputs {
        let mut walk = segment.walk();
        for ordinal in 0..segment.series_count() {
            if !(target.go_on)() {
                return Err(RunError::Interrupted);
            }
            for span in walk.spans(ordinal)? {
                let span = span?;
                if n.is_multiple_of(step) {
                    weights.push((span.first, u64::from(span.value_bytes)));
                }
                n += 1;
            }
        }
    }
    weights.sort_unstable();
    Ok(weights)
}

/// One input, at the series that comes next.
pub(super) struct Lane<'a> {
    pub(super) input: &'a Input,
    walk: Walk<'a>,
    pub(super) ordinal: u32,
    pub(super) labels: Option<Labels>,
}

impl<'a> Lane<'a> {
    pub(super) fn new(input: &'a Input) -> Self {
        Self { input, walk: input.segment.walk(), ordinal: 0, labels: None }
    }

    pub(super) fn load(&mut self) -> Result<(), ReadError> {
        let more = self.ordinal < self.input.segment.series_count();
        self.labels = more.then(|| self.walk.labels(self.ordinal)).transpose()?;
        Ok(())
    }

    /// Adds the chunks of the series at hand that have something left in `range`; they are of its part number `part`.
    pub(super) fn find(&mut self, range: &TimeRange, part: usize, chunks: &mut Vec<Found>) -> Result<(), ReadError> {
        let hidden = self.labels.as_ref().map(|labels| self.input.hidden(labels)).unwrap_or_default();
        for span in self.walk.spans(self.ordinal)? {
            let span = span?;
            let touched = touch(&span, &hidden);
            if touched != Touch::All && covering(span.first, span.last).overlaps(range) {
                chunks.push(Found { part, span, whole: touched == Touch::None });
            }
        }
        Ok(())
    }
}

/// One output.
struct Output {
    range: TimeRange,
    /// Made when the first sample comes.
    writer: Option<SegmentWriter>,
    chunker: Chunker,
    /// The series at hand has something in it.
    begun: bool,
}

/// Outputs that lie side by side, written at once.
struct Band<'a> {
    inputs: &'a [Input],
    outputs: Vec<Output>,
    /// That of all of them.
    range: TimeRange,
    apart: &'a Apart,
    target: &'a Target<'a>,
    /// Whether they are encoded as small as it gets.
    cold: bool,
    /// Another output of the job failed.
    failed: &'a AtomicBool,
    /// Samples on their way to several outputs.
    merged: Columns,
}

/// A series, and its greatest number.
type Named<'a> = (&'a Labels, SeqNo);

/// What one input holds of a series.
type Part<'a> = (&'a Input, u32);

/// A chunk of a series of which something is left.
pub(super) struct Found {
    /// Which of the series' parts it belongs to.
    pub(super) part: usize,
    pub(super) span: ChunkSpan,
    pub(super) whole: bool,
}

impl<'a> Band<'a> {
    fn new(
        inputs: &'a [Input],
        ranges: &[TimeRange],
        apart: &'a Apart,
        cold: bool,
        target: &'a Target<'a>,
        failed: &'a AtomicBool,
    ) -> Self {
        let output =
            |range: &TimeRange| Output { range: *range, writer: None, chunker: Chunker::default(), begun: false };
        let outputs: Vec<Output> = ranges.iter().map(output).collect();
        let (start, end) = (ranges.first().map(|range| range.start), ranges.last().map(|range| range.end));
        let range = TimeRange::new(start.unwrap_or_default(), end.unwrap_or_default());
        Self { inputs, outputs, range, apart, target, cold, failed, merged: Columns::default() }
    }

    fn go_on(&self) -> Result<(), RunError> {
        let on = !self.failed.load(Ordering::Relaxed) && (self.target.go_on)();
        if on { Ok(()) } else { Err(RunError::Interrupted) }
    }

    /// The segments; where nothing lies in a range, none.
    fn write(mut self, made: &mut Vec<SegmentInfo>) -> Result<(), RunError> {
        self.write_all()?;
        // What was copied out of a page that cannot be read is zeros, under the checksum of what was there.
        self.inputs.iter().try_for_each(|input| input.segment.check_readable())?;
        // Asked to count the steps; all is read and encoded, so the answer is no reason to end any more.
        let target = self.target;
        let gets_on = || {
            let _ = (target.go_on)();
        };
        // Chunks that reach into a range need not have a sample in it.
        let written = self.outputs.into_iter().filter_map(|output| output.writer);
        for writer in written.filter(|writer| writer.series() > 0) {
            made.push(writer.finish_with(Some(target.sync_folder), &gets_on)?);
        }
        Ok(())
    }

    /// Series in the order of their labels, each out of all inputs that have it.
    fn write_all(&mut self) -> Result<(), RunError> {
        let inside = |input: &&Input| input.segment.info().time_range.is_some_and(|r| r.overlaps(&self.range));
        let inputs = self.inputs.iter().filter(inside);
        let mut lanes: Vec<Lane<'a>> = inputs.map(Lane::new).collect();
        lanes.iter_mut().try_for_each(Lane::load)?;
        while let Some(labels) = lanes.iter().filter_map(|lane| lane.labels.as_ref()).min().cloned() {
            self.go_on()?;
            let (mut parts, mut chunks) = (Vec::new(), Vec::new());
            for lane in lanes.iter_mut().filter(|lane| lane.labels.as_ref() == Some(&labels)) {
                lane.find(&self.range, parts.len(), &mut chunks)?;
                parts.push((lane.input, lane.ordinal));
                lane.ordinal += 1;
                lane.load()?;
            }
            self.write_series(&labels, &parts, chunks)?;
        }
        Ok(())
    }

    /// A series of which `chunks` are left.
    fn write_series(&mut self, labels: &Labels, parts: &[Part<'a>], mut chunks: Vec<Found>) -> Result<(), RunError> {
        if chunks.is_empty() {
            return Ok(());
        }
        let mut max_seq = SeqNo(0);
        for &(input, ordinal) in parts {
            max_seq = max_seq.max(input.segment.max_seq(ordinal)?);
        }
        let named = (labels, max_seq);
        chunks.sort_unstable_by_key(|chunk| chunk.span.first);
        self.outputs.iter_mut().for_each(|output| output.begun = false);
        // The stretch of time that is to be decoded and merged before the next chunk can be taken over, and its chunks.
        let mut pending: Option<(i64, i64, u64)> = None;
        let mut rest = &chunks[..];
        while let Some((group, behind)) = next_group(rest) {
            rest = behind;
            let (first, last) = bounds(group);
            if let [Found { part, span, whole: true }] = group
                && let segment = &parts[*part].0.segment
                && let stays = self.apart.has(segment.info().id, span.timestamp_column)
                && let may_copy = (segment.info().cold || !self.cold)
                && (stays || (may_copy && Chunker::is_full(span.count)))
                && let Some(at) = self.output_of(first)
                && self.outputs[at].range.contains(Timestamp::from_nanos(last))
            {
                self.merge(named, parts, pending.take())?;
                if may_copy && (stays || self.outputs[at].chunker.may_copy()) {
                    self.copy(named, at, segment, span)?;
                    continue;
                }
                if stays {
                    self.finish(at)?;
                    self.merge(named, parts, Some((first, last, 1)))?;
                    self.finish(at)?;
                    continue;
                }
            }
            let (from, before) = pending.map_or((first, 0), |(first, _, chunks)| (first, chunks));
            pending = Some((from, last, before + group.len() as u64));
        }
        self.merge(named, parts, pending)?;
        for Output { writer, chunker, .. } in self.outputs.iter_mut().filter(|output| output.begun) {
            chunker.finish(writer.as_mut().expect("begun above"))?;
        }
        Ok(())
    }

    /// What waits for an output is a chunk by itself.
    fn finish(&mut self, at: usize) -> Result<(), RunError> {
        let Output { writer, chunker, .. } = &mut self.outputs[at];
        // Without one nothing waits.
        writer.as_mut().map_or(Ok(()), |writer| chunker.finish(writer)).map_err(RunError::from)
    }

    /// Which output a timestamp goes to.
    fn output_of(&self, at: i64) -> Option<usize> {
        let at = Timestamp::from_nanos(at);
        let behind = self.outputs.partition_point(|output| output.range.start <= at);
        behind.checked_sub(1).filter(|&i| self.outputs[i].range.contains(at))
    }

    fn copy(&mut self, named: Named<'_>, at: usize, segment: &Segment, span: &ChunkSpan) -> Result<(), RunError> {
        self.begin(named, at)?;
        let Output { writer, chunker, .. } = &mut self.outputs[at];
        let writer = writer.as_mut().expect("begun with the series");
        chunker.finish(writer)?;
        chunker.copy(&segment.encoded(span.number)?, writer)?;
        self.go_on()
    }

    /// Decodes what the parts hold from the first to the last timestamp of `stretch`, once, and gives each output its own;
    /// later parts win.
    fn merge(
        &mut self,
        named: Named<'_>,
        parts: &[Part<'a>],
        stretch: Option<(i64, i64, u64)>,
    ) -> Result<(), RunError> {
        let Some((first, last, chunks)) = stretch else { return Ok(()) };
        // Relaxed: it is only counted.
        self.target.decoded.fetch_add(chunks, Ordering::Relaxed);
        let range = covering(first, last).intersect(&self.range);
        let sources = parts.iter().filter_map(|&(input, ordinal)| {
            let source = input.source();
            Some((source, ordinal, source.time_range()?))
        });
        let mut merge = Merge::new(sources, range);
        if let [_] = &self.outputs[..] {
            self.begin(named, 0)?;
            while merge.next(self.outputs[0].chunker.waiting())? {
                self.settle(0)?;
            }
            return Ok(());
        }
        let mut merged = std::mem::take(&mut self.merged);
        while merge.next(&mut merged)? {
            let mut from = 0;
            while let Some(&next) = merged.timestamps.get(from) {
                let at = self.output_of(next).expect("within the range of all");
                let end = self.outputs[at].range.end;
                let ours = |t: &i64| end == Timestamp::MAX || *t < end.nanos();
                let to = from + merged.timestamps[from..].partition_point(ours);
                self.begin(named, at)?;
                let waiting = self.outputs[at].chunker.waiting();
                waiting.timestamps.extend_from_slice(&merged.timestamps[from..to]);
                waiting.values.extend_from_slice(&merged.values[from..to]);
                self.settle(at)?;
                from = to;
            }
            merged.clear();
        }
        self.merged = merged;
        Ok(())
    }

    fn settle(&mut self, at: usize) -> Result<(), RunError> {
        let Output { writer, chunker, .. } = &mut self.outputs[at];
        chunker.settle(writer.as_mut().expect("begun with the series"))?;
        self.go_on()
    }

    /// The series goes on in this output.
    fn begin(&mut self, (labels, max_seq): Named<'_>, at: usize) -> Result<(), RunError> {
        if self.outputs[at].begun {
            return Ok(());
        }
        let Target { fs, dir, store_id, opening, next_id, .. } = *self.target;
        let header = SegmentHeader { store_id, opening, cold: self.cold, ..header(self.inputs) };
        let output = &mut self.outputs[at];
        let writer = match &mut output.writer {
            Some(writer) => writer,
            none => none.insert(SegmentWriter::create(Arc::clone(fs), dir, next_id(), header)?),
        };
        writer.begin_series(labels, max_seq)?;
        output.begun = true;
        Ok(())
    }
}

/// The place of the inputs together. One input keeps its own, so that it stays in front of the
/// other half of its flush; several contain both halves, or nothing that the other half overlaps.
fn header(inputs: &[Input]) -> SegmentHeader {
    let infos = || inputs.iter().map(|i| i.segment.info());
    let start = infos().map(|i| i.seq_range.start).min().unwrap_or_default();
    let end = infos().map(|i| i.seq_range.end).max().unwrap_or_default();
    SegmentHeader {
        seq_range: SeqRange { start, end },
        late: infos().all(|i| i.late),
        level: infos().map(|i| i.level).max().unwrap_or(0).saturating_add(1),
        created: clock::now().nanos(),
        ..SegmentHeader::default()
    }
}

fn covering(first: i64, last: i64) -> TimeRange {
    TimeRange::covering(Timestamp::from_nanos(first), Timestamp::from_nanos(last))
}

fn bounds(group: &[Found]) -> (i64, i64) {
    let last = group.iter().map(|chunk| chunk.span.last).max().unwrap_or(i64::MIN);
    (group.first().map_or(i64::MAX, |chunk| chunk.span.first), last)
}

/// Splits the chunks that overlap the first one, or one another, off those that follow.
pub(super) fn next_group(chunks: &[Found]) -> Option<(&[Found], &[Found])> {
    let mut last = chunks.first()?.span.last;
    let mut len = 1;
    while let Some(next) = chunks.get(len).filter(|next| next.span.first <= last) {
        last = last.max(next.span.last);
        len += 1;
    }
    Some(chunks.split_at(len))
}
