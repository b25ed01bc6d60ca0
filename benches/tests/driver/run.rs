//! `run`.

use serde_json::Value;
use tidegauge_bench::Error;
use tidegauge_bench::checksum::Checksum;
use tidegauge_bench::progress::Progress;
use tidegauge_bench::run::{run, run_with};

use super::{options, report};

#[test]
fn the_object_has_every_key_of_the_contract_in_its_order_and_is_verified() {
    let (run_options, _dir) = options("--workload w1 --samples 40000 --durability interval:100ms");
    let json = run(&run_options, &Progress::hidden()).unwrap().to_json();
    assert!(!json.contains('\n'), "one line");
    let keys = [
        "workload",
        "appenders",
        "batch",
        "durability",
        "series",
        "samples",
        "seed",
        "samples_per_s_visible",
        "samples_per_s_durable",
        "cpu_s",
        "push_ns",
        "peak_rss_bytes",
        "rss_growth_bytes",
        "rss_idle_bytes",
        "bytes_per_sample_fresh",
        "bytes_per_sample",
        "bytes_per_sample_cold",
        "wal_bytes_per_sample",
        "pwrite_fdatasync_64k_us",
        "reopen_s",
        "scan_samples_per_s",
        "queries_us",
        "verified",
    ];
    let places: Vec<usize> = keys.iter().map(|key| json.find(&format!("\"{key}\":")).expect(key)).collect();
    assert!(places.is_sorted(), "{json}");

    let object: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(object["verified"], true, "{json}");
    assert_eq!(
        (&object["workload"], &object["series"], &object["samples"]),
        (&"w1".into(), &4_000.into(), &40_000.into())
    );
    // All of one distribution: what is told as a push's median lies below its 99 %.
    for times in ["push_ns", "push_block_mean_ns", "empty_pair_ns"] {
        let quantiles = ["p50", "p99", "p999", "max"].map(|quantile| object[times][quantile].as_f64().unwrap());
        assert!(quantiles[0] > 0.0 && quantiles.is_sorted(), "{times}: {quantiles:?}");
    }
    let median = object["curves_ns"]["push"].as_array().unwrap().iter().find(|point| point[0].as_f64() >= Some(0.5));
    let (told, drawn) = (object["push_ns"]["p50"].as_f64().unwrap(), median.unwrap()[1].as_f64().unwrap());
    assert!((told / drawn - 1.0).abs() < 0.002, "single pushes, as they are drawn: {told} and {drawn}");
    assert!(object["clock_step_ns"].as_f64() > Some(0.0), "{json}");
    for question in ["q1", "q1_hot", "q2", "q3", "q4", "q5", "q5_selected"] {
        let times = &object["queries_us"][question];
        assert!(times["p99"].as_f64().unwrap() >= times["p50"].as_f64().unwrap(), "{question}");
    }
    let positive = ["samples_per_s_visible", "samples_per_s_durable", "cpu_s", "peak_rss_bytes", "reopen_s"];
    for key in positive.into_iter().chain([
        "bytes_per_sample_fresh",
        "bytes_per_sample",
        "wal_bytes_per_sample",
        "scan_samples_per_s",
        "scan_one_core_samples_per_s",
    ]) {
        assert!(object[key].as_f64().unwrap() > 0.0, "{key}");
    }
    for question in ["q5", "q5_selected"] {
        let all_per_s = 40_000.0 / (object["queries_us"][question]["p50"].as_f64().unwrap() / 1e6);
        let told = object[format!("{question}_samples_per_s")].as_f64().unwrap();
        assert!((told / all_per_s - 1.0).abs() < 1e-9, "{question} in {json}");
    }
    assert!(object["bytes_per_sample"].as_f64() <= object["bytes_per_sample_fresh"].as_f64(), "{json}");
    assert!(object["bytes_per_sample_cold"].as_f64() > Some(0.0), "{json}");
    assert!(
        object["bytes_per_sample_cold"].as_f64() <= object["bytes_per_sample"].as_f64(),
        "more effort, fewer bytes"
    );
    assert_eq!(object["expected"], object["found"]);
    let machine = &object["machine"];
    assert!(machine["cores"].as_u64().unwrap() > 0 && machine["memory_bytes"].as_u64().unwrap() > 0, "{machine}");
    for key in ["cpu", "kernel", "build"] {
        assert!(!machine[key].as_str().unwrap().is_empty(), "{key} in {machine}");
    }
    assert!(!machine["disk"]["file_system"].as_str().unwrap().is_empty(), "{machine}");
}

