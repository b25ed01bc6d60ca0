//! Which labels, series and metrics there are.

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::extract::{Path, State};
use tidegauge::query::promql::parse_matchers;
use tidegauge::query::{Cancel, QueryLimits, Selection};
use tidegauge::{Labels, Matcher, TimeRange};

use super::App;
use super::params::Params;
use super::query::api_error;
use super::reply::{ApiError, ApiResult, Envelope};
use crate::ask::{put_labels, put_string, put_strings};

/// What `match[]`, `start`, `end` and `limit` ask for.
struct Asked {
    matchers: Vec<Vec<Matcher>>,
    range: TimeRange,
    limit: Option<usize>,
}

/// Predicates of which one at least refuses the empty text: else every series would pass.
fn matchers(text: &str) -> Result<Vec<Matcher>, ApiError> {
    let matchers = parse_matchers(text).map_err(|e| ApiError::parameter("match[]", e))?;
    if matchers.iter().all(|matcher| matcher.matches("")) {
        let why = "match[] must contain at least one non-empty matcher";
        return Err(ApiError::parameter("match[]", why));
    }
    Ok(matchers)
}

impl Asked {
    fn new(params: &Params) -> Result<Self, ApiError> {
        let start = params.time("start")?.unwrap_or(TimeRange::ALL.start);
        let end = params.time("end")?.unwrap_or(TimeRange::ALL.end);
        let matchers = params.all("match[]").map(matchers).collect::<Result<_, _>>()?;
        // A range that ends before it begins holds nothing, and that is no error.
        let range = if end < start { TimeRange::new(start, start) } else { TimeRange::covering(start, end) };
        Ok(Self { matchers, range, limit: params.limit("limit")? })
    }

    /// Calls `each` with the labels of every series that one of the matchers selects.
    fn series(
        &self,
        app: &App,
        matchers: &[Vec<Matcher>],
        mut each: impl FnMut(&Labels) + Send,
    ) -> Result<(), ApiError> {
        let snapshot = app.engine.snapshot();
        let budget = snapshot.budget(QueryLimits::DEFAULT, Cancel::new());
        snapshot.install(|sources| {
            for matchers in matchers {
                let selection = Selection::within(sources, matchers, self.range, &budget).map_err(api_error)?;
                (0..selection.len()).for_each(|i| each(selection.labels(i)));
            }
            Ok(())
        })
    }

    /// Cuts to the limit, and says so.
    fn answer<T, S>(&self, found: BTreeSet<T>, put: impl FnOnce(&mut Vec<u8>, std::iter::Take<S>)) -> Envelope
    where
        BTreeSet<T>: IntoIterator<Item = T, IntoIter = S>,
        S: Iterator<Item = T>,
    {
        let limit = self.limit.unwrap_or(usize::MAX);
        let cut = found.len() > limit;
        let warnings = if cut { vec!["results truncated due to limit".to_owned()] } else { Vec::new() };
        Envelope::with_notes(&warnings, &[], |out| put(out, found.into_iter().take(limit)))
    }
}

pub(super) async fn labels(State(app): State<Arc<App>>, params: Params) -> ApiResult {
    let asked = Asked::new(&params)?;
    app.in_turn(move |app| {
        let mut names = BTreeSet::new();
        if asked.matchers.is_empty() {
            let snapshot = app.engine.snapshot();
            for source in snapshot.sources() {
                if source.time_range().is_some_and(|r| r.overlaps(&asked.range)) {
                    source.label_names(&mut names).map_err(|e| ApiError::Internal(e.to_string()))?;
                }
            }
        } else {
            asked.series(app, &asked.matchers, |labels| {
                for (name, _) in labels.iter() {
                    if !names.contains(name) {
                        names.insert(name.to_owned());
                    }
                }
            })?;
        }
        Ok(asked.answer(names, put_strings))
    })
    .await
}

pub(super) async fn label_values(State(app): State<Arc<App>>, Path(name): Path<String>, params: Params) -> ApiResult {
    let asked = Asked::new(&params)?;
    let name = unescape(&name)?;
    app.in_turn(move |app| {
        let mut values = BTreeSet::new();
        if asked.matchers.is_empty() {
            let snapshot = app.engine.snapshot();
            for source in snapshot.sources() {
                if source.time_range().is_some_and(|r| r.overlaps(&asked.range)) {
                    source.label_values(&name, &mut values).map_err(|e| ApiError::Internal(e.to_string()))?;
                }
            }
        } else {
            asked.series(app, &asked.matchers, |labels| {
                if let Some(value) = labels.get(&name)
                    && !values.contains(value)
                {
                    values.insert(value.to_owned());
                }
            })?;
        }
        Ok(asked.answer(values, put_strings))
    })
    .await
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

pub(super) async fn series(State(app): State<Arc<App>>, params: Params) -> ApiResult {
    let asked = Asked::new(&params)?;
    if asked.matchers.is_empty() {
        return Err(ApiError::BadData("no match[] parameter provided".to_owned()));
    }
    app.in_turn(move |app| {
        let mut found = BTreeSet::new();
        asked.series(app, &asked.matchers, |labels| {
            found.insert(labels.clone());
        })?;
        Ok(asked.answer(found, |out, series| {
            out.push(b'[');
            for (i, labels) in series.enumerate() {
                if i > 0 {
                    out.push(b',');
                }
                put_labels(out, labels.iter());
            }
            out.push(b']');
        }))
    })
    .await
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
