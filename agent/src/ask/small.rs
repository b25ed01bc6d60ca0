//! What is answered on the thread that asks, instead of one for long work: the way there and
//! back costs more than a small question.

use std::time::Duration;

use tidegauge::query::QueryLimits;
use tidegauge::query::promql::Expr;
use tidegauge::{METRIC_NAME, MatchOp, Matcher};

use super::Question;

/// Longer texts are not even read on the thread that asks.
pub(crate) const TEXT_BYTES_MAX: usize = 2048;
const NODES_MAX: usize = 64;
/// Above them the work is shared among threads, which is for other places.
const SERIES_MAX: u64 = 64;
const SAMPLES_MAX: u64 = 100_000;
const MEMORY_BYTES_MAX: u64 = 8 << 20;
/// More than that would hold up other connections.
const TIME_MAX: Duration = Duration::from_millis(4);

/// Never more than the question itself allows.
pub(super) fn limits(of: &QueryLimits) -> QueryLimits {
    QueryLimits {
        samples: of.samples.min(SAMPLES_MAX),
        memory_bytes: of.memory_bytes.min(MEMORY_BYTES_MAX),
        time: of.time.min(TIME_MAX),
        series: of.series.min(SERIES_MAX),
    }
}

/// Whether its series are found without a walk over many.
pub(super) fn may_be(question: &Question, expr: &Expr) -> bool {
    let mut nodes = 0;
    question.expr.len() <= TEXT_BYTES_MAX && is_cheap(expr, &mut nodes)
}

fn is_cheap(expr: &Expr, nodes: &mut usize) -> bool {
    *nodes += 1;
    let selector = match expr {
        Expr::Vector(v) => Some(&**v),
        Expr::Matrix(m) => Some(&m.selector),
        Expr::Subquery(_) => return false,
        _ => None,
    };
    *nodes <= NODES_MAX
        && selector.is_none_or(|v| is_named(&v.matchers))
        && expr.children().into_iter().all(|child| is_cheap(child, nodes))
}

fn is_named(matchers: &[Matcher]) -> bool {
    let plain = |m: &Matcher| matches!(m.op(), MatchOp::Equal | MatchOp::NotEqual);
    let name = |m: &Matcher| m.name() == METRIC_NAME && m.op() == MatchOp::Equal && !m.value().is_empty();
    matchers.iter().all(plain) && matchers.iter().any(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ask::{When, parse};
    use tidegauge::Timestamp;

    #[test]
    fn only_what_is_found_by_name_counts_as_small() {
        let small = |text: &str| {
            let when = When::At(Timestamp::from_nanos(0));
            let expr = text.to_owned();
            let question = Question {
                expr,
                when,
                experimental: true,
                limits: QueryLimits::DEFAULT,
                lookback: None,
                per_step: false,
            };
            may_be(&question, &parse(&question).unwrap())
        };
        for yes in ["1", "up", "sum by (job) (rate(up{job!=\"a\"}[5m])) / 2", "{__name__=\"up\"}"] {
            assert!(small(yes), "{yes}");
        }
        let many = vec!["up"; NODES_MAX].join(" + ");
        let long = format!("up{{a=\"{}\"}}", "x".repeat(TEXT_BYTES_MAX));
        for no in ["{a=\"b\"}", "up{a=~\"b\"}", "{__name__=~\"up\"}", "max_over_time(up[1h:1m])", &many, &long] {
            assert!(!small(no), "{no:.60}");
        }
    }
}
