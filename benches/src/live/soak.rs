//! A steady load for hours: memory and latencies over time.

use std::cell::Cell;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use serde::Serialize;
use tidegauge::Engine;

use super::asker::{Asker, Known};
use super::load::{LOOK_EVERY, Load, Source};
use crate::cli::Soak as Options;
use crate::error::Error;
use crate::measure::{Latency, Machine, Memory, Quantiles, TickClock, cpu_s};
use crate::progress::Progress;
use crate::run::arrivals::wait_until;
use crate::run::folder::Folder;
use crate::run::readback::read_back;
use crate::run::recount::{Pushed, Recount};

/// Samples that are prepared; they come again and again, moved on in time.
const PREPARED: u64 = 4_000 * 500;
/// Between two questions.
const ASK_EVERY: Duration = Duration::from_millis(100);

/// What happened in one window of time.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Window {
    /// When it ended, since the start.
    pub at_s: f64,
    /// Samples a second that became visible.
    pub samples_per_s: f64,
    /// Push calls, from when they were due.
    pub push_ns: Option<Quantiles>,
    /// Questions, on snapshots of their own, from when they were due.
    pub question_ns: Option<Quantiles>,
    /// Resident memory when it ended.
    pub rss_bytes: u64,
    /// What of it is no file's: the rest are pages of segments, which the system takes back when it needs them.
    pub anonymous_bytes: u64,
    /// Processor seconds of all threads, [`generator_cpu_s`](Self::generator_cpu_s) left out.
    pub cpu_s: f64,
    /// Processor seconds of waiting until pushes and questions were due, sleeping and spinning.
    pub generator_cpu_s: f64,
    /// Segments.
    pub segments: u64,
    /// Bytes of all segments.
    pub segment_bytes: u64,
    /// Samples that are in no segment yet.
    pub memory_samples: u64,
}

/// The whole time.
#[derive(Clone, Debug, Serialize)]
pub struct Soak {
    /// `soak`.
    pub verb: &'static str,
    /// The workload's name.
    pub workload: String,
    /// `memory`, `interval:…` or `sync`.
    pub durability: String,
    /// Samples a second that were due.
    pub rate: u64,
    /// Samples of one push call.
    pub batch: u32,
    /// What everything random followed from.
    pub seed: u64,
    /// How long it went on.
    pub elapsed_s: f64,
    /// Whether it was stopped before its time, by an interrupt.
    pub interrupted: bool,
    /// Samples pushed.
    pub samples: u64,
    /// Samples a second that became visible.
    pub samples_per_s: f64,
    /// Push calls, from when they were due.
    pub push_ns: Option<Quantiles>,
    /// Questions, on snapshots of their own, from when they were due.
    pub question_ns: Option<Quantiles>,
    /// Resident memory at the end of the first window.
    pub rss_first_bytes: u64,
    /// Resident memory at the end of the last window.
    pub rss_last_bytes: u64,
    /// The most resident memory at the end of any window.
    pub rss_most_bytes: u64,
    /// Memory that is no file's at the end of the first window.
    pub anonymous_first_bytes: u64,
    /// The same of the last window.
    pub anonymous_last_bytes: u64,
    /// The most of it at the end of any window.
    pub anonymous_most_bytes: u64,
    /// Bytes of all segments over samples.
    pub bytes_per_sample: f64,
    /// All windows.
    pub windows: Vec<Window>,
    /// Whether every answer was right, and all that was pushed is there, count and checksum.
    pub verified: bool,
    /// The machine.
    pub machine: Machine,
}

