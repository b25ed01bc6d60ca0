//! Numbers, times and durations of parameters, as Prometheus reads them.

use tidegauge::Timestamp;

use crate::exposition::parse_value;
use crate::units::{instant_of_seconds, parse_instant};

/// The least and the greatest time that Prometheus writes; no other year has more than four digits.
const TIME_MIN: &str = "-292273086-05-16T16:47:06Z";
const TIME_MAX: &str = "292277025-08-18T07:12:54.999999999Z";

const UNITS: [(&str, i64); 7] = [
    ("y", 365 * 86_400_000),
    ("w", 7 * 86_400_000),
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1000),
    ("ms", 1),
];

/// A number as Go reads it: decimal, hexadecimal, with underscores between digits; `NaN` and `Inf`.
fn number(text: &str) -> Option<f64> {
    let plain = without_underscores(text)?;
    let unsigned = plain.trim_start_matches(['+', '-']);
    let value = parse_value(plain.as_bytes()).ok().filter(|_| !plain.ends_with(')'))?;
    // Of the words only infinity may be signed.
    (!value.is_nan() || unsigned.len() == plain.len()).then_some(value)
}

/// Each must stand between digits, or behind a `0x`.
fn without_underscores(text: &str) -> Option<String> {
    if !text.contains('_') {
        return Some(text.to_owned());
    }
    let bytes = text.as_bytes();
    let hexadecimal = text.trim_start_matches(['+', '-']).to_ascii_lowercase().starts_with("0x");
    let digit = |at: Option<usize>| {
        let byte = at.and_then(|at| bytes.get(at));
        byte.is_some_and(|b| b.is_ascii_digit() || (hexadecimal && (b.is_ascii_hexdigit() || matches!(b, b'x' | b'X'))))
    };
    let fit = |(at, _): (usize, &u8)| digit(at.checked_sub(1)) && digit(Some(at + 1));
    let fit = bytes.iter().enumerate().filter(|(_, b)| **b == b'_').all(fit);
    fit.then(|| text.replace('_', ""))
}

/// Seconds since the epoch or RFC 3339, clamped to what can be held.
///
/// What Go makes of a time that is no number or infinite depends on the processor: that is refused.
pub(super) fn time(text: &str) -> Option<Timestamp> {
    match text {
        TIME_MIN => return Some(Timestamp::MIN),
        TIME_MAX => return Some(Timestamp::MAX),
        _ => {}
    }
    match number(text) {
        Some(seconds) => seconds.is_finite().then(|| instant_of_seconds(seconds)),
        None => parse_instant(text).filter(|_| is_rfc3339(text)),
    }
}

/// `2023-11-14T22:18:20Z`, with a fraction or another zone: `parse_instant` takes more forms.
fn is_rfc3339(text: &str) -> bool {
    let shaped = |text: &str, shape: &str| {
        let fit = |(byte, shape): (u8, u8)| if shape == b'0' { byte.is_ascii_digit() } else { byte == shape };
        text.len() == shape.len() && text.bytes().zip(shape.bytes()).all(fit)
    };
    let Some((date, behind)) = text.split_at_checked("0000-00-00T00:00:00".len()) else { return false };
    let fraction = behind.strip_prefix('.').map(|digits| digits.trim_start_matches(|c: char| c.is_ascii_digit()));
    let zone = fraction.unwrap_or(behind);
    let whole = fraction.is_none_or(|zone| zone.len() + 1 < behind.len());
    shaped(date, "0000-00-00T00:00:00") && whole && (zone == "Z" || shaped(zone, "+00:00") || shaped(zone, "-00:00"))
}

