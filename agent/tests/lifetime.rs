//! How the agent begins, stops, and comes back.
#![allow(missing_docs)]

mod support;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::json;
use support::{Agent, poll, run, run_or_kill, stderr, write};

fn push(agent: &Agent, second: i64) -> u16 {
    let series = write::series(&[("__name__", "n")], &[(second * 1000, second as f64)]);
    agent.post("/api/v1/write", &write::V1, &write::request(vec![series])).status
}

#[test]
fn sigterm_and_sigint_end_it_with_0_at_once_even_with_open_connections() {
    for signal in [Signal::TERM, Signal::INT] {
        let dir = tempfile::tempdir().unwrap();
        let mut agent = Agent::start(dir.path(), &[]);
        assert_eq!(push(&agent, 1), 204);
        let _idle = TcpStream::connect(&agent.address).unwrap();
        let mut half = TcpStream::connect(&agent.address).unwrap();
        half.write_all(b"POST /api/v1/write HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nabc").unwrap();
        let asked = Instant::now();
        agent.signal(signal);
        assert_eq!(agent.wait().code(), Some(0));
        assert!(asked.elapsed() < Duration::from_secs(10), "{:?}", asked.elapsed());

        let again = Agent::bare(dir.path());
        assert_eq!(again.query("n", "1")[0]["value"], json!([1, "1"]));
    }
}

#[test]
fn a_second_signal_ends_it_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let mut agent = Agent::bare(dir.path());
    assert_eq!(push(&agent, 1), 204);
    // A request under way holds it up for as long as it is patient.
    let mut half = TcpStream::connect(&agent.address).unwrap();
    let headers = write::V1.map(|(name, value)| format!("{name}: {value}\r\n")).concat();
    write!(half, "POST /api/v1/write HTTP/1.1\r\nHost: x\r\n{headers}Content-Length: 100\r\n\r\nabc").unwrap();
    // The agent has read it once it has answered a later one.
    assert_eq!(agent.get("/-/ready").status, 200);
    let ended = poll("it ends", || {
        agent.signal(Signal::TERM);
        agent.ended()
    });
    assert_eq!(ended.code(), Some(1));
    let again = Agent::bare(dir.path());
    assert_eq!(again.query("n", "1")[0]["value"], json!([1, "1"]));
}

#[test]
fn kill_9_under_load_loses_nothing_that_was_acknowledged() {
    for durability in ["interval:100ms", "sync"] {
        let dir = tempfile::tempdir().unwrap();
        let mut second = 0;
        for _life in 0..3 {
            let mut agent = Agent::start(dir.path(), &["--no-host-metrics", "--durability", durability]);
            let found = agent.query("count_over_time(n[10d])", "800000");
            let count = found[0]["value"][1].as_str().map_or(0, |text| text.parse().unwrap());
            assert_eq!(count, second, "{durability}: after {second} acknowledged pushes");
            for _ in 0..100 {
                second += 1;
                assert_eq!(push(&agent, second), 204);
            }
            agent.signal(Signal::KILL);
            assert!(!agent.wait().success());
        }
    }
}

/// SIGXFSZ ended it without a word.
#[cfg(target_os = "linux")]
#[test]
fn a_limit_on_the_size_of_files_is_told_and_does_not_kill() {
    let dir = tempfile::tempdir().unwrap();
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -f 64; exec \"$0\" serve --listen 127.0.0.1:0 --data-dir \"$1\""]);
    command.arg(env!("CARGO_BIN_EXE_tidegauge")).arg(dir.path().join("data")).stdin(Stdio::null());
    let refused = run_or_kill(command);
    let said = stderr(&refused);
    assert_eq!(refused.status.code(), Some(1), "{:?}: {said}", refused.status);
    assert!(
        said.to_lowercase().contains("file too large")
            && said.contains("raise the limit")
            && said.contains("ulimit -f"),
        "{said}"
    );
}

#[test]
fn a_second_agent_on_the_same_directory_is_told_who_is_there() {
    let dir = tempfile::tempdir().unwrap();
    let agent = Agent::bare(dir.path());
    let path = dir.path().to_str().unwrap();
    let refused = run(&["serve", "--listen", "127.0.0.1:0", "--data-dir", path]);
    assert_eq!(refused.status.code(), Some(1));
    let said = stderr(&refused);
    assert!(said.contains("in use") && said.lines().count() == 1, "{said}");
    assert_eq!(agent.get("/-/ready").status, 200);
}

#[test]
fn directories_and_addresses_that_cannot_be_used_are_named_in_one_line() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    std::fs::write(&file, "not a folder").unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let data = dir.path().join("data");
    for (args, code, word) in [
        (["serve", "--listen", "127.0.0.1:0", "--data-dir", file.to_str().unwrap()], 1, "not a directory"),
        (["serve", "--listen", &address, "--data-dir", data.to_str().unwrap()], 1, "--listen"),
        (["serve", "--listen", "0.0.0.0:0", "--data-dir", data.to_str().unwrap()], 2, "--insecure"),
        (["serve", "--listen", "nowhere", "--data-dir", data.to_str().unwrap()], 2, "nowhere"),
    ] {
        let refused = run(&args);
        let said = stderr(&refused);
        assert_eq!(refused.status.code(), Some(code), "{args:?}: {said}");
        assert!(said.contains(word) && said.lines().count() == 1, "{args:?}: {said}");
    }
    assert_eq!(std::fs::read(&file).unwrap(), b"not a folder");
    assert!(!data.exists(), "a refused start leaves nothing behind");
}

