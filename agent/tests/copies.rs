//! Backups, restores and exports, from outside.
#![allow(missing_docs)]

mod support;

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use support::{Agent, run, stderr, stdout, tidegauge, write};

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn json(args: &[&str], code: i32) -> Value {
    let done = run(args);
    assert_eq!(done.status.code(), Some(code), "{args:?}: {}", stderr(&done));
    assert!(!stderr(&done).contains("panicked"));
    serde_json::from_str(&stdout(&done)).unwrap_or(Value::Null)
}

fn refused(args: &[&str]) -> String {
    let done = run(args);
    assert_eq!(done.status.code(), Some(1), "{args:?}");
    let said = stderr(&done);
    assert!(said.lines().count() == 1 && !said.contains("panicked"), "{said}");
    said
}

/// An agent on a store of a hundred samples, which it goes on holding.
fn living() -> (tempfile::TempDir, PathBuf, Agent) {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let agent = Agent::bare(&data);
    push(&agent, 0);
    (dir, data, agent)
}

fn push(agent: &Agent, from: i64) {
    let samples: Vec<_> = (from..from + 100).map(|t| (t * 1000, (t as f64).sqrt())).collect();
    let series = write::series(&[("__name__", "n"), ("host", "a")], &samples);
    assert_eq!(agent.post("/api/v1/write", &write::V1, &write::request(vec![series])).status, 204);
}

fn count(data: &Path) -> String {
    let args = ["query", "count_over_time(n[1h])", "--at", "1000", "--format", "json", "--data-dir", text(data)];
    json(&args, 0)["result"][0]["value"][1].as_str().unwrap_or("0").to_owned()
}

#[test]
fn a_living_agent_is_asked_for_a_backup_and_it_is_restored() {
    let dir = tempfile::tempdir().unwrap();
    let (data, copy, back) = (dir.path().join("data"), dir.path().join("copies/one"), dir.path().join("back"));
    let agent = Agent::start(&data, &["--no-host-metrics", "--enable-admin-api"]);
    push(&agent, 0);
    let told = json(&["backup", text(&copy), "--data-dir", text(&data), "--json"], 0);
    let said = stdout(&run(&["backup", text(&dir.path().join("copies/two")), "--data-dir", text(&data)]));
    assert!(said.contains("copies/two holds 100 samples in 1 segment ("), "{said}");
    // It named the folder in which the agent had made it, which was gone.
    let audit = fs::read_to_string(data.join("audit.log")).unwrap();
    let line = audit.lines().find(|line| line.contains("\"act\":\"backup\"")).unwrap();
    let line: serde_json::Value = serde_json::from_str(line).unwrap();
    assert_eq!(line["target"], text(&copy), "{line}");
    assert!(line["made_in"].as_str().unwrap().contains("/snapshots/"), "{line}");
    let segments: Vec<_> = fs::read_dir(copy.join("segments")).unwrap().map(|file| file.unwrap()).collect();
    let on_disk: u64 = segments.iter().map(|file| file.metadata().unwrap().len()).sum();
    assert_eq!((&told["samples"], &told["segments"]), (&100.into(), &segments.len().into()), "{told}");
    assert_eq!((&told["bytes"], &told["bytes_copied"]), (&on_disk.into(), &0.into()), "{told}");
    push(&agent, 100);
    assert_eq!(count(&copy), "100", "what was visible then, and nothing more");
    assert_eq!(count(&data), "200");
    assert_eq!(fs::read_dir(data.join("snapshots")).unwrap().count(), 0, "the copy was moved");
    assert_eq!(json(&["verify", "--json", "--data-dir", text(&copy)], 0)["samples"], 100);
    let restored = json(&["restore", text(&copy), "--data-dir", text(&back), "--json"], 0);
    assert_eq!(restored["samples"], 100);
    assert_eq!(count(&back), "100");
    assert!(fs::read_to_string(back.join("audit.log")).unwrap().contains("\"act\":\"restore\""));
    // Nothing is ever overwritten.
    for target in [&copy, &data] {
        assert!(refused(&["backup", text(target), "--data-dir", text(&data)]).contains("not empty"));
        assert!(refused(&["restore", text(&copy), "--data-dir", text(target)]).contains("not empty"));
    }
    let living = refused(&["restore", text(&data), "--data-dir", text(&dir.path().join("new"))]);
    assert!(living.contains("in use") && living.contains("backup"), "{living}");
    drop(agent);
    let stopped = json(&["backup", text(&dir.path().join("two")), "--data-dir", text(&data), "--json"], 0);
    assert_eq!((&stopped["samples"], &stopped["bytes_copied"]), (&200.into(), &0.into()));
}

