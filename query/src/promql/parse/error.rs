//! Where and why a query's text cannot be understood.

use std::fmt;

/// A half-open range of bytes of a query's text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    /// The first byte.
    pub start: usize,
    /// One behind the last byte.
    pub end: usize,
}

impl Span {
    pub(super) fn new(start: usize, end: usize) -> Self {
        Self { start, end }
    }

    /// From the start of this one to the end of the other.
    pub(in crate::promql) fn to(self, other: Self) -> Self {
        Self { start: self.start, end: other.end }
    }
}

/// A query's text is not a query. Displays as `line:column: parse error: message`, both
/// counted from 1, the column in bytes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub struct ParseError {
    /// What is wrong.
    pub message: String,
    /// Which bytes of the text are wrong.
    pub span: Span,
    /// The line of the first wrong byte, from 1; 0 if the text is empty.
    pub line: usize,
    /// The column of the first wrong byte, from 1; 0 if the text is empty.
    pub column: usize,
}

impl ParseError {
    pub(super) fn new(text: &str, span: Span, message: String) -> Self {
        // Nothing has no place.
        let (line, column) = if text.is_empty() { (0, 0) } else { line_and_column(text, span.start) };
        Self { message, span, line, column }
    }
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "unknown position: parse error: {}", self.message),
            line => write!(f, "{line}:{}: parse error: {}", self.column, self.message),
        }
    }
}

/// Line and column of a byte of `text`, both from 1.
pub(in crate::promql) fn line_and_column(text: &str, at: usize) -> (usize, usize) {
    let before = &text.as_bytes()[..at.min(text.len())];
    let line_start = before.iter().rposition(|&b| b == b'\n').map_or(0, |newline| newline + 1);
    (before.iter().filter(|&&b| b == b'\n').count() + 1, before.len() - line_start + 1)
}
