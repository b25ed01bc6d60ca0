//! Numbers, durations and quoted strings: from text and back.

/// Nanoseconds in each unit of a duration, in the order in which they must appear.
const UNITS: [(&str, i64); 7] = [
    ("y", 365 * 86_400_000_000_000),
    ("w", 7 * 86_400_000_000_000),
    ("d", 86_400_000_000_000),
    ("h", 3_600_000_000_000),
    ("m", 60_000_000_000),
    ("s", 1_000_000_000),
    ("ms", 1_000_000),
];

/// Reads a duration such as `1h30m`: nanoseconds.
pub(in crate::promql) fn parse_duration(text: &str) -> Result<i64, String> {
    let bad = || format!("not a valid duration string: {text:?}");
    let (mut rest, mut total, mut unit_from) = (text, 0i64, 0);
    if text.is_empty() {
        return Err("empty duration string".to_owned());
    }
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let letters = rest[digits..].bytes().take_while(|b| !b.is_ascii_digit()).count();
        if digits == 0 || letters == 0 {
            return Err(bad());
        }
        let name = &rest[digits..digits + letters];
        let at = UNITS
            .iter()
            .position(|&(unit, _)| unit == name)
            .ok_or_else(|| format!("unknown unit {name:?} in duration {text:?}"))?;
        if at < unit_from {
            return Err(bad());
        }
        let count: i64 = rest[..digits].parse().map_err(|_| "duration out of range".to_owned())?;
        total = count
            .checked_mul(UNITS[at].1)
            .and_then(|nanos| total.checked_add(nanos))
            .ok_or_else(|| "duration out of range".to_owned())?;
        (rest, unit_from) = (&rest[digits + letters..], at + 1);
    }
    Ok(total)
}

/// Writes a duration as [`parse_duration`] reads it; what is below a millisecond is dropped.
pub(in crate::promql) fn format_duration(nanos: i64) -> String {
    let mut rest = nanos.unsigned_abs() / 1_000_000 * 1_000_000;
    if rest == 0 {
        return "0s".to_owned();
    }
    let mut out = if nanos < 0 { "-".to_owned() } else { String::new() };
    for (unit, size) in UNITS {
        let size = size.unsigned_abs();
        // Years and weeks only where they come out even: 90d is not 12w6d.
        let coarse = matches!(unit, "y" | "w");
        if rest >= size && (!coarse || rest.is_multiple_of(size)) {
            out.push_str(&format!("{}{unit}", rest / size));
            rest %= size;
        }
    }
    out
}

/// Reads a number: decimal with an exponent, hexadecimal, octal with a leading zero, `Inf`, `NaN`.
pub(in crate::promql) fn parse_number(text: &str) -> Result<f64, String> {
    if let Some(n) = parse_integer(text) {
        return Ok(n as f64);
    }
    let fault = |why: &str| format!("error parsing number: strconv.ParseFloat: parsing {text:?}: {why}");
    let bad = || fault("invalid syntax");
    match text.to_ascii_lowercase().as_str() {
        "inf" => return Ok(f64::INFINITY),
        "nan" => return Ok(f64::NAN),
        lower if lower.starts_with("0x") => return Err(bad()),
        _ => {}
    }
    let value: f64 = text.replace('_', "").parse().map_err(|_| bad())?;
    if value.is_infinite() { Err(fault("value out of range")) } else { Ok(value) }
}

/// Integers in the bases that a leading `0x` or `0` chooses.
fn parse_integer(text: &str) -> Option<i64> {
    let plain = text.replace('_', "");
    let lower = plain.to_ascii_lowercase();
    match lower.strip_prefix("0x") {
        Some(hex) => i64::from_str_radix(hex, 16).ok(),
        None if lower.len() > 1 && lower.starts_with('0') => i64::from_str_radix(&lower[1..], 8).ok(),
        None => plain.parse().ok(),
    }
}

