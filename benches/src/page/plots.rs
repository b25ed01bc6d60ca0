//! Which plots there are, and the roof beside each.

use serde_json::Value;

use super::results::{Results, name, number};
use super::svg::{Axis, Bar, Curve, Roof, bars, lines, short};

/// One plot.
pub(super) struct Plot {
    /// Of its file.
    pub(super) name: &'static str,
    pub(super) title: String,
    /// What is seen.
    pub(super) says: String,
    pub(super) svg: String,
}

/// Bits of W1's noise: what no encoding without loss comes below, in bytes a sample.
const W1_ENTROPY: f64 = 1.08;

pub(super) fn all(results: &Results) -> Vec<Plot> {
    let runs = [throughput, push, arrival, acks, questions, bytes, memory, scan];
    let others = [concurrency, concurrency_latency, soak_memory, soak_latency];
    runs.into_iter().chain(others).filter_map(|plot| plot(results)).collect()
}

fn plot(name: &'static str, title: &str, says: &str, svg: String) -> Option<Plot> {
    Some(Plot { name, title: title.into(), says: says.into(), svg })
}

/// Bars of one figure, or some, of each run.
fn of_runs(results: &Results, figures: &[(&str, &str, f64)]) -> Vec<Bar> {
    let mut all = Vec::new();
    for run in &results.runs {
        for (colour, (pointer, what, divisor)) in figures.iter().enumerate() {
            if let Some(value) = number(run, pointer) {
                let label = if what.is_empty() { name(run) } else { format!("{}, {what}", name(run)) };
                all.push(Bar { label, value: value / divisor, colour });
            }
        }
    }
    all
}

fn roofs(all: impl IntoIterator<Item = (String, Option<f64>)>) -> Vec<Roof> {
    all.into_iter().filter_map(|(label, at)| Some(Roof { label, at: at? })).collect()
}

/// A roof that the runs of a plot took themselves, else one of `roofs`.
fn near(results: &Results, runs: &[Value], label: &str, key: &str, of: impl Fn(f64) -> f64) -> (String, Option<f64>) {
    match Results::own_roof(runs, key) {
        Some(own) => (format!("{label} (taken with the runs)"), Some(of(own))),
        None => (label.to_owned(), results.roof(key).map(of)),
    }
}

fn throughput(results: &Results) -> Option<Plot> {
    let all =
        of_runs(results, &[("/samples_per_s_visible", "visible", 1e6), ("/samples_per_s_durable", "durable", 1e6)]);
    if all.is_empty() {
        return None;
    }
    // Each run's log makes a roof of its own; runs with as many bytes a sample share it.
    let mut wals: Vec<f64> = results.runs.iter().filter_map(|run| number(run, "/wal_bytes_per_sample")).collect();
    wals.iter_mut().for_each(|wal| *wal = (*wal * 100.0).round() / 100.0);
    wals.retain(|wal| *wal > 0.0);
    wals.sort_unstable_by(f64::total_cmp);
    wals.dedup();
    let disk = wals.iter().map(|wal| {
        (format!("the disk at {wal:.2} bytes a sample"), results.roof("/write_mb_s").map(|mb_s| mb_s / wal))
    });
    let runs = &results.runs;
    let memory = [
        (
            "one thread appends 16 bytes, release store".to_owned(),
            results.roof("/append_release_ns").map(|ns| 1e3 / ns),
        ),
        near(results, runs, "a plain Vec for each of 4,000 series, one core", "/vec_append_w1_m_s", |m_s| m_s),
        ("a plain Vec for each of 4,000 series, all cores".to_owned(), results.roof("/vec_append_w1_all_m_s")),
        ("of 100,000 series at random, one core".to_owned(), results.roof("/vec_append_random_m_s")),
        ("of 100,000 series at random, all cores".to_owned(), results.roof("/vec_append_random_all_m_s")),
        near(results, runs, "memcpy of 24 bytes a sample", "/memcpy_gb_s", |gb_s| gb_s * 1e3 / 24.0),
    ];
    let roofs = roofs(memory.into_iter().chain(disk));
    let says = "Samples a second, from before the first push until the last sample is visible, and durable.";
    plot("throughput", "Throughput", says, bars("M/s", &all, &roofs))
}

