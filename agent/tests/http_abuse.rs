//! Clients that hang up, and requests that nobody sensible sends: answered in kind, and the
//! agent goes on.
#![allow(missing_docs)]

mod support;

use std::io::Write;
use std::net::TcpStream;

use proptest::prelude::*;
use support::{Agent, poll, write};

/// An agent that holds a few series of a minute each.
fn with_samples() -> (tempfile::TempDir, Agent) {
    let dir = tempfile::tempdir().unwrap();
    let agent = Agent::bare(dir.path());
    let samples: Vec<(i64, f64)> = (0..60).map(|i| (i * 1000, i as f64)).collect();
    let series = |k: &str| write::series(&[("__name__", "m"), ("k", k)], &samples);
    let body = write::request(vec![series("a"), series("b"), series("")]);
    assert_eq!(agent.post("/api/v1/write", &write::V1, &body).status, 204);
    (dir, agent)
}

fn active(agent: &Agent) -> Vec<serde_json::Value> {
    let list = agent.get("/api/v1/status/active_queries").json();
    list["data"].as_array().unwrap().clone()
}

#[test]
fn a_query_ends_when_its_client_hangs_up() {
    let (_dir, agent) = with_samples();
    // 86,400² steps: far more than there is time for.
    let path =
        "/api/v1/query?time=60&query=sum_over_time(sum_over_time(sum_over_time(vector(1)[1d:1s])[1d:1s])[1d:1s])";
    let mut stream = TcpStream::connect(&agent.address).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    let running = poll("the query runs", || active(&agent).pop());
    assert!(running["query"].as_str().unwrap().starts_with("sum_over_time("), "{running}");
    assert_eq!((&running["start"], &running["step"]), (&60_000.into(), &0.into()));
    drop(stream);
    poll("it has ended", || active(&agent).is_empty().then_some(()));
    let top = agent.get("/api/v1/status/top_queries").json()["data"]["topBySumDuration"][0].clone();
    // Left alone it would have gone on until its time was over.
    assert!(top["sumDurationSeconds"].as_f64().unwrap() < 29.0, "{top}");
}

/// All turns taken by queries that go on: whoever asks whether the agent works is answered all the same.
#[test]
fn an_agent_that_is_busy_with_queries_is_ready() {
    let dir = tempfile::tempdir().unwrap();
    let agent = Agent::start(dir.path(), &["--no-host-metrics", "--query-concurrency", "1"]);
    let path =
        "/api/v1/query?time=60&query=sum_over_time(sum_over_time(sum_over_time(vector(1)[1d:1s])[1d:1s])[1d:1s])";
    let streams = [(); 2].map(|()| {
        let mut stream = TcpStream::connect(&agent.address).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        stream
    });
    poll("one runs and one waits", || {
        let metrics = agent.get("/metrics").text();
        let all = ["tidegauge_queries_running 1", "tidegauge_queries_waiting 1"];
        all.iter().all(|line| metrics.lines().any(|l| l == *line)).then_some(())
    });
    let answer = agent.get("/-/ready");
    assert_eq!((answer.status, answer.text().as_str()), (200, "tidegauge is ready.\n"));
    drop(streams);
    poll("both have ended", || active(&agent).is_empty().then_some(()));
}

