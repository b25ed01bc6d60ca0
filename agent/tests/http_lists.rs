//! What the real binary says of labels, series and texts, without a query.
#![allow(missing_docs)]

mod support;

use serde_json::json;
use support::{Agent, with_samples, write};

#[test]
fn labels_values_series_and_metadata_are_listed() {
    let (_dir, agent) = with_samples();
    let data = |path: &str| {
        let answer = agent.get(path);
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        answer.json()["data"].clone()
    };
    assert_eq!(data("/api/v1/labels"), json!(["__name__", "k"]));
    assert_eq!(data("/api/v1/labels?match[]=m&start=0&end=20"), json!(["__name__", "k"]));
    assert_eq!(data("/api/v1/labels?match[]=nothing"), json!([]));
    assert_eq!(data("/api/v1/label/k/values"), json!(["a", "b"]));
    assert_eq!(data("/api/v1/label/k/values?match[]=m%7Bk!%3D%22a%22%7D"), json!(["b"]));
    assert_eq!(data("/api/v1/label/none/values"), json!([]));
    let bad = agent.get("/api/v1/label/a%ff/values");
    assert_eq!((bad.status, &bad.json()["errorType"]), (400, &json!("bad_data")));
    assert_eq!(data("/api/v1/series?match[]=m"), json!([{"__name__": "m", "k": "a"}, {"__name__": "m", "k": "b"}]));
    assert_eq!(data("/api/v1/metadata"), json!({"m": [{"type": "gauge", "help": "Of m.", "unit": ""}]}));
    assert_eq!(data("/api/v1/metadata?metric=other"), json!({}));
    assert_eq!(agent.get("/api/v1/labels?limit=1").json()["warnings"], json!(["results truncated due to limit"]));
}

#[test]
fn what_is_listed_is_charged_to_the_memory_of_queries() {
    let dir = tempfile::tempdir().unwrap();
    let agent = Agent::start(dir.path(), &["--no-host-metrics", "--query-memory", "1MiB"]);
    // 30 names and a value in each of 300 series: together two megabytes of names, and of values of `long`.
    for of in 0..300 {
        let value = format!("{of:08}{}", "x".repeat(4000));
        let names: Vec<String> = (0..30).map(|i| format!("n{:0200}", of * 30 + i)).collect();
        let mut labels = vec![("__name__", "m"), ("long", value.as_str())];
        labels.extend(names.iter().map(|name| (name.as_str(), "v")));
        assert_eq!(
            agent.post("/api/v1/write", &write::V1, &write::request(vec![write::series(&labels, &[(0, 1.0)])])).status,
            204
        );
    }
    for path in [
        "/api/v1/labels",
        "/api/v1/labels?match[]=m",
        "/api/v1/label/long/values",
        "/api/v1/label/long/values?match[]=m",
        "/api/v1/series?match[]=m",
    ] {
        let answer = agent.get(path);
        let body = answer.json();
        assert_eq!((answer.status, &body["errorType"]), (422, &json!("execution")), "{path}");
        assert!(body["error"].as_str().unwrap().contains("--query-memory"), "{path}: {body}");
    }
    // What is small is answered, and nothing stays charged.
    assert_eq!(agent.get("/api/v1/label/__name__/values").json()["data"], json!(["m"]));
    let metrics = agent.get("/metrics").text();
    assert!(metrics.lines().any(|line| line == "tidegauge_query_memory_bytes 0"), "{metrics}");
    assert!(metrics.lines().any(|line| line == "tidegauge_refused_queries_total 5"), "{metrics}");
}

/// Thirty characters are a megabyte or more, and to compile a hundred takes seconds.
#[test]
fn the_regular_expressions_of_a_request_have_a_bound_together() {
    let (_dir, agent) = with_samples();
    let of = |count: usize| vec!["match[]=m%7Bk%3D~%22%5C%5CpL%7B30%7D%22%7D"; count].join("&");
    assert_eq!(agent.get(&format!("/api/v1/labels?{}", of(3))).json()["data"], json!([]));
    for path in ["labels", "label/k/values", "series"] {
        let answer = agent.get(&format!("/api/v1/{path}?{}", of(60)));
        assert_eq!((answer.status, &answer.json()["errorType"]), (400, &json!("bad_data")), "{path}");
        assert!(answer.text().contains("64 MiB together"), "{path}: {}", answer.text());
    }
    assert_eq!(agent.get(&format!("/federate?{}", of(60))).status, 400);
}

