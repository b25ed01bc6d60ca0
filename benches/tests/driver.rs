//! The driver from end to end, with few samples.

use std::path::{Path, PathBuf};

use clap::Parser;
use serde_json::Value;
use tidegauge_bench::Error;
use tidegauge_bench::checksum::Checksum;
use tidegauge_bench::cli::{Cli, Command, Run};
use tidegauge_bench::progress::Progress;
use tidegauge_bench::run::{run, run_with};

/// Options of a run whose data lies in a temporary folder.
fn options(line: &str) -> (Run, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let line = format!("tidegauge-bench run {line}");
    let Command::Run(mut run) = Cli::try_parse_from(line.split_whitespace()).unwrap().command else {
        panic!("run expected")
    };
    run.data_dir = Some(dir.path().join("bench"));
    (run, dir)
}

fn report(line: &str) -> Value {
    let (run_options, _dir) = options(line);
    let report = run(&run_options, &Progress::hidden()).unwrap();
    serde_json::from_str(&report.to_json()).unwrap()
}

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
    for quantile in ["p50", "p99", "p999", "max"] {
        assert!(object["push_ns"][quantile].as_f64().unwrap() > 0.0, "{quantile}");
    }
    for question in ["q1", "q2", "q3", "q4", "q5"] {
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
    let all_per_s = 40_000.0 / (object["queries_us"]["q5"]["p50"].as_f64().unwrap() / 1e6);
    assert!((object["q5_samples_per_s"].as_f64().unwrap() / all_per_s - 1.0).abs() < 1e-9, "{json}");
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
fn runs_in_turn_are_told_as_the_median_of_their_ratios() {
    let dir = tempfile::tempdir().unwrap();
    let ratios = |line: &[&str]| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_tidegauge-bench"));
        command.arg("ratios").args(line).current_dir(dir.path()).output().unwrap()
    };
    let output =
        ratios(&["--pairs", "2", "--both", "--durability memory", "--samples 8000", "--samples 4000", "--json"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let object: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&object["verb"], &object["pairs"], &object["verified"]), (&"ratios".into(), &2.into(), &true.into()));
    assert_eq!((&object["against"], folders(dir.path())), (&"--durability memory --samples 4000".into(), Vec::new()));
    let figure = |name: &str| object["figures"].as_array().unwrap().iter().find(|one| one["figure"] == name);
    assert!(figure("samples_per_s_durable").is_none(), "memory makes nothing durable");
    let figure = figure("samples_per_s_visible").unwrap();
    let [least, ratio, greatest] = ["least", "ratio", "greatest"].map(|key| figure[key].as_f64().unwrap());
    assert!(0.0 < least && least <= ratio && ratio <= greatest, "{figure}");
    let page = page_of(dir.path(), &String::from_utf8(output.stdout).unwrap());
    assert!(page.contains("over run --durability memory --samples 4000"), "{page}");

    let refused = ratios(&["--workload w9", "--batch 1"]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("w9"));
}

