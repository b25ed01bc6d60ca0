//! Selectors, what may follow them, and the labels that modify operators.

use tidegauge_storage::model::{METRIC_NAME, MatchOp, Matcher, MatcherError};

use super::ast::{At, Cardinality, DurationArg, Expr, Extension, Matching, MatrixSelector, Subquery, VectorSelector};
use super::literal::{format_number, unquote};
use super::parser::{Parser, Sized};
use super::token::Kind;
use super::{ParseError, Span};

/// What stands between an operator and its right operand.
pub(super) struct Modifiers {
    pub(super) return_bool: bool,
    pub(super) matching: Matching,
}

impl Parser<'_> {
    /// `name`, `name{...}` or `{...}`.
    pub(super) fn vector_selector(&mut self) -> Result<VectorSelector, ParseError> {
        let first = self.peek();
        let mut span = first.span;
        let name = (first.kind != Kind::LeftBrace).then(|| self.bump().text.to_owned());
        let mut matchers = Vec::new();
        if self.peek_kind() == Kind::LeftBrace {
            let (inside, braces) = self.label_matchers()?;
            (matchers, span) = (inside, span.to(braces));
        }
        matchers.extend(name.iter().map(|name| Matcher::equal(METRIC_NAME, name.as_str())));
        Ok(VectorSelector { name, matchers, offset: None, at: None, extension: None, span })
    }

    fn label_matchers(&mut self) -> Result<(Vec<Matcher>, Span), ParseError> {
        let open = self.bump().span;
        let mut matchers = Vec::new();
        loop {
            if let (Some(close), true) = (self.peek_close(), matchers.is_empty() || self.previous_was_comma()) {
                self.bump();
                return Ok((matchers, open.to(close)));
            }
            matchers.push(self.label_matcher()?);
            match self.peek_kind() {
                Kind::Comma => {
                    self.bump();
                }
                Kind::RightBrace => {
                    let close = self.bump().span;
                    return Ok((matchers, open.to(close)));
                }
                _ => return Err(self.unexpected("label matching", "\",\" or \"}\"")),
            }
        }
    }

    fn peek_close(&self) -> Option<Span> {
        (self.peek_kind() == Kind::RightBrace).then(|| self.peek().span)
    }

    fn previous_was_comma(&self) -> bool {
        self.text[..self.peek().span.start].trim_end().ends_with(',')
    }

    fn label_matcher(&mut self) -> Result<Matcher, ParseError> {
        let label = self.peek();
        let name = match label.kind {
            Kind::Identifier => label.text.to_owned(),
            Kind::String => unquote(label.text).map_err(|why| self.error(label.span, why))?,
            _ => return Err(self.unexpected("label matching", "identifier or \"}\"")),
        };
        self.bump();
        let op = match self.peek_kind() {
            Kind::Assign => MatchOp::Equal,
            Kind::NotEqual => MatchOp::NotEqual,
            Kind::RegexMatch => MatchOp::Regex,
            Kind::RegexNotMatch => MatchOp::NotRegex,
            // A quoted name alone is the metric's.
            _ if label.kind == Kind::String => return Ok(Matcher::equal(METRIC_NAME, name)),
            _ => return Err(self.unexpected("label matching", "label matching operator")),
        };
        self.bump();
        let value = self.take(Kind::String).ok_or_else(|| self.unexpected("label matching", "string"))?;
        let span = label.span.to(value.span);
        let value = unquote(value.text).map_err(|why| self.error(value.span, why))?;
        let matcher = Matcher::new(name, op, value).map_err(|e| match e {
            // The place says which matcher.
            MatcherError::BadRegex { why, .. } => self.error(span, why),
            other => self.error(span, other.to_string()),
        })?;
        self.count_pattern(matcher.pattern_bytes(), span)?;
        Ok(matcher)
    }

    /// Everything that may follow an operand: ranges, offsets, `@`, `anchored`, `smoothed`.
    pub(super) fn postfix(&mut self, mut expr: Expr, mut height: usize) -> Result<Sized, ParseError> {
        loop {
            match self.peek_kind() {
                Kind::LeftBracket => {
                    expr = self.brackets(expr)?;
                    height = self.check_height(height + 1, expr.span())?;
                }
                Kind::Offset => {
                    self.bump();
                    let offset = self.offset_duration()?;
                    self.set_offset(&mut expr, offset)?;
                }
                Kind::At => {
                    self.bump();
                    let at = self.at_time(expr.span())?;
                    self.set_at(&mut expr, at)?;
                }
                Kind::Anchored => {
                    self.bump();
                    self.set_extension(&mut expr, Extension::Anchored)?;
                }
                Kind::Smoothed => {
                    self.bump();
                    self.set_extension(&mut expr, Extension::Smoothed)?;
                }
                _ => return Ok((expr, height)),
            }
        }
    }

    /// `[range]` or `[range:step]`.
    fn brackets(&mut self, expr: Expr) -> Result<Expr, ParseError> {
        let open = self.bump().span;
        let range = self.positive_duration("subquery or range selector", "number, duration, step(), or range()")?;
        if self.take(Kind::Colon).is_some() {
            let step = match self.peek_kind() {
                Kind::RightBracket => None,
                _ => Some(self.positive_duration("subquery selector", "number, duration, step(), range(), or \"]\"")?),
            };
            let close = self.take(Kind::RightBracket).ok_or_else(|| self.unexpected("subquery selector", "\"]\""))?;
            let span = expr.span().to(close.span);
            return Ok(Expr::Subquery(Box::new(Subquery { expr, range, step, offset: None, at: None, span })));
        }
        let Some(close) = self.take(Kind::RightBracket) else {
            return Err(self.unexpected("subquery or range", "\":\" or \"]\""));
        };
        let brackets = open.to(close.span);
        match expr {
            Expr::Vector(selector) => {
                if selector.offset.is_some() {
                    return Err(self.error(brackets, "no offset modifiers allowed before range"));
                }
                if selector.at.is_some() {
                    return Err(self.error(brackets, "no @ modifiers allowed before range"));
                }
                let span = selector.span.to(close.span);
                Ok(Expr::Matrix(Box::new(MatrixSelector { selector: *selector, range, span })))
            }
            _ => Err(self.error(brackets, "ranges only allowed for vector selectors")),
        }
    }

    fn last_end(&self) -> usize {
        self.text[..self.peek().span.start].trim_end().len()
    }

    fn set_offset(&mut self, expr: &mut Expr, offset: DurationArg) -> Result<(), ParseError> {
        let (span, end) = (expr.span(), self.last_end());
        let (place, place_end) = match expr {
            Expr::Vector(v) => (&mut v.offset, &mut v.span.end),
            Expr::Matrix(m) => (&mut m.selector.offset, &mut m.span.end),
            Expr::Subquery(s) => (&mut s.offset, &mut s.span.end),
            _ => {
                return Err(self.error(
                    span,
                    "offset modifier must be preceded by an instant vector selector or range vector selector or a subquery",
                ));
            }
        };
        if place.is_some() {
            return Err(self.error(span, "offset may not be set multiple times"));
        }
        // No offset at all may be followed by one.
        *place = (offset != DurationArg::Nanos(0)).then_some(offset);
        *place_end = end;
        Ok(())
    }

    fn at_time(&mut self, span: Span) -> Result<At, ParseError> {
        let bad = |parser: &Self| parser.unexpected("@", "timestamp");
        if let kind @ (Kind::Start | Kind::EndFunction) = self.peek_kind() {
            self.bump();
            self.take(Kind::LeftParen).ok_or_else(|| bad(self))?;
            self.take(Kind::RightParen).ok_or_else(|| bad(self))?;
            return Ok(if kind == Kind::Start { At::Start } else { At::End });
        }
        let sign = match self.peek_kind() {
            Kind::Sub => -1.0,
            _ => 1.0,
        };
        if let Kind::Add | Kind::Sub = self.peek_kind() {
            self.bump();
        }
        if !matches!(self.peek_kind(), Kind::Number | Kind::Duration) {
            return Err(bad(self));
        }
        let seconds = self.number_or_duration()?.value * sign;
        // Seconds are bounded as Prometheus bounds them: milliseconds may be more than fit, and are far away then.
        if !seconds.is_finite() || seconds.abs() >= i64::MAX as f64 {
            let shown = match seconds.is_infinite() {
                true => format_number(seconds),
                false => format!("{seconds:.6}"),
            };
            return Err(self.error(span, format!("timestamp out of bounds for @ modifier: {shown}")));
        }
        Ok(At::Millis((seconds * 1000.0).round() as i64))
    }

    fn set_at(&mut self, expr: &mut Expr, at: At) -> Result<(), ParseError> {
        let (span, end) = (expr.span(), self.last_end());
        let (place, place_end) = match expr {
            Expr::Vector(v) => (&mut v.at, &mut v.span.end),
            Expr::Matrix(m) => (&mut m.selector.at, &mut m.span.end),
            Expr::Subquery(s) => (&mut s.at, &mut s.span.end),
            _ => {
                return Err(self.error(
                    span,
                    "@ modifier must be preceded by an instant vector selector or range vector selector or a subquery",
                ));
            }
        };
        if place.is_some() {
            return Err(self.error(span, "@ <timestamp> may not be set multiple times"));
        }
        *place = Some(at);
        *place_end = end;
        Ok(())
    }

    fn set_extension(&mut self, expr: &mut Expr, extension: Extension) -> Result<(), ParseError> {
        let span = expr.span();
        let name = match extension {
            Extension::Anchored => "anchored",
            Extension::Smoothed => "smoothed",
        };
        if !self.options.experimental {
            return Err(self.error(span, format!("{name} modifier is experimental and not enabled")));
        }
        let place = match expr {
            Expr::Vector(v) => &mut v.extension,
            Expr::Matrix(m) => &mut m.selector.extension,
            Expr::Subquery(_) => {
                return Err(self.error(span, format!("{name} modifier is not supported for subqueries")));
            }
            _ => return Err(self.error(span, format!("{name} modifier not implemented"))),
        };
        if place.is_some_and(|before| before != extension) {
            return Err(self.error(span, "anchored and smoothed modifiers cannot be used together"));
        }
        *place = Some(extension);
        Ok(())
    }

    /// `bool`, `on`/`ignoring`, `group_left`/`group_right`, `fill...`, in this order.
    pub(super) fn binary_modifiers(&mut self) -> Result<Modifiers, ParseError> {
        let return_bool = self.take(Kind::Bool).is_some();
        let mut matching = Matching::default();
        if let kind @ (Kind::On | Kind::Ignoring) = self.peek_kind() {
            self.bump();
            matching.on = kind == Kind::On;
            matching.labels = self.grouping_labels()?;
            if let kind @ (Kind::GroupLeft | Kind::GroupRight) = self.peek_kind() {
                self.bump();
                matching.cardinality =
                    if kind == Kind::GroupLeft { Cardinality::ManyToOne } else { Cardinality::OneToMany };
                if let Kind::GroupLeft | Kind::GroupRight | Kind::On | Kind::Ignoring | Kind::Bool = self.peek_kind() {
                    return Err(self.unexpected("grouping opts", "\"(\""));
                }
                if self.peek_kind() == Kind::LeftParen {
                    matching.include = self.grouping_labels()?;
                }
            }
        }
        self.fill_modifiers(&mut matching)?;
        Ok(Modifiers { return_bool, matching })
    }

    fn fill_modifiers(&mut self, matching: &mut Matching) -> Result<(), ParseError> {
        let start = self.peek().span;
        if self.take(Kind::Fill).is_some() {
            let value = self.fill_value()?;
            (matching.fill_left, matching.fill_right) = (Some(value), Some(value));
        } else {
            loop {
                match self.peek_kind() {
                    Kind::FillLeft if matching.fill_left.is_none() => {
                        self.bump();
                        matching.fill_left = Some(self.fill_value()?);
                    }
                    Kind::FillRight if matching.fill_right.is_none() => {
                        self.bump();
                        matching.fill_right = Some(self.fill_value()?);
                    }
                    _ => break,
                }
            }
        }
        if !self.options.experimental && (matching.fill_left.is_some() || matching.fill_right.is_some()) {
            return Err(self.error(start, "binop fill modifiers are experimental and not enabled"));
        }
        Ok(())
    }

    fn fill_value(&mut self) -> Result<f64, ParseError> {
        self.take(Kind::LeftParen).ok_or_else(|| self.unexpected("", ""))?;
        let negate = self.peek_kind() == Kind::Sub;
        if let Kind::Add | Kind::Sub = self.peek_kind() {
            self.bump();
        }
        if !matches!(self.peek_kind(), Kind::Number | Kind::Duration) {
            return Err(self.unexpected("", ""));
        }
        let value = self.number_or_duration()?.value;
        self.take(Kind::RightParen).ok_or_else(|| self.unexpected("", ""))?;
        Ok(if negate { -value } else { value })
    }

    /// `(label, ...)`
    pub(super) fn grouping_labels(&mut self) -> Result<Vec<String>, ParseError> {
        self.take(Kind::LeftParen).ok_or_else(|| self.unexpected("grouping opts", "\"(\""))?;
        let mut labels = Vec::new();
        while self.take(Kind::RightParen).is_none() {
            let token = self.peek();
            let label = match token.kind {
                Kind::String => unquote(token.text).map_err(|why| self.error(token.span, why))?,
                kind if kind.is_label_name() => token.text.to_owned(),
                _ => return Err(self.unexpected("grouping opts", "label")),
            };
            if label.is_empty() {
                return Err(self.error(token.span, format!("invalid label name for grouping: {label:?}")));
            }
            self.bump();
            labels.push(label);
            if self.take(Kind::Comma).is_none() && self.peek_kind() != Kind::RightParen {
                return Err(self.unexpected("grouping opts", "\",\" or \")\""));
            }
        }
        Ok(labels)
    }
}
