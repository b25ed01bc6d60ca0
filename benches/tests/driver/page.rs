//! `roofs` and `report`.

use serde_json::Value;
use tidegauge_bench::progress::Progress;
use tidegauge_bench::run::run;

use super::{folders, options, page_of, reporting};

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

    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_tidegauge-bench"));
    let output = command.args(["roofs", "--short", "--json"]).current_dir(dir.path()).output().unwrap();
    let short: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&short["verb"], &short["machine"]["kernel"]), (&"roofs".into(), &figures["machine"]["kernel"]));
    let page = page_of(dir.path(), &String::from_utf8(output.stdout).unwrap());
    assert!(page.contains("<h2>Roofs of this machine</h2>") && page.contains("memcpy_gb_s"), "{page}");
}

#[test]
fn roofs_of_a_folder_that_is_not_there_are_refused_before_anything_is_measured() {
    let before = tidegauge_bench::measure::thread_cpu();
    let error = tidegauge_bench::roofs::Roofs::measure(std::path::Path::new("/nonexist"), &Progress::hidden());
    let error = error.unwrap_err();
    let spent = tidegauge_bench::measure::thread_cpu() - before;
    assert!(error.to_string().starts_with("/nonexist: ") && error.exit_code() == 1, "{error}");
    // What is measured of memory takes this thread many seconds of processor time, and refusing next to none.
    assert!(spent < std::time::Duration::from_secs(1), "{spent:?}");
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
