//! The plan, simulated: legal jobs only, an end, and a bounded price.

use proptest::prelude::*;
use tidegauge_storage::model::{SeqNo, SeqRange, TimeRange, Timestamp};

use super::beside::{Due, Occupied, beside};
use super::plan::{Job, Piece, Rules, Turn, Why, excess, order, plan, plan_drop, plan_free, segment_bytes};
use super::weighed::Weighed;

const HOUR: i64 = 3_600_000_000_000;
const MIB: u64 = 1 << 20;

pub(super) fn rules(all: bool) -> Rules {
    let span = 32 * 24 * HOUR;
    let (most, turn, cold_after) = (u64::MAX, Turn::default(), i64::MAX);
    Rules { segment_bytes: 1 << 30, span, ages: [].into(), fan: 4, now: 0, most, turn, all, cold_after }
}

pub(super) fn piece(id: u64, seq: (u64, u64), time: (i64, i64), late: bool, bytes: u64) -> Piece {
    Piece {
        id,
        seq: SeqRange { start: SeqNo(seq.0), end: SeqNo(seq.1) },
        time: TimeRange::new(Timestamp::from_nanos(time.0), Timestamp::from_nanos(time.1)),
        late,
        bytes,
        created: time.1,
        samples: bytes,
        hidden: 0,
        aged: 0,
        urgent: false,
        damaged: false,
        busy: false,
        cold: false,
    }
}

/// K10: of what a rule hides of some series the lower goes first, however little that is; the late one of a flush is the
/// higher one.
#[test]
fn k10_what_is_over_the_age_of_some_series_goes_in_order() {
    let rules = rules(false);
    let held = |id, seq, time, late, aged| Piece { hidden: aged, aged, ..piece(id, seq, time, late, 1_000) };
    let low = held(1, (0, 10), (0, 100), false, 1);
    let late = held(2, (0, 10), (50, 60), true, 1_000);
    let high = held(3, (20, 30), (55, 70), false, 900);
    let apart = held(4, (10, 20), (200, 300), false, 1_000);
    let all = [high, apart, late, low];
    let first = |pieces: &[Piece]| {
        let job = plan_free(pieces, &rules).unwrap();
        (job.why, job.inputs, job.keeps)
    };
    assert_eq!(first(&all), (Why::Drop, vec![4], vec![]), "nothing lies below it");
    assert_eq!(plan_drop(&all, &rules).unwrap().inputs, [4]);
    let all = [high, late, low];
    assert_eq!(plan_drop(&all, &rules), None);
    assert_eq!(first(&all), (Why::Rewrite, vec![1], vec![]), "one sample of it, for what lies above");
    let low = Piece { hidden: 0, aged: 0, ..low };
    assert_eq!(first(&[high, late, low]), (Why::Drop, vec![2], vec![]));
    assert_eq!(first(&[high, low]), (Why::Rewrite, vec![3], vec![]));
    // All together may go at once, and so may those of one job; of what cannot be read nobody knows.
    let low = held(1, (0, 10), (0, 100), false, 1_000);
    assert_eq!(first(&[high, late, low]), (Why::Drop, vec![1, 2], vec![]));
    let damaged = Piece { hidden: 0, aged: 0, damaged: true, ..low };
    assert_eq!((plan_free(&[high, damaged], &rules), plan_drop(&[late, damaged], &rules)), (None, None));
    // What deletes hide of it, too, goes at once, and the rest stays.
    let deleted = Piece { hidden: 900, aged: 100, ..high };
    assert_eq!(first(&[deleted, low]).0, Why::Drop);
    let low = Piece { busy: true, ..low };
    assert_eq!(first(&[deleted, low]), (Why::Rewrite, vec![3], vec![3]));
    // A merge leaves it in where one that is not part of it holds it up, and all that lies above in its time.
    let floor = Piece { bytes: MIB, samples: MIB, ..held(9, (50, 60), (0, 100), false, 1) };
    let on_it = |id: u64, aged| held(id, (100 + id, 101 + id), (id as i64 * 10, id as i64 * 10 + 15), false, aged);
    let job = plan(&[floor, on_it(1, 0), on_it(2, 100), on_it(3, 200), on_it(4, 0)], &rules).unwrap();
    assert_eq!((job.why, job.inputs, job.keeps), (Why::Stack, vec![1, 2, 3, 4], vec![2, 3]));
    let floor = Piece { hidden: 0, aged: 0, ..floor };
    let job = plan(&[floor, on_it(1, 0), on_it(2, 100), on_it(3, 200), on_it(4, 0)], &rules).unwrap();
    assert_eq!((job.why, job.inputs.len(), job.keeps), (Why::Stack, 4, vec![]));
}

