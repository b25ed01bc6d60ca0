//! Every endpoint of the real binary: answers, and what bad requests get.
#![allow(missing_docs)]

mod support;

use std::io::{Read, Write};
use std::net::TcpStream;

use serde_json::json;
use support::{Agent, poll, write};

/// An agent that holds `m{k="a"}` = 1, 2, 3 and `m{k="b"}` = 10, 20, 30 at 0, 10, 20 s.
fn with_samples() -> (tempfile::TempDir, Agent) {
    let dir = tempfile::tempdir().unwrap();
    let agent = Agent::bare(dir.path());
    let a = write::series(&[("__name__", "m"), ("k", "a")], &[(0, 1.0), (10_000, 2.0), (20_000, 3.0)]);
    let b = write::series(&[("__name__", "m"), ("k", "b")], &[(0, 10.0), (10_000, 20.0), (20_000, 30.0)]);
    let metadata = write::Metadata { kind: 2, metric: "m".to_owned(), help: "Of m.".to_owned() };
    let body = write::body(&write::Request { series: vec![a, b], metadata: vec![metadata] });
    assert_eq!(agent.post("/api/v1/write", &write::V1, &body).status, 204);
    (dir, agent)
}

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
fn bad_parameters_get_400_and_the_words_of_prometheus() {
    let (_dir, agent) = with_samples();
    for (path, word) in [
        ("/api/v1/query", "query"),
        ("/api/v1/query?query=m&time=yesterday", "time"),
        ("/api/v1/query?query=m&timeout=soon", "timeout"),
        ("/api/v1/query?query=sum(", "query"),
        ("/api/v1/query?query=m&limit=-1", "limit"),
        ("/api/v1/query_range?query=m", "start"),
        ("/api/v1/query_range?query=m&start=0&end=x&step=1", "end"),
        ("/api/v1/query_range?query=m&start=0&end=1", "step"),
        ("/api/v1/query_range?query=m&start=0&end=1&step=0", "zero or negative"),
        ("/api/v1/query_range?query=m&start=0&end=1&step=-5", "zero or negative"),
        ("/api/v1/query_range?query=m&start=1&end=0&step=1", "before start"),
        ("/api/v1/query_range?query=m&start=0&end=11001&step=1", "11,000"),
        ("/api/v1/query_range?query=m&start=-1e300&end=1e300&step=1", "11,000"),
        ("/api/v1/series", "match[]"),
        ("/api/v1/series?match[]=%7B%7D", "match[]"),
        ("/api/v1/series?match[]=rate(m[1m])", "match[]"),
        ("/api/v1/metadata?limit=x", "limit must be a number"),
        ("/api/v1/query?query=m&lookback_delta=x", "error parsing lookback delta duration"),
        (
            "/api/v1/query?query=m&timeout=-5s",
            "invalid parameter \"timeout\": cannot parse \"-5s\" to a valid duration",
        ),
        ("/api/v1/query?query=m&timeout=Inf", "cannot parse \"Inf\" to a valid duration. It overflows int64"),
        ("/api/v1/query?query=m&timeout=1ns", "cannot parse \"1ns\" to a valid duration"),
        ("/api/v1/query?query=m&lookback_delta=-5m", "error parsing lookback delta duration: cannot parse \"-5m\""),
        ("/api/v1/query?query=m&time=NaN", "cannot parse \"NaN\" to a valid timestamp"),
        ("/api/v1/query?query=m&time=1970-01-01%2000:00:20Z", "to a valid timestamp"),
        ("/api/v1/query?query=&query=m", "no expression found in input"),
        ("/api/v1/query?query=m%20@%20-Inf", "timestamp out of bounds for @ modifier: -Inf"),
        ("/api/v1/query?query=m%7Bk%3D~%22(%3FP%3Ca-b%3Ea)%22%7D", "invalid named capture: `(?P<a-b>`"),
        ("/api/v1/query_range?query=m&start=0&end=1&step=-5s", "cannot parse \"-5s\" to a valid duration"),
        ("/api/v1/query_range?query=m&start=0&end=1&step=NaN", "zero or negative"),
        ("/api/v1/labels?match[]=m%7Bk%3D~%22(%22%7D", "1:3: parse error: error parsing regexp"),
        ("/api/v1/series?match[]=m%5B5m%5D", "invalid parameter \"match[]\": 1:2: parse error: unexpected \"[\""),
    ] {
        let answer = agent.get(path);
        let body = answer.json();
        assert_eq!((answer.status, &body["errorType"]), (400, &json!("bad_data")), "{path}: {body}");
        assert_eq!(body["status"], "error");
        assert!(body["error"].as_str().unwrap().contains(word), "{path}: {body}");
    }
    // Only one of them names the parameter.
    let why = "match[] must contain at least one non-empty matcher";
    for (path, why) in [
        ("labels", why.to_owned()),
        ("label/k/values", why.to_owned()),
        ("series", format!("invalid parameter \"match[]\": {why}")),
    ] {
        assert_eq!(agent.get(&format!("/api/v1/{path}?match[]=%7B%7D")).json()["error"], why.as_str(), "{path}");
    }
    let many = agent.get("/api/v1/query?query=m%20%2B%20on(x)%20m&time=20");
    assert_eq!((many.status, &many.json()["errorType"]), (422, &json!("execution")), "{}", many.text());
}

