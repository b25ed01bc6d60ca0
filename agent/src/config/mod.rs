//! What the agent runs with: defaults, then the configuration file, then the flags.

mod file;
mod flags;
mod kept;

use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::time::Duration;

use tidegauge::{Builder, Durability};

use crate::collect::INTERVAL_MIN;
use crate::scrape::Target;
use file::ConfigFile;
pub(crate) use flags::ServeArgs;
pub(crate) use kept::{FOREVER, Kept, NONE, in_force};

/// Queries that run at a time, unless told otherwise; what Prometheus lets run.
const QUERY_CONCURRENCY: usize = 20;
/// More threads than that are of no use to anybody.
const QUERY_CONCURRENCY_MAX: usize = 400;
/// So many a store takes.
const RETENTION_RULES_MAX: usize = 256;
/// Less makes no answer.
const QUERY_MEMORY_MIN: u64 = 1 << 20;

/// Everything settled, nothing optional any more.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// Folder that holds the data.
    pub(crate) data_dir: PathBuf,
    /// Address to bind.
    pub(crate) listen: SocketAddr,
    /// What a crash may cost.
    pub(crate) durability: Durability,
    /// Endpoints to scrape.
    pub(crate) scrape: Vec<Target>,
    /// How often to collect, from this machine and from each endpoint.
    pub(crate) scrape_interval: Duration,
    /// Whether to collect this machine's own metrics.
    pub(crate) host_metrics: bool,
    /// Whether the administrative requests are answered.
    pub(crate) admin_api: bool,
    /// Whether experimental PromQL is evaluated.
    pub(crate) experimental: bool,
    /// Bytes that all queries may hold together.
    pub(crate) query_memory: u64,
    /// Queries that run at a time.
    pub(crate) query_concurrency: usize,
    /// How long and how much data is kept.
    pub(crate) kept: Kept,
    /// After how long without a sample a series leaves memory; `None`: never.
    pub(crate) series_idle: Option<Duration>,
}

/// Why the settings make no sense. Mend the flags or the file; nothing was started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum ConfigError {
    /// The configuration file cannot be read.
    #[error("cannot read the configuration file {}: {source}", path.display())]
    Unreadable { path: PathBuf, source: std::io::Error },
    /// The configuration file is not what it should be.
    #[error("configuration file {}: {what}", path.display())]
    Malformed { path: PathBuf, what: String },
    /// A setting has a value that cannot be used.
    #[error("{name}: {what}")]
    Bad { name: &'static str, what: String },
    /// The address can be reached by others, and nothing protects it.
    #[error(
        "{listen} can be reached from other machines and there is no authentication: bind a loopback address, or add --insecure if that is meant"
    )]
    Public { listen: SocketAddr },
}

/// Puts defaults, file and flags together and checks the result.
///
/// # Errors
/// [`ConfigError`] names the setting that cannot be used.
pub(crate) fn settle(args: ServeArgs) -> Result<Settings, ConfigError> {
    let file = match &args.config {
        Some(path) => ConfigFile::read(path)?,
        None => ConfigFile::default(),
    };
    let listen = args.listen.or(file.listen).unwrap_or_else(|| "127.0.0.1:9595".to_owned());
    let listen = address(&listen)?;
    if !(listen.ip().is_loopback() || args.insecure || file.insecure) {
        return Err(ConfigError::Public { listen });
    }
    let scrape_interval = args.scrape_interval.or(file.scrape_interval).unwrap_or(Duration::from_secs(1));
    if scrape_interval < INTERVAL_MIN {
        let what = format!("must be at least {INTERVAL_MIN:?}");
        return Err(ConfigError::Bad { name: "scrape-interval", what });
    }
    let query_memory = args.query_memory.or(file.query_memory).unwrap_or_else(query_memory_default);
    if query_memory < QUERY_MEMORY_MIN {
        return Err(ConfigError::Bad { name: "query-memory", what: "give at least 1MiB".to_owned() });
    }
    let query_concurrency = args.query_concurrency.or(file.query_concurrency).unwrap_or(QUERY_CONCURRENCY);
    if !(1..=QUERY_CONCURRENCY_MAX).contains(&query_concurrency) {
        let what = format!("give 1 to {QUERY_CONCURRENCY_MAX}");
        return Err(ConfigError::Bad { name: "query-concurrency", what });
    }
    let series_idle = args.series_idle.or(file.series_idle).unwrap_or(Builder::SERIES_IDLE);
    let longest = 2 * scrape_interval;
    if !series_idle.is_zero() && series_idle < longest {
        let what = format!("must be at least {longest:?}, twice the scrape interval; 0s for never");
        return Err(ConfigError::Bad { name: "series-idle", what });
    }
    let kept = Kept {
        age: args.retention.or(file.retention),
        size: args.retention_size.or(file.retention_size),
        rules: if args.retention_rule.is_empty() { file.retention_rules } else { args.retention_rule },
    };
    // The one for all others counts, too.
    if kept.rules.len() >= RETENTION_RULES_MAX {
        let what = format!("{} rules, give at most {}", kept.rules.len(), RETENTION_RULES_MAX - 1);
        return Err(ConfigError::Bad { name: "retention-rule", what });
    }
    let scrape = if args.scrape.is_empty() { file.scrape } else { args.scrape };
    Ok(Settings {
        data_dir: args.data_dir.or(file.data_dir).unwrap_or_else(|| PathBuf::from("./tidegauge-data")),
        listen,
        durability: args.durability.or(file.durability).unwrap_or(Durability::Interval(Duration::from_millis(100))),
        scrape,
        scrape_interval,
        host_metrics: !args.no_host_metrics && file.host_metrics.unwrap_or(true),
        admin_api: args.enable_admin_api || file.enable_admin_api,
        experimental: !args.no_experimental && file.experimental.unwrap_or(true),
        query_memory,
        query_concurrency,
        kept,
        series_idle: (!series_idle.is_zero()).then_some(series_idle),
    })
}

