//! A data directory to be changed: opened here, or, where an agent owns it, through that agent.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use indicatif::ProgressBar;
use serde_json::Value;
use tidegauge::admin::{Owner, owner_of};
use tidegauge::{Engine, OpenError};

use super::{Failure, progress};

/// Flushing and compacting may take long; an agent that is gone is noticed at once, and one that is stopped by its
/// heartbeats.
const PATIENCE: Duration = Duration::from_secs(24 * 3600);
const CONNECT_TIME_MAX: Duration = Duration::from_secs(5);
/// How often it is looked whether an agent that has not answered lets itself be heard.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Who changes the data.
pub(super) enum Store {
    /// This process.
    Here(Engine),
    /// The agent that owns the directory.
    Agent(LiveAgent),
}

impl Store {
    /// The agent that owns the store in `dir`, if one does that can be asked.
    pub(super) fn agent(dir: &Path) -> Option<LiveAgent> {
        let owner = owner_of(dir).ok().flatten().filter(|owner| owner.is_here() && owner.seems_alive())?;
        owner.address.as_deref().map(|address| LiveAgent::at(dir, address))
    }

    /// Opens the store in `dir`; makes none. `shown`: whether it may draw how far that is.
    pub(super) fn reach(dir: &Path, shown: bool) -> Result<Self, Failure> {
        demand_store(dir)?;
        match progress::open(Engine::builder(dir), shown) {
            Ok(engine) => Ok(Self::Here(engine)),
            Err(OpenError::InUse { owner: Some(owner), .. }) if owner.is_here() && owner.address.is_some() => {
                Ok(Self::Agent(LiveAgent::at(dir, owner.address.as_deref().unwrap_or_default())))
            }
            Err(why) => Err(Failure::found(why)),
        }
    }
}

/// Opens the store in `dir` to read it, beside an agent too. `shown`: whether it may draw how far that is. Says on stderr if
/// somebody owns it whose memory holds what no reader sees.
pub(super) fn open_to_read(dir: &Path, shown: bool) -> Result<Engine, Failure> {
    let engine = progress::open(Engine::builder(dir).read_only(true), shown).map_err(|e| unreadable(dir, e))?;
    if let Some(owner) = without_log(dir) {
        eprintln!(
            "tidegauge: the owner of {} keeps no log (durability memory): what it has not flushed is not seen here; ask it over HTTP ({})",
            dir.display(),
            owner.address.as_deref().unwrap_or("it names no address")
        );
    }
    Ok(engine)
}

/// The owner of the store in `dir`, if he lives and keeps no log.
pub(super) fn without_log(dir: &Path) -> Option<Owner> {
    owner_of(dir).ok().flatten().filter(|owner| !owner.keeps_log && owner.seems_alive())
}

/// Where there is no store, the advice is that of a command.
pub(super) fn unreadable(dir: &Path, why: OpenError) -> Failure {
    match why {
        OpenError::Manifest(_) => demand_store(dir).err().unwrap_or_else(|| Failure::found(why)),
        _ => Failure::found(why),
    }
}

/// Opening to write would begin a new store where there is none.
pub(super) fn demand_store(dir: &Path) -> Result<(), Failure> {
    for name in ["MANIFEST", "segments", "wal"] {
        match dir.join(name).try_exists() {
            Ok(true) => return Ok(()),
            Ok(false) => {}
            Err(why) => return Err(Failure::found(format_args!("{}: {why}", dir.display()))),
        }
    }
    Err(Failure::found(format_args!("{} holds no store: name the folder that does with --data-dir", dir.display())))
}

/// An agent, asked over HTTP. Its lock file in `dir` tells whether it lives.
pub(super) struct LiveAgent {
    dir: PathBuf,
    look_every: Duration,
    address: String,
    client: ureq::Agent,
}

impl LiveAgent {
    fn at(dir: &Path, address: &str) -> Self {
        let config = ureq::Agent::config_builder()
            .timeout_global(Some(PATIENCE))
            .timeout_connect(Some(CONNECT_TIME_MAX))
            .http_status_as_error(false)
            .proxy(None)
            .build();
        Self { dir: dir.to_owned(), look_every: LOOK_EVERY, address: reachable(address), client: config.into() }
    }

