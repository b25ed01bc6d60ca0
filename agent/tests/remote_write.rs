//! Remote write against the real binary.
#![allow(missing_docs)]

mod support;

use serde_json::json;
use support::{Agent, Response, write};

const SAMPLES: &str = "X-Prometheus-Remote-Write-Samples-Written";
const HISTOGRAMS: &str = "X-Prometheus-Remote-Write-Histograms-Written";
const EXEMPLARS: &str = "X-Prometheus-Remote-Write-Exemplars-Written";

fn bare() -> (tempfile::TempDir, Agent) {
    let dir = tempfile::tempdir().unwrap();
    let agent = Agent::bare(dir.path());
    (dir, agent)
}

fn push(agent: &Agent, body: &[u8]) -> Response {
    agent.post("/api/v1/write", &write::V1, body)
}

#[test]
fn a_push_that_was_answered_is_seen_by_the_next_query() {
    let (_dir, agent) = bare();
    for round in 1..=50 {
        let series = write::series(&[("__name__", "n")], &[(round * 1000, round as f64)]);
        assert_eq!(push(&agent, &write::request(vec![series])).status, 204);
        let count = agent.query("count_over_time(n[1h])", "100");
        assert_eq!(count[0]["value"][1], json!(round.to_string()));
    }
}

#[test]
fn samples_come_in_any_order_and_the_last_of_a_timestamp_wins() {
    let (_dir, agent) = bare();
    for samples in [&[(5000, 5.0), (1000, 1.0)][..], &[(3000, 3.0)], &[(1000, 100.0)]] {
        let body = write::request(vec![write::series(&[("__name__", "n")], samples)]);
        assert_eq!(push(&agent, &body).status, 204);
    }
    let values = agent.query("n[1h]", "100")[0]["values"].clone();
    assert_eq!(values, json!([[1, "100"], [3, "3"], [5, "5"]]));
}

#[test]
fn version_2_counts_what_was_written() {
    let (_dir, agent) = bare();
    let symbols = ["", "__name__", "v2", "k", "x"].map(str::to_owned).to_vec();
    let sample = |timestamp, value| write::Sample { value, timestamp };
    let good = write::SeriesV2 {
        labels: vec![1, 2, 3, 4],
        samples: vec![sample(1000, 1.0), sample(2000, 2.0)],
        histograms: vec![],
    };
    let nameless = write::SeriesV2 { labels: vec![3, 4], samples: vec![sample(1000, 1.0)], histograms: vec![] };

    let body = write::body(&write::RequestV2 { symbols: symbols.clone(), series: vec![good.clone()] });
    let answer = agent.post("/api/v1/write", &write::V2, &body);
    assert_eq!((answer.status, answer.header(SAMPLES)), (204, Some("2")));
    assert_eq!((answer.header(HISTOGRAMS), answer.header(EXEMPLARS)), (Some("0"), Some("0")));
    assert_eq!(agent.query("v2", "2")[0]["value"], json!([2, "2"]));

    let body = write::body(&write::RequestV2 { symbols: symbols.clone(), series: vec![nameless, good.clone()] });
    let answer = agent.post("/api/v1/write", &write::V2, &body);
    assert_eq!((answer.status, answer.header(SAMPLES)), (400, Some("2")), "{}", answer.text());
    assert!(answer.text().contains("__name__"));

    let dangling = write::SeriesV2 { labels: vec![1, 99], ..good.clone() };
    let body = write::body(&write::RequestV2 { symbols: symbols.clone(), series: vec![dangling] });
    let answer = agent.post("/api/v1/write", &write::V2, &body);
    assert_eq!((answer.status, answer.header(SAMPLES)), (400, Some("0")));

    let histogram = write::SeriesV2 { samples: vec![], histograms: vec![vec![8, 1]], ..good };
    let body = write::body(&write::RequestV2 { symbols, series: vec![histogram] });
    let answer = agent.post("/api/v1/write", &write::V2, &body);
    assert_eq!(answer.status, 400);
    assert!(answer.text().contains("histograms"));
}

#[test]
fn wrong_types_and_encodings_get_415() {
    let (_dir, agent) = bare();
    let body = write::request(vec![write::series(&[("__name__", "n")], &[(1000, 1.0)])]);
    for (kind, encoding) in [
        ("application/json", "snappy"),
        ("text/plain", "snappy"),
        ("application/x-protobuf;proto=io.prometheus.write.v9.Request", "snappy"),
        ("application/x-protobuf", "gzip"),
        ("application/x-protobuf", "identity"),
    ] {
        let headers = [("Content-Type", kind), ("Content-Encoding", encoding)];
        assert_eq!(agent.post("/api/v1/write", &headers, &body).status, 415, "{kind} {encoding}");
    }
    assert_eq!(agent.post("/api/v1/write", &[], &body).status, 415);
    assert_eq!(agent.get("/api/v1/write").status, 405);
}

