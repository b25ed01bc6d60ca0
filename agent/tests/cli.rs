//! The commands that end by themselves: output, exit codes, one line of error.
#![allow(missing_docs)]

mod support;

use std::io::Write as _;
use std::path::Path;
use std::process::{Output, Stdio};

use support::{Agent, run, stderr, stdout, write};

fn run_in(dir: &Path, args: &[&str]) -> Output {
    support::tidegauge(args).current_dir(dir).output().unwrap()
}

/// A store with `room{place=..}` imported from a CSV file.
fn store() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let csv = "time,place,room\n1000000000,hall,20.5\n1000000060,hall,21\n1000000000,attic,30\n";
    std::fs::write(dir.path().join("rooms.csv"), csv).unwrap();
    let done = run_in(dir.path(), &["import", "rooms.csv", "--data-dir", "data"]);
    assert_eq!(done.status.code(), Some(0), "{}", stderr(&done));
    assert!(stdout(&done).starts_with("3 samples of 2 series accepted in "), "{}", stdout(&done));
    dir
}

#[test]
fn what_was_imported_is_answered_in_three_formats() {
    let dir = store();
    let ask = |args: &[&str]| {
        let done = run_in(dir.path(), &[&["query", "--data-dir", "data"], args].concat());
        assert_eq!(done.status.code(), Some(0), "{args:?}: {}", stderr(&done));
        stdout(&done)
    };
    let at = ["--at", "1000000060"];
    let table = ask(&["room", at[0], at[1]]);
    assert_eq!(table, "at 2001-09-09T01:47:40Z\n30  room{place=\"attic\"}\n21  room{place=\"hall\"}\n");
    let csv = ask(&["room", at[0], at[1], "--format", "csv"]);
    assert_eq!(
        csv,
        "time,value,__name__,place\n2001-09-09T01:47:40Z,30,room,attic\n2001-09-09T01:47:40Z,21,room,hall\n"
    );
    let json = ask(&["sum(room)", at[0], at[1], "--format", "json"]);
    let data: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(data["result"][0]["value"], serde_json::json!([1_000_000_060, "51"]));
    let range = ask(&["max(room)", "--from", "1000000000", "--to", "2001-09-09T01:47:40Z", "--step", "30s"]);
    assert_eq!(range.lines().count(), 4, "{range}");
    let explained = ask(&["sum(room)", at[0], at[1], "--format", "json", "--explain"]);
    let data: serde_json::Value = serde_json::from_str(&explained).unwrap();
    assert_eq!(data["stats"]["explain"]["series"]["selected"], 2);
    let per_step = |stats: &serde_json::Value| stats["samples"]["totalQueryableSamplesPerStep"].clone();
    assert_eq!(per_step(&data["stats"]), serde_json::json!([[1_000_000_060.0, 2]]));
    let range = ["--from", "1000000000", "--to", "1000000060", "--step", "30s", "--format", "json", "--explain"];
    let steps = ask(&[&["sum(room)"][..], &range].concat());
    let data: serde_json::Value = serde_json::from_str(&steps).unwrap();
    let expected = serde_json::json!([[1_000_000_000.0, 2], [1_000_000_030.0, 2], [1_000_000_060.0, 2]]);
    assert_eq!(per_step(&data["stats"]), expected);
    let eyes = run_in(dir.path(), &["query", "--data-dir", "data", "sum(room)", at[0], at[1], "--explain"]);
    assert!(stderr(&eyes).contains("samples evaluated           2\n"), "{}", stderr(&eyes));
}

#[test]
fn a_file_whose_columns_cannot_be_told_leaves_no_store_behind() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("good.csv"), "time,value\n1000000000,1\n").unwrap();
    std::fs::write(dir.path().join("bad.csv"), "a\x07,b\n1,2\n").unwrap();
    let done = run_in(dir.path(), &["import", "good.csv", "bad.csv", "--data-dir", "data"]);
    assert_eq!(done.status.code(), Some(1), "{}", stdout(&done));
    assert!(stderr(&done).contains("the columns are: a\\u{7}, b"), "{}", stderr(&done));
    assert!(!dir.path().join("data").exists());
}

