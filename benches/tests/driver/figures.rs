//! Figures beside each other, and beside the files that a run leaves: what one says must follow from the others. Each run
//! is a process of its own, whose memory and processor time are no other test's.

use std::path::Path;
use std::process::Command;
use std::time::Instant;

use serde_json::Value;

/// What the driver prints for `line`, its data kept in `dir`, and the seconds that all of it took.
fn driven(dir: &Path, line: &str) -> (Value, f64) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidegauge-bench"));
    command.args(line.split_whitespace()).arg("--json").arg("--data-dir").arg(dir);
    let start = Instant::now();
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    (serde_json::from_slice(&output.stdout).unwrap(), start.elapsed().as_secs_f64())
}

fn of(figures: &Value, name: &str) -> f64 {
    figures.pointer(&format!("/{name}")).and_then(Value::as_f64).unwrap_or_else(|| panic!("{name} in {figures}"))
}

#[track_caller]
fn assert_same(what: &str, figure: f64, expected: f64) {
    assert!((figure - expected).abs() <= expected.abs() * 1e-9, "{what}: {figure}, and {expected} is what it comes to");
}

#[track_caller]
fn assert_within(what: &str, least: f64, figure: f64, most: f64) {
    assert!((least..=most).contains(&figure), "{what}: {figure} is not within {least} and {most}");
}

fn cores() -> f64 {
    std::thread::available_parallelism().map_or(1.0, |cores| cores.get() as f64)
}

/// What the clocks of processors may differ from that of the wall.
const SLACK_S: f64 = 0.02;

#[test]
fn rates_are_samples_over_the_times_that_are_told() {
    let dir = tempfile::tempdir().unwrap();
    let line = "run --workload w1 --samples 160k --durability interval:100ms";
    let (run, all_s) = driven(&dir.path().join("run"), line);
    let figure = |name: &str| of(&run, name);
    assert!(run["roofs"].is_null(), "the times below are to be most of what a smoke run takes: {run}");
    let (samples, elapsed_s, register_s) = (figure("samples"), figure("elapsed_s"), figure("register_s"));
    assert_eq!(samples, 160_000.0);
    assert_same("samples_per_s_visible", figure("samples_per_s_visible"), samples / elapsed_s);
    assert_same("flushed_share", figure("flushed_share"), 1.0 - figure("memory_samples_left") / samples);
    assert_same("samples_per_s_registering", figure("samples_per_s_registering"), samples / (elapsed_s + register_s));
    let durable_s = samples / figure("samples_per_s_durable");
    assert!(durable_s >= elapsed_s, "durable after {durable_s} s, visible after {elapsed_s}");
    // What is no quotient of two figures lies within the time that the process took.
    let parts =
        [elapsed_s.max(durable_s), register_s, figure("flush_s"), figure("compact_s"), figure("reopen_s") * 3.0];
    let scans = ["scan_samples_per_s", "scan_one_core_samples_per_s"].map(|name| 3.0 * samples / figure(name));
    // Each is the median of five: three of them took as long or longer.
    let least: f64 = parts.iter().chain(&scans).sum();
    assert!(parts.iter().chain(&scans).all(|part| *part > 0.0), "{parts:?} {scans:?}");
    assert!(least <= all_s, "{parts:?} and {scans:?} make {least} s, and everything took {all_s}");

    let (cpu_s, flushed_s) = (figure("cpu_s"), figure("cpu_flushed_s"));
    assert_same("cpu_ns_per_sample_flushed", figure("cpu_ns_per_sample_flushed"), flushed_s * 1e9 / samples);
    assert_within("cpu_s", 0.0, cpu_s, elapsed_s * cores() + SLACK_S);
    assert_within("cpu_flushed_s", cpu_s, flushed_s, (durable_s + figure("flush_s")) * cores() + SLACK_S);
}