const EXPRESSIONS: [&str; 16] = [
    "m",
    "m[1m]",
    "sum(m)",
    "rate(m[30s])",
    "m offset 5s",
    "m @ end()",
    "1",
    "\"text\"",
    "{}",
    "(",
    "m{k=~\"(\"}",
    "topk(1e9, m)",
    "m + on() m",
    "label_replace(m, \"x\", \"$1\", \"k\", \"(.*)\")",
    "max_over_time(m[1m:5s])",
    "m{k=\"\u{fc}\"}",
];
const VALUES: [&str; 22] = [
    "",
    "0",
    "1",
    "-1",
    "60",
    "1e9",
    "1e300",
    "-1e300",
    "NaN",
    "Inf",
    "1s",
    "5m",
    "-5m",
    "300y",
    "1970-01-01T00:01:00Z",
    "9999-12-31T23:59:59Z",
    "yesterday",
    "all",
    "true",
    "0x10",
    "99999999999999999999",
    "%00",
];
const PATHS: [&str; 21] = [
    "query",
    "query_range",
    "series",
    "labels",
    "label/k/values",
    "label/U__k_2e_/values",
    "metadata",
    "format_query",
    "parse_query",
    "query_exemplars",
    "rules",
    "alerts",
    "targets",
    "status/tsdb",
    "status/config",
    "status/top_queries",
    "status/active_queries",
    "status/walreplay",
    "admin/tsdb/delete_series",
    "admin/tidegauge/count",
    "nonsense",
];
const NAMES: [&str; 16] = [
    "query",
    "time",
    "start",
    "end",
    "step",
    "timeout",
    "limit",
    "lookback_delta",
    "stats",
    "match[]",
    "metric",
    "limit_per_metric",
    "topN",
    "maxLifetime",
    "type",
    "state",
];

fn parameters() -> impl Strategy<Value = Vec<(String, String)>> {
    let value = prop_oneof![
        2 => prop::sample::select(&VALUES[..]).prop_map(str::to_owned),
        2 => prop::sample::select(&EXPRESSIONS[..]).prop_map(str::to_owned),
        1 => any::<String>(),
    ];
    let name = prop_oneof![9 => prop::sample::select(&NAMES[..]).prop_map(str::to_owned), 1 => any::<String>()];
    prop::collection::vec((name, value), 0..6)
}

/// What a handler may answer, and in which form.
fn is_in_kind(answer: &support::Response) -> bool {
    match answer.status {
        204 => answer.body.is_empty(),
        404 => answer.text() == "404 page not found\n",
        405 => answer.text() == "Method Not Allowed\n",
        200 => answer.json()["status"] == "success",
        // 500: the admin API is off.
        400 | 422 | 500 | 503 => {
            let body = answer.json();
            body["status"] == "error" && body["errorType"].is_string() && !body["error"].as_str().unwrap().is_empty()
        }
        _ => false,
    }
}

#[test]
fn no_parameters_make_an_answer_that_is_none() {
    let (_dir, agent) = with_samples();
    let config = ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(400) };
    proptest!(config, |(path in prop::sample::select(&PATHS[..]), pairs in parameters(), post: bool)| {
        let form = form_urlencoded::Serializer::new(String::new()).extend_pairs(&pairs).finish();
        let path = format!("/api/v1/{path}");
        let answer = if post {
            let kind = [("Content-Type", "application/x-www-form-urlencoded")];
            agent.post(&path, &kind, form.as_bytes())
        } else {
            agent.get(&format!("{path}?{form}"))
        };
        prop_assert!(is_in_kind(&answer), "{path} {pairs:?}: {} {}", answer.status, answer.text());
    });
    assert_eq!(agent.get("/-/ready").status, 200);
}

/// What a head announces and nobody would take is refused at once, before anything of it comes.
#[test]
fn a_body_that_is_announced_too_long_is_refused_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let agent = Agent::bare(dir.path());
    let form = "Content-Type: application/x-www-form-urlencoded";
    let push = "Content-Type: application/x-protobuf\r\nContent-Encoding: snappy";
    for (path, head) in [("/api/v1/query", form), ("/api/v1/write", push), ("/api/v1/read", push)] {
        let mut stream = std::net::TcpStream::connect(&agent.address).unwrap();
        // A body that is waited for would take 30 s to be given up.
        stream.set_read_timeout(Some(std::time::Duration::from_secs(20))).unwrap();
        let head = format!("POST {path} HTTP/1.1\r\nHost: x\r\n{head}\r\nContent-Length: 1000000000000000000\r\n\r\n");
        std::io::Write::write_all(&mut stream, head.as_bytes()).unwrap();
        let mut answer = [0; 12];
        std::io::Read::read_exact(&mut stream, &mut answer).unwrap_or_else(|e| panic!("{path}: {e}"));
        assert_eq!(&answer, b"HTTP/1.1 413", "{path}: {}", String::from_utf8_lossy(&answer));
    }
    assert_eq!(agent.get("/-/ready").status, 200);
}
