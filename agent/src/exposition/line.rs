//! One line of the text.

use std::borrow::Cow;

use tidegauge::Timestamp;

use super::number::{parse_millis, parse_seconds, parse_value};
use super::series::{is_space, split_name, unescape, utf8};
use super::{Dialect, LineError, SeriesText};

/// What a line says.
#[derive(Clone, Debug, PartialEq)]
pub enum Entry<'a> {
    /// A sample.
    Sample(SampleLine<'a>),
    /// `# HELP metric text`
    Help {
        /// The metric.
        metric: Cow<'a, str>,
        /// What it means.
        text: Cow<'a, str>,
    },
    /// `# TYPE metric kind`
    Type {
        /// The metric.
        metric: Cow<'a, str>,
        /// `counter`, `gauge`, `histogram`, `summary`, `unknown` (also for `untyped`), or one of OpenMetrics' others.
        kind: &'a str,
    },
    /// `# UNIT metric unit`
    Unit {
        /// The metric.
        metric: Cow<'a, str>,
        /// Its unit.
        unit: &'a str,
    },
    /// Nothing, or a comment.
    Nothing,
    /// `# EOF`
    End,
}

/// A sample as it stands on its line.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SampleLine<'a> {
    /// Its series.
    pub series: SeriesText<'a>,
    /// Its value.
    pub value: f64,
    /// Its timestamp, if the line has one.
    pub timestamp: Option<Timestamp>,
}

/// Reads one line, without its line feed. O(bytes); a sample is read without allocation.
///
/// # Errors
/// [`LineError`] says what is wrong with it. The labels of a sample are only looked at by
/// [`SeriesText::labels`].
pub fn parse_line(line: &[u8], dialect: Dialect) -> Result<Entry<'_>, LineError> {
    let line = trim(line.strip_suffix(b"\r").unwrap_or(line));
    match line.first() {
        None => Ok(Entry::Nothing),
        Some(b'#') => parse_comment(trim(&line[1..]), dialect),
        Some(_) => parse_sample(line, dialect),
    }
}

fn parse_sample(line: &[u8], dialect: Dialect) -> Result<Entry<'_>, LineError> {
    let (series, rest) = SeriesText::split(line)?;
    let (value, rest) = token(rest);
    if value.is_empty() {
        return Err(LineError::syntax(line.len(), "expected a value"));
    }
    let value = parse_value(value).map_err(|why| LineError::BadValue { text: LineError::excerpt(value), why })?;
    let (stamp, rest) = token(rest);
    let mut sample = SampleLine { series, value, timestamp: None };
    // An exemplar may take the timestamp's place.
    if stamp.is_empty() || (dialect == Dialect::OpenMetrics && stamp[0] == b'#') {
        return Ok(Entry::Sample(sample));
    }
    let nanos = match dialect {
        Dialect::Text => parse_millis(stamp),
        Dialect::OpenMetrics => parse_seconds(stamp),
    };
    let nanos = nanos.ok_or_else(|| LineError::BadTimestamp { text: LineError::excerpt(stamp) })?;
    sample.timestamp = Some(Timestamp::from_nanos(nanos));
    let (more, _) = token(rest);
    if more.is_empty() || (dialect == Dialect::OpenMetrics && more[0] == b'#') {
        return Ok(Entry::Sample(sample));
    }
    Err(LineError::syntax(line.len() - trim(rest).len(), "expected the end of the line"))
}

fn parse_comment(text: &[u8], dialect: Dialect) -> Result<Entry<'_>, LineError> {
    let (keyword, rest) = token(text);
    match keyword {
        b"HELP" => {
            let (metric, rest) = split_name(trim(rest))?;
            Ok(Entry::Help { metric, text: unescape(utf8(trim(rest))?) })
        }
        b"TYPE" => {
            let (metric, rest) = split_name(trim(rest))?;
            let (kind, _) = token(rest);
            Ok(Entry::Type { metric, kind: known_kind(kind)? })
        }
        b"UNIT" => {
            let (metric, rest) = split_name(trim(rest))?;
            Ok(Entry::Unit { metric, unit: utf8(trim(rest))? })
        }
        b"EOF" if dialect == Dialect::OpenMetrics => Ok(Entry::End),
        _ => Ok(Entry::Nothing),
    }
}

