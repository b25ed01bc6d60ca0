//! Tails without an engine.

use std::sync::Arc;

use super::*;
use crate::commit::{Pins, Visible, Watermark};
use crate::sync::epoch;

#[test]
fn capacities_fill_cache_lines_and_end_at_a_full_tail() {
    let mut capacity = 0;
    let mut steps = vec![];
    while capacity < TAIL_SAMPLES {
        capacity = next_capacity(capacity);
        steps.push(capacity);
    }
    assert_eq!(steps, [3, 7, 11, 15, 31, 63, 127, 255, 511, 1024]);
    assert!(steps.windows(2).all(|w| w[0] < w[1]));
    assert_eq!(*steps.last().unwrap(), TAIL_SAMPLES);
    assert_eq!(TailBuf::layout(3).size(), 64);
}

const FIRST: Origin = Origin { generation: 1, commit: 0 };

struct Heads(SeriesHead, AtomicU64);

impl HeadTable for Heads {
    fn head(&self, _: u32) -> &SeriesHead {
        &self.0
    }

    fn len(&self) -> u32 {
        1
    }

    fn claim_writer(&self) -> bool {
        self.1.fetch_add(1, Ordering::Relaxed) == 0
    }
}

struct Sink<'a>(&'a crate::memtable::Memtable, crate::memtable::Sealer);

impl Seal for Sink<'_> {
    fn seal(&mut self, full: Full<'_>) {
        let key = crate::memtable::ChunkKey::new(full.slot, full.kind, full.ordinal);
        self.0.table.insert(key, std::sync::Arc::new(self.1.seal(full)));
    }

    fn pack(&mut self, _: Full<'_>) {
        unreachable!("nothing is closed here");
    }

    fn finish_pack(&mut self, _: u32, _: u32) {}

    fn weigh(&mut self, _: u32, bytes: isize) {
        self.0.weigh(bytes);
    }
}

/// Keeps what is sealed, in order and late apart.
#[derive(Default)]
struct Recorder([Vec<Pair>; 2]);

impl Seal for Recorder {
    fn seal(&mut self, full: Full<'_>) {
        self.0[usize::from(full.kind == Kind::Late)].extend_from_slice(full.pairs);
    }

    fn pack(&mut self, _: Full<'_>) {
        unreachable!("nothing is closed here");
    }

    fn finish_pack(&mut self, _: u32, _: u32) {}

    fn weigh(&mut self, _: u32, _: isize) {}
}

#[test]
fn runs_end_where_a_tail_is_full_or_a_sample_is_late_and_nothing_is_lost_or_moved() {
    // Ascending, now and then the same time again or an earlier one, over several tails.
    let timestamp = |n: i64| match n % 701 {
        0 => n - 50,
        350 => n - 1,
        _ => n,
    };
    let all: Vec<Pair> = (0..3_500).map(|n| Pair { timestamp: timestamp(n), value: n as f64 }).collect();
    // One by one: what is not newer than all in order before it is late.
    let (mut naive, mut newest) = ([vec![], vec![]], None);
    for pair in &all {
        let late = newest.is_some_and(|newest| pair.timestamp <= newest);
        naive[usize::from(late)].push(*pair);
        newest = newest.max(Some(pair.timestamp));
    }
    let heads = Heads(SeriesHead::new(), AtomicU64::new(0));
    let (mut writer, mut recorder, pins) = (HeadWriter::new(&heads).unwrap(), Recorder::default(), PinView::default());
    let (mut next, mut commit, mut runs) = (0, 0, 0);
    while next < all.len() {
        commit += 1;
        let at = Moment { commit, origin: FIRST, pins: &pins };
        let more = all[next + 1..].iter().copied().take(400);
        let taken = writer.append_run(0, &at, next as u64 + 1, all[next], more, &mut recorder);
        assert!((1..=401).contains(&taken), "{taken}");
        next += taken;
        assert_eq!(heads.0.last_seq(), Some(next as u64));
        runs += 1;
    }
    assert!(runs < 100, "{runs} runs: they are short");
    for (kind, expected) in [(Kind::InOrder, &naive[0]), (Kind::Late, &naive[1])] {
        let mut found = std::mem::take(&mut recorder.0[usize::from(kind == Kind::Late)]);
        heads.0.view(&epoch::pin(), kind, FIRST, commit, &mut found);
        assert_eq!(&found, expected, "{kind:?}");
    }
}