#[test]
fn samples_that_are_due_at_a_rate_are_pushed_at_that_rate() {
    for (wait, level) in [("", "visible"), ("--wait", "durable")] {
        let report = report(&format!(
            "--workload w1 --samples 4000 --appenders 2 --batch 10 --rate 40k --for 500ms --durability sync {wait}"
        ));
        assert_eq!(report["verified"], true, "{report}");
        // Half a second of 40,000 a second, and a pass more for whoever shares the last turn.
        let samples = report["samples"].as_u64().unwrap();
        assert!((19_980..=20_020).contains(&samples), "{samples}: what is due is a matter of the clock alone");
        assert!(report["samples_per_s_visible"].as_f64().unwrap() <= 41_000.0, "{report}");
        let arrival = &report["arrival"];
        assert_eq!((&arrival["samples_per_s_asked"], &arrival["level"]), (&40_000.into(), &level.into()));
        assert_eq!(arrival["batches"].as_u64(), Some(samples / 10));
        assert_eq!(arrival["batches_watched"], arrival["batches"], "so few are watched all");
        let [pushed, reached] = ["pushed_ns", "reached_ns"].map(|key| arrival[key]["p50"].as_f64().unwrap());
        assert!(pushed > 0.0 && reached >= pushed, "{arrival}");
        assert!(!report["curves_ns"]["arrival_reached"].as_array().unwrap().is_empty());
        // A batch every 250 µs: each of the two that push spins through a good part of its time.
        let waited = report["generator_cpu_s"].as_f64().unwrap();
        let told = ["cpu_s", "cpu_flushed_s"].map(|key| report[key].as_f64().unwrap());
        assert!(waited >= 0.0 && told.iter().all(|cpu_s| *cpu_s > 0.0), "{report}");
    }
}

#[test]
fn every_workload_is_verified_with_several_appenders() {
    for (workload, batch) in [("w1int", 1), ("w2", 1_000), ("w3", 100), ("late", 1_000), ("churn", 7)] {
        let report =
            report(&format!("--workload {workload} --samples 60000 --appenders 3 --batch {batch} --durability memory"));
        assert_eq!(report["verified"], true, "{report}");
        assert!(report["samples"].as_u64().unwrap() >= 60_000);
        assert!(report["samples_per_s_durable"].is_null(), "memory makes nothing durable");
    }
}

#[test]
fn the_mixed_workload_reads_what_it_wrote() {
    let report = report("--workload mixed --samples 500 --appenders 2 --batch 1 --durability memory");
    assert_eq!(report["verified"], true, "{report}");
    assert_eq!(report["samples"], 100_500);
    let mixed = &report["mixed"];
    assert!(mixed["reads_per_s"].as_f64().unwrap() > mixed["writes_per_s"].as_f64().unwrap());
}

#[test]
fn a_sustained_run_replays_its_samples_moved_in_time() {
    let report = report("--workload w1 --samples 4000 --appenders 2 --batch 100 --for 300ms --durability memory");
    assert_eq!(report["verified"], true, "{report}");
    assert!(report["samples"].as_u64().unwrap() > 4_000, "more than one pass: {}", report["samples"]);
    assert_eq!(report["for_s"], 0.3);
}