    /// Asks the agent to do something; answers the data of its answer. However long that takes, it is waited for while
    /// the agent lets itself be heard; `bar` says so where it is late.
    pub(super) fn post(&self, path: &str, form: &[(&str, &str)], bar: &ProgressBar) -> Result<Value, Failure> {
        if let Some(owner) = self.owner().filter(Owner::is_silent) {
            return Err(self.silent(&owner, "nothing was asked of it"));
        }
        let (tell, told) = channel();
        let (client, url) = (self.client.clone(), format!("http://{}{path}", self.address));
        let form: Vec<(String, String)> = form.iter().map(|&(k, v)| (k.to_owned(), v.to_owned())).collect();
        let asked = thread::Builder::new().spawn(move || {
            // Nobody listens any more who has given up.
            let _ = tell.send(ask(&client, &url, &form));
        });
        asked.map_err(Failure::found)?;
        let waits = |owner: &Owner| {
            let (silent, most) = (owner.silent_for().as_secs(), owner.heartbeat_every.as_secs() * 3);
            let line = format!("the agent at {} was last heard {silent} s ago; given up after {most} s", self.address);
            progress::say(bar, &line);
        };
        let answer = await_answer(&told, self.look_every, || self.owner(), waits);
        let answer = answer.map_err(|owner| self.silent(&owner, "it may do what it was asked for once it goes on"))?;
        let (status, body) = answer.map_err(|why| {
            Failure::found(format_args!(
                "the agent at {} owns the directory, and cannot be asked: {why}; mend that, or stop it and try again",
                self.address
            ))
        })?;
        if (200..300).contains(&status) {
            return Ok(body["data"].clone());
        }
        let why = body["error"].as_str().unwrap_or("it gives no reason");
        Err(Failure::found(format_args!("the agent at {} owns the directory, and refuses: {why}", self.address)))
    }

    fn owner(&self) -> Option<Owner> {
        owner_of(&self.dir).ok().flatten()
    }

    fn silent(&self, owner: &Owner, done: &str) -> Failure {
        Failure::found(format_args!(
            "the agent at {} (process {}) owns the directory, and was not heard for {} s, so it is stopped or stuck ({done}); let it go on (kill -CONT {}) or end it, then try again",
            self.address,
            owner.pid,
            owner.silent_for().as_secs(),
            owner.pid
        ))
    }
}

/// Status and body, or why there is none.
type Answer = Result<(u16, Value), String>;

fn ask(client: &ureq::Agent, url: &str, form: &[(String, String)]) -> Answer {
    let form = form.iter().map(|(k, v)| (k.as_str(), v.as_str()));
    let mut answer = client.post(url).send_form(form).map_err(|e| e.to_string())?;
    let status = answer.status().as_u16();
    if status == 204 {
        return Ok((status, Value::Null));
    }
    let text = answer.body_mut().read_to_string().map_err(|e| e.to_string())?;
    Ok((status, serde_json::from_str(&text).map_err(|e| e.to_string())?))
}

/// Waits for an answer as long as the owner lets itself be heard; says it once (`waits`) when a heartbeat is missing.
/// Answers the owner if too many are.
fn await_answer(
    told: &Receiver<Answer>,
    look_every: Duration,
    owner: impl Fn() -> Option<Owner>,
    waits: impl FnOnce(&Owner),
) -> Result<Answer, Box<Owner>> {
    let mut waits = Some(waits);
    loop {
        match told.recv_timeout(look_every) {
            Ok(answer) => return Ok(answer),
            Err(RecvTimeoutError::Disconnected) => return Ok(Err("the request was not sent to its end".to_owned())),
            Err(RecvTimeoutError::Timeout) => {}
        }
        match owner() {
            Some(owner) if owner.is_silent() => return Err(Box::new(owner)),
            Some(owner) if owner.silent_for() > owner.heartbeat_every * 3 / 2 => {
                if let Some(waits) = waits.take() {
                    waits(&owner);
                }
            }
            // What is being written anew just now is read the next time.
            _ => {}
        }
    }
}

