//! Remote read as another Prometheus uses it, decoded by prost.
#![allow(missing_docs)]

mod support;

use prost::Message;
use support::{Agent, write};

#[derive(Clone, PartialEq, Message)]
struct Matcher {
    #[prost(int32, tag = "1")]
    kind: i32,
    #[prost(string, tag = "2")]
    name: String,
    #[prost(string, tag = "3")]
    value: String,
}

#[derive(Clone, PartialEq, Message)]
struct Query {
    #[prost(int64, tag = "1")]
    start: i64,
    #[prost(int64, tag = "2")]
    end: i64,
    #[prost(message, repeated, tag = "3")]
    matchers: Vec<Matcher>,
}

#[derive(Clone, PartialEq, Message)]
struct ReadRequest {
    #[prost(message, repeated, tag = "1")]
    queries: Vec<Query>,
    #[prost(int32, repeated, tag = "2")]
    accepted: Vec<i32>,
}

#[derive(Clone, PartialEq, Message)]
struct QueryResult {
    #[prost(message, repeated, tag = "1")]
    series: Vec<write::Series>,
}

#[derive(Clone, PartialEq, Message)]
struct ReadResponse {
    #[prost(message, repeated, tag = "1")]
    results: Vec<QueryResult>,
}

#[derive(Clone, PartialEq, Message)]
struct Chunk {
    #[prost(int64, tag = "1")]
    first: i64,
    #[prost(int64, tag = "2")]
    last: i64,
    #[prost(int32, tag = "3")]
    encoding: i32,
    #[prost(bytes = "vec", tag = "4")]
    data: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
struct ChunkedSeries {
    #[prost(message, repeated, tag = "1")]
    labels: Vec<write::Label>,
    #[prost(message, repeated, tag = "2")]
    chunks: Vec<Chunk>,
}

#[derive(Clone, PartialEq, Message)]
struct Frame {
    #[prost(message, repeated, tag = "1")]
    series: Vec<ChunkedSeries>,
    #[prost(int64, tag = "2")]
    query: i64,
}

const SAMPLES: i32 = 1500;

/// `m{k="a"}` and `m{k="b"}`, a sample each 15 s; at each hundredth sample a staleness marker.
fn stored(k: &str) -> write::Series {
    let stale = f64::from_bits(0x7ff0_0000_0000_0002);
    let value = |i: i32| if i % 100 == 99 { stale } else { f64::from(i) * 1.5 };
    let samples: Vec<_> = (0..SAMPLES).map(|i| (i64::from(i) * 15_000, value(i))).collect();
    write::series(&[("__name__", "m"), ("k", k)], &samples)
}

fn with_samples() -> (tempfile::TempDir, Agent) {
    let dir = tempfile::tempdir().unwrap();
    let agent = Agent::bare(dir.path());
    let body = write::request(vec![stored("b"), stored("a")]);
    assert_eq!(agent.post("/api/v1/write", &write::V1, &body).status, 204);
    (dir, agent)
}

fn query(start: i64, end: i64, matchers: &[(i32, &str, &str)]) -> Query {
    let matcher = |&(kind, name, value): &(i32, &str, &str)| Matcher { kind, name: name.into(), value: value.into() };
    Query { start, end, matchers: matchers.iter().map(matcher).collect() }
}

fn ask(agent: &Agent, queries: Vec<Query>, accepted: Vec<i32>) -> support::Response {
    agent.post("/api/v1/read", &write::V1, &write::body(&ReadRequest { queries, accepted }))
}

/// Values as bits, so that staleness markers are told from other NaNs.
fn bits(samples: &[write::Sample]) -> Vec<(i64, u64)> {
    samples.iter().map(|s| (s.timestamp, s.value.to_bits())).collect()
}

#[test]
fn samples_come_as_one_message_with_both_ends_inside() {
    let (_dir, agent) = with_samples();
    let named = query(15_000, 45_000, &[(0, "__name__", "m"), (3, "k", "b|c")]);
    let none = query(15_000, 45_000, &[(0, "__name__", "other")]);
    let answer = ask(&agent, vec![named, none], vec![]);
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.header("content-type"), Some("application/x-protobuf"));
    assert_eq!(answer.header("content-encoding"), Some("snappy"));
    let message = snap::raw::Decoder::new().decompress_vec(&answer.body).unwrap();
    let results = ReadResponse::decode(&message[..]).unwrap().results;
    assert_eq!(results.len(), 2);
    assert_eq!(results[0].series.len(), 1);
    assert_eq!(results[0].series[0].labels, stored("a").labels);
    assert_eq!(bits(&results[0].series[0].samples), bits(&stored("a").samples[1..=3]));
    assert!(results[1].series.is_empty());
}

#[test]
fn chunks_come_in_checked_frames_in_the_order_of_labels() {
    let (_dir, agent) = with_samples();
    let all = query(i64::MIN, i64::MAX, &[(2, "__name__", "m.*")]);
    let answer = ask(&agent, vec![all], vec![1, 0]);
    assert_eq!(answer.status, 200, "{}", answer.text());
    let kind = "application/x-streamed-protobuf; proto=prometheus.ChunkedReadResponse";
    assert_eq!(answer.header("content-type"), Some(kind));
    let mut rest = &answer.body[..];
    let mut seen = Vec::new();
    while !rest.is_empty() {
        let length = prost::decode_length_delimiter(&mut rest).unwrap();
        let (crc, behind) = rest.split_first_chunk().unwrap();
        let (message, behind) = behind.split_at(length);
        assert_eq!(u32::from_be_bytes(*crc), crc32c::crc32c(message));
        let frame = Frame::decode(message).unwrap();
        assert_eq!((frame.query, frame.series.len()), (0, 1));
        seen.extend(frame.series);
        rest = behind;
    }
    let labels: Vec<_> = seen.iter().map(|series| &series.labels).collect();
    assert_eq!(labels, [&stored("a").labels, &stored("b").labels]);
    for series in &seen {
        // Each chunk begins where the one before ended, and counts its samples in its first two bytes.
        let counts: Vec<u16> = series.chunks.iter().map(|c| u16::from_be_bytes([c.data[0], c.data[1]])).collect();
        assert_eq!(counts.iter().map(|&c| i32::from(c)).sum::<i32>(), SAMPLES);
        assert!(counts[..counts.len() - 1].iter().all(|&c| c == 120), "{counts:?}");
        assert!(series.chunks.iter().all(|c| c.encoding == 1));
        assert!(series.chunks.windows(2).all(|w| w[0].last + 15_000 == w[1].first));
    }
}

#[test]
fn what_is_no_request_gets_400_and_the_agent_goes_on() {
    let (_dir, agent) = with_samples();
    let bad_regex = query(0, 1, &[(2, "k", "(")]);
    let bad_kind = query(0, 1, &[(9, "k", "x")]);
    for (answer, word) in [
        (ask(&agent, vec![bad_regex], vec![]), "regex"),
        (ask(&agent, vec![bad_kind], vec![]), "matcher type"),
        (ask(&agent, vec![], vec![7]), "response types"),
        (agent.post("/api/v1/read", &write::V1, b"no snappy"), "snappy"),
        (
            agent.post("/api/v1/read", &write::V1, &snap::raw::Encoder::new().compress_vec(&[0xff; 9]).unwrap()),
            "corrupt",
        ),
    ] {
        assert_eq!((answer.status, answer.text().contains(word)), (400, true), "{word}: {}", answer.text());
    }
    assert_eq!(agent.get("/-/ready").status, 200);
}
