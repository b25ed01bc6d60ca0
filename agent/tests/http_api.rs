//! Questions to the real binary: answers, what they cost, and what bounds them.
#![allow(missing_docs)]

mod support;

use std::io::Read;

use serde_json::json;
use support::{Agent, poll, with_samples, write};

#[test]
fn queries_answer_in_the_envelope_of_prometheus() {
    let (_dir, agent) = with_samples();
    let vector = agent.get("/api/v1/query?query=sum(m)&time=20");
    let metric = json!([{"metric": {}, "value": [20, "33"]}]);
    assert_eq!(vector.json(), json!({"status": "success", "data": {"resultType": "vector", "result": metric}}));
    assert_eq!(vector.header("content-type"), Some("application/json"));

    let scalar = agent.form("/api/v1/query", &[("query", "1/0"), ("time", "1970-01-01T00:00:01.5Z")]);
    assert_eq!(scalar.json()["data"], json!({"resultType": "scalar", "result": [1.5, "+Inf"]}));

    let raw = agent.get("/api/v1/query?query=m%7Bk%3D%22a%22%7D%5B1m%5D&time=20");
    let values = json!([[0, "1"], [10, "2"], [20, "3"]]);
    assert_eq!(raw.json()["data"]["resultType"], "matrix");
    assert_eq!(raw.json()["data"]["result"][0]["values"], values);

    for range in [
        agent.get("/api/v1/query_range?query=max(m)&start=0&end=20&step=10"),
        agent.form("/api/v1/query_range", &[("query", "max(m)"), ("start", "0"), ("end", "20"), ("step", "10s")]),
    ] {
        let series = json!([{"metric": {}, "values": [[0, "10"], [10, "20"], [20, "30"]]}]);
        assert_eq!(range.json()["data"], json!({"resultType": "matrix", "result": series}));
    }
    // As people type it, and twice on one connection.
    let typed = "/api/v1/query?query=m{k=\"a\"}<100&time=20";
    for _ in 0..2 {
        let answer = agent.get(typed);
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert_eq!(answer.json()["data"]["result"].as_array().unwrap().len(), 1);
    }
    let cut = agent.get("/api/v1/query?query=m&time=20&limit=1").json();
    assert_eq!(cut["data"]["result"].as_array().unwrap().len(), 1);
    assert_eq!(cut["warnings"], json!(["results truncated due to limit"]));
}

/// Generated alerts have them. Each path, with the stacks that the agent's threads have.
#[test]
fn thousands_of_operators_in_a_row_are_a_query_like_any_other() {
    let (_dir, agent) = with_samples();
    let row = |operands: &[&str]| format!("m{}", operands.iter().cycle().take(5_000).copied().collect::<String>());
    for (operands, expected) in [(&[" + m"][..], "5001"), (&[" or m"], "1"), (&[" + 1 * m", " - m", " or m"], "1")] {
        let text = row(operands).replace('m', "m{k='a'}");
        for extra in [[("time", "0")].as_slice(), &[("time", "0"), ("stats", "all")]] {
            let answer = agent.form("/api/v1/query", &[&[("query", text.as_str())], extra].concat());
            assert_eq!(answer.json()["data"]["result"][0]["value"], json!([0, expected]), "{text:.50}");
        }
        let times = [("query", text.as_str()), ("start", "0"), ("end", "0"), ("step", "1")];
        let range = agent.form("/api/v1/query_range", &times).json();
        assert_eq!(range["data"]["result"][0]["values"], json!([[0, expected]]), "{text:.50}");
        let tree = agent.form("/api/v1/parse_query", &[("query", &text)]).text();
        let operators = [" + ", " - ", " * ", " or "].iter().map(|op| text.matches(op).count()).sum::<usize>();
        assert_eq!(tree.matches("\"binaryExpr\"").count(), operators, "{tree:.50}");
        let pretty = agent.form("/api/v1/format_query", &[("query", &text)]).text();
        assert_eq!(pretty.matches("k=\\\"a\\\"").count(), 5_001);
    }
    let refused = agent.form("/api/v1/query", &[("query", &format!("1{}", " + 1".repeat(250_000)))]);
    assert_eq!((refused.status, &refused.json()["errorType"]), (400, &json!("bad_data")));
    assert_eq!(agent.get("/-/ready").status, 200);
}