/// Pushes at a rate until all is pushed that was due before the time was over or `stop` was set: what an engine that stood
/// still had not taken by then is late, and not left out. Hands each window to `tell` when it ends.
///
/// # Errors
/// [`Error`]; a wrong answer is [`Error::Wrong`].
pub fn soak(
    options: &Options,
    stop: &AtomicBool,
    progress: &Progress,
    mut tell: impl FnMut(&Window) -> Result<(), Error>,
) -> Result<Soak, Error> {
    if options.batch == 0 {
        return Err(Error::Usage("--batch must be at least 1".into()));
    }
    let folder = Folder::new(options.data_dir.as_deref())?;
    let machine = Machine::with(folder.path());
    let builder = Engine::builder(folder.path().join("data")).durability(options.durability);
    let lane = (1 << 16).max(options.batch as usize * 2);
    let engine = builder.lane_samples(lane).open().map_err(Error::engine("opening the engine"))?;
    progress.step("generating samples");
    let samples = options.samples.unwrap_or(PREPARED);
    let source = Source::new(&engine, options.workload, options.seed, samples, options.batch)?;
    let known = Known::new(&source.workload, &source.part, &source.ids);
    let clock = TickClock::new();
    let mut load = Load::new(&engine, &clock, &source, options.batch)?;
    let (questions, asked_until) = (Mutex::new(Asked::default()), OnceLock::new());
    let (mut windows, mut push, mut question) = (Vec::<Window>::new(), Latency::new(), Latency::new());
    let start = Instant::now();
    progress.lasting("soaking", options.lasting);
    let (since, end) = ((start, 0), Cell::new(start + options.lasting));
    // Whether what is due at this time is due no more.
    let is_over = |due: Instant| {
        // Relaxed: nothing is read on the strength of it.
        if stop.load(Ordering::Relaxed) {
            end.set(end.get().min(Instant::now()));
        }
        due >= end.get()
    };
    thread::scope(|scope| {
        let mut asking = Some(scope.spawn(|| ask(&engine, &source, &known, &questions, &asked_until)));
        let has_failed = |asking: &Option<thread::ScopedJoinHandle<'_, _>>| {
            // Before it is told of an end, it ends with an error only.
            asking.as_ref().is_some_and(thread::ScopedJoinHandle::is_finished)
        };
        let mut run = || {
            loop {
                let (began, cpu_before) = (Instant::now(), cpu_s());
                let ended = |due| is_over(due) || began.elapsed() >= options.every || has_failed(&asking);
                let phase = load.at_a_rate(options.rate, since, ended)?;
                // Where nothing more is due before the end, that has to come, window after window.
                let rests = || is_over(load.next_due(options.rate, since)) && !is_over(Instant::now());
                while rests() && began.elapsed() < options.every && !has_failed(&asking) {
                    let left = end.get().saturating_duration_since(Instant::now());
                    thread::sleep(left.min(options.every.saturating_sub(began.elapsed())).min(LOOK_EVERY));
                }
                let is_last =
                    has_failed(&asking) || (is_over(load.next_due(options.rate, since)) && is_over(Instant::now()));
                let elapsed = began.elapsed();
                if is_last {
                    // Questions that were due until now belong to this window, too.
                    asked_until.get_or_init(Instant::now);
                    asking.take().map_or(Ok(()), |asking| asking.join().expect("the reader panicked"))?;
                }
                let asked = std::mem::take(&mut *questions.lock().expect("no thread panics with it"));
                let (stats, memory) = (engine.stats(), Memory::now());
                let generator_cpu_s = (phase.waited + asked.waited).as_secs_f64();
                let window = Window {
                    at_s: start.elapsed().as_secs_f64(),
                    samples_per_s: phase.samples as f64 / elapsed.as_secs_f64(),
                    push_ns: phase.push.quantiles(),
                    question_ns: asked.times.quantiles(),
                    rss_bytes: memory.rss,
                    anonymous_bytes: memory.anonymous,
                    cpu_s: cpu_s() - cpu_before - generator_cpu_s,
                    generator_cpu_s,
                    segments: stats.segments,
                    segment_bytes: stats.segment_bytes,
                    memory_samples: stats.memtable_samples,
                };
                push.merge(&phase.push);
                question.merge(&asked.times);
                progress.at(start.elapsed().as_millis() as u64);
                tell(&window)?;
                windows.push(window);
                if is_last {
                    return Ok(());
                }
            }
        };
        let pushed = run();
        // Where pushing has failed, nobody is asked any more.
        asked_until.get_or_init(|| start);
        if let Some(asking) = asking {
            asking.join().expect("the reader panicked")?;
        }
        pushed
    })?;
    let (elapsed, interrupted) = (start.elapsed(), stop.load(Ordering::Relaxed));
    progress.step("counting apart");
    let pushed = Pushed { part: source.part.clone(), samples: load.pushed };
    let recount = Recount::of(&source.workload, std::slice::from_ref(&pushed));
    drop(load);
    engine.flush().map_err(Error::engine("flushing"))?;
    progress.step("reading everything back");
    let (found, series) = read_back(&engine)?;
    let segment_bytes = engine.stats().segment_bytes;
    engine.close().map_err(Error::engine("closing the engine"))?;
    let [rss, anonymous] = [|w: &Window| w.rss_bytes, |w: &Window| w.anonymous_bytes].map(|of: fn(&Window) -> u64| {
        let [first, last] = [windows.first(), windows.last()].map(|window| window.map_or(0, of));
        [first, last, windows.iter().map(of).max().unwrap_or(0)]
    });
    Ok(Soak {
        verb: "soak",
        workload: options.workload.to_string(),
        durability: options.durability.to_string(),
        rate: options.rate,
        batch: options.batch,
        seed: options.seed,
        elapsed_s: elapsed.as_secs_f64(),
        interrupted,
        samples: pushed.samples,
        samples_per_s: pushed.samples as f64 / elapsed.as_secs_f64(),
        push_ns: push.quantiles(),
        question_ns: question.quantiles(),
        rss_first_bytes: rss[0],
        rss_last_bytes: rss[1],
        rss_most_bytes: rss[2],
        anonymous_first_bytes: anonymous[0],
        anonymous_last_bytes: anonymous[1],
        anonymous_most_bytes: anonymous[2],
        bytes_per_sample: segment_bytes as f64 / pushed.samples as f64,
        windows,
        verified: found == recount.checksum && series == recount.series,
        machine,
    })
}

