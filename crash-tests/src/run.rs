//! One run of an engine, beside its twin.

use std::collections::HashSet;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use tidegauge::{Durability, Engine, Level, Metadata, OpenError};
use tidegauge_storage::fs::sim::SimFs;

use crate::acts::Act;
use crate::lane::Lane;
use crate::manifest::Commits;
use crate::numbers;
use crate::oracle::{Contents, Copy, Death, Era, Found, History, Key, Prefix, Track};
use crate::script::{Rng, Script, Step};
use crate::store::{self, LANE_SAMPLES, Read, SOON, hash_of_metadata};

/// Series of a lane.
pub(crate) const SERIES: u64 = 3;
/// One more, of which only increments are.
pub(crate) const COUNTER: u8 = SERIES as u8;
/// Metrics that something is said about.
const METRICS: u64 = 3;
/// About when samples are, in nanoseconds: between this and old ones any horizon of an age lies, whatever the clock.
pub(crate) const BASE: i64 = 1_000_000_000_000_000_000;
/// When a counter begins: later than any clock, so that each increment lies one nanosecond behind the one before.
pub(crate) const COUNTED: i64 = 4 * BASE;

/// An engine at work on a disk.
pub struct Run {
    /// The disk, as the present process sees it.
    pub fs: SimFs,
    /// What may come back from a crash.
    pub history: History,
    durability: Durability,
    /// The manifest hears of the end of a log that never rests (L12), in one run of four: where it does not, more of the
    /// log's end is its own to tell.
    told_under_load: bool,
    pub(crate) rng: Rng,
    pub(crate) lanes: Vec<Lane>,
    pub(crate) metadata: Track,
    /// What is known about each metric.
    known: Vec<Option<String>>,
    barriers: Vec<Vec<usize>>,
    pub(crate) atomics: Vec<Vec<usize>>,
    pub(crate) audited: Vec<(u64, usize)>,
    pub(crate) copies: Vec<(u64, u64, Copy)>,
    witnessed: Vec<(u64, u64)>,
    from: u64,
    engine: Option<Engine>,
    patience: Duration,
    /// What a kill within the workload broke.
    pub(crate) broken: Option<String>,
}

/// Why a run ended early: the engine refused something. With a sound disk that is a failure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stopped(pub String);

pub(crate) fn stopped(what: &str, why: impl std::fmt::Display) -> Stopped {
    Stopped(format!("{what}: {why}"))
}

impl Run {
    /// Opens an empty disk. It should be recording.
    ///
    /// # Errors
    /// [`Stopped`] if the engine does not open.
    pub fn begin(fs: SimFs, script: &Script) -> Result<Self, Stopped> {
        Self::begin_patient(fs, script, SOON)
    }

    /// As above, and waits for nothing longer than `patience`.
    ///
    /// # Errors
    /// [`Stopped`] if the engine does not open.
    pub fn begin_patient(fs: SimFs, script: &Script, patience: Duration) -> Result<Self, Stopped> {
        let lanes = (0..script.lanes).map(|id| Lane::new(id, script.seed, 0)).collect();
        let mut run = Self {
            fs,
            history: History::default(),
            durability: script.durability,
            told_under_load: script.seed.is_multiple_of(4),
            rng: Rng(script.seed ^ 0x5eed),
            lanes,
            metadata: Track::new(0, 0),
            known: vec![None; METRICS as usize],
            barriers: Vec::new(),
            atomics: Vec::new(),
            audited: Vec::new(),
            copies: Vec::new(),
            witnessed: Vec::new(),
            from: 0,
            engine: None,
            patience,
            broken: None,
        };
        run.keep_era();
        let engine = run.open().map_err(|e| stopped("opening", e))?;
        run.enter(engine)?;
        Ok(run)
    }

    fn open(&self) -> Result<Engine, OpenError> {
        let builder = store::builder(&self.fs, self.durability);
        if self.told_under_load { tidegauge::internals::told_under_load(builder) } else { builder }.open()
    }

