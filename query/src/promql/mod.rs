//! PromQL: text to tree, tree to columns.

// text -> tree
pub mod parse;

pub use parse::ast::Expr;
pub use parse::{ParseError, parse, parse_selector};
