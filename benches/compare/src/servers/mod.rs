//! Servers over loopback: started in a temporary folder on a free port, ended when they are done with.

mod influx;
mod prom;
mod write;

use std::cell::Cell;
use std::fmt;
use std::fs::File;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde::Serialize;
use tidegauge_bench::leftovers::Victim;
use tidegauge_bench::measure::Memory;
use tidegauge_bench::workload::Workload;

use crate::Options;
use crate::store::{Error, Store, bytes_below};

/// The servers that this program knows.
pub(crate) const NAMES: [&str; 4] = ["tidegauge-server", "prometheus", "victoria-metrics", "influxdb"];

/// What the others stand beside.
pub(crate) const OURS: &str = NAMES[0];

/// Why a server could not be measured that is not there, and what brings it.
pub(crate) fn how_to_get(name: &str) -> &'static str {
    match name {
        OURS => {
            "neither built nor installed: type cargo build --release -p tidegauge-agent in the root of the source tree, or \
             name it with --agent"
        }
        "prometheus" => "not installed on this machine: Debian's package is prometheus",
        "victoria-metrics" => "not installed on this machine: Debian's package is victoria-metrics",
        "influxdb" => "not installed on this machine: Debian's package is influxdb",
        _ => "not installed on this machine",
    }
}

/// A new store; `Ok(None)` if it is not installed.
pub(crate) fn open(
    name: &str,
    dir: &Path,
    options: &Options,
    workload: &Workload,
) -> Result<Option<Box<dyn Store>>, Error> {
    let boxed = |store: Option<prom::Prom>| store.map(|store| Box::new(store) as Box<dyn Store>);
    match name {
        "tidegauge-server" => prom::Prom::tidegauge(dir, workload, options).map(boxed),
        "prometheus" => prom::Prom::prometheus(dir, workload).map(boxed),
        "victoria-metrics" => prom::Prom::victoria(dir, workload).map(boxed),
        "influxdb" => influx::Influx::open(dir, workload).map(|store| store.map(|store| Box::new(store) as _)),
        other => Err(format!("no store is called {other}").into()),
    }
}

/// Which `tidegauge` is started.
#[derive(Debug, PartialEq, Serialize)]
pub(crate) struct Agent {
    /// A name without a folder is looked for in `PATH`.
    pub(crate) path: String,
    /// Seconds since it was built, where it is a file: one of long ago is none of this tree as it is.
    pub(crate) built_s_ago: Option<u64>,
}

impl Agent {
    /// The one that was named, else the one that was built in this tree, else the one that is installed.
    pub(crate) fn of(named: Option<&Path>) -> Self {
        let tree = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../target/release/tidegauge"));
        // Whole, for a name without a folder would be started from PATH, whatever file of this name is here.
        let file = named.or(Some(tree)).filter(|path| path.is_file()).and_then(|path| path.canonicalize().ok());
        let built = file.as_ref().and_then(|file| file.metadata().ok()?.modified().ok());
        let built_s_ago = built.and_then(|at| at.elapsed().ok()).map(|age| age.as_secs());
        let path = file.as_deref().or(named).unwrap_or(Path::new("tidegauge"));
        Self { path: path.to_string_lossy().into_owned(), built_s_ago }
    }
}

impl fmt::Display for Agent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let built = self.built_s_ago.map_or(String::new(), |s| format!(", built {} min ago", s / 60));
        write!(f, "{OURS} is {}{built}", self.path)
    }
}

/// A server of its own. Dropping it ends it, and so does a signal that ends this process.
struct Server {
    child: Victim,
    base: String,
    agent: ureq::Agent,
    /// Answers with next to nothing, once the server is ready.
    ready: &'static str,
    /// What requests took since it was last asked for.
    waited: Cell<Duration>,
}

