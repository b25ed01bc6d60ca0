//! An expression as JSON: the tree that Prometheus' `parse_query` shows.

use serde_json::{Value, json};
use tidegauge::query::promql::parse::ast::{
    Aggregate, At, Binary, Call, Cardinality, DurationArg, DurationExpr, DurationNode, Expr, Extension, Matching,
    NumberLiteral, Subquery, VectorSelector,
};

use super::json::{Gone, Outlet};
use super::number::put_float;

/// Appends the tree of a parsed query, keys in the order of the alphabet. Operators in a row are nested in it, the
/// first one inmost, but written one after the other: how deep this goes is bounded by the parser.
///
/// # Errors
/// [`Gone`] from the outlet.
pub(crate) fn put_tree(to: &mut impl Outlet, expr: &Expr) -> Result<(), Gone> {
    match expr {
        Expr::Number(n) => put(to, &json!({"type": "numberLiteral", "val": number(n.value)})),
        Expr::String(s) => put(to, &json!({"type": "stringLiteral", "val": s.value})),
        Expr::Vector(v) => selector(to, v, None)?,
        Expr::Matrix(m) => selector(to, &m.selector, Some(&m.range))?,
        Expr::Subquery(s) => subquery(to, s)?,
        Expr::Aggregate(a) => aggregate(to, a)?,
        Expr::Binary(b) => binary(to, b)?,
        Expr::Call(c) => call(to, c)?,
        Expr::Paren(p) => {
            text(to, "{\"expr\":");
            put_tree(to, &p.expr)?;
            put_rest(to, &json!({"type": "parenExpr"}));
        }
        Expr::Unary(u) => {
            text(to, "{\"expr\":");
            put_tree(to, &u.expr)?;
            put_rest(to, &json!({"op": sign(u.negate), "type": "unaryExpr"}));
        }
    }
    to.spill()
}

fn text(to: &mut impl Outlet, text: &str) {
    to.buffer().extend_from_slice(text.as_bytes());
}

fn put(to: &mut impl Outlet, value: &Value) {
    text(to, &value.to_string());
}

/// The other fields of an object that has one already.
fn put_rest(to: &mut impl Outlet, object: &Value) {
    text(to, ",");
    text(to, &object.to_string()[1..]);
}

fn aggregate(to: &mut impl Outlet, a: &Aggregate) -> Result<(), Gone> {
    text(to, "{\"expr\":");
    put_tree(to, &a.expr)?;
    text(to, &format!(",\"grouping\":{},\"op\":\"{}\",\"param\":", json!(a.grouping), a.op.as_str()));
    match &a.param {
        Some(param) => put_tree(to, param)?,
        None => text(to, "null"),
    }
    put_rest(to, &json!({"type": "aggregation", "without": a.without}));
    Ok(())
}

fn call(to: &mut impl Outlet, c: &Call) -> Result<(), Gone> {
    text(to, "{\"args\":[");
    for (at, arg) in c.args.iter().enumerate() {
        if at > 0 {
            text(to, ",");
        }
        put_tree(to, arg)?;
    }
    let types: Vec<&str> = c.signature.args.iter().map(|t| t.as_str()).collect();
    let function = json!({
        "name": c.signature.name,
        "argTypes": types,
        "variadic": c.signature.variadic,
        "returnType": c.signature.returns.as_str(),
    });
    text(to, "]");
    put_rest(to, &json!({"func": function, "type": "call"}));
    Ok(())
}

