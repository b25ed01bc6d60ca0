//! What the language accepts, what it means, and how it refuses.

use super::ast::{At, BinaryOp, DurationArg, Expr, Extension};
use super::{
    DEPTH_MAX, HEIGHT_MAX, OPERATORS_MAX, ParseOptions, TEXT_BYTES_MAX, parse, parse_matchers, parse_selector,
    parse_with,
};

/// The text as it is printed: shows how it was understood.
fn printed(text: &str) -> String {
    parse(text).unwrap_or_else(|e| panic!("{text}: {e}")).to_string()
}

fn refused(text: &str) -> String {
    match parse(text) {
        Ok(expr) => panic!("{text} was understood as {expr:?}"),
        Err(e) => e.to_string(),
    }
}

/// The operands of the outermost operator.
fn top(text: &str) -> (BinaryOp, String, String) {
    match parse(text).unwrap() {
        Expr::Binary(mut b) => {
            let last = b.rest.pop().unwrap();
            let left = if b.rest.is_empty() { b.first } else { Expr::Binary(b) };
            (last.op, left.to_string(), last.rhs.to_string())
        }
        other => panic!("{text}: {other:?}"),
    }
}

#[test]
fn operators_bind_as_documented() {
    let both = |op, l: &str, r: &str| (op, l.to_owned(), r.to_owned());
    assert_eq!(top("1 + 2 * 3"), both(BinaryOp::Add, "1", "2 * 3"));
    assert_eq!(top("1 * 2 + 3"), both(BinaryOp::Add, "1 * 2", "3"));
    assert_eq!(top("2 ^ 3 ^ 2"), both(BinaryOp::Pow, "2", "3 ^ 2"));
    assert_eq!(top("1 - 2 - 3"), both(BinaryOp::Sub, "1 - 2", "3"));
    assert_eq!(top("2 ^ -1 * 3"), both(BinaryOp::Mul, "2 ^ -1", "3"));
    assert_eq!(top("a or b and c"), both(BinaryOp::Or, "a", "b and c"));
    assert_eq!(top("a and b unless c"), both(BinaryOp::Unless, "a and b", "c"));
    assert_eq!(top("a == b + c"), both(BinaryOp::Equal, "a", "b + c"));
    assert_eq!(top("-1 ^ 2 + 1"), both(BinaryOp::Add, "-1 ^ 2", "1"));
    assert!(matches!(parse("-1 ^ 2").unwrap(), Expr::Unary(_)));
    assert!(matches!(parse("-1").unwrap(), Expr::Number(n) if n.value == -1.0));
}

#[test]
fn selectors_take_every_form_of_name() {
    for (text, shown) in [
        ("foo", "foo"),
        ("foo{}", "foo"),
        ("a:b:c{x='1',}", "a:b:c{x=\"1\"}"),
        ("{\"a.b\", c=~\"d\"}", "{__name__=\"a.b\",c=~\"d\"}"),
        ("{'with space'!=`x`, __name__=\"n\"}", "{\"with space\"!=\"x\",__name__=\"n\"}"),
        ("sum{by=\"x\"}", "sum{by=\"x\"}"),
        ("fill + start", "fill + start"),
        ("foo # comment\n + bar", "foo + bar"),
    ] {
        assert_eq!(printed(text), shown);
    }
    assert_eq!(
        refused("a{b=~\"*\"}"),
        "1:3: parse error: error parsing regexp: repetition operator missing expression"
    );
    assert_eq!(refused("{}"), "1:1: parse error: vector selector must contain at least one non-empty matcher");
    assert_eq!(refused("{a=~\".*\"}"), "1:1: parse error: vector selector must contain at least one non-empty matcher");
    assert_eq!(refused("a{__name__=\"b\"}"), "1:1: parse error: metric name must not be set twice: \"a\" or \"b\"");
}