#[test]
fn an_answer_is_given_even_if_nobody_reads_stderr() {
    let dir = store();
    let (unread, stderr) = std::io::pipe().unwrap();
    drop(unread);
    // A counter by its name it is not: there is an info as well as the costs.
    let args = ["query", "rate(room[5m])", "--data-dir", "data", "--at", "1000000060", "--explain"];
    let mut command = support::tidegauge(&args);
    let child = command.current_dir(dir.path()).stderr(stderr).stdout(Stdio::piped()).spawn().unwrap();
    let done = child.wait_with_output().unwrap();
    assert_eq!(done.status.code(), Some(0));
    assert!(stdout(&done).contains("place=\"hall\""), "{}", stdout(&done));
}

#[test]
fn inspect_counts_what_is_there() {
    let dir = store();
    let done = run_in(dir.path(), &["inspect", "--data-dir", "data", "--json"]);
    let report: serde_json::Value = serde_json::from_str(&stdout(&done)).unwrap();
    assert_eq!((&report["series"], &report["samples"]), (&2.into(), &3.into()));
    assert_eq!(report["first_timestamp"], 1_000_000_000_000_000_000_i64);
    assert_eq!(report["last_timestamp"], 1_000_000_060_000_000_000_i64);
    let text = stdout(&run_in(dir.path(), &["inspect", "--data-dir", "data"]));
    assert!(text.contains("2001-09-09T01:46:40Z"), "{text}");
}

#[test]
fn inspect_tells_what_the_bytes_go_to() {
    let dir = tempfile::tempdir().unwrap();
    let mut csv = "time,place,room,steps\n".to_owned();
    for i in 0..2_000 {
        let at = 1_000_000_000 + i * 10;
        csv.push_str(&format!("{at},hall,20.5,{}\n{at},attic,20.5,{}\n", i * i % 997, i * i % 991));
    }
    std::fs::write(dir.path().join("a.csv"), csv).unwrap();
    std::fs::write(dir.path().join("b.csv"), "time,wind\n1000000000,1\n").unwrap();
    for file in ["a.csv", "b.csv"] {
        assert_eq!(run_in(dir.path(), &["import", file, "--data-dir", "data"]).status.code(), Some(0));
    }
    let inspect = |args: &[&str]| run_in(dir.path(), &[&["inspect", "--data-dir", "data"], args].concat());
    let report: serde_json::Value = serde_json::from_str(&stdout(&inspect(&["--json", "--top", "2"]))).unwrap();
    let number = |v: &serde_json::Value, name: &str| v[name].as_u64().unwrap_or_else(|| panic!("{name} in {v}"));
    // Everything that is stored is told once.
    let parts = ["timestamp_bytes", "value_bytes", "index_bytes"].map(|part| number(&report, part));
    assert_eq!(parts.iter().sum::<u64>(), number(&report, "segment_bytes"));
    let files = std::fs::read_dir(dir.path().join("data/segments")).unwrap();
    let on_disk: u64 = files.map(|file| file.unwrap().metadata().unwrap().len()).sum();
    assert_eq!(number(&report, "segment_bytes"), on_disk);
    for of in ["timestamps", "values"] {
        let entries = report[of].as_array().unwrap();
        assert_eq!(entries.iter().map(|e| number(e, "samples")).sum::<u64>(), 8_001, "{of}: {entries:?}");
        for e in entries {
            let bits = number(e, "bytes") as f64 * 8.0 / number(e, "samples") as f64;
            assert!((e["bits_per_sample"].as_f64().unwrap() - bits).abs() < 1e-9, "{e}");
        }
    }
    let names = |of: &str| -> Vec<&str> {
        report[of].as_array().unwrap().iter().map(|e| e["encoding"].as_str().unwrap()).collect()
    };
    assert!(names("timestamps").contains(&"regular") && names("values").contains(&"constant"), "{report}");
    let metrics = |by: &str| -> Vec<(String, u64, u64)> {
        let all = report[by].as_array().unwrap().iter();
        all.map(|m| (m["metric"].as_str().unwrap().to_owned(), number(m, "series"), number(m, "segment_samples")))
            .collect()
    };
    let of = |name: &str| (name.to_owned(), 2, 4_000);
    assert_eq!(metrics("metrics_by_bytes"), [of("steps"), of("room")], "steps weigh more than a constant");
    assert_eq!(metrics("metrics_by_series"), [of("room"), of("steps")], "wind is third");
    assert!(report["segment_list"].is_null());
    let listed: serde_json::Value = serde_json::from_str(&stdout(&inspect(&["--json", "--segments"]))).unwrap();
    let list = listed["segment_list"].as_array().unwrap();
    assert_eq!(list.iter().map(|s| number(s, "bytes")).sum::<u64>(), on_disk);
    assert_eq!(list.iter().map(|s| number(s, "samples")).sum::<u64>(), 8_001);
    let rows = stdout(&inspect(&["--segments"]));
    for segment in list {
        let id = segment["id"].as_str().unwrap();
        assert!(dir.path().join(format!("data/segments/{id}.seg")).exists(), "{id}");
        let row = rows.lines().find(|line| line.starts_with(id)).unwrap_or_else(|| panic!("{id} in {rows}"));
        let encoding = segment["values"][0]["encoding"].as_str().unwrap();
        assert!(row.contains(" %") && row.contains(encoding), "{row}");
        assert!(segment["first_timestamp"].as_i64() <= segment["last_timestamp"].as_i64(), "{segment}");
    }
    let text = stdout(&inspect(&[]));
    for said in ["most bytes in segments", "most series", "  regular", "  constant", "wind", "index"] {
        assert!(text.contains(said), "{said}: {text}");
    }
}

