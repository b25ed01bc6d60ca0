//! A tree as text over several lines, as `format_query` shows it.

use super::ast::Expr;
use super::print::{aggregate_head, binary_operator, sign, subquery_suffix};

/// Expressions longer than this are split over lines.
const LINE_BYTES_MAX: usize = 100;

impl Expr {
    /// The text of this expression, long ones split and indented. O(length × depth).
    #[must_use]
    pub fn pretty(&self) -> String {
        pretty(self, 0)
    }
}

fn indent(level: usize) -> String {
    "  ".repeat(level)
}

fn pretty(expr: &Expr, level: usize) -> String {
    let line = expr.to_string();
    let pad = indent(level);
    if line.len() <= LINE_BYTES_MAX {
        return match expr {
            // A short subquery has never been indented.
            Expr::Subquery(_) => line,
            _ => pad + &line,
        };
    }
    match expr {
        Expr::Number(_) | Expr::String(_) | Expr::Vector(_) | Expr::Matrix(_) => pad + &line,
        Expr::Subquery(s) => pretty(&s.expr, level) + &subquery_suffix(s),
        Expr::Aggregate(a) => {
            let param = a.param.as_ref().map_or_else(String::new, |p| pretty(p, level + 1) + ",\n");
            format!("{pad}{}(\n{param}{}\n{pad})", aggregate_head(a), pretty(&a.expr, level + 1))
        }
        Expr::Binary(b) => {
            let (lhs, rhs) = (pretty(&b.lhs, level + 1), pretty(&b.rhs, level + 1));
            format!("{lhs}\n{pad}{}\n{rhs}", binary_operator(b))
        }
        Expr::Call(c) => {
            let args: Vec<String> = c.args.iter().map(|arg| pretty(arg, level + 1)).collect();
            format!("{pad}{}(\n{}\n{pad})", c.signature.name, args.join(",\n"))
        }
        Expr::Paren(p) => format!("{pad}(\n{}\n{pad})", pretty(&p.expr, level + 1)),
        Expr::Unary(u) => format!("{pad}{}{}", sign(u.negate), pretty(&u.expr, level).trim()),
    }
}

#[cfg(test)]
mod tests {
    use crate::promql::parse;

    #[test]
    fn short_queries_stay_on_their_line_and_long_ones_are_split() {
        assert_eq!(parse("sum(a)by(b)").unwrap().pretty(), "sum by (b) (a)");
        let long = format!("sum by (b) (rate({}[5m]))", "a".repeat(100));
        let split = format!("sum by (b) (\n  rate(\n    {}[5m]\n  )\n)", "a".repeat(100));
        assert_eq!(parse(&long).unwrap().pretty(), split);
    }
}
