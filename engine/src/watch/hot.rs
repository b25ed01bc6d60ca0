//! Which series are hot, by a bounded sketch of a sample of the samples.
//!
//! Space-saving (Metwally, Agrawal, El Abbadi 2005): a few counters; a newcomer takes over the smallest and inherits its
//! count as its possible error. What has more than a `COUNTERS`th of all samples is certainly in it.

use std::hash::{BuildHasher, RandomState};
use std::time::{Duration, Instant};

use tidegauge_storage::model::Labels;

use crate::core::SeriesSample;
use crate::registry::{Registry, SeriesId};
use crate::ring::LaneId;

const COUNTERS: usize = 64;
/// Counts are halved this often: they tell of the last ten to twenty seconds, fading.
const HALVE_EVERY: Duration = Duration::from_secs(10);
/// One sample in this many is looked at when there are many, and some eight of a small round.
const EVERY_MAX: usize = 1024;
const LOOKS_A_ROUND: usize = 8;

/// One of the series that bring most samples.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct HotSeries {
    /// Its labels.
    pub labels: Labels,
    /// Its samples in the last ten to twenty seconds, older ones counting half and quarter: an estimate.
    pub samples: u64,
    /// How much of that may be another series'.
    pub error: u64,
    /// All samples, counted likewise.
    pub of: u64,
    /// Lanes that brought it, as far as they were seen: more than one means that appenders share it. At most 64 are
    /// told apart, by a hash.
    pub lanes: u32,
}

impl HotSeries {
    /// Whether most of what is told of it is its own for certain. Where more series than the sketch has counters bring about
    /// as much as each other, whichever was looked at last takes over the others' counts, and none does.
    #[must_use]
    pub fn stands_out(&self) -> bool {
        self.error < self.samples - self.samples / 2
    }
}

struct Counter {
    series: SeriesId,
    count: u64,
    error: u64,
    /// A bit for each lane, by hash: of this period and of the one before.
    lanes: [u64; 2],
}

/// The sketch. Fed by the worker, a few samples a round.
pub(crate) struct Sketch {
    counters: Vec<Counter>,
    all: u64,
    halved_at: Instant,
    random: u64,
}

impl Default for Sketch {
    fn default() -> Self {
        let random = RandomState::new().hash_one(0) | 1;
        Self { counters: Vec::with_capacity(COUNTERS), all: 0, halved_at: Instant::now(), random }
    }
}

impl Sketch {
    /// How many samples of a round of `ready` one look stands for.
    pub(crate) fn every(ready: usize) -> usize {
        (ready / LOOKS_A_ROUND).clamp(1, EVERY_MAX)
    }

    /// How many samples to pass over before the next look: random, `every` less one on average, so that what comes
    /// regularly is not always met at the same place.
    pub(crate) fn skip(&mut self, every: usize) -> usize {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        (self.random >> 32) as usize % (2 * every - 1)
    }

    /// One look that stands for `weight` samples.
    pub(crate) fn add(&mut self, lane: LaneId, sample: &SeriesSample, weight: usize) {
        let (series, weight) = (sample.series(), weight as u64);
        self.all += weight;
        let at = match self.counters.iter().position(|c| c.series == series) {
            Some(at) => at,
            None if self.counters.len() < COUNTERS => {
                self.counters.push(Counter { series, count: 0, error: 0, lanes: [0; 2] });
                self.counters.len() - 1
            }
            None => {
                let smallest = self.counters.iter().enumerate().min_by_key(|(_, c)| c.count);
                let (at, count) = smallest.map(|(at, c)| (at, c.count)).expect("there are some");
                self.counters[at] = Counter { series, count, error: count, lanes: [0; 2] };
                at
            }
        };
        let counter = &mut self.counters[at];
        counter.count += weight;
        counter.lanes[0] |= 1 << (lane.get().wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 58);
    }

    /// Lets old counts fade.
    pub(crate) fn fade(&mut self, now: Instant) {
        // After a long pause there is nothing left to halve.
        for _ in 0..64 {
            if now.duration_since(self.halved_at) < HALVE_EVERY {
                return;
            }
            self.halved_at += HALVE_EVERY;
            self.all /= 2;
            for counter in &mut self.counters {
                counter.count /= 2;
                counter.error /= 2;
                counter.lanes = [0, counter.lanes[0]];
            }
            self.counters.retain(|c| c.count > 0);
        }
        self.halved_at = now;
    }

    /// The hottest series, the hottest first.
    pub(crate) fn hottest(&self, n: usize, registry: &Registry) -> Vec<HotSeries> {
        let mut counters: Vec<&Counter> = self.counters.iter().collect();
        counters.sort_by_key(|c| std::cmp::Reverse(c.count));
        let known = counters.into_iter().take(n).filter_map(|c| {
            let labels = registry.slots().labels_of(c.series)?;
            let lanes = (c.lanes[0] | c.lanes[1]).count_ones();
            Some(HotSeries { labels, samples: c.count, error: c.error, of: self.all, lanes })
        });
        known.collect()
    }
}

