//! Values and timestamps as Go's `strconv.ParseFloat` reads them, because exporters rely on it.

use crate::collect::STALE_MARKER_BITS;

/// The NaN that samples carry: one bit off Rust's own, equal to that of Prometheus, and
/// never the stale marker.
const NORMAL_NAN: f64 = f64::from_bits(0x7ff8_0000_0000_0001);

/// How an export writes NaNs to OpenMetrics that are not [`NORMAL_NAN`]: other readers take each for the NaN that it is, too.
/// The staleness marker, which nobody else writes so; the NaN of Rust, C, Java and Python; the one that x86 makes.
const NAN_TEXTS: [(&str, u64); 3] =
    [("nAn", STALE_MARKER_BITS), ("NAN", 0x7ff8_0000_0000_0000), ("naN", 0xfff8_0000_0000_0000)];

/// How an export writes a NaN to OpenMetrics that many programs make, so that everybody reads it and an import the bits.
pub(crate) fn nan_text(value: f64) -> Option<&'static str> {
    NAN_TEXTS.iter().find(|(_, bits)| *bits == value.to_bits()).map(|(text, _)| *text)
}

/// Why a text is no value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NumberError {
    /// It is none of the forms of a number.
    #[error("is not a number")]
    NoNumber,
    /// No double is so large. An infinity has to be written as one.
    #[error("is out of range")]
    OutOfRange,
}

/// Reads a value: a decimal or hexadecimal float, `NaN`, `Inf` with or without a sign.
///
/// `NaN(0x7ff0000000000002)` is the NaN of these very bits, as C's `strtod` reads it: an export writes it, so that
/// nothing is lost. Some NaNs it writes as words of unusual letters, for readers that take only words.
///
/// # Errors
/// [`NumberError`] if it is none of these, or is too large.
pub fn parse_value(text: &[u8]) -> Result<f64, NumberError> {
    let text = std::str::from_utf8(text).map_err(|_| NumberError::NoNumber)?;
    let value = match text.parse::<f64>() {
        Ok(value) if value.is_nan() => {
            let bits = NAN_TEXTS.iter().find(|(word, _)| *word == text).map(|(_, bits)| *bits);
            bits.map_or(NORMAL_NAN, f64::from_bits)
        }
        Ok(value) => value,
        Err(_) => parse_nan_bits(text).or_else(|| parse_hex(text.as_bytes())).ok_or(NumberError::NoNumber)?,
    };
    // Only a number has digits. What it stands for is not infinite, however large.
    if value.is_infinite() && text.contains(|c: char| c.is_ascii_digit()) {
        return Err(NumberError::OutOfRange);
    }
    Ok(value)
}

fn parse_nan_bits(text: &str) -> Option<f64> {
    let digits = text.strip_prefix("NaN(0x")?.strip_suffix(')')?;
    let hex = digits.len() == 16 && digits.bytes().all(|b| b.is_ascii_hexdigit());
    let value = f64::from_bits(u64::from_str_radix(digits, 16).ok().filter(|_| hex)?);
    value.is_nan().then_some(value)
}

/// Reads a timestamp in whole milliseconds (text format 0.0.4) and returns nanoseconds.
#[must_use]
pub fn parse_millis(text: &[u8]) -> Option<i64> {
    let millis: i64 = std::str::from_utf8(text).ok()?.parse().ok()?;
    millis.checked_mul(1_000_000)
}

/// Reads a timestamp in seconds with an optional fraction (OpenMetrics) and returns
/// nanoseconds. Nine decimals are exact, further ones are cut off; an exponent costs the
/// precision of an `f64`.
#[must_use]
pub fn parse_seconds(text: &[u8]) -> Option<i64> {
    parse_nanos(text, 9)
}

