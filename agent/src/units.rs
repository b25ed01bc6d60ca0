//! Durations, bytes and times as people write them.

use std::fmt::Write as _;
use std::time::Duration;

use tidegauge::Timestamp;

/// A text that is no duration, no size, or no time.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no {what}; write it like {example}")]
pub(crate) struct UnitError {
    text: String,
    what: &'static str,
    example: &'static str,
}

const DURATION_UNITS: [(&str, f64); 9] = [
    ("ns", 1e-9),
    ("us", 1e-6),
    ("ms", 1e-3),
    ("s", 1.0),
    ("m", 60.0),
    ("h", 3600.0),
    ("d", 86_400.0),
    ("w", 7.0 * 86_400.0),
    ("y", 365.0 * 86_400.0),
];

/// `15s`, `100ms`, `1h30m`, `7d`; a unit is required unless the duration is `0`.
pub(crate) fn parse_duration(text: &str) -> Result<Duration, UnitError> {
    let wrong = || UnitError { text: text.to_owned(), what: "duration", example: "15s, 1h30m or 7d" };
    let mut rest = text.trim();
    if rest == "0" {
        return Ok(Duration::ZERO);
    }
    if rest.is_empty() {
        return Err(wrong());
    }
    let mut sum = Duration::ZERO;
    while !rest.is_empty() {
        let (number, unit, behind) = number_and_unit(rest).ok_or_else(wrong)?;
        let factor = factor_of(&DURATION_UNITS, unit).ok_or_else(wrong)?;
        // Each for itself: the nanoseconds of years are lost in a float.
        let part = Duration::try_from_secs_f64(number * factor).map_err(|_| wrong())?;
        sum = sum.checked_add(part).ok_or_else(wrong)?;
        rest = behind;
    }
    Ok(sum)
}

const BYTE_UNITS: [(&str, f64); 9] = [
    ("B", 1.0),
    ("KiB", 1024.0),
    ("MiB", 1_048_576.0),
    ("GiB", 1_073_741_824.0),
    ("TiB", 1_099_511_627_776.0),
    ("kB", 1e3),
    ("MB", 1e6),
    ("GB", 1e9),
    ("TB", 1e12),
];

/// `64MiB`, `1.5 GiB`, `2GB`; a unit is required.
pub(crate) fn parse_bytes(text: &str) -> Result<u64, UnitError> {
    let wrong = || UnitError { text: text.to_owned(), what: "size", example: "64MiB or 2GiB" };
    let (number, unit, behind) = number_and_unit(text.trim()).ok_or_else(wrong)?;
    let factor = factor_of(&BYTE_UNITS, unit.trim()).filter(|_| behind.is_empty()).ok_or_else(wrong)?;
    let bytes = number * factor;
    // Above 2^53 not every number is one, and no machine has so much.
    if (0.0..=9e15).contains(&bytes) { Ok(bytes as u64) } else { Err(wrong()) }
}

/// RFC 3339, seconds since the epoch, `now`, or a duration before now (`-1h`, `now-1h`).
pub(crate) fn parse_time(text: &str, now: Timestamp) -> Result<Timestamp, UnitError> {
    let wrong =
        || UnitError { text: text.to_owned(), what: "time", example: "2026-01-31T12:00:00Z, 1769860800, now or -1h" };
    let text_ = text.trim();
    if text_ == "now" {
        return Ok(now);
    }
    if let Some(at) = parse_instant(text_) {
        return Ok(at);
    }
    let ago = text_.strip_prefix("now").unwrap_or(text_).strip_prefix('-').ok_or_else(wrong)?;
    let ago = parse_duration(ago).map_err(|_| wrong())?;
    let nanos = i64::try_from(ago.as_nanos()).map_err(|_| wrong())?;
    Ok(Timestamp::from_nanos(now.nanos().saturating_sub(nanos)))
}

