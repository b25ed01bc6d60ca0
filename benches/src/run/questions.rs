//! The questions Q1 to Q5, and what their answers must be.
//!
//! - Q1: the last value of one series, of all of them at random; and of the same few again and again.
//! - Q2: one series, the last hour, every sample.
//! - Q3: the maximum of each metric of one host, the last hour by the minute.
//! - Q4: the mean of one metric on all hosts, by the hour, over the last 25,000 s.
//! - Q5: count and sum of everything.

use std::collections::BTreeMap;

use crate::checksum::Checksum;
use crate::rng::Rng;
use crate::workload::{METRICS, NS_PER_S, Workload};

pub(super) const MINUTE_NS: i64 = 60 * NS_PER_S;
pub(super) const HOUR_NS: i64 = 3_600 * NS_PER_S;
const Q4_NS: i64 = 25_000 * NS_PER_S;
/// Hosts that Q2 and Q3 ask about in turn, and Q1 where it asks for the same series again and again.
const HOSTS_MAX: u32 = 16;
/// Series that Q1 draws: as many as it is asked times, of which none is asked for twice.
const DRAWN_MAX: usize = 1_000;
/// The stream of random numbers that they are drawn by; those of the samples begin at nought.
const DRAW_STREAM: u64 = 1 << 63;

/// What the questions are about.
#[derive(Clone, Debug)]
pub struct Probe {
    /// Hosts for Q2, Q3 and the hot Q1, ascending.
    pub(super) hosts: Vec<u32>,
    /// For each of them the series that Q2 and the hot Q1 ask for.
    pub(super) series: Vec<u64>,
    /// Slots whose newest series Q1 asks for, drawn from all, each once.
    pub(super) drawn: Vec<u32>,
    /// By slot its place among them, and [`NOT_DRAWN`] for the others.
    places: Vec<u32>,
    /// Start of Q2's hour, and the end (excluded) of every range.
    pub(super) hour: (i64, i64),
    /// Q3's range begins with a minute.
    pub(super) minutes: (i64, i64),
    /// Q4's range begins with an hour.
    pub(super) hours: (i64, i64),
}

impl Probe {
    /// Questions about a workload whose last sample is at `last_tick`.
    #[must_use]
    pub fn new(workload: &Workload, last_tick: u64) -> Self {
        let all = (workload.slots() / METRICS).max(1);
        let count = all.min(HOSTS_MAX);
        let hosts: Vec<u32> = (0..count).map(|i| (u64::from(all) * u64::from(i) / u64::from(count)) as u32).collect();
        let end = workload.timestamp_ns(last_tick) + 1;
        let floor = |at: i64, unit: i64| at.div_euclid(unit) * unit;
        let drawn = draw(workload.slots(), workload.seed());
        let mut places = vec![NOT_DRAWN; workload.slots() as usize];
        (0..).zip(&drawn).for_each(|(place, &slot)| places[slot as usize] = place);
        Self {
            drawn,
            places,
            series: hosts.iter().map(|host| workload.series(host * METRICS, last_tick)).collect(),
            hosts,
            hour: (end - HOUR_NS, end),
            minutes: (floor(end - HOUR_NS, MINUTE_NS), end),
            hours: (floor(end - Q4_NS, HOUR_NS), end),
        }
    }
}

const NOT_DRAWN: u32 = u32::MAX;

/// Some of all slots in random order, none of them twice.
fn draw(slots: u32, seed: u64) -> Vec<u32> {
    let (mut rng, mut all) = (Rng::new(seed, DRAW_STREAM), (0..slots).collect::<Vec<u32>>());
    let count = all.len().min(DRAWN_MAX);
    for i in 0..count {
        let other = i + rng.below((all.len() - i) as u64) as usize;
        all.swap(i, other);
    }
    all.truncate(count);
    all
}

/// A sum that keeps what rounding takes away (Neumaier).
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Sum {
    sum: f64,
    lost: f64,
}

