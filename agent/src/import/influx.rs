//! Influx line protocol: `measurement,label=value field=1.5,other=2i 1700000000000000000`.
//!
//! Each field is a series of its own, called `<measurement>_<field>`. Integers and booleans
//! become numbers; strings are skipped and counted. Timestamps are nanoseconds unless an
//! option gives another unit. A label called `__name__` names the series itself, whatever
//! measurement and field are called, and `NaN` and `Inf` are values: that is how an export
//! keeps what the protocol has no room for.

use std::borrow::Cow;
use std::path::Path;

use tidegauge::{METRIC_NAME, SeriesError, SeriesId, Timestamp};

use super::bad::NoTimestamp;
use super::lines::{Line, Lines};
use super::series::ByText;
use super::sink::Sink;
use super::{ImportError, ImportOptions, TimeUnit};
use crate::exposition::{LINE_BYTES_MAX, NumberError, parse_value};

/// Why a line was refused.
#[derive(Debug, PartialEq, thiserror::Error)]
enum LineProtocolError {
    #[error("the line has more than {LINE_BYTES_MAX} bytes")]
    TooLong,
    #[error("not UTF-8")]
    NotUtf8,
    #[error("no measurement")]
    NoMeasurement,
    #[error("no fields behind the measurement")]
    NoFields,
    #[error("a label without `=`, name or value")]
    BadLabel,
    #[error("a field without `=`, name or value")]
    BadField,
    #[error("a string that does not end on its line")]
    OpenString,
    #[error("{0:?} is neither a number, a boolean nor a string")]
    BadValue(String),
    #[error("{0:?} is out of range")]
    OutOfRange(String),
    #[error("{0:?} is no timestamp")]
    BadTimestamp(String),
    #[error("{0}")]
    Series(#[from] SeriesError),
}

use LineProtocolError as Bad;

/// The parts of a line, still escaped.
#[derive(Debug, PartialEq)]
struct Parts<'a> {
    /// Measurement and labels.
    head: &'a [u8],
    /// Names and values of the fields that are numbers.
    fields: Vec<(&'a [u8], f64)>,
    strings: u64,
    stamp: &'a [u8],
}

pub(super) fn import(path: &Path, options: &ImportOptions, sink: &mut Sink<'_>) -> Result<(), ImportError> {
    let read = |source| ImportError::Read { path: path.to_owned(), source };
    let unit = if options.time_unit == TimeUnit::Auto { TimeUnit::Nanos } else { options.time_unit };
    let mut lines = Lines::of(sink.open(path).map_err(read)?);
    let mut ids = ByText::new();
    let mut key = Vec::new();
    let mut resolved: Vec<SeriesId> = Vec::new();
    loop {
        let number = lines.number() + 1;
        let parsed = match lines.next().map_err(read)? {
            None => break,
            Some(Line::TooLong) => Err(Bad::TooLong),
            Some(Line::Whole(line) | Line::Unended(line)) => match line.trim_ascii_start() {
                [] | [b'#', ..] => continue,
                line => parse(line),
            },
        };
        let taken = parsed.and_then(|parts| {
            let at = match parts.stamp {
                [] => options.at,
                stamp => Some(unit.parse(stamp).ok_or_else(|| Bad::BadTimestamp(excerpt(stamp)))?),
            };
            resolved.clear();
            for (field, _) in &parts.fields {
                key.clear();
                key.extend_from_slice(parts.head);
                // No head has a blank that is not escaped.
                key.push(b' ');
                key.extend_from_slice(field);
                resolved.push(ids.get_or(&key, || resolve(sink, parts.head, field))?);
            }
            Ok((at, parts))
        });
        match taken {
            Ok((None, _)) => sink.bad(number, NoTimestamp),
            Ok((Some(at), parts)) => store(sink, at, &parts, &resolved, number)?,
            Err(why) => sink.bad(number, why),
        }
        sink.read(lines.bytes());
    }
    sink.end_file()
}

fn store(
    sink: &mut Sink<'_>,
    at: Timestamp,
    parts: &Parts<'_>,
    ids: &[SeriesId],
    line: u64,
) -> Result<(), ImportError> {
    for (&id, &(_, value)) in ids.iter().zip(&parts.fields) {
        sink.push(id, at, value, line)?;
    }
    (0..parts.strings).for_each(|_| sink.skip());
    Ok(())
}

fn resolve(sink: &mut Sink<'_>, head: &[u8], field: &[u8]) -> Result<SeriesId, Bad> {
    let mut pieces = split(head, b',');
    let measurement = text(pieces.next().unwrap_or_default())?;
    let mut labels = vec![(Cow::Borrowed(METRIC_NAME), Cow::Owned(format!("{measurement}_{}", text(field)?)))];
    for piece in pieces {
        let equals = find(piece, b'=').ok_or(Bad::BadLabel)?;
        let (name, value) = (&piece[..equals], &piece[equals + 1..]);
        if name.is_empty() || value.is_empty() {
            return Err(Bad::BadLabel);
        }
        match text(name)? {
            name if name == METRIC_NAME => labels[0].1 = text(value)?,
            name => labels.push((name, text(value)?)),
        }
    }
    let pairs: Vec<(&str, &str)> = labels.iter().map(|(name, value)| (&**name, &**value)).collect();
    Ok(sink.resolve(&pairs)?)
}

fn parse(line: &[u8]) -> Result<Parts<'_>, Bad> {
    let blank = find(line, b' ').ok_or(Bad::NoFields)?;
    let (head, mut rest) = (&line[..blank], line[blank..].trim_ascii_start());
    if head.first().is_none_or(|&first| first == b',') {
        return Err(Bad::NoMeasurement);
    }
    if rest.is_empty() {
        return Err(Bad::NoFields);
    }
    let mut parts = Parts { head, fields: Vec::new(), strings: 0, stamp: &[] };
    loop {
        let equals = find(rest, b'=').filter(|&at| at > 0).ok_or(Bad::BadField)?;
        let name = &rest[..equals];
        rest = &rest[equals + 1..];
        if let [b'"', inside @ ..] = rest {
            let end = string_end(inside).ok_or(Bad::OpenString)?;
            parts.strings += 1;
            rest = &inside[end + 1..];
        } else {
            let end = rest.iter().position(|&b| b == b',' || b == b' ').unwrap_or(rest.len());
            parts.fields.push((name, number(&rest[..end])?));
            rest = &rest[end..];
        }
        match rest {
            [b',', more @ ..] => rest = more,
            [] | [b' ', ..] => break,
            _ => return Err(Bad::BadField),
        }
    }
    parts.stamp = rest.trim_ascii();
    Ok(parts)
}