/// Writes a number as a query has it: never with an exponent.
pub(in crate::promql) fn format_number(value: f64) -> String {
    if value.is_infinite() {
        return if value > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    format!("{value}")
}

/// Takes the quotes off a string token and resolves its escapes. Must be UTF-8 then.
pub(super) fn unquote(quoted: &str) -> Result<String, String> {
    let bytes = unquote_bytes(quoted)?;
    String::from_utf8(bytes).map_err(|_| format!("error unquoting string {quoted:?}: not UTF-8"))
}

/// As [`unquote`], but any bytes will do.
pub(super) fn unquote_bytes(quoted: &str) -> Result<Vec<u8>, String> {
    let bad = |why: &str| format!("error unquoting string {quoted:?}: {why}");
    let quote = quoted.as_bytes().first().copied().ok_or_else(|| bad("invalid syntax"))?;
    let body = quoted.get(1..quoted.len().saturating_sub(1)).ok_or_else(|| bad("invalid syntax"))?;
    if quote == b'`' || !body.contains('\\') {
        return Ok(body.as_bytes().to_vec());
    }
    let mut out = Vec::with_capacity(body.len());
    let mut chars = body.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
            continue;
        }
        let escape = chars.next().ok_or_else(|| bad("invalid syntax"))?;
        let mut digits = |first: Option<char>, count: usize, radix: u32| {
            let mut code = first.map_or(Some(0), |c| c.to_digit(radix))?;
            for _ in 0..count {
                code = code.checked_mul(radix)?.checked_add(chars.next()?.to_digit(radix)?)?;
            }
            Some(code)
        };
        match escape {
            'a' => out.push(7),
            'b' => out.push(8),
            'f' => out.push(12),
            'n' => out.push(b'\n'),
            'r' => out.push(b'\r'),
            't' => out.push(b'\t'),
            'v' => out.push(11),
            '\\' => out.push(b'\\'),
            '\'' | '"' if escape as u32 == u32::from(quote) => out.push(quote),
            'x' => out.push(digits(None, 2, 16).ok_or_else(|| bad("invalid syntax"))? as u8),
            '0'..='7' => {
                let code = digits(Some(escape), 2, 8).ok_or_else(|| bad("invalid syntax"))?;
                out.push(u8::try_from(code).map_err(|_| bad("invalid syntax"))?);
            }
            'u' | 'U' => {
                let count = if escape == 'u' { 4 } else { 8 };
                let code = digits(None, count, 16).and_then(char::from_u32).ok_or_else(|| bad("invalid syntax"))?;
                out.extend_from_slice(code.encode_utf8(&mut [0; 4]).as_bytes());
            }
            _ => return Err(bad("unknown escape sequence")),
        }
    }
    Ok(out)
}

/// As [`quote`], for bytes that need not be UTF-8.
pub(in crate::promql) fn quote_bytes(bytes: &[u8]) -> String {
    let mut out = String::from("\"");
    for chunk in bytes.utf8_chunks() {
        let valid = quote(chunk.valid());
        out.push_str(&valid[1..valid.len() - 1]);
        chunk.invalid().iter().for_each(|b| out.push_str(&format!("\\x{b:02x}")));
    }
    out.push('"');
    out
}

/// Puts a string in double quotes, so that the lexer reads the same string again.
pub(in crate::promql) fn quote(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{7}' => out.push_str("\\a"),
            '\u{8}' => out.push_str("\\b"),
            '\u{b}' => out.push_str("\\v"),
            '\u{c}' => out.push_str("\\f"),
            c if (c as u32) < 0x20 || c as u32 == 0x7f => out.push_str(&format!("\\x{:02x}", c as u32)),
            c if c.is_control() => out.push_str(&format!("\\u{:04x}", c as u32)),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_in_order_and_written_back() {
        assert_eq!(parse_duration("1h30m"), Ok(5_400_000_000_000));
        assert_eq!(parse_duration("5ms"), Ok(5_000_000));
        for bad in ["", "5", "30m1h", "1m1m", "5x", "h", "5hs"] {
            assert!(parse_duration(bad).is_err(), "{bad}");
        }
        assert!(parse_duration("300y").is_err());
        for text in ["1y", "2w", "1d12h", "1d", "1h30m", "59s999ms", "8d", "90d", "8d1h"] {
            assert_eq!(format_duration(parse_duration(text).unwrap()), text);
        }
    }

    #[test]
    fn numbers_are_read_in_every_base() {
        for (text, value) in
            [("010", 8.0), ("08", 8.0), ("0x1F", 31.0), ("1_000", 1000.0), ("1e3", 1000.0), (".5", 0.5)]
        {
            assert_eq!(parse_number(text), Ok(value), "{text}");
        }
        assert_eq!(parse_number("iNf"), Ok(f64::INFINITY));
        assert!(parse_number("NaN").unwrap().is_nan());
        for bad in ["1e999", "0x", "0xffffffffffffffffff", "1e"] {
            assert!(parse_number(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn strings_come_back_through_quotes() {
        assert_eq!(unquote(r#""a\x41\101A\n\"'""#).as_deref(), Ok("aAAA\n\"'"));
        assert_eq!(unquote(r#"'\''"#).as_deref(), Ok("'"));
        assert_eq!(unquote(r"`\n`").as_deref(), Ok(r"\n"));
        assert!(unquote(r#""\xff""#).is_err());
        for text in ["", "a\"b\\c\n\t\u{1}\u{85}é"] {
            assert_eq!(unquote(&quote(text)).as_deref(), Ok(text));
        }
    }
}