/// Each was compared with Prometheus itself.
#[test]
fn odd_parameters_are_read_as_prometheus_reads_them() {
    let (_dir, agent) = with_samples();
    let ask = |query: &str, more: &[(&str, &str)]| {
        let answer = agent.form("/api/v1/query", &[&[("query", query), ("time", "25")], more].concat());
        (answer.status, answer.json())
    };
    let found = |query: &str, more: &[(&str, &str)]| {
        let (status, body) = ask(query, more);
        assert_eq!(status, 200, "{query} {more:?}: {body}");
        body["data"]["result"].as_array().unwrap().len()
    };
    let (status, body) = ask("m", &[("timeout", "-5")]);
    assert_eq!((status, &body["errorType"]), (503, &json!("timeout")), "{body}");
    for lookback in ["-5", "0", "NaN", "1_0", "0x1p3"] {
        assert_eq!(found("m", &[("lookback_delta", lookback)]), 2, "{lookback}");
    }
    assert_eq!(found("m", &[("lookback_delta", "4")]), 0);
    for far in ["m @ 1e18", "m @ -1e18", "m @ 9e15"] {
        assert_eq!(found(far, &[]), 0, "{far}");
    }
    assert_eq!(found("m{k=~\"(?P<1>a)(?P<1>)|(?<1>b)\"}", &[]), 2);
    let (_, replaced) = ask("label_replace(m, \"x\", \"<${n}$1é$01>\", \"k\", \"(?P<n>a)|(?P<n>b)\")", &[]);
    assert_eq!(replaced["data"]["result"][1]["metric"], json!({"__name__": "m", "k": "b", "x": "<b>"}));
    let (_, odd) = ask("m", &[("stats", "foo")]);
    let said = "value \"foo\" for parameter \"stats\" is deprecated and will be rejected in the next major release, use \"true\" or \"all\"";
    assert_eq!((&odd["warnings"], odd["data"]["stats"].is_object()), (&json!([said]), true), "{odd}");
    assert_eq!(ask("m", &[("stats", "all")]).1["warnings"], serde_json::Value::Null);
    let ends = "start=-292273086-05-16T16:47:06Z&end=292277025-08-18T07:12:54.999999999Z";
    assert_eq!(agent.get(&format!("/api/v1/labels?{ends}")).json()["data"], json!(["__name__", "k"]));
    let nowhere = agent.get("/api/v1/nosuch");
    assert_eq!((nowhere.status, nowhere.text().as_str()), (404, "404 page not found\n"));
    assert!(nowhere.header("content-type").unwrap().starts_with("text/plain"));
    assert_eq!(support::http::request(&agent.address, "OPTIONS", "/api/v1/nosuch", &[], b"").status, 204);
}

