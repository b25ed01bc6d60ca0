//! A week of a small store, against a naive twin: series that come and go each hour, late and overwritten samples,
//! flushes, compaction by hand and in the background, deletes, retention, a reopening each day.
//!
//! The engine's clock is the real one. So the week is the last one, and the ages of the rules shrink as it goes on: what is
//! kept at the end of a simulated day is what a clock of that time would keep.

mod support;

use std::path::Path;
use std::time::Duration;

use support::{Contents, SOON, at, contents};
use tidegauge::{Engine, Level, Matcher, Retention, RetentionRule, SeriesSample, TimeRange, admin, now};

const HOUR: i64 = 3_600_000_000_000;
const DAY: i64 = 24 * HOUR;
/// Between two samples of a series. Samples lie in the middle, horizons at the ends: the test has half a step for a day.
const STEP: i64 = HOUR / 10;

const DAYS: i64 = 7;
const STEADY: i64 = 20;
/// Series that begin each hour, and end in the next one.
const BORN: i64 = 5;
const SHORT_DAYS: i64 = 1;
const LONG_DAYS: i64 = 3;

struct Week<'a> {
    dir: &'a Path,
    engine: Engine,
    twin: Contents,
    start: i64,
}

/// A series: its name as it is shown, and its kind, which says how long it is kept.
struct Named {
    host: String,
    kind: &'static str,
}

impl Named {
    fn steady(n: i64) -> Self {
        Self { host: format!("steady{n}"), kind: if n % 5 == 0 { "short" } else { "long" } }
    }

    fn born(hour: i64, n: i64) -> Self {
        Self { host: format!("born{hour}-{n}"), kind: if n == 0 { "short" } else { "long" } }
    }

    fn shown(&self) -> String {
        format!("load{{host=\"{}\", kind=\"{}\"}}", self.host, self.kind)
    }
}

/// With compaction by hand on even days, in the background on odd ones.
fn open(dir: &Path, day: i64) -> Engine {
    Engine::builder(dir).background_compaction(day % 2 == 1).open().unwrap()
}