/// (share, ns) as (1 ÷ rest, ns): equal distances for 90 %, 99 %, 99.9 % …
fn curve(label: String, points: &Value) -> Option<Curve> {
    let point = |p: &Value| Some((1.0 / (1.0 - p.get(0)?.as_f64()?), p.get(1)?.as_f64()?));
    let points: Vec<(f64, f64)> = points.as_array()?.iter().filter_map(point).filter(|p| p.0.is_finite()).collect();
    (points.len() > 1).then_some(Curve { label, points })
}

fn share(rest: f64) -> String {
    let digits = (rest.log10().round() as usize).saturating_sub(2);
    if rest <= 1.0 { "0 %".into() } else { format!("{:.digits$} %", 100.0 - 100.0 / rest) }
}

fn nanos(ns: f64) -> String {
    match ns {
        ns if ns >= 1e9 => format!("{} s", short(ns / 1e9)),
        ns if ns >= 1e6 => format!("{} ms", short(ns / 1e6)),
        ns if ns >= 1e3 => format!("{} µs", short(ns / 1e3)),
        ns => format!("{} ns", short(ns)),
    }
}

const SHARES: Axis<'static> = Axis { label: "share of all", log: true, least: 0.0, tick: share };
/// A push of less than a nanosecond is one that the clock did not see.
const TIMES: Axis<'static> = Axis { label: "time", log: true, least: 1.0, tick: nanos };

fn push(results: &Results) -> Option<Plot> {
    let mut curves = Vec::new();
    for run in &results.runs {
        curves.extend(curve(format!("{}: one sample into an idle ring", name(run)), run.pointer("/curves_ns/push")?));
        let loaded = run.pointer("/curves_ns/push_loaded")?;
        curves.extend(curve(format!("{}: a batch, flat out", name(run)), loaded));
    }
    if curves.is_empty() {
        return None;
    }
    let roofs = roofs([("append of 16 bytes".to_owned(), results.roof("/append_release_ns"))]);
    let says = "Time of one push call. Each single time includes two readings of the processor's counter.";
    plot("push", "Latency of a push", says, lines(&SHARES, &TIMES, &curves, &roofs))
}

fn arrival(results: &Results) -> Option<Plot> {
    let mut curves = Vec::new();
    for run in results.runs.iter().filter(|run| run.get("arrival").is_some_and(|arrival| !arrival.is_null())) {
        let level = run.pointer("/arrival/level").and_then(Value::as_str).unwrap_or("visible").to_owned();
        for (key, what) in [("arrival_pushed", "pushed"), ("arrival_reached", level.as_str())] {
            curves.extend(curve(format!("{}: until {what}", name(run)), run.get("curves_ns")?.get(key)?));
        }
    }
    if curves.is_empty() {
        return None;
    }
    let says = "Time from when a batch was due at the rate asked for, whatever the engine did then.";
    plot("arrival", "Latency at a rate", says, lines(&SHARES, &TIMES, &curves, &fdatasync(results)))
}

fn fdatasync(results: &Results) -> Vec<Roof> {
    let ns = |key| results.roof(key).map(|us| us * 1e3);
    roofs([
        ("median of a 64 KiB write with fdatasync".to_owned(), ns("/pwrite_fdatasync_64k_us/p50")),
        ("99 % of them".to_owned(), ns("/pwrite_fdatasync_64k_us/p99")),
    ])
}

fn acks(results: &Results) -> Option<Plot> {
    let of = |run: &Value| curve(name(run), run.pointer("/curves_ns/ack_durable")?);
    let curves: Vec<Curve> = results.runs.iter().filter_map(of).collect();
    if curves.is_empty() {
        return None;
    }
    let says = "Time from before a push until its batch was durable, each appender waiting for each.";
    plot("acks", "Latency of durable acknowledgements", says, lines(&SHARES, &TIMES, &curves, &fdatasync(results)))
}

const QUESTIONS: [(&str, &str); 7] = [
    ("q1", "last value"),
    ("q1_hot", "of the same 16"),
    ("q2", "one series, 1 h"),
    ("q3", "10 series, 1 h by minute"),
    ("q4", "mean by hour"),
    ("q5", "count and sum"),
    ("q5_selected", "selected before"),
];

