//! N1, N2, N4 and N5 of `docs/concurrency.md`: who waits is woken.
#![cfg(loom)]

use std::sync::Arc as StdArc;
use std::sync::atomic::{AtomicUsize as StdUsize, Ordering::SeqCst};
use std::task::{Wake, Waker};

use loom::sync::atomic::{AtomicU64, Ordering::Relaxed};
use loom::sync::{Arc, Mutex};
use loom::thread;
use tidegauge::loom_only::wait::{DurableWaiters, WaitList};
use tidegauge_loom_tests::model;

/// Counts wakes. Its counter is std's, which loom does not see, so it orders nothing.
#[derive(Default)]
struct Count(StdUsize);

impl Wake for Count {
    fn wake(self: StdArc<Self>) {
        self.0.fetch_add(1, SeqCst);
    }
}

/// A number without any order of its own, and those who wait for it.
struct Shared {
    number: AtomicU64,
    waiters: WaitList,
}

fn shared() -> Arc<Shared> {
    Arc::new(Shared { number: AtomicU64::new(0), waiters: WaitList::new() })
}

/// N1: registers, then looks. Answers whether the look found the number, and how to tell of the wake.
fn register_and_look(shared: &Shared, target: u64) -> (bool, StdArc<Count>) {
    let count = StdArc::new(Count::default());
    shared.waiters.register(target, &Waker::from(StdArc::clone(&count)));
    (shared.number.load(Relaxed) >= target, count)
}

fn raise(shared: &Shared, number: u64) {
    shared.number.store(number, Relaxed);
    shared.waiters.reached(number);
}

/// N1.
#[test]
fn who_does_not_see_the_number_is_woken() {
    model(3, || {
        let shared = shared();
        let waiter = {
            let shared = Arc::clone(&shared);
            thread::spawn(move || register_and_look(&shared, 1))
        };
        raise(&shared, 1);
        let (seen, count) = waiter.join().unwrap();
        assert!(seen || count.0.load(SeqCst) == 1, "neither seen nor woken");
    });
}

/// N1, N2: two wait for different numbers; each is woken by a number at or above his own, and not before.
#[test]
fn each_is_woken_at_its_own_number() {
    model(2, || {
        let shared = shared();
        let waiters = [1, 2].map(|target| {
            let shared = Arc::clone(&shared);
            thread::spawn(move || register_and_look(&shared, target))
        });
        raise(&shared, 1);
        let [first, second] = waiters.map(|waiter| waiter.join().unwrap());
        assert!(first.0 || first.1.0.load(SeqCst) == 1, "neither seen nor woken");
        assert_eq!(second.1.0.load(SeqCst), 0, "woken early");
        assert!(shared.waiters.is_waiting());
        raise(&shared, 2);
        assert_eq!(second.1.0.load(SeqCst), 1);
    });
}

/// N2: one withdraws while the number is raised; the other is not forgotten over it.
#[test]
fn a_withdrawal_takes_only_its_own_registration() {
    model(2, || {
        let shared = shared();
        let (gone, count) = (StdArc::new(Count::default()), StdArc::new(Count::default()));
        let ticket = shared.waiters.register(1, &Waker::from(StdArc::clone(&gone)));
        shared.waiters.register(1, &Waker::from(StdArc::clone(&count)));
        let raiser = {
            let shared = Arc::clone(&shared);
            thread::spawn(move || raise(&shared, 1))
        };
        shared.waiters.withdraw(ticket);
        raiser.join().unwrap();
        assert_eq!(count.0.load(SeqCst), 1);
        assert!(gone.0.load(SeqCst) <= 1);
        assert!(!shared.waiters.is_waiting());
    });
}

/// A push at position 1 that gets the number 2, and those who wait until it is durable.
struct Device {
    visible: AtomicU64,
    durable: AtomicU64,
    waiters: DurableWaiters<u64>,
}

impl Device {
    fn number(&self, position: u64) -> Option<u64> {
        (self.visible.load(Relaxed) >= position).then_some(2)
    }

    fn is_durable(&self) -> bool {
        self.durable.load(Relaxed) >= 2
    }

    /// As a wait does it. Answers whether it found the push durable.
    fn register_and_look(&self, waker: &Waker) -> bool {
        let ticket = self.waiters.register_push(1, waker);
        if self.number(1).is_none() {
            return false;
        }
        self.waiters.withdraw(ticket);
        let ticket = self.waiters.register(2, waker);
        let durable = self.is_durable();
        if durable {
            self.waiters.withdraw(ticket);
        }
        durable
    }
}

/// N4.
#[test]
fn who_waits_for_the_device_is_woken_whichever_watermark_moves_first() {
    model(2, || {
        let device =
            Arc::new(Device { visible: AtomicU64::new(0), durable: AtomicU64::new(0), waiters: DurableWaiters::new() });
        let count = StdArc::new(Count::default());
        let waiter = {
            let (device, waker) = (Arc::clone(&device), Waker::from(StdArc::clone(&count)));
            thread::spawn(move || device.register_and_look(&waker))
        };
        let sync = {
            let device = Arc::clone(&device);
            thread::spawn(move || {
                device.durable.store(2, Relaxed);
                device.waiters.reached(2);
            })
        };
        device.visible.store(1, Relaxed);
        device.waiters.visible(|&position| device.number(position), || device.durable.load(Relaxed));
        let seen = waiter.join().unwrap();
        sync.join().unwrap();
        assert!(seen || count.0.load(SeqCst) == 1, "neither seen nor woken");
        assert!(count.0.load(SeqCst) <= 2, "woken more often than registered");
        assert!(!device.waiters.is_waiting(), "a registration is left behind");
    });
}

/// N5: the disk fills while somebody waits, for his push to be visible and for the device. Nothing ever gets a number;
/// the gate is a lock, and tells who looks.
#[test]
fn who_waits_when_the_disk_fills_is_told() {
    model(3, || {
        let shared = Arc::new((Mutex::new(false), WaitList::<u64>::new(), DurableWaiters::<u64>::new()));
        let count = StdArc::new(Count::default());
        let waiter = {
            let (shared, waker) = (Arc::clone(&shared), Waker::from(StdArc::clone(&count)));
            thread::spawn(move || {
                // Each registers, then looks.
                shared.1.register(1, &waker);
                let first = *shared.0.lock().unwrap();
                shared.2.register_push(1, &waker);
                [first, *shared.0.lock().unwrap()]
            })
        };
        *shared.0.lock().unwrap() = true;
        shared.1.wake_all();
        shared.2.wake_pushed();
        let told = waiter.join().unwrap();
        let told_or_woken = told.iter().filter(|told| **told).count() + count.0.load(SeqCst);
        assert!(told_or_woken >= 2, "{told:?}, woken {} times", count.0.load(SeqCst));
    });
}
