//! From tokens to a tree: precedence climbing.

use super::ast::{
    Aggregate, AggregateOp, Binary, BinaryOp, Call, Expr, NumberLiteral, Operand, Paren, StringLiteral, Unary,
    VectorSelector,
};
use super::literal::{parse_duration, parse_number, unquote_bytes};
use super::token::{Kind, Token};
use super::{DEPTH_MAX, HEIGHT_MAX, OPERATORS_MAX, PATTERN_BYTES_MAX, ParseError, ParseOptions, Span, functions};

/// Binds tighter than every operator but `^`: the operand of a sign.
const SIGN_LEVEL: u8 = 6;

pub(super) struct Parser<'a> {
    pub(super) text: &'a str,
    tokens: Vec<Token<'a>>,
    at: usize,
    lexer_error: Option<ParseError>,
    depth: usize,
    /// Of the whole text, so far.
    operators: usize,
    /// What the regular expressions so far take when they are compiled.
    pattern_bytes: u64,
    pub(super) options: ParseOptions,
}

/// An expression and the height of its tree.
pub(super) type Sized = (Expr, usize);

impl<'a> Parser<'a> {
    pub(super) fn new(text: &'a str, options: ParseOptions) -> Self {
        let (tokens, lexer_error) = super::lexer::tokens(text);
        Self { text, tokens, at: 0, lexer_error, depth: 0, operators: 0, pattern_bytes: 0, options }
    }