fn questions(results: &Results) -> Option<Plot> {
    // Of the last run: its curves are enough for one plot.
    let of = |run: &Value| -> Option<Vec<Curve>> {
        let all = run.pointer("/curves_ns/questions")?;
        Some(QUESTIONS.iter().filter_map(|(key, what)| curve(format!("{key} {what}"), all.get(key)?)).collect())
    };
    let found = results.runs.iter().rev().filter_map(|run| Some((run, of(run)?)));
    let (run, curves) = found.into_iter().find(|(_, curves)| !curves.is_empty())?;
    let own = std::slice::from_ref(run);
    let roofs = roofs([near(results, own, "one load from memory", "/random_access_ns", |ns| ns)]);
    let says = format!("Time of an answer in process, after {}.", name(run));
    plot("questions", "Latency of questions", &says, lines(&SHARES, &TIMES, &curves, &roofs))
}

fn bytes(results: &Results) -> Option<Plot> {
    let figures = [
        ("/bytes_per_sample_fresh", "as flushed", 1.0),
        ("/bytes_per_sample", "compacted", 1.0),
        ("/bytes_per_sample_cold", "archive", 1.0),
        ("/wal_bytes_per_sample", "log", 1.0),
    ];
    let all = of_runs(results, &figures);
    if all.is_empty() {
        return None;
    }
    let roofs = roofs([
        ("the noise of w1 (two decimals)".to_owned(), Some(W1_ENTROPY)),
        ("a timestamp and a value as they are".to_owned(), Some(16.0)),
    ]);
    plot("bytes", "Bytes a sample", "In files, over the samples they hold.", bars("bytes", &all, &roofs))
}

fn memory(results: &Results) -> Option<Plot> {
    let mut all = Vec::new();
    for run in &results.runs {
        let Some(series) = number(run, "/series").filter(|&n| n > 0.0) else { continue };
        for (colour, (pointer, what)) in
            [("/rss_growth_bytes", "growth"), ("/rss_idle_bytes", "idle after a flush")].into_iter().enumerate()
        {
            if let Some(value) = number(run, pointer) {
                all.push(Bar { label: format!("{}, {what}", name(run)), value: value / series, colour });
            }
        }
    }
    if all.is_empty() {
        return None;
    }
    let raw = results.runs.iter().filter_map(|run| Some(16.0 * number(run, "/samples")? / number(run, "/series")?));
    let roofs = roofs([
        ("goal with many series, growing".to_owned(), Some(400.0)),
        ("goal with many series, idle".to_owned(), Some(200.0)),
        ("all samples as they are, 16 bytes each (least of the runs)".to_owned(), raw.reduce(f64::min)),
    ]);
    let says = "Resident memory that registering, pushing and flushing added, over series. The input is not counted.";
    plot("memory", "Memory", says, bars("bytes a series", &all, &roofs))
}

fn scan(results: &Results) -> Option<Plot> {
    let figures = [
        ("/scan_samples_per_s", "all cores", 1e9),
        ("/scan_one_core_samples_per_s", "one core", 1e9),
        ("/cold_scan_samples_per_s", "archive, one core", 1e9),
    ];
    let all = of_runs(results, &figures);
    if all.is_empty() {
        return None;
    }
    let raw = |label, key| near(results, &results.runs, label, key, |gb_s| gb_s / 16.0);
    let roofs = roofs([
        raw("summing 16 raw bytes a sample from memory, all cores", "/read_sum_all_gb_s"),
        raw("the same, one core", "/read_sum_gb_s"),
    ]);
    let says = "Samples a second, every timestamp and value decoded and summed.";
    plot("scan", "Full scan", says, bars("G/s", &all, &roofs))
}