/// Who listens everywhere is reached here.
fn reachable(address: &str) -> String {
    match address.parse::<SocketAddr>() {
        Ok(at) if at.ip().is_unspecified() => {
            let here: IpAddr = if at.is_ipv4() { [127, 0, 0, 1].into() } else { std::net::Ipv6Addr::LOCALHOST.into() };
            SocketAddr::new(here, at.port()).to_string()
        }
        _ => address.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::net::TcpListener;

    use super::*;

    /// A directory whose lock file says that its owner was heard so long ago.
    fn heard(dir: &Path, ago: i64) -> Owner {
        let at = tidegauge::now().nanos() - ago * 1_000_000_000;
        let text = format!("pid=17\nhost=a\nstarted={at}\nversion=1\nheartbeat={at}\nheartbeat_every_ms=30000\n");
        std::fs::write(dir.join("LOCK"), text).unwrap();
        owner_of(dir).unwrap().unwrap()
    }

    /// A stopped process: the system takes connections for it, and nobody answers.
    fn stopped() -> (TcpListener, String) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        (listener, address)
    }

    #[test]
    fn an_agent_that_is_not_heard_any_more_is_asked_nothing() {
        let dir = tempfile::tempdir().unwrap();
        heard(dir.path(), 3600);
        let (listener, address) = stopped();
        let said = LiveAgent::at(dir.path(), &address).post("/x", &[], &ProgressBar::hidden()).unwrap_err();
        let said = format!("{said:?}");
        assert!(said.contains("not heard for 36") && said.contains("nothing was asked"), "{said}");
        assert!(said.contains("kill -CONT 17"), "{said}");
        listener.set_nonblocking(true).unwrap();
        assert!(listener.accept().is_err());
    }

    #[test]
    fn an_agent_that_falls_silent_while_it_is_waited_for_is_given_up() {
        let dir = tempfile::tempdir().unwrap();
        heard(dir.path(), 0);
        let (listener, address) = stopped();
        let agent = LiveAgent { look_every: Duration::from_millis(1), ..LiveAgent::at(dir.path(), &address) };
        let said = thread::scope(|scope| {
            let said = scope.spawn(|| format!("{:?}", agent.post("/x", &[("a", "b")], &ProgressBar::hidden())));
            // It has asked.
            let held = listener.accept().unwrap();
            heard(dir.path(), 100);
            let said = said.join().unwrap();
            drop(held);
            said
        });
        assert!(said.contains("not heard for 10") && said.contains("it may do what"), "{said}");
    }

    #[test]
    fn a_long_answer_of_an_agent_that_lives_is_waited_for_and_one_that_is_late_is_told_once() {
        let dir = tempfile::tempdir().unwrap();
        let (tell, told) = channel();
        let (looks, said) = (Cell::new(0), Cell::new(0));
        let owner = || {
            looks.set(looks.get() + 1);
            if looks.get() == 50 {
                tell.send(Ok((204, Value::Null))).unwrap();
            }
            // It misses a heartbeat, and another one, and is heard again.
            Some(heard(dir.path(), [0, 10, 20, 50, 60, 5][looks.get() % 6]))
        };
        let answer = await_answer(&told, Duration::ZERO, owner, |owner| {
            said.set(said.get() + 1);
            assert!(owner.silent_for() >= Duration::from_secs(50));
        });
        assert_eq!(answer.unwrap(), Ok((204, Value::Null)));
        assert_eq!((looks.get(), said.get()), (50, 1));
        drop(tell);
        assert!(await_answer(&told, Duration::ZERO, || None, |_| ()).unwrap().is_err(), "nobody answers any more");
    }

    #[test]
    fn an_agent_that_listens_everywhere_is_reached_here() {
        assert_eq!(reachable("0.0.0.0:1"), "127.0.0.1:1");
        assert_eq!(reachable("[::]:1"), "[::1]:1");
        assert_eq!(reachable("127.0.0.1:9595"), "127.0.0.1:9595");
    }
}