    pub(super) fn peek(&self) -> Token<'a> {
        self.tokens[self.at]
    }

    pub(super) fn peek_kind(&self) -> Kind {
        self.tokens[self.at].kind
    }

    pub(super) fn peek_second(&self) -> Kind {
        self.tokens[(self.at + 1).min(self.tokens.len() - 1)].kind
    }

    pub(super) fn bump(&mut self) -> Token<'a> {
        let token = self.tokens[self.at];
        self.at = (self.at + 1).min(self.tokens.len() - 1);
        token
    }

    /// For going back: see [`rewind`](Self::rewind).
    pub(super) fn position(&self) -> usize {
        self.at
    }

    pub(super) fn rewind(&mut self, position: usize) {
        self.at = position;
    }

    pub(super) fn take(&mut self, kind: Kind) -> Option<Token<'a>> {
        (self.peek_kind() == kind).then(|| self.bump())
    }

    pub(super) fn error(&self, span: Span, message: impl Into<String>) -> ParseError {
        ParseError::new(self.text, span, message.into())
    }

    /// The next token does not belong here.
    pub(super) fn unexpected(&self, context: &str, expected: &str) -> ParseError {
        let token = self.peek();
        // The text after the last token could not be cut: that is the real cause.
        if let (Kind::End, Some(error)) = (token.kind, &self.lexer_error) {
            return error.clone();
        }
        let mut message = format!("unexpected {}", token.describe());
        if !context.is_empty() {
            message.push_str(&format!(" in {context}"));
        }
        if !expected.is_empty() {
            message.push_str(&format!(", expected {expected}"));
        }
        self.error(token.span, message)
    }

    /// Says what the word that does not belong here stands in, unless that was said further inside.
    pub(super) fn inside(&self, mut error: ParseError, context: &str) -> ParseError {
        let of_lexer = self.lexer_error.as_ref() == Some(&error);
        if !of_lexer && error.message.starts_with("unexpected ") && !error.message.contains(" in ") {
            error.message.push_str(&format!(" in {context}"));
        }
        error
    }

    /// Refuses trees higher than [`HEIGHT_MAX`].
    pub(super) fn check_height(&self, height: usize, span: Span) -> Result<usize, ParseError> {
        if height > HEIGHT_MAX {
            let message = format!("expression nested deeper than {HEIGHT_MAX} levels: split the query");
            return Err(self.error(span, message));
        }
        Ok(height)
    }

    /// Refuses more than [`OPERATORS_MAX`].
    pub(super) fn count_operator(&mut self, span: Span) -> Result<(), ParseError> {
        self.operators += 1;
        if self.operators > OPERATORS_MAX {
            let message = format!("more than {OPERATORS_MAX} operators: split the query");
            return Err(self.error(span, message));
        }
        Ok(())
    }

    /// Refuses more than [`PATTERN_BYTES_MAX`].
    pub(super) fn count_pattern(&mut self, bytes: u64, span: Span) -> Result<(), ParseError> {
        self.pattern_bytes = self.pattern_bytes.saturating_add(bytes);
        if self.pattern_bytes > PATTERN_BYTES_MAX {
            let most = PATTERN_BYTES_MAX >> 20;
            let message = format!("the regular expressions up to here take more than {most} MiB: repeat less in them");
            return Err(self.error(span, message));
        }
        Ok(())
    }

    /// Runs `inner` one level deeper.
    pub(super) fn nested<T>(
        &mut self,
        inner: impl FnOnce(&mut Self) -> Result<T, ParseError>,
    ) -> Result<T, ParseError> {
        if self.depth == DEPTH_MAX {
            let message = format!("expression nested deeper than {DEPTH_MAX} levels: split the query");
            return Err(self.error(self.peek().span, message));
        }
        self.depth += 1;
        let result = inner(self);
        self.depth -= 1;
        result
    }

    /// The whole text as one expression.
    pub(super) fn query(mut self) -> Result<Expr, ParseError> {
        if self.peek_kind() == Kind::End {
            return Err(self.lexer_error.unwrap_or_else(|| {
                ParseError::new(self.text, Span::default(), "no expression found in input".to_owned())
            }));
        }
        let (expr, _) = self.expression(0)?;
        match (self.peek_kind(), &self.lexer_error) {
            (Kind::End, None) => Ok(expr),
            _ => Err(self.unexpected("", "")),
        }
    }

    /// The whole text as a selector of series, with nothing behind it.
    pub(super) fn selector(mut self) -> Result<VectorSelector, ParseError> {
        let kind = self.peek_kind();
        if kind != Kind::LeftBrace && !kind.is_metric_name() {
            return Err(self.unexpected("", ""));
        }
        let selector = self.vector_selector()?;
        match (self.peek_kind(), &self.lexer_error) {
            (Kind::End, None) => Ok(selector),
            _ => Err(self.unexpected("", "")),
        }
    }

    /// Operators that bind at least as tight as `level`.
    pub(super) fn expression(&mut self, level: u8) -> Result<Sized, ParseError> {
        self.nested(|parser| parser.operators(level))
    }

    fn operators(&mut self, level: u8) -> Result<Sized, ParseError> {
        let (mut lhs, mut height) = self.operand()?;
        while let Some((op, op_level, rhs_level)) = binary_operator(self.peek_kind()) {
            if op_level < level {
                break;
            }
            let op_token = self.bump();
            let modifiers = self.binary_modifiers()?;
            let op_end = self.tokens[self.at - 1].span;
            self.count_operator(op_token.span)?;
            let (rhs, rhs_height) = self.expression(rhs_level)?;
            let operand = Operand {
                op,
                rhs,
                return_bool: modifiers.return_bool,
                matching: Some(Box::new(modifiers.matching)),
                op_span: op_token.span.to(op_end),
            };
            // No operand begins as a `Binary`: those are in parentheses or behind a sign.
            if let Expr::Binary(b) = &mut lhs {
                b.rest.push(operand);
                height = height.max(rhs_height + 1);
            } else {
                lhs = Expr::Binary(Box::new(Binary { first: lhs, rest: vec![operand] }));
                height = height.max(rhs_height) + 1;
            }
            self.check_height(height, op_token.span)?;
        }
        Ok((lhs, height))
    }

    fn operand(&mut self) -> Result<Sized, ParseError> {
        let first = self.peek();
        if let Kind::Add | Kind::Sub = first.kind {
            self.bump();
            let (expr, height) = self.expression(SIGN_LEVEL)?;
            let negate = first.kind == Kind::Sub;
            return Ok(match expr {
                Expr::Number(mut number) => {
                    number.value = if negate { -number.value } else { number.value };
                    number.span.start = first.span.start;
                    (Expr::Number(number), height)
                }
                expr => {
                    let span = first.span.to(expr.span());
                    let height = self.check_height(height + 1, first.span)?;
                    (Expr::Unary(Box::new(Unary { negate, expr, span })), height)
                }
            });
        }
        let (expr, height) = self.primary()?;
        self.postfix(expr, height)
    }

    fn primary(&mut self) -> Result<Sized, ParseError> {
        let token = self.peek();
        match token.kind {
            Kind::LeftParen => {
                self.bump();
                let (expr, height) = self.expression(0)?;
                let close = self.take(Kind::RightParen).ok_or_else(|| self.unexpected("", ""))?;
                let span = token.span.to(close.span);
                Ok((Expr::Paren(Box::new(Paren { expr, span })), self.check_height(height + 1, span)?))
            }
            Kind::Number | Kind::Duration => Ok((Expr::Number(self.number_or_duration()?), 1)),
            Kind::String => {
                self.bump();
                let bytes = unquote_bytes(token.text).map_err(|why| self.error(token.span, why))?;
                Ok((Expr::String(string_literal(bytes, token.span)), 1))
            }
            Kind::LeftBrace => Ok((Expr::Vector(Box::new(self.vector_selector()?)), 1)),
            kind if self.peek_second() == Kind::LeftParen && is_function_name(kind) => self.call(),
            kind if kind.is_aggregator()
                && matches!(self.peek_second(), Kind::LeftParen | Kind::By | Kind::Without) =>
            {
                self.aggregate()
            }
            kind if kind.is_metric_name() => Ok((Expr::Vector(Box::new(self.vector_selector()?)), 1)),
            _ => Err(self.unexpected("", "")),
        }
    }

    pub(super) fn number_or_duration(&mut self) -> Result<NumberLiteral, ParseError> {
        let token = self.bump();
        let duration = token.kind == Kind::Duration;
        let value = if duration {
            parse_duration(token.text).map(|nanos| nanos as f64 / 1e9)
        } else {
            parse_number(token.text)
        };
        let value = value.map_err(|why| self.error(token.span, why))?;
        Ok(NumberLiteral { value, duration, span: token.span })
    }

    fn call(&mut self) -> Result<Sized, ParseError> {
        let name = self.bump();
        let (args, height, close) = self.arguments()?;
        let signature = functions::lookup(name.text)
            .ok_or_else(|| self.error(name.span, format!("unknown function with name {:?}", name.text)))?;
        if signature.experimental && !self.options.experimental {
            return Err(self.error(name.span, format!("function {:?} is not enabled", name.text)));
        }
        let span = name.span.to(close);
        Ok((Expr::Call(Box::new(Call { signature, args, span })), self.check_height(height + 1, span)?))
    }

    /// `( expr, ... )`: the arguments, their greatest height, the closing parenthesis.
    fn arguments(&mut self) -> Result<(Vec<Expr>, usize, Span), ParseError> {
        self.take(Kind::LeftParen).ok_or_else(|| self.unexpected("", ""))?;
        let (mut args, mut height) = (Vec::new(), 0);
        if let Some(close) = self.take(Kind::RightParen) {
            return Ok((args, height, close.span));
        }
        loop {
            let (arg, arg_height) = self.expression(0)?;
            height = height.max(arg_height);
            args.push(arg);
            let separator = self.peek();
            match separator.kind {
                Kind::RightParen => {
                    self.bump();
                    return Ok((args, height, separator.span));
                }
                Kind::Comma => {
                    self.bump();
                    if self.peek_kind() == Kind::RightParen {
                        return Err(self.error(separator.span, "trailing commas not allowed in function call args"));
                    }
                }
                _ => return Err(self.unexpected("", "")),
            }
        }
    }

    fn aggregate(&mut self) -> Result<Sized, ParseError> {
        let op_token = self.bump();
        let op = aggregate_op(op_token.kind).ok_or_else(|| self.unexpected("aggregation", ""))?;
        let mut modifier = self.grouping()?;
        if self.peek_kind() != Kind::LeftParen {
            return Err(self.unexpected("aggregation", ""));
        }
        let (mut args, height, close) = self.arguments().map_err(|error| self.inside(error, "aggregation"))?;
        let mut span = op_token.span.to(close);
        if modifier.is_none() {
            modifier = self.grouping()?;
            if modifier.is_some() {
                span.end = self.tokens[self.at - 1].span.end;
            }
        }
        if args.is_empty() {
            return Err(self.error(span, "no arguments for aggregate expression provided"));
        }
        if op.is_experimental() && !self.options.experimental {
            return Err(self.error(span, format!("{}() is experimental and is not enabled", op.as_str())));
        }
        let wanted = if op.takes_param() { 2 } else { 1 };
        if args.len() != wanted {
            let found = args.len();
            let message =
                format!("wrong number of arguments for aggregate expression provided, expected {wanted}, got {found}");
            return Err(self.error(span, message));
        }
        let expr = args.pop().ok_or_else(|| self.unexpected("aggregation", ""))?;
        let (without, grouping) = modifier.unwrap_or_default();
        let aggregate = Aggregate { op, expr, param: args.pop(), grouping, without, span };
        Ok((Expr::Aggregate(Box::new(aggregate)), self.check_height(height + 1, span)?))
    }

    /// `by (...)` or `without (...)`, if it stands here.
    fn grouping(&mut self) -> Result<Option<(bool, Vec<String>)>, ParseError> {
        let without = match self.peek_kind() {
            Kind::By => false,
            Kind::Without => true,
            _ => return Ok(None),
        };
        self.bump();
        Ok(Some((without, self.grouping_labels()?)))
    }
}

