//! From a tree back to text.

use std::fmt;

use tidegauge_storage::model::{METRIC_NAME, MatchOp, Matcher};

use super::ast::{
    Aggregate, At, Cardinality, DurationArg, DurationExpr, DurationNode, Expr, Extension, MatrixSelector,
    NumberLiteral, Operand, Subquery, VectorSelector,
};
use super::literal::{format_duration, format_number, quote, quote_bytes};

impl fmt::Display for Expr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(n) => n.fmt(f),
            Self::String(s) => f.write_str(&s.bytes.as_deref().map_or_else(|| quote(&s.value), quote_bytes)),
            Self::Vector(v) => v.fmt(f),
            Self::Matrix(m) => m.fmt(f),
            Self::Subquery(s) => write!(f, "{}{}", s.expr, subquery_suffix(s)),
            Self::Aggregate(a) => {
                write!(f, "{}(", aggregate_head(a))?;
                if let Some(param) = &a.param {
                    write!(f, "{param}, ")?;
                }
                write!(f, "{})", a.expr)
            }
            Self::Binary(b) => {
                b.first.fmt(f)?;
                b.rest.iter().try_for_each(|operand| write!(f, " {} {}", binary_operator(operand), operand.rhs))
            }
            Self::Call(c) => {
                write!(f, "{}(", c.signature.name)?;
                for (at, arg) in c.args.iter().enumerate() {
                    write!(f, "{}{arg}", if at > 0 { ", " } else { "" })?;
                }
                f.write_str(")")
            }
            Self::Paren(p) => write!(f, "({})", p.expr),
            Self::Unary(u) => write!(f, "{}{}", sign(u.negate), u.expr),
        }
    }
}

pub(super) fn sign(negate: bool) -> &'static str {
    if negate { "-" } else { "+" }
}

/// `sum by (a) `, as it stands before the parenthesis.
pub(super) fn aggregate_head(a: &Aggregate) -> String {
    let (op, labels) = (a.op.as_str(), label_list(&a.grouping));
    match (a.without, a.grouping.is_empty()) {
        (true, _) => format!("{op} without ({labels}) "),
        (false, false) => format!("{op} by ({labels}) "),
        (false, true) => op.to_owned(),
    }
}

/// The operator with its modifiers.
pub(super) fn binary_operator(b: &Operand) -> String {
    let mut out = b.op.as_str().to_owned();
    if b.return_bool {
        out.push_str(" bool");
    }
    let Some(matching) = &b.matching else { return out };
    let side = match matching.cardinality {
        Cardinality::ManyToOne => Some("left"),
        Cardinality::OneToMany => Some("right"),
        Cardinality::OneToOne | Cardinality::ManyToMany => None,
    };
    if matching.on || !matching.labels.is_empty() || side.is_some() {
        let word = if matching.on { "on" } else { "ignoring" };
        out.push_str(&format!(" {word} ({})", label_list(&matching.labels)));
    }
    if let Some(side) = side {
        out.push_str(&format!(" group_{side} ({})", label_list(&matching.include)));
    }
    match (matching.fill_left, matching.fill_right) {
        (Some(left), Some(right)) if left.to_bits() == right.to_bits() => {
            out.push_str(&format!(" fill ({})", format_number(left)));
        }
        (left, right) => {
            for (word, value) in [("fill_left", left), ("fill_right", right)] {
                if let Some(value) = value {
                    out.push_str(&format!(" {word} ({})", format_number(value)));
                }
            }
        }
    }
    out
}

