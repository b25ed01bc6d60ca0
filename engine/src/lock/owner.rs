//! Who owns a directory, as the lock file says.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::time::Duration;

use tidegauge_storage::model::Timestamp;

use crate::clock;
use crate::options::HEARTBEATS;

/// A lock file is a few lines; more than that is none of ours.
const BYTES_MAX: u64 = 4096;
/// An owner that missed this many heartbeats is not heard any more.
const MISSED_MAX: u32 = 3;

/// The process that owns a data directory, as its `LOCK` says. The file outlives the process.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Owner {
    /// The process.
    pub pid: u32,
    /// The machine it runs on.
    pub host: String,
    /// When it opened the directory.
    pub started: Timestamp,
    /// The release of the engine.
    pub version: String,
    /// When it was last heard.
    pub heartbeat: Timestamp,
    /// How often it lets itself be heard.
    pub heartbeat_every: Duration,
    /// Where the process can be talked to, if it said so (the agent's HTTP address).
    pub address: Option<String>,
    /// Whether it logs what it is given. If not, readers beside it see what it has flushed, and no more.
    pub keeps_log: bool,
}

impl Owner {
    pub(crate) fn this_process(address: Option<&str>, every: Duration) -> Self {
        let now = clock::now();
        Self {
            pid: std::process::id(),
            host: host(),
            started: now,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            heartbeat: now,
            heartbeat_every: every,
            // One line each: a line break would begin another entry.
            address: address.map(|text| text.replace(['\n', '\r'], " ")),
            keeps_log: true,
        }
    }

    /// Whether it runs on this machine.
    #[must_use]
    pub fn is_here(&self) -> bool {
        self.host == host()
    }

    /// Time since the last heartbeat; zero if that lies ahead of this machine's clock.
    #[must_use]
    pub fn silent_for(&self) -> Duration {
        let nanos = clock::now().nanos().saturating_sub(self.heartbeat.nanos());
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(0))
    }

    /// Whether more heartbeats are missing than a busy machine explains.
    #[must_use]
    pub fn is_silent(&self) -> bool {
        self.silent_for() > self.heartbeat_every * MISSED_MAX
    }

    /// Whether its last heartbeat lies about now: neither long ago, nor ahead of any clock that goes right.
    pub(crate) fn was_heard_lately(&self) -> bool {
        let lately = i128::try_from((self.heartbeat_every * MISSED_MAX).as_nanos()).unwrap_or(i128::MAX);
        (i128::from(clock::now().nanos()) - i128::from(self.heartbeat.nanos())).abs() <= lately
    }

    /// How far its clock is ahead of this machine's, by its last heartbeat; zero if it is not.
    fn ahead_by(&self) -> Duration {
        let nanos = self.heartbeat.nanos().saturating_sub(clock::now().nanos());
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(0))
    }

    /// Whether it lives, as far as can be seen without the lock: it was heard lately, and on this machine its process is
    /// there.
    #[must_use]
    pub fn seems_alive(&self) -> bool {
        self.was_heard_lately() && (!self.is_here() || Path::new("/proc").join(self.pid.to_string()).exists())
    }

    pub(super) fn to_text(&self) -> String {
        let mut text = format!(
            "pid={}\nhost={}\nstarted={}\nversion={}\nheartbeat={}\nheartbeat_every_ms={}\n",
            self.pid,
            self.host,
            self.started.nanos(),
            self.version,
            self.heartbeat.nanos(),
            self.heartbeat_every.as_millis(),
        );
        if let Some(address) = &self.address {
            text.push_str(&format!("address={address}\n"));
        }
        if !self.keeps_log {
            text.push_str("log=none\n");
        }
        text
    }

    fn from_text(text: &str) -> Option<Self> {
        let of = |key: &str| text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
        let time = |key| of(key)?.parse().ok().map(Timestamp::from_nanos);
        Some(Self {
            pid: of("pid")?.parse().ok()?,
            host: of("host")?.to_owned(),
            started: time("started")?,
            version: of("version")?.to_owned(),
            heartbeat: time("heartbeat")?,
            heartbeat_every: Duration::from_millis(of("heartbeat_every_ms")?.parse::<u32>().ok()?.into()),
            address: of("address").map(str::to_owned),
            keeps_log: of("log") != Some("none"),
        })
    }
}