fn string_literal(bytes: Vec<u8>, span: Span) -> StringLiteral {
    match String::from_utf8(bytes) {
        Ok(value) => StringLiteral { value, bytes: None, span },
        Err(e) => {
            let value = String::from_utf8_lossy(e.as_bytes()).into_owned();
            StringLiteral { value, bytes: Some(e.into_bytes()), span }
        }
    }
}

fn is_function_name(kind: Kind) -> bool {
    kind.is_duration_function() || matches!(kind, Kind::Identifier | Kind::Start | Kind::EndFunction)
}

fn aggregate_op(kind: Kind) -> Option<AggregateOp> {
    Some(match kind {
        Kind::Sum => AggregateOp::Sum,
        Kind::Avg => AggregateOp::Avg,
        Kind::Count => AggregateOp::Count,
        Kind::Min => AggregateOp::Min,
        Kind::Max => AggregateOp::Max,
        Kind::Group => AggregateOp::Group,
        Kind::Stddev => AggregateOp::Stddev,
        Kind::Stdvar => AggregateOp::Stdvar,
        Kind::Topk => AggregateOp::Topk,
        Kind::Bottomk => AggregateOp::Bottomk,
        Kind::CountValues => AggregateOp::CountValues,
        Kind::Quantile => AggregateOp::Quantile,
        Kind::Limitk => AggregateOp::Limitk,
        Kind::LimitRatio => AggregateOp::LimitRatio,
        _ => return None,
    })
}

