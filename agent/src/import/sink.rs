//! Where the readers of all formats put their samples.

use std::cell::RefCell;
use std::collections::HashSet;
use std::fmt::Display;
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::{Duration, Instant};

use tidegauge::{Appender, Engine, Level, PushError, SeriesError, SeriesId, SeriesSample, Timestamp, WaitError};

use super::input::Input;
use super::progress::Progress;
use super::replaced::Replaced;
use super::{BadLines, ImportError, ImportSummary};

/// Samples that are pushed together.
const BATCH: usize = 4096;

/// How long the engine may take none of the samples, or not make them durable, before the import gives up.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

pub(super) struct Sink<'e> {
    engine: &'e Engine,
    appender: Appender,
    batch: Vec<SeriesSample>,
    /// The line of each sample in the batch.
    lines: Vec<u64>,
    file: PathBuf,
    /// Bytes of the files that are done.
    bytes_before: u64,
    series: HashSet<SeriesId>,
    summary: ImportSummary,
    /// Shared with the input, which lets go of what it keeps while there is nothing to read.
    replaced: Rc<RefCell<Replaced>>,
    bad: BadLines,
    progress: Progress,
}

impl<'e> Sink<'e> {
    pub(super) fn new(engine: &'e Engine, progress: Progress) -> Result<Self, ImportError> {
        let appender = engine.appender()?;
        let batch = BATCH.min(appender.capacity());
        Ok(Self {
            engine,
            appender,
            batch: Vec::with_capacity(batch),
            lines: Vec::with_capacity(batch),
            file: PathBuf::new(),
            bytes_before: 0,
            series: HashSet::new(),
            summary: ImportSummary::default(),
            replaced: Rc::new(RefCell::new(Replaced::new(engine))),
            bad: BadLines::default(),
            progress,
        })
    }

    pub(super) fn start_file(&mut self, path: &Path) {
        path.clone_into(&mut self.file);
        self.bytes_before = self.summary.bytes;
    }

