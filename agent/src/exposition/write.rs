//! A series written as these formats write it.

use super::series::name_len;

/// Appends `name{label="value",...}`, names quoted where they need it.
/// What is written reads back as the same labels.
pub fn write_series<'a>(out: &mut String, name: &str, labels: impl IntoIterator<Item = (&'a str, &'a str)>) {
    let plain = name_len(name.as_bytes(), true) == name.len();
    let mut separator = '{';
    if plain {
        out.push_str(name);
    } else {
        out.push('{');
        quote(out, name);
        separator = ',';
    }
    for (label, value) in labels {
        out.push(separator);
        if name_len(label.as_bytes(), false) == label.len() {
            out.push_str(label);
        } else {
            quote(out, label);
        }
        out.push('=');
        quote(out, value);
        separator = ',';
    }
    if separator == ',' {
        out.push('}');
    }
}

fn quote(out: &mut String, text: &str) {
    out.push('"');
    if text.bytes().any(|b| matches!(b, b'"' | b'\\' | b'\n')) {
        for c in text.chars() {
            match c {
                '"' => out.push_str("\\\""),
                '\\' => out.push_str("\\\\"),
                '\n' => out.push_str("\\n"),
                c => out.push(c),
            }
        }
    } else {
        out.push_str(text);
    }
    out.push('"');
}