/// Both wrote nothing and said nothing.
#[test]
fn an_export_of_nothing_says_what_was_not_there_and_times_that_cannot_be_are_refused() {
    let dir = store();
    let export = |args: &[&str]| run_in(dir.path(), &[&["export", "--data-dir", "data"], args].concat());
    for range in [["--from", "1000000060", "--to", "1000000000"], ["--from", "1000000060", "--to", "1000000060"]] {
        let done = export(&range);
        let said = "tidegauge: --from must lie before --to: the end is excluded\n";
        assert_eq!((done.status.code(), stdout(&done), stderr(&done)), (Some(2), String::new(), said.to_owned()));
    }
    for (args, said) in [
        (&["--match", "nowhere"][..], "no series passes --match nowhere"),
        (&["--match", "x", "--match", "y"], "no series passes one of --match x --match y"),
        (&["--to", "5"], "2 series selected, and none has a sample from --from to --to"),
    ] {
        let done = export(args);
        // As a query and a delete that find nothing.
        assert_eq!(done.status.code(), Some(0), "{args:?}");
        assert_eq!(stderr(&done), format!("tidegauge: nothing to export: {said}\n"), "{args:?}");
    }
}

/// Whatever it ended with, a file was CSV where its ending stands for none of the formats.
#[test]
fn an_export_has_the_format_of_its_name() {
    let dir = store();
    let export = |name: &str| run_in(dir.path(), &["export", "--data-dir", "data", "-o", name]);
    for (name, begin) in [
        ("a.csv", "timestamp,"),
        ("a.prom", "room{"),
        ("a.om", "room{"),
        ("a.TXT", "room{"),
        ("a.lp", "room,"),
        ("a.influx", "room,"),
        ("plain", "timestamp,"),
    ] {
        assert_eq!(export(name).status.code(), Some(0), "{name}");
        let text = std::fs::read_to_string(dir.path().join(name)).unwrap();
        assert!(text.starts_with(begin), "{name}: {text}");
    }
    for name in ["a.json", "a.csv.gz", "a.parquet"] {
        let done = export(name);
        let said = stderr(&done);
        assert!(done.status.code() == Some(2) && said.contains("its ending names no format; give --format"), "{said}");
        assert!(!dir.path().join(name).exists(), "{name}");
        let told = run_in(dir.path(), &["export", "--data-dir", "data", "--format", "csv", "-o", name]);
        assert_eq!(told.status.code(), Some(0), "{name}");
    }
}

/// A shell offered files for them, and a message told of an address where an option had been typed.
#[test]
fn values_of_options_are_completed_and_told_and_a_step_too_short_is_an_option() {
    let script = stdout(&run(&["completions", "bash"]));
    for values in ["csv prom influx", "memory interval:100ms sync", "auto s ms us ns rfc3339", "table csv json"] {
        assert!(script.contains(values), "{values}");
    }
    assert!(stdout(&run(&["import", "--help"])).contains("rfc3339"));
    let wrong = run(&["import", "x.csv", "--format", "xml"]);
    assert!(stderr(&wrong).contains("\"xml\" is no format; give csv, prom or influx"), "{}", stderr(&wrong));
    let dir = store();
    let range = ["query", "room", "--data-dir", "data", "--from", "1000000000", "--to", "1000100000", "--step"];
    for (step, said) in [("1s", "give a longer --step, or a shorter range"), ("0s", "--step must be longer")] {
        let done = run_in(dir.path(), &[&range[..], &[step]].concat());
        let told = stderr(&done);
        assert!(done.status.code() == Some(2) && told.contains(said) && !told.contains('?'), "{told}");
    }
}

