//! The part of a line that names a series: `name{label="value",...}`.

use std::borrow::Cow;

use tidegauge::METRIC_NAME;

use super::LineError;

/// Labels that one series may have in these texts, the metric's name included.
pub const LABELS_MAX: usize = 256;

/// The bytes that name a series, as they stood on the line.
///
/// Equal bytes name the same series, so they serve as the key of a cache. Different bytes
/// may name the same series too (order of labels, white space, escapes).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SeriesText<'a>(&'a [u8]);

/// A label's name and value.
pub type Pair<'a> = (Cow<'a, str>, Cow<'a, str>);

impl<'a> SeriesText<'a> {
    /// Splits the series off the front of a line that has no white space before it.
    /// Finds where it ends, no more: O(bytes), without allocation.
    ///
    /// # Errors
    /// [`LineError::Syntax`] if the line starts with no name, or a brace or quote stays open.
    pub fn split(line: &'a [u8]) -> Result<(Self, &'a [u8]), LineError> {
        let name = name_len(line, true);
        let space = line[name..].iter().take_while(|&&b| is_space(b)).count();
        let end = match line.get(name + space) {
            Some(b'{') => braces_end(line, name + space + 1)?,
            _ if name == 0 => return Err(LineError::syntax(0, "expected a metric's name or `{`")),
            _ => name,
        };
        Ok((Self(&line[..end]), &line[end..]))
    }

    /// The bytes, as they stood.
    #[must_use]
    pub fn bytes(&self) -> &'a [u8] {
        self.0
    }

    /// Takes the labels apart, the metric's name first under `__name__`.
    /// Allocates for the list, and for each value with an escape in it.
    ///
    /// # Errors
    /// [`LineError`] says what is wrong between the braces. Duplicates pass: whoever builds
    /// the label set refuses them.
    pub fn labels(&self) -> Result<Vec<Pair<'a>>, LineError> {
        let mut labels = Vec::with_capacity(8);
        let name = name_len(self.0, true);
        let mut has_name = name > 0;
        if has_name {
            labels.push((Cow::Borrowed(METRIC_NAME), Cow::Borrowed(utf8(&self.0[..name])?)));
        }
        let mut cursor = Cursor { bytes: self.0, at: name };
        cursor.skip_space();
        if cursor.take(b'{') {
            loop {
                cursor.skip_space();
                if cursor.take(b'}') {
                    break;
                }
                let start = cursor.at;
                let quoted = cursor.peek() == Some(b'"');
                let name = if quoted { cursor.quoted()? } else { cursor.label_name()? };
                cursor.skip_space();
                if cursor.take(b'=') {
                    cursor.skip_space();
                    labels.push((name, cursor.quoted()?));
                } else if quoted && !has_name {
                    labels.push((Cow::Borrowed(METRIC_NAME), name));
                    has_name = true;
                } else {
                    let what = if quoted { "a second metric's name" } else { "expected `=` after the label's name" };
                    return Err(LineError::syntax(if quoted { start } else { cursor.at }, what));
                }
                if labels.len() > LABELS_MAX {
                    return Err(LineError::TooManyLabels);
                }
                cursor.skip_space();
                if !cursor.take(b',') && cursor.peek() != Some(b'}') {
                    return Err(LineError::syntax(cursor.at, "expected `,` or `}`"));
                }
            }
        }
        if !labels.iter().any(|(name, _)| name == METRIC_NAME) {
            return Err(LineError::syntax(0, "the series has no metric's name"));
        }
        Ok(labels)
    }
}

/// A name at the front of a HELP, TYPE or UNIT line, plain or quoted, and what follows it.
pub(super) fn split_name(text: &[u8]) -> Result<(Cow<'_, str>, &[u8]), LineError> {
    let mut cursor = Cursor { bytes: text, at: 0 };
    let name = if cursor.peek() == Some(b'"') {
        cursor.quoted()?
    } else {
        cursor.at = name_len(text, true);
        Cow::Borrowed(utf8(&text[..cursor.at])?)
    };
    match cursor.peek() {
        _ if name.is_empty() => Err(LineError::syntax(0, "expected a metric's name")),
        None | Some(b' ' | b'\t') => Ok((name, &text[cursor.at..])),
        Some(_) => Err(LineError::syntax(cursor.at, "a metric's name has no such character unless quoted")),
    }
}

/// Replaces `\\`, `\n` and `\"`; any other backslash stands for itself.
pub(super) fn unescape(raw: &str) -> Cow<'_, str> {
    if !raw.contains('\\') {
        return Cow::Borrowed(raw);
    }
    let mut out = String::with_capacity(raw.len());
    let mut chars = raw.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        match chars.next() {
            Some('n') => out.push('\n'),
            Some(c @ ('\\' | '"')) => out.push(c),
            Some(c) => out.extend(['\\', c]),
            None => out.push('\\'),
        }
    }
    Cow::Owned(out)
}

pub(super) fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

