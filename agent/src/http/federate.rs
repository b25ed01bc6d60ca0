//! `/federate`: the last sample of each series asked for, in Prometheus' text format.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use tidegauge::query::promql::parse_matchers;
use tidegauge::query::{Cancel, QueryLimits, Selection};
use tidegauge::{Labels, METRIC_NAME, Sample, TimeRange, Timestamp};

use super::App;
use super::meta::compiled;
use super::params::{Params, UrlencodedParams};
use super::query::api_error;
use super::reply::ApiError;
use crate::ask::{LOOKBACK, put_float};
use crate::collect::STALE_MARKER_BITS;
use crate::exposition::write_series;

const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// A series whose last sample is older is gone, as it is for queries.
pub(super) async fn federate(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    UrlencodedParams(params): UrlencodedParams,
) -> Response {
    let quoted = allows_quoted_names(&headers);
    match app.in_turn(move |app| text(app, &params, quoted)).await {
        Ok(text) => {
            let escaping = if quoted { "; escaping=allow-utf-8" } else { "; escaping=underscores" };
            let kind = HeaderValue::from_str(&format!("{TEXT}{escaping}")).unwrap_or(HeaderValue::from_static(TEXT));
            ([(header::CONTENT_TYPE, kind)], text).into_response()
        }
        Err(why) => why.into_plain_text(),
    }
}

/// Whether the one who asks reads names that are no plain identifiers.
fn allows_quoted_names(headers: &HeaderMap) -> bool {
    let accept = headers.get(header::ACCEPT).and_then(|v| v.to_str().ok()).unwrap_or_default();
    accept.split(',').any(|kind| kind.trim_start().starts_with("text/plain") && kind.contains("escaping=allow-utf-8"))
}

fn text(app: &App, params: &Params, quoted: bool) -> Result<String, ApiError> {
    let now = tidegauge::now();
    let range = recent(now, LOOKBACK);
    let snapshot = app.engine.snapshot();
    let budget = snapshot.budget(QueryLimits::DEFAULT, Cancel::new());
    let read = |text: &str| parse_matchers(text).map_err(|e| e.to_string());
    let selectors = compiled(params.all("match[]"), &budget, read, ApiError::BadData)?;
    snapshot.install(|sources| {
        let mut found: Vec<(Labels, Sample)> = Vec::new();
        for matchers in &selectors {
            let selection = Selection::within(sources, matchers, range, &budget).map_err(api_error)?;
            let last = selection.last().map_err(api_error)?;
            let alive = (0..selection.len()).zip(last).filter_map(|(i, last)| {
                // The text format has no staleness marker: a series that ended is left out.
                let last = last.filter(|sample| sample.value.to_bits() != STALE_MARKER_BITS)?;
                Some((selection.labels(i).clone(), last))
            });
            found.extend(alive);
        }
        // By name, then by labels; a series that several selectors name appears once.
        let name = |labels: &Labels| labels.get(METRIC_NAME).unwrap_or_default().to_owned();
        found.sort_by_cached_key(|(labels, _)| (name(labels), labels.clone()));
        found.dedup_by(|a, b| a.0 == b.0);
        Ok(written(&found, quoted))
    })
}

/// (now - lookback, now].
fn recent(now: Timestamp, lookback: Duration) -> TimeRange {
    let lookback = i64::try_from(lookback.as_nanos()).unwrap_or(i64::MAX);
    let after = |nanos: i64| Timestamp::from_nanos(nanos.saturating_add(1));
    TimeRange::new(after(now.nanos().saturating_sub(lookback)), after(now.nanos()))
}

fn written(found: &[(Labels, Sample)], quoted: bool) -> String {
    let (mut out, mut number, mut described) = (String::new(), Vec::new(), None);
    for (labels, sample) in found {
        // Without a name there is no line to write.
        let Some(name) = labels.get(METRIC_NAME) else { continue };
        let plain = |name: &str, colons| if quoted { name.to_owned() } else { underscored(name, colons) };
        if described != Some(name) {
            out.push_str("# TYPE ");
            write_series(&mut out, &plain(name, true), []);
            out.push_str(" untyped\n");
            described = Some(name);
        }
        let others: Vec<(String, &str)> =
            labels.iter().filter(|(n, _)| *n != METRIC_NAME).map(|(n, value)| (plain(n, false), value)).collect();
        // Whoever scrapes this must not put its own `instance` where there was none.
        let instance = labels.get("instance").is_none().then_some(("instance", ""));
        let pairs = others.iter().map(|(n, value)| (n.as_str(), *value)).chain(instance);
        write_series(&mut out, &plain(name, true), pairs);
        number.clear();
        put_float(&mut number, sample.value);
        out.push_str(&format!(" {} {}\n", String::from_utf8_lossy(&number), sample.timestamp.millis()));
    }
    out
}

/// A name that older readers take: what they do not know becomes `_`.
fn underscored(name: &str, colons: bool) -> String {
    let legal = |(at, c): (usize, char)| match c {
        'a'..='z' | 'A'..='Z' | '_' => c,
        '0'..='9' if at > 0 => c,
        ':' if colons => c,
        _ => '_',
    };
    name.chars().enumerate().map(legal).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidegauge::LabelLimits;

    #[test]
    fn names_are_described_once_and_written_as_the_reader_wants_them() {
        let of = |pairs: &[(&str, &str)]| Labels::new(pairs.iter().copied(), &LabelLimits::DEFAULT).unwrap();
        let at = |ms: i64, value| Sample { timestamp: Timestamp::from_nanos(ms * 1_000_000), value };
        let found = [
            (of(&[("__name__", "a"), ("k", "x\"")]), at(1, 1.5)),
            (of(&[("__name__", "a"), ("instance", "i")]), at(-2, f64::INFINITY)),
            (of(&[("__name__", "b.c"), ("k.l", "y")]), at(3, 1e21)),
            (of(&[("k", "nameless")]), at(4, 1.0)),
        ];
        let plain = "# TYPE a untyped\na{k=\"x\\\"\",instance=\"\"} 1.5 1\na{instance=\"i\"} +Inf -2\n\
                     # TYPE b_c untyped\nb_c{k_l=\"y\",instance=\"\"} 1e+21 3\n";
        assert_eq!(written(&found, false), plain);
        assert!(written(&found, true).ends_with("{\"b.c\",\"k.l\"=\"y\",instance=\"\"} 1e+21 3\n"));
    }
}
