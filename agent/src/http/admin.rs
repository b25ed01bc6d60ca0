//! Requests that change what is stored, or copy it: off unless the agent was started with
//! `--enable-admin-api`. Deletes leave a line in the store's audit log.
//!
//! Nothing here takes a path from outside: a copy is made inside the data directory.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::post;
use serde_json::json;
use tidegauge::admin::backup_for;
use tidegauge::{BackupError, DeleteError, SelectError, Shortage, TimeRange, Timestamp};

use super::App;
use super::params::{Params, UrlencodedParams};
use super::reply::{ApiError, ApiResult, Envelope};

type Done = Result<StatusCode, ApiError>;

pub(super) fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/api/v1/admin/tsdb/delete_series", post(delete_series).put(delete_series))
        .route("/api/v1/admin/tsdb/clean_tombstones", post(clean_tombstones).put(clean_tombstones))
        .route("/api/v1/admin/tsdb/snapshot", post(snapshot).put(snapshot))
        .route("/api/v1/admin/tidegauge/compact", post(compact))
        .route("/api/v1/admin/tidegauge/count", post(count))
}

/// `delete_series`: hides the samples of every `match[]` between `start` and `end`, both included.
async fn delete_series(State(app): State<Arc<App>>, UrlencodedParams(params): UrlencodedParams) -> Done {
    allowed(&app)?;
    let Selected { selectors, start, end } = Selected::of(&params)?;
    let range = TimeRange::covering(start, end);
    app.in_turn(move |app| {
        // A range that ends before it begins holds nothing to delete.
        if start <= end {
            delete_each(&selectors, |selector| app.engine.delete(selector, range).map(drop)).map_err(refused)?;
        }
        Ok(StatusCode::NO_CONTENT)
    })
    .await
}

/// Deletes what each of them selects, up to one that is refused. One that is done, and cannot be made durable yet, is told
/// once the others are done, too: whoever reads that it is done asks for none of them again. Unless one behind it is
/// durable: then those before it are, too.
fn delete_each(selectors: &[String], delete: impl Fn(&str) -> Result<(), DeleteError>) -> Result<(), DeleteError> {
    let mut told = Ok(());
    for selector in selectors {
        match delete(selector) {
            Err(done @ DeleteError::NotDurable { .. }) => told = Err(done),
            done => told = Ok(done?),
        }
    }
    told
}

/// How many series and samples `delete_series` would hide of each `match[]`, added up: what memory holds, too.
async fn count(State(app): State<Arc<App>>, UrlencodedParams(params): UrlencodedParams) -> ApiResult {
    allowed(&app)?;
    let Selected { selectors, start, end } = Selected::of(&params)?;
    let range = TimeRange::covering(start, end);
    app.in_turn(move |app| {
        let (mut series, mut samples) = (0, 0);
        for selector in selectors.iter().filter(|_| start <= end) {
            let count = app.engine.count_matching(selector, range).map_err(refused)?;
            (series, samples) = (series + count.series, samples + count.samples);
        }
        Ok(Envelope::json(&json!({"series": series, "samples": samples})))
    })
    .await
}

/// What a delete names.
struct Selected {
    selectors: Vec<String>,
    start: Timestamp,
    end: Timestamp,
}

impl Selected {
    /// All selectors are understood before the first is obeyed.
    fn of(params: &Params) -> Result<Self, ApiError> {
        let selectors: Vec<String> = params.all("match[]").map(str::to_owned).collect();
        if selectors.is_empty() {
            return Err(ApiError::BadData("no match[] parameter provided".to_owned()));
        }
        let start = params.time("start")?.unwrap_or(TimeRange::ALL.start);
        let end = params.time("end")?.unwrap_or(TimeRange::ALL.end);
        for selector in &selectors {
            tidegauge::query::promql::parse_selector(selector).map_err(|e| ApiError::parameter("match[]", e))?;
        }
        Ok(Self { selectors, start, end })
    }
}

fn refused(error: DeleteError) -> ApiError {
    let said = error.to_string();
    match error {
        DeleteError::Select(SelectError::Parse(why)) => ApiError::parameter("match[]", why),
        DeleteError::TooLarge | DeleteError::EmptyRange => ApiError::BadData(said),
        DeleteError::Select(_) => ApiError::Internal(said),
        _ => ApiError::Unavailable(said),
    }
}

/// `clean_tombstones`: rewrites what deletes have hidden, so that its space comes back. Takes
/// as long as that takes.
async fn clean_tombstones(State(app): State<Arc<App>>) -> Done {
    allowed(&app)?;
    app.in_turn(|app| {
        app.engine.flush().map_err(|e| ApiError::Unavailable(e.to_string()))?;
        app.engine.compact().map_err(|e| ApiError::Unavailable(e.to_string()))?;
        Ok(StatusCode::NO_CONTENT)
    })
    .await
}