#[test]
fn what_is_read_back_altered_is_not_verified() {
    let alterations: [fn(Checksum) -> Checksum; 2] =
        [|found| Checksum { count: found.count - 1, ..found }, |found| Checksum { sum: found.sum ^ 1, ..found }];
    for alter in alterations {
        let (run_options, _dir) = options("--workload w1 --samples 4000 --durability memory");
        let report = run_with(&run_options, &Progress::hidden(), alter).unwrap();
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

#[test]
fn a_killed_process_comes_back_and_is_verified() {
    let dir = tempfile::tempdir().unwrap();
    for durability in ["interval:20ms", "sync"] {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_tidegauge-bench"));
        command.args(["recovery", "--workload", "w3", "--for", "300ms", "--json", "--durability", durability]);
        let output = command.arg("--data-dir").arg(dir.path().join(durability)).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let figures: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(figures["verified"], true, "{figures}");
        let how = [&figures["verb"], &figures["batch"], &figures["seed"]];
        assert_eq!(how, [&Value::from("recovery"), &1_000.into(), &1.into()], "{figures}");
        assert!(figures["visible_before"].as_u64() <= figures["samples"].as_u64(), "{figures}");
    }
}

#[test]
fn every_mode_of_the_concurrency_table_is_verified() {
    let line = "tidegauge-bench concurrency --workers 1,3 --for 50ms";
    let Command::Concurrency(mut options) = Cli::try_parse_from(line.split_whitespace()).unwrap().command else {
        panic!("concurrency expected")
    };
    let dir = tempfile::tempdir().unwrap();
    options.data_dir = Some(dir.path().join("bench"));
    let table = tidegauge_bench::concurrency::measure(&options, &Progress::hidden()).unwrap();
    assert!(table.verified, "{table}");
    let object: Value = serde_json::from_str(&table.to_json()).unwrap();
    let cells = object["cells"].as_array().unwrap();
    assert_eq!(cells.len(), 10 * 2);
    for cell in cells {
        assert!(cell["ops_per_s"].as_f64().unwrap() > 0.0, "{cell}");
        let times = [&cell["read_us"], &cell["write_us"]].into_iter().filter(|times| !times.is_null());
        let mut any = false;
        for times in times {
            let [p50, p95, p99] = ["p50", "p95", "p99"].map(|key| times[key].as_f64().unwrap());
            assert!(0.0 < p50 && p50 <= p95 && p95 <= p99, "{cell}");
            any = true;
        }
        assert!(any, "{cell}");
        if let Some(published) = cell["published_ops_per_s"].as_f64() {
            let ratio = cell["ops_per_s"].as_f64().unwrap() / published;
            assert!((cell["ratio"].as_f64().unwrap() / ratio - 1.0).abs() < 1e-9, "{cell}");
        }
    }
    let mut published: Vec<_> = cells.iter().filter(|cell| !cell["published_ops_per_s"].is_null()).collect();
    published.sort_by_key(|cell| cell["mode"].to_string());
    let of_one: Vec<_> = published.iter().map(|cell| (cell["mode"].as_str(), cell["workers"].as_u64())).collect();
    // What was published are reads from a fresh snapshot: others do not stand beside it.
    assert_eq!(of_one, [(Some("mixed-snapshot"), Some(1)), (Some("read-snapshot"), Some(1)), (Some("write"), Some(1))]);
}

#[test]
fn a_table_without_workers_makes_no_sense() {
    for workers in ["0,2", "1,1000"] {
        let line = format!("tidegauge-bench concurrency --workers {workers}");
        let Command::Concurrency(options) = Cli::try_parse_from(line.split_whitespace()).unwrap().command else {
            panic!("concurrency expected")
        };
        let error = tidegauge_bench::concurrency::measure(&options, &Progress::hidden()).unwrap_err();
        assert_eq!(error.exit_code(), 2, "{error}");
    }
}

/// Starts the program in `dir`, sends `signals` once the data of its run are there, answers its exit code.
fn interrupted(dir: &Path, line: &str, signals: &[&str]) -> Option<i32> {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_tidegauge-bench"));
    command.args(line.split_whitespace()).current_dir(dir).stdout(std::process::Stdio::null());
    let mut child = command.spawn().unwrap();
    let is_writing = || folders(dir).iter().any(|folder| folder.join("data").exists());
    while !is_writing() {
        assert!(child.try_wait().unwrap().is_none(), "{line}: ended before it wrote anything");
        std::thread::yield_now();
    }
    if line.starts_with("recovery") {
        assert!(!victims(dir).is_empty(), "{line}");
    }
    for signal in signals {
        let sent =
            std::process::Command::new("kill").args([*signal, child.id().to_string().as_str()]).status().unwrap();
        assert!(sent.success(), "{line}");
    }
    child.wait().unwrap().code()
}

fn folders(dir: &Path) -> Vec<PathBuf> {
    std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect()
}

/// Processes that push into a folder in `dir`, to be killed.
fn victims(dir: &Path) -> Vec<PathBuf> {
    let is_one = |process: &PathBuf| {
        let words = std::fs::read(process.join("cmdline")).unwrap_or_default();
        let words = String::from_utf8_lossy(&words).into_owned();
        words.contains("--victim") && words.contains(dir.file_name().unwrap().to_str().unwrap())
    };
    folders(Path::new("/proc")).into_iter().filter(is_one).collect()
}

#[test]
fn an_interrupt_leaves_neither_a_folder_nor_a_process_behind() {
    let dir = tempfile::tempdir().unwrap();
    // Under `nohup` it stays ignored, by who is started as well.
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:")).unwrap().trim();
    let hangup = (u64::from_str_radix(ignored, 16).unwrap() & 1 == 0).then_some(("-HUP", 129));
    for line in [
        "run --samples 4000 --for 10m",
        "recovery --for 10m",
        "concurrency --workers 1 --for 10m",
        "beside --samples 1600000 --for 10m",
        "ratios --for=10m --samples=4000",
    ] {
        for (signal, code) in [("-INT", 130), ("-TERM", 143)].into_iter().chain(hangup) {
            assert_eq!(interrupted(dir.path(), line, &[signal]), Some(code), "{line} {signal}");
            assert_eq!(folders(dir.path()), Vec::<PathBuf>::new(), "{line} {signal}");
            assert_eq!(victims(dir.path()), Vec::<PathBuf>::new(), "{line} {signal}");
        }
    }
    // A folder that was named is kept.
    let line = "run --samples 4000 --for 10m --data-dir named";
    assert_eq!(interrupted(dir.path(), line, &["-INT"]), Some(130));
    assert_eq!(folders(dir.path()), [dir.path().join("named")]);
}

/// Nobody else is left to end them: a run removes its folder, a victim pushes no longer.
#[test]
fn what_a_killed_driver_had_started_ends_with_it() {
    let soon = std::time::Instant::now() + std::time::Duration::from_secs(60);
    for line in ["ratios --for=10m --samples=4000", "recovery --for 10m"] {
        let dir = tempfile::tempdir().unwrap();
        let place = dir.path().canonicalize().unwrap();
        assert_eq!(interrupted(dir.path(), line, &["-KILL"]), None);
        let is_there = |process: &PathBuf| std::fs::read_link(process.join("cwd")).is_ok_and(|cwd| cwd == place);
        while folders(Path::new("/proc")).iter().any(is_there) {
            assert!(std::time::Instant::now() < soon, "{line}: what it started goes on");
            std::thread::yield_now();
        }
        if line.starts_with("ratios") {
            assert_eq!(folders(dir.path()), Vec::<PathBuf>::new());
        }
    }
}

#[test]
fn roofs_tell_their_verb_and_machine_and_a_page_is_made_of_them_alone() {
    let dir = tempfile::tempdir().unwrap();
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_tidegauge-bench"));
    let output = command.args(["roofs", "--json", "--data-dir"]).arg(dir.path()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let figures: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(figures["verb"], "roofs");
    assert!(!figures["machine"]["kernel"].as_str().unwrap().is_empty(), "{figures}");
    let page = page_of(dir.path(), &String::from_utf8(output.stdout).unwrap());
    assert!(page.contains("<h2>Roofs of this machine</h2>") && page.contains("memcpy_gb_s"), "{page}");
    assert!(page.contains(figures["machine"]["kernel"].as_str().unwrap()), "{page}");
    assert!(!page.contains("machine, p50") && !page.contains("verb"), "{page}");
}

fn page_of(dir: &Path, figures: &str) -> String {
    std::fs::write(dir.join("figures.json"), figures).unwrap();
    let output = reporting(dir, "figures.json --out page.html --svg-dir plots");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    std::fs::read_to_string(dir.join("page.html")).unwrap()
}

fn reporting(dir: &Path, line: &str) -> std::process::Output {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_tidegauge-bench"));
    command.arg("report").args(line.split_whitespace()).current_dir(dir).output().unwrap()
}

#[test]
fn a_page_is_made_of_figures_that_are_only_tables() {
    let dir = tempfile::tempdir().unwrap();
    for (line, title) in [
        (r#"{"append_release_ns":1.3}"#, "Roofs of this machine"),
        (r#"{"workload":"w1","durability":"sync","recovery_s":0.3,"verified":true}"#, "Recovery after kill -9"),
        (r#"{"verb":"recovery","workload":"w1","durability":"sync","recovery_s":0.3}"#, "Recovery after kill -9"),
        (r#"{"verb":"beside","workload":"w1","durability":"sync","ratio":0.8}"#, "Pushes beside questions"),
        (r#"{"verb":"concurrency","cells":[{"mode":"read","workers":1}]}"#, "Many workers"),
        (r#"{"verb":"compare","tables":[{"title":"Stores","head":["a"],"rows":[["b"]]}]}"#, "Stores"),
    ] {
        let page = page_of(dir.path(), line);
        assert!(page.contains(&format!("<h2>{title}</h2>")), "{line}\n{page}");
    }
    std::fs::write(dir.path().join("figures.json"), "only words\n").unwrap();
    let output = reporting(dir.path(), "figures.json --out none.html");
    assert_eq!(output.status.code(), Some(2), "nothing at all");
    assert!(!dir.path().join("none.html").exists());
}

#[test]
fn a_page_never_overwrites_what_it_is_made_of() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    let figures = r#"{"verb":"soak","workload":"w1","durability":"sync","windows":[
        {"at_s":1.0,"rss_bytes":1000000,"memory_samples":1},{"at_s":2.0,"rss_bytes":1000000,"memory_samples":1}]}"#;
    let figures = figures.replace('\n', " ");
    let plots = {
        page_of(dir.path(), &figures);
        folders(&path("plots"))
    };
    let plot = plots.first().expect("a soak is drawn").file_name().unwrap().to_str().unwrap().to_owned();
    std::fs::create_dir(path("drawn")).unwrap();
    for name in ["runs.json".to_owned(), format!("drawn/{plot}")] {
        std::fs::write(path(&name), &figures).unwrap();
    }
    std::os::unix::fs::symlink("runs.json", path("link.json")).unwrap();
    std::fs::hard_link(path("runs.json"), path("same.json")).unwrap();
    for line in [
        "runs.json --out runs.json".to_owned(),
        "runs.json --out drawn/../runs.json".to_owned(),
        "runs.json --out link.json".to_owned(),
        "link.json --out runs.json".to_owned(),
        "runs.json --out same.json".to_owned(),
        format!("drawn/{plot} --out other.html --svg-dir drawn"),
    ] {
        let output = reporting(dir.path(), &line);
        assert_eq!(output.status.code(), Some(2), "{line}");
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(told.contains("name another file"), "{line}: {told}");
        for name in ["runs.json".to_owned(), format!("drawn/{plot}")] {
            assert_eq!(std::fs::read_to_string(path(&name)).unwrap(), figures, "{line}: {name}");
        }
        assert!(!path("other.html").exists(), "{line}: nothing is written");
    }
}

#[test]
fn pushing_beside_questions_is_compared_with_pushing_alone() {
    for rate in ["", "--rate 100k"] {
        let line = format!("tidegauge-bench beside --pairs 2 --for 100ms --samples 1600000 --readers 2 {rate}");
        let Command::Beside(mut options) = Cli::try_parse_from(line.split_whitespace()).unwrap().command else {
            panic!("beside expected")
        };
        let dir = tempfile::tempdir().unwrap();
        options.data_dir = Some(dir.path().join("bench"));
        let beside = tidegauge_bench::live::beside(&options, &Progress::hidden()).unwrap();
        assert!(beside.verified, "{beside}");
        assert_eq!(beside.pairs.len(), 2);
        let mut ratios: Vec<f64> =
            beside.pairs.iter().map(|pair| pair.beside.samples_per_s / pair.alone.samples_per_s).collect();
        ratios.sort_by(f64::total_cmp);
        let middle = f64::midpoint(ratios[0], ratios[1]);
        assert_eq!(beside.ratio, middle, "of an even number, the mean of the two in the middle");
        let object: Value = serde_json::from_str(&beside.to_json()).unwrap();
        assert_eq!((&object["verb"], &object["seed"]), (&"beside".into(), &1.into()), "{object}");
        assert!(beside.pairs.iter().all(|pair| pair.alone.questions_per_s == 0.0), "{beside}");
        assert!(beside.questions_per_s > 0.0, "{beside}");
    }
}

#[test]
fn a_soak_tells_its_windows_and_ends_with_a_summary_when_interrupted() {
    let dir = tempfile::tempdir().unwrap();
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_tidegauge-bench"));
    command.args(["soak", "--rate", "200k", "--samples", "40000", "--for", "10m", "--every", "200ms", "--json"]);
    command.arg("--data-dir").arg(dir.path().join("bench"));
    let mut child = command.stdout(std::process::Stdio::piped()).spawn().unwrap();
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(child.stdout.take().unwrap()));
    let windows: Vec<Value> = (0..3).map(|_| serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap()).collect();
    let interrupted = std::process::Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(interrupted.success());
    let summary: Value = serde_json::from_str(&lines.map_while(Result::ok).last().unwrap()).unwrap();
    assert!(child.wait().unwrap().success());
    assert_eq!((&summary["verified"], &summary["interrupted"]), (&true.into(), &true.into()), "{summary}");
    for window in &windows {
        let [all, no_file] = ["rss_bytes", "anonymous_bytes"].map(|name| window[name].as_u64().unwrap());
        assert!(0 < no_file && no_file < all, "{window}");
    }
    assert_eq!(summary["seed"], 1, "{summary}");
    let (told, all) = (windows[0].as_object().unwrap(), summary["windows"].as_array().unwrap());
    assert!(all.len() >= 3 && all[0].as_object() == Some(told), "the summary has the windows that were told");
    let samples = summary["samples"].as_u64().unwrap();
    let due = 200_000.0 * summary["elapsed_s"].as_f64().unwrap();
    assert!(samples as f64 <= due + 5_000.0, "no more than were due: {samples} of {due}");
}

#[test]
fn a_page_is_made_of_what_runs_print() {
    let dir = tempfile::tempdir().unwrap();
    let (run_options, _data) = options("--workload w1 --samples 4000 --rate 100k --durability interval:20ms");
    let object = run(&run_options, &Progress::hidden()).unwrap().to_json();
    let figures = dir.path().join("figures.json");
    std::fs::write(&figures, format!("some words\n{object}\n")).unwrap();
    let report = |file: &std::path::Path| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_tidegauge-bench"));
        command.arg("report").arg(file).arg("--out").arg(dir.path().join("page.html"));
        command.arg("--svg-dir").arg(dir.path().join("plots")).output().unwrap()
    };
    let output = report(&figures);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let page = std::fs::read_to_string(dir.path().join("page.html")).unwrap();
    for title in ["Throughput", "Latency of a push", "Latency at a rate", "Bytes a sample", "Memory", "Full scan"] {
        assert!(page.contains(&format!("<h2>{title}</h2>")), "{title}");
    }
    for plot in ["throughput", "push", "arrival", "bytes", "memory", "scan"] {
        let svg = std::fs::read_to_string(dir.path().join(format!("plots/{plot}.svg"))).unwrap();
        assert!(page.contains(&svg), "{plot}");
    }
    let some = |names: &str| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_tidegauge-bench"));
        command.arg("report").arg(&figures).arg("--out").arg(dir.path().join("page.html"));
        command.arg("--svg-dir").arg(dir.path().join("some")).args(["--svg", names]).output().unwrap()
    };
    assert!(some("bytes,push").status.success());
    let mut names: Vec<_> =
        std::fs::read_dir(dir.path().join("some")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["bytes.svg", "push.svg"]);
    let refused = some("bytes,waves");
    assert_eq!(refused.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("no plot waves"));
    std::fs::write(&figures, "{\"no\":\"figures\"}\n").unwrap();
    let output = report(&figures);
    assert_eq!(output.status.code(), Some(2));
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(told.contains("figures.json:1"), "{told}");
}

/// Stands in for cargo: tells how it was called, and ends as `ending` says.
fn comparing(dir: &std::path::Path, ending: &str, line: &str) -> std::process::Output {
    use std::os::unix::fs::PermissionsExt;
    let cargo = dir.join("cargo");
    let script = format!("#!/bin/sh\necho \"$*\"\necho '{{\"verb\":\"compare\"}}'\n{ending}\n");
    std::fs::write(&cargo, script).unwrap();
    std::fs::set_permissions(&cargo, std::fs::Permissions::from_mode(0o755)).unwrap();
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_tidegauge-bench"));
    command.arg("compare").args(line.split_whitespace()).env("CARGO", cargo).output().unwrap()
}

#[test]
fn a_comparison_is_built_and_run_where_it_is_and_its_ending_is_passed_on() {
    let dir = tempfile::tempdir().unwrap();
    let line = "--features a,b -- --samples 5 --json";
    let output = comparing(dir.path(), "", line);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/compare/Cargo.toml");
    let called = format!("run --release --locked --manifest-path {manifest} --features a,b -- --samples 5 --json");
    assert_eq!(String::from_utf8(output.stdout).unwrap(), format!("{called}\n{{\"verb\":\"compare\"}}\n"));

    let output = comparing(dir.path(), "exit 1", line);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        String::from_utf8(output.stdout).unwrap().ends_with("{\"verb\":\"compare\"}\n"),
        "the table is told even so"
    );
    assert_eq!(comparing(dir.path(), "exit 2", line).status.code(), Some(2));

    let output = comparing(dir.path(), "", "--workspace /nowhere");
    assert_eq!(output.status.code(), Some(2));
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(told.contains("cd benches/compare && cargo run --release") && output.stdout.is_empty(), "{told}");
}

#[test]
fn an_interrupt_of_a_comparison_is_passed_on_and_waited_for() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    // Stands in for cargo, which becomes the comparison: clears away what it has when it is asked to.
    let script = format!(
        "#!/bin/sh\ntrap 'rm {0}; exit 143' TERM\ntouch {0}\nwhile :; do sleep 0.05; done\n",
        path("running").display()
    );
    std::fs::write(path("cargo"), script).unwrap();
    std::fs::set_permissions(path("cargo"), std::fs::Permissions::from_mode(0o755)).unwrap();
    for (signal, code) in [("-INT", 130), ("-TERM", 143)] {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_tidegauge-bench"));
        let mut child = command.arg("compare").env("CARGO", path("cargo")).spawn().unwrap();
        while !path("running").exists() {
            assert!(child.try_wait().unwrap().is_none(), "ended before it began");
            std::thread::yield_now();
        }
        assert!(std::process::Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap().success());
        assert_eq!(child.wait().unwrap().code(), Some(code), "{signal}");
        assert!(!path("running").exists(), "{signal}: it was not waited for");
    }
}
