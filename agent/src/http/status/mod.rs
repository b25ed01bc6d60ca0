//! What runs here, and with which settings.

// what is stored
pub(super) mod tsdb;
// what is asked
pub(super) mod queries;

use std::sync::Arc;

use axum::extract::State;
use serde_json::{Value, json};

use super::App;
use super::reply::Envelope;
use crate::config::{FOREVER, NONE, in_force};
use crate::scrape::Target;
use crate::units::{show_duration, show_time};

pub(super) async fn build_info() -> Envelope {
    Envelope::json(&json!({
        "application": "tidegauge",
        "version": env!("CARGO_PKG_VERSION"),
        "revision": "",
        "branch": "",
        "buildUser": "",
        "buildDate": "",
        "goVersion": "",
    }))
}

pub(super) async fn runtime_info(State(app): State<Arc<App>>) -> Envelope {
    let folder = std::env::current_dir().unwrap_or_default();
    let started = show_time(app.started);
    Envelope::json(&json!({
        "startTime": started,
        "serverTime": show_time(tidegauge::now()),
        "CWD": folder.display().to_string(),
        "hostname": hostname(),
        "reloadConfigSuccess": true,
        "lastConfigTime": started,
        "corruptionCount": 0,
        "goroutineCount": threads(),
        "GOMAXPROCS": std::thread::available_parallelism().map_or(1, usize::from),
        "GOGC": "",
        "GODEBUG": "",
        "storageRetention": in_force(&app.engine.retention()),
        "durability": app.settings.durability.to_string(),
        "dataDir": app.settings.data_dir.display().to_string(),
    }))
}

pub(super) async fn flags(State(app): State<Arc<App>>) -> Envelope {
    let settings = &app.settings;
    Envelope::json(&json!({
        "data-dir": settings.data_dir.display().to_string(),
        "listen": settings.listen.to_string(),
        "durability": settings.durability.to_string(),
        "scrape": settings.scrape.iter().map(Target::url).collect::<Vec<_>>().join(","),
        "scrape-interval": show_duration(settings.scrape_interval),
        "no-host-metrics": (!settings.host_metrics).to_string(),
        "enable-admin-api": settings.admin_api.to_string(),
        "no-experimental": (!settings.experimental).to_string(),
        "query-memory": size(settings.query_memory),
        "query-concurrency": settings.query_concurrency.to_string(),
        "retention": settings.kept.age.map(|age| age.show(FOREVER, show_duration)).unwrap_or_default(),
        "retention-size": settings.kept.size.map(|bytes| bytes.show(NONE, size)).unwrap_or_default(),
        "retention-rule": settings.kept.rules.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "),
        "series-idle": show_duration(settings.series_idle.unwrap_or_default()),
    }))
}

/// The settings as a configuration file would have them.
pub(super) async fn config(State(app): State<Arc<App>>) -> Envelope {
    let settings = &app.settings;
    let scrape: Vec<String> = settings.scrape.iter().map(|t| format!("{}={}", t.job(), t.url())).collect();
    let named: Vec<(&str, Value)> = vec![
        ("data_dir", settings.data_dir.display().to_string().into()),
        ("listen", settings.listen.to_string().into()),
        ("durability", settings.durability.to_string().into()),
        ("scrape", scrape.into()),
        ("scrape_interval", show_duration(settings.scrape_interval).into()),
        ("series_idle", show_duration(settings.series_idle.unwrap_or_default()).into()),
        ("host_metrics", settings.host_metrics.into()),
        ("enable_admin_api", settings.admin_api.into()),
        ("experimental", settings.experimental.into()),
        ("query_memory", size(settings.query_memory).into()),
        ("query_concurrency", settings.query_concurrency.into()),
    ];
    let kept = &settings.kept;
    let rules: Vec<String> = kept.rules.iter().map(ToString::to_string).collect();
    let retention = [
        kept.age.map(|age| ("retention", Value::from(age.show(FOREVER, show_duration)))),
        kept.size.map(|bytes| ("retention_size", bytes.show(NONE, size).into())),
        (!rules.is_empty()).then(|| ("retention_rules", rules.into())),
    ];
    // JSON's texts and lists are YAML's too.
    let yaml: String = named
        .into_iter()
        .chain(retention.into_iter().flatten())
        .map(|(name, value)| format!("{name}: {value}\n"))
        .collect();
    Envelope::json(&json!({"yaml": yaml}))
}

/// The log was replayed before the agent began to listen.
pub(super) async fn wal_replay() -> Envelope {
    Envelope::json(&json!({"min": 0, "max": 0, "current": 0}))
}

/// To the byte, as flags and configuration files take it.
fn size(bytes: u64) -> String {
    format!("{bytes}B")
}

/// Threads of this process; 0 where the system does not tell.
fn threads() -> usize {
    std::fs::read_dir("/proc/self/task").map_or(0, Iterator::count)
}

fn hostname() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname").map(|n| n.trim().to_owned()).unwrap_or_default()
}
