//! What is left of verbs that are ended from outside: nothing.

use std::path::{Path, PathBuf};

use super::folders;

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
