//! Numbers as Prometheus writes them.

use std::io::Write;

use tidegauge::Timestamp;

/// Appends the shortest decimal that reads back as `value`, as Prometheus' API shows it.
pub(crate) fn put_float(out: &mut Vec<u8>, value: f64) {
    if value.is_nan() {
        out.extend_from_slice(b"NaN");
    } else if value.is_infinite() {
        out.extend_from_slice(if value > 0.0 { b"+Inf" } else { b"-Inf" });
    } else {
        // The shortest digits, found fast; but laid out otherwise where an exponent is near.
        let mut buffer = zmij::Buffer::new();
        let text = buffer.format_finite(value);
        match text.strip_suffix(".0").unwrap_or(text) {
            plain if !plain.contains('e') => out.extend_from_slice(plain.as_bytes()),
            _ => put_float_slowly(out, value),
        }
    }
}

/// The same for any finite value, by the standard library.
fn put_float_slowly(out: &mut Vec<u8>, value: f64) {
    if value != 0.0 && (value.abs() < 1e-6 || value.abs() >= 1e21) {
        // Rust writes 1e-7 where Prometheus writes 1e-07.
        let text = format!("{value:e}");
        let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
        let (sign, exponent) = exponent.strip_prefix('-').map_or(('+', exponent), |e| ('-', e));
        let _ = write!(out, "{digits}e{sign}{exponent:0>2}");
    } else {
        let _ = write!(out, "{value}");
    }
}

/// Appends seconds since the epoch, with milliseconds if there are any.
pub(crate) fn put_seconds(out: &mut Vec<u8>, at: Timestamp) {
    let millis = at.millis();
    let whole = millis.unsigned_abs() / 1000;
    let part = millis.unsigned_abs() % 1000;
    if millis < 0 {
        out.push(b'-');
    }
    out.extend_from_slice(itoa::Buffer::new().format(whole).as_bytes());
    if part != 0 {
        // With a leading one, so that no zero is lost, and then without it.
        let digits = (1000 + part) as u16;
        out.push(b'.');
        out.extend_from_slice(&itoa::Buffer::new().format(digits).as_bytes()[1..]);
    }
}

/// Appends `[seconds,"value"]`.
pub(crate) fn put_sample(out: &mut Vec<u8>, at: Timestamp, value: f64) {
    out.push(b'[');
    put_seconds(out, at);
    out.extend_from_slice(b",\"");
    put_float(out, value);
    out.extend_from_slice(b"\"]");
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn float(value: f64) -> String {
        let mut out = Vec::new();
        put_float(&mut out, value);
        String::from_utf8(out).unwrap()
    }

    fn seconds(nanos: i64) -> String {
        let mut out = Vec::new();
        put_seconds(&mut out, Timestamp::from_nanos(nanos));
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn floats_look_like_those_of_prometheus() {
        for (value, text) in [
            (0.0, "0"),
            (-0.0, "-0"),
            (1.0, "1"),
            (0.1, "0.1"),
            (1e20, "100000000000000000000"),
            (1e21, "1e+21"),
            (1.5e300, "1.5e+300"),
            (0.000001, "0.000001"),
            (1e-7, "1e-07"),
            (-2.5e-9, "-2.5e-09"),
            (5e-324, "5e-324"),
            (f64::NAN, "NaN"),
            (f64::INFINITY, "+Inf"),
            (f64::NEG_INFINITY, "-Inf"),
        ] {
            assert_eq!(float(value), text);
        }
    }

    #[test]
    fn times_are_seconds_with_milliseconds() {
        assert_eq!(seconds(0), "0");
        assert_eq!(seconds(1_500_000_000), "1.500");
        assert_eq!(seconds(1_005_000_000), "1.005");
        assert_eq!(seconds(-1_500_000_000), "-1.500");
        assert_eq!(seconds(-500_000_000), "-0.500");
        assert_eq!(seconds(1_769_860_800_000_000_000), "1769860800");
    }

    proptest! {
        #[test]
        fn the_fast_way_writes_what_the_slow_one_does(
            value in prop_oneof![any::<f64>(), (-1_000_000i64..1_000_000).prop_map(|n| n as f64 / 100.0), -1e22..1e22],
        ) {
            let mut slow = Vec::new();
            put_float_slowly(&mut slow, value);
            prop_assume!(value.is_finite());
            prop_assert_eq!(float(value), String::from_utf8(slow).unwrap());
        }

        #[test]
        fn floats_read_back_as_they_were(value in any::<f64>()) {
            let back: f64 = float(value).parse().unwrap();
            prop_assert!(back == value || back.is_nan() && value.is_nan());
        }
    }
}
