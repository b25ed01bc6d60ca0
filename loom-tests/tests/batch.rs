//! C1 and C3 of `docs/concurrency.md`: a batch is seen whole or not at all, and of two that exclude each other one is
//! committed.
#![cfg(loom)]

use std::sync::Arc as StdArc;
use std::time::Duration;

use loom::sync::Arc;
use loom::sync::atomic::AtomicBool;
use loom::sync::atomic::Ordering::Relaxed;
use loom::thread;
use tidegauge::loom_only::commit::{PinView, Pins, Visible, Watermark};
use tidegauge::loom_only::epoch;
use tidegauge::loom_only::memtable::{
    Full, HeadTable, HeadWriter, Kind, Memtable, Moment, Origin, Pair, Seal, SeriesHead,
};
use tidegauge::loom_only::requests::{Replier, Requests, reply};
use tidegauge_loom_tests::model;

/// Two series.
struct Heads {
    heads: [SeriesHead; 2],
    claimed: AtomicBool,
}

impl HeadTable for Heads {
    fn head(&self, slot: u32) -> &SeriesHead {
        &self.heads[slot as usize]
    }

    fn len(&self) -> u32 {
        2
    }

    fn claim_writer(&self) -> bool {
        !self.claimed.swap(true, Relaxed)
    }
}

/// No tail gets full in these models.
struct NoSink;

impl Seal for NoSink {
    fn seal(&mut self, _: Full<'_>) {
        unreachable!("no tail gets full");
    }

    fn pack(&mut self, _: Full<'_>) {
        unreachable!("no memtable is closed");
    }

    fn finish_pack(&mut self, _: u32, _: u32) {}

    fn weigh(&mut self, _: u32, _: isize) {}
}

struct Worker {
    writer: HeadWriter<Arc<Heads>>,
    pins: PinView,
    visible: Visible,
}

impl Worker {
    /// One commit: a sample of each series in `slots`, as the worker does it.
    fn commit(&mut self, watermark: &Watermark, pins: &Pins, slots: &[u32]) {
        pins.look(&mut self.pins);
        let commit = self.visible.commit + 1;
        let at = Moment { commit, origin: Origin { generation: 1, commit: 0 }, pins: &self.pins };
        let mut seq = self.visible.seq;
        for &slot in slots {
            let pair = Pair { timestamp: seq as i64, value: 0.0 };
            self.writer.append(slot, &at, seq, pair, &mut NoSink);
            seq += 1;
        }
        self.visible = Visible { commit, seq };
        watermark.publish(self.visible);
    }
}

fn worker() -> (Worker, Arc<Heads>) {
    let heads = Arc::new(Heads { heads: [SeriesHead::new(), SeriesHead::new()], claimed: AtomicBool::new(false) });
    let writer = HeadWriter::new(Arc::clone(&heads)).unwrap();
    (Worker { writer, pins: PinView::default(), visible: Visible { commit: 0, seq: 1 } }, heads)
}

/// C3: two batches of a sample of each series; whoever pins a commit finds both samples of a batch or neither.
#[test]
fn a_batch_is_seen_whole_or_not_at_all() {
    model(2, || {
        let (mut worker, heads) = worker();
        let (pins, watermark) = (Arc::new(Pins::new()), Arc::new(Watermark::new(worker.visible)));
        let memtable = StdArc::new(Memtable::new(1, 1));
        let guard = epoch::pin();
        let reader = {
            let (pins, watermark) = (Arc::clone(&pins), Arc::clone(&watermark));
            thread::spawn(move || {
                let (pin, ()) = Pins::pin(&pins, &watermark, || (watermark.load(), ()));
                let commit = pin.visible().commit;
                let lens = [0, 1].map(|slot| {
                    let (_, tail) = memtable.parts(heads.head(slot), &guard, slot, Kind::InOrder, commit);
                    tail.len() as u64
                });
                assert_eq!(lens, [commit, commit], "part of a batch");
                drop(guard);
            })
        };
        worker.commit(&watermark, &pins, &[0, 1]);
        worker.commit(&watermark, &pins, &[1, 0]);
        reader.join().unwrap();
    });
}

/// C1, C2: two ask at once for a first sample of the same series, each on the condition that there is none.
#[test]
fn of_two_batches_that_exclude_each_other_one_is_committed() {
    model(2, || {
        let (mut worker, heads) = worker();
        let (pins, watermark) = (Pins::new(), Arc::new(Watermark::new(worker.visible)));
        let requests: Arc<Requests<Replier<bool>>> = Arc::new(Requests::new(4));
        let askers = [(); 2].map(|()| {
            let (requests, watermark) = (Arc::clone(&requests), Arc::clone(&watermark));
            thread::spawn(move || {
                let (replier, mut verdict) = reply();
                requests.ask(replier, 1, Duration::ZERO).unwrap();
                let committed = verdict.wait(None).unwrap();
                assert!(watermark.load().commit == 1, "whoever is answered finds the one batch visible");
                committed
            })
        });
        let mut judged = 0;
        while judged < 2 {
            let Some(replier) = requests.take_first_that(|_, _| true) else {
                thread::yield_now();
                continue;
            };
            let holds = heads.head(0).last_seq().is_none();
            if holds {
                worker.commit(&watermark, &pins, &[0]);
            }
            replier.tell(holds);
            judged += 1;
        }
        let committed = askers.map(|asker| asker.join().unwrap());
        assert_eq!(committed.iter().filter(|committed| **committed).count(), 1);
    });
}