/// `process 17 on host-a (127.0.0.1:9595), tidegauge 0.1.0, last heard 3 s ago`
impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "process {} on {}", self.pid, self.host)?;
        if let Some(address) = &self.address {
            write!(f, " ({address})")?;
        }
        write!(f, ", tidegauge {}, ", self.version)?;
        match self.ahead_by().as_secs() {
            0 => write!(f, "last heard {} s ago", self.silent_for().as_secs()),
            ahead => write!(f, "last heard by a clock that is {ahead} s ahead of this machine's"),
        }
    }
}

/// A lock is watched this long at least: another machine's heartbeat takes a while to be seen.
const WATCH_MIN: Duration = Duration::from_secs(90);

/// For how long a lock is watched before it is called a leftover: longer than any owner is silent that lives and can
/// write its file.
pub(super) fn watch_time(owner: Option<&Owner>) -> Duration {
    let (least, longest) = HEARTBEATS.into_inner();
    (owner.map_or(longest, |owner| owner.heartbeat_every.clamp(least, longest)) * MISSED_MAX).max(WATCH_MIN)
}

/// What the file says; `None` if it is not there, empty, or says something else.
pub(super) fn read(path: &Path) -> io::Result<Option<Owner>> {
    read_bytes(path).map(|bytes| parse(&bytes))
}

/// The file as it is; nothing if it is not there.
pub(super) fn read_bytes(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    match File::open(path) {
        Ok(file) => file.take(BYTES_MAX).read_to_end(&mut bytes).map(|_| bytes),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(bytes),
        Err(e) => Err(e),
    }
}

pub(super) fn parse(bytes: &[u8]) -> Option<Owner> {
    Owner::from_text(&String::from_utf8_lossy(bytes))
}

pub(crate) fn host() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    name.trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_owner_reads_what_it_writes_and_nothing_else() {
        for address in [None, Some("127.0.0.1:9595")] {
            let owner = Owner { keeps_log: address.is_some(), ..Owner::this_process(address, Duration::from_secs(30)) };
            assert_eq!(Owner::from_text(&owner.to_text()), Some(owner.clone()));
            assert!(owner.is_here() && !owner.is_silent());
        }
        let tricky = Owner::this_process(Some("a\npid=1"), Duration::from_secs(30));
        assert_eq!(Owner::from_text(&tricky.to_text()).unwrap().pid, std::process::id());
        for text in ["", "pid=1", "pid=x\nhost=a\nstarted=1\nversion=1\nheartbeat=1\nheartbeat_every_ms=1", "\0\0"] {
            assert_eq!(Owner::from_text(text), None, "{text:?}");
        }
    }

    #[test]
    fn silence_is_told_by_missed_heartbeats() {
        let mut owner = Owner::this_process(None, Duration::from_secs(30));
        let ago = |seconds: i64| Timestamp::from_nanos(clock::now().nanos() - seconds * 1_000_000_000);
        owner.heartbeat = ago(80);
        assert!(!owner.is_silent());
        owner.heartbeat = ago(100);
        assert!(owner.is_silent());
        owner.heartbeat = ago(-1000);
        assert!(!owner.is_silent() && owner.silent_for().is_zero(), "a clock that is ahead is no silence");
        assert!(!owner.seems_alive(), "and no sign of life");
        owner.heartbeat = ago(1);
        assert!(owner.seems_alive());
    }

    #[test]
    fn a_lock_is_watched_for_three_heartbeats_and_a_while_at_least() {
        let watched = |seconds| watch_time(Some(&Owner::this_process(None, Duration::from_secs(seconds))));
        assert_eq!([5, 30, 60, 999].map(|every| watched(every).as_secs()), [90, 90, 180, 360]);
        assert_eq!(watch_time(None).as_secs(), 360, "it does not say");
    }
}
