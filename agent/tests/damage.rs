//! Damage, seen from outside: verify names it, repair saves the rest and deletes nothing.
#![allow(missing_docs)]

mod support;

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::Value;
use support::{run, stderr, stdout, tidegauge};
use tidegauge::{Durability, Engine, Level, Timestamp};

/// Forty series of 300 samples each, in one closed store.
fn store(dir: &Path) -> PathBuf {
    let mut csv = String::from("time,place,value\n");
    for place in 0..40 {
        for t in 0..300 {
            csv.push_str(&format!("{},p{place},{}\n", 1_000_000_000 + t * 15, f64::from(t * place).sqrt()));
        }
    }
    let file = dir.join("rooms.csv");
    fs::write(&file, csv).unwrap();
    let data = dir.join("data");
    let done = run(&["import", file.to_str().unwrap(), "--data-dir", data.to_str().unwrap()]);
    assert_eq!(done.status.code(), Some(0), "{}", stderr(&done));
    data
}

fn segment(data: &Path) -> PathBuf {
    let mut files: Vec<_> = fs::read_dir(data.join("segments")).unwrap().map(|e| e.unwrap().path()).collect();
    files.sort();
    files.pop().unwrap()
}

fn tool(verb: &str, data: &Path, code: i32) -> (Value, String) {
    let done = run(&[verb, "--json", "--data-dir", data.to_str().unwrap()]);
    let said = stderr(&done);
    assert_eq!(done.status.code(), Some(code), "{verb}: {said}");
    assert!(!said.contains("panicked") && said.lines().count() <= 1, "{said}");
    (serde_json::from_str(&stdout(&done)).unwrap_or(Value::Null), said)
}

fn count(data: &Path) -> f64 {
    let args = ["query", "sum(count_over_time(rooms[10d]))", "--at", "1000010000", "--format", "json", "--data-dir"];
    let done = run(&[&args[..], &[data.to_str().unwrap()]].concat());
    assert_eq!(done.status.code(), Some(0), "{}", stderr(&done));
    let answer: Value = serde_json::from_str(&stdout(&done)).unwrap();
    answer["result"][0]["value"][1].as_str().map_or(0.0, |n| n.parse().unwrap())
}

fn flip(file: &Path, at: usize) {
    let mut bytes = fs::read(file).unwrap();
    bytes[at] ^= 4;
    fs::write(file, bytes).unwrap();
}

#[test]
fn a_sound_store_passes_and_needs_no_repair() {
    let dir = tempfile::tempdir().unwrap();
    let data = store(dir.path());
    let (report, _) = tool("verify", &data, 0);
    assert_eq!((&report["sound"], &report["samples"]), (&true.into(), &12_000.into()));
    assert_eq!(tool("repair", &data, 0).0["whole"], true);
    assert!(!data.join("quarantine").exists());
    let text = stdout(&run(&["verify", "--data-dir", data.to_str().unwrap()]));
    assert!(text.contains("12,000 samples"), "{text}");
}

#[test]
fn a_flipped_column_costs_its_chunks_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let data = store(dir.path());
    let file = segment(&data);
    // Behind the first timestamps, which all series share: some value columns. Of one bit nothing would be lost.
    let spot = fs::metadata(&file).unwrap().len() as usize / 2;
    flip(&file, spot);
    flip(&file, spot + 1);
    let (report, said) = tool("verify", &data, 1);
    assert!(said.contains("1 place"), "{said}");
    assert_eq!(report["damage"][0]["file"], file.to_str().unwrap());
    let damaged = fs::read(&file).unwrap();
    let (repair, _) = tool("repair", &data, 1);
    let lost: u64 = repair["lost"].as_array().unwrap().iter().map(|l| l["samples"].as_u64().unwrap()).sum();
    assert_eq!(lost % 300, 0, "whole chunks: {repair}");
    assert!((300..=1200).contains(&lost), "{repair}");
    assert_eq!(count(&data), 12_000.0 - lost as f64);
    assert!(repair["lost"][0]["series"].as_str().unwrap().contains("rooms"), "{repair}");
    let kept = data.join("quarantine").join(file.file_name().unwrap());
    assert_eq!(fs::read(kept).unwrap(), damaged, "nothing is deleted");
    assert_eq!(tool("verify", &data, 0).0["sound"], true);
    assert!(fs::read_to_string(data.join("audit.log")).unwrap().contains("\"act\":\"salvage\""));
}

