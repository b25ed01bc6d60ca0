//! The language of Prometheus' own test cases: `load`, `eval`, `clear`.

use std::collections::BTreeMap;

use tidegauge_query::promql::parse;
use tidegauge_query::promql::parse::ast::Expr;
use tidegauge_storage::model::{LabelLimits, Labels};

pub(crate) const STALE: f64 = f64::from_bits(0x7ff0_0000_0000_0002);

/// One place in a sequence of values.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Point {
    Gap,
    Float(f64),
    Histogram,
}

pub(crate) enum Command {
    Clear,
    Load(Load),
    Eval(Box<Eval>),
}

#[derive(Default)]
pub(crate) struct Load {
    pub(crate) series: Vec<(Labels, Vec<(i64, Point)>)>,
    /// Classic histograms are loaded as native ones too.
    pub(crate) with_native: bool,
    /// Series with start timestamps.
    pub(crate) started: Vec<Labels>,
}

#[derive(Clone, Debug)]
pub(crate) enum Text {
    Any,
    Exact(String),
    Regex(String),
}

#[derive(Default)]
pub(crate) struct Eval {
    pub(crate) line: usize,
    pub(crate) expr: String,
    pub(crate) is_range: bool,
    /// Milliseconds.
    pub(crate) start: i64,
    pub(crate) end: i64,
    pub(crate) step: i64,
    pub(crate) ordered: bool,
    pub(crate) fail: Option<Text>,
    pub(crate) warn: Vec<Text>,
    pub(crate) info: Vec<Text>,
    pub(crate) no_warn: bool,
    pub(crate) no_info: bool,
    pub(crate) scalar: Option<f64>,
    pub(crate) string: Option<String>,
    pub(crate) is_range_vector: bool,
    /// Place and values by labels.
    pub(crate) expected: BTreeMap<Labels, (usize, Vec<Point>)>,
}

pub(crate) fn parse_file(text: &str) -> Vec<Command> {
    let lines: Vec<&str> = text.lines().map(str::trim).map(|l| if l.starts_with('#') { "" } else { l }).collect();
    let mut commands = Vec::new();
    let mut at = 0;
    while at < lines.len() {
        let line = lines[at];
        at += 1;
        let word = line.split_whitespace().next().unwrap_or("");
        if word == "clear" {
            commands.push(Command::Clear);
        } else if word.starts_with("load") {
            let body = block(&lines, &mut at);
            commands.push(Command::Load(load(line, &body)));
        } else if word.starts_with("eval") {
            let first = at;
            let body = block(&lines, &mut at);
            commands.push(Command::Eval(Box::new(eval(first, line, &body))));
        } else {
            assert!(line.is_empty(), "line {at}: {line}");
        }
    }
    commands
}

fn block<'a>(lines: &[&'a str], at: &mut usize) -> Vec<&'a str> {
    let start = *at;
    while *at < lines.len() && !lines[*at].is_empty() {
        *at += 1;
    }
    lines[start..*at].to_vec()
}

/// Milliseconds.
pub(crate) fn duration(text: &str) -> i64 {
    if text.chars().all(|c| c.is_ascii_digit()) && text != "0" {
        return text.parse::<i64>().expect("digits") * 1000;
    }
    match parse(text) {
        Ok(Expr::Number(n)) => (n.value * 1000.0).round() as i64,
        other => panic!("duration {text}: {other:?}"),
    }
}

fn load(line: &str, body: &[&str]) -> Load {
    let (head, gap) = line.split_once(char::is_whitespace).expect("a gap");
    let gap = duration(gap.trim());
    let mut load = Load { with_native: head == "load_with_nhcb", ..Load::default() };
    for line in body {
        if let Some((metric, _)) = line.split_once(char::is_whitespace)
            && let Some(metric) = metric.strip_suffix("@st")
        {
            load.started.push(split_metric(metric).0);
            continue;
        }
        let (labels, rest) = split_metric(line);
        let points = points(rest);
        let samples = (0i64..).zip(points).map(|(i, point)| (i * gap, point)).collect();
        load.series.retain(|(l, _)| *l != labels);
        load.series.push((labels, samples));
    }
    load
}

