//! `/api/v1/query` and `/api/v1/query_range`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use tidegauge::query::promql::{ErrorKind, EvalError, Expr};
use tidegauge::query::{Cancel, Limit, QueryError, QueryLimits};

use super::App;
use super::params::Params;
use super::reply::{ApiError, JSON, put_notes};
use crate::ask::{
    Answer, AskError, Gone, Outlet, Question, SHORT_TEXT_BYTES_MAX, When, ask, ask_at_once, parse, put_value,
};

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

/// What is asked beside the expression itself.
struct Asked {
    question: Question,
    /// Where its text is short.
    expr: Option<Expr>,
    /// Series shown at most.
    limit: Option<usize>,
    stats: Stats,
    /// What is to be said of a value of `stats` that is none.
    odd_stats: Option<String>,
    parse: Duration,
    began: Instant,
}

/// Whether the answer tells what it has cost.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stats {
    No,
    Yes,
    /// And what only this engine can tell.
    All,
}

async fn answer(app: Arc<App>, params: &Params, when: When) -> Result<Response, ApiError> {
    let began = Instant::now();
    let limits = QueryLimits::DEFAULT;
    let time = params.duration("timeout")?.map_or(limits.time, |asked| asked.min(limits.time));
    let stats = match params.get("stats") {
        None => Stats::No,
        Some("all") => Stats::All,
        Some(_) => Stats::Yes,
    };
    let odd_stats = params.get("stats").filter(|stats| !matches!(*stats, "true" | "all")).map(|stats| {
        format!("value {stats:?} for parameter \"stats\" is deprecated and will be rejected in the next major release, use \"true\" or \"all\"")
    });
    let question = Question {
        expr: params.get("query").unwrap_or_default().to_owned(),
        when,
        experimental: app.settings.experimental,
        limits: QueryLimits { time, ..limits },
        lookback: lookback(params)?,
        per_step: stats == Stats::All,
    };
    let limit = params.limit("limit")?;
    when.check().map_err(from_ask)?;
    // A long text makes a tree many times its size: those wait for their turn.
    let expr = match question.expr.len() <= SHORT_TEXT_BYTES_MAX {
        true => Some(parse(&question).map_err(from_ask)?),
        false => None,
    };
    let asked = Asked { question, expr, limit, stats, odd_stats, parse: began.elapsed(), began };
    if let Some(done) = at_once(&app, &asked) {
        return done;
    }
    let hung_up = HangUp::default();
    let cancel = hung_up.cancel();
    app.in_turn_or_try(JSON, move |app, out, lane| {
        let running = app.queries.begin(&asked.question.expr, when);
        let queue = asked.began.elapsed().saturating_sub(asked.parse);
        let began = Instant::now();
        let read;
        let expr = match &asked.expr {
            Some(expr) => expr,
            None => {
                read = parse(&asked.question).map_err(from_ask)?;
                &read
            }
        };
        let parsed = asked.parse + began.elapsed();
        let began = Instant::now();
        let answered = {
            let limits = lane.bound(asked.question.limits);
            ask(&app.engine.snapshot(), &asked.question, limits, expr, cancel.clone()).map_err(from_ask)
        };
        if answered.as_ref().is_err_and(|why| lane.may_be_out_of_bounds(why)) {
            running.forget();
        } else {
            app.counters.query(began.elapsed(), answered.is_ok());
        }
        let mut answer = answered?;
        (answer.costs.queue, answer.costs.parse) = (queue, parsed);
        Ok(write(out, &asked, answer)?)
    })
    .await
}

/// The whole answer, if it takes next to no time; `None` if it is to be asked for elsewhere.
fn at_once(app: &App, asked: &Asked) -> Option<Result<Response, ApiError>> {
    let expr = asked.expr.as_ref()?;
    // No turn: what is so short holds nobody up, however many long ones there are.
    let _running = app.turns.without();
    let began = Instant::now();
    let answered = ask_at_once(&app.engine.snapshot(), &asked.question, expr)?;
    app.counters.query(began.elapsed(), answered.is_ok());
    app.queries.ended(&asked.question.expr, asked.question.when, began.elapsed());
    Some(answered.map_err(from_ask).and_then(|mut answer| {
        answer.costs.parse = asked.parse;
        let mut out = Vec::with_capacity(1024);
        write(&mut out, asked, answer)?;
        Ok(([(header::CONTENT_TYPE, JSON)], out).into_response())
    }))
}

fn write(out: &mut impl Outlet, asked: &Asked, mut answer: Answer) -> Result<(), Gone> {
    if let Some(limit) = asked.limit {
        answer.limit(limit);
    }
    answer.warnings.extend(asked.odd_stats.clone());
    let at = match asked.question.when {
        When::At(at) => at,
        When::Every { end, .. } => end,
    };
    let began = Instant::now();
    out.buffer().extend_from_slice(b"{\"status\":\"success\",\"data\":{");
    put_value(out, &answer.value, at)?;
    if asked.stats != Stats::No {
        answer.costs.encode = began.elapsed();
        let stats = answer.costs.json(asked.stats == Stats::All);
        out.buffer().extend_from_slice(format!(",\"stats\":{stats}").as_bytes());
    }
    out.buffer().push(b'}');
    put_notes(out.buffer(), &answer.warnings, &answer.infos);
    out.buffer().push(b'}');
    Ok(())
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

/// Where the bound of all queries together is set.
const OF_ALL: &str = " (--query-memory)";

/// Whether one query alone met that bound.
fn is_of_all(which: Limit, limit: u64) -> bool {
    which == Limit::Memory && limit < QueryLimits::DEFAULT.memory_bytes
}

fn from_ask(error: AskError) -> ApiError {
    let said = error.to_string();
    match (error.kind(), &error) {
        (ErrorKind::BadData, AskError::Times(_)) => ApiError::BadData(said),
        (ErrorKind::BadData, _) => ApiError::parameter("query", said),
        (ErrorKind::Timeout, _) => ApiError::Timeout(said),
        (ErrorKind::Canceled, _) => ApiError::Canceled(said),
        (ErrorKind::Internal, _) => ApiError::Internal(said),
        (ErrorKind::Unavailable, _) => ApiError::Unavailable(said + OF_ALL),
        (_, AskError::Eval(EvalError::LimitExceeded { which, limit })) if is_of_all(*which, *limit) => {
            ApiError::Execution(said + OF_ALL)
        }
        _ => ApiError::Execution(said),
    }
}

/// The same for what the scan says without an expression around it.
pub(super) fn api_error(error: QueryError) -> ApiError {
    let said = error.to_string();
    match error {
        QueryError::LimitExceeded { which: Limit::Time, .. } => ApiError::Timeout(said),
        QueryError::LimitExceeded { which: Limit::SharedMemory, .. } => ApiError::Unavailable(said + OF_ALL),
        QueryError::LimitExceeded { which, limit } if is_of_all(which, limit) => ApiError::Execution(said + OF_ALL),
        QueryError::LimitExceeded { .. } => ApiError::Execution(said),
        QueryError::Cancelled => ApiError::Canceled(said),
        _ => ApiError::Internal(said),
    }
}