/// With 13 to 16 it began, and then answered 503 or nothing at all. Files of the log that were let go of stayed open
/// until the next sync.
#[test]
fn too_few_open_files_are_refused_at_the_start_and_as_few_as_it_asks_for_are_enough() {
    // What this test was started with counts, too, as far as it lies below the limit.
    let taken = Command::new("sh").args(["-c", "ls /proc/$$/fd"]).stdin(Stdio::null()).output().unwrap().stdout;
    let taken: Vec<usize> = String::from_utf8(taken).unwrap().lines().map(|number| number.parse().unwrap()).collect();
    let with = |limit| 32 + taken.iter().filter(|number| (3..limit).contains(*number)).count();
    let least = (32..).find(|&limit| with(limit) == limit).expect("only so many are open");
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let refused = run_or_kill(with_files(least - 1, &data));
    let said = stderr(&refused);
    assert_eq!(refused.status.code(), Some(1), "{said}");
    assert!(
        said.contains(&format!("{} open files", least - 1)) && said.contains("ulimit -n") && said.lines().count() == 1,
        "{said}"
    );
    assert!(!data.exists(), "a refused start leaves nothing behind");

    let agent = Agent::spawn(with_files(least, &data));
    for second in 1..=20 {
        assert_eq!(push(&agent, second), 204);
        let compacted = agent.post("/api/v1/admin/tidegauge/compact", &[], b"");
        assert_eq!(compacted.status, 200, "{}", compacted.text());
    }
    assert_eq!(agent.query("count_over_time(n[1h])", "20")[0]["value"], json!([20, "20"]));
}

/// An agent of which so many files may be open.
fn with_files(most: usize, data: &Path) -> Command {
    let mut command = Command::new("sh");
    let serve = r#"ulimit -n "$1"; exec "$2" serve --listen 127.0.0.1:0 --no-host-metrics --enable-admin-api --durability interval:60s --data-dir "$3""#;
    command.args(["-c", serve, "sh", &most.to_string(), env!("CARGO_BIN_EXE_tidegauge")]).arg(data);
    command
}

/// Serves one fixed answer to every request, or none at all.
fn exporter(answer: Option<&'static [u8]>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let mut kept = Vec::new();
        for stream in listener.incoming().flatten() {
            let mut stream = stream;
            match answer {
                Some(answer) => {
                    let _ = stream.read(&mut [0; 1024]);
                    let _ = stream.write_all(answer);
                }
                None => kept.push(stream),
            }
        }
    });
    format!("http://{address}/metrics")
}

#[test]
fn a_target_that_fails_hangs_or_babbles_is_down_and_all_else_goes_on() {
    let good = exporter(Some(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n# TYPE a counter\na 7\n"));
    let targets = [
        exporter(Some(b"HTTP/1.1 500 Internal Server Error\r\nConnection: close\r\n\r\nno")),
        exporter(Some(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n\x00\xff\xfe{{{\n")),
        exporter(None),
        "http://127.0.0.1:1/metrics".to_owned(),
    ];
    let dir = tempfile::tempdir().unwrap();
    let all = [&[good.clone()][..], &targets[..]].concat().join(",");
    let mut agent = Agent::start(dir.path(), &["--scrape", &all, "--scrape-interval", "200ms"]);
    poll("one target is up and four are down", || {
        let up = agent.query("sum(last_over_time(up{job=\"scrape\"}[1h]))", "");
        let all = agent.query("count(last_over_time(up{job=\"scrape\"}[1h]))", "");
        (up[0]["value"][1] == "1" && all[0]["value"][1] == "5").then_some(())
    });
    poll("the good target's sample and this machine's are there", || {
        let a = agent.query("last_over_time(a[1h])", "");
        let load = agent.query("last_over_time(node_load1[1h])", "");
        let own = agent.query("last_over_time(tidegauge_series[1h])", "");
        (a[0]["value"][1] == "7" && load[0].is_object() && own[0].is_object()).then_some(())
    });
    let told = agent.get("/api/v1/targets").json();
    let told: Vec<(&str, &str)> = told["data"]["activeTargets"]
        .as_array()
        .unwrap()
        .iter()
        .map(|t| (t["health"].as_str().unwrap(), t["lastError"].as_str().unwrap()))
        .collect();
    assert_eq!(told[0], ("up", ""));
    for (down, word) in told[1..].iter().zip(["status 500", "line 1", "no complete answer", "does it run"]) {
        assert!(down.0 == "down" && down.1.contains(word), "{word}: {told:?}");
    }
    assert_eq!(agent.get("/-/ready").status, 200);
    agent.signal(Signal::TERM);
    assert_eq!(agent.wait().code(), Some(0));
}
