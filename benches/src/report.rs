//! The figures of a run: one JSON object, or lines for people.

use std::fmt;

use serde::Serialize;

use crate::measure::{Latency, Machine, Preempted, Quantiles};
use crate::roofs::{DiskTimes, RoofsOfRun};
use crate::run::acks::AckTimes;

/// All figures of one run. What was not measured is `None`, and `null` in JSON.
///
/// The fields down to `verified` are the driver's contract and stay; more may follow.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The workload's name.
    pub workload: String,
    /// Threads that pushed, each with an appender of its own.
    pub appenders: u32,
    /// Samples of one push call.
    pub batch: u32,
    /// `memory`, `interval:…` or `sync`.
    pub durability: String,
    /// Series that have samples.
    pub series: u64,
    /// Samples pushed.
    pub samples: u64,
    /// What everything random followed from.
    pub seed: u64,
    /// From before the first push until the last sample was visible.
    pub samples_per_s_visible: f64,
    /// The same until the last sample was durable; `None` with `memory`.
    pub samples_per_s_durable: Option<f64>,
    /// Processor seconds of all threads until the last sample was visible, [`generator_cpu_s`](Self::generator_cpu_s) left
    /// out.
    pub cpu_s: f64,
    /// One `push` of one sample into an idle ring, each timed singly: whole steps of the clock
    /// ([`clock_step_ns`](Self::clock_step_ns)), reading it ([`empty_pair_ns`](Self::empty_pair_ns)) included.
    pub push_ns: Option<Quantiles>,
    /// The most memory resident while pushing and flushing, the prepared input included.
    pub peak_rss_bytes: u64,
    /// What the engine added to it: registering the series, pushing, flushing.
    pub rss_growth_bytes: u64,
    /// What of that was left after a flush, half a second later.
    pub rss_idle_bytes: u64,
    /// Bytes of the segment files that the flushes wrote, over samples.
    pub bytes_per_sample_fresh: Option<f64>,
    /// The same after compaction.
    pub bytes_per_sample: Option<f64>,
    /// The same in files for old data.
    pub bytes_per_sample_cold: Option<f64>,
    /// Bytes written to the log over samples.
    pub wal_bytes_per_sample: Option<f64>,
    /// 64 KiB written and synced in the same folder, before and after the run, in microseconds.
    pub pwrite_fdatasync_64k_us: DiskTimes,
    /// Opening after a clean close: the median of five.
    pub reopen_s: f64,
    /// Reading every timestamp and value on all cores, selecting included: the median of five.
    pub scan_samples_per_s: f64,
    /// The questions in process, in microseconds.
    pub queries_us: Queries,
    /// Whether count and checksum of everything read back, before and after the reopening,
    /// and the answer to every question, are those of an independent count.
    pub verified: bool,

    /// Whether each appender waited until each batch was durable.
    pub wait: bool,
    /// How long a sustained run was to last.
    pub for_s: Option<f64>,
    /// From before the first push until the last sample was visible.
    pub elapsed_s: f64,
    /// Time in which the series were registered, before the clock of the run started.
    pub register_s: f64,
    /// Samples over the time of the run and of the registration together.
    pub samples_per_s_registering: f64,
    /// Processor seconds of all threads from the first push until everything was flushed,
    /// [`generator_cpu_s`](Self::generator_cpu_s) left out.
    pub cpu_flushed_s: f64,
    /// Processor seconds in which appenders waited until samples were due, sleeping and spinning; `None` without a rate.
    pub generator_cpu_s: Option<f64>,
    /// Processor nanoseconds of all threads for each sample, from the push into a segment; `None`
    /// where reads take their part.
    pub cpu_ns_per_sample_flushed: Option<f64>,
    /// Flushing what was left in memory after the run.
    pub flush_s: f64,
    /// Compacting what compaction in the background had left, after that.
    pub compact_s: f64,
    /// [`bytes_per_sample_fresh`](Self::bytes_per_sample_fresh) over [`bytes_per_sample_cold`](Self::bytes_per_sample_cold):
    /// what is read while it is new, over what compaction leaves of it once it is old.
    pub fresh_over_cold: Option<f64>,
    /// Bytes of all segments written over those that the flushes wrote.
    pub write_amplification: f64,
    /// Push calls of `batch` samples under load. One sample in some 1,021 has its push timed.
    pub push_loaded_ns: Option<Quantiles>,
    /// What was taken from the threads that pushed meanwhile: its share of the longest times above; `None` where workers
    /// read as well.
    pub push_preempted: Option<Preempted>,
    /// From before a push until its batch was durable, with `--wait`.
    pub ack_durable_us: Option<AckTimes>,
    /// With `sync` and `--wait`, but at no rate: durable samples a second over what the device could make durable if each sync of it
    /// took [`pwrite_fdatasync_64k_us`](Self::pwrite_fdatasync_64k_us) at its median and brought a batch of each appender
    /// (8 appenders and batches of 1,000: 8,000 ÷ p50).
    pub sync_ratio: Option<f64>,
    /// Means over blocks of 32 pushes of one sample into an idle ring: what a push takes where neither the step of the clock
    /// nor reading it counts. A quantile of these means is none of single pushes.
    pub push_block_mean_ns: Option<Quantiles>,
    /// The least that two readings of the counter, one after the other, differ by if they differ: what it steps by, or what
    /// reading it takes, whichever is more.
    pub clock_step_ns: f64,
    /// Push calls of `batch` samples into an idle ring; `None` for batches of one.
    pub push_batch_ns: Option<Quantiles>,
    /// From a push until a snapshot holds the sample, the worker asleep and nobody waiting.
    pub visible_unasked_ns: Option<Quantiles>,
    /// Share of one processor that the process takes while nothing is asked of an open engine.
    pub idle_core_share: f64,
    /// The same of a bare thread that only naps, as often as the idle worker: the system's part of it.
    pub nap_core_share: f64,
    /// Two readings of the counter with nothing between: what each single time includes.
    pub empty_pair_ns: Option<Quantiles>,
    /// Bytes of the prepared input, which are part of `peak_rss_bytes` only.
    pub input_bytes: u64,
    /// Bytes of all segment files.
    pub segment_bytes: u64,
    /// Count and checksum that the independent count came to.
    pub expected: Sums,
    /// Count and checksum read back after the reopening.
    pub found: Sums,
    /// What the mixed workload did.
    pub mixed: Option<Mixed>,
    /// Series that took the place of others while the clock ran (`churn`).
    pub series_registered_meanwhile: u64,
    /// As [`scan_samples_per_s`](Self::scan_samples_per_s), on one thread.
    pub scan_one_core_samples_per_s: f64,
    /// Samples over the median of Q5, which asks for their count and their sum in one pass: where statistics of chunks answer,
    /// they need not be read.
    pub q5_samples_per_s: Option<f64>,
    /// The same where all series were selected before.
    pub q5_selected_samples_per_s: Option<f64>,
    /// Samples a second of one thread where values are encoded for the archive: the median of five.
    pub cold_scan_samples_per_s: Option<f64>,
    /// Samples that were in no segment yet when the last appender's clock stopped: what flushing was behind.
    pub memory_samples_left: u64,
    /// Of all samples, the share that was in segments then.
    pub flushed_share: f64,
    /// Segments there were then: what compaction was behind.
    pub segments_left: u64,
    /// Compaction jobs that were done by then.
    pub compactions: u64,
    /// Where samples were due at a rate.
    pub arrival: Option<Arrival>,
    /// Whole distributions.
    pub curves_ns: Curves,
    /// What memory did before and after; `None` of smoke runs.
    pub roofs: Option<RoofsOfRun>,
    /// The machine.
    pub machine: Machine,
}

