//! Questions about the text of a query: how it looks tidied up, what it means as a tree.

use std::fmt;
use std::sync::Arc;

use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use tidegauge::query::promql::parse::{ParseOptions, parse_with};
use tidegauge::query::promql::{Expr, ParseError};

use super::App;
use super::params::Params;
use super::reply::{ApiError, JSON};
use crate::ask::{Gone, Outlet, SHORT_TEXT_BYTES_MAX, put_escaped, put_tree};

/// `format_query`: the text, long ones split over lines.
pub(super) async fn format(State(app): State<Arc<App>>, params: Params) -> Result<Response, ApiError> {
    answer(app, params, Pretty).await
}

/// `parse_query`: the tree.
pub(super) async fn parsed(State(app): State<Arc<App>>, params: Params) -> Result<Response, ApiError> {
    answer(app, params, Tree).await
}

/// How an expression is shown.
trait Show: Send + Sync + 'static {
    fn show(&self, to: &mut impl Outlet, expr: &Expr) -> Result<(), Gone>;
}

struct Pretty;
struct Tree;

impl Show for Pretty {
    fn show(&self, to: &mut impl Outlet, expr: &Expr) -> Result<(), Gone> {
        to.buffer().push(b'"');
        // Nothing else can go wrong.
        expr.write_pretty(&mut Escaped(to)).map_err(|fmt::Error| Gone)?;
        to.buffer().push(b'"');
        Ok(())
    }
}

impl Show for Tree {
    fn show(&self, to: &mut impl Outlet, expr: &Expr) -> Result<(), Gone> {
        put_tree(to, expr)
    }
}

/// Text that becomes the inside of a JSON string.
struct Escaped<'a, O>(&'a mut O);

impl<O: Outlet> fmt::Write for Escaped<'_, O> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        put_escaped(self.0.buffer(), text);
        self.0.spill().map_err(|Gone| fmt::Error)
    }
}

async fn answer(app: Arc<App>, params: Params, how: impl Show) -> Result<Response, ApiError> {
    if params.get("query").unwrap_or_default().len() <= SHORT_TEXT_BYTES_MAX {
        let mut out = Vec::with_capacity(1024);
        put(&mut out, &parse(&app, &params).map_err(wrong)?, &how)?;
        return Ok(([(header::CONTENT_TYPE, JSON)], out).into_response());
    }
    // What is made of a long text may be long indeed.
    app.in_turn_or_try(JSON, move |app, out, _| Ok(put(out, &parse(app, &params).map_err(wrong)?, &how)?)).await
}

fn put(to: &mut impl Outlet, expr: &Expr, how: &impl Show) -> Result<(), Gone> {
    to.buffer().extend_from_slice(b"{\"status\":\"success\",\"data\":");
    how.show(to, expr)?;
    to.buffer().push(b'}');
    Ok(())
}

pub(super) fn parse(app: &App, params: &Params) -> Result<Expr, ParseError> {
    let options = ParseOptions { experimental: app.settings.experimental };
    parse_with(params.get("query").unwrap_or_default(), options)
}

fn wrong(error: ParseError) -> ApiError {
    ApiError::parameter("query", error)
}