/// A store without samples: what is flushed, and what the jobs make of it. Bytes are spread
/// evenly over the time of a segment.
pub(super) struct Store {
    pub(super) pieces: Vec<Piece>,
    pub(super) rules: Rules,
    next_id: u64,
    flushed: u64,
    written: u64,
    extra: u64,
    /// Bytes encoded cold: those of inputs that were cold already are taken over.
    chilled: u64,
    /// The most segments that ever held one timestamp, between the jobs.
    highest: usize,
}

impl Store {
    pub(super) fn new(rules: Rules) -> Self {
        Self { pieces: Vec::new(), rules, next_id: 0, flushed: 0, written: 0, extra: 0, chilled: 0, highest: 0 }
    }

    pub(super) fn add(&mut self, mut piece: Piece) {
        piece.id = self.next_id;
        self.next_id += 1;
        self.pieces.push(piece);
    }

    pub(super) fn flush(&mut self, piece: Piece) {
        self.flushed += piece.bytes;
        self.written += piece.bytes;
        self.add(piece);
    }

    /// Sources that overlap in time have disjoint numbers, but for the two of one flush (K1).
    fn check(&self) {
        for (i, a) in self.pieces.iter().enumerate() {
            for b in &self.pieces[..i] {
                let apart = a.seq.end <= b.seq.start || b.seq.end <= a.seq.start;
                let mates = a.seq == b.seq && a.late != b.late;
                assert!(apart || mates || !a.time.overlaps(&b.time), "{a:?} and {b:?}");
            }
        }
    }

    pub(super) fn carry_out(&mut self, job: &Job) {
        let (inputs, others): (Vec<Piece>, Vec<Piece>) = self.pieces.iter().partition(|p| job.inputs.contains(&p.id));
        self.pieces = others;
        assert_eq!(inputs.len(), job.inputs.len(), "each input once");
        if job.why == Why::Drop {
            return;
        }
        let seq = SeqRange {
            start: inputs.iter().map(|p| p.seq.start).min().unwrap(),
            end: inputs.iter().map(|p| p.seq.end).max().unwrap(),
        };
        let late = inputs.iter().all(|p| p.late);
        let bytes: u64 = inputs.iter().map(|p| p.bytes).sum();
        let start = inputs.iter().map(|p| p.time.start.nanos()).min().unwrap();
        let end = inputs.iter().map(|p| p.time.end.nanos()).max().unwrap();
        let mut cuts = job.cuts.clone();
        if bytes > self.rules.part_bytes() {
            let parts = bytes.div_ceil(self.rules.segment_bytes) as i64;
            cuts.extend((1..parts).map(|i| start + (end - start) / parts * i));
        }
        cuts.sort_unstable();
        let mut made = 0;
        for (from, to) in [start].into_iter().chain(cuts.clone()).zip(cuts.into_iter().chain([end])) {
            // Only as much time as there are samples in.
            let share = |p: &Piece| {
                let (a, b) = (p.time.start.nanos().max(from), p.time.end.nanos().min(to));
                let whole = (p.time.end.nanos() - p.time.start.nanos()) as f64;
                (a < b).then(|| (a, b, (p.bytes as f64 * (b - a) as f64 / whole) as u64))
            };
            let shares: Vec<_> = inputs.iter().filter_map(share).collect();
            let (Some(a), Some(b)) = (shares.iter().map(|s| s.0).min(), shares.iter().map(|s| s.1).max()) else {
                continue;
            };
            let bytes: u64 = shares.iter().map(|s| s.2).sum();
            made += bytes;
            let made = piece(0, (seq.start.0, seq.end.0), (a, b), late, bytes.max(1));
            self.add(Piece { created: self.rules.now, cold: job.cold, ..made });
        }
        if job.cold {
            self.chilled += inputs.iter().filter(|p| !p.cold).map(|p| p.bytes).sum::<u64>();
        }
        self.written += made;
        self.extra = self.extra.max(made);
        self.check();
    }