/// Samples that are written over: each command says what it counts, and compaction brings them together.
#[test]
fn accepted_stored_and_written_samples_are_told_apart() {
    let dir = store();
    let again = run_in(dir.path(), &["import", "rooms.csv", "--data-dir", "data"]);
    assert!(stdout(&again).starts_with("3 samples of 2 series accepted in "), "{}", stdout(&again));
    let replaced = "), 3 of which replaced an earlier value of the same series and time\n";
    assert!(stdout(&again).ends_with(replaced), "{}", stdout(&again));
    let stored = || {
        let text = stdout(&run_in(dir.path(), &["inspect", "--data-dir", "data"]));
        text.lines().find(|line| line.starts_with("samples")).unwrap().to_owned()
    };
    assert_eq!(stored(), "samples     6 stored, overwritten and deleted ones too until compaction removes them");
    let export = run_in(dir.path(), &["export", "--data-dir", "data", "--output", "out.csv"]);
    assert!(stderr(&export).contains("3 samples of 2 series written"), "{}", stderr(&export));
    let again = run_in(dir.path(), &["export", "--data-dir", "data", "--output", "out.csv"]);
    assert_eq!(again.status.code(), Some(1));
    assert!(stderr(&again).contains("out.csv is there already: name another file, or remove"), "{}", stderr(&again));
    assert_eq!(run_in(dir.path(), &["compact", "--data-dir", "data"]).status.code(), Some(0));
    assert!(stored().starts_with("samples     3 stored"), "{}", stored());
}

#[test]
fn query_and_inspect_work_beside_a_live_agent() {
    let dir = tempfile::tempdir().unwrap();
    let agent = Agent::bare(dir.path());
    let series = write::series(&[("__name__", "n")], &[(1000, 5.0)]);
    assert_eq!(agent.post("/api/v1/write", &write::V1, &write::request(vec![series])).status, 204);
    let path = dir.path().to_str().unwrap();
    let done = run(&["query", "n", "--at", "1", "--data-dir", path]);
    assert_eq!(done.status.code(), Some(0), "{}", stderr(&done));
    assert!(stdout(&done).contains("5  n"), "{}", stdout(&done));
    let done = run(&["inspect", "--json", "--data-dir", path]);
    let report: serde_json::Value = serde_json::from_str(&stdout(&done)).unwrap();
    assert_eq!(report["samples"], 1);
}

/// It told of `1 samples`, `1 files`, `1 frames`.
#[test]
fn one_sample_is_told_as_one() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("a.csv"), "time,room,hall\n1,1,\n").unwrap();
    let said = |args: &[&str]| stdout(&run_in(dir.path(), &[args, &["--data-dir", "data"]].concat()));
    let import = said(&["import", "a.csv", "--value-column", "room,hall"]);
    assert!(import.contains("1 sample of 1 series") && import.contains("1 cell or field without"), "{import}");
    let (verify, inspect) = (said(&["verify"]), said(&["inspect"]));
    assert!(verify.contains("1 sound (1 sample)"), "{verify}");
    assert!(inspect.contains(", 1 sample, "), "{inspect}");
    let deleted = said(&["delete", "room"]);
    assert_eq!(deleted, "1 sample of 1 series deleted\n");
}

#[test]
fn unlock_tells_the_owner_and_leaves_a_living_one_alone() {
    let dir = store();
    let unlock = |args: &[&str]| run_in(dir.path(), &[&["unlock", "--data-dir", "data"], args].concat());
    let done = unlock(&["--json"]);
    let report: serde_json::Value = serde_json::from_str(&stdout(&done)).unwrap();
    assert_eq!((done.status.code(), &report["result"]), (Some(0), &"free".into()));
    let told = stdout(&unlock(&["--force"]));
    assert!(told.contains("nobody holds the lock of data") && told.contains("nothing to unlock"), "{told}");
    let agent = Agent::bare(&dir.path().join("data"));
    for args in [&[][..], &["--force"]] {
        let done = unlock(args);
        assert_eq!(done.status.code(), Some(1), "{}", stdout(&done));
        assert!(stderr(&done).contains(&agent.address) && stderr(&done).contains("lives"), "{}", stderr(&done));
    }
    assert_eq!(run_in(dir.path(), &["unlock", "--data-dir", "nowhere"]).status.code(), Some(1));
    std::fs::create_dir(dir.path().join("empty")).unwrap();
    let none = run_in(dir.path(), &["unlock", "--data-dir", "empty"]);
    assert_eq!((none.status.code(), stdout(&none).as_str()), (Some(1), ""));
    assert!(stderr(&none).contains("empty holds no store"), "{}", stderr(&none));
}

