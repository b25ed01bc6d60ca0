//! What a query's text means, as a tree.

use tidegauge_storage::model::Matcher;

use super::Span;
use super::functions::{Signature, ValueType};

/// An expression. Trees that [`parse`](super::parse) returns are typed and bounded in depth.
#[derive(Clone, Debug, PartialEq)]
pub enum Expr {
    /// A number, or a duration taken as its seconds.
    Number(NumberLiteral),
    /// A quoted string.
    String(StringLiteral),
    /// Series, one sample each.
    Vector(Box<VectorSelector>),
    /// Series, the samples of a range each.
    Matrix(Box<MatrixSelector>),
    /// An expression evaluated at many times.
    Subquery(Box<Subquery>),
    /// Many series made one for each group.
    Aggregate(Box<Aggregate>),
    /// Operands and the operators between them.
    Binary(Box<Binary>),
    /// A function of its arguments.
    Call(Box<Call>),
    /// An expression in parentheses.
    Paren(Box<Paren>),
    /// A sign before an expression.
    Unary(Box<Unary>),
}

/// A number.
#[derive(Clone, Debug, PartialEq)]
pub struct NumberLiteral {
    /// Its value; seconds if it was written as a duration.
    pub value: f64,
    /// Whether it was written as a duration.
    pub duration: bool,
    /// Where it stands.
    pub span: Span,
}

/// A quoted string.
#[derive(Clone, Debug, PartialEq)]
pub struct StringLiteral {
    /// Its text, escapes resolved; what is not UTF-8 replaced.
    pub value: String,
    /// Its bytes, if they are not UTF-8: no name or value of a label, but legal to write.
    pub bytes: Option<Vec<u8>>,
    /// Where it stands.
    pub span: Span,
}

/// Which series, and when.
#[derive(Clone, Debug, PartialEq)]
pub struct VectorSelector {
    /// The metric name if it stands before the braces; `matchers` holds it too, last.
    pub name: Option<String>,
    /// What the labels must be.
    pub matchers: Vec<Matcher>,
    /// How far back to look.
    pub offset: Option<DurationArg>,
    /// The fixed time to look at.
    pub at: Option<At>,
    /// How samples at the ends of a range are taken.
    pub extension: Option<Extension>,
    /// Where it stands.
    pub span: Span,
}

/// A selector and a range.
#[derive(Clone, Debug, PartialEq)]
pub struct MatrixSelector {
    /// Which series; offset and `@` are here too.
    pub selector: VectorSelector,
    /// How far the range reaches back.
    pub range: DurationArg,
    /// Where it stands.
    pub span: Span,
}

/// An expression evaluated at the multiples of a step within a range.
#[derive(Clone, Debug, PartialEq)]
pub struct Subquery {
    /// What is evaluated.
    pub expr: Expr,
    /// How far the range reaches back.
    pub range: DurationArg,
    /// The step; the evaluator's default if absent.
    pub step: Option<DurationArg>,
    /// How far back to look.
    pub offset: Option<DurationArg>,
    /// The fixed time to look at.
    pub at: Option<At>,
    /// Where it stands.
    pub span: Span,
}

/// An aggregation over series.
#[derive(Clone, Debug, PartialEq)]
pub struct Aggregate {
    /// Which one.
    pub op: AggregateOp,
    /// What is aggregated.
    pub expr: Expr,
    /// The parameter of those that take one.
    pub param: Option<Expr>,
    /// The labels that make the groups.
    pub grouping: Vec<String>,
    /// Whether `grouping` names the labels to leave out.
    pub without: bool,
    /// Where it stands.
    pub span: Span,
}

/// Operands that are joined from left to right: `a * b - c` is `(a * b) - c`, and one node. So
/// thousands in a row make no deep tree. Where a right operand is joined first, as in `a - b * c`,
/// it is a node of its own.
#[derive(Clone, Debug, PartialEq)]
pub struct Binary {
    /// The leftmost operand.
    pub first: Expr,
    /// The others, at least one, each joined to what all before it make.
    pub rest: Vec<Operand>,
}

/// An operator and the operand on its right.
#[derive(Clone, Debug, PartialEq)]
pub struct Operand {
    /// What joins it.
    pub op: BinaryOp,
    /// The right operand.
    pub rhs: Expr,
    /// Whether a comparison yields 0 or 1 instead of filtering.
    pub return_bool: bool,
    /// How series find each other; present if and only if both operands are vectors.
    pub matching: Option<Box<Matching>>,
    /// The operator with its modifiers.
    pub op_span: Span,
}

