//! What is left of a comparison that is ended from outside: nothing.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(60);

/// A comparison with a server that is never ready, once that runs; and the server's number.
fn comparing(dir: &Path) -> (Child, String) {
    let (programs, data) = (dir.join("programs"), dir.join("data"));
    std::fs::create_dir_all(&programs).unwrap();
    std::fs::create_dir_all(&data).unwrap();
    let told = dir.join("told");
    let _ = std::fs::remove_file(&told);
    let server = programs.join("prometheus");
    let script = format!("#!/bin/sh\necho $$ > {0}.new && mv {0}.new {0}\nexec sleep 600\n", told.display());
    std::fs::write(&server, script).unwrap();
    std::fs::set_permissions(&server, std::fs::Permissions::from_mode(0o755)).unwrap();
    let path = format!("{}:{}", programs.display(), std::env::var("PATH").unwrap());
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidegauge-compare"));
    command.args(["--only", "prometheus", "--samples", "4000"]).arg("--dir").arg(&data).env("PATH", path);
    let child = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
    let read = || std::fs::read_to_string(&told).ok();
    assert!(until(|| read().is_some()), "the server was not started");
    (child, read().unwrap().trim().to_owned())
}

fn until(is_so: impl Fn() -> bool) -> bool {
    let start = Instant::now();
    while !is_so() {
        if start.elapsed() > PATIENCE {
            return false;
        }
        std::thread::yield_now();
    }
    true
}

/// What it was started with; nothing once it has ended, be it waited for or not.
fn runs(process: &str) -> bool {
    std::fs::read(format!("/proc/{process}/cmdline")).is_ok_and(|words| !words.is_empty())
}

/// Processes that measure one store in `dir`.
fn measuring(dir: &Path) -> Vec<PathBuf> {
    let name = dir.to_str().unwrap();
    let is_one = |process: &PathBuf| {
        let words = std::fs::read(process.join("cmdline")).unwrap_or_default();
        let words = String::from_utf8_lossy(&words).into_owned();
        words.contains("--one") && words.contains(name)
    };
    folders(Path::new("/proc")).into_iter().filter(is_one).collect()
}

fn folders(dir: &Path) -> Vec<PathBuf> {
    std::fs::read_dir(dir).unwrap().filter_map(|entry| Some(entry.ok()?.path())).collect()
}

fn signal(name: &str, process: &str) {
    assert!(Command::new("kill").args([name, process]).status().unwrap().success());
}

#[test]
fn an_interrupt_leaves_neither_a_folder_nor_a_process_nor_a_server_behind() {
    let dir = tempfile::tempdir().unwrap();
    for (name, code) in [("-INT", 130), ("-TERM", 143)] {
        let (mut child, server) = comparing(dir.path());
        // While it becomes what it executes, the kernel tells nothing of it.
        assert!(until(|| runs(&server)) && !measuring(dir.path()).is_empty());
        signal(name, &child.id().to_string());
        assert_eq!(child.wait().unwrap().code(), Some(code), "{name}");
        assert_eq!(measuring(dir.path()), Vec::<PathBuf>::new(), "{name}");
        assert_eq!(folders(&dir.path().join("data")), Vec::<PathBuf>::new(), "{name}");
        // The process that would wait for it is gone: the kernel may still be at it.
        assert!(until(|| !runs(&server)), "{name}: the server goes on");
    }
}

#[test]
fn a_comparison_that_is_killed_takes_its_server_and_its_folder_with_it() {
    let dir = tempfile::tempdir().unwrap();
    let (mut child, server) = comparing(dir.path());
    assert!(until(|| runs(&server)));
    signal("-KILL", &child.id().to_string());
    child.wait().unwrap();
    assert!(until(|| !runs(&server)), "the server goes on");
    assert!(until(|| measuring(dir.path()).is_empty()), "what measured goes on");
    assert!(until(|| folders(&dir.path().join("data")).is_empty()), "the data stay");
}

#[test]
fn a_measuring_process_that_is_killed_takes_its_server_with_it() {
    let dir = tempfile::tempdir().unwrap();
    let (mut child, server) = comparing(dir.path());
    for process in measuring(dir.path()) {
        signal("-KILL", process.file_name().unwrap().to_str().unwrap());
    }
    assert_eq!(child.wait().unwrap().code(), Some(1), "a store could not be measured");
    assert!(until(|| !runs(&server)), "the server goes on");
    assert_eq!(folders(&dir.path().join("data")), Vec::<PathBuf>::new());
}