#[test]
fn bad_lines_are_named_with_their_numbers_and_the_rest_is_stored() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("a.csv"), "time,value\n1,1\nyesterday,2\n3,3\n").unwrap();
    let args = ["import", "a.csv", "--data-dir", "data"];
    let done = run_in(dir.path(), &args);
    assert_eq!(done.status.code(), Some(1));
    assert!(stderr(&done).contains("a.csv:3:"), "{}", stderr(&done));
    assert!(stdout(&done).starts_with("2 samples"), "{}", stdout(&done));
    let done = run_in(dir.path(), &[&args[..], &["--skip-bad"]].concat());
    assert_eq!(done.status.code(), Some(0), "{}", stderr(&done));
}

#[test]
fn what_was_typed_wrongly_ends_with_2_and_what_is_missing_with_1() {
    let dir = store();
    for (file, text) in [("header.csv", "time,room\n"), ("empty.prom", "")] {
        std::fs::write(dir.path().join(file), text).unwrap();
    }
    for (args, code) in [
        (&["serve", "--durability", "maybe"][..], 2),
        (&["serve", "--scrape", "ftp://host/metrics"], 2),
        (&["serve", "--scrape-interval", "0"], 2),
        (&["serve", "--retention", "0"], 2),
        (&["serve", "--retention", "-5d"], 2),
        (&["serve", "--retention-size", "50"], 2),
        (&["serve", "--retention-rule", "{job=\"debug\"}"], 2),
        (&["serve", "--config", "missing.toml"], 2),
        (&["fly"], 2),
        (&["query"], 2),
        (&["query", "sum(", "--data-dir", "data"], 2),
        (&["query", "room", "--data-dir", "data", "--at", "someday"], 2),
        (&["query", "room", "--data-dir", "data", "--from", "-1h", "--step", "1ms"], 2),
        (&["query", "room", "--data-dir", "nowhere"], 1),
        (&["inspect", "--data-dir", "rooms.csv"], 1),
        (&["import", "missing.csv", "--data-dir", "new"], 1),
        (&["import", "header.csv", "--data-dir", "new"], 1),
        (&["import", "empty.prom", "empty.prom", "--data-dir", "new"], 1),
        (&["inspect", "--data-dir", "data", "--top", "0"], 2),
        (&["import", "rooms.unknown", "--data-dir", "new"], 2),
    ] {
        let done = run_in(dir.path(), args);
        let said = stderr(&done);
        assert_eq!(done.status.code(), Some(code), "{args:?}: {said}");
        assert!(!said.is_empty() && !said.contains("panicked"), "{args:?}: {said}");
        assert!(said.starts_with("tidegauge: ") && said.lines().count() == 1, "{args:?}: {said}");
    }
    assert!(!dir.path().join("new").exists());
    assert!(!dir.path().join("nowhere").exists());
}

#[test]
fn help_shows_defaults_and_examples_and_completions_are_there() {
    for command in [
        "", "serve", "query", "import", "export", "inspect", "verify", "repair", "backup", "restore", "compact",
        "unlock",
    ] {
        let args: Vec<&str> = [command, "--help"].into_iter().filter(|a| !a.is_empty()).collect();
        let done = run(&args);
        assert_eq!(done.status.code(), Some(0), "{command}");
        assert!(stdout(&done).contains("data-dir"), "{command}");
    }
    assert!(stdout(&run(&["--help"])).contains("Examples:"));
    assert!(stdout(&run(&["serve", "--help"])).contains("127.0.0.1:9595]"));
    assert!(stdout(&run(&["--version"])).contains(env!("CARGO_PKG_VERSION")));
    for shell in ["bash", "zsh", "fish"] {
        assert!(stdout(&run(&["completions", shell])).contains("tidegauge"), "{shell}");
    }
}