/// A call of a function.
#[derive(Clone, Debug, PartialEq)]
pub struct Call {
    /// The function.
    pub signature: &'static Signature,
    /// Its arguments.
    pub args: Vec<Expr>,
    /// Where it stands.
    pub span: Span,
}

/// An expression in parentheses.
#[derive(Clone, Debug, PartialEq)]
pub struct Paren {
    /// What is inside.
    pub expr: Expr,
    /// Where it stands.
    pub span: Span,
}

/// A signed expression.
#[derive(Clone, Debug, PartialEq)]
pub struct Unary {
    /// Whether the sign is a minus.
    pub negate: bool,
    /// What is signed.
    pub expr: Expr,
    /// Where it stands.
    pub span: Span,
}

/// How series of two vectors find each other.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Matching {
    /// How many series of each side may meet.
    pub cardinality: Cardinality,
    /// The labels that must agree (`on`), or that need not (`ignoring`).
    pub labels: Vec<String>,
    /// Whether `labels` came with `on`.
    pub on: bool,
    /// Labels taken over from the side with one series.
    pub include: Vec<String>,
    /// The value that stands in for a series missing on the left.
    pub fill_left: Option<f64>,
    /// The value that stands in for a series missing on the right.
    pub fill_right: Option<f64>,
}

/// How many series of each side may meet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Cardinality {
    /// One of each.
    #[default]
    OneToOne,
    /// Many left ones meet one right one.
    ManyToOne,
    /// One left one meets many right ones.
    OneToMany,
    /// Set operators: any number.
    ManyToMany,
}

/// `@` and what follows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum At {
    /// A time in milliseconds since the Unix epoch.
    Millis(i64),
    /// The start of the query.
    Start,
    /// The end of the query.
    End,
}

/// How samples at the ends of a range are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extension {
    /// The last sample at or before the range's start stands at its start.
    Anchored,
    /// Values at both ends are interpolated.
    Smoothed,
}

/// A duration written out, or one to be computed when the query's range is known.
#[derive(Clone, Debug, PartialEq)]
pub enum DurationArg {
    /// Nanoseconds.
    Nanos(i64),
    /// Arithmetic.
    Expr(DurationExpr),
}

/// Arithmetic on durations, in seconds.
#[derive(Clone, Debug, PartialEq)]
pub struct DurationExpr {
    /// What to compute.
    pub node: DurationNode,
    /// Where it stands.
    pub span: Span,
}

/// One operation of a [`DurationExpr`].
#[derive(Clone, Debug, PartialEq)]
pub enum DurationNode {
    /// A number of seconds.
    Number(NumberLiteral),
    /// The query's step.
    Step,
    /// The query's end less its start.
    Range,
    /// The lesser of two.
    MinOf(Box<DurationExpr>, Box<DurationExpr>),
    /// The greater of two.
    MaxOf(Box<DurationExpr>, Box<DurationExpr>),
    /// The opposite.
    Negate(Box<DurationExpr>),
    /// In parentheses.
    Paren(Box<DurationExpr>),
    /// Operands with one of `+ - * / % ^` between two, from left to right.
    Row(Box<DurationExpr>, Vec<(BinaryOp, DurationExpr)>),
}

/// Operators between two expressions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BinaryOp {
    /// `+`
    Add,
    /// `-`
    Sub,
    /// `*`
    Mul,
    /// `/`
    Div,
    /// `%`
    Mod,
    /// `^`
    Pow,
    /// `atan2`
    Atan2,
    /// `==`
    Equal,
    /// `!=`
    NotEqual,
    /// `<`
    Less,
    /// `<=`
    LessEqual,
    /// `>`
    Greater,
    /// `>=`
    GreaterEqual,
    /// `</`: native histograms without what is above.
    TrimUpper,
    /// `>/`: native histograms without what is below.
    TrimLower,
    /// `and`
    And,
    /// `or`
    Or,
    /// `unless`
    Unless,
}

/// Aggregations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AggregateOp {
    /// `sum`
    Sum,
    /// `avg`
    Avg,
    /// `count`
    Count,
    /// `min`
    Min,
    /// `max`
    Max,
    /// `group`
    Group,
    /// `stddev`
    Stddev,
    /// `stdvar`
    Stdvar,
    /// `topk`
    Topk,
    /// `bottomk`
    Bottomk,
    /// `count_values`
    CountValues,
    /// `quantile`
    Quantile,
    /// `limitk`
    Limitk,
    /// `limit_ratio`
    LimitRatio,
}

