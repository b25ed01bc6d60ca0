//! PromQL: text to tree, tree to columns.

// text -> tree
pub mod parse;
// tree -> values
pub mod eval;

// both together
mod query;

pub use eval::{Annotations, ErrorKind, EvalError, Evaluator, InstantSample, Matrix, Options, RangeSeries, Value};
pub use parse::ast::Expr;
pub use parse::{
    PATTERN_BYTES_MAX, ParseError, ParseOptions, matchers_text, parse, parse_matchers, parse_selector, parse_with,
};
pub use query::{PromqlError, Query};
