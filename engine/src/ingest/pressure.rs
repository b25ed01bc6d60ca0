//! Whether more comes in than the worker keeps up with. Queries stand back then.

use std::time::{Duration, Instant};

/// One full lane may be one great batch; the worker is behind if it meets another one within this time. It stays so for
/// as long: a round of full lanes takes a millisecond or two, and appenders may not run just then.
const WITHIN: Duration = Duration::from_millis(10);

/// What the worker's last rounds found.
#[derive(Default)]
pub(super) struct Pressure {
    /// When a round last found a lane half full.
    crowded_at: Option<Instant>,
    until: Option<Instant>,
}

impl Pressure {
    /// A round ended at `now`. `crowded`: it found a lane half full, or takes nothing before a flush.
    pub(super) fn note(&mut self, crowded: bool, now: Instant) {
        let recently = self.crowded_at.is_some_and(|at| now.saturating_duration_since(at) < WITHIN);
        if crowded {
            if recently {
                self.until = Some(now + WITHIN);
            }
            self.crowded_at = Some(now);
        }
        self.until = self.until.filter(|&until| now < until);
    }

    /// Whether the worker is behind.
    pub(super) fn is_on(&self) -> bool {
        self.until.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_crowded_round_is_no_pressure_and_two_soon_after_each_other_are_for_a_while() {
        let (mut pressure, start) = (Pressure::default(), Instant::now());
        let mut on = |crowded, at: Duration| {
            pressure.note(crowded, start + at);
            pressure.is_on()
        };
        assert!(!on(true, Duration::ZERO));
        assert!(!on(false, WITHIN / 2));
        assert!(!on(true, WITHIN));
        assert!(!on(false, WITHIN * 3 / 2));
        assert!(on(true, WITHIN * 3 / 2));
        assert!(on(false, WITHIN * 2));
        assert!(!on(false, WITHIN * 5 / 2));
        assert!(!on(true, WITHIN * 5 / 2));
    }
}
