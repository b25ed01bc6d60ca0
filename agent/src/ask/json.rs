//! JSON as Prometheus writes it: numbers as strings, times as seconds.
//!
//! Written by hand into one buffer, since an answer may hold millions of numbers.

use std::io::Write;

use tidegauge::Timestamp;
use tidegauge::query::promql::Value;

use super::number::{SAMPLE_BYTES, put_sample, put_seconds};

/// Appends `text` as a JSON string.
pub(crate) fn put_string(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    put_escaped(out, text);
    out.push(b'"');
}

/// Appends what stands between the quotes of a JSON string, or a part of it.
pub(crate) fn put_escaped(out: &mut Vec<u8>, text: &str) {
    let mut plain = 0;
    for (i, byte) in text.bytes().enumerate() {
        let escape: &[u8] = match byte {
            b'"' => b"\\\"",
            b'\\' => b"\\\\",
            b'\n' => b"\\n",
            b'\r' => b"\\r",
            b'\t' => b"\\t",
            0..0x20 | 0x7f => b"",
            _ => continue,
        };
        out.extend_from_slice(&text.as_bytes()[plain..i]);
        if escape.is_empty() {
            let _ = write!(out, "\\u{byte:04x}");
        } else {
            out.extend_from_slice(escape);
        }
        plain = i + 1;
    }
    out.extend_from_slice(&text.as_bytes()[plain..]);
}

/// Appends an array of strings.
pub(crate) fn put_strings<S: AsRef<str>>(out: &mut Vec<u8>, texts: impl IntoIterator<Item = S>) {
    out.push(b'[');
    let mut first = true;
    for text in texts {
        if !std::mem::take(&mut first) {
            out.push(b',');
        }
        put_string(out, text.as_ref());
    }
    out.push(b']');
}

/// Appends `{"name":"value",..}`.
pub(crate) fn put_labels<'a>(out: &mut Vec<u8>, labels: impl IntoIterator<Item = (&'a str, &'a str)>) {
    out.push(b'{');
    let mut first = true;
    for (name, value) in labels {
        if !std::mem::take(&mut first) {
            out.push(b',');
        }
        put_string(out, name);
        out.push(b':');
        put_string(out, value);
    }
    out.push(b'}');
}

/// Where JSON is written to: a buffer that may be emptied while more is to come.
pub(crate) trait Outlet {
    /// What was written and not yet passed on.
    fn buffer(&mut self) -> &mut Vec<u8>;

    /// Passes the buffer on if it is long. Called every few thousand numbers.
    fn spill(&mut self) -> Result<(), Gone>;
}

/// Nobody takes the answer any more: there is no use in writing the rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("nobody takes the answer any more")]
pub(crate) struct Gone;

/// Memory keeps everything.
impl Outlet for Vec<u8> {
    fn buffer(&mut self) -> &mut Self {
        self
    }

    fn spill(&mut self) -> Result<(), Gone> {
        Ok(())
    }
}

/// Samples between two looks at how long the buffer is.
const SAMPLES_BETWEEN_SPILLS: usize = 2048;

/// Appends `"resultType":..,"result":..`, the inside of an answer's data. A scalar and a
/// text carry the time they were asked for.
///
/// # Errors
/// [`Gone`] from the outlet.
pub(crate) fn put_value(to: &mut impl Outlet, value: &Value, at: Timestamp) -> Result<(), Gone> {
    let out = to.buffer();
    match value {
        Value::Scalar(number) => {
            out.extend_from_slice(b"\"resultType\":\"scalar\",\"result\":");
            put_sample(out, at, *number);
        }
        Value::String(text) => {
            out.extend_from_slice(b"\"resultType\":\"string\",\"result\":[");
            put_seconds(out, at);
            out.push(b',');
            put_string(out, text);
            out.push(b']');
        }
        Value::Vector(samples) => {
            out.extend_from_slice(b"\"resultType\":\"vector\",\"result\":");
            put_list(to, samples, |to, sample| {
                let out = to.buffer();
                out.extend_from_slice(b"{\"metric\":");
                put_labels(out, sample.labels.iter());
                out.extend_from_slice(b",\"value\":");
                put_sample(out, sample.timestamp, sample.value);
                out.push(b'}');
                to.spill()
            })?;
        }
        Value::Matrix(series) => {
            out.extend_from_slice(b"\"resultType\":\"matrix\",\"result\":");
            put_list(to, series, |to, series| {
                let out = to.buffer();
                out.extend_from_slice(b"{\"metric\":");
                put_labels(out, series.labels.iter());
                out.extend_from_slice(b",\"values\":");
                // Before the first piece is sent there is no buffer of its length yet.
                out.reserve(SAMPLE_BYTES * series.values.len().min(SAMPLES_BETWEEN_SPILLS));
                let samples = series.timestamps.iter().zip(&series.values).enumerate();
                put_list(to, samples, |to, (i, (&at, &value))| {
                    put_sample(to.buffer(), Timestamp::from_nanos(at), value);
                    if i % SAMPLES_BETWEEN_SPILLS == SAMPLES_BETWEEN_SPILLS - 1 { to.spill() } else { Ok(()) }
                })?;
                to.buffer().push(b'}');
                to.spill()
            })?;
        }
        // Other types of answer come with other types of value.
        _ => out.extend_from_slice(b"\"resultType\":\"unknown\",\"result\":[]"),
    }
    Ok(())
}

fn put_list<O: Outlet, T>(
    to: &mut O,
    items: impl IntoIterator<Item = T>,
    put: impl Fn(&mut O, T) -> Result<(), Gone>,
) -> Result<(), Gone> {
    to.buffer().push(b'[');
    let mut first = true;
    for item in items {
        if !std::mem::take(&mut first) {
            to.buffer().push(b',');
        }
        put(to, item)?;
    }
    to.buffer().push(b']');
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn scalars_and_texts_carry_the_time() {
        let text = |value| {
            let mut out = Vec::new();
            put_value(&mut out, &value, Timestamp::from_nanos(1_500_000_000)).unwrap();
            String::from_utf8(out).unwrap()
        };
        assert_eq!(text(Value::Scalar(2.0)), r#""resultType":"scalar","result":[1.500,"2"]"#);
        assert_eq!(text(Value::String("a\"b".to_owned())), r#""resultType":"string","result":[1.500,"a\"b"]"#);
        assert_eq!(text(Value::Vector(Vec::new())), r#""resultType":"vector","result":[]"#);
    }

    proptest! {
        #[test]
        fn strings_read_back_as_they_were(text in any::<String>()) {
            let mut out = Vec::new();
            put_string(&mut out, &text);
            prop_assert_eq!(serde_json::from_slice::<String>(&out).unwrap(), text);
        }
    }
}