/// Of each segment the first damage was named, "0 sound" beside it, and `inspect` told nothing at all.
#[test]
fn each_of_three_damaged_columns_is_named_and_the_rest_counted_as_sound() {
    let dir = tempfile::tempdir().unwrap();
    let data = store(dir.path());
    let file = segment(&data);
    let mut bytes = fs::read(&file).unwrap();
    let columns = [5, 20, 33].map(|chunk| value_column(&bytes, chunk));
    columns.iter().for_each(|&at| bytes[at] ^= 3);
    fs::write(&file, bytes).unwrap();
    for verb in ["verify", "inspect"] {
        let (report, said) = tool(verb, &data, 1);
        let named: Vec<_> =
            report["damage"].as_array().unwrap().iter().map(|d| d["offset"].as_u64().unwrap()).collect();
        assert_eq!((named, said.contains("3 places")), (columns.map(|at| at as u64).to_vec(), true), "{verb}: {said}");
        assert_eq!(
            (&report["samples"], &report["further_damage"]),
            (&(37 * 300).into(), &0.into()),
            "{verb}: {report}"
        );
        let text = stdout(&run(&[verb, "--data-dir", data.to_str().unwrap()]));
        let lines = text.lines().filter(|line| line.starts_with("damaged") && line.contains(file.to_str().unwrap()));
        assert_eq!(lines.count(), 3, "{verb}: {text}");
    }
    let report = tool("verify", &data, 1).0;
    assert_eq!(
        (&report["segments"], &report["damaged_segments"], &report["chunks"]),
        (&0.into(), &1.into(), &37.into())
    );
    assert_eq!(tool("inspect", &data, 1).0["series"], 40, "their labels are whole");
    assert_eq!(tool("repair", &data, 1).0["lost"].as_array().unwrap().len(), 3, "and that is what a repair loses");
}

/// A pipe that nobody reads.
fn closed_pipe() -> Stdio {
    let (unread, gone) = std::io::pipe().unwrap();
    drop(unread);
    gone.into()
}

/// `verify | true` of a damaged store ended with 0: the verdict came behind the text that nobody read.
#[test]
fn who_does_not_read_the_text_gets_the_verdict_all_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let data = store(dir.path());
    let data_dir = ["--data-dir", data.to_str().unwrap()];
    let bad = dir.path().join("bad.csv");
    fs::write(&bad, "time,place,value\n1000000000,p0,1\nnever,p0,2\n").unwrap();
    let ends = |args: &[&str]| {
        let done = tidegauge(&[args, &data_dir].concat()).stdout(closed_pipe()).output().unwrap();
        (done.status.code(), stderr(&done))
    };
    for verb in ["verify", "inspect", "repair"] {
        assert_eq!(ends(&[verb]), (Some(0), String::new()), "{verb} of a sound store");
    }
    let (code, said) = ends(&["import", bad.to_str().unwrap()]);
    assert!(code == Some(1) && said.contains("1 bad line"), "{code:?} {said}");
    let file = segment(&data);
    let mut bytes = fs::read(&file).unwrap();
    let column = value_column(&bytes, 0);
    bytes[column] ^= 3;
    fs::write(&file, bytes).unwrap();
    let copy = dir.path().join("copy");
    let verdicts = [
        (&["verify"][..], "1 place is damaged"),
        (&["inspect", "--json"], "left out: 1 place"),
        (&["backup", "--verify", copy.to_str().unwrap()], "so is the copy"),
    ];
    for (args, word) in verdicts {
        let (code, said) = ends(args);
        assert!(code == Some(1) && said.contains(word), "{args:?}: {code:?} {said}");
    }
    let restored = dir.path().join("restored");
    let args = ["restore", copy.to_str().unwrap(), "--data-dir", restored.to_str().unwrap()];
    let done = tidegauge(&args).stdout(closed_pipe()).output().unwrap();
    let said = stderr(&done);
    assert!(done.status.code() == Some(1) && said.contains("so is what was restored"), "{said}");
}

