//! S1 to S4 of `docs/concurrency.md`: the worker knows of every commit that somebody may look at.
#![cfg(loom)]

use loom::sync::Arc;
use loom::thread;
use tidegauge::loom_only::commit::{PinView, Pins, Visible, Watermark};
use tidegauge_loom_tests::model;

fn at(commit: u64) -> Visible {
    Visible { commit, seq: commit * 10 }
}

fn shared() -> Arc<(Arc<Pins>, Watermark)> {
    Arc::new((Arc::new(Pins::new()), Watermark::new(at(1))))
}

/// S2: publishes, looks, and answers whether the length before commit `commit` was kept for `pinned`.
fn publish_and_look(shared: &(Arc<Pins>, Watermark), commit: u64, view: &mut PinView) {
    shared.1.publish(at(commit));
    shared.0.look(view);
}

/// S1, S2: a pin that the look after commit 2 does not see is pinned to 2 or later.
#[test]
fn a_pin_is_seen_or_it_is_younger() {
    model(3, || {
        let shared = shared();
        let reader = {
            let shared = Arc::clone(&shared);
            thread::spawn(move || Pins::pin(&shared.0, &shared.1, || (shared.1.load(), ())).0)
        };
        let mut view = PinView::default();
        publish_and_look(&shared, 2, &mut view);
        let pin = reader.join().unwrap();
        let commit = pin.visible().commit;
        assert!(commit >= 2 || view.needs(commit, commit + 1), "commit {commit} is not known: {view:?}");
    });
}

/// S2: another reader, with a slot above, has counted both, and the worker looks before that one comes to its fence.
#[test]
fn a_pin_below_one_that_another_reader_has_counted_is_seen() {
    model(2, || {
        let shared = shared();
        let other = {
            let shared = Arc::clone(&shared);
            thread::spawn(move || Pins::pin(&shared.0, &shared.1, || (shared.1.load(), ())).0)
        };
        let worker = {
            let shared = Arc::clone(&shared);
            thread::spawn(move || {
                let mut view = PinView::default();
                publish_and_look(&shared, 2, &mut view);
                view
            })
        };
        let pin = Pins::pin(&shared.0, &shared.1, || (shared.1.load(), ())).0;
        let view = worker.join().unwrap();
        let commit = pin.visible().commit;
        assert!(commit >= 2 || view.needs(commit, commit + 1), "commit {commit} is not known: {view:?}");
        drop(other.join().unwrap());
    });
}

/// S3: whether the worker sees the announcement or the pin itself, it keeps that commit, over several looks.
#[test]
fn a_pin_that_is_held_is_seen_by_every_look() {
    model(2, || {
        let shared = shared();
        let reader = {
            let shared = Arc::clone(&shared);
            thread::spawn(move || Pins::pin(&shared.0, &shared.1, || (shared.1.load(), ())).0)
        };
        let mut views = [PinView::default(), PinView::default()];
        publish_and_look(&shared, 2, &mut views[0]);
        publish_and_look(&shared, 3, &mut views[1]);
        let commit = reader.join().unwrap().visible().commit;
        assert!(commit >= 2 || views[0].needs(commit, commit + 1));
        assert!(commit >= 3 || views[1].needs(commit, commit + 1));
    });
}

/// S3: more pins than slots (two, in a model): those that found none are kept for as well, and forgotten when dropped.
#[test]
fn pins_without_a_slot_are_counted() {
    model(2, || {
        let shared = shared();
        let first: Vec<_> = (0..2).map(|_| Pins::pin(&shared.0, &shared.1, || (shared.1.load(), ())).0).collect();
        let reader = {
            let shared = Arc::clone(&shared);
            thread::spawn(move || Pins::pin(&shared.0, &shared.1, || (shared.1.load(), ())).0)
        };
        let mut view = PinView::default();
        publish_and_look(&shared, 2, &mut view);
        let pin = reader.join().unwrap();
        let commit = pin.visible().commit;
        assert!(view.needs(1, 2), "the first two are pinned to 1");
        drop(first);
        shared.0.look(&mut view);
        assert!(view.needs(commit, commit + 1));
        drop(pin);
        shared.0.look(&mut view);
        assert!(view.is_empty());
    });
}

/// S4: a slot that is let go and taken again at once tells of the new pin.
#[test]
fn a_slot_is_taken_again() {
    model(2, || {
        let shared = shared();
        let old = Pins::pin(&shared.0, &shared.1, || (shared.1.load(), ())).0;
        let reader = {
            let shared = Arc::clone(&shared);
            thread::spawn(move || {
                drop(old);
                Pins::pin(&shared.0, &shared.1, || (shared.1.load(), ())).0
            })
        };
        let mut view = PinView::default();
        publish_and_look(&shared, 2, &mut view);
        let commit = reader.join().unwrap().visible().commit;
        assert!(commit >= 2 || view.needs(commit, commit + 1));
    });
}