    fn compact(&mut self) -> usize {
        let mut jobs = 0;
        while let Some(job) = plan(&self.pieces, &self.rules) {
            assert!(!job.inputs.is_empty());
            self.carry_out(&job);
            jobs += 1;
            assert!(jobs < 2_000, "no end: {job:?}");
        }
        jobs
    }

    /// As many jobs as may run beside those that do.
    pub(super) fn begin(&self, running: &mut Vec<Due>, threads: usize) {
        while running.len() < threads {
            match beside(&self.pieces, running, &self.rules, plan) {
                Ok(Some(due)) => running.push(due),
                Ok(None) | Err(Occupied) => break,
            }
        }
        let bytes =
            |due: &Due| self.pieces.iter().filter(|p| due.job.inputs.contains(&p.id)).map(|p| p.bytes).sum::<u64>();
        let together: u64 = running.iter().map(bytes).sum();
        assert!(running.len() <= 1 || together <= self.rules.job_bytes(), "{together} bytes of extra disk");
    }

    fn amplification(&self) -> f64 {
        self.written as f64 / self.flushed as f64
    }

    /// The most segments that hold one timestamp.
    pub(super) fn height(&self) -> usize {
        let over = |at: Timestamp| self.pieces.iter().filter(|p| p.time.contains(at)).count();
        self.pieces.iter().map(|p| over(p.time.start)).max().unwrap_or(0)
    }
}

/// A week of a flush each quarter of an hour; `late` MiB of each are up to a day late.
fn week(in_order: u64, late: u64, cold_after: i64) -> Store {
    let mut store = Store::new(Rules { cold_after, ..rules(false) });
    let quarter = HOUR / 4;
    for i in 0..7 * 24 * 4i64 {
        let seq = (i as u64 * 100, i as u64 * 100 + 100);
        store.rules.now = (i + 1) * quarter;
        store.flush(piece(0, seq, (i * quarter, (i + 1) * quarter), false, in_order * MIB));
        if late > 0 {
            store.flush(piece(0, seq, ((i - 96) * quarter, (i + 1) * quarter - 1), true, late * MIB));
        }
        store.compact();
        store.highest = store.highest.max(store.height());
    }
    println!(
        "in order {in_order} MiB, late {late} MiB: amplification {:.2}, {} segments, height {}, extra {} MiB",
        store.amplification(),
        store.pieces.len(),
        store.highest,
        store.extra / MIB
    );
    assert!(store.highest <= 32, "a timestamp is in {} segments", store.highest);
    assert!(store.extra <= store.rules.job_bytes(), "a job needs {} MiB", store.extra / MIB);
    store
}

/// The figures of `docs/compaction.md`, within 5 %.
#[test]
fn a_week_costs_what_is_stated() {
    for (in_order, late, amplification, segments, highest) in
        [(100, 0, 2.0, 168.0, 1.0), (1, 0, 4.7, 6.0, 1.0), (90, 10, 2.9, 319.0, 10.0), (50, 50, 5.15, 137.0, 8.0)]
    {
        let mut store = week(in_order, late, i64::MAX);
        for (what, found, stated) in [
            ("amplification", store.amplification(), amplification),
            ("segments", store.pieces.len() as f64, segments),
            ("most segments over one timestamp", store.highest as f64, highest),
        ] {
            assert!((found - stated).abs() <= 0.05 * stated, "{in_order} and {late}: {what} {found:.2}, not {stated}");
        }
        store.rules.all = true;
        store.compact();
        assert_eq!(store.height(), 1, "all of it is flat");
    }
}