fn binary(to: &mut impl Outlet, b: &Binary) -> Result<(), Gone> {
    for operand in b.rest.iter().rev() {
        text(to, &format!("{{\"bool\":{},\"lhs\":", operand.return_bool));
        to.spill()?;
    }
    put_tree(to, &b.first)?;
    for operand in &b.rest {
        let matching = operand.matching.as_deref().map(matching);
        text(to, &format!(",\"matching\":{},\"op\":{},\"rhs\":", json!(matching), json!(operand.op.as_str())));
        put_tree(to, &operand.rhs)?;
        put_rest(to, &json!({"type": "binaryExpr"}));
    }
    Ok(())
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

/// Of an instant vector, or of one of ranges.
fn selector(to: &mut impl Outlet, v: &VectorSelector, range: Option<&DurationArg>) -> Result<(), Gone> {
    let (timestamp, start_or_end) = at(v.at);
    let matcher = |m: &tidegauge::Matcher| json!({"name": m.name(), "value": m.value(), "type": m.op().to_string()});
    let matchers: Vec<Value> = v.matchers.iter().map(matcher).collect();
    let name = v.name.as_deref().unwrap_or_default();
    let anchored = v.extension == Some(Extension::Anchored);
    text(to, &format!("{{\"anchored\":{anchored},\"matchers\":{},\"name\":{}", json!(matchers), json!(name)));
    put_durations(to, "offset", v.offset.as_ref())?;
    if range.is_some() {
        put_durations(to, "range", range)?;
    }
    put_rest(
        to,
        &json!({
            "smoothed": v.extension == Some(Extension::Smoothed),
            "startOrEnd": start_or_end,
            "timestamp": timestamp,
            "type": if range.is_some() { "matrixSelector" } else { "vectorSelector" },
        }),
    );
    Ok(())
}

fn subquery(to: &mut impl Outlet, s: &Subquery) -> Result<(), Gone> {
    text(to, "{\"expr\":");
    put_tree(to, &s.expr)?;
    put_durations(to, "offset", s.offset.as_ref())?;
    put_durations(to, "range", Some(&s.range))?;
    let (timestamp, start_or_end) = at(s.at);
    text(to, &format!(",\"startOrEnd\":{start_or_end}"));
    put_durations(to, "step", s.step.as_ref())?;
    put_rest(to, &json!({"timestamp": timestamp, "type": "subquery"}));
    Ok(())
}

/// The two fields of a duration: milliseconds if it is written out, a tree if it is to be computed.
fn put_durations(to: &mut impl Outlet, name: &str, arg: Option<&DurationArg>) -> Result<(), Gone> {
    let millis = match arg {
        Some(DurationArg::Nanos(nanos)) => nanos / 1_000_000,
        _ => 0,
    };
    text(to, &format!(",\"{name}\":{millis},\"{name}Expr\":"));
    match arg {
        Some(DurationArg::Expr(expr)) => put_duration(to, expr, false)?,
        _ => text(to, "null"),
    }
    Ok(())
}

/// Rows are nested and written as those of [`binary`].
fn put_duration(to: &mut impl Outlet, expr: &DurationExpr, wrapped: bool) -> Result<(), Gone> {
    match &expr.node {
        DurationNode::Number(NumberLiteral { value, duration, .. }) => {
            put(to, &json!({"type": "numberLiteral", "val": number(*value), "duration": duration}));
        }
        DurationNode::Step => operation(to, "step", [None, None], wrapped)?,
        DurationNode::Range => operation(to, "range", [None, None], wrapped)?,
        DurationNode::MinOf(a, b) => operation(to, "min_of", [Some(a), Some(b)], wrapped)?,
        DurationNode::MaxOf(a, b) => operation(to, "max_of", [Some(a), Some(b)], wrapped)?,
        DurationNode::Negate(inner) => operation(to, "-", [None, Some(inner)], wrapped)?,
        DurationNode::Paren(inner) => put_duration(to, inner, true)?,
        DurationNode::Row(first, rest) => {
            text(to, &"{\"lhs\":".repeat(rest.len()));
            put_duration(to, first, false)?;
            for (at, (op, operand)) in rest.iter().enumerate() {
                put_right(to, op.as_str(), Some(operand), wrapped && at + 1 == rest.len())?;
            }
        }
    }
    to.spill()
}

fn operation(
    to: &mut impl Outlet,
    op: &str,
    [lhs, rhs]: [Option<&DurationExpr>; 2],
    wrapped: bool,
) -> Result<(), Gone> {
    text(to, "{\"lhs\":");
    put_side(to, lhs)?;
    put_right(to, op, rhs, wrapped)
}

fn put_right(to: &mut impl Outlet, op: &str, rhs: Option<&DurationExpr>, wrapped: bool) -> Result<(), Gone> {
    text(to, &format!(",\"op\":{},\"rhs\":", json!(op)));
    put_side(to, rhs)?;
    put_rest(to, &json!({"type": "durationExpr", "wrapped": wrapped}));
    Ok(())
}

fn put_side(to: &mut impl Outlet, side: Option<&DurationExpr>) -> Result<(), Gone> {
    match side {
        Some(side) => put_duration(to, side, false),
        None => {
            text(to, "null");
            Ok(())
        }
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
        let mut out = Vec::new();
        put_tree(&mut out, &parse(text).unwrap_or_else(|e| panic!("{text}: {e}"))).unwrap();
        let value = serde_json::from_slice(&out).unwrap_or_else(|e| panic!("{text}: {e}"));
        assert_eq!(String::from_utf8(out).unwrap(), Value::to_string(&value), "keys in order");
        value
    }

    #[test]
    fn operators_in_a_row_are_nested_the_first_one_inmost() {
        let row = of("a - on (x) b > bool 2 * 3");
        assert_eq!((&row["op"], &row["bool"], &row["matching"]), (&json!(">"), &json!(true), &Value::Null));
        assert_eq!((&row["lhs"]["op"], &row["lhs"]["lhs"]), (&json!("-"), &of("a")));
        assert_eq!((&row["lhs"]["rhs"], &row["rhs"]), (&of("b"), &of("2 * 3")));
        assert_eq!(row["lhs"]["matching"]["labels"], json!(["x"]));
    }

    #[test]
    fn thousands_of_operators_in_a_row_need_no_stack() {
        let parse_and_show = || {
            let mut out = Vec::new();
            put_tree(&mut out, &parse(&format!("1{}", " + 2".repeat(10_000))).unwrap()).unwrap();
            assert_eq!(out.iter().filter(|b| **b == b'{').count(), 20_001);
            assert_eq!(out.iter().filter(|b| **b == b'}').count(), 20_001);
        };
        std::thread::Builder::new().stack_size(128 << 10).spawn(parse_and_show).unwrap().join().unwrap();
        let durations = || {
            let range = &of("a[1 - 2 - 3]")["rangeExpr"];
            assert_eq!([&range["lhs"]["op"], &range["lhs"]["lhs"]["val"], &range["rhs"]["val"]], ["-", "1", "3"]);
            let mut out = Vec::new();
            let row = format!("a[1{}]", " + 2".repeat(10_000));
            put_tree(&mut out, &parse(&row).unwrap()).unwrap();
            assert_eq!(out.windows(5).filter(|text| text == b"\"lhs\"").count(), 10_000);
            assert_eq!(out.iter().filter(|b| **b == b'{').count(), out.iter().filter(|b| **b == b'}').count());
        };
        std::thread::Builder::new().stack_size(128 << 10).spawn(durations).unwrap().join().unwrap();
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