pub(super) fn utf8(bytes: &[u8]) -> Result<&str, LineError> {
    std::str::from_utf8(bytes).map_err(|_| LineError::NotUtf8)
}

/// Bytes of the plain name at the front; only a metric's may have a colon.
pub(super) fn name_len(bytes: &[u8], colon: bool) -> usize {
    let ok = |b: u8| b.is_ascii_alphabetic() || b == b'_' || (colon && b == b':');
    match bytes.first() {
        Some(&first) if ok(first) => bytes.iter().take_while(|&&b| ok(b) || b.is_ascii_digit()).count(),
        _ => 0,
    }
}

/// Just behind the brace that closes the set whose content starts at `at`.
fn braces_end(line: &[u8], mut at: usize) -> Result<usize, LineError> {
    let open = at;
    let mut quoted = false;
    while let Some(&byte) = line.get(at) {
        match byte {
            b'\\' if quoted => at += 1,
            b'"' => quoted = !quoted,
            b'}' if !quoted => return Ok(at + 1),
            _ => {}
        }
        at += 1;
    }
    Err(LineError::syntax(
        open - 1,
        if quoted { "a quote in this label set stays open" } else { "this `{` stays open" },
    ))
}

struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn take(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    fn skip_space(&mut self) {
        while self.peek().is_some_and(is_space) {
            self.at += 1;
        }
    }

    fn label_name(&mut self) -> Result<Cow<'a, str>, LineError> {
        let rest = &self.bytes[self.at..];
        let len = name_len(rest, false);
        if len == 0 {
            return Err(LineError::syntax(self.at, "expected a label's name"));
        }
        self.at += len;
        Ok(Cow::Borrowed(utf8(&rest[..len])?))
    }

    fn quoted(&mut self) -> Result<Cow<'a, str>, LineError> {
        if !self.take(b'"') {
            return Err(LineError::syntax(self.at, "expected a quoted text"));
        }
        let start = self.at;
        while let Some(byte) = self.peek() {
            match byte {
                b'"' => {
                    let raw = utf8(&self.bytes[start..self.at])?;
                    self.at += 1;
                    return Ok(unescape(raw));
                }
                b'\\' => self.at += 2,
                _ => self.at += 1,
            }
        }
        Err(LineError::syntax(start - 1, "this quote stays open"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(text: &str) -> Result<Vec<(String, String)>, LineError> {
        let (series, rest) = SeriesText::split(text.as_bytes())?;
        assert_eq!(rest, b"", "{text}");
        Ok(series.labels()?.into_iter().map(|(n, v)| (n.into_owned(), v.into_owned())).collect())
    }

    fn pairs(of: &[(&str, &str)]) -> Vec<(String, String)> {
        of.iter().map(|&(n, v)| (n.to_owned(), v.to_owned())).collect()
    }

    #[test]
    fn names_labels_escapes_and_quoted_names_are_taken_apart() {
        let name = ("__name__", "a:b_1");
        assert_eq!(labels("a:b_1"), Ok(pairs(&[name])));
        assert_eq!(labels("a:b_1{}"), Ok(pairs(&[name])));
        assert_eq!(labels("a:b_1 { x = \"1\" , y=\"\",}"), Ok(pairs(&[name, ("x", "1"), ("y", "")])));
        assert_eq!(labels(r#"m{p="C:\\x\"}\n\d"}"#), Ok(pairs(&[("__name__", "m"), ("p", "C:\\x\"}\n\\d")])));
        assert_eq!(labels(r#"{"a.b",x="y","l é"="z"}"#), Ok(pairs(&[("__name__", "a.b"), ("x", "y"), ("l é", "z")])));
        assert_eq!(labels(r#"{x="y","a\"b"}"#), Ok(pairs(&[("x", "y"), ("__name__", "a\"b")])));
    }

    #[test]
    fn each_broken_series_says_where_and_what() {
        let broken = [
            "",
            "{",
            "{}",
            "9a",
            "é",
            "a{",
            "a{b",
            "a{b}",
            "a{b=}",
            "a{b=\"",
            "a{b=\"\\\"}",
            "a{b=\"1\" c=\"2\"}",
            "a{,}",
            "a{=\"x\"}",
            "a{b:c=\"1\"}",
            "a{\"b\"}",
            "{\"a\",\"b\"}",
            "{x=\"y\"}",
            "a{b=\"1\",,}",
        ];
        for text in broken {
            let error = labels(text).expect_err(text);
            assert!(matches!(error, LineError::Syntax { .. }), "{text}: {error}");
        }
        assert_eq!(labels("a{b=\"1\" c=\"2\"}"), Err(LineError::Syntax { column: 9, what: "expected `,` or `}`" }));
        assert_eq!(SeriesText::split(b"a{b=\"\xff\"}").unwrap().0.labels(), Err(LineError::NotUtf8));
        let many: String = (0..300).map(|i| format!("l{i}=\"\",")).collect();
        assert_eq!(labels(&format!("a{{{many}}}")), Err(LineError::TooManyLabels));
    }
}