/// A day after it came, a week's data is cold, encoded so once; late data costs what it is merged into once more.
#[test]
fn what_is_old_is_encoded_small_once() {
    let day = 24 * HOUR;
    for (in_order, late, most) in [(100, 0, 1.01), (1, 0, 1.5), (90, 10, 2.0)] {
        let plain = week(in_order, late, i64::MAX);
        let mut store = week(in_order, late, day);
        let fresh = |p: &&Piece| !p.cold && p.time.end.nanos().max(p.created) + day <= store.rules.now;
        assert_eq!(store.pieces.iter().filter(fresh).count(), 0, "{in_order} and {late}: old and not cold");
        let chilled = store.chilled as f64 / store.flushed as f64;
        assert!(chilled > 0.3 && chilled <= most, "{in_order} and {late}: {chilled:.2} of the bytes");
        let more = store.amplification() - plain.amplification();
        assert!(more <= 1.2 * most, "{in_order} and {late}: {more:.2} more than without");
        store.rules.now += 9 * day;
        store.compact();
        assert!(store.pieces.iter().all(|p| p.cold));
        assert_eq!(store.compact(), 0, "nothing is cold twice");
    }
}

#[test]
fn a_fresh_segment_of_old_samples_is_not_cold_yet() {
    let mut rules = Rules { cold_after: 10, now: 100, ..rules(false) };
    let old = Piece { created: 95, ..piece(1, (1, 2), (0, 5), false, 1_000) };
    assert_eq!(plan(&[old], &rules), None);
    rules.now = 105;
    let job = plan(&[old], &rules).unwrap();
    assert_eq!((job.why, job.cold), (Why::Chill, true));
    assert_eq!(plan(&[Piece { cold: true, ..old }], &rules), None);
    assert_eq!(plan(&[Piece { damaged: true, ..old }], &rules), None);
    // Together with something younger it is encoded as that is.
    let late = Piece { created: 104, ..piece(2, (2, 3), (0, 5), true, 1_000) };
    assert!(!plan(&[Piece { cold: true, ..old }, late], &rules).unwrap().cold);
    rules.all = true;
    assert!(plan(&[Piece { cold: true, ..old }, late], &rules).unwrap().cold);
    rules.cold_after = i64::MAX;
    assert_eq!(plan(&[old], &rules), None, "never");
}

/// Small segments of an engine that is opened and closed all the time.
#[test]
fn small_neighbours_become_one() {
    let mut store = Store::new(rules(false));
    for i in 0..1_000i64 {
        store.flush(piece(0, (i as u64, i as u64 + 1), (i * HOUR / 60, i * HOUR / 60 + 1), false, 20_000));
        store.compact();
    }
    assert!(store.pieces.len() <= 12, "{}", store.pieces.len());
    assert!(store.amplification() <= 8.0, "{}", store.amplification());
}

#[test]
fn what_nobody_sees_goes_first_and_what_cannot_be_read_stays() {
    let mut pieces: Vec<Piece> = (0..4).map(|i| piece(i, (i, i + 1), (i as i64, i as i64 + 1), false, 1_000)).collect();
    pieces[1].hidden = 1_000;
    let job = plan(&pieces, &rules(false)).unwrap();
    assert_eq!((job.why, job.inputs), (Why::Drop, vec![1]));
    pieces[1].hidden = 0;
    assert_eq!(plan(&pieces, &rules(false)).unwrap().inputs, [0, 1, 2, 3]);
    pieces[1].damaged = true;
    assert_eq!(plan(&pieces, &rules(false)), None);
    assert_eq!(plan(&pieces, &rules(true)).unwrap().inputs, [2, 3]);
    pieces[1].damaged = false;
    pieces.truncate(2);
    pieces[0].hidden = 1;
    assert_eq!(plan(&pieces, &rules(false)), None, "few hidden samples wait");
    pieces[0].urgent = true;
    assert_eq!(plan(&pieces, &rules(false)).unwrap().why, Why::Rewrite);
}

