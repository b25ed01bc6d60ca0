//! The words a query's text is made of.

use super::Span;

/// What a piece of text is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    End,
    /// A name without a colon that is no keyword here.
    Identifier,
    /// A name with a colon.
    MetricIdentifier,
    Number,
    Duration,
    String,
    LeftParen,
    RightParen,
    LeftBrace,
    RightBrace,
    LeftBracket,
    RightBracket,
    Comma,
    Colon,
    Assign,
    RegexMatch,
    RegexNotMatch,
    At,
    Add,
    Sub,
    Mul,
    Div,
    Mod,
    Pow,
    EqualEqual,
    NotEqual,
    LessEqual,
    Less,
    GreaterEqual,
    Greater,
    TrimUpper,
    TrimLower,
    And,
    Or,
    Unless,
    Atan2,
    Sum,
    Avg,
    Count,
    Min,
    Max,
    Group,
    Stddev,
    Stdvar,
    Topk,
    Bottomk,
    CountValues,
    Quantile,
    Limitk,
    LimitRatio,
    Offset,
    Smoothed,
    Anchored,
    By,
    Without,
    On,
    Ignoring,
    GroupLeft,
    GroupRight,
    Fill,
    FillLeft,
    FillRight,
    Bool,
    Start,
    EndFunction,
    Step,
    Range,
    MaxOf,
    MinOf,
}

/// Keywords, matched without regard to case.
const KEYWORDS: &[(&str, Kind)] = &[
    ("anchored", Kind::Anchored),
    ("and", Kind::And),
    ("atan2", Kind::Atan2),
    ("avg", Kind::Avg),
    ("bool", Kind::Bool),
    ("bottomk", Kind::Bottomk),
    ("by", Kind::By),
    ("count", Kind::Count),
    ("count_values", Kind::CountValues),
    ("end", Kind::EndFunction),
    ("fill", Kind::Fill),
    ("fill_left", Kind::FillLeft),
    ("fill_right", Kind::FillRight),
    ("group", Kind::Group),
    ("group_left", Kind::GroupLeft),
    ("group_right", Kind::GroupRight),
    ("ignoring", Kind::Ignoring),
    ("inf", Kind::Number),
    ("limit_ratio", Kind::LimitRatio),
    ("limitk", Kind::Limitk),
    ("max", Kind::Max),
    ("max_of", Kind::MaxOf),
    ("min", Kind::Min),
    ("min_of", Kind::MinOf),
    ("nan", Kind::Number),
    ("offset", Kind::Offset),
    ("on", Kind::On),
    ("or", Kind::Or),
    ("quantile", Kind::Quantile),
    ("range", Kind::Range),
    ("smoothed", Kind::Smoothed),
    ("start", Kind::Start),
    ("stddev", Kind::Stddev),
    ("stdvar", Kind::Stdvar),
    ("step", Kind::Step),
    ("sum", Kind::Sum),
    ("topk", Kind::Topk),
    ("unless", Kind::Unless),
    ("without", Kind::Without),
];

/// One word of the text.
#[derive(Clone, Copy, Debug)]
pub(super) struct Token<'a> {
    pub(super) kind: Kind,
    pub(super) text: &'a str,
    pub(super) span: Span,
}

impl Kind {
    pub(super) fn keyword(word: &str) -> Option<Self> {
        let lower = word.to_ascii_lowercase();
        KEYWORDS.binary_search_by_key(&lower.as_str(), |&(name, _)| name).ok().map(|at| KEYWORDS[at].1)
    }

    /// Whether the keyword may stand inside `[...]`, in a duration expression.
    pub(super) fn is_duration_function(self) -> bool {
        matches!(self, Self::Step | Self::Range | Self::MaxOf | Self::MinOf)
    }

    pub(super) fn is_aggregator(self) -> bool {
        matches!(
            self,
            Self::Sum
                | Self::Avg
                | Self::Count
                | Self::Min
                | Self::Max
                | Self::Group
                | Self::Stddev
                | Self::Stdvar
                | Self::Topk
                | Self::Bottomk
                | Self::CountValues
                | Self::Quantile
                | Self::Limitk
                | Self::LimitRatio
        )
    }

    fn is_operator(self) -> bool {
        matches!(
            self,
            Self::Add
                | Self::Sub
                | Self::Mul
                | Self::Div
                | Self::Mod
                | Self::Pow
                | Self::EqualEqual
                | Self::NotEqual
                | Self::LessEqual
                | Self::Less
                | Self::GreaterEqual
                | Self::Greater
                | Self::TrimUpper
                | Self::TrimLower
                | Self::And
                | Self::Or
                | Self::Unless
                | Self::Atan2
                | Self::At
                | Self::RegexMatch
                | Self::RegexNotMatch
        )
    }

    /// Whether the word may name a metric where an expression starts.
    pub(super) fn is_metric_name(self) -> bool {
        self.is_aggregator()
            || self.is_duration_function()
            || matches!(
                self,
                Self::Identifier
                    | Self::MetricIdentifier
                    | Self::By
                    | Self::Without
                    | Self::Fill
                    | Self::FillLeft
                    | Self::FillRight
                    | Self::And
                    | Self::Or
                    | Self::Unless
                    | Self::Offset
                    | Self::Start
                    | Self::EndFunction
                    | Self::Anchored
                    | Self::Smoothed
            )
    }

    /// Whether the word may name a label in `by (...)`, `on (...)` and the like.
    pub(super) fn is_label_name(self) -> bool {
        (self.is_metric_name() && self != Self::Without)
            || matches!(self, Self::Bool | Self::GroupLeft | Self::GroupRight | Self::Ignoring | Self::On | Self::Atan2)
    }
}

impl Token<'_> {
    /// How an error names this word.
    pub(super) fn describe(&self) -> String {
        let text = self.text;
        match self.kind {
            Kind::End => "end of input".to_owned(),
            Kind::Identifier => format!("identifier {text:?}"),
            Kind::MetricIdentifier => format!("metric identifier {text:?}"),
            Kind::Number => format!("number {}", excerpt(text)),
            Kind::Duration => format!("duration {}", excerpt(text)),
            Kind::String => format!("string {}", excerpt(text)),
            kind if kind.is_aggregator() => format!("<aggr:{text}>"),
            kind if kind.is_operator() => format!("<op:{text}>"),
            kind if kind.is_duration_function() => format!("{text:?}"),
            kind if Kind::keyword(text) == Some(kind) => format!("<{text}>"),
            _ => format!("{text:?}"),
        }
    }
}

fn excerpt(text: &str) -> String {
    match text.char_indices().nth(10) {
        Some((cut, _)) => format!("{:?}...", &text[..cut]),
        None => format!("{text:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keywords_are_in_order_and_found_in_any_case() {
        assert!(KEYWORDS.windows(2).all(|w| w[0].0 < w[1].0));
        assert_eq!(Kind::keyword("UNLESS"), Some(Kind::Unless));
        assert_eq!(Kind::keyword("unles"), None);
    }
}
