//! What the real binary says of itself, and what it lets be done to its store.
#![allow(missing_docs)]

mod support;

use serde_json::json;
use support::{Agent, with_samples, write};

#[test]
fn the_agent_tells_what_it_is_and_how_it_is() {
    let (_dir, agent) = with_samples();
    assert_eq!(agent.get("/-/ready").status, 200);
    assert_eq!(agent.get("/-/healthy").status, 200);
    assert_eq!(agent.get("/api/v1/status/buildinfo").json()["data"]["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(agent.get("/api/v1/status/runtimeinfo").json()["data"]["durability"], "interval:100ms");
    assert_eq!(agent.get("/api/v1/status/flags").json()["data"]["no-host-metrics"], "true");
    let metrics = agent.get("/metrics");
    assert!(metrics.header("content-type").unwrap().starts_with("text/plain; version=0.0.4"));
    let text = metrics.text();
    for name in ["tidegauge_samples_total 6", "tidegauge_series 2", "tidegauge_remote_write_samples_total 6"] {
        assert!(text.lines().any(|line| line == name), "{name} is missing in\n{text}");
    }
}

#[test]
fn the_settings_read_back_as_a_configuration_file() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let agent = Agent::start(&data, &["--no-host-metrics", "--scrape-interval", "2s", "--durability", "memory"]);
    let yaml = |agent: &Agent| agent.get("/api/v1/status/config").json()["data"]["yaml"].as_str().unwrap().to_owned();
    let first = yaml(&agent);
    drop(agent);
    assert!(first.contains("durability: \"memory\"\n"), "{first}");
    let file = dir.path().join("settings.yaml");
    std::fs::write(&file, &first).unwrap();
    // The flags that starting needs say the same as the file.
    let again = Agent::start(&data, &["--config", file.to_str().unwrap()]);
    let address = |text: &str| text.lines().filter(|l| !l.starts_with("listen")).collect::<Vec<_>>().join("\n");
    assert_eq!(address(&yaml(&again)), address(&first));
}

#[test]
fn the_page_comes_from_the_binary_and_loads_nothing_from_elsewhere() {
    let (_dir, agent) = with_samples();
    let page = agent.get("/");
    assert_eq!((page.status, page.header("content-type")), (200, Some("text/html; charset=utf-8")));
    assert!(page.header("content-security-policy").unwrap().starts_with("default-src 'none'"));
    let html = page.text();
    let links: Vec<&str> = ["href=\"", "src=\""]
        .iter()
        .flat_map(|mark| html.split(mark).skip(1))
        .map(|rest| rest.split('"').next().unwrap())
        .filter(|link| !link.starts_with('#'))
        .collect();
    assert!(links.len() > 5, "{links:?}");
    for link in links {
        assert!(link.starts_with('/'), "{link} leads elsewhere");
        let asset = agent.get(link);
        assert_eq!(asset.status, 200, "{link}");
        assert!(!asset.body.is_empty(), "{link}");
    }
}

#[test]
fn deletes_are_off_unless_asked_for_and_take_what_they_name() {
    let (_dir, agent) = with_samples();
    for act in ["delete_series?match[]=m", "clean_tombstones", "snapshot"] {
        let path = format!("/api/v1/admin/tsdb/{act}");
        let off = agent.post(&path, &[], b"");
        assert_eq!((off.status, &off.json()["errorType"]), (500, &json!("unavailable")), "{path}");
        assert!(off.json()["error"].as_str().unwrap().starts_with("admin APIs disabled"), "{}", off.text());
        assert_eq!(agent.get(&path).status, 405);
    }
    assert_eq!(agent.query("count(m)", "20")[0]["value"][1], "2");

    let dir = tempfile::tempdir().unwrap();
    let agent = Agent::start(dir.path(), &["--no-host-metrics", "--enable-admin-api"]);
    let samples = [(0, 1.0), (10_000, 2.0), (20_000, 3.0)];
    let series = |k: &str| write::series(&[("__name__", "m"), ("k", k)], &samples);
    let push = || agent.post("/api/v1/write", &write::V1, &write::request(vec![series("a"), series("b")])).status;
    assert_eq!(push(), 204);
    let delete = |form: &[(&str, &str)]| agent.form("/api/v1/admin/tsdb/delete_series", form);
    let values = |k: &str| agent.query(&format!("m{{k=\"{k}\"}}[1m]"), "20")[0]["values"].clone();
    // Nothing is deleted if a part of the request is wrong, or if the range is the wrong way round.
    assert_eq!(delete(&[("match[]", "m"), ("match[]", "sum(m)")]).status, 400);
    assert_eq!(delete(&[("match[]", "{}")]).status, 400);
    assert_eq!(delete(&[]).status, 400);
    assert_eq!(delete(&[("match[]", "m"), ("start", "9"), ("end", "1")]).status, 204);
    assert_eq!(values("a"), json!([[0, "1"], [10, "2"], [20, "3"]]));
    // Both ends are inside.
    let some = delete(&[("match[]", "m{k=\"a\"}"), ("start", "0"), ("end", "10")]);
    assert_eq!((some.status, some.body.len()), (204, 0));
    assert_eq!(values("a"), json!([[20, "3"]]));
    assert_eq!(values("b"), json!([[0, "1"], [10, "2"], [20, "3"]]));
    let cleaned = support::http::request(&agent.address, "PUT", "/api/v1/admin/tsdb/clean_tombstones", &[], b"");
    assert_eq!(cleaned.status, 204, "{}", cleaned.text());
    assert_eq!(values("a"), json!([[20, "3"]]));
    // What comes later stays.
    assert_eq!(push(), 204);
    assert_eq!(values("a"), json!([[0, "1"], [10, "2"], [20, "3"]]));
    assert_eq!(agent.post("/api/v1/admin/tsdb/snapshot?skip_head=abc", &[], b"").status, 400);
    let copied = agent.post("/api/v1/admin/tsdb/snapshot?skip_head=true", &[], b"");
    assert_eq!(copied.status, 200, "{}", copied.text());
    let name = copied.json()["data"]["name"].as_str().unwrap().to_owned();
    assert!(dir.path().join("snapshots").join(name).join("MANIFEST").is_file());
}
