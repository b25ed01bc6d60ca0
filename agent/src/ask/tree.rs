//! An expression as JSON: the tree that Prometheus' `parse_query` shows.

use serde_json::{Value, json};
use tidegauge::query::promql::parse::ast::{
    Aggregate, At, Binary, Cardinality, DurationArg, DurationExpr, DurationNode, Expr, Extension, Matching,
    NumberLiteral, Subquery, VectorSelector,
};

use super::number::put_float;

/// The tree of a parsed query. Recursion is bounded: the parser bounds the height of trees.
pub(crate) fn tree(expr: &Expr) -> Value {
    match expr {
        Expr::Number(n) => json!({"type": "numberLiteral", "val": number(n.value)}),
        Expr::String(s) => json!({"type": "stringLiteral", "val": s.value}),
        Expr::Vector(v) => vector(v),
        Expr::Matrix(m) => {
            let (range, range_expr) = duration(Some(&m.range));
            let mut out = vector(&m.selector);
            (out["type"], out["range"], out["rangeExpr"]) = ("matrixSelector".into(), range, range_expr);
            out
        }
        Expr::Subquery(s) => subquery(s),
        Expr::Aggregate(a) => aggregate(a),
        Expr::Binary(b) => binary(b),
        Expr::Call(c) => {
            let types: Vec<&str> = c.signature.args.iter().map(|t| t.as_str()).collect();
            let function = json!({
                "name": c.signature.name,
                "argTypes": types,
                "variadic": c.signature.variadic,
                "returnType": c.signature.returns.as_str(),
            });
            json!({"type": "call", "func": function, "args": c.args.iter().map(tree).collect::<Vec<_>>()})
        }
        Expr::Paren(p) => json!({"type": "parenExpr", "expr": tree(&p.expr)}),
        Expr::Unary(u) => json!({"type": "unaryExpr", "op": sign(u.negate), "expr": tree(&u.expr)}),
    }
}

fn aggregate(a: &Aggregate) -> Value {
    json!({
        "type": "aggregation",
        "op": a.op.as_str(),
        "expr": tree(&a.expr),
        "param": a.param.as_ref().map(tree),
        "grouping": a.grouping,
        "without": a.without,
    })
}

fn binary(b: &Binary) -> Value {
    json!({
        "type": "binaryExpr",
        "op": b.op.as_str(),
        "lhs": tree(&b.lhs),
        "rhs": tree(&b.rhs),
        "matching": b.matching.as_ref().map(matching),
        "bool": b.return_bool,
    })
}

fn matching(m: &Matching) -> Value {
    let cardinality = match m.cardinality {
        Cardinality::OneToOne => "one-to-one",
        Cardinality::ManyToOne => "many-to-one",
        Cardinality::OneToMany => "one-to-many",
        Cardinality::ManyToMany => "many-to-many",
    };
    json!({
        "card": cardinality,
        "labels": m.labels,
        "on": m.on,
        "include": m.include,
        "fillValues": {"lhs": m.fill_left, "rhs": m.fill_right},
    })
}

fn vector(v: &VectorSelector) -> Value {
    let (offset, offset_expr) = duration(v.offset.as_ref());
    let (timestamp, start_or_end) = at(v.at);
    let matcher = |m: &tidegauge::Matcher| json!({"name": m.name(), "value": m.value(), "type": m.op().to_string()});
    json!({
        "type": "vectorSelector",
        "name": v.name.as_deref().unwrap_or_default(),
        "offset": offset,
        "offsetExpr": offset_expr,
        "matchers": v.matchers.iter().map(matcher).collect::<Vec<_>>(),
        "timestamp": timestamp,
        "startOrEnd": start_or_end,
        "anchored": v.extension == Some(Extension::Anchored),
        "smoothed": v.extension == Some(Extension::Smoothed),
    })
}

fn subquery(s: &Subquery) -> Value {
    let (range, range_expr) = duration(Some(&s.range));
    let (offset, offset_expr) = duration(s.offset.as_ref());
    let (step, step_expr) = duration(s.step.as_ref());
    let (timestamp, start_or_end) = at(s.at);
    json!({
        "type": "subquery",
        "expr": tree(&s.expr),
        "range": range,
        "rangeExpr": range_expr,
        "offset": offset,
        "offsetExpr": offset_expr,
        "step": step,
        "stepExpr": step_expr,
        "timestamp": timestamp,
        "startOrEnd": start_or_end,
    })
}

/// Milliseconds if it is written out, a tree if it is to be computed.
fn duration(arg: Option<&DurationArg>) -> (Value, Value) {
    match arg {
        None => (0.into(), Value::Null),
        Some(DurationArg::Nanos(nanos)) => ((nanos / 1_000_000).into(), Value::Null),
        Some(DurationArg::Expr(expr)) => (0.into(), duration_tree(expr, false)),
    }
}