#[test]
fn flushes_above_what_a_job_may_take_stay_stacked_and_there_is_an_end() {
    let mut store = Store::new(Rules { segment_bytes: 2_000, span: 50, fan: 2, ..rules(true) });
    store.flush(piece(0, (0, 10), (3, 4), false, 2_900));
    store.flush(piece(0, (10, 20), (0, 4), false, 4_733));
    store.flush(piece(0, (10, 20), (0, 4), true, 1_184));
    store.compact();
    assert_eq!(store.height(), 3);
    // With room for all three in one job they become one.
    store.rules.segment_bytes = 2_300;
    store.compact();
    assert_eq!(store.height(), 1);
}

proptest! {
    #![proptest_config(ProptestConfig { max_shrink_iters: 200, ..ProptestConfig::with_cases(300) })]

    /// K1 and K2 hold after every job, and there is an end: whatever is flushed when.
    #[test]
    fn jobs_are_legal_and_end(
        flushes in prop::collection::vec((0i64..2_000, 1i64..900, 0i64..1_500, 1u64..5_000, any::<bool>(), any::<bool>()), 1..60),
        segment_bytes in 2_000u64..40_000,
        span in 50i64..5_000,
        fan in 2usize..5,
        cold_after in prop_oneof![Just(i64::MAX), 0i64..3_000],
    ) {
        let mut store = Store::new(Rules { segment_bytes, span, fan, cold_after, ..rules(false) });
        for (i, (start, len, back, bytes, late, compact)) in flushes.into_iter().enumerate() {
            let seq = (i as u64 * 10, i as u64 * 10 + 10);
            // A flush is less than a segment may be: above that, stacks may be too much for one job.
            let bytes = bytes.min(segment_bytes / 2);
            store.flush(piece(0, seq, (start, start + len), false, bytes));
            if late {
                store.flush(piece(0, seq, (start - back, start + len), true, bytes / 4 + 1));
            }
            store.check();
            store.rules.now += 100;
            if compact {
                store.compact();
            }
        }
        store.rules.all = true;
        store.compact();
        prop_assert!(cold_after == i64::MAX || store.pieces.iter().all(|p| p.cold), "cold in the end");
        if store.height() > 1 {
            store.pieces.sort_by_key(order);
            store.pieces.iter().for_each(|p| println!("{} {:?} {:?} {} {}", p.id, p.seq, p.time, p.late, p.bytes));
        }
        prop_assert!(store.height() <= 1, "flat in the end");
        let mut sorted = store.pieces.clone();
        sorted.sort_by_key(order);
        let mut pairs = sorted.windows(2);
        prop_assert!(pairs.all(|w| order(&w[0]) <= order(&w[1])));
    }

    /// K11: jobs that run side by side, and end in any order while flushes go on, leave what one after the other may.
    #[test]
    fn jobs_side_by_side_are_legal_and_end(
        flushes in prop::collection::vec((0i64..2_000, 1i64..900, 0i64..1_500, 1u64..5_000, any::<bool>(), 0usize..4), 1..60),
        segment_bytes in 2_000u64..40_000,
        span in 50i64..5_000,
        threads in 1usize..5,
    ) {
        let mut store = Store::new(Rules { segment_bytes, span, fan: 2, cold_after: 500, ..rules(false) });
        let mut running: Vec<Due> = Vec::new();
        for (i, (start, len, back, bytes, late, ends)) in flushes.into_iter().enumerate() {
            let seq = (i as u64 * 10, i as u64 * 10 + 10);
            let bytes = bytes.min(segment_bytes / 2);
            store.flush(piece(0, seq, (start, start + len), false, bytes));
            if late {
                store.flush(piece(0, seq, (start - back, start + len), true, bytes / 4 + 1));
            }
            store.rules.now += 100;
            store.begin(&mut running, threads);
            if !running.is_empty() {
                let due = running.remove(ends % running.len());
                store.carry_out(&due.job);
            }
        }
        store.rules.all = true;
        for round in 0.. {
            store.begin(&mut running, threads);
            prop_assert!(round < 2_000, "no end");
            let Some(due) = running.pop() else { break };
            store.carry_out(&due.job);
        }
        prop_assert!(store.height() <= 1, "flat in the end");
        prop_assert!(store.pieces.iter().all(|p| p.cold));
    }
}

