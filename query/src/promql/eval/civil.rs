//! Dates of the proleptic Gregorian calendar in UTC, from seconds since the Unix epoch.

/// A moment, taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Civil {
    pub(super) year: i64,
    /// From 1.
    pub(super) month: u32,
    /// From 1.
    pub(super) day: u32,
    pub(super) hour: u32,
    pub(super) minute: u32,
    pub(super) second: u32,
    /// 0 is Sunday.
    pub(super) weekday: u32,
    /// From 1.
    pub(super) day_of_year: u32,
}

const DAY: i64 = 86_400;

impl Civil {
    /// What Prometheus makes of seconds that do not fit in 64 bits, and of NaN: the last day that does not.
    pub(super) const NOWHERE: Self = Self {
        year: 292_277_026_596,
        month: 12,
        day: 4,
        hour: 15,
        minute: 30,
        second: 8,
        weekday: 0,
        day_of_year: 339,
    };

    pub(super) fn from_seconds(seconds: i64) -> Self {
        let (days, rest) = (seconds.div_euclid(DAY), seconds.rem_euclid(DAY) as u32);
        // Count in 400-year eras of years that start in March, so that the leap day comes last.
        let shifted = days + 719_468;
        let (era, of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
        let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
        let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let month_from_march = (5 * of_year + 2) / 153;
        let day = (of_year - (153 * month_from_march + 2) / 5 + 1) as u32;
        let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 } as u32;
        let year = year_of_era + era * 400 + i64::from(month <= 2);
        let before: u32 = (1..month).map(|m| days_in_month(year, m)).sum();
        Self {
            year,
            month,
            day,
            hour: rest / 3600,
            minute: rest / 60 % 60,
            second: rest % 60,
            weekday: (days + 4).rem_euclid(7) as u32,
            day_of_year: before + day,
        }
    }
}

/// Days of a month, from 1.
pub(super) fn days_in_month(year: i64, month: u32) -> u32 {
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    match month {
        2 => 28 + u32::from(leap),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// `2006-01-02T15:04:05Z`
pub(super) fn rfc3339(seconds: i64) -> String {
    let c = Civil::from_seconds(seconds);
    format!("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}Z", c.year, c.month, c.day, c.hour, c.minute, c.second)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_days_come_out_right() {
        assert_eq!(rfc3339(0), "1970-01-01T00:00:00Z");
        assert_eq!(rfc3339(951_782_399), "2000-02-28T23:59:59Z");
        assert_eq!(rfc3339(951_782_400), "2000-02-29T00:00:00Z");
        assert_eq!(rfc3339(-1), "1969-12-31T23:59:59Z");
        let c = Civil::from_seconds(1_136_239_445);
        assert_eq!((c.year, c.month, c.day, c.weekday, c.day_of_year), (2006, 1, 2, 1, 2));
        assert_eq!(Civil::from_seconds(0).weekday, 4);
        // One second before it is the last that fits.
        assert_eq!(Civil { second: 7, ..Civil::NOWHERE }, Civil::from_seconds(i64::MAX));
    }

    #[test]
    fn days_follow_each_other_for_eight_centuries() {
        let mut before = Civil::from_seconds(-DAY * 150_000);
        for day in -149_999..150_000i64 {
            let c = Civil::from_seconds(day * DAY);
            let next_month = before.day == days_in_month(before.year, before.month);
            assert_eq!(c.day, if next_month { 1 } else { before.day + 1 });
            assert_eq!(c.weekday, (before.weekday + 1) % 7);
            before = c;
        }
    }
}
