//! U2 to U4 of `docs/concurrency.md`: whole commits in order, every gap told, and nobody left waiting.
#![cfg(loom)]

use std::task::{Wake, Waker};

use loom::sync::Arc;
use loom::thread;
use tidegauge::loom_only::commit::{Visible, Watermark};
use tidegauge::loom_only::subscribe::{Inbox, Missed, Next, feed};
use tidegauge_loom_tests::model;

struct Unpark(thread::Thread);

impl Wake for Unpark {
    fn wake(self: std::sync::Arc<Self>) {
        self.0.unpark();
    }
}

/// As `Subscription::recv` waits: looks, registers, looks again, parks.
fn recv(inbox: &mut Inbox<u64>, waker: &Waker) -> Next<u64> {
    loop {
        let ticket = inbox.register(waker);
        let next = inbox.next();
        inbox.withdraw(ticket);
        if next != Next::Empty {
            return next;
        }
        let ticket = inbox.register(waker);
        let next = inbox.next();
        if next != Next::Empty {
            inbox.withdraw(ticket);
            return next;
        }
        thread::park();
        inbox.withdraw(ticket);
    }
}

/// Commits `1..=commits` of one sample each go through a ring that holds one of them; the reader accounts for each.
fn every_commit_is_delivered_or_told(commits: u64) {
    model(2, move || {
        let (mut feed, mut inbox) = feed(2);
        let watermark = Arc::new(Watermark::new(Visible { commit: 0, seq: 0 }));
        let reader = {
            let watermark = Arc::clone(&watermark);
            thread::spawn(move || {
                let waker = Waker::from(std::sync::Arc::new(Unpark(thread::current())));
                let mut next = 0;
                loop {
                    match recv(&mut inbox, &waker) {
                        Next::Commit(head, samples) => {
                            assert_eq!((head.first, head.end, head.samples), (next, next + 1, 1));
                            assert_eq!(samples, [next * 10]);
                            next += 1;
                            assert!(watermark.load().seq >= next, "delivered before it was visible");
                        }
                        Next::Missed(Missed { commits, samples }) => {
                            assert_eq!(commits, samples);
                            next += commits;
                        }
                        Next::Ended => return next,
                        Next::Empty => unreachable!(),
                    }
                }
            })
        };
        for seq in 0..commits {
            feed.stage(seq * 10);
            watermark.publish(Visible { commit: seq + 1, seq: seq + 1 });
            feed.offer(seq, seq + 1, || false);
        }
        drop(feed);
        assert_eq!(reader.join().unwrap(), commits, "not told of all");
    });
}

/// U2, U3, U4.
#[test]
fn each_commit_is_delivered_whole_or_told_as_missed() {
    every_commit_is_delivered_or_told(3);
}

/// U4: a reader that waits is woken by a delivery, before the end.
#[test]
fn a_delivery_wakes_its_reader() {
    model(3, || {
        let (mut feed, mut inbox) = feed(2);
        let reader = thread::spawn(move || {
            let waker = Waker::from(std::sync::Arc::new(Unpark(thread::current())));
            assert!(matches!(recv(&mut inbox, &waker), Next::Commit(_, samples) if samples == [7]));
        });
        feed.stage(7);
        feed.offer(0, 1, || false);
        reader.join().unwrap();
        drop(feed);
    });
}

/// U5: a reader that leaves at any moment is noticed, and the worker goes on.
#[test]
fn a_reader_that_leaves_is_noticed() {
    model(3, || {
        let (mut feed, mut inbox) = feed(2);
        let reader = thread::spawn(move || {
            let _ = inbox.next();
        });
        for seq in 0..2 {
            feed.stage(seq);
            feed.offer(seq, seq + 1, || false);
        }
        reader.join().unwrap();
        assert!(feed.is_gone());
    });
}
