//! The envelope around every answer of the query API, and its errors.

use std::convert::Infallible;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, IntoResponseParts, Response, ResponseParts};

use crate::ask::{Gone, put_string, put_strings};
use crate::blocking::NotDone;

/// Why a request got no data. Each kind has its status code and its `errorType`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ApiError {
    /// The request is wrong; sending it again will not help.
    BadData(String),
    /// The body is longer than is taken.
    TooLarge(String),
    /// The request was understood, but cannot be evaluated.
    Execution(String),
    /// Took longer than allowed.
    Timeout(String),
    /// Whoever asked went away, or the agent is stopping.
    Canceled(String),
    /// A defect or a failing device.
    Internal(String),
    /// Not now: stopping, poisoned, or too busy. Try again later.
    Unavailable(String),
    /// Too much at once: try again in a moment.
    Crowded(String),
    /// The disk has no space for it.
    DiskFull(String),
    /// Switched off. Prometheus answers it like a failure, and so do we.
    Disabled(String),
}

/// Has no name in the standard; nobody is there to read it, but for logs of proxies.
const CLIENT_CLOSED_REQUEST: StatusCode = match StatusCode::from_u16(499) {
    Ok(status) => status,
    Err(_) => StatusCode::BAD_REQUEST,
};

impl From<NotDone> for ApiError {
    fn from(why: NotDone) -> Self {
        match why {
            NotDone::NoThread(_) => Self::Crowded(why.to_string()),
            NotDone::Panicked(_) => Self::Internal(why.to_string()),
        }
    }
}

impl ApiError {
    /// What is said about it.
    pub(crate) fn message(&self) -> &str {
        self.parts().2
    }

    /// For endpoints that do not speak JSON.
    pub(crate) fn into_plain_text(self) -> Response {
        let (status, _, message) = self.parts();
        let kind = [(header::CONTENT_TYPE, "text/plain; charset=utf-8")];
        (status, self.retry(), kind, format!("{message}\n")).into_response()
    }

    fn retry(&self) -> Option<Retry> {
        matches!(self, Self::Crowded(_)).then_some(Retry)
    }

    fn parts(&self) -> (StatusCode, &'static str, &str) {
        match self {
            Self::BadData(m) => (StatusCode::BAD_REQUEST, "bad_data", m),
            Self::TooLarge(m) => (StatusCode::PAYLOAD_TOO_LARGE, "bad_data", m),
            Self::Execution(m) => (StatusCode::UNPROCESSABLE_ENTITY, "execution", m),
            Self::Timeout(m) => (StatusCode::SERVICE_UNAVAILABLE, "timeout", m),
            Self::Canceled(m) => (CLIENT_CLOSED_REQUEST, "canceled", m),
            Self::Internal(m) => (StatusCode::INTERNAL_SERVER_ERROR, "internal", m),
            Self::Unavailable(m) => (StatusCode::SERVICE_UNAVAILABLE, "unavailable", m),
            Self::Crowded(m) => (StatusCode::SERVICE_UNAVAILABLE, "unavailable", m),
            Self::DiskFull(m) => (StatusCode::INSUFFICIENT_STORAGE, "unavailable", m),
            Self::Disabled(m) => (StatusCode::INTERNAL_SERVER_ERROR, "unavailable", m),
        }
    }

    /// `invalid parameter "step": ...`
    pub(crate) fn parameter(name: &str, what: impl std::fmt::Display) -> Self {
        Self::BadData(format!("invalid parameter {name:?}: {what}"))
    }

    /// Known to Prometheus, not there in this release: said plainly.
    pub(crate) fn not_there_yet(what: &str) -> Self {
        Self::Execution(format!("{what} is not available in this release of tidegauge"))
    }
}