/// The engine's default, or half of the memory there is where that is less.
fn query_memory_default() -> u64 {
    let meminfo = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let half = memory_total(&meminfo).map_or(u64::MAX, |bytes| bytes / 2);
    half.clamp(QUERY_MEMORY_MIN, Builder::QUERY_MEMORY_BYTES)
}

fn memory_total(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

fn address(text: &str) -> Result<SocketAddr, ConfigError> {
    let bad = |what: String| ConfigError::Bad { name: "listen", what };
    // `:9595` is every interface, as elsewhere.
    let full = if text.starts_with(':') { format!("0.0.0.0{text}") } else { text.to_owned() };
    full.to_socket_addrs()
        .map_err(|e| bad(format!("{text:?} is no address with a port, such as 127.0.0.1:9595 ({e})")))?
        .next()
        .ok_or_else(|| bad(format!("{text:?} names no address")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(change: impl FnOnce(&mut ServeArgs)) -> Result<Settings, ConfigError> {
        let mut args = ServeArgs::default();
        change(&mut args);
        settle(args)
    }

    #[test]
    fn the_defaults_are_those_of_the_help_text() {
        let settings = with(|_| ()).unwrap();
        assert_eq!(settings.listen.to_string(), "127.0.0.1:9595");
        assert_eq!(settings.durability.to_string(), "interval:100ms");
        assert_eq!(settings.data_dir, PathBuf::from("./tidegauge-data"));
        assert_eq!(settings.scrape_interval, Duration::from_secs(1));
        assert_eq!(settings.query_concurrency, 20);
        assert!((QUERY_MEMORY_MIN..=2 << 30).contains(&settings.query_memory));
        assert_eq!(memory_total("MemTotal:       24684084 kB\nMemFree: 1 kB\n"), Some(24_684_084 << 10));
        assert_eq!(settings.series_idle, Some(Duration::from_secs(3_600)));
        assert!(settings.host_metrics && settings.experimental && !settings.admin_api);
    }

    #[test]
    fn a_public_address_needs_a_word() {
        for listen in ["0.0.0.0:1", ":1", "[::]:1"] {
            let refused = with(|a| a.listen = Some(listen.to_owned())).unwrap_err();
            assert!(matches!(refused, ConfigError::Public { .. }), "{listen}: {refused}");
        }
        let meant = with(|a| {
            a.listen = Some(":1".to_owned());
            a.insecure = true;
        });
        assert_eq!(meant.unwrap().listen.to_string(), "0.0.0.0:1");
        assert!(with(|a| a.listen = Some("[::1]:0".to_owned())).is_ok());
    }

    #[test]
    fn what_cannot_be_used_is_named() {
        let many = vec!["up=7d".parse().unwrap(); 256];
        assert!(with(|a| a.retention_rule = many).unwrap_err().to_string().starts_with("retention-rule: 256 rules"));
        for listen in ["", "9595", "127.0.0.1", "127.0.0.1:99999"] {
            let refused = with(|a| a.listen = Some(listen.to_owned())).unwrap_err();
            assert!(refused.to_string().starts_with("listen: "), "{listen}: {refused}");
        }
        assert!(with(|a| a.scrape_interval = Some(Duration::ZERO)).is_err());
        let little = with(|a| a.query_memory = Some(1000)).unwrap_err().to_string();
        assert!(little.starts_with("query-memory: ") && little.contains("1MiB"), "{little}");
        for count in [0, 401] {
            assert!(with(|a| a.query_concurrency = Some(count)).is_err());
        }
        let short = with(|a| a.series_idle = Some(Duration::from_millis(1_999))).unwrap_err();
        assert!(short.to_string().starts_with("series-idle: "), "{short}");
        assert_eq!(with(|a| a.series_idle = Some(Duration::ZERO)).unwrap().series_idle, None);
    }
}