/// What came of the questions of one window.
#[derive(Default)]
struct Asked {
    times: Latency,
    /// Processor time of waiting until they were due.
    waited: Duration,
}

/// Asks at even distances, and takes the time of each question.
fn ask(
    engine: &Engine,
    source: &Source,
    known: &Known,
    questions: &Mutex<Asked>,
    until: &OnceLock<Instant>,
) -> Result<(), Error> {
    let mut asker = Asker::new(engine, &source.workload, known);
    let ask = || {
        // Before the first sample of all series is there, there is nothing to ask.
        let is_ready = engine.stats().samples >= u64::from(source.workload.slots());
        if is_ready { asker.ask().map(|()| true) } else { Ok(false) }
    };
    let took = |time: Option<Duration>, waited: Duration| {
        let mut asked = questions.lock().expect("no thread panics with it");
        asked.waited += waited;
        time.into_iter().for_each(|time| asked.times.record_ns(time.as_nanos() as u64));
    };
    when_due(ASK_EVERY, until, ask, took)
}

/// Asks at even distances until all is asked that was due before `until`, once that is told. Times count from when a question
/// was due: one that waits for the one before it is late. What `ask` says was no question has no time. `took` is told of
/// each, and what processor time was spent on waiting for it.
fn when_due(
    every: Duration,
    until: &OnceLock<Instant>,
    mut ask: impl FnMut() -> Result<bool, Error>,
    mut took: impl FnMut(Option<Duration>, Duration),
) -> Result<(), Error> {
    let mut due = Instant::now() + every;
    while until.get().is_none_or(|until| due < *until) {
        let waited = wait_until(due);
        let is_one = ask()?;
        took(is_one.then(|| due.elapsed()), waited);
        due += every;
    }
    Ok(())
}

impl Soak {
    /// All figures as one JSON object in one line.
    #[must_use]
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("numbers, texts and their names always make JSON")
    }
}

