//! Directories that cannot be opened: each has its own error, and is as it was afterwards.
#![allow(missing_docs)]

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use support::{SOON, at, contents, series};
use tempfile::TempDir;
use tidegauge::{Engine, Level, OpenError, ReadError};
use tidegauge_storage::manifest::ManifestError;
use tidegauge_storage::wal::WalError;

/// Somebody who owns nothing.
const NOBODY: u32 = 65_534;
/// Set for a process that shall find out what happens to nobody.
const AS_NOBODY: &str = "TIDEGAUGE_TEST_AS_NOBODY";

/// A closed store with a segment, and with something in its log.
fn store() -> (TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let engine = Engine::open(&data).unwrap();
    let ack = engine.push(series(&engine, 0), at(1), 1.0).unwrap();
    engine.wait(ack, Level::Durable, SOON).unwrap();
    engine.flush().unwrap();
    let ack = engine.push(series(&engine, 1), at(2), 2.0).unwrap();
    engine.wait(ack, Level::Durable, SOON).unwrap();
    // As a crash leaves it: closing would bring everything into segments.
    let kept = dir.path().join("kept");
    support::copy_dir(&data, &kept);
    engine.close().unwrap();
    (dir, kept)
}

/// Every file below `dir` but the lock, which only tells who looked last, and the manifest, which counts how often
/// somebody opened it.
fn files(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut all = BTreeMap::new();
    for entry in fs::read_dir(dir).unwrap().map(Result::unwrap) {
        let path = entry.path();
        if path.is_dir() {
            all.extend(files(&path));
        } else if !["LOCK", "MANIFEST", "MANIFEST.closed"].contains(&&*entry.file_name().to_string_lossy()) {
            all.insert(path.clone(), fs::read(path).unwrap());
        }
    }
    all
}

/// The newest file below `dir/folder`.
fn newest_file(dir: &Path, folder: &str) -> PathBuf {
    fs::read_dir(dir.join(folder)).unwrap().map(|e| e.unwrap().path()).max().unwrap()
}

/// Writes version 99 at byte 8, and the checksum of `0..12` and `16..end` at byte 12.
fn make_newer(file: &Path, end: usize) {
    let mut bytes = fs::read(file).unwrap();
    bytes[8] = 99;
    let crc = crc32c::crc32c_append(crc32c::crc32c(&bytes[..12]), &bytes[16..end]);
    bytes[12..16].copy_from_slice(&crc.to_le_bytes());
    fs::write(file, bytes).unwrap();
}

#[test]
fn a_store_of_a_newer_release_is_refused_as_too_new_and_not_touched() {
    type Newer = (&'static str, fn(&Path), fn(&OpenError) -> bool);
    let cases: [Newer; 3] = [
        (
            "manifest",
            |dir| make_newer(&dir.join("MANIFEST"), 48),
            |e| matches!(e, OpenError::Manifest(ManifestError::TooNew { found: 99, .. })),
        ),
        (
            "log",
            |dir| make_newer(&newest_file(dir, "wal"), 64),
            |e| matches!(e, OpenError::Wal(WalError::TooNew { found: 99, .. })),
        ),
        (
            "segment",
            |dir| {
                let file = newest_file(dir, "segments");
                let mut bytes = fs::read(&file).unwrap();
                // In the header, and in the footer 16 bytes from the end.
                let footer = bytes.len() - 16;
                (bytes[8], bytes[footer]) = (99, 99);
                fs::write(file, bytes).unwrap();
            },
            |e| matches!(e, OpenError::Read(ReadError::TooNew { found: 99, .. })),
        ),
    ];
    for (what, change, is_too_new) in cases {
        let (dir, data) = store();
        let whole = dir.path().join("whole");
        support::copy_dir(&data, &whole);
        change(&data);
        let before = files(&data);
        for read_only in [false, true] {
            let error = Engine::builder(&data).read_only(read_only).open().unwrap_err();
            assert!(is_too_new(&error), "{what}: {error}");
            assert!(error.to_string().contains("upgrade"), "{what}: {error}");
        }
        assert!(before == files(&data), "{what}: something was changed");
        // As an upgrade would: now it can be read.
        for (path, bytes) in files(&whole) {
            fs::write(data.join(path.strip_prefix(&whole).unwrap()), bytes).unwrap();
        }
        if what == "manifest" {
            fs::copy(whole.join("MANIFEST"), data.join("MANIFEST")).unwrap();
        }
        assert_eq!(contents(&Engine::open(&data).unwrap().snapshot()).len(), 2, "{what}");
    }
}

#[test]
fn a_directory_that_is_a_file_or_lies_below_one_is_no_directory() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, b"mine").unwrap();
    for path in [file.clone(), file.join("below")] {
        for read_only in [false, true] {
            let error = Engine::builder(&path).read_only(read_only).open().unwrap_err();
            assert!(matches!(&error, OpenError::NotADirectory(named) if named == &path), "{error:?}");
            assert!(error.to_string().contains("give a directory"), "{error}");
        }
    }
    assert_eq!(fs::read(file).unwrap(), b"mine");
}