/// Times from when a batch was due, whatever the engine did then.
#[derive(Clone, Debug, Serialize)]
pub struct Arrival {
    /// Samples a second that were due.
    pub samples_per_s_asked: u64,
    /// What is waited for: `visible` or `durable`.
    pub level: &'static str,
    /// Batches that were due.
    pub batches: u64,
    /// Batches of which it was watched when they reached the level: each n-th, by count.
    pub batches_watched: u64,
    /// Until the push returned.
    pub pushed_ns: Option<Quantiles>,
    /// Until the batch was visible or durable.
    pub reached_ns: Option<Quantiles>,
}

/// Distributions as (share of all, nanoseconds), rising; empty where nothing was taken.
#[derive(Clone, Debug, Serialize)]
pub struct Curves {
    /// One push of one sample into an idle ring.
    pub push: Vec<[f64; 2]>,
    /// Push calls under load.
    pub push_loaded: Vec<[f64; 2]>,
    /// From when a batch was due until its push returned.
    pub arrival_pushed: Vec<[f64; 2]>,
    /// From when a batch was due until it was visible or durable.
    pub arrival_reached: Vec<[f64; 2]>,
    /// From before a push until its batch was durable, with `--wait`.
    pub ack_durable: Vec<[f64; 2]>,
    /// The questions.
    pub questions: QuestionCurves,
}