    /// Goes on with an engine that was opened on what a crash left. `left` tells what is left if
    /// the power fails while it opens; from then on what came back is durable.
    ///
    /// # Errors
    /// [`Stopped`] if it makes no appender.
    pub fn resume(fs: SimFs, engine: Engine, read: Read, left: Era, script: &Script) -> Result<Self, Stopped> {
        let opened = fs.steps();
        let lane = |(id, contents): (usize, Contents)| {
            let mut lane = Lane::new(id as u8, script.seed, 0);
            lane.track = Track::new(opened, contents.hash());
            let was = &left.lanes[id];
            lane.track.numbers.lasts =
                was.numbers.behind(was.len()).map(|(series, seq)| (0, series, Some(seq))).collect();
            // Above every value that is there.
            lane.next_value = contents.samples.values().map(|bits| f64::from_bits(*bits) as u64 + 1).max().unwrap_or(1);
            lane.contents = contents;
            lane
        };
        let lanes = read.lanes.into_iter().enumerate().map(lane).collect();
        let mut run = Self {
            fs,
            history: History { eras: vec![Arc::new(left)], ..History::default() },
            durability: script.durability,
            told_under_load: script.seed.is_multiple_of(4),
            rng: Rng(script.seed),
            lanes,
            metadata: Track::new(opened, read.found.metadata),
            known: (0..METRICS).map(|m| help_of(&engine, m)).collect(),
            barriers: Vec::new(),
            atomics: Vec::new(),
            audited: Vec::new(),
            copies: Vec::new(),
            witnessed: Vec::new(),
            from: opened,
            engine: None,
            patience: SOON,
            broken: None,
        };
        run.enter(engine)?;
        Ok(run)
    }

    fn enter(&mut self, engine: Engine) -> Result<(), Stopped> {
        self.from = self.fs.steps();
        for lane in &mut self.lanes {
            lane.enter(&engine, self.patience)?;
        }
        self.engine = Some(engine);
        Ok(())
    }

    fn era(&self) -> Era {
        let lanes = self.lanes.iter().map(|lane| lane.track.clone()).collect();
        Era {
            from: self.from,
            lanes,
            metadata: self.metadata.clone(),
            barriers: self.barriers.clone(),
            atomics: self.atomics.clone(),
            audited: self.audited.clone(),
            copies: self.copies.clone(),
            witnessed: self.witnessed.clone(),
        }
    }

    /// What may come back from a crash is complete up to here.
    pub(crate) fn keep_era(&mut self) {
        let era = self.era();
        self.history.eras.push(Arc::new(era));
    }

    /// Does all of it. When this returns, the history is complete, whatever happened.
    ///
    /// # Errors
    /// [`Stopped`] where the engine refused something.
    pub fn go(&mut self, script: &Script) -> Result<(), Stopped> {
        let result = script.steps.iter().try_for_each(|step| self.step(*step));
        self.keep_era();
        result
    }

    /// The engine at work.
    ///
    /// # Panics
    /// Once it was taken.
    #[must_use]
    pub fn engine(&self) -> &Engine {
        self.engine.as_ref().expect("it is there between steps")
    }

    /// Hands the engine over.
    pub fn take_engine(&mut self) -> Option<Engine> {
        self.lanes.iter_mut().for_each(|lane| lane.appender = None);
        self.engine.take()
    }

    /// The engine, if it is open.
    #[must_use]
    pub fn try_engine(&self) -> Option<&Engine> {
        self.engine.as_ref()
    }

    /// Waits no longer than this from now on; lanes that are open keep their patience.
    pub fn patience(&mut self, patience: Duration) {
        self.patience = patience;
    }

    /// Whether `found` is a prefix of what was taken, with everything seen to be visible.
    ///
    /// # Errors
    /// Says what is wrong.
    pub fn check_visible(&self, found: &Found) -> Result<(), String> {
        let mut history = History::default();
        history.eras.push(Arc::new(self.era()));
        history.expected(self.fs.steps(), Death::Kill).check(found).map(drop)
    }

    /// Whether `found` is everything that was taken.
    ///
    /// # Errors
    /// Says what is wrong.
    pub fn check_all(&self, found: &Found) -> Result<(), String> {
        let lanes: Vec<u64> = self.lanes.iter().map(|lane| lane.contents.hash()).collect();
        if found.lanes == lanes { Ok(()) } else { Err("not everything that was taken is there".to_owned()) }
    }

    /// There is space again: after a moment pushes are taken, and everything becomes visible.
    ///
    /// # Errors
    /// [`Stopped`] if it does not.
    pub fn recover_from_full(&mut self) -> Result<(), Stopped> {
        let (fs, end) = (self.fs.clone(), Instant::now() + SOON);
        for lane in &mut self.lanes {
            while let Err(e) = lane.push(1, &fs, None) {
                if Instant::now() > end {
                    return Err(e);
                }
                thread::sleep(Duration::from_millis(1));
            }
        }
        self.flush()
    }