#[test]
fn a_directory_in_use_names_its_owner() {
    let dir = tempfile::tempdir().unwrap();
    let engine = Engine::builder(dir.path()).address("127.0.0.1:9595").open().unwrap();
    let error = Engine::open(dir.path()).unwrap_err();
    let OpenError::InUse { owner: Some(owner), .. } = &error else { panic!("{error:?}") };
    assert_eq!((owner.pid, owner.address.as_deref()), (std::process::id(), Some("127.0.0.1:9595")));
    let said = error.to_string();
    assert!(said.contains("127.0.0.1:9595"), "{said}");
    engine.close().unwrap();
}

/// It told a program to stop itself: "in use by process 17: stop it".
#[test]
fn a_second_opening_by_one_process_is_told_that_it_has_the_directory_open_already() {
    let dir = tempfile::tempdir().unwrap();
    let engine = Engine::open(dir.path()).unwrap();
    let error = Engine::open(dir.path()).unwrap_err();
    let said = error.to_string();
    assert!(said.contains("this process itself") && said.contains("open already"), "{said}");
    assert!(said.contains("close it first") && !said.contains("stop it"), "{said}");
    let OpenError::InUse { dir: used, owner: Some(mut owner) } = error else { panic!("{error:?}") };
    owner.pid += 1;
    let said = OpenError::InUse { dir: used, owner: Some(owner) }.to_string();
    assert!(said.contains("stop it; whoever only reads") && !said.contains("this process"), "{said}");
    engine.close().unwrap();
}

/// Permissions bind everybody but root: where the test runs as root, a process of somebody else looks.
#[test]
fn a_directory_that_may_not_be_written_to_is_not_permitted_and_can_be_read() {
    const TEST: &str = "a_directory_that_may_not_be_written_to_is_not_permitted_and_can_be_read";
    if let Some(data) = std::env::var_os(AS_NOBODY) {
        return look_as_nobody(Path::new(&data));
    }
    let (dir, data) = store();
    let before = files(&data);
    let mode = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    // The program that looks must be within reach too.
    let program = dir.path().join("program");
    fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    mode(&program, 0o755);
    mode(dir.path(), 0o555);
    mode(&data, 0o555);
    let mut looks = Command::new(&program);
    looks.args(["--exact", TEST, "--nocapture"]).env(AS_NOBODY, &data).current_dir("/");
    if fs::metadata("/proc/self").unwrap().uid() == 0 {
        looks.uid(NOBODY).gid(NOBODY);
    }
    let looked = looks.output().unwrap();
    mode(dir.path(), 0o755);
    mode(&data, 0o755);
    let said = String::from_utf8_lossy(&looked.stdout);
    assert!(looked.status.success(), "{said}{}", String::from_utf8_lossy(&looked.stderr));
    assert!(said.contains("1 passed"), "the test was not found by its name: {said}");
    assert!(before == files(&data), "something was changed");
}

fn look_as_nobody(data: &Path) {
    for missing in [data.to_owned(), data.with_file_name("missing")] {
        let error = Engine::open(&missing).unwrap_err();
        assert!(matches!(&error, OpenError::NotPermitted { dir, .. } if dir == &missing), "{error:?}");
        assert!(error.to_string().contains("check the permissions; reading alone (read-only)"), "{error}");
    }
    let reader = Engine::builder(data).read_only(true).open().unwrap();
    assert_eq!(contents(&reader.snapshot()).len(), 2);
}

/// Set for a process that shall change its folder, which is the process's own.
const GOES_AWAY: &str = "TIDEGAUGE_TEST_GOES_AWAY";

/// A program that becomes a daemon changes to `/`. `LOCK` was looked for there then, and the engine stopped writing: another
/// process might own the directory.
#[test]
fn a_store_of_a_relative_path_stays_where_it_is_when_the_program_changes_its_folder() {
    if let Some(dir) = std::env::var_os(GOES_AWAY) {
        std::env::set_current_dir(dir).unwrap();
        let reads = || Engine::builder("data").read_only(true).open().unwrap();
        let engine = Engine::open("data").unwrap();
        let push = |t: i64| {
            let ack = engine.push(series(&engine, 0), at(t), t as f64).unwrap();
            engine.wait(ack, Level::Durable, SOON).unwrap();
        };
        push(1);
        let reader = reads();
        std::env::set_current_dir("/").unwrap();
        for t in 2..5 {
            push(t);
            engine.flush().unwrap();
        }
        engine.compact().unwrap();
        reader.refresh().unwrap();
        assert_eq!(contents(&reader.snapshot()), contents(&engine.snapshot()));
        engine.is_healthy().unwrap();
        return engine.close().unwrap();
    }
    let dir = tempfile::tempdir().unwrap();
    let name = "a_store_of_a_relative_path_stays_where_it_is_when_the_program_changes_its_folder";
    let mut child = Command::new(std::env::current_exe().unwrap());
    let ran = child.args([name, "--exact", "--nocapture"]).env(GOES_AWAY, dir.path()).output().unwrap();
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    let engine = Engine::open(dir.path().join("data")).unwrap();
    assert_eq!(contents(&engine.snapshot()).into_values().flatten().count(), 4);
}
