//! What requests to the real binary may look like, and what bad ones get.
#![allow(missing_docs)]

mod support;

use std::io::Write;
use std::net::TcpStream;

use serde_json::json;
use support::with_samples;

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

/// A form as `curl -F` sends it.
fn parts(values: &[(&str, &str)]) -> (String, Vec<u8>) {
    let part = |(name, value): &(&str, &str)| {
        format!("--XyZ\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n")
    };
    let body = values.iter().map(part).collect::<String>() + "--XyZ--\r\n";
    ("multipart/form-data; boundary=XyZ".to_owned(), body.into_bytes())
}

#[test]
fn forms_of_several_parts_are_read_where_prometheus_reads_them() {
    let (_dir, agent) = with_samples();
    let send = |path: &str, values: &[(&str, &str)]| {
        let (kind, body) = parts(values);
        agent.post(path, &[("Content-Type", &kind)], &body)
    };
    let sum = send("/api/v1/query", &[("query", "sum(m)"), ("time", "20")]);
    assert_eq!(sum.json()["data"]["result"][0]["value"], json!([20, "33"]));
    let times = [("query", "max(m)"), ("start", "0"), ("end", "20"), ("step", "20")];
    let range = send("/api/v1/query_range", &times);
    assert_eq!(range.json()["data"]["result"][0]["values"], json!([[0, "10"], [20, "30"]]));
    assert_eq!(send("/api/v1/labels", &[("match[]", "m"), ("limit", "1")]).json()["data"], json!(["__name__"]));
    assert_eq!(send("/api/v1/format_query", &[("query", "m+1")]).json()["data"], "m + 1");
    // What the address says comes first.
    let both = send("/api/v1/query?query=1&time=0", &[("query", "2"), ("time", "5")]);
    assert_eq!(both.json()["data"]["result"], json!([0, "1"]));
    // Here no such form is looked at.
    let series = send("/api/v1/series", &[("match[]", "m")]);
    assert_eq!((series.status, &series.json()["error"]), (400, &json!("no match[] parameter provided")));
    let cut = agent.post("/api/v1/query", &[("Content-Type", "multipart/form-data; boundary=XyZ")], b"--XyZ\r\n");
    assert_eq!((cut.status, &cut.json()["errorType"]), (400, &json!("bad_data")));
    let none = agent.post("/api/v1/query", &[("Content-Type", "multipart/form-data")], b"");
    assert!(none.json()["error"].as_str().unwrap().contains("boundary"), "{}", none.text());
}