/// Distributions of the questions, as those of [`Curves`].
#[derive(Clone, Debug, Serialize)]
#[allow(missing_docs, reason = "as the fields of Queries")]
pub struct QuestionCurves {
    pub q1: Vec<[f64; 2]>,
    pub q1_hot: Vec<[f64; 2]>,
    pub q2: Vec<[f64; 2]>,
    pub q3: Vec<[f64; 2]>,
    pub q4: Vec<[f64; 2]>,
    pub q5: Vec<[f64; 2]>,
    pub q5_selected: Vec<[f64; 2]>,
}

/// A count and a checksum.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Sums {
    /// Samples.
    pub samples: u64,
    /// Hexadecimal in JSON: not every reader keeps 64 bits of a number.
    #[serde(serialize_with = "as_hex")]
    pub checksum: u64,
}

fn as_hex<S: serde::Serializer>(sum: &u64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&format!("{sum:016x}"))
}

/// Times of the questions; `None` where a short run pushed nothing that they are about.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Queries {
    /// The last value of one series, selected before: each time of another one, drawn from all.
    pub q1: Option<Times>,
    /// The same of sixteen series in turn.
    pub q1_hot: Option<Times>,
    /// One series, selected before, one hour, every sample.
    pub q2: Option<Times>,
    /// The maximum of each metric of a host, one hour by the minute.
    pub q3: Option<Times>,
    /// The mean of one metric on all hosts by the hour.
    pub q4: Option<Times>,
    /// Count and sum of everything.
    pub q5: Option<Times>,
    /// The same, selected before.
    pub q5_selected: Option<Times>,
}

/// Quantiles of times in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Times {
    /// The median.
    pub p50: f64,
    /// 99 % lie below; the longest, where fewer than 100 were taken.
    pub p99: f64,
}

impl Times {
    /// `None` if nothing was timed.
    pub(crate) fn of(latency: &Latency) -> Option<Self> {
        let at = |share| latency.quantile_ns(share) / 1e3;
        (!latency.is_empty()).then(|| Self { p50: at(0.5), p99: at(0.99) })
    }
}

/// What the workers of the mixed workload did.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Mixed {
    /// Reads and writes a second; a write is a batch of `batch` samples.
    pub ops_per_s: f64,
    /// Reads of a last value a second.
    pub reads_per_s: f64,
    /// Writes until visible a second: batches, not samples.
    pub writes_per_s: f64,
    /// A read, in microseconds.
    pub read_us: OperationTimes,
    /// A write (a batch) until it is visible, in microseconds.
    pub write_us: OperationTimes,
}

/// Quantiles of times in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct OperationTimes {
    /// The median.
    pub p50: f64,
    /// 95 % lie below.
    pub p95: f64,
    /// 99 % lie below.
    pub p99: f64,
}

impl OperationTimes {
    pub(crate) fn of(latency: &Latency) -> Self {
        let at = |share| latency.quantile_ns(share) / 1e3;
        Self { p50: at(0.5), p95: at(0.95), p99: at(0.99) }
    }
}

