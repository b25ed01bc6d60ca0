//! A tree as text over several lines, as `format_query` shows it.

use std::fmt::{self, Display, Write};

use super::ast::{Binary, Expr};
use super::print::{aggregate_head, binary_operator, sign, subquery_suffix};

/// Expressions longer than this are split over lines.
const LINE_BYTES_MAX: usize = 100;

const BLANKS: &str = "                                                                ";

impl Expr {
    /// The text of this expression, long ones split and indented; as [`write_pretty`](Self::write_pretty).
    #[must_use]
    pub fn pretty(&self) -> String {
        let mut out = String::new();
        // Strings take everything.
        let _ = self.write_pretty(&mut out);
        out
    }

    /// The same, piece by piece. Each operand of many in a row is indented further than the next one, so n long ones
    /// make O(n²) bytes; O(that) time, next to no memory.
    ///
    /// # Errors
    /// None but those of `out`.
    pub fn write_pretty(&self, out: &mut impl Write) -> fmt::Result {
        Printer { out }.expr(self, Place { level: 0, indented: true })
    }
}

/// Where an expression begins.
#[derive(Clone, Copy)]
struct Place {
    level: usize,
    /// Whether its first line is indented too; behind a sign it is not.
    indented: bool,
}

impl Place {
    fn inside(self) -> Self {
        Self { level: self.level + 1, indented: true }
    }
}

struct Printer<'a, W> {
    out: &'a mut W,
}

impl<W: Write> Printer<'_, W> {
    fn pad(&mut self, level: usize) -> fmt::Result {
        let mut left = 2 * level;
        while left > 0 {
            let some = left.min(BLANKS.len());
            self.out.write_str(&BLANKS[..some])?;
            left -= some;
        }
        Ok(())
    }

    fn begin(&mut self, place: Place) -> fmt::Result {
        if place.indented { self.pad(place.level) } else { Ok(()) }
    }

    fn expr(&mut self, expr: &Expr, place: Place) -> fmt::Result {
        if let Expr::Binary(b) = expr {
            return self.binary(b, place);
        }
        if let Some(line) = Line::of(expr) {
            // A short subquery has never been indented.
            if !matches!(expr, Expr::Subquery(_)) {
                self.begin(place)?;
            }
            return self.out.write_str(&line.0);
        }
        match expr {
            Expr::Subquery(s) => {
                self.expr(&s.expr, place)?;
                return self.out.write_str(&subquery_suffix(s));
            }
            _ => self.begin(place)?,
        }
        match expr {
            Expr::Aggregate(a) => {
                write!(self.out, "{}(", aggregate_head(a))?;
                self.list(a.param.iter().chain([&a.expr]), place)
            }
            Expr::Call(c) => {
                write!(self.out, "{}(", c.signature.name)?;
                self.list(&c.args, place)
            }
            Expr::Paren(p) => {
                self.out.write_char('(')?;
                self.list([&p.expr], place)
            }
            Expr::Unary(u) => {
                self.out.write_str(sign(u.negate))?;
                self.expr(&u.expr, Place { indented: false, ..place })
            }
            whole => write!(self.out, "{whole}"),
        }
    }

    /// What stands in parentheses, a line each, and the closing one.
    fn list<'e>(&mut self, inside: impl IntoIterator<Item = &'e Expr>, place: Place) -> fmt::Result {
        for (at, expr) in inside.into_iter().enumerate() {
            self.out.write_str(if at == 0 { "\n" } else { ",\n" })?;
            self.expr(expr, place.inside())?;
        }
        self.out.write_char('\n')?;
        self.pad(place.level)?;
        self.out.write_char(')')
    }

    /// Of `a + b + c`, what is left of an operator is one level further inside than it. As many operands as fit
    /// on a line share the first one.
    fn binary(&mut self, b: &Binary, place: Place) -> fmt::Result {
        let mut line = Line::of(&b.first);
        let mut short = 0;
        while let (Some(so_far), Some(operand)) = (&mut line, b.rest.get(short)) {
            let before = so_far.0.len();
            if write!(so_far, " {} {}", binary_operator(operand), operand.rhs).is_err() {
                so_far.0.truncate(before);
                break;
            }
            short += 1;
        }
        let level = |operands: usize| place.level + (b.rest.len() - operands);
        let inmost = Place { level: level(short), ..place };
        match line {
            Some(line) if short > 0 => {
                self.begin(inmost)?;
                self.out.write_str(&line.0)?;
            }
            _ => self.expr(&b.first, inmost)?,
        }
        for (at, operand) in b.rest.iter().enumerate().skip(short) {
            let outer = Place { level: level(at + 1), indented: true };
            self.out.write_char('\n')?;
            self.pad(outer.level)?;
            writeln!(self.out, "{}", binary_operator(operand))?;
            self.expr(&operand.rhs, outer.inside())?;
        }
        Ok(())
    }
}

