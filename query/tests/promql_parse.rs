//! The parser against garbage, and against itself.

use proptest::prelude::*;
use tidegauge_query::promql::parse;

/// Pieces from which text is made that is often nearly a query.
const PIECES: &[&str] = &[
    "foo",
    "bar:baz",
    "sum",
    "by",
    "without",
    "(",
    ")",
    "{",
    "}",
    "[",
    "]",
    ",",
    ":",
    "5m",
    "1h30m",
    "1",
    "0x1F",
    "1e3",
    "Inf",
    "NaN",
    "+",
    "-",
    "*",
    "/",
    "%",
    "^",
    "==",
    "!=",
    "<=",
    "<",
    ">",
    "</",
    ">/",
    "and",
    "or",
    "unless",
    "atan2",
    "bool",
    "on",
    "ignoring",
    "group_left",
    "group_right",
    "fill",
    "fill_left",
    "offset",
    "@",
    "start",
    "end",
    "step",
    "range",
    "max_of",
    "min_of",
    "anchored",
    "smoothed",
    "a=\"b\"",
    "c=~'d.*'",
    "\"x.y\"",
    "`raw`",
    "\"\\x41\\u00e9\"",
    "rate",
    "abs",
    "topk",
    "histogram_quantile",
    "info",
    "time",
    "#c\n",
    "é",
    "=",
    "!",
    "\"",
    "'",
    "\\",
    "_",
    ".",
];

fn label() -> impl Strategy<Value = String> {
    prop_oneof!["[a-z]{1,3}", Just("sum".to_owned()), Just("with space".to_owned()), Just("without".to_owned())]
}

fn quoted(text: &str) -> String {
    format!("{text:?}")
}

fn selector() -> impl Strategy<Value = String> {
    let matcher = (label(), prop_oneof![Just("="), Just("!="), Just("=~"), Just("!~")], "[a-z.*]{1,4}")
        .prop_map(|(name, op, value)| format!("{}{op}{}", quoted(&name), quoted(&value.replace('*', "x"))));
    let at = prop_oneof![Just(""), Just(" @ 1.5"), Just(" @ -3"), Just(" @ start()"), Just(" @ end()")];
    let offset = prop_oneof![
        Just(""),
        Just(" offset 5m"),
        Just(" offset -90s"),
        Just(" offset (2m * 3)"),
        Just(" offset -step()"),
        Just(" offset max_of(step(), 5s)")
    ];
    (
        prop_oneof!["[a-z]{1,4}:x", Just("sum".to_owned()), "m[a-z]{1,2}"],
        prop::collection::vec(matcher, 0..3),
        at,
        offset,
    )
        .prop_map(|(name, matchers, at, offset)| format!("{name}{{{}}}{at}{offset}", matchers.join(",")))
}

fn expression() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        selector(),
        any::<f64>().prop_map(|n| format!("vector({})", if n.is_nan() { "NaN".to_owned() } else { format!("{n}") })),
        Just("vector(1h30m)".to_owned()),
        (selector(), 1u32..9999).prop_map(|(s, n)| match s.split_once('}') {
            Some((core, rest)) => format!("rate({core}}}[{n}ms]{rest})"),
            None => s,
        }),
    ];
    leaf.prop_recursive(4, 24, 3, |inner| {
        let op = prop_oneof![
            Just("+"),
            Just("-"),
            Just("*"),
            Just("^"),
            Just("=="),
            Just("> bool"),
            Just("atan2"),
            Just("</"),
            Just("and on (a)"),
            Just("or"),
            Just("unless ignoring (a, \"b c\")"),
            Just("/ on (x) group_left (y)"),
            Just("- fill (-1)"),
            Just("% on () fill_left (2) fill_right (NaN)")
        ];
        prop_oneof![
            (inner.clone(), op, inner.clone()).prop_map(|(a, op, b)| format!("{a} {op} {b}")),
            inner.clone().prop_map(|a| format!("({a})")),
            inner.clone().prop_map(|a| format!("-({a})")),
            inner.clone().prop_map(|a| format!("- {a}")),
            (inner.clone(), prop::collection::vec(label(), 0..3)).prop_map(|(a, labels)| {
                let labels: Vec<String> = labels.iter().map(|l| quoted(l)).collect();
                format!("sum by ({}) ({a})", labels.join(", "))
            }),
            inner.clone().prop_map(|a| format!("topk without (x) (3, {a})")),
            inner.clone().prop_map(|a| format!("max_over_time(({a})[1h:5m] offset 1m)")),
            inner.prop_map(|a| format!("label_replace({a}, \"a\", \"$1\", \"b\", \"(.*)\\n\")")),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_text_is_understood_or_refused_and_never_panics(text in "\\PC{0,60}") {
        let _ = parse(&text);
    }

    #[test]
    fn nearly_a_query_is_understood_or_refused(pieces in prop::collection::vec(prop::sample::select(PIECES), 0..24), gap in any::<bool>()) {
        let text = pieces.join(if gap { " " } else { "" });
        match parse(&text) {
            Ok(expr) => {
                let printed = expr.to_string();
                // Infinity is printed with its sign, as Prometheus does; before a power that is an operator when it is
                // read again, of the same value, and printed beside the sign.
                let again = parse(&printed).map(|e| e.to_string().replace("++Inf ^", "+Inf ^"));
                prop_assert_eq!(again, Ok(printed.replace("++Inf ^", "+Inf ^")), "{}", text);
                let _ = expr.pretty();
            }
            Err(e) => prop_assert!(e.span.start <= text.len() && (e.line >= 1 && e.column >= 1) != text.is_empty()),
        }
    }

    #[test]
    fn what_is_printed_is_understood_as_the_same(text in expression()) {
        let printed = parse(&text).map(|e| e.to_string());
        prop_assert!(printed.is_ok(), "{}: {:?}", text, printed);
        let printed = printed.unwrap_or_default();
        prop_assert_eq!(parse(&printed).map(|e| e.to_string()), Ok(printed.clone()));
        let pretty = parse(&printed).map(|e| e.pretty()).unwrap_or_default();
        prop_assert_eq!(parse(&pretty).map(|e| e.to_string()), Ok(printed), "pretty");
    }
}

#[test]
fn an_infinite_base_is_printed_with_its_sign() {
    let printed = |text: &str| parse(text).map(|e| e.to_string()).unwrap();
    assert_eq!(printed("Inf ^ x"), "+Inf ^ x");
    assert_eq!(printed("+Inf ^ x"), "++Inf ^ x");
}