#[test]
fn answers_are_the_same_whether_given_at_once_or_by_other_threads() {
    let dir = tempfile::tempdir().unwrap();
    let agent = Agent::bare(dir.path());
    let samples: Vec<(i64, f64)> = (0..100).map(|i| (i * 1000, i as f64 * 0.1)).collect();
    let series: Vec<_> =
        (0..100).map(|i| write::series(&[("__name__", "m"), ("i", &i.to_string())], &samples)).collect();
    assert_eq!(agent.post("/api/v1/write", &write::V1, &write::request(series)).status, 204);
    // Too many series to be answered at once; as many by another way that never is.
    for (small, large) in [("m{i=\"7\"}", "m{i=~\"7\"}"), ("sum(m)", "sum({__name__=~\"m\"})")] {
        let of = |expr: &str| {
            let form = [("query", expr), ("start", "0"), ("end", "99"), ("step", "0.5")];
            let answer = agent.form("/api/v1/query_range", &form);
            assert_eq!(answer.status, 200, "{}", answer.text());
            answer.json()["data"]["result"].clone()
        };
        assert_eq!(of(small), of(large));
    }
    // 100 series × 199 steps make an answer of more than one piece, which comes whole all the same.
    let long = agent.get("/api/v1/query_range?query=m&start=0&end=99&step=0.5");
    assert_eq!(long.header("content-length"), None);
    let result = long.json()["data"]["result"].clone();
    assert_eq!(result.as_array().unwrap().len(), 100);
    assert!(result.as_array().unwrap().iter().all(|series| series["values"].as_array().unwrap().len() == 199));
}

#[test]
fn long_answers_are_compressed_for_those_who_ask() {
    let (_dir, agent) = with_samples();
    let path = "/api/v1/query_range?query=m&start=0&end=200&step=1";
    let plain = agent.get(path);
    let packed = support::http::request(&agent.address, "GET", path, &[("Accept-Encoding", "gzip")], b"");
    assert_eq!(packed.header("content-encoding"), Some("gzip"));
    assert!(packed.body.len() * 3 < plain.body.len());
    let mut text = Vec::new();
    flate2::read::GzDecoder::new(&packed.body[..]).read_to_end(&mut text).unwrap();
    assert_eq!(text, plain.body);
}

#[test]
fn an_answer_tells_what_it_has_cost_if_asked() {
    let (_dir, agent) = with_samples();
    let stats = |path: &str| agent.get(path).json()["data"]["stats"].clone();
    assert_eq!(stats("/api/v1/query?query=m&time=20"), json!(null));
    let basic = stats("/api/v1/query?query=m&time=20&stats=true");
    assert_eq!(basic["samples"]["totalQueryableSamples"], 2);
    assert!(basic["timings"]["execTotalTime"].as_f64().unwrap() > 0.0);
    assert_eq!(basic.get("explain"), None);
    // Over three steps each of the two series has a sample in sight; in windows of 15 s they have 1, 2 and 2.
    let steps = "start=0&end=20&step=10&stats=all";
    let range = stats(&format!("/api/v1/query_range?query=m&{steps}"));
    assert_eq!((&range["samples"]["totalQueryableSamples"], &range["samples"]["peakSamples"]), (&json!(6), &json!(6)));
    let windows = stats(&format!("/api/v1/query_range?query=sum(count_over_time(m[15s]))&{steps}"));
    assert_eq!(windows["samples"]["totalQueryableSamples"], 10);
    assert_eq!(windows["samples"]["totalQueryableSamplesPerStep"], json!([[0.0, 2], [10.0, 4], [20.0, 4]]));
    assert_eq!(windows["explain"]["series"], json!({"selected": 2, "read": 2}));
    assert_eq!(windows["explain"]["samples"]["read"], 6);
    assert!(windows["explain"]["phases"]["readAndEvaluate"].as_f64().unwrap() > 0.0);
    // Inside the subquery nothing counts: three values of each series lie in its one window.
    let sub = stats("/api/v1/query?query=sum_over_time(m[25s:10s])&time=20&stats=all");
    assert_eq!(sub["samples"]["totalQueryableSamples"], 6);
}

