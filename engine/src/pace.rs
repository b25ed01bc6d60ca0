//! How soon what is known to be durable is written down, and how often.

use std::time::{Duration, Instant};

/// When the manifest is told where an idle log ends (L8, L9), and when it says which of its own commits are durable (E3).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    /// So long after there was something to tell.
    pub(crate) rest: Duration,
    /// And so long after it was told, or could not be, the last time.
    pub(crate) apart: Duration,
    /// So long after it was told the last time the manifest is told where a log ends that never rests (L12).
    pub(crate) under_load: Duration,
}

impl Pace {
    /// Less than the second that lies between the scrapes of an idle machine.
    pub(crate) const DEFAULT: Self =
        Self { rest: Duration::from_millis(250), apart: Duration::from_secs(1), under_load: Duration::from_secs(1) };

    /// For tests and simulations. Not under load: what the manifest does not know of the end of a log is what they
    /// are about.
    #[cfg(any(test, feature = "internals"))]
    pub(crate) const AT_ONCE: Self =
        Self { rest: Duration::ZERO, apart: Duration::ZERO, under_load: Duration::from_secs(86_400) };

    /// For tests that count what is written, or hold it up: not before they end.
    #[cfg(test)]
    pub(crate) const NEVER: Self =
        Self { rest: Self::AT_ONCE.under_load, apart: Self::AT_ONCE.under_load, ..Self::AT_ONCE };

    pub(crate) fn due(&self, since: Instant, told_at: Option<Instant>) -> Instant {
        let rested = since + self.rest;
        told_at.map_or(rested, |told_at| rested.max(told_at + self.apart))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_log_is_told_once_it_rests_and_not_too_often() {
        let (rest, apart) = (Duration::from_millis(250), Duration::from_secs(1));
        let (pace, now) = (Pace { rest, apart, under_load: apart }, Instant::now());
        assert_eq!(pace.due(now, None), now + rest);
        // Told long ago; told just before, whenever the rest began.
        assert_eq!(pace.due(now + apart, Some(now)), now + apart + rest);
        for since in [Duration::ZERO, rest, apart - rest] {
            assert_eq!(pace.due(now + since, Some(now)), now + apart);
        }
    }
}