#[cfg(test)]
mod tests {
    use tidegauge_storage::model::{LabelLimits, Timestamp};

    use super::*;

    fn resolve(registry: &Registry, labels: &[(&str, &str)]) -> u32 {
        registry.resolve_labels(&registry.labels(labels).unwrap()).unwrap()
    }

    fn sample(registry: &Registry, slot: u32) -> SeriesSample {
        SeriesSample::new(registry.slots().heads().id(slot), Timestamp::from_nanos(0), 0.0)
    }

    /// Ten thousand series, three of them hot: the three lead, with their true counts inside of the bounds.
    #[test]
    fn hot_series_are_found_among_many_within_the_stated_error() {
        let registry = Registry::new(20_000, LabelLimits::DEFAULT);
        for i in 0..10_000 {
            resolve(&registry, &[("__name__", "m"), ("i", &i.to_string())]);
        }
        let mut sketch = Sketch::default();
        let mut truth = [0_u64; 3];
        for round in 0..60_000_u64 {
            let hot = (round % 10) as usize;
            let slot = if hot < 3 { hot as u64 } else { 3 + round * 7919 % 9997 };
            if hot < 3 {
                truth[hot] += 5;
            }
            sketch.add(lane(round), &sample(&registry, slot as u32), 5);
        }
        let hottest = sketch.hottest(3, &registry);
        assert_eq!(hottest.len(), 3);
        for hot in &hottest {
            let i: usize = hot.labels.get("i").unwrap().parse().unwrap();
            assert!(hot.samples >= truth[i] && hot.samples - hot.error <= truth[i], "{hot:?}, truth {}", truth[i]);
            assert_eq!(hot.of, 300_000);
            assert!(hot.lanes >= 3, "{hot:?}");
        }
        assert!(sketch.counters.len() <= COUNTERS, "bounded");
    }

    /// Of hundreds that are equally hot, ten were shown that had taken over the counts of others.
    #[test]
    fn series_as_hot_as_hundreds_of_others_do_not_stand_out_and_a_hotter_one_does() {
        let registry = Registry::new(1_000, LabelLimits::DEFAULT);
        for i in 0..500 {
            resolve(&registry, &[("__name__", "m"), ("i", &i.to_string())]);
        }
        let told = |sketch: &Sketch| -> Vec<bool> {
            sketch.hottest(10, &registry).iter().map(HotSeries::stands_out).collect()
        };
        let (mut equal, mut one) = (Sketch::default(), Sketch::default());
        for round in 0..50_000_u64 {
            let slot = (round * 7919 % 499) as u32;
            equal.add(lane(round), &sample(&registry, slot), 5);
            one.add(lane(round), &sample(&registry, if round % 10 == 0 { 499 } else { slot }), 5);
        }
        assert_eq!(told(&equal), [false; 10]);
        assert_eq!(told(&one)[..2], [true, false]);
        // Where there are few, each has a counter of its own.
        let mut few = Sketch::default();
        (0..60).for_each(|slot| few.add(lane(0), &sample(&registry, slot), 1));
        assert_eq!(told(&few), [true; 10]);
    }

    fn lane(n: u64) -> LaneId {
        LaneId::for_test(n % 7)
    }

    #[test]
    fn counts_fade_and_what_is_gone_is_forgotten() {
        let registry = Registry::new(10, LabelLimits::DEFAULT);
        resolve(&registry, &[("__name__", "m")]);
        let mut sketch = Sketch::default();
        sketch.add(LaneId::COMMON, &sample(&registry, 0), 8);
        let start = sketch.halved_at;
        sketch.fade(start + HALVE_EVERY - Duration::from_nanos(1));
        assert_eq!(sketch.hottest(9, &registry)[0].samples, 8);
        sketch.fade(start + HALVE_EVERY);
        assert_eq!(sketch.hottest(9, &registry)[0].samples, 4);
        sketch.fade(start + HALVE_EVERY * 1000);
        assert!(sketch.hottest(9, &registry).is_empty());
    }

    #[test]
    fn looks_are_spread_and_as_far_apart_as_said() {
        let mut sketch = Sketch::default();
        for every in [1, 8, 1024] {
            let skipped: usize = (0..10_000).map(|_| sketch.skip(every)).sum();
            let mean = skipped as f64 / 10_000.0;
            assert!((mean - (every as f64 - 1.0)).abs() <= every as f64 * 0.05, "{every}: {mean}");
        }
        assert_eq!([0, 7, 80, 1 << 20].map(Sketch::every), [1, 1, 10, 1024]);
    }
}
