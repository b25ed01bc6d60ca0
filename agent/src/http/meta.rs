//! Which labels, series and metrics there are.

use std::sync::Arc;

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::response::Response;
use tidegauge::query::promql::{PATTERN_BYTES_MAX, parse_matchers};
use tidegauge::query::{Budget, QueryLimits, Selection};
use tidegauge::{Labels, Matcher, ReadError, SampleSource, Snapshot, TimeRange};

use super::App;
use super::found::Found;
use super::params::{Params, UrlencodedParams};
use super::query::{HangUp, api_error};
use super::reply::{ApiError, ApiResult, Envelope, JSON};
use crate::ask::{put_labels, put_string};

/// What `match[]`, `start`, `end` and `limit` ask for.
struct Asked {
    selectors: Vec<String>,
    /// Says what is wrong with a selector.
    wrong: fn(String) -> ApiError,
    range: TimeRange,
    limit: Option<usize>,
}

/// Selectors that are read by `read`, within `budget`: to compile what regular expressions may take together takes a
/// second, which is nothing for a thread on which others wait.
pub(super) fn compiled<'a>(
    selectors: impl Iterator<Item = &'a str>,
    budget: &Budget,
    read: impl Fn(&str) -> Result<Vec<Matcher>, String>,
    wrong: fn(String) -> ApiError,
) -> Result<Vec<Vec<Matcher>>, ApiError> {
    let (mut all, mut bytes) = (Vec::new(), 0);
    for text in selectors {
        budget.check().map_err(api_error)?;
        let matchers = read(text).map_err(wrong)?;
        bytes += matchers.iter().map(Matcher::pattern_bytes).sum::<u64>();
        if bytes > PATTERN_BYTES_MAX {
            return Err(wrong(too_large()));
        }
        all.push(matchers);
    }
    Ok(all)
}

pub(super) fn too_large() -> String {
    let most = PATTERN_BYTES_MAX >> 20;
    format!("the regular expressions of this request take more than {most} MiB together: ask in several requests")
}

/// Predicates of which one at least refuses the empty text: else every series would pass.
fn matchers(text: &str) -> Result<Vec<Matcher>, String> {
    let matchers = parse_matchers(text).map_err(|e| e.to_string())?;
    if matchers.iter().all(|matcher| matcher.matches("")) {
        return Err("match[] must contain at least one non-empty matcher".to_owned());
    }
    Ok(matchers)
}

impl Asked {
    fn new(params: &Params, wrong: fn(String) -> ApiError) -> Result<Self, ApiError> {
        let limit = params.limit("limit")?;
        let start = params.time("start")?.unwrap_or(TimeRange::ALL.start);
        let end = params.time("end")?.unwrap_or(TimeRange::ALL.end);
        let selectors = params.all("match[]").map(str::to_owned).collect();
        // A range that ends before it begins holds nothing, and that is no error.
        let range = if end < start { TimeRange::new(start, start) } else { TimeRange::covering(start, end) };
        Ok(Self { selectors, wrong, range, limit })
    }

    /// Answers what `find` finds, sorted and cut to the limit, once it is our turn. All that is found is charged to the
    /// memory of queries until it is sent.
    async fn list<T: Ord + Send + 'static>(
        self,
        app: &Arc<App>,
        put: fn(&mut Vec<u8>, &T),
        find: impl Fn(&Self, &[Vec<Matcher>], &Snapshot, &mut Found<T>) -> Result<(), ApiError> + Send + Sync + 'static,
    ) -> Result<Response, ApiError> {
        let hung_up = HangUp::default();
        let cancel = hung_up.cancel();
        app.in_turn_or_try(JSON, move |app, out, lane| {
            let snapshot = app.engine.snapshot();
            let mut found = Found::new(snapshot.budget(lane.bound(QueryLimits::DEFAULT), cancel.clone()));
            let selectors = self.selectors.iter().map(String::as_str);
            let matchers = compiled(selectors, &found.budget(), matchers, self.wrong)?;
            find(&self, &matchers, &snapshot, &mut found)?;
            Ok(found.end().map_err(api_error)?.write(out, self.limit, put)?)
        })
        .await
    }

    /// Calls `each` with the labels of every series that one of the matchers selects, until it answers false.
    fn series(
        &self,
        matchers: &[Vec<Matcher>],
        snapshot: &Snapshot,
        budget: &Budget,
        mut each: impl FnMut(&Labels) -> bool + Send,
    ) -> Result<(), ApiError> {
        snapshot.install(|sources| {
            for matchers in matchers {
                let selection = Selection::within(sources, matchers, self.range, budget).map_err(api_error)?;
                if !(0..selection.len()).all(|i| each(selection.labels(i))) {
                    break;
                }
            }
            Ok(())
        })
    }

    /// Asks every source that holds samples of our time.
    fn sources(
        &self,
        snapshot: &Snapshot,
        mut ask: impl FnMut(&dyn SampleSource) -> Result<(), ReadError>,
    ) -> Result<(), ApiError> {
        let ours = |source: &&Arc<dyn SampleSource>| source.time_range().is_some_and(|r| r.overlaps(&self.range));
        let mut sources = snapshot.sources().iter().filter(ours);
        sources.try_for_each(|source| ask(&**source)).map_err(|e| ApiError::Internal(e.to_string()))
    }
}