impl BinaryOp {
    /// As it is written.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Add => "+",
            Self::Sub => "-",
            Self::Mul => "*",
            Self::Div => "/",
            Self::Mod => "%",
            Self::Pow => "^",
            Self::Atan2 => "atan2",
            Self::Equal => "==",
            Self::NotEqual => "!=",
            Self::Less => "<",
            Self::LessEqual => "<=",
            Self::Greater => ">",
            Self::GreaterEqual => ">=",
            Self::TrimUpper => "</",
            Self::TrimLower => ">/",
            Self::And => "and",
            Self::Or => "or",
            Self::Unless => "unless",
        }
    }

    /// Whether it compares.
    #[must_use]
    pub fn is_comparison(self) -> bool {
        matches!(self, Self::Equal | Self::NotEqual | Self::Less | Self::LessEqual | Self::Greater | Self::GreaterEqual)
    }

    /// Whether it works on sets of series: `and`, `or`, `unless`.
    #[must_use]
    pub fn is_set(self) -> bool {
        matches!(self, Self::And | Self::Or | Self::Unless)
    }
}

impl AggregateOp {
    /// As it is written.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sum => "sum",
            Self::Avg => "avg",
            Self::Count => "count",
            Self::Min => "min",
            Self::Max => "max",
            Self::Group => "group",
            Self::Stddev => "stddev",
            Self::Stdvar => "stdvar",
            Self::Topk => "topk",
            Self::Bottomk => "bottomk",
            Self::CountValues => "count_values",
            Self::Quantile => "quantile",
            Self::Limitk => "limitk",
            Self::LimitRatio => "limit_ratio",
        }
    }

    /// Whether it takes a parameter before the expression.
    #[must_use]
    pub fn takes_param(self) -> bool {
        matches!(
            self,
            Self::Topk | Self::Bottomk | Self::CountValues | Self::Quantile | Self::Limitk | Self::LimitRatio
        )
    }

    /// Whether it is not yet a settled part of the language.
    #[must_use]
    pub fn is_experimental(self) -> bool {
        matches!(self, Self::Limitk | Self::LimitRatio)
    }
}

impl Expr {
    /// Where it stands in the text.
    #[must_use]
    pub fn span(&self) -> Span {
        match self {
            Self::Number(n) => n.span,
            Self::String(s) => s.span,
            Self::Vector(v) => v.span,
            Self::Matrix(m) => m.span,
            Self::Subquery(s) => s.span,
            Self::Aggregate(a) => a.span,
            Self::Binary(b) => b.rest.last().map_or(b.first.span(), |last| b.first.span().to(last.rhs.span())),
            Self::Call(c) => c.span,
            Self::Paren(p) => p.span,
            Self::Unary(u) => u.span,
        }
    }

    /// The type of its value.
    #[must_use]
    pub fn value_type(&self) -> ValueType {
        match self {
            Self::Number(_) => ValueType::Scalar,
            Self::String(_) => ValueType::String,
            Self::Vector(_) | Self::Aggregate(_) => ValueType::Vector,
            Self::Matrix(_) | Self::Subquery(_) => ValueType::Matrix,
            // Operands are scalars or vectors; two scalars never carry a matching.
            Self::Binary(_) => match self.children().into_iter().all(|child| child.value_type() == ValueType::Scalar) {
                true => ValueType::Scalar,
                false => ValueType::Vector,
            },
            Self::Call(c) => c.signature.returns,
            Self::Paren(p) => p.expr.value_type(),
            Self::Unary(u) => u.expr.value_type(),
        }
    }

    /// Without the parentheses around it.
    #[must_use]
    pub fn unwrapped(&self) -> &Self {
        match self {
            Self::Paren(p) => p.expr.unwrapped(),
            other => other,
        }
    }

    /// The expressions directly inside, in the order of the text.
    #[must_use]
    pub fn children(&self) -> Vec<&Self> {
        match self {
            Self::Number(_) | Self::String(_) | Self::Vector(_) | Self::Matrix(_) => Vec::new(),
            Self::Subquery(s) => vec![&s.expr],
            Self::Aggregate(a) => a.param.iter().chain([&a.expr]).collect(),
            Self::Binary(b) => std::iter::once(&b.first).chain(b.rest.iter().map(|operand| &operand.rhs)).collect(),
            Self::Call(c) => c.args.iter().collect(),
            Self::Paren(p) => vec![&p.expr],
            Self::Unary(u) => vec![&u.expr],
        }
    }
}