impl Sum {
    pub(super) fn add(&mut self, value: f64) {
        let sum = self.sum + value;
        self.lost += if self.sum.abs() >= value.abs() { self.sum - sum + value } else { value - sum + self.sum };
        self.sum = sum;
    }

    pub(super) fn total(self) -> f64 {
        self.sum + self.lost
    }
}

/// What the questions must be answered with.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Answers {
    /// Q1, by place among the drawn slots: tick and value of the newest sample; empty until there is one.
    pub(super) drawn: Vec<Option<(u64, f64)>>,
    /// Q1 of the hot series: series → timestamp and value.
    pub(super) last: BTreeMap<u64, (i64, f64)>,
    /// Q2: series → its samples.
    pub(super) hour: BTreeMap<u64, Checksum>,
    /// Q3: series and start of the minute → maximum.
    pub(super) minutes: BTreeMap<(u64, i64), f64>,
    /// Q4: series and start of the hour → sum and count.
    pub(super) hours: BTreeMap<(u64, i64), (Sum, u64)>,
    /// Q5.
    pub(super) count: u64,
    /// Q5.
    pub(super) sum: Sum,
    /// The wrapping sum of all timestamps: what a scan comes to.
    pub(super) timestamps: i64,
}

impl Answers {
    /// Takes one sample into account.
    pub(super) fn see(&mut self, workload: &Workload, probe: &Probe, slot: u32, tick: u64, value: f64) {
        self.count += 1;
        self.sum.add(value);
        let at = workload.timestamp_ns(tick);
        self.timestamps = self.timestamps.wrapping_add(at);
        let place = probe.places[slot as usize];
        if place != NOT_DRAWN {
            self.drawn.resize(probe.drawn.len(), None);
            newer(&mut self.drawn[place as usize], (tick, value));
        }
        let inside = |range: (i64, i64)| (range.0..range.1).contains(&at);
        let first_metric = slot.is_multiple_of(METRICS);
        if first_metric && inside(probe.hours) {
            let key = (workload.series(slot, tick), at.div_euclid(HOUR_NS) * HOUR_NS);
            let (sum, count) = self.hours.entry(key).or_default();
            sum.add(value);
            *count += 1;
        }
        let Ok(asked) = probe.hosts.binary_search(&(slot / METRICS)) else { return };
        let series = workload.series(slot, tick);
        if inside(probe.minutes) {
            let minute = at.div_euclid(MINUTE_NS) * MINUTE_NS;
            let max = self.minutes.entry((series, minute)).or_insert(value);
            *max = max.max(value);
        }
        if series == probe.series[asked] {
            let last = self.last.entry(series).or_insert((at, value));
            if at >= last.0 {
                *last = (at, value);
            }
            if inside(probe.hour) {
                self.hour.entry(series).or_default().add(workload.labels(series).hash(), at, value);
            }
        }
    }

    /// Joins what two parts of a workload have seen. A series may be in both.
    pub(super) fn merge(mut self, other: Self) -> Self {
        for (series, late) in other.last {
            let last = self.last.entry(series).or_insert(late);
            if late.0 >= last.0 {
                *last = late;
            }
        }
        self.drawn.resize(self.drawn.len().max(other.drawn.len()), None);
        let late = self.drawn.iter_mut().zip(other.drawn);
        late.for_each(|(last, late)| late.into_iter().for_each(|late| newer(last, late)));
        for (series, sum) in other.hour {
            self.hour.entry(series).or_default().merge(sum);
        }
        for (key, value) in other.minutes {
            let max = self.minutes.entry(key).or_insert(value);
            *max = max.max(value);
        }
        for (key, (sum, count)) in other.hours {
            let mine = self.hours.entry(key).or_default();
            mine.0.add(sum.total());
            mine.1 += count;
        }
        self.count += other.count;
        self.sum.add(other.sum.total());
        self.timestamps = self.timestamps.wrapping_add(other.timestamps);
        self
    }
}