pub(super) async fn labels(State(app): State<Arc<App>>, params: Params) -> Result<Response, ApiError> {
    let find = |asked: &Asked, matchers: &[Vec<Matcher>], snapshot: &Snapshot, names: &mut Found<String>| {
        if matchers.is_empty() {
            return asked.sources(snapshot, |source| source.label_names(&mut |name| names.text(name)));
        }
        asked.series(matchers, snapshot, &names.budget(), |labels| labels.iter().all(|(name, _)| names.text(name)))
    };
    Asked::new(&params, ApiError::BadData)?.list(&app, |out, text| put_string(out, text), find).await
}

pub(super) async fn label_values(
    State(app): State<Arc<App>>,
    name: Result<Path<String>, PathRejection>,
    params: Params,
) -> Result<Response, ApiError> {
    let asked = Asked::new(&params, ApiError::BadData)?;
    let Path(name) = name.map_err(|e| ApiError::BadData(format!("invalid label name: {}", e.body_text())))?;
    let name = unescape(&name)?;
    let find = move |asked: &Asked, matchers: &[Vec<Matcher>], snapshot: &Snapshot, values: &mut Found<String>| {
        if matchers.is_empty() {
            return asked.sources(snapshot, |source| source.label_values(&name, &mut |value| values.text(value)));
        }
        asked.series(matchers, snapshot, &values.budget(), |labels| {
            labels.get(&name).is_none_or(|value| values.text(value))
        })
    };
    asked.list(&app, |out, text| put_string(out, text), find).await
}

/// Names that are no plain identifiers travel as `U__`, with `_XX_` for the code point XX.
fn unescape(name: &str) -> Result<String, ApiError> {
    let bad = || ApiError::BadData(format!("invalid label name: {name:?}"));
    if name.is_empty() {
        return Err(bad());
    }
    let Some(mut rest) = name.strip_prefix("U__") else { return Ok(name.to_owned()) };
    let mut out = String::with_capacity(rest.len());
    while let Some(at) = rest.find('_') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(behind) = rest.strip_prefix('_') {
            out.push('_');
            rest = behind;
            continue;
        }
        let (code, behind) = rest.split_once('_').ok_or_else(bad)?;
        let code = u32::from_str_radix(code, 16).ok().and_then(char::from_u32).ok_or_else(bad)?;
        out.push(code);
        rest = behind;
    }
    out.push_str(rest);
    Ok(out)
}

pub(super) async fn series(
    State(app): State<Arc<App>>,
    UrlencodedParams(params): UrlencodedParams,
) -> Result<Response, ApiError> {
    let asked = Asked::new(&params, |why| ApiError::parameter("match[]", why))?;
    if asked.selectors.is_empty() {
        return Err(ApiError::BadData("no match[] parameter provided".to_owned()));
    }
    let put = |out: &mut Vec<u8>, labels: &Labels| put_labels(out, labels.iter());
    let find = |asked: &Asked, matchers: &[Vec<Matcher>], snapshot: &Snapshot, found: &mut Found<Labels>| {
        asked.series(matchers, snapshot, &found.budget(), |labels| {
            found.offer(labels, labels.encoded().len(), Labels::clone)
        })
    };
    asked.list(&app, put, find).await
}

pub(super) async fn metadata(State(app): State<Arc<App>>, params: Params) -> ApiResult {
    // A negative number is no limit here, and for metrics zero is one.
    let number = |name: &str| -> Result<Option<usize>, ApiError> {
        let wrong = |_| ApiError::BadData(format!("{name} must be a number"));
        let number = params.get(name).map(|text| text.parse::<i64>().map_err(wrong)).transpose()?;
        Ok(number.and_then(|n| usize::try_from(n).ok()))
    };
    let limit = number("limit")?.unwrap_or(usize::MAX);
    number("limit_per_metric")?;
    let wanted = params.get("metric").map(str::to_owned);
    app.in_turn(move |app| {
        let all = app.engine.metadata();
        let wanted = |metric: &String| wanted.as_ref().is_none_or(|w| w == metric);
        Ok(Envelope::new(|out| {
            out.push(b'{');
            for (i, (metric, meta)) in all.iter().filter(|(m, _)| wanted(m)).take(limit).enumerate() {
                if i > 0 {
                    out.push(b',');
                }
                put_string(out, metric);
                out.extend_from_slice(b":[");
                // Each metric has one description, so any limit of them leaves it in.
                let fields = [("type", &meta.kind), ("help", &meta.help), ("unit", &meta.unit)];
                put_labels(out, fields.map(|(n, v)| (n, v.as_str())));
                out.push(b']');
            }
            out.push(b'}');
        }))
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escaped_label_names_are_read_back() {
        assert_eq!(unescape("job").unwrap(), "job");
        assert_eq!(unescape("U__http_2e_status").unwrap(), "http.status");
        assert_eq!(unescape("U__a__b").unwrap(), "a_b");
        for wrong in ["", "U__a_", "U__a_zz_", "U__a_110000_"] {
            assert!(unescape(wrong).is_err(), "{wrong:?}");
        }
    }
}