impl Report {
    /// The object that `--json` prints, in one line.
    #[must_use]
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("numbers, texts and their names always make JSON")
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let wait = if self.wait { ", each batch awaited" } else { "" };
        writeln!(
            f,
            "{}: {} samples of {} series, {} appender(s), batches of {}, {}{wait}, seed {}",
            self.workload,
            grouped(self.samples),
            grouped(self.series),
            self.appenders,
            grouped(u64::from(self.batch)),
            self.durability,
            self.seed
        )?;
        writeln!(f, "  {}", self.machine)?;
        line(f, "visible", format_args!("{}/s in {:.3} s", millions(self.samples_per_s_visible), self.elapsed_s))?;
        if let Some(durable) = self.samples_per_s_durable {
            line(f, "durable", format_args!("{}/s", millions(durable)))?;
        }
        line(
            f,
            "registering",
            format_args!(
                "{:.3} s before the clock started; {}/s with it",
                self.register_s,
                millions(self.samples_per_s_registering)
            ),
        )?;
        if self.series_registered_meanwhile > 0 {
            let (series, per_s) = (grouped(self.series_registered_meanwhile), self.elapsed_s.recip());
            let per_s = per_s * self.series_registered_meanwhile as f64;
            line(f, "  on the way", format_args!("{series} series more while the clock ran, {per_s:.0}/s"))?;
        }
        line(
            f,
            "processor",
            format_args!(
                "{:.2} s until visible; {} ns a sample from push to segment",
                self.cpu_s,
                self.cpu_ns_per_sample_flushed.map_or("no".to_owned(), |ns| format!("{ns:.1}"))
            ),
        )?;
        if let Some(waited) = self.generator_cpu_s {
            line(f, "  not in it", format_args!("{waited:.2} s of waiting until samples were due"))?;
        }
        let left = grouped(self.memory_samples_left);
        let (segments, jobs) = (self.segments_left, self.compactions);
        line(
            f,
            "behind at the end",
            format_args!(
                "{left} samples in memory ({:.1} % in segments), {segments} segments, {jobs} compactions done",
                self.flushed_share * 100.0
            ),
        )?;
        self.latencies(f)?;
        line(
            f,
            "memory",
            format_args!(
                "peak {}, growth {} ({:.0} bytes a series), idle after a flush {} ({:.0})",
                mib(self.peak_rss_bytes),
                mib(self.rss_growth_bytes),
                self.rss_growth_bytes as f64 / self.series as f64,
                mib(self.rss_idle_bytes),
                self.rss_idle_bytes as f64 / self.series as f64
            ),
        )?;
        line(
            f,
            "bytes a sample",
            format_args!(
                "{} fresh, {} compacted, {} encoded for the archive (fresh {} × that), {} in the log",
                or_none(self.bytes_per_sample_fresh),
                or_none(self.bytes_per_sample),
                or_none(self.bytes_per_sample_cold),
                or_none(self.fresh_over_cold),
                or_none(self.wal_bytes_per_sample)
            ),
        )?;
        let disk = self.pwrite_fdatasync_64k_us;
        line(f, "64 KiB + fdatasync", format_args!("p50 {:.0} µs, p99 {:.0} µs", disk.p50, disk.p99))?;
        if let Some(RoofsOfRun { before, after }) = &self.roofs {
            line(f, "roofs before", format_args!("{before}"))?;
            line(f, "roofs after", format_args!("{after}"))?;
        }
        line(f, "flush", format_args!("{:.3} s for what was left in memory", self.flush_s))?;
        let amplification = self.write_amplification;
        line(f, "compaction", format_args!("{:.3} s, write amplification {amplification:.2}", self.compact_s))?;
        line(f, "reopen", format_args!("{:.2} ms", self.reopen_s * 1e3))?;
        let cores = self.machine.cores;
        line(f, "scan", format_args!("{}/s, {cores} cores", millions(self.scan_samples_per_s)))?;
        line(f, "scan, one core", format_args!("{}/s", millions(self.scan_one_core_samples_per_s)))?;
        if let Some(cold) = self.cold_scan_samples_per_s {
            line(f, "scan, archive", format_args!("{}/s, one core", millions(cold)))?;
        }
        let q = &self.queries_us;
        for (name, times) in [
            ("Q1 last value", q.q1),
            ("  of the same 16", q.q1_hot),
            ("Q2 one series, 1 h", q.q2),
            ("Q3 10 series, 1 h", q.q3),
            ("Q4 mean by hour", q.q4),
            ("Q5 count and sum", q.q5),
            ("  selected before", q.q5_selected),
        ] {
            match times {
                Some(times) => line(f, name, format_args!("p50 {:.2} µs, p99 {:.2} µs", times.p50, times.p99))?,
                None => line(f, name, format_args!("not asked: no samples of what it is about were pushed"))?,
            }
        }
        if let (Some(all), Some(selected)) = (self.q5_samples_per_s, self.q5_selected_samples_per_s) {
            let [all, selected] = [all, selected].map(|rate| rate / 1e9);
            line(f, "  of all samples", format_args!("{all:.2} G samples/s, selected before {selected:.2}"))?;
        }
        if let Some(mixed) = &self.mixed {
            let (r, w) = (mixed.read_us, mixed.write_us);
            line(f, "operations", format_args!("{:.0}/s", mixed.ops_per_s))?;
            let times = |t: OperationTimes| format!("p50 {:.2}, p95 {:.2}, p99 {:.2} µs", t.p50, t.p95, t.p99);
            line(f, "reads", format_args!("{:.0}/s, {}", mixed.reads_per_s, times(r)))?;
            line(f, "writes", format_args!("{:.0}/s, {}", mixed.writes_per_s, times(w)))?;
        }
        let verdict = if self.verified { "yes" } else { "NO" };
        write!(
            f,
            "  {:<19} {verdict}: {} samples, checksum {:016x}; expected {}, {:016x}",
            "verified",
            grouped(self.found.samples),
            self.found.checksum,
            grouped(self.expected.samples),
            self.expected.checksum
        )
    }
}