    /// Opens what is imported.
    pub(super) fn open(&self, path: &Path) -> io::Result<Input<'e>> {
        Input::open(path, Some((self.engine, Rc::clone(&self.replaced))))
    }

    pub(super) fn engine(&self) -> &'e Engine {
        self.engine
    }

    /// The id of a series that was not met before.
    pub(super) fn resolve(&mut self, labels: &[(&str, &str)]) -> Result<SeriesId, SeriesError> {
        let id = self.engine.series(labels)?;
        self.series.insert(id);
        self.replaced.borrow_mut().series(labels);
        Ok(id)
    }

    /// Notes that a line cannot be read.
    pub(super) fn bad(&mut self, line: u64, why: impl Display) {
        self.bad.note(&self.file, line, why);
    }

    /// Notes what was decided because of a line.
    pub(super) fn note(&mut self, line: u64, what: impl Display) {
        self.summary.notes.push(format!("{}:{line}: {what}", self.file.display()));
    }

    /// Notes that a value is no number and was not expected to be one.
    pub(super) fn skip(&mut self) {
        self.summary.skipped += 1;
    }

    /// Notes how many bytes of the current file are read.
    pub(super) fn read(&mut self, bytes: u64) {
        self.summary.bytes = self.bytes_before + bytes;
    }

    /// Takes a sample that stood on `line`.
    pub(super) fn push(&mut self, series: SeriesId, at: Timestamp, value: f64, line: u64) -> Result<(), ImportError> {
        self.batch.push(SeriesSample::new(series, at, value));
        self.lines.push(line);
        if self.batch.len() == self.batch.capacity() { self.flush() } else { Ok(()) }
    }

    /// Pushes what is left of the file: its bad samples are noted under its name.
    pub(super) fn end_file(&mut self) -> Result<(), ImportError> {
        self.flush()
    }

    /// Waits until everything is durable; the elapsed time, and what was replaced, are left to the caller.
    pub(super) fn finish(mut self) -> Result<(ImportSummary, BadLines, Replaced), ImportError> {
        self.flush()?;
        let last = self.replaced.borrow().last();
        if let Some(ack) = last {
            match self.engine.wait(ack, Level::Durable, PATIENCE) {
                Err(WaitError::NotDurable) => self.engine.wait(ack, Level::Visible, PATIENCE).map(drop)?,
                waited => waited.map(drop)?,
            }
        }
        self.progress.done();
        self.summary.series = self.series.len() as u64;
        self.summary.bad_lines = self.bad.count;
        // No input is open any more.
        let replaced = Rc::into_inner(self.replaced).expect("the only owner").into_inner();
        Ok((self.summary, self.bad, replaced))
    }

    fn flush(&mut self) -> Result<(), ImportError> {
        if self.batch.is_empty() {
            return Ok(());
        }
        self.replaced.borrow_mut().go_on(self.engine);
        let batch = std::mem::take(&mut self.batch);
        match self.push_patiently(&batch) {
            Ok(()) => {}
            // Somewhere in it is a timestamp from the future: find out on which lines.
            Err(PushError::TooFarAhead { .. }) => self.push_singly(&batch)?,
            Err(error) => return Err(error.into()),
        }
        self.batch = batch;
        self.batch.clear();
        self.lines.clear();
        self.progress.show(self.summary.bytes, self.summary.samples);
        let (is_due, last) = (self.replaced.borrow().is_due(), self.replaced.borrow().last());
        if is_due && let Some(ack) = last {
            self.engine.wait(ack, Level::Visible, PATIENCE)?;
            self.replaced.borrow_mut().end_stage(self.engine);
        }
        Ok(())
    }

    fn push_singly(&mut self, batch: &[SeriesSample]) -> Result<(), ImportError> {
        let mut last_bad = None;
        for (at, sample) in batch.iter().enumerate() {
            match self.push_patiently(std::slice::from_ref(sample)) {
                Ok(()) => {}
                Err(error @ PushError::TooFarAhead { .. }) => {
                    let line = self.lines[at];
                    // Several samples of one line are one bad line.
                    if last_bad.replace(line) != Some(line) {
                        self.bad.note(&self.file, line, error);
                    }
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// A full lane is no error here: the file can wait.
    fn push_patiently(&mut self, samples: &[SeriesSample]) -> Result<(), PushError> {
        let start = Instant::now();
        loop {
            match self.appender.push_batch(samples) {
                Ok(ack) => {
                    self.summary.samples += samples.len() as u64;
                    self.replaced.borrow_mut().pushed(samples, ack);
                    return Ok(());
                }
                Err(PushError::Timeout { .. }) if start.elapsed() < PATIENCE => {}
                Err(error) => return Err(error),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs::File;
    use std::io::Write;
    use std::os::fd::OwnedFd;

    use super::*;
    use crate::import::lines::{Line, Lines};

    const SOON: Duration = Duration::from_secs(30);

    /// A stage ends with each flush.
    fn in_short_stages(engine: &Engine) -> Sink<'_> {
        let mut sink = Sink::new(engine, Progress::new(&[], false).unwrap()).unwrap();
        sink.replaced = Rc::new(RefCell::new(Replaced::paced(engine, |_| Duration::ZERO)));
        sink
    }

    fn replaced(sink: Sink<'_>) -> Option<u64> {
        let engine = sink.engine;
        sink.finish().unwrap().2.count(engine)
    }

    /// What was there before an import was pinned until its end: all that compaction replaced meanwhile took its space twice.
    #[test]
    fn what_compaction_replaces_amid_an_import_leaves_the_disk() {
        let dir = tempfile::tempdir().unwrap();
        let engine = Engine::builder(dir.path()).background_compaction(false).open().unwrap();
        let id = engine.series(&[("__name__", "m")]).unwrap();
        let at = Timestamp::from_nanos;
        let push = |t| {
            let ack = engine.push(id, at(t), 1.0).unwrap();
            engine.wait(ack, Level::Visible, SOON).unwrap();
            engine.flush().unwrap();
        };
        (0..3).for_each(push);
        let files = || std::fs::read_dir(dir.path().join("segments")).unwrap().count();
        assert_eq!(files(), 3);
        let mut sink = in_short_stages(&engine);
        sink.resolve(&[("__name__", "m")]).unwrap();
        engine.compact().unwrap();
        assert!(files() > 3, "what the count of the first stage needs");
        sink.push(id, at(2), 2.0, 1).unwrap();
        sink.flush().unwrap();
        // Whoever looked at the old version just then held its files for a moment.
        let deadline = Instant::now() + SOON;
        while files() > 1 {
            assert!(Instant::now() < deadline, "the stage has ended, and {} files are left", files());
            drop(engine.snapshot());
        }
        sink.push(id, at(2), 3.0, 2).unwrap();
        sink.push(id, at(3), 3.0, 3).unwrap();
        assert_eq!(replaced(sink), Some(2));
    }

    /// What was there before a stage was pinned as long as a pipe gave nothing, which may be for ever.
    #[test]
    fn an_import_from_a_pipe_that_stalls_pins_nothing() {
        let engine = Engine::in_memory().unwrap();
        let at = Timestamp::from_nanos;
        let id = engine.series(&[("__name__", "m")]).unwrap();
        let push = |t| {
            let ack = engine.push(id, at(t), 1.0).unwrap();
            engine.wait(ack, Level::Visible, SOON).unwrap();
        };
        (0..2).for_each(push);
        let mut sink = in_short_stages(&engine);
        assert_eq!(engine.stats().snapshots, 1, "what the count needs");
        sink.resolve(&[("__name__", "m")]).unwrap();
        sink.push(id, at(1), 2.0, 1).unwrap();
        sink.flush().unwrap();
        let (reader, mut writer) = std::io::pipe().unwrap();
        let kept = Some((&engine, Rc::clone(&sink.replaced)));
        let mut lines = Lines::of(Input::of(File::from(OwnedFd::from(reader)), kept).unwrap());
        let stalls = || {
            let deadline = Instant::now() + SOON;
            while engine.stats().snapshots > 0 && Instant::now() < deadline {
                std::thread::yield_now();
            }
            let pinned = engine.stats().snapshots;
            // Somebody else's, of which nothing is counted.
            push(3);
            push(3);
            writer.write_all(b"x\n").unwrap();
            pinned
        };
        let pinned = std::thread::scope(|scope| {
            let stalls = scope.spawn(stalls);
            assert_eq!(lines.next().unwrap(), Some(Line::Whole(b"x")));
            stalls.join().unwrap()
        });
        drop(lines);
        assert_eq!(pinned, 0);
        // One that is there, one of somebody else's, one that is new.
        [0, 3, 4].into_iter().for_each(|t| sink.push(id, at(t), 3.0, 2).unwrap());
        assert_eq!(replaced(sink), Some(3));
    }

    /// Nobody can tell then: what is there needs not be kept.
    #[test]
    fn an_import_beside_a_retention_pins_nothing() {
        let engine = Engine::in_memory().unwrap();
        let id = engine.series(&[("__name__", "m")]).unwrap();
        let ack = engine.push(id, tidegauge::now(), 1.0).unwrap();
        engine.wait(ack, Level::Visible, SOON).unwrap();
        let rules = tidegauge::Retention { rules: Vec::new(), max_bytes: Some(1 << 30) };
        engine.set_retention(rules).unwrap();
        let sink = in_short_stages(&engine);
        assert_eq!(engine.stats().snapshots, 0);
        assert_eq!(replaced(sink), None);
    }

    proptest::proptest! {
        #![proptest_config(proptest::prelude::ProptestConfig::with_cases(30))]

        /// The stages of an import together, each of some samples, against a set of series and times.
        #[test]
        fn the_stages_of_an_import_count_what_they_replace_as_a_naive_twin_does(
            stages in proptest::collection::vec(proptest::collection::vec((0..3u8, 0..40u8), 0..30), 1..6),
        ) {
            let engine = Engine::in_memory().unwrap();
            let mut sink = in_short_stages(&engine);
            let mut twin = BTreeSet::new();
            let mut expected = 0;
            for (line, stage) in (1..).zip(stages) {
                for (metric, t) in stage {
                    let id = sink.resolve(&[("__name__", &format!("m{metric}"))]).unwrap();
                    sink.push(id, Timestamp::from_nanos(t.into()), f64::from(t), line).unwrap();
                    expected += u64::from(!twin.insert((metric, t)));
                }
                sink.flush().unwrap();
            }
            proptest::prop_assert_eq!(replaced(sink), Some(expected));
        }
    }
}
