//! What may be set on the command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use tidegauge::Durability;

use super::kept::{Bound, KeepRule, parse_age, parse_size};
use crate::cli::offered::{DURABILITIES, Offered};
use crate::scrape::Target;
use crate::units::{parse_bytes, parse_duration};

const EXAMPLES: &str = "\
Examples:
  tidegauge serve
  tidegauge serve --scrape localhost:9100,api=http://10.0.0.7:8080/metrics --scrape-interval 15s
  tidegauge serve --data-dir /var/lib/tidegauge --retention 30d --durability sync
  tidegauge serve --retention 90d --retention-rule '{job=\"debug\"}=7d' --retention-size 50GiB
  tidegauge serve --no-host-metrics --enable-admin-api        only what is pushed, and deletes over HTTP
  tidegauge serve --config /etc/tidegauge.toml

Ready when it prints its address: the page is at /, remote write at /api/v1/write, Prometheus' query
API under /api/v1/. SIGTERM and SIGINT bring everything into files and end it with exit code 0;
a second one ends it at once, with 1.";

/// Collect, take pushes, answer queries, show the page
///
/// A flag on the command line wins over the same key in the configuration file.
#[derive(Debug, Default, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct ServeArgs {
    /// Folder that holds the data; made if it is missing [default: ./tidegauge-data]
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,

    /// Address to answer on; port 0 takes a free one [default: 127.0.0.1:9595]
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub(crate) listen: Option<String>,

    /// What a crash may cost: memory | interval:100ms | sync [default: interval:100ms]
    #[arg(
        long,
        value_name = "LEVEL",
        value_parser = Offered::<Durability>::new(&DURABILITIES),
        hide_possible_values = true,
    )]
    pub(crate) durability: Option<Durability>,

    /// Prometheus text endpoints to collect from, e.g. localhost:9100 or api=http://host:80/metrics
    #[arg(long, value_name = "[JOB=]URL", value_delimiter = ',')]
    pub(crate) scrape: Vec<Target>,

    /// How often to collect [default: 1s]
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    pub(crate) scrape_interval: Option<Duration>,

    /// Do not collect this machine's metrics, nor those of the agent itself
    #[arg(long)]
    pub(crate) no_host_metrics: bool,

    /// Drop data older than this, e.g. 30d, or keep it forever; the store remembers it [default: what it was told before, or for ever]
    #[arg(long, value_name = "DURATION", value_parser = parse_age, allow_hyphen_values = true)]
    pub(crate) retention: Option<Bound<Duration>>,

    /// Drop the oldest data where all segments are larger than this, e.g. 50GiB, or none; it goes by about an eighth of this at a time, by more where it is below 1GiB; the store remembers it [default: what it was told before, or no bound]
    #[arg(long, value_name = "SIZE", value_parser = parse_size, allow_hyphen_values = true)]
    pub(crate) retention_size: Option<Bound<u64>>,

    /// Keep some series for another time, e.g. '{job="debug"}=7d' or '{job="audit"}=forever'; may be repeated, and the first that a series passes counts. With --retention, all that the store was told of ages is replaced
    #[arg(long, value_name = "MATCHERS=DURATION")]
    pub(crate) retention_rule: Vec<KeepRule>,

    /// Memory that all queries running at a time may hold together [default: 2GiB, at most half of this machine's]
    #[arg(long, value_name = "SIZE", value_parser = parse_bytes)]
    pub(crate) query_memory: Option<u64>,

    /// Queries that run at a time; the next ones wait up to 10 s [default: 20]
    #[arg(long, value_name = "COUNT")]
    pub(crate) query_concurrency: Option<usize>,

    /// Let series leave memory that had no new sample for so long; what is stored stays. 0s: never [default: 1h]
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    pub(crate) series_idle: Option<Duration>,

    /// Allow the administrative requests under /api/v1/admin
    #[arg(long)]
    pub(crate) enable_admin_api: bool,

    /// Refuse PromQL functions that Prometheus calls experimental
    #[arg(long)]
    pub(crate) no_experimental: bool,

    /// Allow an address that other machines reach: there is no authentication
    #[arg(long)]
    pub(crate) insecure: bool,

    /// Read settings from a TOML or YAML file (the flags' names with _ for -, retention_rules for the list of rules; host_metrics = false and experimental = false for the two --no- flags)
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
}
