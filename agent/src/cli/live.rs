//! A data directory to be changed: opened here, or, where an agent owns it, through that agent.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use serde_json::Value;
use tidegauge::{Engine, OpenError};

use super::{Failure, progress};

/// Flushing and compacting may take long; an agent that is gone is noticed at once.
const PATIENCE: Duration = Duration::from_secs(24 * 3600);
const CONNECT_TIME_MAX: Duration = Duration::from_secs(5);

/// Who changes the data.
pub(super) enum Store {
    /// This process.
    Here(Engine),
    /// The agent that owns the directory.
    Agent(LiveAgent),
}

impl Store {
    /// Opens the store in `dir`; makes none. `shown`: whether it may draw how far that is.
    pub(super) fn reach(dir: &Path, shown: bool) -> Result<Self, Failure> {
        demand_store(dir)?;
        match progress::open(Engine::builder(dir), shown) {
            Ok(engine) => Ok(Self::Here(engine)),
            Err(OpenError::InUse { owner: Some(owner), .. }) if owner.is_here() && owner.address.is_some() => {
                Ok(Self::Agent(LiveAgent::at(owner.address.as_deref().unwrap_or_default())))
            }
            Err(why) => Err(Failure::found(why)),
        }
    }
}

/// Opens the store in `dir` to read it, beside an agent too. `shown`: whether it may draw how far that is.
pub(super) fn open_to_read(dir: &Path, shown: bool) -> Result<Engine, Failure> {
    progress::open(Engine::builder(dir).read_only(true), shown).map_err(|e| unreadable(dir, e))
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
    if ["MANIFEST", "segments", "wal"].iter().any(|name| dir.join(name).exists()) {
        return Ok(());
    }
    Err(Failure::found(format_args!("{} holds no store: name the folder that does with --data-dir", dir.display())))
}

/// An agent, asked over HTTP.
pub(super) struct LiveAgent {
    address: String,
    client: ureq::Agent,
}

impl LiveAgent {
    fn at(address: &str) -> Self {
        let config = ureq::Agent::config_builder()
            .timeout_global(Some(PATIENCE))
            .timeout_connect(Some(CONNECT_TIME_MAX))
            .http_status_as_error(false)
            .proxy(None)
            .build();
        Self { address: reachable(address), client: config.into() }
    }

    /// Asks the agent to do something; answers the data of its answer.
    pub(super) fn post(&self, path: &str, form: &[(&str, &str)]) -> Result<Value, Failure> {
        let lost = |e: &dyn std::fmt::Display| {
            Failure::found(format_args!(
                "the agent at {} owns the directory, and cannot be asked: {e}; mend that, or stop it and try again",
                self.address
            ))
        };
        let url = format!("http://{}{path}", self.address);
        let mut answer = self.client.post(&url).send_form(form.iter().copied()).map_err(|e| lost(&e))?;
        let body: Value = if answer.status() == 204 {
            Value::Null
        } else {
            let text = answer.body_mut().read_to_string().map_err(|e| lost(&e))?;
            serde_json::from_str(&text).map_err(|e| lost(&e))?
        };
        if answer.status().is_success() {
            return Ok(body["data"].clone());
        }
        let why = body["error"].as_str().unwrap_or("it gives no reason");
        Err(Failure::found(format_args!("the agent at {} owns the directory, and refuses: {why}", self.address)))
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
    use super::*;

    #[test]
    fn an_agent_that_listens_everywhere_is_reached_here() {
        assert_eq!(reachable("0.0.0.0:1"), "127.0.0.1:1");
        assert_eq!(reachable("[::]:1"), "[::1]:1");
        assert_eq!(reachable("127.0.0.1:9595"), "127.0.0.1:9595");
    }
}
