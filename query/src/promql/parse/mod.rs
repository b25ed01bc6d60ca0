//! From a query's text to a checked tree, and back.
//!
//! Text comes from outside: its length and its depth are bounded, every error says where.

// text -> tokens
mod lexer;
mod literal;
mod token;
// -> tree
pub mod ast;
mod duration_expr;
mod functions;
mod parser;
mod selector;
// -> checked tree
mod check;
mod error;
// -> text again
mod pretty;
mod print;

use tidegauge_storage::model::Matcher;

pub(super) use duration_expr::seconds_to_nanos;
pub(super) use error::line_and_column;
pub use error::{ParseError, Span};
pub use functions::{Function, Signature, ValueType};
pub(super) use literal::{format_number, quote};
pub(super) use print::label_name;
pub use print::matchers_text;

/// Longer text is refused unread.
pub const TEXT_BYTES_MAX: usize = 512 << 10;

/// Text nested deeper is refused: each parenthesis, call and sign adds a level.
pub const DEPTH_MAX: usize = 100;

/// Higher trees are refused: as nesting adds levels, so do brackets in a row, `x[1h:1m][1h:1m]`. Operators in a row
/// do not.
pub const HEIGHT_MAX: usize = 400;

/// More operators in one text are refused: they bound the memory of its tree.
pub const OPERATORS_MAX: usize = 20_000;

/// Regular expressions that take more bytes together, once they are compiled, are refused: a few characters that repeat
/// a large class are megabytes, and take a second to compile.
pub const PATTERN_BYTES_MAX: u64 = 64 << 20;

/// Which language is accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ParseOptions {
    /// Whether what is not yet a settled part of the language is accepted.
    pub experimental: bool,
}

impl Default for ParseOptions {
    fn default() -> Self {
        Self { experimental: true }
    }
}

/// Reads a query. O(length); holds a few times the text's length in memory.
///
/// # Errors
/// [`ParseError`] says what is wrong and where; also for more than [`TEXT_BYTES_MAX`]
/// bytes, [`DEPTH_MAX`] levels, [`OPERATORS_MAX`] operators or [`PATTERN_BYTES_MAX`] bytes of regular
/// expressions.
pub fn parse(text: &str) -> Result<ast::Expr, ParseError> {
    parse_with(text, ParseOptions::default())
}

/// Reads a query of the chosen language; see [`parse`].
///
/// # Errors
/// As [`parse`].
pub fn parse_with(text: &str, options: ParseOptions) -> Result<ast::Expr, ParseError> {
    check_length(text)?;
    let mut expr = parser::Parser::new(text, options).query()?;
    check::check(text, &mut expr)?;
    Ok(expr)
}

/// Reads a series selector such as `cpu{host=~"web.*"}`: the predicates on its labels.
///
/// # Errors
/// [`ParseError`] if the text is anything but a selector, has an offset or the like, or
/// would select every series there is.
pub fn parse_selector(text: &str) -> Result<Vec<Matcher>, ParseError> {
    match parse(text)? {
        ast::Expr::Vector(v) if v.offset.is_none() && v.at.is_none() && v.extension.is_none() => Ok(v.matchers),
        other => {
            let message = "expected a series selector such as name{label=\"value\"}".to_owned();
            Err(ParseError::new(text, other.span(), message))
        }
    }
}

/// As [`parse_selector`], for those who may select every series there is: `{}` is fine.
///
/// # Errors
/// As [`parse_selector`]; says what stands where nothing but a selector may.
pub fn parse_matchers(text: &str) -> Result<Vec<Matcher>, ParseError> {
    check_length(text)?;
    Ok(parser::Parser::new(text, ParseOptions::default()).selector()?.matchers)
}

fn check_length(text: &str) -> Result<(), ParseError> {
    if text.len() <= TEXT_BYTES_MAX {
        return Ok(());
    }
    let message = format!("query of {} bytes, at most {TEXT_BYTES_MAX} are allowed: split the query", text.len());
    Err(ParseError::new(text, Span::default(), message))
}

#[cfg(test)]
mod tests;
