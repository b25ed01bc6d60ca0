//! Requests that change what is stored: off unless the agent was started with
//! `--enable-admin-api`. Each leaves a line in the store's audit log.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use tidegauge::{DeleteError, SelectError, TimeRange};

use super::App;
use super::params::Params;
use super::reply::ApiError;

type Done = Result<StatusCode, ApiError>;

/// `delete_series`: hides the samples of every `match[]` between `start` and `end`, both included.
pub(super) async fn delete_series(State(app): State<Arc<App>>, params: Params) -> Done {
    allowed(&app)?;
    let selectors: Vec<String> = params.all("match[]").map(str::to_owned).collect();
    if selectors.is_empty() {
        return Err(ApiError::BadData("no match[] parameter provided".to_owned()));
    }
    let start = params.time("start")?.unwrap_or(TimeRange::ALL.start);
    let end = params.time("end")?.unwrap_or(TimeRange::ALL.end);
    let range = TimeRange::covering(start, end);
    app.in_turn(move |app| {
        // All are understood before the first is obeyed.
        for selector in &selectors {
            tidegauge::query::promql::parse_selector(selector).map_err(|e| ApiError::parameter("match[]", e))?;
        }
        // A range that ends before it begins holds nothing to delete.
        if start <= end {
            selectors.iter().try_for_each(|selector| app.engine.delete(selector, range).map(drop)).map_err(refused)?;
        }
        Ok(StatusCode::NO_CONTENT)
    })
    .await
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
pub(super) async fn clean_tombstones(State(app): State<Arc<App>>) -> Done {
    allowed(&app)?;
    app.in_turn(|app| {
        app.engine.flush().map_err(|e| ApiError::Unavailable(e.to_string()))?;
        app.engine.compact().map_err(|e| ApiError::Unavailable(e.to_string()))?;
        Ok(StatusCode::NO_CONTENT)
    })
    .await
}

/// `snapshot` is not there yet.
pub(super) async fn snapshot(State(app): State<Arc<App>>) -> Done {
    allowed(&app)?;
    Err(ApiError::not_there_yet("/api/v1/admin/tsdb/snapshot"))
}

fn allowed(app: &App) -> Result<(), ApiError> {
    if app.settings.admin_api { Ok(()) } else { Err(ApiError::Disabled("admin APIs disabled".to_owned())) }
}