/// The generator spins until samples are due: by far the most of what the process takes, and nothing of it is the engine's.
/// Counted twice, it would be more than the process took at all, which is what the shell tells of it.
#[test]
fn processor_time_at_a_rate_is_without_the_waiting_of_who_pushes() {
    let dir = tempfile::tempdir().unwrap();
    let line = "run --workload w1 --samples 4000 --batch 10 --rate 50k --for 4s --durability memory --json --data-dir";
    let mut command = Command::new("sh");
    command.args(["-c", "\"$@\" && times", "sh", env!("CARGO_BIN_EXE_tidegauge-bench")]);
    let output = command.env("LC_ALL", "C").args(line.split(' ')).arg(dir.path().join("run")).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let printed = String::from_utf8(output.stdout).unwrap();
    let mut lines = printed.lines().rev();
    // User and system time of what the shell has started, such as `0m1.502s 0m0.250s`.
    let seconds = |time: &str| {
        let (minutes, seconds) = time.trim_end_matches('s').split_once('m').unwrap();
        minutes.parse::<f64>().unwrap() * 60.0 + seconds.parse::<f64>().unwrap()
    };
    let all_s: f64 = lines.next().unwrap().split_whitespace().map(seconds).sum();
    let run: Value = serde_json::from_str(lines.nth(1).unwrap()).unwrap();
    let figure = |name: &str| of(&run, name);
    let (cpu_s, flushed_s, waited_s) = (figure("cpu_s"), figure("cpu_flushed_s"), figure("generator_cpu_s"));
    // A batch is due every 200 µs, for which nobody sleeps: with a processor of its own it would be four seconds, and
    // nothing where other programs take so much that it is always late.
    assert_within("generator_cpu_s", 0.0, waited_s, 4.0 + SLACK_S);
    assert_within("cpu_s", 0.0, cpu_s, all_s - waited_s + SLACK_S);
    assert_within("cpu_flushed_s", cpu_s, flushed_s, all_s - waited_s + SLACK_S);
    assert_same("cpu_ns_per_sample_flushed", figure("cpu_ns_per_sample_flushed"), flushed_s * 1e9 / figure("samples"));
}

#[test]
fn bytes_are_those_of_the_files_and_of_the_log_and_a_full_run_has_roofs() {
    let dir = tempfile::tempdir().unwrap();
    let (run, _) = driven(&dir.path().join("run"), "run --workload w3 --samples 400k --durability sync");
    let figure = |name: &str| of(&run, name);
    let segments = std::fs::read_dir(dir.path().join("run/data/segments")).unwrap().map(|entry| entry.unwrap());
    let segments = segments.filter(|entry| entry.path().extension().is_some_and(|end| end == "seg"));
    let sizes: Vec<u64> = segments.map(|entry| entry.metadata().unwrap().len()).collect();
    // All was flushed at once, and so there was nothing to compact.
    let [bytes] = sizes[..] else { panic!("{sizes:?} of {run}") };
    assert_eq!(run["segment_bytes"], bytes);
    let a_sample = bytes as f64 / 400_000.0;
    assert_same("bytes_per_sample", figure("bytes_per_sample"), a_sample);
    assert_same("bytes_per_sample_fresh", figure("bytes_per_sample_fresh"), a_sample);
    assert_same("fresh_over_cold", figure("fresh_over_cold"), a_sample / figure("bytes_per_sample_cold"));
    assert_same("write_amplification", figure("write_amplification"), 1.0);
    // The log has the same values and times, packed a frame at a time: some more bytes, and not twice as many.
    assert_within("wal_bytes_per_sample", a_sample, figure("wal_bytes_per_sample"), 2.0 * a_sample);
    assert_within("bytes_per_sample_cold", 0.8 * a_sample, figure("bytes_per_sample_cold"), a_sample);
    for when in ["before", "after"] {
        let roofs = &run["roofs"][when];
        for roof in ["memcpy_gb_s", "read_sum_gb_s", "read_sum_all_gb_s", "vec_append_w1_m_s", "random_access_ns"] {
            assert!(roofs[roof].as_f64() > Some(0.0), "{roof} {when}: {run}");
        }
    }
    // The prepared input is no growth, and both were there at once.
    let (growth, input) = (figure("rss_growth_bytes"), figure("input_bytes"));
    assert_within("rss_growth_bytes", 1.0, growth, figure("peak_rss_bytes") - input);
    assert_within("input_bytes", 400_000.0 * 16.0, input, 400_000.0 * 64.0);
}

#[test]
fn recovery_is_told_as_what_was_replayed_over_its_times() {
    let dir = tempfile::tempdir().unwrap();
    let line = "recovery --workload w3 --for 300ms --durability interval:20ms";
    let (run, all_s) = driven(&dir.path().join("recovery"), line);
    let figure = |name: &str| of(&run, name);
    let (replayed, recovery_s, cpu_s) = (figure("replayed_samples"), figure("recovery_s"), figure("recovery_cpu_s"));
    assert_within("replayed_samples", 1.0, replayed, figure("samples"));
    assert_same("replayed_per_s", figure("replayed_per_s"), replayed / recovery_s);
    assert_same("replayed_per_cpu_s", figure("replayed_per_cpu_s"), replayed / cpu_s);
    assert_within("recovery_cpu_s", 0.0, cpu_s, recovery_s * cores() + SLACK_S);
    let load_s = figure("visible_before") / figure("load_samples_per_s");
    assert_within("the time of the load", 0.3, load_s, all_s - recovery_s);
}