fn eval(line_number: usize, line: &str, body: &[&str]) -> Eval {
    let mut eval = Eval { line: line_number, ..Eval::default() };
    let (head, rest) = line.split_once(char::is_whitespace).expect("a kind");
    let rest = rest.trim_start();
    match head {
        "eval_fail" => eval.fail = Some(Text::Any),
        "eval_warn" => eval.warn.push(Text::Any),
        "eval_info" => eval.info.push(Text::Any),
        "eval_ordered" => eval.ordered = true,
        _ => {}
    }
    if let Some(rest) = rest.strip_prefix("instant") {
        let rest = rest.trim_start();
        let (at, expr) = match rest.strip_prefix("at ") {
            Some(rest) => rest.trim_start().split_once(char::is_whitespace).expect("time and expression"),
            None => ("0", rest),
        };
        (eval.start, eval.end, eval.expr) = (duration(at), duration(at), expr.trim().to_owned());
    } else {
        let rest = rest.strip_prefix("range").expect("instant or range").trim_start();
        let (from, rest) = rest.strip_prefix("from").expect("from").split_once(" to ").expect("to");
        let (to, rest) = rest.split_once(" step ").expect("step");
        let (step, expr) = rest.trim_start().split_once(char::is_whitespace).expect("expression");
        eval.is_range = true;
        (eval.start, eval.end, eval.step) = (duration(from.trim()), duration(to.trim()), duration(step.trim()));
        eval.expr = expr.trim().to_owned();
    }
    let mut place = 0;
    for line in body {
        if !expectation(&mut eval, line) {
            place += 1;
            if let Ok(value) = line.parse::<f64>() {
                eval.scalar = Some(value);
                break;
            }
            let (labels, rest) = split_metric(line);
            eval.expected.insert(labels, (place, points(rest)));
        }
    }
    eval
}

fn expectation(eval: &mut Eval, line: &str) -> bool {
    if let Some(text) = line.strip_prefix("expected_fail_message") {
        eval.fail = Some(Text::Exact(text.trim().to_owned()));
        return true;
    }
    if let Some(text) = line.strip_prefix("expected_fail_regexp") {
        eval.fail = Some(Text::Regex(text.trim().to_owned()));
        return true;
    }
    let Some(rest) = line.strip_prefix("expect ") else { return false };
    if let Some(rest) = rest.strip_prefix("range vector from") {
        let (from, rest) = rest.split_once(" to ").expect("to");
        let (to, step) = rest.split_once(" step ").expect("step");
        (eval.start, eval.end, eval.step) = (duration(from.trim()), duration(to.trim()), duration(step.trim()));
        eval.is_range_vector = true;
        return true;
    }
    if let Some(text) = rest.strip_prefix("string") {
        let Ok(Expr::String(s)) = parse(text.trim()) else { panic!("string {text}") };
        eval.string = Some(s.value);
        return true;
    }
    let (kind, text) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
    let text = text.trim();
    let text = match (text.strip_prefix("msg:"), text.strip_prefix("regex:")) {
        (Some(exact), _) => Text::Exact(exact.trim().to_owned()),
        (_, Some(regex)) => Text::Regex(regex.trim().to_owned()),
        _ => Text::Any,
    };
    match kind {
        "ordered" => eval.ordered = true,
        "fail" => eval.fail = Some(text),
        "warn" => eval.warn.push(text),
        "info" => eval.info.push(text),
        "no_warn" => eval.no_warn = true,
        "no_info" => eval.no_info = true,
        other => panic!("expect {other}"),
    }
    true
}

