//! Parameters of the query API: from the address, and from a form in the body.

use std::num::IntErrorKind;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{FromRequest, Request};
use axum::http::{Method, Uri, header};
use tidegauge::Timestamp;

use super::body::{BodyError, Share};
use super::reply::ApiError;
use super::{App, figures, multipart};

/// More than any query that a person or a dashboard writes; matches Prometheus' forms.
const FORM_BYTES_MAX: usize = 10 << 20;

/// Name and value pairs. Of one name's values the first one counts: in an urlencoded body, then in the address, then in
/// a body of several parts.
#[derive(Default)]
pub(crate) struct Params {
    pairs: Vec<(String, String)>,
    /// Of the body that they came in.
    _share: Option<Share>,
}

/// The same, where a body of several parts is not looked at, as in Prometheus.
pub(crate) struct UrlencodedParams(pub(crate) Params);

impl FromRequest<Arc<App>> for Params {
    type Rejection = ApiError;

    async fn from_request(request: Request, app: &Arc<App>) -> Result<Self, ApiError> {
        let boundary = match multipart::boundary(kind(&request)) {
            None => return urlencoded(request, app).await,
            Some(boundary) => boundary.map_err(|why| ApiError::BadData(why.to_string()))?,
        };
        let (head, stream) = request.into_parts();
        let bytes = app.bodies.collect(stream, FORM_BYTES_MAX).await.map_err(BodyError::into_api)?;
        let parts = multipart::pairs(&bytes, &boundary).map_err(|why| ApiError::BadData(why.to_string()))?;
        Ok(Self { pairs: in_address(&head.uri).chain(parts).collect(), _share: Some(bytes.into_share()) })
    }
}

impl FromRequest<Arc<App>> for UrlencodedParams {
    type Rejection = ApiError;

    async fn from_request(request: Request, app: &Arc<App>) -> Result<Self, ApiError> {
        urlencoded(request, app).await.map(Self)
    }
}

async fn urlencoded(request: Request, app: &App) -> Result<Params, ApiError> {
    let is_form = kind(&request)
        .split(';')
        .next()
        .is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/x-www-form-urlencoded"));
    let (head, stream) = request.into_parts();
    let mut params = Params::default();
    if is_form && matches!(head.method, Method::POST | Method::PUT) {
        let bytes = app.bodies.collect(stream, FORM_BYTES_MAX).await.map_err(BodyError::into_api)?;
        params.pairs.extend(form_urlencoded::parse(&bytes).into_owned());
        params._share = Some(bytes.into_share());
    }
    params.pairs.extend(in_address(&head.uri));
    Ok(params)
}

fn in_address(uri: &Uri) -> impl Iterator<Item = (String, String)> + '_ {
    form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes()).into_owned()
}

fn kind(request: &Request) -> &str {
    request.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default()
}

impl Params {
    /// The first value of `name`, unless that is empty.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.pairs.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str()).filter(|v| !v.is_empty())
    }

    /// Every value of `name`.
    pub(crate) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.pairs.iter().filter(move |(n, _)| n == name).map(|(_, v)| v.as_str())
    }

    /// A time: seconds since the epoch or RFC 3339, clamped to what can be held.
    pub(crate) fn time(&self, name: &str) -> Result<Option<Timestamp>, ApiError> {
        self.get(name)
            .map(|text| {
                figures::time(text).ok_or_else(|| {
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
        figures::time(text)
            .ok_or_else(|| ApiError::parameter(name, format_args!("cannot parse {text:?} to a valid timestamp")))
    }

    /// A duration: seconds as a number, or text such as `15s`. May be negative or zero.
    pub(crate) fn duration_nanos(&self, name: &str) -> Result<Option<i64>, ApiError> {
        self.get(name)
            .map(|text| figures::duration_nanos(text).map_err(|why| ApiError::parameter(name, why)))
            .transpose()
    }

    /// A duration, at least none at all.
    pub(crate) fn duration(&self, name: &str) -> Result<Option<Duration>, ApiError> {
        let nanos = self.duration_nanos(name)?;
        Ok(nanos.map(|nanos| Duration::from_nanos(u64::try_from(nanos).unwrap_or(0))))
    }

    /// Yes or no, as Go reads it.
    pub(crate) fn flag(&self, name: &str) -> Result<Option<bool>, ApiError> {
        let Some(text) = self.get(name) else { return Ok(None) };
        match text {
            "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(Some(true)),
            "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(Some(false)),
            _ => Err(ApiError::parameter(name, format_args!("unable to parse boolean {text:?}"))),
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn params(query: &str) -> Params {
        Params { pairs: form_urlencoded::parse(query.as_bytes()).into_owned().collect(), _share: None }
    }

    #[test]
    fn a_duration_below_zero_is_none_at_all() {
        assert_eq!(params("timeout=-5").duration("timeout"), Ok(Some(Duration::ZERO)));
        assert_eq!(params("timeout=1.5").duration("timeout"), Ok(Some(Duration::from_millis(1500))));
        assert_eq!(params("timeout=").duration("timeout"), Ok(None));
        assert!(matches!(params("timeout=x").duration("timeout"), Err(ApiError::BadData(_))));
    }

    #[test]
    fn a_flag_is_what_go_takes_for_a_boolean() {
        assert_eq!(params("f=T").flag("f"), Ok(Some(true)));
        assert_eq!(params("f=0").flag("f"), Ok(Some(false)));
        assert_eq!(params("f=").flag("f"), Ok(None));
        for wrong in ["f=yes", "f=tRUE", "f=2"] {
            assert!(params(wrong).flag("f").is_err(), "{wrong}");
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
    fn the_first_value_counts() {
        let p = params("match[]=a&match[]=b&x=2&x=&z=&z=1");
        assert_eq!(p.all("match[]").collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(p.get("x"), Some("2"));
        assert_eq!((p.get("y"), p.get("z")), (None, None));
    }
}