/// A report that nobody could read counted as told: the next repair said that nothing was damaged. So did one behind which an
/// agent had run.
#[cfg(target_os = "linux")]
#[test]
fn a_report_that_cannot_be_written_is_told_by_the_next_repair() {
    let dir = tempfile::tempdir().unwrap();
    let data = store(dir.path());
    fs::write(segment(&data), [7; 64]).unwrap();
    let args = ["repair", "--data-dir", data.to_str().unwrap()];
    let name = segment(&data);
    let full = fs::File::options().write(true).open("/dev/full").unwrap();
    for stdout in [Stdio::from(full), closed_pipe()] {
        let done = tidegauge(&args).stdout(stdout).output().unwrap();
        let said = stderr(&done);
        assert!(done.status.code() == Some(1) && said.contains("cannot write the report"), "{said}");
        // What only the report had was told by nobody, where the full disk had no room for a line either.
        assert!(said.contains(name.to_str().unwrap()) && said.contains("12000"), "{said}");
    }
    let opened = run(&["compact", "--data-dir", data.to_str().unwrap()]);
    assert_eq!(opened.status.code(), Some(0), "{}", stderr(&opened));
    let (sound, _) = tool("verify", &data, 0);
    assert!(sound["notes"].to_string().contains("what a repair gave up"), "{sound}");
    let (repair, said) = tool("repair", &data, 1);
    assert_eq!(repair["whole"], false, "{repair}");
    let untold = repair["untold"][0].as_str().unwrap();
    assert!(untold.contains("\"samples_lost\":12000") && said.contains("an earlier repair"), "{said} {repair}");
    let notes = tool("verify", &data, 0).0["notes"].to_string();
    assert!(!notes.contains("what a repair gave up"), "it was told: {notes}");
    let (repair, _) = tool("repair", &data, 0);
    assert_eq!((&repair["whole"], &repair["untold"]), (&true.into(), &serde_json::json!([])));
}

/// One place of the index, which cost `inspect` its whole answer.
#[test]
fn a_damaged_index_is_one_place_for_verify_and_inspect() {
    let dir = tempfile::tempdir().unwrap();
    let data = store(dir.path());
    let file = segment(&data);
    let mut bytes = fs::read(&file).unwrap();
    let index = u64_at(&bytes, bytes.len() - FOOTER) as usize;
    bytes[index + 20] ^= 3;
    fs::write(&file, bytes).unwrap();
    for verb in ["verify", "inspect"] {
        let (report, said) = tool(verb, &data, 1);
        assert!(said.contains("1 place"), "{verb}: {said}");
        assert_eq!(report["damage"][0]["offset"], index, "{verb}: {report}");
    }
    let text = stdout(&run(&["inspect", "--data-dir", data.to_str().unwrap()]));
    assert!(text.contains("labels are damaged") && text.contains("checksum of the index"), "{text}");

    // An agent serves what is sound, and does not call itself ready.
    let mut command = tidegauge(&["serve", "--listen", "127.0.0.1:0", "--no-host-metrics", "--data-dir"]);
    command.arg(&data).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut agent = command.spawn().unwrap();
    let (mut ready, mut warning) = (String::new(), String::new());
    BufReader::new(agent.stdout.take().unwrap()).read_line(&mut ready).unwrap();
    BufReader::new(agent.stderr.take().unwrap()).read_line(&mut warning).unwrap();
    agent.kill().unwrap();
    agent.wait().unwrap();
    assert!(ready.contains("is not ready: http://"), "{ready}");
    assert!(warning.contains("checksum of the index") && warning.contains("tidegauge verify"), "{warning}");
}