    /// Everything that was ever pushed, by timestamp and bits.
    #[must_use]
    pub fn pushed(&self) -> HashSet<(Key, u64)> {
        self.lanes.iter().flat_map(|lane| lane.pushed.iter().copied()).collect()
    }

    /// Lanes, for reading.
    #[must_use]
    pub fn lanes(&self) -> usize {
        self.lanes.len()
    }

    pub(crate) fn logs(&self) -> bool {
        self.durability != Durability::Memory
    }

    /// Does one thing.
    ///
    /// # Errors
    /// [`Stopped`] where the engine refused something.
    pub fn step(&mut self, step: Step) -> Result<(), Stopped> {
        let fs = self.fs.clone();
        match step {
            Step::Push(n) => {
                let lane = self.rng.below(self.lanes.len() as u64) as usize;
                self.lanes[lane].push(n.min(LANE_SAMPLES as u64), &fs, None)
            }
            Step::PushCommon(n) => {
                // Two lanes have an order only by an answer in between.
                self.wait(Level::Visible)?;
                let engine = self.engine().clone();
                self.lanes[0].push(n, &fs, Some(&engine))?;
                self.wait(Level::Visible)
            }
            Step::PushAll(batches) => self.push_all(batches),
            Step::Batch(n) => self.batch(n),
            Step::Conflict(n) => self.conflict(n),
            Step::Visible => self.wait(Level::Visible),
            Step::Durable if self.logs() => self.wait(Level::Durable),
            Step::Rest => self.rest(),
            Step::Durable | Step::Flush => self.flush(),
            Step::Evict => {
                tidegauge::internals::evict_idle(self.engine());
                let engine = self.engine().clone();
                // Others than had them get the slots.
                for lane in self.lanes.iter_mut().rev() {
                    for n in (0..=COUNTER).rev() {
                        lane.series[usize::from(n)] = store::series(&engine, lane.id, n);
                    }
                }
                Ok(())
            }
            Step::PushOld(n) => {
                let lane = self.rng.below(self.lanes.len() as u64) as usize;
                self.lanes[lane].push_old(n, &fs)
            }
            Step::Conditional => self.conditional(),
            Step::Increment(times) => (0..times).try_for_each(|_| self.increment()),
            Step::Delete(extent) => self.delete(extent),
            Step::RetainAge(extent) => self.retain_age(extent),
            Step::RetainBytes(percent) => self.retain_bytes(percent),
            Step::Backup => self.back_up(),
            Step::Compact => self.compact(),
            Step::Metadata(bytes) => self.say_something(bytes),
            Step::Kill => self.reopen(Death::Kill),
            Step::Close => {
                let engine = self.take_engine().expect("there between steps");
                engine.close().map_err(|e| stopped("closing", e))?;
                self.note_durable();
                self.note_witnessed()?;
                self.reopen(Death::Kill)
            }
        }
    }

    fn push_all(&mut self, batches: u64) -> Result<(), Stopped> {
        let (fs, engine, logs, patience) = (&self.fs, self.engine().clone(), self.logs(), self.patience);
        let work = |lane: &mut Lane| {
            (0..batches).try_for_each(|_| {
                let n = 1 + lane.rng.below(12);
                lane.push(n, fs, None)?;
                // Its answer tells where between the others' this one lies.
                if lane.rng.below(2) == 0 { lane.wait(&engine, Level::Visible, fs, logs, patience) } else { Ok(()) }
            })
        };
        let results: Vec<Result<(), Stopped>> = thread::scope(|scope| {
            let running: Vec<_> = self.lanes.iter_mut().map(|lane| scope.spawn(move || work(lane))).collect();
            running.into_iter().map(|thread| thread.join().expect("a push panicked")).collect()
        });
        results.into_iter().collect::<Result<(), _>>()?;
        self.wait(Level::Visible)
    }

    pub(crate) fn wait(&mut self, level: Level) -> Result<(), Stopped> {
        let (engine, fs, logs, patience) = (self.engine().clone(), self.fs.clone(), self.logs(), self.patience);
        self.lanes.iter_mut().try_for_each(|lane| lane.wait(&engine, level, &fs, logs, patience))?;
        self.note_barrier();
        Ok(())
    }

    /// Everything pushed is durable, and log and manifest say so themselves.
    fn rest(&mut self) -> Result<(), Stopped> {
        if self.logs() {
            self.wait(Level::Durable)?;
        } else {
            self.flush()?;
        }
        let end = Instant::now() + self.patience;
        while !crate::end::is_at_rest(&self.fs) {
            if Instant::now() > end {
                return Err(Stopped("an idle store does not say what is durable".to_owned()));
            }
            thread::yield_now();
        }
        Ok(())
    }