fn is_plain_label(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with(|c: char| c.is_ascii_digit())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

/// A label's name, in quotes where it needs them.
pub(in crate::promql) fn label_name(name: &str) -> String {
    if is_plain_label(name) { name.to_owned() } else { quote(name) }
}

fn label_list(labels: &[String]) -> String {
    // Two words are plain enough, and yet no labels without quotes.
    let shown = |label: &String| match super::token::Kind::keyword(label) {
        Some(kind) if !kind.is_label_name() => quote(label),
        _ => label_name(label),
    };
    labels.iter().map(shown).collect::<Vec<_>>().join(", ")
}

/// `{job="a",host!~"b.*"}`: as [`parse_matchers`](super::parse_matchers) reads them again, in this order.
#[must_use]
pub fn matchers_text(matchers: &[Matcher]) -> String {
    format!("{{{}}}", matchers.iter().map(matcher).collect::<Vec<_>>().join(","))
}

fn matcher(m: &Matcher) -> String {
    format!("{}{}{}", label_name(m.name()), m.op(), quote(m.value()))
}

fn at_modifier(at: Option<At>) -> String {
    match at {
        None => String::new(),
        Some(At::Start) => " @ start()".to_owned(),
        Some(At::End) => " @ end()".to_owned(),
        Some(At::Millis(millis)) => {
            let (sign, whole) = (if millis < 0 { "-" } else { "" }, millis.unsigned_abs());
            format!(" @ {sign}{}.{:03}", whole / 1000, whole % 1000)
        }
    }
}

fn extension_modifier(extension: Option<Extension>) -> &'static str {
    match extension {
        None => "",
        Some(Extension::Anchored) => " anchored",
        Some(Extension::Smoothed) => " smoothed",
    }
}

fn offset_modifier(offset: Option<&DurationArg>) -> String {
    offset.map_or_else(String::new, |offset| format!(" offset {offset}"))
}

fn selector_core(v: &VectorSelector) -> String {
    let name = v.name.as_deref().unwrap_or("");
    let is_name = |m: &&Matcher| m.name() == METRIC_NAME && m.op() == MatchOp::Equal && m.value() == name;
    let mut inside: Vec<String> = v.matchers.iter().filter(|m| v.name.is_none() || !is_name(m)).map(matcher).collect();
    inside.sort_unstable();
    match inside.is_empty() {
        true if v.name.is_some() => name.to_owned(),
        _ => format!("{name}{{{}}}", inside.join(",")),
    }
}

impl fmt::Display for VectorSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (extension, offset) = (extension_modifier(self.extension), offset_modifier(self.offset.as_ref()));
        write!(f, "{}{}{extension}{offset}", selector_core(self), at_modifier(self.at))
    }
}

impl fmt::Display for MatrixSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let selector = &self.selector;
        let (at, offset) = (at_modifier(selector.at), offset_modifier(selector.offset.as_ref()));
        let extension = extension_modifier(selector.extension);
        write!(f, "{}[{}]{extension}{at}{offset}", selector_core(selector), self.range)
    }
}

pub(super) fn subquery_suffix(s: &Subquery) -> String {
    let step = s.step.as_ref().map_or_else(String::new, ToString::to_string);
    format!("[{}:{step}]{}{}", s.range, at_modifier(s.at), offset_modifier(s.offset.as_ref()))
}

impl fmt::Display for NumberLiteral {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.duration
            && let Some(nanos) = super::duration_expr::seconds_to_nanos(self.value)
        {
            return f.write_str(&format_duration(nanos));
        }
        f.write_str(&format_number(self.value))
    }
}

impl fmt::Display for DurationArg {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nanos(nanos) if nanos % 1_000_000 == 0 => f.write_str(&format_duration(*nanos)),
            // Finer than a duration can be written: seconds.
            Self::Nanos(nanos) => {
                let (sign, whole) = (if *nanos < 0 { "-" } else { "" }, nanos.unsigned_abs());
                write!(f, "{sign}{}.{:09}", whole / 1_000_000_000, whole % 1_000_000_000)
            }
            Self::Expr(expr) => expr.fmt(f),
        }
    }
}

impl fmt::Display for DurationExpr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.node {
            DurationNode::Number(n) => n.fmt(f),
            DurationNode::Step => f.write_str("step()"),
            DurationNode::Range => f.write_str("range()"),
            DurationNode::MinOf(a, b) => write!(f, "min_of({a}, {b})"),
            DurationNode::MaxOf(a, b) => write!(f, "max_of({a}, {b})"),
            DurationNode::Negate(inner) => write!(f, "-{inner}"),
            DurationNode::Paren(inner) => write!(f, "({inner})"),
            DurationNode::Row(first, rest) => {
                first.fmt(f)?;
                rest.iter().try_for_each(|(op, operand)| write!(f, " {} {operand}", op.as_str()))
            }
        }
    }
}