/// Bytes of a segment's footer, which begins with where its sections lie (docs/format/segment.md).
const FOOTER: usize = 280;

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap())
}

fn value_column(bytes: &[u8], chunk: usize) -> usize {
    let records = u64_at(bytes, bytes.len() - FOOTER + 24) as usize;
    u64_at(bytes, records + chunk * 20) as u32 as usize
}

/// A header, a column, the index and the footer. A bit in one of them cost its chunks, or the whole segment.
#[test]
fn one_flipped_bit_is_put_right_and_told() {
    let dir = tempfile::tempdir().unwrap();
    let data = store(dir.path());
    let len = fs::metadata(segment(&data)).unwrap().len() as usize;
    for spot in [9, len / 2, len - 600, len - 100] {
        let file = segment(&data);
        flip(&file, spot);
        tool("verify", &data, 1);
        let (repair, _) = tool("repair", &data, 0);
        let told = &repair["put_right"][0];
        assert_eq!(
            (&repair["whole"], &repair["lost"]),
            (&true.into(), &serde_json::json!([])),
            "byte {spot}: {repair}"
        );
        assert_eq!((&told["file"], &told["offset"], &told["bit"]), (&file.to_str().into(), &spot.into(), &2.into()));
        assert_eq!(count(&data), 12_000.0, "byte {spot}");
        assert_eq!(tool("verify", &data, 0).0["sound"], true, "byte {spot}");
        assert!(data.join("quarantine").join(file.file_name().unwrap()).exists());
    }
    flip(&segment(&data), 9);
    let done = run(&["repair", "--no-progress", "--data-dir", data.to_str().unwrap()]);
    let said = stdout(&done);
    assert_eq!(done.status.code(), Some(0), "{said}");
    assert!(
        said.contains("put right ") && said.contains("byte 9: one bit was put right (bit 2, in the header)"),
        "{said}"
    );
}

#[test]
fn a_truncated_a_missing_and_an_unreadable_segment_are_named() {
    for how in ["truncated", "missing", "empty"] {
        let dir = tempfile::tempdir().unwrap();
        let data = store(dir.path());
        let file = segment(&data);
        match how {
            "truncated" => fs::write(&file, &fs::read(&file).unwrap()[..3000]).unwrap(),
            "empty" => fs::write(&file, b"").unwrap(),
            _ => fs::remove_file(&file).unwrap(),
        }
        let (report, _) = tool("verify", &data, 1);
        assert_eq!(report["damage"][0]["file"], file.to_str().unwrap(), "{how}");
        let done = run(&[
            "import",
            "--at",
            "1",
            dir.path().join("rooms.csv").to_str().unwrap(),
            "--data-dir",
            data.to_str().unwrap(),
        ]);
        assert_eq!(done.status.code(), Some(1), "strict refuses: {how}");
        assert!(stderr(&done).contains(file.to_str().unwrap()), "{}", stderr(&done));
        let (repair, _) = tool("repair", &data, 1);
        assert_eq!(repair["lost"][0]["samples"], 12_000, "{how}");
        assert_eq!(tool("verify", &data, 0).0["segments"], 0, "{how}");
    }
}