#[test]
fn modifiers_of_time_are_understood() {
    for (text, shown) in [
        ("foo offset 5m", "foo offset 5m"),
        ("foo offset -1h30m", "foo offset -1h30m"),
        ("foo @ 1.5 offset 1w", "foo @ 1.500 offset 1w"),
        ("foo offset 50 @ start()", "foo @ start() offset 50s"),
        ("rate(foo[5m] @ end() offset 1y)", "rate(foo[5m] @ end() offset 1y)"),
        ("foo[1h:5m] offset 3m", "foo[1h:5m] offset 3m"),
        ("foo[30:]", "foo[30s:]"),
        ("foo[300]", "foo[5m]"),
        ("rate(foo[5m] anchored)", "rate(foo[5m] anchored)"),
        ("foo smoothed offset 5m", "foo smoothed offset 5m"),
    ] {
        assert_eq!(printed(text), shown);
    }
    let Expr::Vector(v) = parse("foo @ -0.0015").unwrap() else { panic!("no selector") };
    assert_eq!(v.at, Some(At::Millis(-2)));
    assert!(matches!(parse("foo anchored").unwrap(), Expr::Vector(v) if v.extension == Some(Extension::Anchored)));
    assert_eq!(refused("foo offset 1m offset 2m"), "1:1: parse error: offset may not be set multiple times");
    assert_eq!(refused("foo @ 1 @ 2"), "1:1: parse error: @ <timestamp> may not be set multiple times");
    assert_eq!(refused("foo offset 1m[5m]"), "1:14: parse error: no offset modifiers allowed before range");
    assert_eq!(refused("rate(sum(foo)[5m])"), "1:14: parse error: ranges only allowed for vector selectors");
    assert!(refused("foo[0]").contains("duration must be greater than 0"));
    assert!(refused("foo @ inf").contains("timestamp out of bounds"));
    assert!(refused("foo offset 1e99").contains("duration out of range"));
    assert!(refused("foo[1m:1m] smoothed").contains("not supported for subqueries"));
}

#[test]
fn durations_may_be_computed() {
    let range = |text: &str| match parse(text).unwrap() {
        Expr::Matrix(m) => m.range,
        other => panic!("{other:?}"),
    };
    assert_eq!(range("foo[5m]"), DurationArg::Nanos(300_000_000_000));
    assert_eq!(range("foo[2m*(10+5)]").to_string(), "2m * (10 + 5)");
    assert_eq!(range("foo[max_of(min_of(step()+1,1h),1ms)]").to_string(), "max_of(min_of(step() + 1, 1h), 1ms)");
    assert_eq!(top("foo offset 2 ^ 2").0, BinaryOp::Pow);
    assert_eq!(top("foo offset -step()*2").0, BinaryOp::Mul);
    assert_eq!(printed("foo offset (-step()*2)"), "foo offset (-step() * 2)");
    assert_eq!(printed("foo offset (2 ^ 2) + bar"), "foo offset (2 ^ 2) + bar");
    assert_eq!(top("foo offset -(step())+8000").0, BinaryOp::Add);
    assert_eq!(range("foo[+1*2+3]").to_string(), "1 * 2 + 3");
    assert_eq!(range("foo[2^+1*2-3]").to_string(), "2 ^ 1 * 2 - 3");
    assert!(refused("foo[1m/0]").contains("division by zero"));
    assert!(refused("foo[bar]").contains("unexpected character in duration expression: 'b'"));
}

#[test]
fn aggregations_take_their_labels_on_both_sides() {
    assert_eq!(printed("sum by (a, b) (foo)"), "sum by (a, b) (foo)");
    assert_eq!(printed("SUM(foo) BY (a,)"), "sum by (a) (foo)");
    assert_eq!(printed("avg(foo) without ()"), "avg without () (foo)");
    assert_eq!(printed("topk(5, foo)"), "topk(5, foo)");
    assert_eq!(printed("count_values by (\"a.b\", sum) (\"v\", foo)"), "count_values by (\"a.b\", sum) (\"v\", foo)");
    assert!(refused("sum(foo, bar)").contains("expected 1, got 2"));
    assert!(refused("topk(foo)").contains("expected 2, got 1"));
    assert!(refused("sum()").contains("no arguments for aggregate expression provided"));
    assert!(refused("sum(1)").contains("expected type instant vector in aggregation expression, got scalar"));
}

