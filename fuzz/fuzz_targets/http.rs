//! Any form is answered: with JSON, with a status that says who is to blame, and never with 500.

#![no_main]

use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;
use tidegauge::Engine;
use tidegauge_agent::fuzz_only::Asker;
use tidegauge_fuzz::queries::series;

const PATHS: [&str; 12] = [
    "/api/v1/query",
    "/api/v1/query_range",
    "/api/v1/series",
    "/api/v1/labels",
    "/api/v1/label/host/values",
    "/api/v1/metadata",
    "/api/v1/format_query",
    "/api/v1/parse_query",
    "/api/v1/query_exemplars",
    "/api/v1/status/tsdb",
    "/api/v1/status/top_queries",
    "/federate",
];

fn asker() -> Asker {
    let engine = Engine::in_memory().expect("an engine");
    let mut appender = engine.appender().expect("an appender");
    for (labels, samples) in series() {
        let pairs: Vec<(&str, &str)> = labels.iter().collect();
        let id = engine.series(&pairs).expect("a series");
        let mut last = None;
        for sample in samples {
            last = Some(appender.push(id, sample.timestamp, sample.value).expect("a sample"));
        }
        if let Some(ack) = last {
            engine.wait(ack, tidegauge::Level::Visible, std::time::Duration::from_secs(10)).expect("visible");
        }
    }
    drop(appender);
    Asker::new(engine)
}

fuzz_target!(|data: &[u8]| {
    let Some((&first, form)) = data.split_first() else { return };
    static ASKER: OnceLock<Asker> = OnceLock::new();
    let path = PATHS[first as usize / 2 % PATHS.len()];
    let Some((status, body)) = ASKER.get_or_init(asker).ask(path, form, first % 2 == 1) else { return };
    if status == 204 {
        return assert!(body.is_empty() && path.ends_with("/query_exemplars"), "{path}");
    }
    assert!(matches!(status, 200 | 400 | 405 | 422 | 503), "{path}: {status}");
    if path.starts_with("/api/v1/") && status != 405 {
        let end = body.last().copied();
        assert!(body.starts_with(b"{\"status\":") && end == Some(b'}'), "{path}: {}", String::from_utf8_lossy(&body));
    }
});