/// Text that takes no more than a line's bytes.
#[derive(Default)]
struct Line(String);

impl Line {
    /// The whole text, if it is short enough; stops as soon as it is not.
    fn of(what: &impl Display) -> Option<Self> {
        let mut line = Self::default();
        write!(line, "{what}").is_ok().then_some(line)
    }
}

impl Write for Line {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if self.0.len() + text.len() > LINE_BYTES_MAX {
            return Err(fmt::Error);
        }
        self.0.push_str(text);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::promql::parse;
    use proptest::prelude::*;

    #[test]
    fn short_queries_stay_on_their_line_and_long_ones_are_split() {
        assert_eq!(parse("sum(a)by(b)").unwrap().pretty(), "sum by (b) (a)");
        let long = format!("sum by (b) (rate({}[5m]))", "a".repeat(100));
        let split = format!("sum by (b) (\n  rate(\n    {}[5m]\n  )\n)", "a".repeat(100));
        assert_eq!(parse(&long).unwrap().pretty(), split);
    }

    #[test]
    fn what_is_left_of_an_operator_is_further_inside() {
        let [a, b] = ["a", "b"].map(|name| name.repeat(60));
        let split = format!("      {a}\n    +\n      {b}\n  *\n    c\nor\n  d");
        assert_eq!(parse(&format!("({a} + {b}) * c or d")).unwrap().pretty().lines().count(), 9);
        assert_eq!(
            parse(&format!("{a} * {b} + c or d")).unwrap().pretty(),
            split.replacen('+', "*", 1).replacen("  *\n    c", "  +\n    c", 1)
        );
    }

    /// As Prometheus does it: each node by itself.
    fn naive(expr: &Expr, level: usize) -> String {
        let (line, pad) = (expr.to_string(), "  ".repeat(level));
        if line.len() <= LINE_BYTES_MAX {
            return if matches!(expr, Expr::Subquery(_)) { line } else { pad + &line };
        }
        let list = |args: Vec<&Expr>| args.iter().map(|e| naive(e, level + 1)).collect::<Vec<_>>().join(",\n");
        match expr {
            Expr::Number(_) | Expr::String(_) | Expr::Vector(_) | Expr::Matrix(_) => pad + &line,
            Expr::Subquery(s) => naive(&s.expr, level) + &subquery_suffix(s),
            Expr::Aggregate(a) => format!("{pad}{}(\n{}\n{pad})", aggregate_head(a), list(expr.children())),
            Expr::Binary(b) => {
                let mut left = (**b).clone();
                let last = left.rest.pop().unwrap();
                let left = if left.rest.is_empty() { left.first } else { Expr::Binary(Box::new(left)) };
                let (left, right) = (naive(&left, level + 1), naive(&last.rhs, level + 1));
                format!("{left}\n{pad}{}\n{right}", binary_operator(&last))
            }
            Expr::Call(c) => format!("{pad}{}(\n{}\n{pad})", c.signature.name, list(expr.children())),
            Expr::Paren(p) => format!("{pad}(\n{}\n{pad})", naive(&p.expr, level + 1)),
            Expr::Unary(u) => format!("{pad}{}{}", sign(u.negate), naive(&u.expr, level).trim()),
        }
    }

    fn expressions() -> impl Strategy<Value = String> {
        let leaf = prop_oneof![(1..60usize).prop_map(|n| "a".repeat(n)), Just("1".to_owned())];
        leaf.prop_recursive(4, 40, 5, |inner| {
            let op = prop::sample::select(vec!["+", "*", "^", "== bool", "- on (x)"]);
            prop_oneof![
                prop::collection::vec((op, inner.clone()), 1..5).prop_map(|operands| {
                    let all: String = operands.iter().map(|(op, e)| format!(" {op} vector(scalar({e}))")).collect();
                    format!("a{all}")
                }),
                inner.clone().prop_map(|e| format!("({e})")),
                inner.clone().prop_map(|e| format!("-({e})")),
                inner.clone().prop_map(|e| format!("-vector({e})")),
                inner.clone().prop_map(|e| format!("sum by (bbbbbbbbbb) (abs({e}))")),
                inner.clone().prop_map(|e| format!("max_over_time(abs({e})[1h:1m] offset 5m)")),
                inner.prop_map(|e| format!("topk(5, {e})")),
            ]
        })
    }

    proptest! {
        #[test]
        fn every_tree_is_laid_out_as_by_the_naive_way(text in expressions()) {
            if let Ok(expr) = parse(&text) {
                prop_assert_eq!(expr.pretty(), naive(&expr, 0));
            }
        }
    }
}