/// Reads a timestamp whose unit is `10^digits` nanoseconds, with an optional fraction, and
/// returns nanoseconds; what is below a nanosecond is cut off. An exponent costs the
/// precision of an `f64`.
#[must_use]
pub fn parse_nanos(text: &[u8], digits: u32) -> Option<i64> {
    let places = digits as usize;
    let (digits, negative) = match text {
        [b'-', rest @ ..] => (rest, true),
        [b'+', rest @ ..] => (rest, false),
        rest => (rest, false),
    };
    let dot = digits.iter().position(|&b| b == b'.').unwrap_or(digits.len());
    let (whole, fraction) = (&digits[..dot], digits.get(dot + 1..).unwrap_or(&[]));
    if whole.len() + fraction.len() == 0 {
        return None;
    }
    if !whole.iter().chain(fraction).all(u8::is_ascii_digit) {
        let nanos = parse_value(text).ok()? * 10f64.powi(places as i32);
        // The bounds are the powers of two that an i64 is just short of.
        return (nanos >= -(2f64.powi(63)) && nanos < 2f64.powi(63)).then_some(nanos as i64);
    }
    // Below zero there is one more than above.
    let mut nanos: i64 = 0;
    for &digit in whole {
        nanos = nanos.checked_mul(10)?.checked_sub(i64::from(digit - b'0'))?;
    }
    for place in 0..places {
        let digit = fraction.get(place).map_or(0, |&digit| digit - b'0');
        nanos = nanos.checked_mul(10)?.checked_sub(i64::from(digit))?;
    }
    if negative { Some(nanos) } else { nanos.checked_neg() }
}

/// `[sign] 0x digits [. digits] p exponent`, rounded to nearest, ties to even.
fn parse_hex(text: &[u8]) -> Option<f64> {
    let (text, negative) = match text {
        [b'-', rest @ ..] => (rest, true),
        [b'+', rest @ ..] => (rest, false),
        rest => (rest, false),
    };
    let [b'0', b'x' | b'X', rest @ ..] = text else { return None };
    let p = rest.iter().position(|b| matches!(b, b'p' | b'P'))?;
    let exponent: i64 = std::str::from_utf8(&rest[p + 1..]).ok()?.parse().ok()?;
    let mut exponent = exponent.clamp(-100_000, 100_000);
    let (mut mantissa, mut lost, mut digits, mut dot) = (0u64, false, false, false);
    for &byte in &rest[..p] {
        if byte == b'.' && !dot {
            dot = true;
            continue;
        }
        let digit = u64::from((byte as char).to_digit(16)?);
        digits = true;
        if mantissa >> 60 == 0 {
            mantissa = mantissa << 4 | digit;
            exponent -= if dot { 4 } else { 0 };
        } else {
            lost |= digit != 0;
            exponent += if dot { 0 } else { 4 };
        }
    }
    digits.then(|| compose(mantissa, lost, exponent, negative))
}