/// A copy that an agent had made and that could not be brought away stayed in its directory, and each try left another one.
#[test]
fn a_copy_that_cannot_be_brought_away_is_not_left_behind_and_others_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let (data, file) = (dir.path().join("data"), dir.path().join("file"));
    fs::write(&file, "").unwrap();
    let agent = Agent::start(&data, &["--no-host-metrics", "--enable-admin-api"]);
    push(&agent, 0);
    let inspected = || json(&["inspect", "--json", "--data-dir", text(&data)], 0)["snapshots"].clone();
    let said = refused(&["backup", text(&file.join("copy")), "--data-dir", text(&data)]);
    assert!(said.contains("what the agent had made for it is removed"), "{said}");
    assert_eq!(fs::read_dir(data.join("snapshots")).unwrap().count(), 0);
    assert_eq!(inspected(), serde_json::json!([]));
    // One that somebody asked the agent for.
    let made = agent.post("/api/v1/admin/tsdb/snapshot", &[], b"").json();
    let path = data.join("snapshots").join(made["data"]["name"].as_str().unwrap());
    let snapshots = inspected();
    assert_eq!(snapshots[0]["path"], text(&path));
    assert!(snapshots[0]["bytes"].as_u64() > made["data"]["bytes"].as_u64(), "{snapshots} of {made}");
    let told = stdout(&run(&["inspect", "--data-dir", text(&data)]));
    assert!(told.lines().any(|line| line.starts_with("copy ") && line.contains(text(&path))), "{told}");
}

#[test]
fn compact_works_on_a_stopped_store_and_through_a_living_agent() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    for round in 0..2 {
        let agent = Agent::start(&data, &["--no-host-metrics", "--enable-admin-api"]);
        push(&agent, round * 100);
        let done = json(&["compact", "--json", "--data-dir", text(&data)], 0);
        assert_eq!(done["segments"], 1, "{done}");
        drop(agent);
    }
    assert_eq!(json(&["compact", "--json", "--data-dir", text(&data)], 0)["segments"], 1);
    assert_eq!(count(&data), "200");
    assert!(refused(&["compact", "--data-dir", text(&dir.path().join("none"))]).contains("no store"));
}

#[test]
fn an_agent_without_the_admin_api_says_how_to_enable_it() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let agent = Agent::bare(&data);
    let answer = agent.post("/api/v1/admin/tsdb/snapshot", &[], b"");
    assert_eq!(answer.status, 500);
    assert!(answer.text().contains("--enable-admin-api"));
    let said = refused(&["backup", text(&dir.path().join("copy")), "--data-dir", text(&data)]);
    assert!(said.contains("--enable-admin-api") && said.contains(&agent.address), "{said}");
    assert!(!data.join("snapshots").exists());
    let none = dir.path().join("none");
    assert!(refused(&["backup", text(&dir.path().join("copy")), "--data-dir", text(&none)]).contains("no store"));
    assert!(!none.exists() && !dir.path().join("copy").exists());
}

