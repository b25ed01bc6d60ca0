//! Questions about the text of a query: how it looks tidied up, what it means as a tree.

use std::sync::Arc;

use axum::extract::State;
use tidegauge::query::promql::Expr;
use tidegauge::query::promql::parse::{ParseOptions, parse_with};

use super::App;
use super::params::Params;
use super::reply::{ApiError, ApiResult, Envelope};
use crate::ask::{put_string, tree};

/// `format_query`: the text, long ones split over lines.
pub(super) async fn format(State(app): State<Arc<App>>, params: Params) -> ApiResult {
    let expr = parse(&app, &params)?;
    Ok(Envelope::new(|out| put_string(out, &expr.pretty())))
}

/// `parse_query`: the tree.
pub(super) async fn parsed(State(app): State<Arc<App>>, params: Params) -> ApiResult {
    let expr = parse(&app, &params)?;
    Ok(Envelope::json(&tree(&expr)))
}

pub(super) fn parse(app: &App, params: &Params) -> Result<Expr, ApiError> {
    let options = ParseOptions { experimental: app.settings.experimental };
    parse_with(params.get("query").unwrap_or_default(), options).map_err(|e| ApiError::parameter("query", e))
}
