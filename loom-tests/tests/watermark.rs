//! W1 to W4 of `docs/concurrency.md`: a commit that is seen is seen whole, and with its own number.
#![cfg(loom)]

use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::thread;
use tidegauge::loom_only::commit::{Visible, Watermark};
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