/// Nanoseconds: seconds as a number, which may be below zero, or text such as `1h30m`, which may not.
///
/// # Errors
/// What is wrong with it.
pub(super) fn duration_nanos(text: &str) -> Result<i64, String> {
    let wrong = || format!("cannot parse {text:?} to a valid duration");
    let Some(seconds) = number(text) else { return written(text).ok_or_else(wrong) };
    let nanos = (seconds * 1e9).round();
    // A float at or above 2^63 does not fit.
    if nanos.abs() >= 9_223_372_036_854_775_808.0 {
        return Err(format!("{}. It overflows int64", wrong()));
    }
    // What is no number is less than any, as in Go.
    Ok(if nanos.is_nan() { i64::MIN } else { nanos as i64 })
}

/// Whole numbers with units, each once, the great ones first.
fn written(text: &str) -> Option<i64> {
    let (mut rest, mut units, mut millis) = (text, UNITS.iter(), 0i64);
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let (number, behind) = rest.split_at(digits);
        let name = behind.split(|c: char| c.is_ascii_digit()).next()?;
        let (_, factor) = units.find(|(unit, _)| *unit == name)?;
        millis = millis.checked_add(number.parse::<i64>().ok()?.checked_mul(*factor)?)?;
        rest = &behind[name.len()..];
    }
    millis.checked_mul(1_000_000).filter(|_| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_those_of_go() {
        for (text, expected) in [
            ("15", 15.0),
            ("-0.5e1", -5.0),
            ("+.5", 0.5),
            ("1_000.2_5", 1000.25),
            ("0x10p0", 16.0),
            ("0x_1p-1", 0.5),
            ("inf", f64::INFINITY),
            ("-Infinity", f64::NEG_INFINITY),
            ("1e-400", 0.0),
        ] {
            assert_eq!(number(text), Some(expected), "{text}");
        }
        assert!(number("nan").is_some_and(f64::is_nan));
        for wrong in
            ["", " 1", "1 ", "1__0", "_1", "1_", "1_.0", "0x10", "1e400", "-NaN", "1s", "x", "NaN(0x7ff8000000000001)"]
        {
            assert!(number(wrong).is_none(), "{wrong:?}");
        }
    }

    #[test]
    fn times_are_seconds_or_rfc_3339() {
        let at = |nanos| Some(Timestamp::from_nanos(nanos));
        for (text, expected) in [
            ("1.5", at(1_500_000_000)),
            ("1_0", at(10_000_000_000)),
            ("1970-01-01T00:00:01.25Z", at(1_250_000_000)),
            ("1970-01-01T01:00:01+01:00", at(1_000_000_000)),
            ("1e300", Some(Timestamp::MAX)),
            (TIME_MIN, Some(Timestamp::MIN)),
            (TIME_MAX, Some(Timestamp::MAX)),
        ] {
            assert_eq!(time(text), expected, "{text}");
        }
        for wrong in [
            "",
            "NaN",
            "Inf",
            "-inf",
            "yesterday",
            "1970-01-01",
            "1970-01-01 00:00:01Z",
            "1970-01-01t00:00:01z",
            "1970-01-01T00:00:01",
            "1970-01-01T00:00:01.Z",
            "1970-01-01T00:00:01+01",
            "1970-13-01T00:00:01Z",
            "é",
        ] {
            assert_eq!(time(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn durations_are_seconds_or_units() {
        for (text, nanos) in [
            ("15", 15_000_000_000),
            ("0.1", 100_000_000),
            ("1.001", 1_001_000_000),
            ("-5", -5_000_000_000),
            ("NaN", i64::MIN),
            ("5m", 300_000_000_000),
            ("1h30m", 5_400_000_000_000),
            ("1m5ms", 60_005_000_000),
            ("0s", 0),
        ] {
            assert_eq!(duration_nanos(text), Ok(nanos), "{text}");
        }
        for wrong in ["x", "-5s", "1ns", "1s1m", "1m1m", "1.5m", "s", "300y300d", "9223372036855s", "1s ", "é"] {
            assert!(duration_nanos(wrong).is_err(), "{wrong}");
        }
        for wrong in ["Inf", "-Inf", "1e300"] {
            assert!(duration_nanos(wrong).unwrap_err().ends_with("It overflows int64"), "{wrong}");
        }
    }
}