fn concurrency(results: &Results) -> Option<Plot> {
    let table = results.concurrency.last()?;
    let cells = table.get("cells")?.as_array()?;
    let mut curves: Vec<Curve> = Vec::new();
    let mut add = |label: String, x: f64, y: f64| match curves.iter_mut().find(|curve| curve.label == label) {
        Some(curve) => curve.points.push((x, y)),
        None => curves.push(Curve { label, points: vec![(x, y)] }),
    };
    for cell in cells {
        let (Some(mode), Some(workers)) = (cell.get("mode").and_then(Value::as_str), number(cell, "/workers")) else {
            continue;
        };
        number(cell, "/ops_per_s").into_iter().for_each(|ops| add(mode.to_owned(), workers, ops));
        let published = number(cell, "/published_ops_per_s");
        published.into_iter().for_each(|ops| add(format!("{mode}, published by another store"), workers, ops));
    }
    let workers = Axis { label: "workers", log: false, least: 0.0, tick: |n| format!("{n:.0}") };
    let rate = Axis { label: "operations a second", log: true, least: 0.0, tick: |n| format!("{n:.0}") };
    let cores = results.roof("/cores").unwrap_or(1.0);
    let of_all = |key| results.roof(key).map(|ns| cores * 1e9 / ns);
    // Loads that wait for each other are no roof of reads that overlap, and lie below them.
    let roofs = roofs([("additions to one counter, all cores".to_owned(), of_all("/fetch_add_contended_ns"))]);
    let says = "Operations a second of all workers together: reads of a last value, writes until visible.";
    plot("concurrency", "Many workers", says, lines(&workers, &rate, &curves, &roofs))
}

/// Of those with the most workers: as many curves as there are modes.
fn concurrency_latency(results: &Results) -> Option<Plot> {
    let cells = results.concurrency.last()?.get("cells")?.as_array()?;
    let most = cells.iter().filter_map(|cell| number(cell, "/workers")).reduce(f64::max)?;
    let mut curves = Vec::new();
    for cell in cells.iter().filter(|cell| number(cell, "/workers") == Some(most)) {
        let mode = cell.get("mode").and_then(Value::as_str).unwrap_or("?");
        for (key, what) in [("read_curve_ns", "a read"), ("write_curve_ns", "a write")] {
            curves.extend(cell.get(key).and_then(|points| curve(format!("{mode}: {what}"), points)));
        }
    }
    if curves.is_empty() {
        return None;
    }
    let roofs = roofs([
        ("one load from memory".to_owned(), results.roof("/random_access_ns")),
        ("append of 16 bytes".to_owned(), results.roof("/append_release_ns")),
    ]);
    let says = format!("Time of a read, and of a write until it is visible, with {most:.0} workers.");
    plot("concurrency-latency", "Latency of many workers", &says, lines(&SHARES, &TIMES, &curves, &roofs))
}

fn over_time(soak: &Value, figures: &[(&str, &str, f64)]) -> Option<Vec<Curve>> {
    let windows = soak.get("windows")?.as_array()?;
    let curve = |&(pointer, label, divisor): &(&str, &str, f64)| Curve {
        label: label.to_owned(),
        points: windows.iter().filter_map(|w| Some((number(w, "/at_s")?, number(w, pointer)? / divisor))).collect(),
    };
    Some(figures.iter().map(curve).filter(|curve| curve.points.len() > 1).collect())
}

const SECONDS: Axis<'static> = Axis { label: "seconds", log: false, least: 0.0, tick: |at| format!("{at:.0}") };

const MEMORY: [(&str, &str, f64); 2] =
    [("/rss_bytes", "resident memory", 1048576.0), ("/anonymous_bytes", "without files' pages", 1048576.0)];

fn soak_memory(results: &Results) -> Option<Plot> {
    let soak = results.soaks.last()?;
    let curves = over_time(soak, &MEMORY)?;
    let mib = Axis { label: "MiB", log: true, least: 1.0, tick: short };
    let raw = number(soak, "/samples").map(|samples| samples * 16.0 / 1048576.0);
    let roofs = roofs([("all samples as they are, 16 bytes each, at the end".to_owned(), raw)]);
    plot("soak-memory", "Memory over time", "Under a steady load.", lines(&SECONDS, &mib, &curves, &roofs))
}

fn soak_latency(results: &Results) -> Option<Plot> {
    let figures = [
        ("/push_ns/p50", "push, median", 1.0),
        ("/push_ns/p999", "push, 99.9 %", 1.0),
        ("/question_ns/p50", "question, median", 1.0),
        ("/question_ns/p99", "question, 99 %", 1.0),
    ];
    let curves = over_time(results.soaks.last()?, &figures)?;
    let roofs = roofs([
        ("append of 16 bytes".to_owned(), results.roof("/append_release_ns")),
        ("one load from memory".to_owned(), results.roof("/random_access_ns")),
    ]);
    let says = "Under a steady load. Pushes and questions count from when they were due.";
    plot("soak-latency", "Latency over time", says, lines(&SECONDS, &TIMES, &curves, &roofs))
}