#[test]
fn matching_modifiers_are_understood() {
    for text in [
        "a + on () b",
        "a * on (x) group_left (y, z) b",
        "a / ignoring (x) group_right () b",
        "a >= bool on (x) b",
        "a + fill (0) b",
        "a + on (x) group_left () fill_left (-1) fill_right (+Inf) b",
        "a </ b",
        "a >/ 5",
        "a atan2 b",
    ] {
        assert_eq!(printed(text), text);
    }
    assert!(refused("1 and 2").contains("set operator \"and\" not allowed in binary scalar expression"));
    assert!(refused("1 == 2").contains("comparisons between scalars must use BOOL modifier"));
    assert!(refused("a + bool b").contains("bool modifier can only be used on comparison operators"));
    assert!(refused("a and on (x) group_left b").contains("no grouping allowed for \"and\" operation"));
    assert!(refused("a * on (x) group_left (x) b").contains("must not occur in ON and GROUP clause at once"));
    assert!(refused("a + on (x) 1").contains("vector matching only allowed between instant vectors"));
    assert!(refused("a[5m] + 1").contains("binary expression must contain only scalar and instant vector types"));
}

#[test]
fn calls_are_checked_against_the_function() {
    assert_eq!(printed("round(foo,5)"), "round(foo, 5)");
    assert_eq!(printed("hour()"), "hour()");
    assert_eq!(printed("info(foo, {a=~\".*\"})"), "info(foo, {a=~\".*\"})");
    assert!(
        refused("rate(foo)").contains("expected type range vector in call to function \"rate\", got instant vector")
    );
    assert!(refused("abs()").contains("expected 1 argument(s) in call to \"abs\", got 0"));
    assert!(refused("hour(a, b)").contains("expected at most 1 argument(s) in call to \"hour\", got 2"));
    assert!(refused("label_join(a)").contains("expected at least 3 argument(s) in call to \"label_join\", got 1"));
    assert_eq!(refused("nope(a)"), "1:1: parse error: unknown function with name \"nope\"");
    let settled = ParseOptions { experimental: false };
    for text in ["mad_over_time(a[5m])", "limitk(1, a)", "a[1m+1m]", "a anchored", "a + fill(0) b"] {
        assert!(parse_with(text, settled).unwrap_err().to_string().contains("not enabled"), "{text}");
    }
}

#[test]
fn errors_point_at_the_line_and_column() {
    for (text, message) in [
        ("", "unknown position: parse error: no expression found in input"),
        (" ", "1:1: parse error: no expression found in input"),
        ("foo bar", "1:5: parse error: unexpected identifier \"bar\""),
        ("foo +\n  )", "2:4: parse error: unexpected right parenthesis ')'"),
        ("(foo", "1:5: parse error: unclosed left parenthesis"),
        ("foo{a=}", "1:7: parse error: unexpected \"}\" in label matching, expected string"),
        ("foo{a", "1:6: parse error: unexpected end of input inside braces"),
        ("foo[", "1:5: parse error: unexpected end of input in duration expression"),
        ("foo[5m", "1:7: parse error: unclosed left bracket"),
        ("foo[5m}", "1:7: parse error: unexpected character: '}'"),
        ("foo[:5m]", "1:6: parse error: unexpected colon before duration in duration expression"),
        ("foo[5m:1m:1m]", "1:10: parse error: unexpected colon ':'"),
        ("foo[5m/0]", "1:7: parse error: division by zero"),
        ("foo[step]", "1:9: parse error: unexpected \"]\" in subquery or range selector, expected number, duration"),
        ("foo @ step()", "1:7: parse error: unexpected \"step\" in @, expected timestamp"),
        ("foo @ -Inf", "1:1: parse error: timestamp out of bounds for @ modifier: -Inf"),
        ("0b1", "1:1: parse error: bad number or duration syntax: \"0\""),
        ("1__0", "1:1: parse error: bad number or duration syntax: \"1__\""),
        ("1.5.2", "1:1: parse error: bad number or duration syntax: \"1.5.\""),
        ("0x", "1:1: parse error: error parsing number: strconv.ParseFloat: parsing \"0x\": invalid syntax"),
        ("1e999", "1:1: parse error: error parsing number: strconv.ParseFloat: parsing \"1e999\": value out of range"),
        ("1.5h", "1:1: parse error: unknown unit \".\" in duration \"1.5h\""),
        ("\"\\z\"", "1:1: parse error: unknown escape sequence U+007A 'z'"),
        ("\"\\xZZ\"", "1:1: parse error: illegal character U+005A 'Z' in escape sequence"),
        ("\"\\ud800\"", "1:1: parse error: escape sequence is an invalid Unicode code point"),
        ("\"\\400\"", "1:1: parse error: escape sequence is an invalid Unicode code point"),
        ("\u{a0}1", "1:1: parse error: unexpected character: '\\u00a0'"),
        ("sum(on)", "1:5: parse error: unexpected <on> in aggregation"),
        (
            "a + on (b) group_left group_right c",
            "1:23: parse error: unexpected <group_right> in grouping opts, expected",
        ),
        ("sum(foo,)", "1:8: parse error: trailing commas not allowed in function call args"),
        ("1 +", "1:4: parse error: unexpected end of input"),
        ("\"abc", "1:1: parse error: unterminated quoted string"),
        (
            "foo offset bar",
            "1:12: parse error: unexpected identifier \"bar\" in offset, expected number, duration, step(), or range()",
        ),
        ("sum by foo (bar)", "1:8: parse error: unexpected identifier \"foo\" in grouping opts, expected \"(\""),
        ("foo == == bar", "1:8: parse error: unexpected <op:==>"),
        ("a{b=~\"(\"}", "1:3: parse error: "),
    ] {
        assert!(refused(text).starts_with(message), "{text}: {}", refused(text));
    }
}