/// A float, an integer with `i` or `u` behind it, or a boolean.
fn number(raw: &[u8]) -> Result<f64, Bad> {
    let bad = || Bad::BadValue(excerpt(raw));
    match raw {
        b"t" | b"T" | b"true" | b"True" | b"TRUE" => Ok(1.0),
        b"f" | b"F" | b"false" | b"False" | b"FALSE" => Ok(0.0),
        [digits @ .., b'i'] => text(digits)?.parse::<i64>().map(|n| n as f64).map_err(|_| bad()),
        [digits @ .., b'u'] => text(digits)?.parse::<u64>().map(|n| n as f64).map_err(|_| bad()),
        raw => parse_value(raw).map_err(|why| match why {
            NumberError::OutOfRange => Bad::OutOfRange(excerpt(raw)),
            _ => bad(),
        }),
    }
}

/// The first `byte` that no backslash stands before.
fn find(bytes: &[u8], byte: u8) -> Option<usize> {
    let mut at = 0;
    while at < bytes.len() {
        match bytes[at] {
            b'\\' => at += 1,
            found if found == byte => return Some(at),
            _ => {}
        }
        at += 1;
    }
    None
}

fn string_end(inside: &[u8]) -> Option<usize> {
    find(inside, b'"')
}

fn split(mut bytes: &[u8], byte: u8) -> impl Iterator<Item = &[u8]> {
    let mut done = false;
    std::iter::from_fn(move || {
        if done {
            return None;
        }
        let end = find(bytes, byte);
        done = end.is_none();
        let piece = &bytes[..end.unwrap_or(bytes.len())];
        bytes = end.map_or(&[], |end| &bytes[end + 1..]);
        Some(piece)
    })
}

/// Takes the backslash from `\,`, `\=` and `\ `; any other stands for itself.
fn text(raw: &[u8]) -> Result<Cow<'_, str>, Bad> {
    let raw = std::str::from_utf8(raw).map_err(|_| Bad::NotUtf8)?;
    if !raw.contains('\\') {
        return Ok(Cow::Borrowed(raw));
    }
    let mut out = String::with_capacity(raw.len());
    let mut chars = raw.chars().peekable();
    while let Some(c) = chars.next() {
        if c != '\\' || !matches!(chars.peek(), Some(',' | '=' | ' ')) {
            out.push(c);
        }
    }
    Ok(Cow::Owned(out))
}

fn excerpt(bytes: &[u8]) -> String {
    String::from_utf8_lossy(&bytes[..bytes.len().min(160)]).chars().take(40).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn fields_of_all_kinds_are_read() {
        let line = br#"cpu\ x,host=a\,b,dc=eu f=1.5,i=-42i,u=7u,t=true,s="a, b \" =c",n=F 1700000000000000000"#;
        let parts = parse(line).unwrap();
        assert_eq!(parts.head, br"cpu\ x,host=a\,b,dc=eu");
        let fields: Vec<_> = parts.fields.iter().map(|(n, v)| (std::str::from_utf8(n).unwrap(), *v)).collect();
        assert_eq!(fields, [("f", 1.5), ("i", -42.0), ("u", 7.0), ("t", 1.0), ("n", 0.0)]);
        assert_eq!(parts.strings, 1);
        assert_eq!(parts.stamp, b"1700000000000000000");
        assert_eq!(text(br"a\,b\=c\ d\\e\n").unwrap(), r"a,b=c d\\e\n");
        assert_eq!(split(br"a\,b,c,", b',').collect::<Vec<_>>(), [&br"a\,b"[..], b"c", b""]);
    }

    #[test]
    fn each_broken_line_says_what_is_wrong() {
        let why = |line: &str| parse(line.as_bytes()).unwrap_err();
        assert_eq!(why("cpu"), Bad::NoFields);
        assert_eq!(why("cpu "), Bad::NoFields);
        assert_eq!(why(",a=b f=1"), Bad::NoMeasurement);
        assert_eq!(why("cpu f"), Bad::BadField);
        assert_eq!(why("cpu =1"), Bad::BadField);
        assert_eq!(why("cpu f=\"a"), Bad::OpenString);
        assert_eq!(why("cpu f=\"a\"b"), Bad::BadField);
        assert_eq!(why("cpu f="), Bad::BadValue(String::new()));
        assert_eq!(why("cpu f=1.5i"), Bad::BadValue("1.5i".into()));
        assert_eq!(why("cpu f=NaNs"), Bad::BadValue("NaNs".into()));
        assert_eq!(why("cpu f=1,g=-1e400"), Bad::OutOfRange("-1e400".into()));
    }

    proptest! {
        #[test]
        fn no_line_makes_it_panic(line in "[a-c,=\\\\ \"0-9.it-]{0,60}") {
            if let Ok(parts) = parse(line.as_bytes()) {
                let _ = split(parts.head, b',').map(text).count();
            }
        }
    }
}