/// RFC 3339 or seconds since the epoch, rounded to milliseconds; what no timestamp holds
/// is clamped, as it serves as a bound of queries. `None` if the text is neither.
pub(crate) fn parse_instant(text: &str) -> Option<Timestamp> {
    if let Some(seconds) = parse_number(text) {
        return Some(instant_of_seconds(seconds));
    }
    let at: jiff::Timestamp = text.parse().ok()?;
    let nanos = at.as_nanosecond().clamp(i64::MIN.into(), i64::MAX.into());
    i64::try_from(nanos).ok().map(Timestamp::from_nanos)
}

/// Seconds since the epoch, rounded to milliseconds and clamped to what a timestamp holds.
pub(crate) fn instant_of_seconds(seconds: f64) -> Timestamp {
    // Nanoseconds of today are more than a float holds exactly.
    let millis = ((seconds - seconds.trunc()) * 1e3).round() as i64;
    Timestamp::from_nanos((seconds as i64).saturating_mul(1_000_000_000).saturating_add(millis * 1_000_000))
}

/// A finite decimal number; not the words that Rust takes for floats.
fn parse_number(text: &str) -> Option<f64> {
    let looks = text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'.' | b'-' | b'+' | b'e' | b'E'));
    text.parse().ok().filter(|n: &f64| looks && n.is_finite())
}

/// `1h30m`, `15s`, `100ms`: the two largest units that are not zero.
pub(crate) fn show_duration(duration: Duration) -> String {
    let units: [(&str, u128); 7] = [
        ("d", 86_400_000_000_000),
        ("h", 3_600_000_000_000),
        ("m", 60_000_000_000),
        ("s", 1_000_000_000),
        ("ms", 1_000_000),
        ("µs", 1000),
        ("ns", 1),
    ];
    let mut left = duration.as_nanos();
    let mut out = String::new();
    let mut parts = 0;
    for (unit, nanos) in units {
        let count = left / nanos;
        if count > 0 && parts < 2 {
            let _ = write!(out, "{count}{unit}");
            parts += 1;
        } else if parts > 0 {
            break;
        }
        left %= nanos;
    }
    if out.is_empty() { "0s".to_owned() } else { out }
}

/// `1.5 MiB`.
pub(crate) fn show_bytes(bytes: u64) -> String {
    let mut value = bytes as f64;
    let mut unit = "B";
    for next in ["KiB", "MiB", "GiB", "TiB", "PiB"] {
        if value < 1024.0 {
            break;
        }
        value /= 1024.0;
        unit = next;
    }
    if unit == "B" { format!("{bytes} B") } else { format!("{value:.1} {unit}") }
}

