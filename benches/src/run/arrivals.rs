//! Open-loop arrival: samples are due at times that do not depend on how the engine does.
//!
//! A time counts from when the batch was due, not from when the appender came to push it: an engine that stands still
//! for a second is late for all that were due in that second, and not for the one batch that was under way.

use std::sync::mpsc::Receiver;
use std::thread;
use std::time::{Duration, Instant};

use tidegauge::{Ack, Engine, Level};

use super::ingest::PATIENCE;
use crate::error::Error;
use crate::measure::{Latency, thread_cpu};

/// When each batch of one appender is due. The batches of all appenders together come at even distances.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Schedule {
    /// Samples a second of all appenders.
    pub(crate) samples_per_s: u64,
    pub(crate) batch: u64,
    pub(crate) appenders: u64,
    /// This appender's place among them.
    pub(crate) index: u64,
}

/// Batches of all appenders of which it is watched when they become visible, a second, about.
const WATCHED_PER_S: u64 = 10_000;
/// A sleep may end so much late.
const SLEEP_MARGIN: Duration = Duration::from_micros(200);
/// So long before the end of a wait its processor time is asked for: asking at the end would make each push late.
const ASK_BEFORE: Duration = Duration::from_micros(5);

impl Schedule {
    /// When the batch is due that follows the first `before` samples of this appender.
    pub(crate) fn due_after(&self, before: u64) -> Duration {
        let ahead = u128::from(before) * u128::from(self.appenders) + u128::from(self.batch) * u128::from(self.index);
        Duration::from_nanos((ahead * 1_000_000_000 / u128::from(self.samples_per_s)) as u64)
    }

    /// One batch in this many is watched: never a choice of the engine's. Odd: a stride with a factor of what has 2ⁿ samples
    /// would meet the same places of it again and again.
    pub(crate) fn watched_one_in(&self) -> u64 {
        (self.samples_per_s / self.batch / WATCHED_PER_S) | 1
    }
}

/// Sleeps where there is time, then spins: a sleep alone ends tens of microseconds late. Answers the processor time that
/// this took, which is the generator's and not the engine's.
pub(crate) fn wait_until(due: Instant) -> Duration {
    let left = || due.saturating_duration_since(Instant::now());
    let mut spent = Duration::ZERO;
    if left() > ASK_BEFORE {
        let before = thread_cpu();
        loop {
            let left = left();
            if left > SLEEP_MARGIN {
                thread::sleep(left - SLEEP_MARGIN);
            } else if left > ASK_BEFORE {
                std::hint::spin_loop();
            } else {
                break;
            }
        }
        spent = thread_cpu() - before;
    }
    // What is left is spun through; where the processor is taken away meanwhile, no more than that counts.
    let last = left();
    while !left().is_zero() {
        std::hint::spin_loop();
    }
    spent + last
}

/// Times from when a batch was due.
#[derive(Debug)]
pub(crate) struct Arrivals {
    /// Until its push returned.
    pub(crate) pushed: Latency,
    /// Until it was visible, or durable.
    pub(crate) reached: Latency,
}

impl Arrivals {
    pub(crate) fn new() -> Self {
        Self { pushed: Latency::new(), reached: Latency::new() }
    }

    pub(crate) fn merge(&mut self, other: &Self) {
        self.pushed.merge(&other.pushed);
        self.reached.merge(&other.reached);
    }
}

/// Waits for each push that it is told of, one after the other, and takes the time since it was due.
pub(crate) fn watch(engine: &Engine, level: Level, pushed: &Receiver<(Instant, Ack)>) -> Result<Latency, Error> {
    let mut latency = Latency::new();
    for (due, ack) in pushed {
        engine.wait(ack, level, PATIENCE).map_err(Error::engine("waiting for samples"))?;
        latency.record_ns(due.elapsed().as_nanos() as u64);
    }
    Ok(latency)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_of_all_appenders_come_at_even_distances_and_at_the_rate_asked_for() {
        let (rate, batch, appenders) = (3_000_000, 1_000, 7);
        let mut due: Vec<Duration> = Vec::new();
        for index in 0..appenders {
            let schedule = Schedule { samples_per_s: rate, batch, appenders, index };
            due.extend((0..1_000).map(|k| schedule.due_after(k * batch)));
        }
        due.sort_unstable();
        // Counted apart: one batch after the other, a third of a millisecond each.
        let mut thirds_of_ns = 0u64;
        for at in &due {
            assert_eq!(at.as_nanos() as u64, thirds_of_ns / 3);
            thirds_of_ns += 1_000_000;
        }
        let first_second = due.iter().filter(|at| at.as_secs() == 0).count() as u64;
        assert_eq!(first_second * batch, rate);
    }

    #[test]
    fn so_few_are_watched_that_watching_costs_little() {
        let one_in = |samples_per_s, batch| Schedule { samples_per_s, batch, appenders: 1, index: 0 }.watched_one_in();
        assert_eq!((one_in(1_000, 1), one_in(10_000_000, 1_000), one_in(2_000_000, 1)), (1, 1, 201));
    }

    #[test]
    fn batches_that_are_watched_meet_each_place_of_what_has_a_power_of_two_of_samples() {
        for samples_per_s in (1..200).map(|n| n * 20_000) {
            let stride = Schedule { samples_per_s, batch: 1, appenders: 1, index: 0 }.watched_one_in();
            let places: std::collections::HashSet<u64> = (1..=64).map(|n| n * stride % 64).collect();
            assert_eq!(places.len(), 64, "{samples_per_s} samples a second: one in {stride}");
        }
    }

    #[test]
    fn nobody_is_early() {
        for ahead in [0, 50, 1_000] {
            let due = Instant::now() + Duration::from_micros(ahead);
            wait_until(due);
            assert!(Instant::now() >= due);
        }
    }

    #[test]
    fn a_wait_answers_the_processor_time_that_it_took_and_not_the_time_slept() {
        // Long ones sleep nearly all the time, of short ones nearly all is spinning.
        for (times, wait) in [(5, Duration::from_millis(40)), (200, SLEEP_MARGIN), (2_000, ASK_BEFORE)] {
            let before = thread_cpu();
            let told: Duration = (0..times).map(|_| wait_until(Instant::now() + wait)).sum();
            let took = thread_cpu() - before;
            // Asking and counting take little, on a slow machine too, and what is spun last is told as if it all had been.
            let (least, most) = (took.saturating_sub(times * Duration::from_micros(100)), took + times * ASK_BEFORE);
            assert!((least..=most).contains(&told), "{times} × {wait:?}: {told:?} told, {took:?} taken");
        }
    }
}