/// Each is a megabyte or more, of eight characters.
#[test]
fn regular_expressions_have_a_bound_together() {
    let of = |count: usize| vec![r#"x{a=~"\\pL{30}"}"#; count].join(" or ");
    parse(&of(10)).unwrap();
    let why = refused(&of(60));
    assert!(why.contains("take more than 64 MiB"), "{why}");
    let hosts: Vec<String> = (0..20_000).map(|n| format!("host-{n}.example")).collect();
    parse(&format!(r#"x{{host=~"{}"}}"#, hosts.join("|"))).unwrap();
}

#[test]
fn long_and_deep_texts_are_refused_quickly() {
    assert!(refused(&"a".repeat(TEXT_BYTES_MAX + 1)).contains("at most"));
    for (open, inner, close) in [
        ("(", "1", ")"),
        ("-", "a", ""),
        ("abs(", "a", ")"),
        ("sum(", "a", ")"),
        ("1^", "1", ""),
        ("", "a", "[1m:1m]"),
        ("a[", "1", "+1]"),
        ("a[(", "1", ")]"),
        ("a[-", "1", "]"),
    ] {
        let text = format!("{}{inner}{}", open.repeat(20_000), close.repeat(20_000));
        assert!(parse(&text).is_err(), "{open}{inner}{close}");
    }
    let deep = format!("{}1{}", "(".repeat(DEPTH_MAX - 1), ")".repeat(DEPTH_MAX - 1));
    assert_eq!(printed(&deep), deep);
    assert!(refused(&format!("({deep})")).contains("nested deeper"));
    let high = format!("a{}", "[1m:1m]".repeat(HEIGHT_MAX - 1));
    assert_eq!(parse(&high).unwrap_err().message, "subquery is only allowed on instant vector, got matrix instead");
    assert!(refused(&format!("{high}[1m:1m]")).contains("nested deeper"));
    let long = format!("1{}", " + 1".repeat(OPERATORS_MAX));
    assert_eq!(printed(&long), long);
    assert!(refused(&format!("{long}+1")).contains("more than 20000 operators"));
    assert!(refused(&format!("abs({long})")).contains("expected type instant vector"), "wherever they stand");
}

#[test]
fn a_selector_is_nothing_but_a_selector() {
    let matchers = parse_selector("cpu{host=~\"web.*\"}").unwrap();
    assert_eq!(matchers.len(), 2);
    for text in ["rate(cpu[5m])", "cpu offset 5m", "cpu @ 5", "cpu[5m]", "{}", "1"] {
        assert!(parse_selector(text).is_err(), "{text}");
    }
    for (text, message) in [
        ("cpu[5m]", "1:4: parse error: unexpected \"[\""),
        ("cpu offset 5m", "1:5: parse error: unexpected <offset>"),
        ("rate(cpu[5m])", "1:5: parse error: unexpected \"(\""),
        ("(cpu)", "1:1: parse error: unexpected \"(\""),
        ("1", "1:1: parse error: unexpected number \"1\""),
        ("", "unknown position: parse error: unexpected end of input"),
        ("cpu{", "1:5: parse error: unexpected end of input inside braces"),
        ("cpu or cpu", "1:5: parse error: unexpected <op:or>"),
    ] {
        assert_eq!(parse_matchers(text).unwrap_err().to_string(), message, "{text}");
    }
    assert_eq!(parse_matchers("{}").unwrap(), []);
}
