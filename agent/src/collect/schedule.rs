//! When the next round is due, and which timestamp it gets.

use std::time::Duration;

use tidegauge::Timestamp;

/// A round that starts this little after it was due is stamped as if it had been in time:
/// equal distances compress to nothing.
const TOLERANCE_MAX: Duration = Duration::from_millis(20);

/// Rounds at the multiples of an interval since the epoch. Rounds that were missed are not
/// made up for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Schedule {
    interval: i64,
    tolerance: i64,
}

impl Schedule {
    pub(super) fn new(interval: Duration) -> Self {
        let nanos = |time: Duration| i64::try_from(time.as_nanos()).unwrap_or(i64::MAX);
        Self { interval: nanos(interval).max(1), tolerance: nanos(TOLERANCE_MAX.min(interval / 20)) }
    }

    /// The next multiple behind `now`, and how long it is until then.
    pub(super) fn next(&self, now: Timestamp) -> (Timestamp, Duration) {
        let wait = self.interval - now.nanos().rem_euclid(self.interval);
        (Timestamp::from_nanos(now.nanos().saturating_add(wait)), Duration::from_nanos(wait as u64))
    }

    /// The timestamp of a round that was due at `due` and starts at `now`.
    pub(super) fn stamp(&self, due: Timestamp, now: Timestamp) -> Timestamp {
        if now.nanos().abs_diff(due.nanos()) <= self.tolerance as u64 { due } else { now }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounds_lie_at_multiples_of_the_interval() {
        let t = Timestamp::from_nanos;
        let schedule = Schedule::new(Duration::from_secs(1));
        assert_eq!(schedule.next(t(1_300_000_000)), (t(2_000_000_000), Duration::from_millis(700)));
        assert_eq!(schedule.next(t(2_000_000_000)), (t(3_000_000_000), Duration::from_secs(1)));
        assert_eq!(schedule.next(t(-1)), (t(0), Duration::from_nanos(1)));
    }

    #[test]
    fn a_slightly_late_round_is_stamped_as_due_and_a_late_one_as_it_is() {
        let t = Timestamp::from_nanos;
        let schedule = Schedule::new(Duration::from_secs(1));
        assert_eq!(schedule.stamp(t(0), t(20_000_000)), t(0));
        assert_eq!(schedule.stamp(t(0), t(20_000_001)), t(20_000_001));
        let short = Schedule::new(Duration::from_millis(10));
        assert_eq!(short.stamp(t(0), t(500_000)), t(0));
        assert_eq!(short.stamp(t(0), t(500_001)), t(500_001));
    }
}
