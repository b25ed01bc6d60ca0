//! What runs here.

use std::sync::Arc;

use axum::extract::State;

use super::App;
use super::reply::Envelope;
use crate::ask::{put_labels, put_string};
use crate::scrape::Target;
use crate::units::show_time;

pub(super) async fn build_info() -> Envelope {
    let fields = [
        ("application", "tidegauge"),
        ("version", env!("CARGO_PKG_VERSION")),
        ("revision", ""),
        ("branch", ""),
        ("buildUser", ""),
        ("buildDate", ""),
        ("goVersion", ""),
    ];
    Envelope::new(|out| put_labels(out, fields))
}

pub(super) async fn runtime_info(State(app): State<Arc<App>>) -> Envelope {
    let folder = std::env::current_dir().unwrap_or_default();
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let strings = [
        ("startTime", show_time(app.started)),
        ("serverTime", show_time(tidegauge::now())),
        ("CWD", folder.display().to_string()),
        ("hostname", hostname()),
        ("storageRetention", "for ever".to_owned()),
        ("durability", app.settings.durability.to_string()),
        ("dataDir", app.settings.data_dir.display().to_string()),
    ];
    Envelope::new(|out| {
        out.extend_from_slice(b"{\"reloadConfigSuccess\":true");
        for (name, value) in &strings {
            out.push(b',');
            put_string(out, name);
            out.push(b':');
            put_string(out, value);
        }
        out.extend_from_slice(format!(",\"GOMAXPROCS\":{threads},\"corruptionCount\":0}}").as_bytes());
    })
}

pub(super) async fn flags(State(app): State<Arc<App>>) -> Envelope {
    let settings = &app.settings;
    let flags = [
        ("data-dir", settings.data_dir.display().to_string()),
        ("listen", settings.listen.to_string()),
        ("durability", settings.durability.to_string()),
        ("scrape", settings.scrape.iter().map(Target::url).collect::<Vec<_>>().join(",")),
        ("scrape-interval", crate::units::show_duration(settings.scrape_interval)),
        ("no-host-metrics", (!settings.host_metrics).to_string()),
        ("enable-admin-api", settings.admin_api.to_string()),
        ("no-experimental", (!settings.experimental).to_string()),
    ];
    Envelope::new(|out| put_labels(out, flags.iter().map(|(n, v)| (*n, v.as_str()))))
}

fn hostname() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname").map(|n| n.trim().to_owned()).unwrap_or_default()
}
