//! The plan, simulated, where rules keep some series for less long than others.

use std::time::Duration;

use tidegauge_storage::model::{SeqNo, SeqRange, TimeRange, Timestamp};

use super::plan::{Job, Piece, Rules, Turn, Why, plan};
use crate::retention::coarse_horizon;

const HOUR: i64 = 3_600_000_000_000;
const MINUTE: i64 = HOUR / 60;
const MIB: f64 = 1_048_576.0;

/// Bytes spread evenly over some time, of series that a rule keeps for so long; `None`: for ever.
#[derive(Clone, Copy, Debug)]
struct Share {
    age: Option<i64>,
    time: (i64, i64),
    bytes: f64,
}

impl Share {
    /// What of it lies from `from` to `to`.
    fn within(&self, from: i64, to: i64) -> Option<Self> {
        let time = (self.time.0.max(from), self.time.1.min(to));
        let part = || (time.1 - time.0) as f64 / (self.time.1 - self.time.0) as f64;
        (time.0 < time.1).then(|| Self { time, bytes: self.bytes * part(), ..*self })
    }
}

/// A store of flushes in order, whose segments lie side by side.
struct Store {
    segments: Vec<(Piece, Vec<Share>)>,
    rules: Rules,
    next_id: u64,
    flushed: f64,
    written: f64,
    most: usize,
}

impl Store {
    fn horizon(&self, share: &Share) -> i64 {
        share.age.map_or(i64::MIN, |age| coarse_horizon(self.rules.now, age))
    }

    fn add(&mut self, seq: SeqRange, shares: Vec<Share>) {
        let start = shares.iter().map(|share| share.time.0).min().unwrap();
        let end = shares.iter().map(|share| share.time.1).max().unwrap();
        let bytes = shares.iter().map(|share| share.bytes).sum::<f64>();
        self.written += bytes;
        let piece = Piece {
            id: self.next_id,
            seq,
            time: TimeRange::new(Timestamp::from_nanos(start), Timestamp::from_nanos(end)),
            late: false,
            bytes: bytes as u64 + 1,
            created: self.rules.now,
            samples: bytes as u64 + 1,
            hidden: 0,
            aged: 0,
            urgent: false,
            damaged: false,
            busy: false,
            cold: false,
        };
        self.next_id += 1;
        self.segments.push((piece, shares));
    }

    /// The segments as a look finds them now.
    fn pieces(&self) -> Vec<Piece> {
        let seen = |(piece, shares): &(Piece, Vec<Share>)| {
            let hidden = |share: &Share| share.within(i64::MIN, self.horizon(share)).map_or(0.0, |part| part.bytes);
            let all: f64 = shares.iter().map(hidden).sum();
            let left = shares.iter().any(|share| share.time.1 > self.horizon(share));
            let over_age = |share: &Share| piece.time.end.nanos() <= self.horizon(share);
            let hidden = if left { all as u64 } else { piece.samples };
            Piece { hidden, urgent: shares.iter().any(over_age), ..*piece }
        };
        self.segments.iter().map(seen).collect()
    }

    fn carry_out(&mut self, job: &Job) {
        let (inputs, others) = std::mem::take(&mut self.segments)
            .into_iter()
            .partition::<Vec<_>, _>(|(piece, _)| job.inputs.contains(&piece.id));
        self.segments = others;
        if job.why == Why::Drop {
            return;
        }
        let seq = SeqRange {
            start: inputs.iter().map(|(piece, _)| piece.seq.start).min().unwrap(),
            end: inputs.iter().map(|(piece, _)| piece.seq.end).max().unwrap(),
        };
        let ends = job.cuts.iter().copied();
        for (from, to) in [i64::MIN].into_iter().chain(ends.clone()).zip(ends.chain([i64::MAX])) {
            let seen = |share: &Share| share.within(from.max(self.horizon(share)), to);
            let shares: Vec<Share> = inputs.iter().flat_map(|(_, shares)| shares.iter().filter_map(seen)).collect();
            if !shares.is_empty() {
                self.add(seq, shares);
            }
        }
    }