#[test]
fn a_damaged_backup_is_restored_and_said_to_be_damaged() {
    let dir = tempfile::tempdir().unwrap();
    let (data, copy, back) = (dir.path().join("data"), dir.path().join("copy"), dir.path().join("back"));
    fs::write(dir.path().join("n.csv"), "time,host,value\n1,a,1\n2,a,2\n").unwrap();
    json(&["import", text(&dir.path().join("n.csv")), "--data-dir", text(&data)], 0);
    json(&["backup", text(&copy), "--data-dir", text(&data)], 0);
    let file = fs::read_dir(copy.join("segments")).unwrap().next().unwrap().unwrap().path();
    // A write through the link would damage the store too: the copy gets a file of its own first.
    let mut bytes = fs::read(&file).unwrap();
    bytes[75] ^= 1;
    fs::remove_file(&file).unwrap();
    fs::write(&file, bytes).unwrap();
    let said = refused(&["restore", text(&copy), "--data-dir", text(&back)]);
    assert!(said.contains("damaged") && said.contains("repair"), "{said}");
    assert_eq!(json(&["verify", "--json", "--data-dir", text(&data)], 0)["sound"], true);
    // What is copied from there is damaged, which --verify tells.
    let again = |name: &str| dir.path().join(name);
    json(&["backup", text(&again("1")), "--verify", "--data-dir", text(&data)], 0);
    let sound = data.join("segments").join(file.file_name().unwrap());
    fs::remove_file(&sound).unwrap();
    fs::copy(&file, &sound).unwrap();
    json(&["backup", text(&again("2")), "--data-dir", text(&data)], 0);
    let said = refused(&["backup", text(&again("3")), "--verify", "--data-dir", text(&data)]);
    assert!(said.contains("the store is damaged, and so is the copy"), "{said}");
}

#[test]
fn an_export_of_a_living_store_is_imported_again() {
    let (dir, data, _agent) = living();
    for ending in ["csv", "prom", "lp"] {
        let (file, back) = (dir.path().join(format!("out.{ending}")), dir.path().join(ending));
        let args =
            ["export", "--data-dir", text(&data), "--match", "n", "--from", "10", "--to", "60", "-o", text(&file)];
        let done = run(&args);
        assert_eq!(done.status.code(), Some(0), "{}", stderr(&done));
        assert!(stderr(&done).contains("50 samples of 1 series"), "{}", stderr(&done));
        assert!(refused(&args).contains("is there already"), "no file is overwritten");
        json(&["import", text(&file), "--data-dir", text(&back)], 0);
        assert_eq!(count(&back), "50", "{ending}");
    }
    let out = stdout(&run(&["export", "--data-dir", text(&data), "--to", "1"]));
    assert_eq!(out, "timestamp,value,__name__,host\n1970-01-01T00:00:00Z,0,n,a\n");
    for (args, code) in [(&["--match", "n{"][..], 2), (&["--from", "someday"], 2), (&["--format", "xml"], 2)] {
        let done = run(&[&["export", "--data-dir", text(&data)], args].concat());
        assert_eq!(done.status.code(), Some(code), "{args:?}");
    }
}

/// An export that ended in the middle left a file that looked whole.
#[test]
fn an_export_has_its_name_once_it_is_whole() {
    let dir = tempfile::tempdir().unwrap();
    let (data, out) = (dir.path().join("data"), dir.path().join("out.csv"));
    fs::write(dir.path().join("n.csv"), "time,host,value\n1,a,1\n2,a,2.5\n").unwrap();
    json(&["import", text(&dir.path().join("n.csv")), "--data-dir", text(&data)], 0);
    let there = || {
        let names = fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name.starts_with("out")).collect::<Vec<_>>()
    };
    let export = ["export", "--data-dir", text(&data), "-o", text(&out)];
    let file = fs::read_dir(data.join("segments")).unwrap().next().unwrap().unwrap().path();
    let sound = fs::read(&file).unwrap();
    let mut damaged = sound.clone();
    damaged[75] ^= 1;
    fs::write(&file, damaged).unwrap();
    assert!(refused(&export).contains("damaged"));
    assert_eq!(there(), [""; 0]);
    fs::write(&file, sound).unwrap();
    // Of one that was killed.
    fs::write(dir.path().join("out.csv.part"), "time").unwrap();
    let said = refused(&export);
    assert!(said.contains("out.csv.part is there") && said.contains("remove it"), "{said}");
    assert_eq!(there(), ["out.csv.part"]);
    fs::remove_file(dir.path().join("out.csv.part")).unwrap();
    assert_eq!(run(&export).status.code(), Some(0));
    assert_eq!(there(), ["out.csv"]);
    assert!(refused(&export).contains("is there already"));
    assert_eq!(fs::read_to_string(&out).unwrap().lines().count(), 3);
}

