//! Queries stand back where the store takes in more than it keeps up with beside them: processors are left for what
//! comes in, and answers take longer.
//!
//! Within a query a pause follows each piece of work. What a whole query took, its thread owes afterwards, and pays
//! before it begins its next: who asks now and then never waits, who asks without end leaves most of a processor to
//! others. A yield would not do: where more threads want to run than there are processors, each has its share whatever
//! it yields.

use std::cell::Cell;
use std::time::{Duration, Instant};

use super::Ledger;

/// Pauses are this many times as long as the work before. Measured with two readers beside one appender and the worker
/// on two processors: 4 leaves 0.70 of the samples a second that come in without queries, 2 leaves 0.61, 0 leaves 0.50.
const TIMES: u32 = 4;
/// Of work in samples. Less is done before another thread is scheduled in its place.
const WORTH_A_PAUSE: u64 = 1 << 13;
/// What a sample takes, roughly.
const NS_OF_A_SAMPLE: u64 = 1;
/// A thread owes no more than this.
const LONGEST: Duration = Duration::from_millis(50);

/// Samples that a thread is handed between two pauses.
const SAMPLES_HANDED_OUT: u64 = 1 << 15;

thread_local! {
    /// Samples that the thread was handed since its last pause.
    static HANDED_OUT: Cell<u64> = const { Cell::new(0) };
    /// When the thread's next query may begin, if queries still stand back then.
    static OWES_UNTIL: Cell<Option<Instant>> = const { Cell::new(None) };
}

impl Ledger {
    /// After a piece of work of one query: a pause, if it is due.
    pub(super) fn pause_after(&self, work: u64) {
        if work >= WORTH_A_PAUSE && self.is_pressed() {
            self.pause(Duration::from_nanos(work.saturating_mul(NS_OF_A_SAMPLE)).saturating_mul(TIMES).min(LONGEST));
        }
    }

    /// Samples went to whoever asked for them in pieces: a pause, once they are many, of however many series.
    pub(crate) fn handed_out(&self, samples: u64) {
        if self.is_pressed() {
            let all = HANDED_OUT.get() + samples;
            let due = all >= SAMPLES_HANDED_OUT;
            HANDED_OUT.set(if due { 0 } else { all });
            if due {
                self.pause_after(all);
            }
        }
    }

    /// Before a query: what this thread owes.
    pub(super) fn pause_before(&self) {
        if self.is_pressed()
            && let Some(until) = OWES_UNTIL.take()
        {
            self.pause(until.saturating_duration_since(Instant::now()));
        }
    }

    /// Runs a part of a query that nobody times otherwise. Reads no clock where queries need not stand back.
    pub(crate) fn owing<R>(&self, part: impl FnOnce() -> R) -> R {
        if !self.is_pressed() {
            return part();
        }
        self.pause_before();
        let began = Instant::now();
        let answer = part();
        let ended = Instant::now();
        self.owe(ended - began, ended);
        answer
    }

    /// A query of this thread has `ended` that `took` so long.
    pub(super) fn owe(&self, took: Duration, ended: Instant) {
        if self.is_pressed() {
            OWES_UNTIL.set(Some(ended + took.saturating_mul(TIMES).min(LONGEST)));
        }
    }

    fn pause(&self, pause: Duration) {
        if !pause.is_zero() {
            self.paused(pause);
            std::thread::sleep(pause);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_under_pressure_and_only_worthwhile_work_is_followed_by_a_pause() {
        let ledger = Ledger::new(0);
        ledger.pause_after(u64::MAX);
        ledger.owe(Duration::from_millis(1), Instant::now());
        ledger.pause_before();
        assert_eq!(ledger.time_paused(), Duration::ZERO);

        ledger.press(true);
        ledger.pause_after(WORTH_A_PAUSE - 1);
        assert_eq!(ledger.time_paused(), Duration::ZERO);
        ledger.pause_after(WORTH_A_PAUSE);
        let first = ledger.time_paused();
        assert_eq!(first, Duration::from_nanos(WORTH_A_PAUSE * NS_OF_A_SAMPLE * u64::from(TIMES)));

        ledger.press(false);
        ledger.pause_after(WORTH_A_PAUSE);
        assert_eq!(ledger.time_paused(), first);
    }

    #[test]
    fn samples_of_many_series_in_pieces_are_followed_by_a_pause_once_they_are_many() {
        let ledger = Ledger::new(0);
        let pieces = SAMPLES_HANDED_OUT / 1_000;
        (0..10 * pieces).for_each(|_| ledger.handed_out(1_000));
        assert_eq!(ledger.time_paused(), Duration::ZERO, "the store keeps up");
        ledger.press(true);
        (0..pieces).for_each(|_| ledger.handed_out(1_000));
        assert_eq!(ledger.time_paused(), Duration::ZERO);
        ledger.handed_out(1_000);
        let paused = Duration::from_nanos((pieces + 1) * 1_000 * NS_OF_A_SAMPLE * u64::from(TIMES));
        assert_eq!(ledger.time_paused(), paused);
        (0..pieces).for_each(|_| ledger.handed_out(1_000));
        assert_eq!(ledger.time_paused(), paused, "the count began anew");
    }

    #[test]
    fn what_a_query_took_is_owed_by_its_thread_alone_once_and_no_longer_than_a_bound() {
        let ledger = Ledger::new(0);
        ledger.press(true);
        // Ended in the future: whatever happens in between, all of it is still owed.
        ledger.owe(Duration::MAX, Instant::now());
        std::thread::scope(|scope| scope.spawn(|| ledger.pause_before()).join().unwrap());
        assert_eq!(ledger.time_paused(), Duration::ZERO);
        let far = Instant::now() + Duration::from_millis(20);
        ledger.owe(Duration::ZERO, far);
        ledger.pause_before();
        let paid = ledger.time_paused();
        assert!(paid > Duration::ZERO && paid <= Duration::from_millis(20), "{paid:?}");
        ledger.pause_before();
        assert_eq!(ledger.time_paused(), paid);

        ledger.owe(Duration::MAX, Instant::now());
        ledger.pause_before();
        assert!(ledger.time_paused() <= paid + LONGEST);
    }

    #[test]
    fn a_part_of_a_query_is_paid_for_before_the_next() {
        let ledger = Ledger::new(0);
        assert_eq!(ledger.owing(|| 1), 1);
        ledger.press(true);
        assert_eq!(ledger.owing(|| 2), 2);
        ledger.owe(Duration::MAX, Instant::now() + LONGEST);
        let before = ledger.time_paused();
        assert_eq!(ledger.owing(|| 3), 3);
        assert!(ledger.time_paused() > before, "what the one before took");
        assert!(OWES_UNTIL.get().is_some(), "what this one took");
    }

    #[test]
    fn a_debt_is_forgiven_where_the_store_keeps_up_again() {
        let ledger = Ledger::new(0);
        ledger.press(true);
        ledger.owe(Duration::from_secs(1), Instant::now());
        ledger.press(false);
        ledger.pause_before();
        assert_eq!(ledger.time_paused(), Duration::ZERO);
    }
}