/// An operator, how tight it binds, and how tight its right operand must.
pub(super) fn binary_operator(kind: Kind) -> Option<(BinaryOp, u8, u8)> {
    let (op, level) = match kind {
        Kind::Or => (BinaryOp::Or, 1),
        Kind::And => (BinaryOp::And, 2),
        Kind::Unless => (BinaryOp::Unless, 2),
        Kind::EqualEqual => (BinaryOp::Equal, 3),
        Kind::NotEqual => (BinaryOp::NotEqual, 3),
        Kind::Less => (BinaryOp::Less, 3),
        Kind::LessEqual => (BinaryOp::LessEqual, 3),
        Kind::Greater => (BinaryOp::Greater, 3),
        Kind::GreaterEqual => (BinaryOp::GreaterEqual, 3),
        Kind::TrimUpper => (BinaryOp::TrimUpper, 3),
        Kind::TrimLower => (BinaryOp::TrimLower, 3),
        Kind::Add => (BinaryOp::Add, 4),
        Kind::Sub => (BinaryOp::Sub, 4),
        Kind::Mul => (BinaryOp::Mul, 5),
        Kind::Div => (BinaryOp::Div, 5),
        Kind::Mod => (BinaryOp::Mod, 5),
        Kind::Atan2 => (BinaryOp::Atan2, 5),
        // From right to left.
        Kind::Pow => return Some((BinaryOp::Pow, 6, 6)),
        _ => return None,
    };
    Some((op, level, level + 1))
}