/// The commands that only read do not advise to write, and none begins a store.
#[test]
fn where_there_is_no_store_the_advice_fits_the_command() {
    let dir = store();
    std::fs::create_dir(dir.path().join("empty")).unwrap();
    for folder in ["empty", "nowhere"] {
        for args in [
            &["query", "room"][..],
            &["inspect"],
            &["export"],
            &["verify"],
            &["delete", "room", "--dry-run"],
            &["delete", "room"],
            &["compact"],
            &["repair"],
            &["backup", "copy"],
        ] {
            let done = run_in(dir.path(), &[args, &["--data-dir", folder]].concat());
            let expected = format!("tidegauge: {folder} holds no store: name the folder that does with --data-dir\n");
            assert_eq!((done.status.code(), stderr(&done)), (Some(1), expected), "{args:?}");
        }
    }
    assert!(!dir.path().join("nowhere").exists() && !dir.path().join("copy").exists());
    // Data without a manifest is no empty folder.
    std::fs::remove_file(dir.path().join("data/MANIFEST")).unwrap();
    for args in [&["query", "room"][..], &["inspect"], &["export"]] {
        let said = stderr(&run_in(dir.path(), &[args, &["--data-dir", "data"]].concat()));
        assert!(said.contains("no MANIFEST") && said.contains("tidegauge repair"), "{args:?}: {said}");
    }
}

/// Each number of the column made a series of its own, the exit code was 0, and nothing told why.
#[test]
fn an_import_tells_which_cell_made_a_label_of_a_column_of_numbers() {
    let dir = tempfile::tempdir().unwrap();
    let csv = "time,host,room,hall\n1,a,20,1\n2,a,21,2\n3,a,n/a,3\n4,a,22,4\n5,a,off,5\n";
    std::fs::write(dir.path().join("a.csv"), csv).unwrap();
    let import = |args: &[&str]| {
        let done = run_in(dir.path(), &[&["import", "a.csv", "--data-dir", "data"], args].concat());
        assert_eq!(done.status.code(), Some(0), "{}", stderr(&done));
        stderr(&done)
    };
    let said = import(&[]);
    assert!(said.starts_with("tidegauge: warning: a.csv:4: ") && said.lines().count() == 1, "{said}");
    assert!(said.contains("\"n/a\"") && said.contains("\"room\"") && said.contains("--value-column"), "{said}");
    assert_eq!(import(&["--label-column", "room", "--label-column", "host"]), "", "that was meant");
    assert_eq!(import(&["--value-column", "hall"]), "", "and so was that");
}

#[test]
fn what_comes_by_standard_input_is_imported_where_a_dash_stands_for_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let import = |args: &[&str], text: &str| {
        let mut command = support::tidegauge(&[&["import", "-", "--data-dir", "data"], args].concat());
        command.current_dir(dir.path()).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        // Who refuses what was typed reads nothing.
        let _ = child.stdin.take().unwrap().write_all(text.as_bytes());
        child.wait_with_output().unwrap()
    };
    let refused = import(&[], "");
    let said = stderr(&refused);
    assert_eq!(refused.status.code(), Some(2), "{said}");
    assert!(said.contains("standard input") && said.contains("--format csv"), "{said}");
    assert!(!dir.path().join("data").exists());
    for (args, text, count) in [
        (&["--format", "csv", "--metric", "m"][..], "time,value\n1,1\n2,2\n", "2 samples of 1 series"),
        (&["--format", "csv"], "time,room\n1,1\n", "1 sample of 1 series"),
        (&["--format", "influx"], "m,host=a v=1 1000000000\n", "1 sample of 1 series"),
        (&["--format", "prom", "--time-unit", "s"], "m 1 1\nm 2 2\nm 3 3\n# EOF\n", "3 samples of 1 series"),
    ] {
        let done = import(args, text);
        assert_eq!(done.status.code(), Some(0), "{}", stderr(&done));
        assert!(stdout(&done).starts_with(count), "{}", stdout(&done));
    }
    let bad = import(&["--format", "csv"], "time,room\n1,1\nyesterday,1\n");
    assert_eq!(bad.status.code(), Some(1));
    assert!(stderr(&bad).contains("/dev/stdin:3:"), "{}", stderr(&bad));
}
