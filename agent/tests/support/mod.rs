//! Starts the real binary and talks to it.
#![allow(dead_code, missing_docs, unreachable_pub)]

pub mod http;
pub mod write;

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

pub use http::Response;

/// Nothing here takes longer on a machine that works.
pub const DEADLINE: Duration = Duration::from_secs(30);

/// A running agent on a free port. Killed when dropped.
pub struct Agent {
    child: Child,
    pub address: String,
}

pub fn tidegauge(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidegauge"));
    command.args(args).stdin(Stdio::null());
    command
}

/// Runs a command to its end.
pub fn run(args: &[&str]) -> Output {
    tidegauge(args).output().expect("the binary runs")
}

/// Runs a command that should end by itself; if it does not, its end tells.
pub fn run_or_kill(mut command: Command) -> Output {
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
    let end = Instant::now() + DEADLINE;
    while child.try_wait().expect("ours").is_none() && Instant::now() < end {
        std::thread::sleep(Duration::from_millis(10));
    }
    let _ = child.kill();
    child.wait_with_output().expect("readable")
}

pub fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).expect("UTF-8")
}

pub fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).expect("UTF-8")
}

impl Agent {
    /// Starts on `dir` and waits for the line with the address.
    pub fn start(dir: &Path, args: &[&str]) -> Self {
        let mut command = tidegauge(&["serve", "--listen", "127.0.0.1:0", "--data-dir"]);
        command.arg(dir).args(args);
        Self::spawn(command)
    }

    /// Starts what serves on a free port, and waits for the line with the address.
    pub fn spawn(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().expect("the binary starts");
        let mut lines = BufReader::new(child.stdout.take().expect("piped"));
        let mut line = String::new();
        lines.read_line(&mut line).expect("readable");
        let address = line.split("http://").nth(1).and_then(|rest| rest.split_whitespace().next());
        let Some(address) = address else {
            let _ = child.kill();
            panic!("no address in {line:?}");
        };
        Self { address: address.to_owned(), child }
    }

    /// Without this machine's metrics: what is stored is what the test pushes.
    pub fn bare(dir: &Path) -> Self {
        Self::start(dir, &["--no-host-metrics"])
    }

    pub fn get(&self, path: &str) -> Response {
        http::request(&self.address, "GET", path, &[], b"")
    }

    pub fn post(&self, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Response {
        http::request(&self.address, "POST", path, headers, body)
    }

    pub fn form(&self, path: &str, form: &[(&str, &str)]) -> Response {
        let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
        self.post(path, &[("Content-Type", "application/x-www-form-urlencoded")], body.as_bytes())
    }

    /// The data of an instant query at `time`.
    pub fn query(&self, expr: &str, time: &str) -> serde_json::Value {
        let answer = self.form("/api/v1/query", &[("query", expr), ("time", time)]);
        assert_eq!(answer.status, 200, "{expr}: {}", answer.text());
        answer.json()["data"]["result"].clone()
    }

    pub fn pid(&self) -> rustix::process::Pid {
        rustix::process::Pid::from_child(&self.child)
    }

    pub fn signal(&self, signal: rustix::process::Signal) {
        rustix::process::kill_process(self.pid(), signal).expect("it runs");
    }

    /// Ends it in order; answers all that it has said on stderr, which was piped.
    pub fn end_and_hear(mut self) -> String {
        self.signal(rustix::process::Signal::TERM);
        self.wait();
        drain(self.child.stderr.take().expect("piped"))
    }

    /// How the process ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("ours")
    }

    /// Waits for the end of the process.
    pub fn wait(&mut self) -> ExitStatus {
        poll("the agent ends", || self.ended())
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An agent that holds `m{k="a"}` = 1, 2, 3 and `m{k="b"}` = 10, 20, 30 at 0, 10, 20 s.
pub fn with_samples() -> (tempfile::TempDir, Agent) {
    let dir = tempfile::tempdir().unwrap();
    let agent = Agent::bare(dir.path());
    let a = write::series(&[("__name__", "m"), ("k", "a")], &[(0, 1.0), (10_000, 2.0), (20_000, 3.0)]);
    let b = write::series(&[("__name__", "m"), ("k", "b")], &[(0, 10.0), (10_000, 20.0), (20_000, 30.0)]);
    let metadata = write::Metadata { kind: 2, metric: "m".to_owned(), help: "Of m.".to_owned() };
    let body = write::body(&write::Request { series: vec![a, b], metadata: vec![metadata] });
    assert_eq!(agent.post("/api/v1/write", &write::V1, &body).status, 204);
    (dir, agent)
}

/// Asks again and again until there is an answer; a test never sleeps for a fixed time.
pub fn poll<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + DEADLINE;
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < end, "waited in vain until {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Reads what is there, up to the end of the stream.
pub fn drain(mut from: impl Read) -> String {
    let mut text = String::new();
    let _ = from.read_to_string(&mut text);
    text
}