/// With a limit on all bytes the oldest segment goes for one byte too many. It could be nearly all that there was: four
/// of 240 MiB had become one, beside 64 MiB.
#[test]
fn a_limit_on_bytes_is_kept_to_in_small_steps() {
    for (limit, flushed) in [(1024, 16), (1024, 64), (1100, 100), (300, 8)] {
        for all in [false, true] {
            let rules = rules(all);
            let segment_bytes = segment_bytes(rules.segment_bytes, Some(limit * MIB));
            let mut store = Store::new(Rules { segment_bytes, ..rules });
            for i in 0..400i64 {
                store.flush(piece(0, (i as u64, i as u64 + 1), (i * HOUR, (i + 1) * HOUR), false, flushed * MIB));
                store.pieces.sort_by_key(|p| p.time.end);
                let bytes: Vec<u64> = store.pieces.iter().map(|p| p.bytes).collect();
                let (gone, part) = excess(&in_turn(&bytes), limit * MIB, store.rules.part_bytes());
                assert_eq!(part, None, "{limit} MiB: none is too large");
                store.pieces.drain(..gone);
                store.compact();
                let kept: u64 = store.pieces.iter().map(|p| p.bytes).sum();
                let least = (limit * MIB / 4 * 3).min((i as u64 + 1) * flushed * MIB);
                assert!((least..=limit * MIB).contains(&kept), "{limit} MiB by {flushed}: {} MiB", kept / MIB);
            }
        }
    }
    assert_eq!(segment_bytes(1 << 30, None), 1 << 30);
    assert_eq!(segment_bytes(1 << 30, Some(1)), 64 << 10, "there is an end to it");
}

/// One that is larger than it should be, of the time before there was a limit, goes in part.
#[test]
fn of_a_segment_that_is_too_large_only_what_is_too_much_goes() {
    let excess = |bytes: &[u64], max_bytes| excess(&in_turn(bytes), max_bytes, 160);
    assert_eq!(excess(&[960, 64, 64], 1_024), (0, Some((0, 241))), "a quarter, so that it is written anew");
    assert_eq!(excess(&[960, 300], 900), (0, Some((0, 360))));
    assert_eq!(excess(&[960, 900], 900), (1, None), "hardly anything would stay");
    assert_eq!(excess(&[100, 960, 64], 1_024), (1, None));
    assert_eq!(excess(&[100, 960, 164], 1_024), (1, Some((1, 241))), "behind those that go");
    assert_eq!(excess(&[150, 900], 1_024), (1, None), "it is as it should be");
    assert_eq!(excess(&[2_000], 1_024), (0, None), "one stays");
    assert_eq!(excess(&[], 1), (0, None));
}

/// Of a segment with as many samples as bytes.
fn weighed(bytes: u64, (start, end): (i64, i64), through: u64) -> Weighed {
    Weighed { bytes, end, through, spans: vec![(start, end, bytes)] }
}

/// Segments of one time after the other, the earlier accepted first.
fn in_turn(bytes: &[u64]) -> Vec<Weighed> {
    let one = |(at, &bytes): (i64, &u64)| weighed(bytes, (at, at + 1), at.unsigned_abs());
    (0i64..).zip(bytes).map(one).collect()
}

/// One sample that lay ahead made the largest segment end last: the newest of all went first, and its horizon hid all.
#[test]
fn what_is_oldest_goes_whatever_ends_last() {
    let (small, large) = (10, 2_000);
    let row = |start, ahead| {
        let new = weighed(small, (start, 1_000), 9);
        let old = weighed(large, (0, ahead), 8);
        [new, old]
    };
    assert_eq!(excess(&row(1_000, 1_010), 1_500, 160), (0, Some((1, 510))));
    assert_eq!(excess(&row(1_000, 1_000_000), 1_500, 160), (1, None), "hardly anything of it lies before");
    let above = row(1_000, 1_010).map(|one| Weighed { through: 17 - one.through, ..one });
    assert_eq!(excess(&above, 1_500, 160), (1, None), "nothing above is hidden");
    assert_eq!(excess(&row(1_000, 1_010), 400, 160), (1, None), "hardly anything would stay");
}