/// The labels at the start of a line, and what follows them.
fn split_metric(line: &str) -> (Labels, &str) {
    let name = line.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == ':')).unwrap_or(line.len());
    let mut pairs: Vec<(String, String)> = Vec::new();
    if name > 0 {
        pairs.push(("__name__".to_owned(), line[..name].to_owned()));
    }
    let mut rest = &line[name..];
    if rest.starts_with('{') && !rest.starts_with("{{") {
        let end = closing(rest);
        // An empty selector is refused, and these may well be empty.
        let selector = format!("{{__some__=\"x\", {}", &rest[1..=end]);
        let Ok(Expr::Vector(v)) = parse(&selector) else { panic!("labels {selector}") };
        pairs.extend(v.matchers.iter().skip(1).map(|m| (m.name().to_owned(), m.value().to_owned())));
        rest = &rest[end + 1..];
    }
    pairs.retain(|(_, value)| !value.is_empty());
    let labels =
        if pairs.is_empty() { Labels::empty() } else { Labels::new(pairs, &LabelLimits::DEFAULT).expect(line) };
    (labels, rest)
}

fn closing(text: &str) -> usize {
    let (mut quote, mut escaped) = (None, false);
    for (at, c) in text.char_indices() {
        match quote {
            Some(_) if escaped => escaped = false,
            Some('"' | '\'') if c == '\\' => escaped = true,
            Some(q) if c == q => quote = None,
            Some(_) => {}
            None if matches!(c, '"' | '\'' | '`') => quote = Some(c),
            None if c == '}' => return at,
            None => {}
        }
    }
    panic!("no closing brace in {text}")
}

fn points(text: &str) -> Vec<Point> {
    let mut out = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let word = match rest.starts_with("{{") {
            true => histogram_word(rest),
            false => rest.split_whitespace().next().unwrap_or(rest),
        };
        one_word(word, &mut out);
        rest = rest[word.len()..].trim_start();
    }
    out
}

/// `{{...}}`, `{{...}}xN`, `{{...}}+{{...}}xN`
fn histogram_word(text: &str) -> &str {
    let mut end = text.find("}}").expect("closing braces") + 2;
    if let Some(b'+' | b'-') = text.as_bytes().get(end) {
        end += text[end..].find("}}").expect("closing braces") + 2;
    }
    end += text[end..].find(char::is_whitespace).unwrap_or(text.len() - end);
    &text[..end]
}

fn one_word(word: &str, out: &mut Vec<Point>) {
    if word.starts_with("{{") {
        let times = word.rsplit_once("}}x").map_or(0, |(_, n)| n.parse::<usize>().expect(word));
        out.extend(std::iter::repeat_n(Point::Histogram, times + 1));
        return;
    }
    if let Some(rest) = word.strip_prefix('_') {
        let times = rest.strip_prefix('x').map_or(1, |n| n.parse::<usize>().expect(word));
        out.extend(std::iter::repeat_n(Point::Gap, times));
        return;
    }
    let (value, times) = match word.rsplit_once('x') {
        Some((value, times)) => (value, times.parse::<usize>().expect(word) + 1),
        None => (word, 1),
    };
    if value == "stale" {
        out.extend(std::iter::repeat_n(Point::Float(STALE), times));
        return;
    }
    let mut signs = value
        .char_indices()
        .skip(1)
        .filter(|&(i, c)| matches!(c, '+' | '-') && !matches!(value.as_bytes()[i - 1], b'e' | b'E'));
    let (start, delta) = match signs.next() {
        Some((i, _)) if times > 1 => (number(&value[..i]), number(&value[i..])),
        _ => (number(value), 0.0),
    };
    let mut current = start;
    for _ in 0..times {
        out.push(Point::Float(current));
        current += delta;
    }
}

fn number(text: &str) -> f64 {
    text.replace('_', "").parse().unwrap_or_else(|e| panic!("number {text}: {e}"))
}