/// Merges what can be merged, and tells what is left.
async fn compact(State(app): State<Arc<App>>) -> ApiResult {
    allowed(&app)?;
    app.in_turn(|app| {
        app.engine.flush().map_err(|e| ApiError::Unavailable(e.to_string()))?;
        app.engine.compact().map_err(|e| ApiError::Unavailable(e.to_string()))?;
        let stats = app.engine.stats();
        let text = format!("{{\"segments\":{},\"bytes\":{}}}", stats.segments, stats.segment_bytes);
        Ok(Envelope::new(|out| out.extend_from_slice(text.as_bytes())))
    })
    .await
}

/// As long as a path may be.
const DESTINATION_BYTES_MAX: usize = 4096;

/// As Prometheus has it: the copy lies in `snapshots/NAME` of the data directory. And what it holds.
///
/// `skip_head` is understood and changes nothing: what memory holds is flushed before, which takes no more than it.
async fn snapshot(State(app): State<Arc<App>>, params: Params) -> ApiResult {
    allowed(&app)?;
    params.flag("skip_head")?;
    // Where whoever asks takes it, if that is told: a line of the audit log is read when it is no longer here.
    let destination = params.get("destination").map(str::to_owned);
    if destination.as_ref().is_some_and(|path| path.len() > DESTINATION_BYTES_MAX) {
        return Err(ApiError::parameter("destination", format_args!("longer than {DESTINATION_BYTES_MAX} bytes")));
    }
    app.in_turn(move |app| {
        let name = fresh_name();
        let target = app.settings.data_dir.join("snapshots").join(&name);
        let made = match &destination {
            Some(destination) => backup_for(&app.engine, &target, destination, |_, _| {}),
            None => app.engine.backup(&target),
        };
        let report = made.map_err(no_copy)?;
        Ok(Envelope::json(&json!({
            "name": name,
            "segments": report.segments,
            "samples": report.samples,
            "bytes": report.bytes,
            "bytes_copied": report.bytes_copied,
        })))
    })
    .await
}

fn no_copy(why: BackupError) -> ApiError {
    let said = why.to_string();
    match (why.short_of(), why) {
        (Some(Shortage::Space), _) => ApiError::DiskFull(said),
        (Some(_), _) | (None, BackupError::Flush(_) | BackupError::Closed) => ApiError::Unavailable(said),
        _ => ApiError::Internal(said),
    }
}

fn allowed(app: &App) -> Result<(), ApiError> {
    if app.settings.admin_api {
        return Ok(());
    }
    Err(ApiError::Disabled("admin APIs disabled: start the agent with --enable-admin-api to allow them".to_owned()))
}

/// `20260131T120000Z-1f2e3d4c5b6a7988`: when, and something that no other copy of that second has.
fn fresh_name() -> String {
    let now = tidegauge::now().nanos();
    let at = jiff::Timestamp::from_nanosecond(i128::from(now)).unwrap_or_default();
    let mark = std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), now);
    format!("{}-{mark:016x}", at.strftime("%Y%m%dT%H%M%SZ"))
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use tidegauge::FlushError;

    use super::*;

    /// Too few open files were told as a full disk: 507, where making space helps nobody.
    #[test]
    fn a_copy_for_which_files_have_run_out_is_no_full_disk() {
        assert!(matches!(no_copy(FlushError::OutOfFiles.into()), ApiError::Unavailable(_)));
        assert!(matches!(no_copy(FlushError::DiskFull.into()), ApiError::DiskFull(_)));
        let files = std::io::Error::from(rustix::io::Errno::MFILE);
        assert!(matches!(no_copy(BackupError::Io { path: "x".into(), source: files }), ApiError::Unavailable(_)));
    }

    /// The first one that was done, and not durable, ended the request: its text says that all is done.
    #[test]
    fn a_delete_that_is_not_durable_yet_leaves_no_selector_out() {
        let selectors = ["a", "b", "c"].map(str::to_owned);
        let asked = RefCell::new(Vec::new());
        let short_but_for = |durable: &str| {
            delete_each(&selectors, |selector| {
                asked.borrow_mut().push(selector.to_owned());
                if selector == durable { Ok(()) } else { Err(DeleteError::NotDurable { short_of: Shortage::Files }) }
            })
        };
        assert!(matches!(short_but_for("b"), Err(DeleteError::NotDurable { .. })));
        assert_eq!(asked.take(), selectors);
        short_but_for("c").expect("what is durable behind them shows that they are");
        assert_eq!(asked.take(), selectors);
        let refuse = |selector: &str| {
            asked.borrow_mut().push(selector.to_owned());
            Err(DeleteError::TooLarge)
        };
        assert!(matches!(delete_each(&selectors, refuse), Err(DeleteError::TooLarge)));
        assert_eq!(asked.take(), ["a"], "what is not done ends it");
    }

    #[test]
    fn names_tell_when_and_differ() {
        let (a, b) = (fresh_name(), fresh_name());
        assert_ne!(a, b);
        assert!(a.len() == 33 && a.as_bytes()[8] == b'T' && a.as_bytes()[15] == b'Z', "{a}");
    }
}