#[test]
fn what_all_queries_hold_together_is_bounded_shown_and_said() {
    let dir = tempfile::tempdir().unwrap();
    let agent = Agent::start(dir.path(), &["--no-host-metrics", "--query-memory", "1MiB", "--query-concurrency", "3"]);
    // 10,000 steps of a number: more than a mebibyte with everything.
    let heavy = "max_over_time(vector(time())[200000s:1s])";
    let refused = agent.form("/api/v1/query", &[("query", heavy), ("time", "200000")]);
    let body = refused.json();
    assert_eq!((refused.status, &body["errorType"]), (503, &json!("unavailable")), "{body}");
    for word in ["all running queries together", "1048576 bytes of memory", "again", "--query-memory"] {
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
        assert_eq!((answer.status, &body["errorType"]), (503, &json!("unavailable")), "{path}");
        assert!(body["error"].as_str().unwrap().contains("--query-memory"), "{path}: {body}");
    }
    // What is small is answered, and nothing stays charged.
    assert_eq!(agent.get("/api/v1/label/__name__/values").json()["data"], json!(["m"]));
    let metrics = agent.get("/metrics").text();
    assert!(metrics.lines().any(|line| line == "tidegauge_query_memory_bytes 0"), "{metrics}");
    assert!(metrics.lines().any(|line| line == "tidegauge_refused_queries_total 5"), "{metrics}");
}

#[test]
fn a_megabyte_of_parentheses_is_an_error_and_the_agent_goes_on() {
    let (_dir, agent) = with_samples();
    let deep = "(".repeat(1 << 20);
    let answer = agent.form("/api/v1/query", &[("query", &deep)]);
    assert_eq!(answer.status, 400);
    let long = "a".repeat(11 << 20);
    let refused = support::http::try_request(
        &agent.address,
        "POST",
        "/api/v1/query",
        &[("Content-Type", "application/x-www-form-urlencoded")],
        long.as_bytes(),
    );
    // The connection may be cut before all of it was sent; it is never answered with success.
    assert!(refused.is_err() || refused.unwrap().status == 413);
    assert_eq!(agent.get("/-/ready").status, 200);
}

#[test]
fn what_is_not_there_yet_says_so_and_what_is_unknown_is_404() {
    let (_dir, agent) = with_samples();
    for path in ["/api/v1/features", "/api/v1/search/label_names", "/api/v1/targets/metadata"] {
        let answer = agent.get(path);
        assert_eq!(answer.status, 422, "{path}");
        assert!(answer.json()["error"].as_str().unwrap().contains("not available"), "{path}");
    }
    assert_eq!(agent.get("/api/v1/nonsense").status, 404);
    assert_eq!(agent.get("/nonsense").status, 404);
    assert_eq!(agent.post("/api/v1/labels/x", &[], b"").status, 404);
    for (method, path) in [("POST", "/api/v1/label/k/values"), ("GET", "/api/v1/read"), ("PUT", "/api/v1/query")] {
        let answer = support::http::request(&agent.address, method, path, &[], b"");
        assert_eq!((answer.status, answer.text().as_str()), (405, "Method Not Allowed\n"), "{method} {path}");
    }
    let asked = [("Origin", "http://elsewhere"), ("Access-Control-Request-Method", "GET")];
    let preflight = support::http::request(&agent.address, "OPTIONS", "/api/v1/query", &asked, b"");
    assert_eq!((preflight.status, preflight.header("access-control-allow-origin")), (204, None));
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
fn rubbish_on_the_wire_costs_its_own_connection_only() {
    let (_dir, agent) = with_samples();
    for rubbish in [&b"\x16\x03\x01\x02\x00\x01\x00\x01"[..], b"GET\r\n\r\n", b"GET /%%% HTTP/9.9\r\n\r\n", &[0; 4096]]
    {
        let mut stream = TcpStream::connect(&agent.address).unwrap();
        let _ = stream.write_all(rubbish);
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let answer = support::drain(stream);
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{answer}");
    }
    let _hanging = TcpStream::connect(&agent.address).unwrap();
    assert_eq!(agent.get("/-/ready").status, 200);
}
