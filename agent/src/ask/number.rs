//! Numbers as Prometheus writes them.

use std::io::Write;

use tidegauge::Timestamp;

/// Appends the shortest decimal that reads back as `value`, as Prometheus' API shows it.
pub(crate) fn put_float(out: &mut Vec<u8>, value: f64) {
    if value.is_nan() {
        out.extend_from_slice(b"NaN");
    } else if value.is_infinite() {
        out.extend_from_slice(if value > 0.0 { b"+Inf" } else { b"-Inf" });
    } else if value != 0.0 && (value.abs() < 1e-6 || value.abs() >= 1e21) {
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
    let _ = if part == 0 { write!(out, "{whole}") } else { write!(out, "{whole}.{part:03}") };
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
        fn floats_read_back_as_they_were(value in any::<f64>()) {
            let back: f64 = float(value).parse().unwrap();
            prop_assert!(back == value || back.is_nan() && value.is_nan());
        }
    }
}