#[test]
fn a_broken_manifest_and_a_folder_without_store_are_told_apart() {
    let dir = tempfile::tempdir().unwrap();
    let data = store(dir.path());
    flip(&data.join("MANIFEST"), 70);
    let (report, _) = tool("verify", &data, 1);
    assert_eq!(report["damage"][0]["file"], data.join("MANIFEST").to_str().unwrap());
    assert_eq!(report["samples"], 12_000, "what is there is read all the same");
    let refused = run(&["compact", "--data-dir", data.to_str().unwrap()]);
    assert!(stderr(&refused).contains("tidegauge repair"), "{}", stderr(&refused));
    let (repair, said) = tool("repair", &data, 1);
    assert_eq!((&repair["manifest_made_anew"], &repair["lost"]), (&true.into(), &serde_json::json!([])), "{said}");
    assert!(said.contains("made anew") && repair["notes"].to_string().contains("retention"), "{said} {repair}");
    assert_eq!(count(&data), 12_000.0);
    assert_eq!(tool("verify", &data, 0).0["sound"], true);
    assert_eq!(tool("repair", &data, 0).0["whole"], true, "once is enough");
    let none = dir.path().join("none");
    fs::create_dir(&none).unwrap();
    for verb in ["verify", "repair"] {
        let (report, said) = tool(verb, &none, 1);
        assert!(report.is_null() && said.contains("no store"), "{verb}: {said}");
    }
    assert_eq!(fs::read_dir(&none).unwrap().count(), 0, "looking creates nothing");
}

/// What a killed process leaves: 20 acknowledged samples in the log, a frame each.
fn killed(dir: &Path) -> PathBuf {
    killed_when(dir, |_| true)
}

/// Whether the manifest was told of the last frame (docs/format/manifest.md, kind 14).
fn is_at_rest(alive: &Path) -> bool {
    let (file, frames) = log(alive);
    let bytes = fs::read(file).unwrap();
    let last = frames.iter().rfind(|&&at| bytes[at + 90] == 1).unwrap();
    let edit = [&[14, 0, 0, 0, 8, 0, 0, 0], &bytes[last + 40..last + 48]].concat();
    fs::read(alive.join("MANIFEST")).unwrap().windows(edit.len()).any(|window| window == edit)
}

/// The same, killed once `ready` says so of the folder.
fn killed_when(dir: &Path, ready: impl Fn(&Path) -> bool) -> PathBuf {
    let (alive, data) = (dir.join("alive"), dir.join("killed"));
    let engine = Engine::builder(&alive).durability(Durability::Sync).open().unwrap();
    let series = engine.series(&[("__name__", "rooms"), ("place", "p0")]).unwrap();
    for t in 0..20 {
        let at = Timestamp::from_nanos((1_000_000_000 + t) * 1_000_000_000);
        let ack = engine.push(series, at, t as f64).unwrap();
        engine.wait(ack, Level::Durable, Duration::from_secs(30)).unwrap();
    }
    let deadline = Instant::now() + Duration::from_secs(30);
    while !ready(&alive) {
        assert!(Instant::now() < deadline, "it is never ready");
        std::thread::yield_now();
    }
    for folder in ["", "segments", "wal"] {
        fs::create_dir_all(data.join(folder)).unwrap();
        for entry in fs::read_dir(alive.join(folder)).unwrap().map(Result::unwrap) {
            if entry.file_type().unwrap().is_file() && entry.file_name() != "LOCK" {
                fs::copy(entry.path(), data.join(folder).join(entry.file_name())).unwrap();
            }
        }
    }
    engine.close().unwrap();
    data
}

/// The log's file, and the places of its frames.
fn log(data: &Path) -> (PathBuf, Vec<usize>) {
    let names = fs::read_dir(data.join("wal")).unwrap().map(|entry| entry.unwrap().path());
    let file = names.into_iter().find(|path| path.extension().is_some_and(|e| e == "wal")).unwrap();
    let bytes = fs::read(&file).unwrap();
    let frames = (4096..bytes.len()).step_by(8).filter(|&at| bytes[at..].starts_with(b"TGFR")).collect();
    (file, frames)
}