#[test]
fn cardinality_is_explained() {
    let (_dir, agent) = with_samples();
    let data = agent.get("/api/v1/status/tsdb?limit=1").json()["data"].clone();
    assert_eq!(data["headStats"]["numSeries"], 2);
    assert_eq!(data["headStats"]["numLabelPairs"], 3);
    assert_eq!((&data["headStats"]["minTime"], &data["headStats"]["maxTime"]), (&json!(0), &json!(20_000)));
    assert_eq!(data["seriesCountByMetricName"], json!([{"name": "m", "value": 2}]));
    assert_eq!(data["labelValueCountByLabelName"], json!([{"name": "k", "value": 2}]));
    assert_eq!(data["seriesCountByLabelValuePair"], json!([{"name": "__name__=m", "value": 2}]));
    for limit in ["0", "x", "10001", "-1"] {
        assert_eq!(agent.get(&format!("/api/v1/status/tsdb?limit={limit}")).status, 400, "{limit}");
    }
    let dir = tempfile::tempdir().unwrap();
    let empty = Agent::bare(dir.path()).get("/api/v1/status/tsdb").json()["data"]["headStats"].clone();
    assert_eq!((&empty["minTime"], &empty["maxTime"]), (&json!(i64::MAX), &json!(i64::MIN)));
}

#[test]
fn the_last_samples_of_series_are_federated() {
    let dir = tempfile::tempdir().unwrap();
    let agent = Agent::bare(dir.path());
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis() as i64;
    let stale = f64::from_bits(0x7ff0_0000_0000_0002);
    let alive = write::series(&[("__name__", "m"), ("k", "a\"b")], &[(now - 2000, 1.0), (now - 1000, 2.5)]);
    let ended = write::series(&[("__name__", "m"), ("k", "ended")], &[(now - 2000, 1.0), (now - 1000, stale)]);
    let old = write::series(&[("__name__", "m"), ("k", "old")], &[(now - 301_000, 1.0)]);
    let other = write::series(&[("__name__", "z"), ("instance", "i")], &[(now, 7.0)]);
    assert_eq!(agent.post("/api/v1/write", &write::V1, &write::request(vec![alive, ended, old, other])).status, 204);
    let all = agent.get("/federate?match[]=m&match[]=%7Bk%3D~%22a.*%22%7D&match[]=z");
    assert!(all.header("content-type").unwrap().starts_with("text/plain; version=0.0.4"));
    let expected = format!(
        "# TYPE m untyped\nm{{k=\"a\\\"b\",instance=\"\"}} 2.5 {}\n# TYPE z untyped\nz{{instance=\"i\"}} 7 {now}\n",
        now - 1000
    );
    assert_eq!(all.text(), expected);
    assert_eq!(agent.get("/federate").text(), "");
    assert_eq!(agent.get("/federate?match[]=sum(m)").status, 400);
}

#[test]
fn texts_are_tidied_and_shown_as_trees() {
    let (_dir, agent) = with_samples();
    for tidy in [
        agent.get("/api/v1/format_query?query=sum(m)by(k)"),
        agent.form("/api/v1/format_query", &[("query", "sum(m)by(k)")]),
    ] {
        assert_eq!(tidy.json(), json!({"status": "success", "data": "sum by (k) (m)"}));
    }
    let tree = agent.get("/api/v1/parse_query?query=sum(m)by(k)").json()["data"].clone();
    assert_eq!((&tree["type"], &tree["grouping"]), (&json!("aggregation"), &json!(["k"])));
    assert_eq!(tree["expr"]["matchers"], json!([{"name": "__name__", "value": "m", "type": "="}]));
    for path in ["/api/v1/format_query", "/api/v1/parse_query?query=sum(", "/api/v1/query_exemplars?query=("] {
        let answer = agent.get(path);
        assert_eq!((answer.status, &answer.json()["errorType"]), (400, &json!("bad_data")), "{path}");
    }
}

#[test]
fn what_there_is_none_of_is_an_empty_list() {
    let (_dir, agent) = with_samples();
    let data = |path: &str| {
        let answer = agent.get(path);
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        answer.json()["data"].clone()
    };
    assert_eq!(data("/api/v1/rules?type=alert"), json!({"groups": []}));
    assert_eq!(agent.get("/api/v1/rules?type=x").status, 400);
    assert_eq!(data("/api/v1/alerts"), json!({"alerts": []}));
    assert_eq!(data("/api/v1/alertmanagers"), json!({"activeAlertmanagers": [], "droppedAlertmanagers": []}));
    assert_eq!(data("/api/v1/targets"), json!({"activeTargets": [], "droppedTargets": [], "droppedTargetCounts": {}}));
    assert_eq!(data("/api/v1/query_exemplars?query=m"), json!([]));
    assert_eq!(agent.get("/api/v1/query_exemplars?query=1").status, 204);
    assert_eq!(data("/api/v1/status/walreplay"), json!({"min": 0, "max": 0, "current": 0}));
}