impl From<Gone> for ApiError {
    fn from(Gone: Gone) -> Self {
        Self::Canceled("the client closed the connection".to_owned())
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let (status, kind, message) = self.parts();
        let mut body = Vec::with_capacity(message.len() + 64);
        body.extend_from_slice(b"{\"status\":\"error\",\"errorType\":\"");
        body.extend_from_slice(kind.as_bytes());
        body.extend_from_slice(b"\",\"error\":");
        put_string(&mut body, message);
        body.push(b'}');
        (status, self.retry(), [(header::CONTENT_TYPE, JSON)], body).into_response()
    }
}

/// The header that says after how many seconds to try again.
pub(crate) struct Retry;

impl IntoResponseParts for Retry {
    type Error = Infallible;

    fn into_response_parts(self, mut answer: ResponseParts) -> Result<ResponseParts, Infallible> {
        answer.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("5"));
        Ok(answer)
    }
}

pub(crate) const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// The answer of a handler: a finished envelope, or an error in one.
pub(crate) type ApiResult = Result<Envelope, ApiError>;

/// `{"status":"success","data":...}`, as bytes.
#[derive(Debug)]
pub(crate) struct Envelope(Vec<u8>);

impl Envelope {
    /// An envelope whose data `put` appends as JSON.
    pub(crate) fn new(put: impl FnOnce(&mut Vec<u8>)) -> Self {
        Self::with_notes(&[], &[], put)
    }

    /// An envelope around a small tree.
    pub(crate) fn json(data: &serde_json::Value) -> Self {
        Self::new(|out| out.extend_from_slice(data.to_string().as_bytes()))
    }

    /// The same with warnings and infos beside the data, where there are any.
    pub(crate) fn with_notes(warnings: &[String], infos: &[String], put: impl FnOnce(&mut Vec<u8>)) -> Self {
        let mut body = Vec::with_capacity(1024);
        body.extend_from_slice(b"{\"status\":\"success\",\"data\":");
        put(&mut body);
        put_notes(&mut body, warnings, infos);
        body.push(b'}');
        Self(body)
    }
}

/// A query may have a remark for each step and each series; a reader is helped by a few of each kind.
const NOTES_MAX: usize = 10;

/// Appends warnings and infos, where there are any, behind the data.
pub(crate) fn put_notes(out: &mut Vec<u8>, warnings: &[String], infos: &[String]) {
    for (name, one, notes) in [("warnings", "warning", warnings), ("infos", "info", infos)] {
        if !notes.is_empty() {
            out.push(b',');
            put_string(out, name);
            out.push(b':');
            let left_out = notes.len().saturating_sub(NOTES_MAX);
            let rest = (left_out > 0).then(|| format!("{left_out} more {one} annotations omitted"));
            put_strings(out, notes.iter().take(NOTES_MAX).chain(&rest));
        }
    }
}

impl IntoResponse for Envelope {
    fn into_response(self) -> Response {
        ([(header::CONTENT_TYPE, JSON)], self.0).into_response()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_appear_only_where_there_are_any() {
        let text = |e: Envelope| String::from_utf8(e.0).unwrap();
        assert_eq!(text(Envelope::new(|o| o.extend_from_slice(b"[]"))), r#"{"status":"success","data":[]}"#);
        let noted = Envelope::with_notes(&["a \"b\"".to_owned()], &[], |o| o.extend_from_slice(b"{}"));
        assert_eq!(text(noted), r#"{"status":"success","data":{},"warnings":["a \"b\""]}"#);
    }

    #[test]
    fn of_many_notes_ten_are_told_and_the_rest_counted() {
        let notes: Vec<String> = (0..13).map(|i| format!("n{i:02}")).collect();
        let Envelope(body) = Envelope::with_notes(&notes[..10], &notes, |o| o.extend_from_slice(b"{}"));
        let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
        let told = |name: &str| body[name].as_array().unwrap().iter().map(|n| n.as_str().unwrap()).collect::<Vec<_>>();
        assert_eq!(told("warnings"), notes[..10]);
        assert_eq!(told("infos")[..10], notes[..10]);
        assert_eq!(told("infos")[10..], ["3 more info annotations omitted"]);
    }
}