impl Server {
    /// Starts `program` with what `arguments` makes of a free port, and waits until `ready` answers. What it prints goes
    /// to a file in `dir`. `None` if there is no such program.
    fn start(
        program: &str,
        ready: &'static str,
        dir: &Path,
        arguments: impl Fn(u16, &mut Command),
    ) -> Result<Option<Self>, Error> {
        let port = free_port()?;
        let mut command = Command::new(program);
        arguments(port, &mut command);
        let printed = dir.join("printed");
        let file = File::create(&printed)?;
        command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
        let child = match Victim::spawn(&mut command) {
            Ok(child) => child,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(format!("{program}: {e}").into()),
        };
        let config = ureq::Agent::config_builder().timeout_global(Some(Duration::from_secs(600)));
        let agent = config.http_status_as_error(false).build().into();
        let server = Self { child, base: format!("http://127.0.0.1:{port}"), agent, ready, waited: Cell::default() };
        let start = Instant::now();
        while server.get(ready).is_err() {
            if let Some(status) = server.child.try_wait()? {
                let printed = std::fs::read_to_string(&printed).unwrap_or_default();
                let last = printed.lines().rfind(|line| !line.trim().is_empty()).unwrap_or_default();
                return Err(format!("{program} ended by itself, {status}: {last}").into());
            }
            if start.elapsed() > Duration::from_secs(60) {
                return Err(format!("{program} is not ready after a minute").into());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(Some(server))
    }

    fn get(&self, path: &str) -> Result<String, Error> {
        self.timed(|| text(self.agent.get(format!("{}{path}", self.base)).call()?))
    }

    fn post_form(&self, path: &str, form: &[(&str, &str)]) -> Result<String, Error> {
        self.timed(|| text(self.agent.post(format!("{}{path}", self.base)).send_form(form.iter().copied())?))
    }

    fn timed(&self, ask: impl FnOnce() -> Result<String, Error>) -> Result<String, Error> {
        let asked = Instant::now();
        let answer = ask();
        self.waited.set(self.waited.get() + asked.elapsed());
        answer
    }

    fn post(&self, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Result<(), Error> {
        let mut request = self.agent.post(format!("{}{path}", self.base));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        text(request.send(body)?).map(drop)
    }

    /// The least request there is.
    fn nothing(&self) -> Result<bool, Error> {
        self.get(self.ready).map(|_| true)
    }

    fn rss(&self) -> u64 {
        Memory::of(self.child.id()).rss
    }

    fn cpu_s(&self) -> f64 {
        // Fields 14 and 15, in hundredths of a second; the name before them may hold spaces, but ends with ")".
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap_or_default();
        let after = stat.rsplit_once(") ").map_or("", |split| split.1);
        after.split(' ').skip(11).take(2).filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>() / 100.0
    }
}

/// What was answered; a refusal with its reason is an error.
fn text(mut answer: ureq::http::Response<ureq::Body>) -> Result<String, Error> {
    let text = answer.body_mut().with_config().limit(1 << 32).read_to_string()?;
    if !answer.status().is_success() {
        return Err(format!("{}: {}", answer.status(), text.chars().take(300).collect::<String>()).into());
    }
    Ok(text)
}

fn free_port() -> Result<u16, Error> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// Bytes of a folder once they do not change for a while: the server works on in the background.
fn steady_bytes(dir: &Path) -> Result<u64, Error> {
    let (mut bytes, mut since) = (bytes_below(dir)?, Instant::now());
    let start = Instant::now();
    while since.elapsed() < Duration::from_secs(3) && start.elapsed() < Duration::from_secs(60) {
        std::thread::sleep(Duration::from_millis(200));
        let now = bytes_below(dir)?;
        if now != bytes {
            (bytes, since) = (now, Instant::now());
        }
    }
    Ok(bytes)
}

/// Text for a URL's query.
fn encoded(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' => out.push(byte as char),
            byte => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_agent_that_is_named_is_told_with_its_age() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let an_hour_ago = std::time::SystemTime::now() - Duration::from_secs(3_630);
        file.as_file().set_modified(an_hour_ago).unwrap();
        let path = file.path().canonicalize().unwrap();
        let told = Agent::of(Some(&path)).to_string();
        assert_eq!(told, format!("{OURS} is {}, built 60 min ago", path.display()));
        let installed = Agent::of(Some(Path::new("no-such-agent")));
        assert_eq!(installed, Agent { path: "no-such-agent".into(), built_s_ago: None });
    }

    #[test]
    fn an_agent_that_is_a_file_here_is_started_from_here_and_not_from_path() {
        // Tests run where the package is.
        let told = Agent::of(Some(Path::new("Cargo.toml")));
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).canonicalize().unwrap().join("Cargo.toml");
        assert_eq!(told.path, file.to_string_lossy());
        assert!(told.built_s_ago.is_some(), "{told:?}");
    }

    #[test]
    fn a_server_that_is_not_there_is_named_with_what_brings_it() {
        assert!(how_to_get(OURS).contains("cargo build --release -p tidegauge-agent"));
        for name in NAMES.into_iter().filter(|&name| name != OURS) {
            assert!(how_to_get(name).ends_with(&format!("Debian's package is {name}")), "{name}");
        }
    }
}