    fn compact(&mut self) {
        for jobs in 0.. {
            let Some(job) = plan(&self.pieces(), &self.rules) else { break };
            self.carry_out(&job);
            assert!(jobs < 1_000, "no end: {job:?}");
        }
        self.most = self.most.max(self.segments.len());
    }

    fn amplification(&self) -> f64 {
        self.written / self.flushed
    }
}

/// A week of a flush of so many bytes each time, of which the series of each rule have their part.
fn week(every: i64, flush: f64, rules: &[(f64, Option<Duration>)]) -> Store {
    let nanos = |age: Option<Duration>| age.map(|age| age.as_nanos() as i64);
    let mut ages: Vec<i64> = rules.iter().filter_map(|(_, age)| nanos(*age)).collect();
    ages.sort_unstable();
    let span = 32 * 24 * HOUR;
    let rules_of = |now| {
        let ages = ages.clone().into();
        let (most, turn, cold_after) = (u64::MAX, Turn::default(), i64::MAX);
        Rules { segment_bytes: 1 << 30, span, ages, fan: 4, now, most, turn, all: false, cold_after }
    };
    let mut store = Store { segments: Vec::new(), rules: rules_of(0), next_id: 0, flushed: 0.0, written: 0.0, most: 0 };
    for i in 0..7 * 24 * HOUR / every {
        store.rules = rules_of((i + 1) * every);
        let share = |(part, age): &(f64, Option<Duration>)| Share {
            age: nanos(*age),
            time: (i * every, (i + 1) * every),
            bytes: flush * part,
        };
        store.flushed += flush;
        let seq = SeqRange { start: SeqNo(i as u64 * 100), end: SeqNo(i as u64 * 100 + 100) };
        store.add(seq, rules.iter().map(share).collect());
        store.compact();
    }
    store
}

/// A rule of an hour for a few series divided all that was ever pushed into windows of 450 s, so that nothing was merged
/// any more; and so did one of two hours for all but a few series, whose rests were never merged either.
#[test]
fn a_short_rule_keeps_nothing_from_being_merged_and_its_space_comes_back() {
    let hours = |hours: u64| Some(Duration::from_secs(hours * 3_600));
    let debug = |part: f64| vec![(part, hours(1)), (1.0 - part, None)];
    let levels = vec![(0.2, hours(1)), (0.2, hours(6)), (0.2, hours(48)), (0.4, None)];
    let cases = [
        ("an hour for a twentieth", 15, 1.0, debug(0.05), 20, 6.0),
        ("an hour for half", 15, 1.0, debug(0.5), 20, 3.6),
        ("an hour for a twentieth, large flushes", 15, 100.0, debug(0.05), 180, 2.8),
        ("an hour for a twentieth, small flushes", 2, 0.2, debug(0.05), 55, 7.4),
        ("two hours for all but a twentieth", 15, 1.0, vec![(0.95, hours(2)), (0.05, None)], 25, 1.4),
        ("three levels", 15, 1.0, levels, 55, 4.1),
    ];
    for (what, minutes, flush, rules, segments, amplification) in cases {
        let store = week(minutes * MINUTE, flush * MIB, &rules);
        let (found, most) = (store.amplification(), store.most);
        println!("{what}: amplification {found:.2}, at most {most} segments, {} in the end", store.segments.len());
        assert!(most <= segments, "{what}: {most} segments");
        assert!(found <= amplification, "{what}: {found:.2} bytes written for each byte flushed");
        for (_, shares) in &store.segments {
            // A 32nd until horizons move, an eighth that a window has, and the flush that the look follows.
            let kept =
                |share: &Share| share.age.is_none_or(|age| store.rules.now - share.time.0 <= age / 32 * 37 + HOUR);
            assert!(shares.iter().all(kept), "{what}: {shares:?} at {}", store.rules.now);
        }
    }
}