#[test]
fn queries_that_ran_are_ranked() {
    let (_dir, agent) = with_samples();
    for _ in 0..3 {
        agent.get("/api/v1/query?query=m&time=20");
    }
    agent.get("/api/v1/query_range?query=max(m)&start=0&end=20&step=10");
    let top = agent.get("/api/v1/status/top_queries?topN=1").json()["data"].clone();
    assert_eq!(top["topByCount"], json!([{"query": "m", "timeRangeSeconds": 0, "count": 3}]));
    assert!(top["topBySumDuration"][0]["sumDurationSeconds"].as_f64().unwrap() > 0.0);
    assert_eq!(agent.get("/api/v1/status/active_queries").json()["data"], json!([]));
}

#[test]
fn what_all_queries_hold_together_is_bounded_shown_and_said() {
    let dir = tempfile::tempdir().unwrap();
    let agent = Agent::start(dir.path(), &["--no-host-metrics", "--query-memory", "1MiB", "--query-concurrency", "3"]);
    // 10,000 steps of a number: more than a mebibyte with everything.
    let heavy = "max_over_time(vector(time())[200000s:1s])";
    let refused = agent.form("/api/v1/query", &[("query", heavy), ("time", "200000")]);
    let body = refused.json();
    // It may have all of it, and that is not enough: asked again it would find no more.
    assert_eq!((refused.status, &body["errorType"]), (422, &json!("execution")), "{body}");
    for word in ["it needs more than 1048576 bytes of memory", "--query-memory"] {
        assert!(body["error"].as_str().unwrap().contains(word), "{body}");
    }
    assert_eq!(agent.query("vector(1)", "1")[0]["value"], json!([1, "1"]), "the next one is answered");
    // A query gives its turn back a moment after it was answered.
    poll("every metric of queries to say what it should", || {
        let metrics = agent.get("/metrics").text();
        let lines = [
            "tidegauge_refused_queries_total 1",
            "tidegauge_query_memory_limit_bytes 1048576",
            "tidegauge_query_memory_bytes 0",
            "tidegauge_engine_query_seconds_count 1",
            "tidegauge_queries_running 0",
            "tidegauge_queries_waiting 0",
            "tidegauge_queries_turned_away_total 0",
        ];
        lines.iter().all(|line| metrics.lines().any(|l| l == *line)).then_some(())
    });
    let flags = agent.get("/api/v1/status/flags").json();
    assert_eq!(
        (&flags["data"]["query-memory"], &flags["data"]["query-concurrency"]),
        (&json!("1048576B"), &json!("3"))
    );
}

#[test]
fn how_long_requests_take_is_told_by_handler() {
    let (_dir, agent) = with_samples();
    for path in ["/api/v1/query?query=m", "/api/v1/query?query=(", "/api/v1/label/k/values", "/nowhere", "/api/v1/no"] {
        agent.get(path);
    }
    let numbers = |text: &str, name: &str| -> Vec<u64> {
        let lines = text.lines().filter_map(|line| line.strip_prefix("tidegauge_http_request_seconds_"));
        lines.filter_map(|line| line.strip_prefix(name)?.rsplit_once(' ')?.1.parse().ok()).collect()
    };
    // Counted once all of the answer was taken: a moment after we have it.
    let text = poll("all are counted", || {
        let text = agent.get("/metrics").text();
        let all = [("/api/v1/query", 2), ("/api/v1/label/{name}/values", 1), ("other", 1), ("/api/v1/{*rest}", 1)];
        let counted = |handler: &str, n| numbers(&text, &format!("count{{handler=\"{handler}\"}}")) == [n];
        all.iter().all(|(handler, n)| counted(handler, *n)).then_some(text)
    });
    let buckets = numbers(&text, "bucket{handler=\"/api/v1/query\",");
    assert!(buckets.len() == 11 && buckets.is_sorted() && buckets[10] == 2, "{text}");
    assert!(text.contains("# TYPE tidegauge_http_request_seconds histogram\n"));
    assert!(
        text.contains("tidegauge_http_request_seconds_bucket{handler=\"/api/v1/query\",le=\"+Inf\"} 2\n"),
        "{text}"
    );
    // The log's file is there from the first sample on.
    let bytes = text.lines().find_map(|line| line.strip_prefix("tidegauge_wal_file_bytes ")?.parse::<u64>().ok());
    assert!(bytes.is_some_and(|bytes| bytes >= 1 << 20), "{text}");
}
