//! Timestamps as files write them.

use std::str::FromStr;

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use tidegauge::Timestamp;

use crate::exposition::parse_nanos;

/// The unit of a file's timestamps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimeUnit {
    /// Told from a file's first timestamp: a number is seconds below 10¹¹, milliseconds below
    /// 10¹⁴, microseconds below 10¹⁷, nanoseconds above; anything else is a date.
    Auto,
    /// Seconds since the Unix epoch, decimals allowed.
    Seconds,
    /// Milliseconds.
    Millis,
    /// Microseconds.
    Micros,
    /// Nanoseconds.
    Nanos,
    /// RFC 3339, as in `2026-01-31T12:00:00Z`; without an offset UTC is meant, and a blank
    /// may stand for the `T`.
    Rfc3339,
}

/// A text that names no unit.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no unit of time; give auto, s, ms, us, ns or rfc3339")]
pub struct UnknownTimeUnit(String);

impl FromStr for TimeUnit {
    type Err = UnknownTimeUnit;

    fn from_str(text: &str) -> Result<Self, UnknownTimeUnit> {
        match text.to_ascii_lowercase().as_str() {
            "auto" => Ok(Self::Auto),
            "s" => Ok(Self::Seconds),
            "ms" => Ok(Self::Millis),
            "us" | "µs" => Ok(Self::Micros),
            "ns" => Ok(Self::Nanos),
            "rfc3339" => Ok(Self::Rfc3339),
            _ => Err(UnknownTimeUnit(text.to_owned())),
        }
    }
}

impl TimeUnit {
    /// What the units are called.
    pub(crate) const NAMES: [&str; 6] = ["auto", "s", "ms", "us", "ns", "rfc3339"];

    /// What a text in this unit is, for messages.
    pub(super) fn what(self) -> &'static str {
        match self {
            Self::Auto => "time",
            Self::Seconds => "number of seconds (s)",
            Self::Millis => "number of milliseconds (ms)",
            Self::Micros => "number of microseconds (us)",
            Self::Nanos => "number of nanoseconds (ns)",
            Self::Rfc3339 => "date (rfc3339)",
        }
    }

    /// The unit that `text` suggests, if none was given.
    pub(super) fn or_told_from(self, text: &[u8]) -> Self {
        if self != Self::Auto {
            return self;
        }
        // Cut to whole units first: the size decides, not the decimals.
        let whole = text.split(|&b| b == b'.').next().unwrap_or(text);
        match std::str::from_utf8(whole).ok().and_then(|text| text.parse::<f64>().ok()).map(f64::abs) {
            Some(number) if number < 1e11 => Self::Seconds,
            Some(number) if number < 1e14 => Self::Millis,
            Some(number) if number < 1e17 => Self::Micros,
            Some(_) => Self::Nanos,
            None => Self::Rfc3339,
        }
    }

    /// Reads a timestamp in this unit. `None` if it is none, or outside the years 1677 to 2262.
    pub(super) fn parse(self, text: &[u8]) -> Option<Timestamp> {
        let nanos = match self {
            Self::Auto => return self.or_told_from(text).parse(text),
            Self::Seconds => parse_nanos(text, 9),
            Self::Millis => parse_nanos(text, 6),
            Self::Micros => parse_nanos(text, 3),
            Self::Nanos => parse_nanos(text, 0),
            Self::Rfc3339 => parse_date(text),
        };
        nanos.map(Timestamp::from_nanos)
    }
}

fn parse_date(text: &[u8]) -> Option<i64> {
    let text = std::str::from_utf8(text).ok()?.trim();
    let instant = match text.parse::<jiff::Timestamp>() {
        Ok(instant) => instant,
        Err(_) => text.parse::<DateTime>().ok()?.to_zoned(TimeZone::UTC).ok()?.timestamp(),
    };
    i64::try_from(instant.as_nanosecond()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_unit_is_told_from_the_size() {
        let moment = 1_392_388_200_000_000_000;
        for text in ["1392388200", "1392388200000", "1392388200000000", "1392388200000000000", "1392388200.0"] {
            assert_eq!(TimeUnit::Auto.parse(text.as_bytes()), Some(Timestamp::from_nanos(moment)), "{text}");
        }
        for text in ["2014-02-14T14:30:00Z", "2014-02-14 14:30:00", "2014-02-14T15:30:00.000+01:00"] {
            assert_eq!(TimeUnit::Auto.parse(text.as_bytes()), Some(Timestamp::from_nanos(moment)), "{text}");
        }
    }

    #[test]
    fn fractions_are_exact_and_nonsense_is_refused() {
        assert_eq!(TimeUnit::Millis.parse(b"1.000001"), Some(Timestamp::from_nanos(1_000_001)));
        assert_eq!(TimeUnit::Nanos.parse(b"-7.9"), Some(Timestamp::from_nanos(-7)));
        for (unit, text) in [
            (TimeUnit::Seconds, "9999999999999"),
            (TimeUnit::Seconds, "2014-02-14T14:30:00Z"),
            (TimeUnit::Rfc3339, "1392388200"),
            (TimeUnit::Rfc3339, "2014-02-30T14:30:00Z"),
            (TimeUnit::Rfc3339, "9999-01-01T00:00:00Z"),
            (TimeUnit::Auto, ""),
            (TimeUnit::Auto, "yesterday"),
        ] {
            assert_eq!(unit.parse(text.as_bytes()), None, "{text}");
        }
        assert!("parsec".parse::<TimeUnit>().unwrap_err().to_string().contains("rfc3339"));
    }
}