/// What windows leave was not joined where the segment before it was large: all of it together was not twice as large.
#[test]
fn rests_between_large_neighbours_are_joined_without_them() {
    let rules = Rules { ages: [HOUR].into(), ..rules(false) };
    let row: Vec<Piece> = [(0, 600), (1, 1), (2, 20), (3, 1), (4, 20), (5, 1), (6, 20), (7, 600)]
        .map(|(i, mib)| {
            let start = (i as i64 - 20) * HOUR;
            piece(i, (i, i + 1), (start, start + HOUR), false, mib * MIB)
        })
        .into();
    let job = plan(&row, &rules).unwrap();
    assert_eq!((job.why, job.inputs), (Why::Join, vec![1, 2, 3, 4, 5, 6]));
    assert_eq!(plan(&row[..4], &rules), None);
}

/// Where space is short, what gives some back comes first, and that which takes least.
#[test]
fn what_frees_space_is_planned_by_what_it_needs() {
    let mut pieces: Vec<Piece> =
        (0..4).map(|i| piece(i, (i, i + 1), (i as i64, i as i64 + 1), false, 1_000 * (i + 1))).collect();
    assert_eq!(plan(&pieces, &rules(false)).unwrap().why, Why::Join);
    assert_eq!(plan_free(&pieces, &rules(false)), None, "a join frees nothing");
    (pieces[0].hidden, pieces[2].hidden, pieces[3].hidden) = (260, 2_700, 1_100);
    let job = plan_free(&pieces, &rules(false)).unwrap();
    assert_eq!((job.why, job.inputs), (Why::Rewrite, vec![2]), "300 are left of it, and more of the others");
    pieces[2].busy = true;
    assert_eq!(plan_free(&pieces, &rules(false)).unwrap().inputs, [0]);
    pieces[1].hidden = 2_000;
    assert_eq!(plan_free(&pieces, &rules(false)).unwrap().why, Why::Drop);
}

/// A segment that cannot be read stayed until the next opening, though nobody had to read it to let it go.
#[test]
fn what_cannot_be_read_goes_once_nobody_sees_any_of_it() {
    let unseen = Piece { hidden: 1_000, damaged: true, ..piece(1, (1, 2), (0, 5), false, 1_000) };
    let job = plan(&[unseen], &rules(false)).unwrap();
    assert_eq!((job.why, plan_drop(&[unseen], &rules(false))), (Why::Drop, Some(job)));
    for stays in [
        Piece { hidden: 999, ..unseen },
        Piece { busy: true, ..unseen },
        // What says that it has none may be the damage.
        Piece { hidden: 0, samples: 0, ..unseen },
    ] {
        assert_eq!((plan(&[stays], &rules(true)), plan_free(&[stays], &rules(true))), (None, None), "{stays:?}");
    }
}

/// Far apart, jobs do run side by side; where they meet, one waits.
#[test]
fn jobs_run_side_by_side_where_they_do_not_meet() {
    let mut store = Store::new(rules(false));
    for i in 0..8i64 {
        // Four small ones, then four large ones: two joins.
        let bytes = if i < 4 { MIB } else { 40 * MIB };
        store.flush(piece(0, (i as u64, i as u64 + 1), (i * HOUR, (i + 1) * HOUR), false, bytes));
    }
    let mut running = Vec::new();
    store.begin(&mut running, 4);
    assert_eq!(running.iter().map(|due| due.job.inputs.clone()).collect::<Vec<_>>(), [[0, 1, 2, 3], [4, 5, 6, 7]]);
    // What comes where a job is at work waits for it; so does what would take too much disk.
    store.flush(piece(0, (8, 9), (0, HOUR), false, MIB));
    assert_eq!(beside(&store.pieces, &running[..1], &store.rules, plan).unwrap().unwrap().job.inputs, [4, 5, 6, 7]);
    store.rules.segment_bytes = 40 * MIB;
    assert!(matches!(beside(&store.pieces, &running[1..], &store.rules, plan), Err(Occupied)));
    assert!(matches!(beside(&store.pieces, &[], &store.rules, plan), Ok(Some(_))));
}
