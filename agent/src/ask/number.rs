//! Numbers as Prometheus writes them.

use std::io::Write;

use tidegauge::Timestamp;

/// Appends the shortest decimal that reads back as `value`, as Prometheus' API shows it.
pub(crate) fn put_float(out: &mut Vec<u8>, value: f64) {
    if let Some(thousandths) = thousandths(value) {
        put_thousandths(out, value.is_sign_negative(), thousandths);
    } else if value.is_nan() {
        out.extend_from_slice(b"NaN");
    } else if value.is_infinite() {
        out.extend_from_slice(if value > 0.0 { b"+Inf" } else { b"-Inf" });
    } else {
        let mut buffer = zmij::Buffer::new();
        let text = buffer.format_finite(value);
        match text.split_once('e') {
            None => out.extend_from_slice(text.strip_suffix(".0").unwrap_or(text).as_bytes()),
            Some((digits, exponent)) => put_far(out, digits, exponent.parse().unwrap_or(0)),
        }
    }
}

/// Below it a number has at most fifteen digits, three of them behind the point. No two decimals of so few digits read
/// back as the same double, so the one that does is the shortest.
const THOUSANDTHS_MAX: f64 = 1e15;

/// How many thousandths `value` is without its sign, if it is a decimal of so few digits as most measured values are.
fn thousandths(value: f64) -> Option<u64> {
    let rounded = (value.abs() * 1000.0).round();
    // Also false for NaN. The division rounds as reading the decimal does.
    (rounded < THOUSANDTHS_MAX && rounded / 1000.0 == value.abs()).then_some(rounded as u64)
}

fn put_thousandths(out: &mut Vec<u8>, negative: bool, thousandths: u64) {
    if negative {
        out.push(b'-');
    }
    out.extend_from_slice(itoa::Buffer::new().format(thousandths / 1000).as_bytes());
    let part = (thousandths % 1000) as u16;
    if part != 0 {
        let digits = [part / 100, part / 10 % 10, part % 10].map(|digit| b'0' + digit as u8);
        let last = digits.iter().rposition(|&digit| digit != b'0').unwrap_or(0);
        out.push(b'.');
        out.extend_from_slice(&digits[..=last]);
    }
}

/// Appends `digits` times ten to the power of `exponent`, for numbers far from one: plainly where
/// Prometheus still does, which is from 1e-6 up to below 1e21.
///
/// The digits stay those that were found: of two shortest decimals equally near, Go's `strconv`
/// takes the even one, the standard library here the other.
fn put_far(out: &mut Vec<u8>, digits: &str, exponent: i32) {
    if !(-6..21).contains(&exponent) {
        // 1e-07, where Rust writes 1e-7.
        let sign = if exponent < 0 { '-' } else { '+' };
        let _ = write!(out, "{digits}e{sign}{:0>2}", exponent.unsigned_abs());
        return;
    }
    let digits = match digits.strip_prefix('-') {
        Some(rest) => {
            out.push(b'-');
            rest
        }
        None => digits,
    };
    let (first, rest) = digits.split_once('.').unwrap_or((digits, ""));
    if exponent < 0 {
        out.extend_from_slice(b"0.");
        out.resize(out.len() + exponent.unsigned_abs() as usize - 1, b'0');
        out.extend_from_slice(first.as_bytes());
        out.extend_from_slice(rest.as_bytes());
    } else {
        let (before, after) = rest.split_at(rest.len().min(exponent as usize));
        out.extend_from_slice(first.as_bytes());
        out.extend_from_slice(before.as_bytes());
        out.resize(out.len() + exponent as usize - before.len(), b'0');
        if !after.is_empty() {
            out.push(b'.');
            out.extend_from_slice(after.as_bytes());
        }
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

/// What a sample takes at most, but for numbers far from one.
pub(super) const SAMPLE_BYTES: usize = 40;

/// Appends `[seconds,"value"]`.
pub(crate) fn put_sample(out: &mut Vec<u8>, at: Timestamp, value: f64) {
    // Room for most of them at once.
    out.reserve(SAMPLE_BYTES);
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

    /// By the standard library: as many digits as its shortest form has, rounded to even.
    fn slowly(value: f64) -> String {
        let shortest = format!("{value:e}");
        let digits = shortest.bytes().take_while(|&b| b != b'e').filter(u8::is_ascii_digit).count();
        let even = format!("{value:.*e}", digits - 1);
        let (digits, exponent) = match even.parse::<f64>() {
            // Below a power of two the nearest decimal of so many digits may read back as another.
            Ok(back) if value == back => even.split_once('e').unwrap(),
            _ => shortest.split_once('e').unwrap(),
        };
        let exponent: i32 = exponent.parse().unwrap();
        if value != 0.0 && !(-6..21).contains(&exponent) {
            let sign = if exponent < 0 { '-' } else { '+' };
            return format!("{digits}e{sign}{:0>2}", exponent.abs());
        }
        // The standard library's layout, with these digits in it.
        let mut digits = digits.chars().filter(char::is_ascii_digit);
        let mut begun = false;
        let mut put = |c: char| {
            begun |= c.is_ascii_digit() && c != '0';
            if begun && c.is_ascii_digit() { digits.next().unwrap_or('0') } else { c }
        };
        format!("{value}").chars().map(&mut put).collect()
    }

    #[test]
    fn of_two_decimals_equally_near_the_even_one_is_written() {
        for (value, text) in [
            (3_280_227_001_699_521.0 / 4.0, "820056750424880.2"),
            (3_280_227_001_699_523.0 / 4.0, "820056750424880.8"),
            (-3_280_227_001_699_521.0 / 4.0, "-820056750424880.2"),
        ] {
            assert_eq!(float(value), text);
            assert_eq!(slowly(value), text);
        }
    }

    proptest! {
        #[test]
        fn the_fast_way_writes_what_the_slow_one_does(
            value in prop_oneof![
                any::<f64>(),
                (-1_000_000i64..1_000_000).prop_map(|n| n as f64 / 100.0),
                (-2_000_000_000_000_000i64..2_000_000_000_000_000, 0..6).prop_map(|(n, e)| n as f64 / 10f64.powi(e)),
                -1e22..1e22,
                -1e-4..1e-4,
                // Quarters that a double can just tell apart: many of them are ties.
                (1i64 << 50..1 << 53).prop_map(|n| n as f64 / 4.0),
            ],
        ) {
            prop_assume!(value.is_finite());
            prop_assert_eq!(float(value), slowly(value));
        }

        #[test]
        fn floats_read_back_as_they_were(value in any::<f64>()) {
            let back: f64 = float(value).parse().unwrap();
            prop_assert!(back == value || back.is_nan() && value.is_nan());
        }
    }
}