/// What a format cannot name is left out, and said once.
#[test]
fn an_export_that_leaves_something_out_says_so_in_one_line() {
    let (dir, data, agent) = living();
    let series = write::series(&[("__name__", "n"), ("path", "C:\\")], &[(0, 1.0)]);
    assert_eq!(agent.post("/api/v1/write", &write::V1, &write::request(vec![series])).status, 204);
    let file = dir.path().join("out.lp");
    let said = refused(&["export", "--match", "n", "--data-dir", text(&data), "-o", text(&file)]);
    assert!(said.starts_with("tidegauge: 100 samples of 1 series written; 1 series left out"), "{said}");
    assert_eq!(fs::read_to_string(file).unwrap().lines().count(), 100);
}

/// Without a log a reader sees what was flushed: the dry run counted nothing, and exited well, where the delete took all.
#[test]
fn beside_an_agent_without_a_log_a_dry_run_counts_what_is_in_memory_and_a_reader_says_what_it_lacks() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let delete = |rest: &[&str]| json(&[&["delete", "n", "--json", "--data-dir", text(&data)], rest].concat(), 0);
    let said = |args: &[&str]| String::from_utf8(run(&[args, &["--data-dir", text(&data)]].concat()).stderr).unwrap();
    let lacks = "keeps no log (durability memory)";
    {
        let agent = Agent::start(&data, &["--no-host-metrics", "--enable-admin-api", "--durability", "memory"]);
        push(&agent, 1);
        let all = delete(&["--dry-run"])["samples"].as_u64().unwrap();
        assert!(all >= 100, "{all}");
        assert!(said(&["query", "n"]).contains(lacks));
        assert_eq!(delete(&[])["samples"], all);
        assert_eq!(delete(&["--dry-run"])["samples"], 0);
    }
    {
        let _agent = Agent::start(&data, &["--no-host-metrics", "--durability", "memory"]);
        assert!(refused(&["delete", "n", "--dry-run", "--data-dir", text(&data)]).contains("--enable-admin-api"));
    }
    assert!(!said(&["query", "n"]).contains(lacks), "nobody owns it any more");
}

#[test]
fn samples_are_deleted_here_or_by_the_agent_that_owns_them_and_a_dry_run_only_counts() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let delete = |rest: &[&str], code| {
        json(&[&["delete", "n{host=\"a\"}", "--json", "--data-dir", text(&data)], rest].concat(), code)
    };
    {
        let agent = Agent::start(&data, &["--no-host-metrics", "--enable-admin-api"]);
        push(&agent, 1);
        let would = delete(&["--dry-run", "--from", "11", "--to", "21"], 0);
        assert_eq!((&would["samples"], &would["series"]), (&10.into(), &1.into()));
        assert_eq!(count(&data), "100", "a dry run deletes nothing");
        assert_eq!(delete(&["--from", "11", "--to", "21"], 0)["samples"], 10);
        assert_eq!(count(&data), "90");
    }
    assert_eq!(delete(&["--to", "51"], 0)["samples"], 40);
    assert_eq!(count(&data), "50");
    delete(&["--from", "9", "--to", "9"], 2);
    assert_eq!(run(&["delete", "sum(n)", "--data-dir", text(&data)]).status.code(), Some(2));
    assert_eq!(count(&data), "50");
}

#[test]
fn a_retention_hides_what_is_older_and_is_remembered() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let values = |agent: &Agent| agent.query("count_over_time(n[1h])", "1000");
    {
        let agent = Agent::bare(&data);
        push(&agent, 1);
        assert_eq!(values(&agent)[0]["value"][1], "100");
    }
    {
        let agent = Agent::start(&data, &["--no-host-metrics", "--retention", "30d"]);
        assert!(values(&agent).as_array().unwrap().is_empty(), "samples of 1970");
    }
    let agent = Agent::bare(&data);
    assert!(values(&agent).as_array().unwrap().is_empty(), "still known without the flag");
}