/// So short that most series have no sample: the run has its figures even so.
#[test]
fn what_a_short_run_pushed_no_samples_of_nothing_is_asked_about() {
    for line in [
        "--samples 1 --batch 1 --durability sync --wait --for 1ms",
        "--workload w1int --samples 4000 --rate 1 --for 1s",
        "--workload w1 --samples 4000 --batch 1 --rate 1 --for 1ms --seed 2",
        "--workload churn --samples 40000 --batch 10 --rate 1 --for 1ms",
        "--workload late --samples 40000 --batch 10 --rate 1 --for 1ms",
    ] {
        let report = report(line);
        assert_eq!(report["verified"], true, "{line}: {report}");
        let questions = &report["queries_us"];
        assert!(questions["q5"]["p50"].as_f64() > Some(0.0) && report["q5_samples_per_s"].is_number(), "{report}");
        if !line.contains("late") {
            // The first series has a sample, and so have the first host and its first metric.
            for question in ["q1_hot", "q2", "q3", "q4"] {
                assert!(questions[question]["p50"].as_f64() > Some(0.0), "{line}: {question} in {questions}");
            }
        }
        if line.contains("--seed 2") {
            // It is of none of the thousand series that were drawn.
            assert!(questions["q1"].is_null(), "{line}: {questions}");
            assert_eq!(report["curves_ns"]["questions"]["q1"], serde_json::json!([]), "{line}");
        }
    }
}

#[test]
fn each_batch_is_awaited_when_asked_for() {
    let report = report("--workload w1 --samples 4000 --appenders 2 --batch 1000 --durability sync --wait");
    assert_eq!((&report["verified"], &report["wait"]), (&true.into(), &true.into()));
    let durable = report["samples_per_s_durable"].as_f64().unwrap();
    // Two appenders have a batch of 1,000 each on its way to the device.
    let device = 2_000.0 / report["pwrite_fdatasync_64k_us"]["p50"].as_f64().unwrap() * 1e6;
    let ratio = report["sync_ratio"].as_f64().unwrap();
    assert!(durable > 0.0 && (ratio / (durable / device) - 1.0).abs() < 1e-9, "{report}");
}

#[test]
fn at_a_rate_nothing_is_told_of_what_the_device_could_do() {
    let line = "--workload w1 --samples 4000 --batch 1000 --durability sync --wait --rate 1M";
    let report = report(line);
    assert!(report["samples_per_s_durable"].as_f64().unwrap() > 0.0, "{report}");
    assert_eq!(report["sync_ratio"], Value::Null);
}

#[test]
fn what_is_read_back_altered_is_not_verified() {
    let alterations: [fn(Checksum) -> Checksum; 2] =
        [|found| Checksum { count: found.count - 1, ..found }, |found| Checksum { sum: found.sum ^ 1, ..found }];
    for alter in alterations {
        let (run_options, _dir) = options("--workload w1 --samples 4000 --durability memory");
        let report = run_with(&run_options, &Progress::hidden(), alter, || Ok(None)).unwrap();
        assert!(!report.verified);
        assert_ne!(report.expected, report.found);
        assert!(report.to_string().contains("NO"), "{report}");
    }
}

#[test]
fn requests_that_make_no_sense_are_refused_before_anything_is_written() {
    let refused = |line: &str| {
        let (run_options, dir) = options(line);
        let error = run(&run_options, &Progress::hidden()).unwrap_err();
        assert!(matches!(error, Error::Usage(_)), "{line}: {error}");
        assert_eq!(error.exit_code(), 2);
        assert!(!error.to_string().contains('\n'), "one line");
        drop(dir);
    };
    refused("--durability memory --wait");
    refused("--workload mixed --rate 10k");
    refused("--samples 4000 --appenders 512 --batch 40000");
    refused("--workload late --samples 4000000000000");
    let (mut run_options, dir) = options("--samples 4000");
    run_options.appenders = 0;
    assert!(matches!(run(&run_options, &Progress::hidden()), Err(Error::Usage(_))));
    let (mut run_options, dir) = (options("--samples 4000").0, dir);
    run_options.data_dir = Some(dir.path().to_owned());
    std::fs::write(dir.path().join("something"), "").unwrap();
    let error = run(&run_options, &Progress::hidden()).unwrap_err();
    assert!(error.to_string().contains("not empty"), "{error}");
}

#[test]
fn the_report_for_people_names_what_was_measured() {
    let (run_options, _dir) = options("--workload w1 --samples 4000 --durability memory");
    let text = run(&run_options, &Progress::hidden()).unwrap().to_string();
    for word in [
        "visible",
        "processor",
        "push, idle ring",
        "empty pair",
        "memory",
        "reopen",
        "scan, one core",
        "Q5",
        "of all samples",
        "verified",
    ] {
        assert!(text.contains(word), "{word} in\n{text}");
    }
}
