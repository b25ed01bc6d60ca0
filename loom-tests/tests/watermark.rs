//! W1 to W4, and D1, of `docs/concurrency.md`: a commit that is seen is seen whole, and with its own number; what is
//! called durable is on the device.
#![cfg(loom)]

use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::thread;
use tidegauge::loom_only::commit::{Durable, Visible, Watermark};
use tidegauge_loom_tests::model;

fn at(commit: u64) -> Visible {
    Visible { commit, seq: commit * 10 }
}

/// W3: what a commit applied, here into a cell that has no order of its own, is there for whoever loads the commit.
#[test]
fn a_reader_of_a_commit_finds_what_it_applied() {
    model(3, || {
        let shared = Arc::new((Watermark::new(at(1)), UnsafeCell::new(0)));
        let reader = {
            let shared = Arc::clone(&shared);
            thread::spawn(move || {
                if shared.0.load().commit == 2 {
                    shared.1.with(|_| ());
                }
            })
        };
        shared.1.with_mut(|_| ());
        shared.0.publish(at(2));
        reader.join().unwrap();
    });
}

/// W4, W1: over three commits, so that the place of a number is used again.
#[test]
fn commit_and_number_belong_together_and_never_fall() {
    model(3, || {
        let watermark = Arc::new(Watermark::new(at(1)));
        let reader = {
            let watermark = Arc::clone(&watermark);
            thread::spawn(move || {
                let first = watermark.load();
                assert_eq!(first, at(first.commit));
                let second = watermark.load();
                assert_eq!(second, at(second.commit));
                assert!(first.commit <= second.commit);
            })
        };
        for commit in 2..=4 {
            watermark.publish(at(commit));
        }
        reader.join().unwrap();
    });
}

/// D1: two threads raise the durable watermark, the one of the log and the one of segments. What each has brought to the
/// device before, here a cell that has no order of its own, is there for whoever reads a number at or above the one it
/// raised, and for the other who learns of it when it raises its own.
#[test]
fn what_is_called_durable_is_on_the_device() {
    model(3, || {
        let shared = Arc::new((Durable::new(10), UnsafeCell::new(0), UnsafeCell::new(0)));
        let flusher = {
            let shared = Arc::clone(&shared);
            thread::spawn(move || {
                shared.1.with_mut(|_| ());
                if shared.0.synced(20) == 30 {
                    shared.2.with(|_| ());
                }
            })
        };
        let reader = {
            let shared = Arc::clone(&shared);
            thread::spawn(move || {
                let first = shared.0.seq();
                match first {
                    30 => shared.2.with(|_| ()),
                    20 => shared.1.with(|_| ()),
                    _ => assert_eq!(first, 10),
                }
                assert!(shared.0.seq() >= first);
            })
        };
        shared.2.with_mut(|_| ());
        assert_eq!(shared.0.synced(30), 30);
        flusher.join().unwrap();
        reader.join().unwrap();
    });
}