/// Of two at one tick the later one counts.
fn newer(last: &mut Option<(u64, f64)>, found: (u64, f64)) {
    if last.is_none_or(|(tick, _)| found.0 >= tick) {
        *last = Some(found);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::recount::{Pushed, answers};
    use crate::workload::{Kind, Part};

    #[test]
    fn a_sum_keeps_what_a_plain_one_loses() {
        let mut sum = Sum::default();
        [1e100, 1.0, -1e100].into_iter().for_each(|x| sum.add(x));
        assert_eq!(sum.total(), 1.0);
    }

    #[test]
    fn series_are_drawn_from_all_none_of_them_twice_and_the_same_for_the_same_seed() {
        let drawn = draw(4_000, 7);
        assert!(drawn == draw(4_000, 7) && drawn != draw(4_000, 8));
        let distinct: std::collections::BTreeSet<u32> = drawn.iter().copied().collect();
        assert_eq!((distinct.len(), drawn.len()), (DRAWN_MAX, DRAWN_MAX));
        // A quarter of all, of each tenth about as many, and in no order.
        for tenth in 0..10 {
            let here = distinct.range(tenth * 400..(tenth + 1) * 400).count();
            assert!((60..=140).contains(&here), "{here} of the tenth {tenth}");
        }
        assert!(!drawn.is_sorted());
        assert_eq!(draw(1, 7), [0]);
        let mut few = draw(5, 7);
        few.sort_unstable();
        assert_eq!(few, [0, 1, 2, 3, 4]);
    }

    #[test]
    fn answers_do_not_depend_on_the_number_of_appenders() {
        for kind in [Kind::W1, Kind::W3, Kind::Churn] {
            let workload = Workload::new(kind, 3, Some(400_000)).unwrap();
            let probe = Probe::new(&workload, workload.ticks() - 1);
            let of = |appenders| {
                let parts = Part::split(&workload, appenders, 100).unwrap();
                let all = parts.into_iter().map(|part| Pushed { samples: part.cells(), part }).collect::<Vec<_>>();
                answers(&workload, &all, &probe)
            };
            let (one, three) = (of(1), of(3));
            assert_eq!((one.count, &one.last, &one.hour), (three.count, &three.last, &three.hour), "{kind}");
            assert_eq!(one.timestamps, three.timestamps, "{kind}");
            assert_eq!(one.drawn, three.drawn, "{kind}");
            assert!(!one.drawn.is_empty() && one.drawn.iter().all(Option::is_some), "{kind}");
            assert_eq!(one.minutes, three.minutes, "{kind}");
            let close = |a: f64, b: f64| (a - b).abs() <= 1e-9 * a.abs();
            assert!(close(one.sum.total(), three.sum.total()));
            assert_eq!(one.hours.len(), three.hours.len());
            for ((key, a), (other, b)) in one.hours.iter().zip(&three.hours) {
                assert_eq!((key, a.1), (other, b.1));
                assert!(close(a.0.total(), b.0.total()));
            }
        }
    }

    #[test]
    fn w1s_questions_have_the_size_they_are_known_for() {
        let workload = Workload::new(Kind::W1, 3, Some(4_000 * 400)).unwrap();
        let probe = Probe::new(&workload, 399);
        let part = Part::split(&workload, 1, 100).unwrap().remove(0);
        let answers = answers(&workload, &[Pushed { samples: part.cells(), part }], &probe);
        assert_eq!(answers.last.len(), 16);
        assert!(answers.hour.values().all(|hour| hour.count == 360), "an hour of one series");
        assert_eq!(answers.minutes.len(), 16 * 10 * 61, "an hour that begins within a minute touches 61");
        assert_eq!(answers.hours.values().map(|(_, n)| n).sum::<u64>(), 400 * 400, "a tenth of all");
        assert_eq!(answers.count, 1_600_000);
    }
}