    /// The store is closed: its manifest says what is durable, and that is durable too.
    fn note_witnessed(&mut self) -> Result<(), Stopped> {
        let witnessed = Commits::of(&self.fs).and_then(|commits| commits.witnessed());
        let number = witnessed.ok_or_else(|| Stopped("a closed manifest does not say what is durable".to_owned()))?;
        self.witnessed.push((self.fs.steps(), number));
        Ok(())
    }

    /// What was pushed so far was ordered before whatever comes.
    pub(crate) fn note_barrier(&mut self) {
        self.barriers.push(self.lanes.iter().map(|lane| lane.track.len()).collect());
    }

    pub(crate) fn flush(&mut self) -> Result<(), Stopped> {
        self.wait(Level::Visible)?;
        let begun = self.fs.steps();
        self.engine().flush().map_err(|e| stopped("a flush", e))?;
        self.note_over(Act::Flush, begun);
        self.note_durable();
        Ok(())
    }

    pub(crate) fn compact(&mut self) -> Result<(), Stopped> {
        let begun = self.fs.steps();
        self.engine().compact().map_err(|e| stopped("a compaction", e))?;
        self.note_over(Act::Compact, begun);
        Ok(())
    }

    /// An act that began at step `begun` is over.
    pub(crate) fn note_over(&mut self, act: Act, begun: u64) {
        self.history.acts.note(act, begun, self.fs.steps());
    }

    /// Everything that was pushed, deleted and hidden so far survives a power loss.
    pub(crate) fn note_durable(&mut self) {
        let step = self.fs.steps();
        for lane in &mut self.lanes {
            let count = lane.track.len();
            lane.track.note_durable(step, count);
        }
    }

    fn say_something(&mut self, bytes: u64) -> Result<(), Stopped> {
        let (metric, said) = (self.rng.below(METRICS), self.rng.draw());
        let help = format!("{said}{}", "!".repeat(bytes as usize));
        let mut known = self.known.clone();
        known[metric as usize] = Some(help.clone());
        let hash = (0..METRICS).zip(&known).filter_map(|(m, help)| Some(hash_of_metadata(&name(m), help.as_ref()?)));
        self.metadata.push(hash.fold(0, u64::wrapping_add));
        self.metadata.begin(self.fs.steps());
        let said = self.engine().set_metadata(&name(metric), Metadata { help, ..Metadata::default() });
        if let Err(e) = said {
            // It may be there or not.
            return Err(stopped("metadata", e));
        }
        self.known = known;
        let (step, count) = (self.fs.steps(), self.metadata.len());
        self.metadata.note_durable(step, count);
        Ok(())
    }

    /// The process ends as it is, and the next one opens what it left.
    fn reopen(&mut self, death: Death) -> Result<(), Stopped> {
        self.keep_era();
        let died_at = self.fs.steps();
        self.fs = self.fs.next_process();
        // The old one's threads find that they are dead, and go.
        if let Some(engine) = self.take_engine() {
            let _ = engine.close();
        }
        let engine = self.open().map_err(|e| stopped("opening again", e))?;
        let read = store::read(&engine, self.lanes.len()).map_err(|e| stopped("reading after a kill", e))?;
        let expected = self.history.expected(died_at, death);
        let judged = expected.check(&read.found).and_then(|prefix| {
            numbers::judge(&engine, &expected.known(&prefix), &mut self.rng)?;
            Ok(prefix)
        });
        let Prefix { lanes, metadata } = judged.map_err(|e| {
            let broken = stopped("after a kill", e);
            self.broken = Some(broken.0.clone());
            broken
        })?;
        let step = self.fs.steps();
        for ((lane, count), contents) in self.lanes.iter_mut().zip(lanes).zip(read.lanes) {
            lane.track.settle(step, count);
            lane.contents = contents;
        }
        self.metadata.settle(step, metadata);
        self.known = (0..METRICS).map(|m| help_of(&engine, m)).collect();
        self.barriers.clear();
        self.atomics.clear();
        self.witnessed.clear();
        self.enter(engine)
    }
}

fn name(metric: u64) -> String {
    format!("metric_{metric}")
}

fn help_of(engine: &Engine, metric: u64) -> Option<String> {
    engine.metadata().get(&name(metric)).map(|m| m.help.clone())
}