impl Week<'_> {
    /// Pushes, and tells the twin.
    fn push(&mut self, samples: &[(Named, i64, f64)]) {
        let of = |(named, t, value): &(Named, i64, f64)| {
            let labels = [("__name__", "load"), ("host", &named.host), ("kind", named.kind)];
            SeriesSample::new(self.engine.series(&labels).unwrap(), at(*t), *value)
        };
        let batch: Vec<_> = samples.iter().map(of).collect();
        let ack = self.engine.push_batch(&batch).unwrap();
        self.engine.wait(ack, Level::Visible, SOON).unwrap();
        for (named, t, value) in samples {
            self.twin.entry(named.shown()).or_default().insert(*t, value.to_bits());
        }
    }

    /// Ten samples of thirty series; then some that come late, and some that are written over.
    fn hour(&mut self, hour: i64) {
        let begin = self.start + hour * HOUR;
        let series = || {
            let born = [hour - 1, hour].into_iter().flat_map(|h| (0..BORN).map(move |n| Named::born(h, n)));
            (0..STEADY).map(Named::steady).chain(born)
        };
        let value = |nth: usize, i: i64| ((hour * 13 + i * 7 + nth as i64) % 100) as f64 / 4.0;
        let times = (0..10).map(|i| (i, begin + i * STEP + STEP / 2));
        let regular = times.flat_map(|(i, t)| series().enumerate().map(move |(nth, named)| (named, t, value(nth, i))));
        self.push(&regular.collect::<Vec<_>>());
        if hour >= 5 {
            let (late, over) = (begin - 3 * HOUR + STEP / 2 + STEP / 5, begin - 5 * HOUR + STEP / 2);
            self.push(&[(Named::steady(hour % STEADY), late, -1.0), (Named::steady((hour + 7) % STEADY), over, -2.0)]);
        }
        if hour % 4 == 3 {
            self.engine.flush().unwrap();
        }
    }

    /// What is older is kept of nobody, or not of those of the kind `short`.
    fn retain(&mut self, end: i64) {
        let (short, long) = (end - SHORT_DAYS * DAY, end - LONG_DAYS * DAY);
        let age = |horizon: i64| Some(Duration::from_nanos((now().nanos() - horizon) as u64));
        let rules = vec![
            RetentionRule { matchers: vec![Matcher::equal("kind", "short")], max_age: age(short) },
            RetentionRule { matchers: Vec::new(), max_age: age(long) },
        ];
        self.engine.set_retention(Retention { rules, max_bytes: None }).unwrap();
        for (name, samples) in &mut self.twin {
            let horizon = if name.contains("kind=\"short\"") { short } else { long };
            *samples = samples.split_off(&horizon);
        }
        self.twin.retain(|_, samples| !samples.is_empty());
    }

    /// Three hours of the day of a series, and all of the series that were born in one of its hours.
    fn delete(&mut self, day: i64) {
        let from = self.start + day * DAY + 6 * HOUR;
        let some = TimeRange::new(at(from), at(from + 3 * HOUR));
        let named = Named::steady(day);
        self.engine.delete(&named.shown(), some).unwrap();
        let born = format!("born{}-", day * 24 + 12);
        self.engine.delete(&format!("load{{host=~\"{born}.*\"}}"), TimeRange::ALL).unwrap();
        self.twin.retain(|name, _| !name.contains(&born));
        if let Some(samples) = self.twin.get_mut(&named.shown()) {
            samples.retain(|&t, _| !(from..from + 3 * HOUR).contains(&t));
        }
    }

    fn samples(&self) -> u64 {
        self.twin.values().map(|samples| samples.len() as u64).sum()
    }

    fn check(&self, when: &str) {
        let found = contents(&self.engine.snapshot());
        assert!(found.keys().eq(self.twin.keys()), "{when}: other series");
        for (name, samples) in &self.twin {
            assert_eq!(&found[name], samples, "{when}: {name}");
        }
        let counted = self.engine.count_matching("load", TimeRange::ALL).unwrap();
        assert_eq!((counted.series, counted.samples), (self.twin.len() as u64, self.samples()), "{when}");
        let report = admin::verify(self.dir, |_, _| ()).unwrap();
        assert!(report.is_sound(), "{when}: {:?}", report.damage);
        assert!(report.samples + report.log_samples >= self.samples(), "{when}: {report:?}");
    }
}

#[test]
fn a_week_of_churn_is_kept_as_a_naive_twin_keeps_it() {
    let dir = tempfile::tempdir().unwrap();
    let start = now().nanos() - (DAYS + 1) * DAY;
    let mut week = Week { dir: dir.path(), engine: open(dir.path(), 0), twin: Contents::new(), start };
    for day in 0..DAYS {
        (day * 24..(day + 1) * 24).for_each(|hour| week.hour(hour));
        week.delete(day);
        week.check(&format!("day {day}, deleted"));
        week.retain(start + (day + 1) * DAY);
        week.check(&format!("day {day}, retained"));
        if day % 2 == 0 {
            week.engine.compact().unwrap();
            week.check(&format!("day {day}, compacted"));
        }
        week.engine.close().unwrap();
        week.engine = open(dir.path(), day + 1);
        week.check(&format!("day {day}, opened again"));
    }
    week.engine.compact().unwrap();
    week.check("at the end");
    let stats = week.engine.stats();
    // Found: six segments, 3.3 bytes a sample.
    assert!(stats.segments <= 12, "{} segments", stats.segments);
    let (bytes, kept) = (stats.segment_bytes, week.samples());
    assert!(bytes <= 5 * kept, "{bytes} bytes of {kept} samples");
    // A segment is written anew once a quarter of it is over age.
    assert!(stats.segment_samples * 3 <= kept * 4, "{} samples for {kept}", stats.segment_samples);
    assert_eq!((stats.tombstones, stats.series), (0, 0), "nothing is in memory, and no delete waits");
}