/// T9: as of the commit before, a late sample of the running one may be newer than what is visible, and is not visible.
#[test]
fn only_a_late_sample_in_place_of_the_newest_keeps_the_tail_from_telling_the_newest() {
    let heads = Heads(SeriesHead::new(), AtomicU64::new(0));
    let (mut writer, mut recorder, pins) = (HeadWriter::new(&heads).unwrap(), Recorder::default(), PinView::default());
    let mut push = |commit, timestamp| {
        let at = Moment { commit, origin: FIRST, pins: &pins };
        writer.append(0, &at, 1, Pair { timestamp, value: 0.0 }, &mut recorder);
    };
    let newest = |visible| heads.0.newest(&epoch::pin(), FIRST, || visible).map(|pair| pair.timestamp);
    push(1, 5);
    push(2, 9);
    push(2, 7);
    assert_eq!([newest(1), newest(2)], [Some(5), Some(9)]);
    assert_eq!(heads.0.newest_at(&epoch::pin(), FIRST, 1).map(|pair| pair.timestamp), Some(5));
    push(3, 9);
    assert_eq!([newest(2), newest(3)], [None, None], "the late one is not told by this tail");
    push(4, 10);
    push(4, 6);
    assert_eq!([newest(3), newest(4)], [None, Some(10)]);
}

/// T2, T4, T6, T8 with real threads and real epochs: late samples, because late chunks are read as they are.
#[test]
fn readers_find_a_beginning_while_tails_grow_and_are_sealed() {
    const ALL: i64 = if cfg!(miri) { 1100 } else { 60_000 };
    let heads = Heads(SeriesHead::new(), AtomicU64::new(0));
    let memtable = crate::memtable::Memtable::new(1, 0);
    let mut writer = HeadWriter::new(&heads).unwrap();
    assert!(HeadWriter::new(&heads).is_none(), "T1");
    let pins = PinView::default();
    let mut sink = Sink(&memtable, crate::memtable::Sealer::default());
    let moment = |commit| Moment { commit, origin: FIRST, pins: &pins };
    writer.append(0, &moment(1), 1, Pair { timestamp: i64::MAX, value: 0.0 }, &mut sink);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let mut least = 0;
                while least < ALL {
                    let (chunks, tail) = memtable.parts(&heads.0, &epoch::pin(), 0, Kind::Late, u64::MAX);
                    let found: Vec<i64> =
                        chunks.iter().flat_map(|c| c.pairs(u64::MAX)).chain(&tail).map(|pair| pair.timestamp).collect();
                    assert!(found.iter().copied().eq(0..found.len() as i64), "not a beginning");
                    assert!(found.len() as i64 >= least, "something went away");
                    least = found.len() as i64;
                    std::thread::yield_now();
                }
            });
        }
        for timestamp in 0..ALL {
            let commit = 2 + timestamp as u64 / 7;
            writer.append(0, &moment(commit), 1, Pair { timestamp, value: 0.0 }, &mut sink);
        }
    });
}

#[test]
fn a_length_is_found_for_every_commit_that_has_a_mark() {
    let marks = [ChunkMark { commit: 9, base: 5 }, ChunkMark { commit: 4, base: 2 }];
    let at = |commit| len_at(commit, 8, marks);
    assert_eq!([at(3), at(4), at(8), at(9), at(10)], [2, 5, 5, 8, 8]);
}

