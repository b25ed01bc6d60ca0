//! One HTTP exchange with a target.

use std::io::{self, Read};
use std::time::Duration;

use ureq::Agent;
use ureq::http::header::{ACCEPT, CONTENT_TYPE};

use super::{ScrapeError, Target};
use crate::exposition::Dialect;

/// Bytes of the largest answer that is read, unpacked: 64 MiB.
pub const BODY_BYTES_MAX: u64 = 64 << 20;

/// Bytes of the body that are read at a time.
const PIECE_BYTES: usize = 16 << 10;

/// What is asked for: OpenMetrics first, then the text format, as Prometheus does.
const ACCEPTED: &str = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,\
    application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,\
    text/plain;version=0.0.4;q=0.3,*/*;q=0.2";

/// Asks one target again and again; keeps its connection and its buffer.
#[derive(Debug)]
pub struct Scraper {
    target: Target,
    agent: Agent,
    timeout: Duration,
    body_bytes_max: u64,
    body: Vec<u8>,
}

/// A target's answer, not yet parsed.
#[derive(Clone, Copy, Debug)]
pub struct Answer<'a> {
    /// The text.
    pub text: &'a [u8],
    /// The format it is in.
    pub dialect: Dialect,
}

impl Scraper {
    /// A scraper whose whole exchanges take at most `timeout`: name lookup, redirects and
    /// the body included. Proxies named in the environment are not used.
    #[must_use]
    pub fn new(target: Target, timeout: Duration) -> Self {
        let config = Agent::config_builder()
            .timeout_global(Some(timeout))
            .proxy(None)
            .user_agent(concat!("tidegauge/", env!("CARGO_PKG_VERSION")))
            .max_idle_connections(1)
            .build();
        Self { target, agent: config.into(), timeout, body_bytes_max: BODY_BYTES_MAX, body: Vec::new() }
    }

    /// Sets the largest answer that is read, in bytes after unpacking. Default: [`BODY_BYTES_MAX`].
    #[must_use]
    pub fn body_bytes_max(mut self, bytes: u64) -> Self {
        self.body_bytes_max = bytes;
        self
    }

    /// The target.
    #[must_use]
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// Fetches the target's metrics. Blocks for at most the timeout.
    ///
    /// # Errors
    /// [`ScrapeError`] says what went wrong; asking again later is always sensible.
    pub fn fetch(&mut self) -> Result<Answer<'_>, ScrapeError> {
        self.fetch_unless(|| false)
    }

    /// As [`fetch`](Self::fetch), but gives up once `is_stopped`, which is asked before each piece of the body: a target
    /// may tell it a few bytes at a time.
    ///
    /// # Errors
    /// As [`fetch`](Self::fetch); [`ScrapeError::Stopped`] if it gave up.
    pub fn fetch_unless(&mut self, is_stopped: impl Fn() -> bool) -> Result<Answer<'_>, ScrapeError> {
        let timeout = self.timeout;
        let request = self
            .agent
            .get(self.target.url())
            .header(ACCEPT, ACCEPTED)
            .header("X-Prometheus-Scrape-Timeout-Seconds", timeout.as_secs_f64().to_string());
        let mut answer = request.call().map_err(|error| ScrapeError::from_client(error, timeout))?;
        let content_type = answer.headers().get(CONTENT_TYPE).map(|value| String::from_utf8_lossy(value.as_bytes()));
        let dialect = dialect_of(content_type.as_deref())?;
        self.body.clear();
        let mut reader = answer.body_mut().as_reader().take(self.body_bytes_max + 1);
        let mut piece = [0; PIECE_BYTES];
        loop {
            if is_stopped() {
                return Err(ScrapeError::Stopped);
            }
            match reader.read(&mut piece) {
                Ok(0) => break,
                Ok(read) => self.body.extend_from_slice(&piece[..read]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(ScrapeError::from_body(error, timeout)),
            }
        }
        if self.body.len() as u64 > self.body_bytes_max {
            self.body = Vec::new();
            return Err(ScrapeError::TooLarge { limit: self.body_bytes_max });
        }
        Ok(Answer { text: &self.body, dialect })
    }
}

/// An answer that does not say what it is counts as text: small exporters often do not.
fn dialect_of(content_type: Option<&str>) -> Result<Dialect, ScrapeError> {
    let Some(content_type) = content_type else { return Ok(Dialect::Text) };
    match content_type.split(';').next().unwrap_or("").trim().to_ascii_lowercase().as_str() {
        "text/plain" | "" => Ok(Dialect::Text),
        "application/openmetrics-text" => Ok(Dialect::OpenMetrics),
        _ => Err(ScrapeError::NotText { content_type: content_type.chars().take(80).collect() }),
    }
}

#[cfg(test)]
mod tests {
    use super::super::test_server::{Reply, Server};
    use super::*;

    const LONG: Duration = Duration::from_secs(20);

    fn scraper(server: &Server, timeout: Duration) -> Scraper {
        Scraper::new(server.url().parse().unwrap(), timeout)
    }

    #[test]
    fn text_and_open_metrics_are_told_apart_by_their_type() {
        let replies = [
            (Reply::text("a 1\n"), Dialect::Text),
            (Reply::text("a 1\n").content_type(None), Dialect::Text),
            (Reply::text("a 1\n").content_type(Some("text/plain; version=0.0.4")), Dialect::Text),
            (
                Reply::text("a 1\n").content_type(Some("application/openmetrics-text; version=1.0.0")),
                Dialect::OpenMetrics,
            ),
        ];
        for (reply, dialect) in replies {
            let server = Server::answering(reply);
            let mut scraper = scraper(&server, LONG);
            let answer = scraper.fetch().unwrap();
            assert_eq!(answer.text, b"a 1\n");
            assert_eq!(answer.dialect, dialect);
        }
    }

    #[test]
    fn the_request_says_what_it_can_read() {
        let server = Server::answering(Reply::text(""));
        scraper(&server, LONG).fetch().unwrap();
        let request = server.last_request().to_ascii_lowercase();
        assert!(request.starts_with("get /metrics http/1.1\r\n"), "{request}");
        assert!(request.contains("accept: application/openmetrics-text"), "{request}");
        assert!(request.contains("accept-encoding: gzip"), "{request}");
        assert!(request.contains("x-prometheus-scrape-timeout-seconds: 20\r\n"), "{request}");
    }

    #[test]
    fn each_fetch_sees_its_own_answer() {
        let server = Server::answering(Reply::text("a 1\nb 1\n"));
        let mut scraper = scraper(&server, LONG);
        assert_eq!(scraper.fetch().unwrap().text, b"a 1\nb 1\n");
        server.answer(Reply::text("c 1\n"));
        assert_eq!(scraper.fetch().unwrap().text, b"c 1\n");
    }

    #[test]
    fn a_redirect_is_followed_and_gzip_unpacked() {
        let end = Server::answering(Reply::gzip("a 1\n"));
        let start = Server::answering(Reply::redirect(&end.url()));
        assert_eq!(scraper(&start, LONG).fetch().unwrap().text, b"a 1\n");
    }

    #[test]
    fn an_error_status_or_type_is_refused() {
        let server = Server::answering(Reply::text("no").status(500));
        assert!(matches!(scraper(&server, LONG).fetch(), Err(ScrapeError::Status { status: 500 })));
        let server = Server::answering(Reply::text("<html>").content_type(Some("text/html")));
        assert!(matches!(scraper(&server, LONG).fetch(), Err(ScrapeError::NotText { .. })));
    }

    #[test]
    fn a_target_that_hangs_or_trickles_runs_into_the_timeout() {
        let short = Duration::from_millis(100);
        for reply in [Reply::hang(), Reply::text("a 1\n").hang_in_body()] {
            let server = Server::answering(reply);
            assert!(matches!(scraper(&server, short).fetch(), Err(ScrapeError::Timeout { limit }) if limit == short));
        }
    }

    #[test]
    fn a_body_that_never_ends_is_given_up_by_who_is_told_to_end() {
        let server = Server::answering(Reply::text("a 1\n").hang_in_body());
        // The first piece comes, the second one never.
        let asked = std::cell::Cell::new(0);
        let is_stopped = || asked.replace(asked.get() + 1) > 0;
        let mut scraper = scraper(&server, Duration::from_secs(2));
        assert!(matches!(scraper.fetch_unless(is_stopped), Err(ScrapeError::Stopped)));
        assert_eq!(scraper.body, b"a 1\n");
    }

    #[test]
    fn nobody_there_or_no_http_is_unreachable() {
        let server = Server::answering(Reply::raw(b"\x00\x01\x02 nonsense\r\n\r\n"));
        assert!(matches!(scraper(&server, LONG).fetch(), Err(ScrapeError::Unreachable(_))));
        let url = server.url();
        drop(server);
        assert!(matches!(Scraper::new(url.parse().unwrap(), LONG).fetch(), Err(ScrapeError::Unreachable(_))));
    }

    #[test]
    fn the_bound_holds_for_what_is_unpacked() {
        let server = Server::answering(Reply::gzip(&"a 1\n".repeat(100_000)));
        let mut scraper = scraper(&server, LONG).body_bytes_max(1000);
        assert!(matches!(scraper.fetch(), Err(ScrapeError::TooLarge { limit: 1000 })));
    }

    #[test]
    fn a_body_cut_short_is_an_error() {
        let server = Server::answering(Reply::text("a 1\n").cut_body());
        assert!(matches!(scraper(&server, LONG).fetch(), Err(ScrapeError::Body(_) | ScrapeError::Unreachable(_))));
    }
}
