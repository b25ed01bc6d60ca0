//! What is scraped, and under which `job` and `instance` its series go.

use std::fmt;
use std::str::FromStr;

use ureq::http::Uri;

/// A URL to scrape and the labels that its series get.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Target {
    url: String,
    job: String,
    instance: String,
}

/// A text that names no target. Mend it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TargetError {
    /// The URL does not parse or has no host.
    #[error("{text:?} is not a URL to scrape; write http://HOST:PORT/PATH")]
    BadUrl {
        /// The text.
        text: String,
    },
    /// Only `http` and `https` can be scraped.
    #[error("{text:?} is neither http nor https")]
    BadScheme {
        /// The text.
        text: String,
    },
    /// The URL holds a user or password, which would show in logs and labels.
    #[error("a URL with a user or password in it is not scraped")]
    Credentials,
}

impl Target {
    /// The job of a target that was named without one.
    pub const JOB: &str = "scrape";

    /// The URL that is asked.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The value of the label `job`.
    #[must_use]
    pub fn job(&self) -> &str {
        &self.job
    }

    /// The value of the label `instance`: host and port.
    #[must_use]
    pub fn instance(&self) -> &str {
        &self.instance
    }
}

/// `[job=]URL`. Without a scheme `http://` is meant, without a path `/metrics`.
impl FromStr for Target {
    type Err = TargetError;

    fn from_str(text: &str) -> Result<Self, TargetError> {
        let (job, url) = match text.split_once('=') {
            Some((job, url)) if !job.is_empty() && !job.contains([':', '/', '?', '.', '[']) => (job, url),
            _ => (Self::JOB, text),
        };
        let full = if url.contains("://") { url.to_owned() } else { format!("http://{url}") };
        let bad = || TargetError::BadUrl { text: text.to_owned() };
        let uri: Uri = full.parse().map_err(|_| bad())?;
        let scheme = uri.scheme_str().ok_or_else(bad)?;
        let port = match scheme {
            "http" => 80,
            "https" => 443,
            _ => return Err(TargetError::BadScheme { text: text.to_owned() }),
        };
        let authority = uri.authority().ok_or_else(bad)?;
        if authority.as_str().contains('@') {
            return Err(TargetError::Credentials);
        }
        let host = authority.host();
        // A port that is no port counts as none, and would be taken for the default.
        let has_port = authority.as_str().len() > host.len();
        if host.is_empty() || (has_port && authority.port_u16().is_none()) {
            return Err(bad());
        }
        let instance = format!("{host}:{}", authority.port_u16().unwrap_or(port));
        let path = match uri.path_and_query().map_or("/", |path| path.as_str()) {
            "/" if !full.ends_with('/') => "/metrics",
            path => path,
        };
        Ok(Self { url: format!("{scheme}://{authority}{path}"), job: job.to_owned(), instance })
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.url)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scheme_path_job_and_instance_have_defaults() {
        let cases = [
            ("http://a:9100/metrics", "http://a:9100/metrics", "scrape", "a:9100"),
            ("a:9100", "http://a:9100/metrics", "scrape", "a:9100"),
            ("localhost", "http://localhost/metrics", "scrape", "localhost:80"),
            ("https://a", "https://a/metrics", "scrape", "a:443"),
            ("http://a:1/", "http://a:1/", "scrape", "a:1"),
            ("node=http://a:1/x?y=z", "http://a:1/x?y=z", "node", "a:1"),
            ("http://a:1/x?y=z", "http://a:1/x?y=z", "scrape", "a:1"),
            ("http://[::1]:9100", "http://[::1]:9100/metrics", "scrape", "[::1]:9100"),
        ];
        for (text, url, job, instance) in cases {
            let target: Target = text.parse().unwrap();
            assert_eq!((target.url(), target.job(), target.instance()), (url, job, instance), "{text}");
        }
    }

    #[test]
    fn what_is_no_url_is_refused() {
        let parse = |text: &str| text.parse::<Target>().unwrap_err();
        assert!(matches!(parse(""), TargetError::BadUrl { .. }));
        assert!(matches!(parse("http://"), TargetError::BadUrl { .. }));
        assert!(matches!(parse("http://a b/"), TargetError::BadUrl { .. }));
        assert!(matches!(parse("http://a:99999/"), TargetError::BadUrl { .. }));
        assert!(matches!(parse("ftp://a/"), TargetError::BadScheme { .. }));
        assert_eq!(parse("http://user:secret@a/"), TargetError::Credentials);
    }
}