/// T10: beyond what a state can count, whatever the process has committed before its memtable began.
#[test]
fn tails_tell_commits_apart_however_many_there_were_before_their_memtable() {
    const WRAP: u64 = 1 << COMMIT_BITS;
    let pinned = |commit: u64| {
        let (pins, at) = (Arc::new(Pins::new()), Visible { commit, seq: commit });
        let pin = Pins::pin(&pins, &Watermark::new(at), || (at, ())).0;
        let mut view = PinView::default();
        pins.look(&mut view);
        drop(pin);
        view
    };
    for first in [WRAP - 1, WRAP, 3 * WRAP + 7] {
        let heads = Heads(SeriesHead::new(), AtomicU64::new(0));
        let (mut writer, mut recorder) = (HeadWriter::new(&heads).unwrap(), Recorder::default());
        let of = crate::memtable::Memtable::beginning(2, 0, first).origin();
        let (none, pins) = (PinView::default(), pinned(first + 1));
        // The commit that is pinned brings two runs.
        for (timestamp, commit) in [(1, first), (2, first + 1), (3, first + 1), (4, first + 2), (5, first + 3)] {
            let pins = if commit <= first + 1 { &none } else { &pins };
            let at = Moment { commit, origin: of, pins };
            writer.append(0, &at, 1, Pair { timestamp, value: 0.0 }, &mut recorder);
            // As of the commits that may be visible by then.
            let newest = |visible| heads.0.newest(&epoch::pin(), of, || visible).map(|pair| pair.timestamp);
            let before = (commit > first).then_some(if commit == first + 1 { 1 } else { timestamp - 1 });
            assert_eq!(
                [newest(commit - 1), newest(commit)],
                [before, Some(timestamp)],
                "first {first}, commit {commit}"
            );
        }
        let mut found = vec![];
        heads.0.view(&epoch::pin(), Kind::InOrder, of, first + 1, &mut found);
        assert_eq!(found.iter().map(|pair| pair.timestamp).collect::<Vec<_>>(), [1, 2, 3], "first {first}");
        assert_eq!(heads.0.newest_at(&epoch::pin(), of, first + 1).map(|pair| pair.timestamp), Some(3));
    }
}

/// T10: and it is rotated long before it can count no further.
#[test]
fn a_memtable_is_old_before_its_tails_cannot_tell_commits_apart() {
    let memtable = crate::memtable::Memtable::beginning(1, 0, 1 << 50);
    let old = |commit| memtable.is_old(commit);
    let first = 1 << 50;
    assert_eq!([first - 1, first, first + COMMITS_MAX - 1, first + COMMITS_MAX].map(old), [false, false, false, true]);
    const { assert!(COMMITS_MAX * 2 <= 1 << COMMIT_BITS) };
}

/// Marks of pins weighed nothing: whoever held many snapshots had a memtable that was larger than it said.
#[test]
fn the_marks_that_pins_need_weigh_and_are_given_back() {
    let pins = Arc::new(Pins::new());
    let weighed = |held: usize| {
        let at = Visible { commit: 1, seq: 1 };
        let watermark = Watermark::new(at);
        let _held: Vec<_> = (0..held).map(|_| Pins::pin(&pins, &watermark, || (at, ())).0).collect();
        let mut view = PinView::default();
        pins.look(&mut view);
        let heads = Heads(SeriesHead::new(), AtomicU64::new(0));
        let memtable = crate::memtable::Memtable::new(1, 0);
        let mut writer = HeadWriter::new(&heads).unwrap();
        let mut sink = Sink(&memtable, crate::memtable::Sealer::default());
        for commit in 1..=300 {
            let at = Moment { commit, origin: memtable.origin(), pins: &view };
            writer.append(0, &at, 1, Pair { timestamp: commit as i64, value: 0.0 }, &mut sink);
        }
        let before = memtable.bytes();
        writer.close(0..1, 2, &view, &mut sink);
        assert_eq!(memtable.bytes(), 0, "what is sealed is weighed by the sink, which does not");
        before
    };
    let [without, with] = [weighed(0), weighed(257)];
    assert!(with >= without + 299 * size_of::<Mark>(), "{without} bytes, {with} with pins");
}
