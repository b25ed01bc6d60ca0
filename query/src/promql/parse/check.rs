//! Types: what may stand where.

use tidegauge_storage::model::METRIC_NAME;

use super::ast::{Aggregate, AggregateOp, Binary, Call, Cardinality, Expr, Matching, Operand, VectorSelector};
use super::functions::{Function, ValueType};
use super::{ParseError, Span};

/// Checks the whole tree, sets the cardinality of set operators and drops the matching of
/// operators that do not join two vectors.
pub(super) fn check(text: &str, expr: &mut Expr) -> Result<ValueType, ParseError> {
    Checker { text }.expr(expr)
}

struct Checker<'a> {
    text: &'a str,
}

type Checked<T = ()> = Result<T, ParseError>;

impl Checker<'_> {
    fn fail<T>(&self, span: Span, message: impl Into<String>) -> Checked<T> {
        Err(ParseError::new(self.text, span, message.into()))
    }

    fn expr(&self, expr: &mut Expr) -> Checked<ValueType> {
        let (span, value_type) = (expr.span(), expr.value_type());
        match expr {
            Expr::Number(_) | Expr::String(_) => {}
            Expr::Vector(v) => self.selector(v)?,
            Expr::Matrix(m) => self.selector(&m.selector)?,
            Expr::Subquery(s) => {
                let inner = self.expr(&mut s.expr)?;
                if inner != ValueType::Vector {
                    let found = inner.as_str();
                    return self.fail(span, format!("subquery is only allowed on instant vector, got {found} instead"));
                }
            }
            Expr::Aggregate(a) => self.aggregate(a)?,
            Expr::Binary(b) => return self.binary(b),
            Expr::Call(c) => self.call(c)?,
            Expr::Paren(p) => {
                self.expr(&mut p.expr)?;
            }
            Expr::Unary(u) => {
                let inner = self.expr(&mut u.expr)?;
                if !matches!(inner, ValueType::Scalar | ValueType::Vector) {
                    let found = inner.documented();
                    return self.fail(
                        span,
                        format!("unary expression only allowed on expressions of type scalar or instant vector, got {found:?}"),
                    );
                }
            }
        }
        Ok(value_type)
    }

    fn expect(&self, expr: &mut Expr, wanted: ValueType, context: &str) -> Checked {
        let found = self.expr(expr)?;
        if found == wanted {
            return Ok(());
        }
        let (wanted, found) = (wanted.documented(), found.documented());
        self.fail(expr.span(), format!("expected type {wanted} in {context}, got {found}"))
    }

    fn selector(&self, selector: &VectorSelector) -> Checked {
        match &selector.name {
            Some(name) => {
                let inside = &selector.matchers[..selector.matchers.len().saturating_sub(1)];
                match inside.iter().find(|m| m.name() == METRIC_NAME) {
                    None => Ok(()),
                    Some(twice) => {
                        let other = twice.value();
                        self.fail(selector.span, format!("metric name must not be set twice: {name:?} or {other:?}"))
                    }
                }
            }
            // A selector of everything is nearly always a slip.
            None if selector.matchers.iter().all(|m| m.matches_empty()) => {
                self.fail(selector.span, "vector selector must contain at least one non-empty matcher")
            }
            None => Ok(()),
        }
    }

    fn aggregate(&self, aggregate: &mut Aggregate) -> Checked {
        self.expect(&mut aggregate.expr, ValueType::Vector, "aggregation expression")?;
        let wanted = match aggregate.op {
            AggregateOp::CountValues => ValueType::String,
            _ => ValueType::Scalar,
        };
        match &mut aggregate.param {
            Some(param) => self.expect(param, wanted, "aggregation parameter"),
            None => Ok(()),
        }
    }

    fn binary(&self, b: &mut Binary) -> Checked<ValueType> {
        let (mut left, mut before) = (self.expr(&mut b.first)?, b.first.span());
        for operand in &mut b.rest {
            left = self.operand((left, before), operand)?;
            before = before.to(operand.rhs.span());
        }
        Ok(left)
    }

    /// One more operand, behind what all before it make, and where that stands.
    fn operand(&self, (lhs, before): (ValueType, Span), b: &mut Operand) -> Checked<ValueType> {
        let rhs = self.expr(&mut b.rhs)?;
        let span = before.to(b.rhs.span());
        if b.return_bool && !b.op.is_comparison() {
            return self.fail(b.op_span, "bool modifier can only be used on comparison operators");
        }
        let both = |t: ValueType| lhs == t && rhs == t;
        if b.op.is_comparison() && !b.return_bool && both(ValueType::Scalar) {
            return self.fail(b.op_span, "comparisons between scalars must use BOOL modifier");
        }
        let mut matching = b.matching.take().unwrap_or_default();
        if b.op.is_set() && matching.cardinality == Cardinality::OneToOne {
            matching.cardinality = Cardinality::ManyToMany;
        }
        if let Some(label) = matching.labels.iter().find(|label| matching.on && matching.include.contains(label)) {
            let message = format!("label {label:?} must not occur in ON and GROUP clause at once");
            return self.fail(b.op_span, message);
        }
        for (side, value_type) in [(before, lhs), (b.rhs.span(), rhs)] {
            if !matches!(value_type, ValueType::Scalar | ValueType::Vector) {
                return self.fail(side, "binary expression must contain only scalar and instant vector types");
            }
        }
        let filled = matching.fill_left.is_some() || matching.fill_right.is_some();
        if !both(ValueType::Vector) {
            self.without_matching(span, b, &matching, filled)?;
            return Ok(if both(ValueType::Scalar) { ValueType::Scalar } else { ValueType::Vector });
        }
        if b.op.is_set() {
            let op = b.op.as_str();
            if matching.cardinality != Cardinality::ManyToMany {
                return self.fail(span, format!("no grouping allowed for {op:?} operation"));
            }
            if filled {
                return self.fail(span, "filling in missing series not allowed for set operators");
            }
        }
        b.matching = Some(matching);
        Ok(ValueType::Vector)
    }

    fn without_matching(&self, span: Span, b: &Operand, matching: &Matching, filled: bool) -> Checked {
        if !matching.labels.is_empty() {
            return self.fail(span, "vector matching only allowed between instant vectors");
        }
        if filled {
            return self.fail(span, "filling in missing series only allowed between instant vectors");
        }
        if b.op.is_set() {
            let op = b.op.as_str();
            return self.fail(span, format!("set operator {op:?} not allowed in binary scalar expression"));
        }
        Ok(())
    }

    fn call(&self, call: &mut Call) -> Checked {
        let (signature, found) = (call.signature, call.args.len());
        let (name, wanted) = (signature.name, signature.args.len());
        let least = if signature.variadic == 0 { wanted } else { wanted - 1 };
        if signature.variadic == 0 && found != wanted {
            return self.fail(call.span, format!("expected {wanted} argument(s) in call to {name:?}, got {found}"));
        }
        if found < least {
            return self
                .fail(call.span, format!("expected at least {least} argument(s) in call to {name:?}, got {found}"));
        }
        if let Ok(more @ 1..) = usize::try_from(signature.variadic)
            && found > least + more
        {
            let most = least + more;
            return self
                .fail(call.span, format!("expected at most {most} argument(s) in call to {name:?}, got {found}"));
        }
        let context = format!("call to function {name:?}");
        for (at, arg) in call.args.iter_mut().enumerate() {
            if signature.function == Function::Info && at == 1 {
                self.info_selector(call.span, arg, &context)?;
                continue;
            }
            self.expect(arg, signature.args[at.min(wanted - 1)], &context)?;
        }
        Ok(())
    }

    /// The second argument of `info` names labels, not series.
    fn info_selector(&self, call: Span, arg: &Expr, context: &str) -> Checked {
        let value_type = arg.value_type();
        if value_type != ValueType::Vector {
            let (wanted, found) = (ValueType::Vector.documented(), value_type.documented());
            return self.fail(call, format!("expected type {wanted} in {context}, got {found}"));
        }
        match arg {
            Expr::Vector(v) if v.name.is_some() => {
                self.fail(v.span, "expected label selectors only, got vector selector instead")
            }
            Expr::Vector(_) => Ok(()),
            other => self.fail(other.span(), "expected label selectors only"),
        }
    }
}