/// OpenMetrics says `unknown` of what the text format calls `untyped`: it is kept under one word.
fn known_kind(kind: &[u8]) -> Result<&str, LineError> {
    match kind {
        b"untyped" => Ok("unknown"),
        b"counter" | b"gauge" | b"histogram" | b"summary" | b"unknown" | b"gaugehistogram" | b"stateset" | b"info" => {
            utf8(kind)
        }
        _ => Err(LineError::BadType { text: LineError::excerpt(kind) }),
    }
}

/// The next word and what follows it.
fn token(text: &[u8]) -> (&[u8], &[u8]) {
    let text = trim(text);
    let end = text.iter().position(|&b| is_space(b)).unwrap_or(text.len());
    text.split_at(end)
}

fn trim(text: &[u8]) -> &[u8] {
    let start = text.iter().take_while(|&&b| is_space(b)).count();
    &text[start..]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(line: &str, dialect: Dialect) -> Result<(String, f64, Option<i64>), LineError> {
        match parse_line(line.as_bytes(), dialect)? {
            Entry::Sample(s) => {
                Ok((String::from_utf8(s.series.bytes().to_vec()).unwrap(), s.value, s.timestamp.map(Timestamp::nanos)))
            }
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn a_sample_is_its_series_a_value_and_perhaps_a_timestamp() {
        use Dialect::{OpenMetrics, Text};
        let x = |v, t| Ok(("a{b=\"} 1\"}".to_owned(), v, t));
        assert_eq!(sample("a{b=\"} 1\"} 2", Text), x(2.0, None));
        assert_eq!(sample("  a{b=\"} 1\"}\t2  3 \r", Text), x(2.0, Some(3_000_000)));
        assert_eq!(sample("a{b=\"} 1\"} 2 3.5", OpenMetrics), x(2.0, Some(3_500_000_000)));
        assert_eq!(sample("a{b=\"} 1\"} 2 # {t=\"x\"} 0.5 1.0", OpenMetrics), x(2.0, None));
        assert_eq!(sample("a{b=\"} 1\"} 2 3 # {} 0.5", OpenMetrics), x(2.0, Some(3_000_000_000)));
        assert_eq!(sample("a +Inf", Text), Ok(("a".into(), f64::INFINITY, None)));
    }

    #[test]
    fn each_broken_sample_says_what_is_wrong() {
        let text = |line| sample(line, Dialect::Text).unwrap_err();
        assert!(matches!(text("a"), LineError::Syntax { column: 2, .. }));
        assert!(matches!(text("a b"), LineError::BadValue { .. }));
        assert_eq!(text("a 1e400 3").to_string(), "the value \"1e400\" is out of range");
        assert!(matches!(text("a 1 x"), LineError::BadTimestamp { .. }));
        assert!(matches!(text("a 1 1.5"), LineError::BadTimestamp { .. }));
        assert!(matches!(text("a 1 2 3"), LineError::Syntax { column: 7, .. }));
        assert!(matches!(text("a 1 # {} 2"), LineError::BadTimestamp { .. }));
        assert!(matches!(text("\u{0}\u{1}"), LineError::Syntax { column: 1, .. }));
    }

    #[test]
    fn comments_carry_help_type_and_unit() {
        let line = |text: &'static str| parse_line(text.as_bytes(), Dialect::OpenMetrics);
        let metric = || Cow::Borrowed("a_b");
        assert_eq!(line("# HELP a_b x \\\\ y\\nz"), Ok(Entry::Help { metric: metric(), text: "x \\ y\nz".into() }));
        assert_eq!(line("#\tTYPE a_b  counter"), Ok(Entry::Type { metric: metric(), kind: "counter" }));
        assert_eq!(line("# TYPE \"a.b\" info"), Ok(Entry::Type { metric: "a.b".into(), kind: "info" }));
        for untyped in ["# TYPE a_b untyped", "# TYPE a_b unknown"] {
            assert_eq!(line(untyped), Ok(Entry::Type { metric: metric(), kind: "unknown" }));
        }
        assert_eq!(line("# UNIT a_b seconds"), Ok(Entry::Unit { metric: metric(), unit: "seconds" }));
        assert_eq!(line("# EOF"), Ok(Entry::End));
        assert_eq!(line("# whatever"), Ok(Entry::Nothing));
        assert_eq!(line("#"), Ok(Entry::Nothing));
        assert!(matches!(line("# TYPE a_b thing"), Err(LineError::BadType { .. })));
        assert!(matches!(line("# HELP"), Err(LineError::Syntax { .. })));
        assert!(matches!(line("# TYPE a.b counter"), Err(LineError::Syntax { .. })));
        assert_eq!(parse_line(b"# EOF", Dialect::Text), Ok(Entry::Nothing));
    }
}