impl Window {
    /// One JSON object in one line.
    #[must_use]
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("numbers and their names always make JSON")
    }
}

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let us = |q: Option<Quantiles>, of: fn(Quantiles) -> f64| q.map_or(f64::NAN, |q| of(q) / 1e3);
        write!(
            f,
            "{:>9.1} s  {:>7.3} M/s  push p50 {:>8.2} p99.9 {:>9.1} µs  questions p50 {:>8.1} p99 {:>9.1} µs  \
             {:>7.1} MiB ({:.1} no file's)  {:>5.2} s cpu  {:>3} segments",
            self.at_s,
            self.samples_per_s / 1e6,
            us(self.push_ns, |q| q.p50),
            us(self.push_ns, |q| q.p999),
            us(self.question_ns, |q| q.p50),
            us(self.question_ns, |q| q.p99),
            self.rss_bytes as f64 / f64::from(1 << 20),
            self.anonymous_bytes as f64 / f64::from(1 << 20),
            self.cpu_s,
            self.segments
        )
    }
}

impl fmt::Display for Soak {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let end = if self.interrupted { "interrupted" } else { "over" };
        let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
        writeln!(f, "{}, {}, {} samples/s due; {}", self.workload, self.durability, self.rate, self.machine)?;
        writeln!(
            f,
            "{end} after {:.1} s: {} samples, {:.3} M/s",
            self.elapsed_s,
            self.samples,
            self.samples_per_s / 1e6
        )?;
        for (name, times) in [("push", self.push_ns), ("question", self.question_ns)] {
            if let Some(q) = times {
                let [p50, p99, p999, max] = [q.p50, q.p99, q.p999, q.max].map(|ns| ns / 1e3);
                writeln!(f, "{name:<9} p50 {p50:.2}, p99 {p99:.1}, p99.9 {p999:.1}, max {max:.0} µs")?;
            }
        }
        let [first, last, most] = [self.rss_first_bytes, self.rss_last_bytes, self.rss_most_bytes].map(mib);
        writeln!(f, "memory    {first:.1} MiB first, {last:.1} last, {most:.1} at most")?;
        let all = [self.anonymous_first_bytes, self.anonymous_last_bytes, self.anonymous_most_bytes];
        let [first, last, most] = all.map(mib);
        writeln!(f, "no file's {first:.1} MiB first, {last:.1} last, {most:.1} at most")?;
        writeln!(f, "bytes a sample {:.3}", self.bytes_per_sample)?;
        write!(f, "verified  {}", if self.verified { "yes" } else { "NO" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lets the second question take as long as eight should, and says when all is over from within the `last`.
    fn asked(last: u32, over: impl Fn(Instant) -> Instant) -> Vec<Duration> {
        let (until, mut asked, mut times) = (OnceLock::new(), 0, Vec::new());
        let ask = || {
            asked += 1;
            if asked == 2 {
                wait_until(Instant::now() + SLOW);
            }
            if asked == last {
                until.set(over(Instant::now())).unwrap();
            }
            Ok(asked != 1)
        };
        when_due(EVERY, &until, ask, |time, _| times.extend(time)).unwrap();
        times
    }

    const EVERY: Duration = Duration::from_millis(10);
    const SLOW: Duration = Duration::from_millis(80);

    #[test]
    fn a_question_that_waits_for_the_one_before_it_is_late() {
        let times = asked(4, |now| now - SLOW * 2);
        assert_eq!(times.len(), 3, "the first was none");
        for (time, waited) in times.iter().zip([SLOW, SLOW - EVERY, SLOW - EVERY * 2]) {
            assert!(*time >= waited, "{times:?}");
        }
    }

    #[test]
    fn questions_that_were_due_while_the_last_one_was_slow_are_asked_late_and_not_left_out() {
        // It is over while the slow one is answered, behind which seven were due.
        let times = asked(2, |now| now);
        assert!(times.len() >= 8, "{times:?}");
        for (n, time) in (0..8).zip(&times) {
            assert!(*time >= SLOW - EVERY * n, "{times:?}");
        }
    }
}