/// A rule for some series, one for the others and a size; what is said again, or not at all, changes nothing.
#[test]
fn rules_of_retention_are_set_in_order_and_remembered() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let audited = || {
        let audit = fs::read_to_string(data.join("audit.log")).unwrap_or_default();
        audit.lines().filter(|line| line.contains("\"act\":\"retention\"")).map(str::to_owned).collect::<Vec<_>>()
    };
    let shown = |agent: &Agent, host: &str| {
        let found = agent.query(&format!("count_over_time(n{{host=\"{host}\"}}[1h])"), "1000");
        !found.as_array().unwrap().is_empty()
    };
    let rules = ["--retention", "30d", "--retention-rule", "{host=\"a\"}=forever", "--retention-size", "50GiB"];
    {
        let agent = Agent::bare(&data);
        push(&agent, 1);
        assert!(shown(&agent, "a"), "samples of 1970");
    }
    for _ in 0..2 {
        let agent = Agent::start(&data, &[&["--no-host-metrics"][..], &rules].concat());
        assert!(shown(&agent, "a"), "the first rule that it passes keeps it");
    }
    let lines = audited();
    let [line] = &lines[..] else { panic!("{lines:?}") };
    assert!(line.contains(r#"{host=\"a\"}=forever, {}=2592000s"#) && line.contains("53687091200"), "{line}");
    {
        let agent = Agent::bare(&data);
        assert!(shown(&agent, "a"), "nothing was said");
    }
    let agent = Agent::start(&data, &["--no-host-metrics", "--retention", "60d"]);
    assert!(!shown(&agent, "a"), "one age in the place of all rules");
    assert!(audited().last().unwrap().contains("53687091200"), "the size stays");
    drop(agent);
    let agent = Agent::start(&data, &["--no-host-metrics", "--retention", "forever", "--retention-size", "none"]);
    let runs = agent.get("/api/v1/status/runtimeinfo").json();
    assert_eq!(runs["data"]["storageRetention"], "for ever", "what was told before is lifted");
    let last = audited().pop().unwrap();
    assert!(last.contains(r#""rules":"","max_bytes":-1}"#), "{last}");
    let config = agent.get("/api/v1/status/config").text();
    assert!(config.contains("retention_size: \\\"none\\\""), "as a configuration file has it: {config}");
}

/// A store that was told once went on dropping what is old, and only `audit.log` could tell why.
#[test]
fn a_retention_in_force_is_told_at_the_start_by_the_api_and_by_inspect() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let said = |args: &[&str]| {
        let mut command = tidegauge(&["serve", "--listen", "127.0.0.1:0", "--no-host-metrics", "--data-dir"]);
        command.arg(&data).args(args).stderr(std::process::Stdio::piped());
        Agent::spawn(command).end_and_hear()
    };
    assert_eq!(said(&[]), "", "all is kept for ever: nothing to tell");
    let rules = ["--retention", "30d", "--retention-rule", "{host=\"a\"}=7d", "--retention-size", "50GiB"];
    let in_force = "{host=\"a\"}=7d, else 30d; all series together at most 50.0 GiB";
    let told = said(&rules);
    assert!(told.contains(in_force) && !told.contains("remember"), "{told}");
    let told = said(&[]);
    assert!(told.contains(in_force) && told.contains("remember") && told.lines().count() == 1, "{told}");
    let text = stdout(&run(&["inspect", "--data-dir", text(&data)]));
    assert!(text.lines().any(|line| line == format!("kept        {in_force}")), "{text}");
    let report = json(&["inspect", "--json", "--data-dir", data.to_str().unwrap()], 0);
    let kept = &report["retention"];
    let expected = serde_json::json!([
        {"series": "{host=\"a\"}", "seconds": 604_800.0},
        {"series": "{}", "seconds": 2_592_000.0},
    ]);
    assert_eq!((&kept["rules"], &kept["max_bytes"]), (&expected, &(50u64 << 30).into()), "{report}");
    let agent = Agent::bare(&data);
    let runs = agent.get("/api/v1/status/runtimeinfo").json();
    assert_eq!(runs["data"]["storageRetention"], in_force);
}
