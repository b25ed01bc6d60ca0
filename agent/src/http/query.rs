//! `/api/v1/query` and `/api/v1/query_range`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::State;
use axum::response::Response;
use tidegauge::query::promql::ErrorKind;
use tidegauge::query::{Cancel, QueryError, QueryLimits};

use super::App;
use super::params::Params;
use super::reply::{ApiError, JSON, put_notes};
use crate::ask::{AskError, Outlet, Question, When, ask, put_value};

pub(super) async fn instant(State(app): State<Arc<App>>, params: Params) -> Result<Response, ApiError> {
    let at = params.time("time")?.unwrap_or_else(tidegauge::now);
    answer(app, &params, When::At(at)).await
}

pub(super) async fn range(State(app): State<Arc<App>>, params: Params) -> Result<Response, ApiError> {
    let start = params.required_time("start")?;
    let end = params.required_time("end")?;
    if end < start {
        return Err(ApiError::parameter("end", "end timestamp must not be before start time"));
    }
    let step = params
        .duration_nanos("step")?
        .ok_or_else(|| ApiError::parameter("step", "cannot parse \"\" to a valid duration"))?;
    let step = u64::try_from(step).ok().filter(|&step| step > 0).ok_or_else(|| {
        let why = "zero or negative query resolution step widths are not accepted. Try a positive integer";
        ApiError::parameter("step", why)
    })?;
    answer(app, &params, When::Every { start, end, step: Duration::from_nanos(step) }).await
}

async fn answer(app: Arc<App>, params: &Params, when: When) -> Result<Response, ApiError> {
    let limits = QueryLimits::DEFAULT;
    let time = params.duration("timeout")?.map_or(limits.time, |asked| asked.min(limits.time));
    let question = Question {
        expr: params.get("query").unwrap_or_default().to_owned(),
        when,
        experimental: app.settings.experimental,
        limits: QueryLimits { time, ..limits },
        lookback: lookback(params)?,
    };
    let limit = params.limit("limit")?;
    when.check().map_err(from_ask)?;
    let hung_up = HangUp::default();
    let cancel = hung_up.cancel();
    app.in_turn_streaming(JSON, move |app, out| {
        let _running = app.queries.begin(&question.expr, question.when);
        let began = Instant::now();
        let answered = ask(&app.engine.snapshot(), &question, cancel);
        app.counters.query(began.elapsed(), answered.is_ok());
        let mut answer = answered.map_err(from_ask)?;
        if let Some(limit) = limit {
            answer.limit(limit);
        }
        let at = match question.when {
            When::At(at) => at,
            When::Every { end, .. } => end,
        };
        out.buffer().extend_from_slice(b"{\"status\":\"success\",\"data\":{");
        put_value(out, &answer.value, at)?;
        out.buffer().push(b'}');
        put_notes(out.buffer(), &answer.warnings, &answer.infos);
        out.buffer().push(b'}');
        Ok(())
    })
    .await
}

fn lookback(params: &Params) -> Result<Option<Duration>, ApiError> {
    let lookback = params.duration("lookback_delta").map_err(|wrong| {
        let why = wrong.message().trim_start_matches("invalid parameter \"lookback_delta\": ").to_owned();
        ApiError::BadData(format!("error parsing lookback delta duration: {why}"))
    })?;
    Ok(lookback.filter(|lookback| !lookback.is_zero()))
}

/// Dropped with the request: when the client hangs up, its query ends.
#[derive(Default)]
pub(super) struct HangUp(Cancel);

impl HangUp {
    /// What the query is to look at.
    pub(super) fn cancel(&self) -> Cancel {
        self.0.clone()
    }
}

impl Drop for HangUp {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

fn from_ask(error: AskError) -> ApiError {
    let said = error.to_string();
    match (error.kind(), &error) {
        (ErrorKind::BadData, AskError::Parse(_)) => ApiError::parameter("query", said),
        (ErrorKind::BadData, _) => ApiError::BadData(said),
        (ErrorKind::Timeout, _) => ApiError::Timeout(said),
        (ErrorKind::Canceled, _) => ApiError::Canceled(said),
        (ErrorKind::Internal, _) => ApiError::Internal(said),
        _ => ApiError::Execution(said),
    }
}

/// The same for what the scan says without an expression around it.
pub(super) fn api_error(error: QueryError) -> ApiError {
    let said = error.to_string();
    match error {
        QueryError::LimitExceeded { which: tidegauge::query::Limit::Time, .. } => ApiError::Timeout(said),
        QueryError::LimitExceeded { .. } => ApiError::Execution(said),
        QueryError::Cancelled => ApiError::Canceled(said),
        _ => ApiError::Internal(said),
    }
}