#[test]
fn whoever_only_reads_is_told_of_a_damaged_log_and_gets_no_part_of_it() {
    let dir = tempfile::tempdir().unwrap();
    let data = killed(dir.path());
    assert_eq!(count(&data), 20.0);
    let (file, frames) = log(&data);
    assert!(frames.len() >= 20, "{frames:?}");
    flip(&file, frames[5] + 100);
    let before = fs::read(&file).unwrap();
    let data_dir = ["--data-dir", data.to_str().unwrap()];
    let query = ["query", "sum(count_over_time(rooms[10d]))", "--at", "1000010000"];
    let export = ["export", "--format", "csv", "--match", "rooms"];
    for verb in [&query[..], &export[..], &["inspect"]] {
        let done = run(&[verb, &data_dir].concat());
        let said = stderr(&done);
        assert_eq!((done.status.code(), stdout(&done).as_str()), (Some(1), ""), "{verb:?}: {said}");
        assert!(said.lines().count() == 1 && said.contains(file.to_str().unwrap()), "{verb:?}: {said}");
        assert!(said.contains("tidegauge verify") && said.contains("tidegauge repair"), "{verb:?}: {said}");
    }
    assert_eq!(tool("verify", &data, 1).0["damage"].as_array().unwrap().len(), 1);
    assert_eq!(fs::read(&file).unwrap(), before, "reading changes nothing");
    tool("repair", &data, 1);
    assert_eq!(count(&data), 19.0);
}

/// What wiped the last frames of an idle log, and what the log says of them behind.
#[test]
fn the_end_of_an_idle_log_is_missed_and_what_is_known_of_it_told() {
    let dir = tempfile::tempdir().unwrap();
    let data = killed_when(dir.path(), is_at_rest);
    let (file, frames) = log(&data);
    let mut bytes = fs::read(&file).unwrap();
    bytes[frames[5]..].fill(0);
    fs::write(&file, &bytes).unwrap();
    let before = files(&data);
    let args = ["compact", "--data-dir", data.to_str().unwrap()];
    let refused = run(&args);
    assert_eq!(refused.status.code(), Some(1), "{}", stdout(&refused));
    assert!(stderr(&refused).contains(file.to_str().unwrap()), "{}", stderr(&refused));
    assert!(files(&data) == before, "who is refused changes nothing but the lock file");
    assert_eq!(tool("verify", &data, 1).0["damage"].as_array().unwrap().len(), 1);
    let (repair, said) = tool("repair", &data, 1);
    let lost = &repair["lost"][0];
    assert_eq!((&lost["samples"], &lost["samples_at_least"]), (&Value::Null, &15.into()), "{said} {repair}");
    let numbers = ["first_seq", "end_seq"].map(|name| lost[name].as_u64().unwrap());
    assert_eq!(numbers[1] - numbers[0], 15, "{repair}");
    assert!(fs::read_to_string(data.join("audit.log")).unwrap().contains("\"samples_lost\":15"));
    assert_eq!(count(&data), 5.0);
}

/// Every file of a store, but its lock.
fn files(data: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let folders = ["", "segments", "wal", "quarantine"].map(|name| data.join(name));
    let entries = folders.iter().filter_map(|folder| fs::read_dir(folder).ok()).flatten();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths.retain(|path| path.is_file() && !path.ends_with("LOCK"));
    paths.into_iter().map(|path| (path.clone(), fs::read(path).unwrap())).collect()
}

/// Put back by hand, as a file.
#[test]
fn a_file_in_the_place_of_a_folder_is_refused_and_set_aside() {
    for (name, left) in [("wal", 0.0), ("segments", 20.0)] {
        let dir = tempfile::tempdir().unwrap();
        let data = killed(dir.path());
        fs::remove_dir_all(data.join(name)).unwrap();
        fs::write(data.join(name), "a file").unwrap();
        let refused = stderr(&run(&["compact", "--data-dir", data.to_str().unwrap()]));
        assert!(refused.contains(&format!("killed/{name} is a file")) && refused.contains("repair"), "{refused}");
        let (repair, said) = tool("repair", &data, i32::from(name == "wal"));
        assert!(repair["notes"].to_string().contains(name), "{said} {repair}");
        assert_eq!(fs::read_to_string(data.join("quarantine").join(name)).unwrap(), "a file");
        assert_eq!(count(&data), left, "{said} {repair}");
        assert_eq!(tool("repair", &data, 0).0["whole"], true, "once is enough");
    }
}