fn duration_tree(expr: &DurationExpr, wrapped: bool) -> Value {
    let node = |op: &str, lhs: Option<&DurationExpr>, rhs: Option<&DurationExpr>| {
        let side = |side: Option<&DurationExpr>| side.map(|side| duration_tree(side, false));
        json!({"type": "durationExpr", "op": op, "lhs": side(lhs), "rhs": side(rhs), "wrapped": wrapped})
    };
    match &expr.node {
        DurationNode::Number(NumberLiteral { value, duration, .. }) => {
            json!({"type": "numberLiteral", "val": number(*value), "duration": duration})
        }
        DurationNode::Step => node("step", None, None),
        DurationNode::Range => node("range", None, None),
        DurationNode::MinOf(a, b) => node("min_of", Some(a), Some(b)),
        DurationNode::MaxOf(a, b) => node("max_of", Some(a), Some(b)),
        DurationNode::Negate(inner) => node("-", None, Some(inner)),
        DurationNode::Paren(inner) => duration_tree(inner, true),
        DurationNode::Binary(op, a, b) => node(op.as_str(), Some(a), Some(b)),
    }
}

fn at(at: Option<At>) -> (Value, Value) {
    match at {
        None => (Value::Null, Value::Null),
        Some(At::Millis(millis)) => (millis.into(), Value::Null),
        Some(At::Start) => (Value::Null, "start".into()),
        Some(At::End) => (Value::Null, "end".into()),
    }
}

fn sign(negate: bool) -> &'static str {
    if negate { "-" } else { "+" }
}

fn number(value: f64) -> String {
    let mut out = Vec::new();
    // Digits only, however large: an exponent never stands here.
    if value.is_finite() {
        out.extend_from_slice(value.to_string().as_bytes())
    } else {
        put_float(&mut out, value)
    }
    String::from_utf8(out).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidegauge::query::promql::parse;

    fn of(text: &str) -> Value {
        tree(&parse(text).unwrap_or_else(|e| panic!("{text}: {e}")))
    }

    #[test]
    fn every_kind_of_node_has_the_fields_of_prometheus() {
        let vector = json!({
            "type": "vectorSelector", "name": "a", "offset": 60_000, "offsetExpr": null,
            "matchers": [{"name": "b", "value": "c", "type": "!~"}, {"name": "__name__", "value": "a", "type": "="}],
            "timestamp": null, "startOrEnd": "end", "anchored": false, "smoothed": false,
        });
        assert_eq!(of("a{b!~\"c\"} offset 1m @ end()"), vector);
        let matrix = of("rate(a[5m] @ 1.5)");
        assert_eq!(
            matrix["func"],
            json!({"name": "rate", "argTypes": ["matrix"], "variadic": 0, "returnType": "vector"})
        );
        assert_eq!((&matrix["args"][0]["range"], &matrix["args"][0]["timestamp"]), (&json!(300_000), &json!(1500)));
        let sub = of("max_over_time(a[1h:5m])");
        assert_eq!((&sub["args"][0]["type"], &sub["args"][0]["step"]), (&json!("subquery"), &json!(300_000)));
        let join = of("a * on (b) group_left (c) d");
        assert_eq!(join["matching"]["card"], "many-to-one");
        assert_eq!(join["matching"]["fillValues"], json!({"lhs": null, "rhs": null}));
        assert_eq!((&join["matching"]["labels"], &join["matching"]["include"]), (&json!(["b"]), &json!(["c"])));
        assert_eq!(of("1 + 2")["matching"], Value::Null);
        let top = of("topk without (x) (3, -(a))");
        assert_eq!((&top["param"]["val"], &top["without"]), (&json!("3"), &json!(true)));
        assert_eq!(
            top["expr"],
            json!({"type": "unaryExpr", "op": "-", "expr": {"type": "parenExpr", "expr": of("a")}})
        );
        assert_eq!(of("\"x\"")["val"], "x");
        assert_eq!(of("-Inf")["val"], "-Inf");
        assert_eq!(of("1e30")["val"], "1000000000000000000000000000000");
    }

    #[test]
    fn computed_durations_are_trees() {
        let range = &of("a[(step() + 1m) * 2]")["rangeExpr"];
        assert_eq!(
            (&range["op"], &range["lhs"]["op"], &range["lhs"]["wrapped"]),
            (&json!("*"), &json!("+"), &json!(true))
        );
        assert_eq!(range["lhs"]["lhs"]["op"], "step");
        assert_eq!(range["lhs"]["rhs"], json!({"type": "numberLiteral", "val": "60", "duration": true}));
    }
}