/// `mantissa * 2^exponent` with a non-zero rest below it if `lost`, correctly rounded.
fn compose(mantissa: u64, lost: bool, exponent: i64, negative: bool) -> f64 {
    let sign = u64::from(negative) << 63;
    if mantissa == 0 {
        return f64::from_bits(sign);
    }
    let shift = mantissa.leading_zeros();
    let mantissa = mantissa << shift;
    // The value is mantissa * 2^(top - 63), its leading bit standing for 2^top.
    let top = exponent - i64::from(shift) + 63;
    if top > 1023 {
        return f64::from_bits(sign | f64::INFINITY.to_bits());
    }
    // Subnormals keep fewer bits than 53.
    let keep = if top >= -1022 { 53 } else { 53 - (-1022 - top) };
    if keep < 0 {
        return f64::from_bits(sign);
    }
    let drop = 64 - keep as u32;
    let kept = mantissa.checked_shr(drop).unwrap_or(0);
    let rest = if drop == 64 { mantissa } else { mantissa & ((1 << drop) - 1) };
    let half = 1u64 << (drop - 1);
    let up = rest > half || (rest == half && (lost || kept & 1 == 1));
    let kept = kept + u64::from(up);
    // Adding the exponent to the mantissa's bits lets a carry raise the exponent by itself.
    let bits = if top >= -1022 { kept + (((top + 1022) as u64) << 52) } else { kept };
    f64::from_bits(sign | bits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_read_as_go_reads_them() {
        let cases: [(&str, f64); 15] = [
            ("1", 1.0),
            ("-1.5e3", -1500.0),
            (".5", 0.5),
            ("5.", 5.0),
            ("+Inf", f64::INFINITY),
            ("-inf", f64::NEG_INFINITY),
            ("Infinity", f64::INFINITY),
            ("1.7976931348623158e308", f64::MAX),
            ("0x1p-2", 0.25),
            ("0X1.8P+1", 3.0),
            ("-0xFFp0", -255.0),
            ("0x1.fffffffffffff8p0", 2.0),
            ("0x1.fffffffffffff7p0", 2.0 - f64::EPSILON),
            ("0x1p-1074", f64::from_bits(1)),
            ("0x1p-1075", 0.0),
        ];
        for (text, value) in cases {
            assert_eq!(parse_value(text.as_bytes()), Ok(value), "{text}");
        }
        for text in ["1e400", "-1e400", "1.7976931348623159e308", "0x1p1024", "-0x1p1024", &"9".repeat(400)] {
            assert_eq!(parse_value(text.as_bytes()), Err(NumberError::OutOfRange), "{text}");
        }
        assert_eq!(parse_value(b"NaN").unwrap().to_bits(), NORMAL_NAN.to_bits());
        assert_eq!(parse_value(b"NaN(0x7ff0000000000002)").unwrap().to_bits(), 0x7ff0_0000_0000_0002);
        for text in
            ["NaN(0x7ff0000000000000)", "NaN(0x2)", "NaN(0x+ff0000000000002)", "NaN()", "NaN(0x7ff0000000000002"]
        {
            assert_eq!(parse_value(text.as_bytes()), Err(NumberError::NoNumber), "{text:?}");
        }
        for text in ["", ".", "e5", "1_000", "0x", "0xp1", "0x1", "0x1.2.3p1", "0x1pz", "1 ", "--1", "\u{661}"] {
            assert_eq!(parse_value(text.as_bytes()), Err(NumberError::NoNumber), "{text:?}");
        }
    }

    #[test]
    fn timestamps_are_exact_and_bounded() {
        assert_eq!(parse_millis(b"1520879607789"), Some(1_520_879_607_789_000_000));
        assert_eq!(parse_millis(b"-1"), Some(-1_000_000));
        for text in [&b"9223372036854775807"[..], b"1.5", b"", b"abc"] {
            assert_eq!(parse_millis(text), None);
        }
        assert_eq!(parse_seconds(b"1520879607.789123456"), Some(1_520_879_607_789_123_456));
        assert_eq!(parse_seconds(b"-1.5"), Some(-1_500_000_000));
        assert_eq!(parse_seconds(b"-9223372036.854775808"), Some(i64::MIN));
        assert_eq!(parse_seconds(b"9223372036.854775807"), Some(i64::MAX));
        assert_eq!(parse_seconds(b"9223372036.854775808"), None);
        assert_eq!(parse_seconds(b"1.5e3"), Some(1_500_000_000_000));
        assert_eq!(parse_seconds(b"0.0000000019"), Some(1));
        for text in [&b""[..], b".", b"-", b"1e30", b"NaN", b"99999999999999", b"1.2.3"] {
            assert_eq!(parse_seconds(text), None, "{text:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn a_hexadecimal_float_comes_back_as_the_double_it_was_written_from(bits: u64) {
            let value = f64::from_bits(bits);
            proptest::prop_assume!(value.is_finite());
            let fraction = bits & ((1 << 52) - 1);
            let biased = (bits >> 52 & 0x7ff) as i64;
            let (lead, exponent) = if biased == 0 { (0, -1022) } else { (1, biased - 1023) };
            let sign = if value.is_sign_negative() { "-" } else { "" };
            let text = format!("{sign}0x{lead}.{fraction:013x}p{exponent}");
            proptest::prop_assert_eq!(parse_value(text.as_bytes()).map(f64::to_bits), Ok(bits));
        }
    }
}