/// It said `content encoding "" is not supported: send snappy (block format)`, which helps nobody who sends text.
#[test]
fn whoever_pushes_text_is_told_what_is_taken_and_what_to_do_with_text() {
    let (_dir, agent) = bare();
    for (headers, body) in [
        (&[][..], "up 1\n"),
        (&[("Content-Type", "text/plain")], "up 1\n"),
        (&[("Content-Type", "application/json")], "{}"),
        (&[("Content-Type", "application/json"), ("Content-Encoding", "snappy")], "{}"),
        (&[("Content-Type", "application/x-protobuf"), ("Content-Encoding", "gzip")], ""),
    ] {
        let answer = agent.post("/api/v1/write", headers, body.as_bytes());
        let said = answer.text();
        assert_eq!((answer.status, said.lines().count()), (415, 1), "{headers:?}: {said}");
        for part in ["application/x-protobuf", "snappy", "block format", "1.0", "2.0", "--scrape", "tidegauge import"] {
            assert!(said.contains(part), "{headers:?}: {part}: {said}");
        }
        assert!(headers.iter().all(|(_, value)| said.contains(value)), "what was sent: {said}");
    }
}

#[test]
fn corrupt_bodies_get_400_and_leave_nothing_behind() {
    let (_dir, agent) = bare();
    let whole = write::request(vec![write::series(&[("__name__", "n"), ("k", "v")], &[(1000, 1.0)])]);
    let plain = snap::raw::Decoder::new().decompress_vec(&whole).unwrap();
    let pack = |bytes: &[u8]| snap::raw::Encoder::new().compress_vec(bytes).unwrap();
    let mut bad: Vec<Vec<u8>> = (0..whole.len()).map(|end| whole[..end].to_vec()).collect();
    bad.extend((1..plain.len()).map(|end| pack(&plain[..end])));
    bad.push(b"no snappy at all".to_vec());
    bad.push(vec![0xff, 0xff, 0xff, 0xff, 0x0f]);
    bad.push(pack(b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"));
    for body in &bad {
        let answer = push(&agent, body);
        assert_eq!((answer.status, answer.header(SAMPLES)), (400, Some("0")), "{body:?}: {}", answer.text());
    }
    assert_eq!(agent.query("{__name__=~\".+\"}", "1"), json!([]));
    assert_eq!(push(&agent, &whole).status, 204);
}

#[test]
fn unacceptable_series_and_samples_are_named_and_the_others_stored() {
    let (_dir, agent) = bare();
    let long = "x".repeat(20 << 10);
    let future = 4_000_000_000_000;
    for (labels, at, word) in [
        (&[("k", "v")][..], 1000, "__name__"),
        (&[("__name__", "bad"), ("", "v")], 1000, "no name"),
        (&[("__name__", "bad"), ("k", "1"), ("k", "2")], 1000, "twice"),
        (&[("__name__", "bad"), ("k", &long)], 1000, "bytes"),
        (&[("__name__", "bad")], i64::MAX, "timestamp"),
        (&[("__name__", "bad")], future, "ahead"),
        (&[], 1000, "label"),
    ] {
        let good = write::series(&[("__name__", "good")], &[(1000, 1.0)]);
        let body = write::request(vec![write::series(labels, &[(at, 1.0)]), good]);
        let answer = push(&agent, &body);
        assert_eq!((answer.status, answer.header(SAMPLES)), (400, Some("1")), "{labels:?}: {}", answer.text());
        assert!(answer.text().contains(word), "{labels:?}: {}", answer.text());
    }
    assert_eq!(agent.query("bad", "1"), json!([]));
    assert_eq!(agent.query("good", "1")[0]["value"][1], "1");
}

#[test]
fn a_body_beyond_the_limit_is_refused_and_the_agent_goes_on() {
    let (_dir, agent) = bare();
    let huge = vec![0u8; 17 << 20];
    let refused = support::http::try_request(&agent.address, "POST", "/api/v1/write", &write::V1, &huge);
    assert!(refused.is_err() || refused.unwrap().status == 413);
    assert_eq!(agent.get("/-/ready").status, 200);
}