impl Report {
    fn latencies(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let show =
            |q: Quantiles| format!("p50 {:.1}, p99 {:.0}, p99.9 {:.0}, max {:.0} ns", q.p50, q.p99, q.p999, q.max);
        if let Some(push) = self.push_ns {
            line(f, "push, idle ring", format_args!("{} (one sample, timed singly)", show(push)))?;
        }
        if let Some(pair) = self.empty_pair_ns {
            let step = self.clock_step_ns;
            line(
                f,
                "  empty pair",
                format_args!("{} (each single time includes it; steps of {step:.0} ns)", show(pair)),
            )?;
        }
        if let Some(mean) = self.push_block_mean_ns {
            line(f, "  means of 32", format_args!("{} (pushes one after the other)", show(mean)))?;
        }
        let each = |q: Quantiles| q.p50 / f64::from(self.batch);
        if let Some(push) = self.push_batch_ns {
            let (n, each) = (self.batch, each(push));
            line(f, "push_batch, idle", format_args!("{} a batch of {n}; {each:.2} ns a sample", show(push)))?;
        }
        if let Some(unasked) = self.visible_unasked_ns {
            let [p50, p99, max] = [unasked.p50, unasked.p99, unasked.max].map(|ns| ns / 1e3);
            line(f, "visible unasked", format_args!("p50 {p50:.0}, p99 {p99:.0}, max {max:.0} µs"))?;
        }
        let [idle, nap] = [self.idle_core_share, self.nap_core_share].map(|share| share * 100.0);
        line(f, "idle engine", format_args!("{idle:.2} % of a core; a bare thread that naps as often {nap:.2} %"))?;
        if let Some(push) = self.push_loaded_ns {
            let (n, each) = (self.batch, each(push));
            line(f, "push under load", format_args!("{} a batch of {n}; {each:.2} ns a sample", show(push)))?;
        }
        if let Some(Preempted { times, queued_s }) = self.push_preempted {
            let (times, queued_ms) = (grouped(times), queued_s * 1e3);
            line(f, "  processor taken", format_args!("{times} times; ready and not running {queued_ms:.1} ms"))?;
        }
        if let Some(ack) = self.ack_durable_us {
            let times = format!("p50 {:.0}, p99 {:.0}, p99.9 {:.0}, max {:.0} µs", ack.p50, ack.p99, ack.p999, ack.max);
            let device = format!("the log's fdatasync p50 {:.0}, p99 {:.0} µs", ack.fdatasync_p50, ack.fdatasync_p99);
            let bound = ack.p99_bound.map_or(String::new(), |bound| format!("; p99 should be below {bound:.0} µs"));
            line(f, "durable ack", format_args!("{times}; {device}{bound}"))?;
        }
        if let Some(ratio) = self.sync_ratio {
            let flying = grouped(u64::from(self.appenders) * u64::from(self.batch));
            line(f, "of the device", format_args!("{ratio:.3} × ({flying} samples ÷ its p50)"))?;
        }
        if let Some(arrival) = &self.arrival {
            let Arrival { samples_per_s_asked, level, batches, batches_watched, .. } = arrival;
            line(
                f,
                "due at a rate",
                format_args!("{} samples/s: {} batches", grouped(*samples_per_s_asked), grouped(*batches)),
            )?;
            if let Some(pushed) = arrival.pushed_ns {
                line(f, "  until pushed", format_args!("{}", show(pushed)))?;
            }
            if let Some(reached) = arrival.reached_ns {
                let watched = grouped(*batches_watched);
                line(f, &format!("  until {level}"), format_args!("{} ({watched} watched)", show(reached)))?;
            }
        }
        Ok(())
    }
}

fn line(f: &mut fmt::Formatter<'_>, name: &str, what: fmt::Arguments<'_>) -> fmt::Result {
    writeln!(f, "  {name:<19} {what}")
}

fn millions(rate: f64) -> String {
    format!("{:.2} M samples", rate / 1e6)
}

fn mib(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}

fn or_none(figure: Option<f64>) -> String {
    figure.map_or("none".to_owned(), |figure| format!("{figure:.3}"))
}

fn grouped(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::with_capacity(digits.len() * 4 / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_grouped() {
        let all: Vec<String> = [0, 999, 1_000, 1_234_567].map(grouped).to_vec();
        assert_eq!(all, ["0", "999", "1,000", "1,234,567"]);
    }

    #[test]
    fn a_checksum_keeps_all_its_bits_in_json() {
        let sums = Sums { samples: 1, checksum: u64::MAX };
        assert_eq!(serde_json::to_string(&sums).unwrap(), r#"{"samples":1,"checksum":"ffffffffffffffff"}"#);
    }
}
