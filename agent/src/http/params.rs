//! Parameters of the query API: from the address, and from a form in the body.

use std::num::IntErrorKind;
use std::time::Duration;

use axum::extract::{FromRequest, Request};
use axum::http::{Method, header};
use tidegauge::Timestamp;

use super::body;
use super::reply::ApiError;
use crate::units::{parse_duration, parse_instant, parse_number};

/// More than any query that a person or a dashboard writes; matches Prometheus' forms.
const FORM_BYTES_MAX: usize = 10 << 20;

/// Name and value pairs; those of the body come first, so they win.
#[derive(Debug, Default)]
pub(crate) struct Params(Vec<(String, String)>);

impl<S: Send + Sync> FromRequest<S> for Params {
    type Rejection = ApiError;

    async fn from_request(request: Request, _: &S) -> Result<Self, ApiError> {
        let (head, stream) = request.into_parts();
        let mut pairs = Vec::new();
        if matches!(head.method, Method::POST | Method::PUT) && is_form(&head.headers) {
            let bytes = body::collect(stream, FORM_BYTES_MAX).await.map_err(body::BodyError::into_api)?;
            pairs.extend(form_urlencoded::parse(&bytes).into_owned());
        }
        let query = head.uri.query().unwrap_or_default();
        pairs.extend(form_urlencoded::parse(query.as_bytes()).into_owned());
        Ok(Self(pairs))
    }
}

fn is_form(headers: &axum::http::HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
    kind.split(';').next().is_some_and(|k| k.trim().eq_ignore_ascii_case("application/x-www-form-urlencoded"))
}

impl Params {
    /// The first value of `name` that is not empty.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(n, v)| n == name && !v.is_empty()).map(|(_, v)| v.as_str())
    }

    /// Every value of `name`.
    pub(crate) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(n, _)| n == name).map(|(_, v)| v.as_str())
    }

    /// A time: seconds since the epoch or RFC 3339, clamped to what can be held.
    pub(crate) fn time(&self, name: &str) -> Result<Option<Timestamp>, ApiError> {
        self.get(name)
            .map(|text| {
                parse_instant(text).ok_or_else(|| {
                    let why =
                        format_args!("invalid time value for '{name}': cannot parse {text:?} to a valid timestamp");
                    ApiError::parameter(name, why)
                })
            })
            .transpose()
    }

    /// The same, where it must be given.
    pub(crate) fn required_time(&self, name: &str) -> Result<Timestamp, ApiError> {
        let text = self.get(name).unwrap_or_default();
        parse_instant(text)
            .ok_or_else(|| ApiError::parameter(name, format_args!("cannot parse {text:?} to a valid timestamp")))
    }

    /// A duration: seconds as a number, or text such as `15s`. May be negative or zero.
    pub(crate) fn duration_nanos(&self, name: &str) -> Result<Option<i64>, ApiError> {
        self.get(name).map(|text| duration_nanos(name, text)).transpose()
    }

    /// A duration that is not negative.
    pub(crate) fn duration(&self, name: &str) -> Result<Option<Duration>, ApiError> {
        let nanos = self.duration_nanos(name)?;
        nanos
            .map(|n| {
                let n = u64::try_from(n).map_err(|_| ApiError::parameter(name, "must not be negative"))?;
                Ok(Duration::from_nanos(n))
            })
            .transpose()
    }

    /// A limit; 0 means none.
    pub(crate) fn limit(&self, name: &str) -> Result<Option<usize>, ApiError> {
        let Some(text) = self.get(name) else { return Ok(None) };
        let limit: i64 = text.parse().map_err(|error: std::num::ParseIntError| {
            let why = match error.kind() {
                IntErrorKind::PosOverflow | IntErrorKind::NegOverflow => "value out of range",
                _ => "invalid syntax",
            };
            ApiError::parameter(name, format_args!("strconv.Atoi: parsing {text:?}: {why}"))
        })?;
        match usize::try_from(limit) {
            Ok(0) => Ok(None),
            Ok(limit) => Ok(Some(limit)),
            Err(_) => Err(ApiError::parameter(name, "limit must be non-negative")),
        }
    }
}

fn duration_nanos(name: &str, text: &str) -> Result<i64, ApiError> {
    let wrong = || ApiError::parameter(name, format_args!("cannot parse {text:?} to a valid duration"));
    if let Some(seconds) = parse_number(text) {
        let nanos = (seconds * 1e9).round();
        // A float at or above 2^63 does not fit.
        if nanos.abs() >= 9_223_372_036_854_775_808.0 {
            return Err(ApiError::parameter(
                name,
                format_args!("cannot parse {text:?} to a valid duration. It overflows int64"),
            ));
        }
        return Ok(nanos as i64);
    }
    let (sign, text_) = text.strip_prefix('-').map_or((1, text), |t| (-1, t));
    let duration = parse_duration(text_).map_err(|_| wrong())?;
    i64::try_from(duration.as_nanos()).map(|n| n * sign).map_err(|_| wrong())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn params(query: &str) -> Params {
        Params(form_urlencoded::parse(query.as_bytes()).into_owned().collect())
    }

    #[test]
    fn durations_are_seconds_or_text() {
        let nanos = |text: &str| params(text).duration_nanos("step");
        assert_eq!(nanos("step=15"), Ok(Some(15_000_000_000)));
        assert_eq!(nanos("step=0.1"), Ok(Some(100_000_000)));
        assert_eq!(nanos("step=5m"), Ok(Some(300_000_000_000)));
        assert_eq!(nanos("step=-1s"), Ok(Some(-1_000_000_000)));
        assert_eq!(nanos("step="), Ok(None));
        for wrong in ["step=NaN", "step=Inf", "step=1e300", "step=x", "step=300y300y"] {
            assert!(matches!(nanos(wrong), Err(ApiError::BadData(_))), "{wrong}");
        }
    }

    #[test]
    fn limits_are_whole_and_not_negative() {
        assert_eq!(params("limit=0").limit("limit"), Ok(None));
        assert_eq!(params("limit=3").limit("limit"), Ok(Some(3)));
        for wrong in ["limit=-1", "limit=1.5", "limit=x", "limit=99999999999999999999"] {
            assert!(params(wrong).limit("limit").is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_first_value_that_is_not_empty_counts() {
        let p = params("match[]=a&match[]=b&x=&x=2");
        assert_eq!(p.all("match[]").collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(p.get("x"), Some("2"));
        assert_eq!(p.get("y"), None);
    }
}