/// `12,345,678`.
pub(crate) fn show_count(count: u64) -> String {
    let digits = count.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// `1 segment`, `12,345 segments`: of what takes an s.
pub(crate) fn show_number_of(count: u64, what: &str) -> String {
    format!("{} {what}{}", show_count(count), if count == 1 { "" } else { "s" })
}

/// RFC 3339 in UTC.
pub(crate) fn show_time(at: Timestamp) -> String {
    jiff::Timestamp::from_nanosecond(i128::from(at.nanos()))
        .map_or_else(|_| format!("{} ns", at.nanos()), |t| t.to_string())
}

fn number_and_unit(text: &str) -> Option<(f64, &str, &str)> {
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let number: f64 = text.get(..digits)?.parse().ok()?;
    let behind = text.get(digits..)?;
    let letters = behind.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(behind.len());
    let (unit, behind) = behind.split_at_checked(letters)?;
    Some((number, unit.trim(), behind))
}

fn factor_of(units: &[(&str, f64)], unit: &str) -> Option<f64> {
    units.iter().find(|(name, _)| name.eq_ignore_ascii_case(unit)).map(|&(_, factor)| factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_take_units_and_sums_of_them_and_nothing_else() {
        let ms = |text| parse_duration(text).map(|d| d.as_millis());
        assert_eq!(ms("15s"), Ok(15_000));
        assert_eq!(ms("100ms"), Ok(100));
        assert_eq!(ms("1h30m"), Ok(5_400_000));
        assert_eq!(ms("7d"), Ok(604_800_000));
        assert_eq!(ms("0.5s"), Ok(500));
        assert_eq!(ms("0"), Ok(0));
        let years = Duration::new(10 * 365 * 86_400, 1);
        assert_eq!(parse_duration("10y1ns"), Ok(years));
        for wrong in ["", "15", "s", "-1s", "1x", "1s1", "1e9999y", "99999999999999999999y", "é", "1é", "..s"] {
            assert!(parse_duration(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn sizes_take_a_unit_and_nothing_else() {
        assert_eq!(parse_bytes("64MiB"), Ok(64 << 20));
        assert_eq!(parse_bytes("1.5 GiB"), Ok(3 << 29));
        assert_eq!(parse_bytes("2gb"), Ok(2_000_000_000));
        assert_eq!(parse_bytes("1073741824B"), Ok(1 << 30));
        for wrong in ["", "15", "MiB", "-1B", "1x", "1B1", "1B1B", "99999999TiB", "1e99GiB", "é"] {
            assert!(parse_bytes(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn times_are_absolute_or_before_now() {
        let now = Timestamp::from_nanos(10_000_000_000);
        let seconds = |text| parse_time(text, now).map(|t| t.nanos() as f64 / 1e9);
        assert_eq!(seconds("now"), Ok(10.0));
        assert_eq!(seconds("-1s"), Ok(9.0));
        assert_eq!(seconds("now-2s"), Ok(8.0));
        assert_eq!(seconds("-1"), Ok(-1.0), "without a unit it is seconds since the epoch");
        assert!(parse_time("next week", now).is_err());
    }

    #[test]
    fn times_beyond_what_can_be_held_are_clamped() {
        assert_eq!(parse_instant("1e300"), Some(Timestamp::MAX));
        assert_eq!(parse_instant("-1e300"), Some(Timestamp::MIN));
        assert_eq!(parse_instant("1.5"), Some(Timestamp::from_nanos(1_500_000_000)));
        assert_eq!(parse_instant("1970-01-01T00:00:01.25Z"), Some(Timestamp::from_nanos(1_250_000_000)));
        for wrong in ["NaN", "inf", "infinity", "", "yesterday", "1970-13-01T00:00:00Z"] {
            assert_eq!(parse_instant(wrong), None, "{wrong:?}");
        }
    }

    /// A query at .789 is about the milliseconds up to .789, not up to 63 ns before it.
    #[test]
    fn seconds_of_today_are_whole_milliseconds() {
        for millis in [1_699_999_799_889_i64, 1_700_000_000_001, 1_764_133_609_789, -8_000_000_000_123] {
            let text =
                format!("{}{}.{:03}", if millis < 0 { "-" } else { "" }, millis.abs() / 1000, millis.abs() % 1000);
            assert_eq!(parse_instant(&text), Some(Timestamp::from_nanos(millis * 1_000_000)), "{text}");
        }
        // More digits than milliseconds are rounded, as Prometheus does.
        assert_eq!(parse_instant("1700000000.0016"), Some(Timestamp::from_nanos(1_700_000_000_002_000_000)));
        assert_eq!(parse_instant("1700003000.7894999"), Some(Timestamp::from_nanos(1_700_003_000_789_000_000)));
    }

    #[test]
    fn what_is_shown_is_short() {
        assert_eq!(show_duration(Duration::from_millis(1500)), "1s500ms");
        assert_eq!(show_duration(Duration::from_secs(86_400 + 60)), "1d");
        assert_eq!(show_duration(Duration::ZERO), "0s");
        assert_eq!(show_bytes(1536), "1.5 KiB");
        assert_eq!(show_bytes(12), "12 B");
        assert_eq!(show_count(1_234_567), "1,234,567");
        assert_eq!(show_count(12), "12");
        assert_eq!((show_number_of(1, "day"), show_number_of(1_000, "day")), ("1 day".into(), "1,000 days".into()));
        assert_eq!(show_time(Timestamp::from_nanos(0)), "1970-01-01T00:00:00Z");
    }
}
