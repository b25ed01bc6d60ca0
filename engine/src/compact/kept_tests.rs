//! What retention drops against a naive twin: a value that was overwritten never shows again, whatever goes first and
//! whatever becomes of the rules; and what is pushed where nothing hides it is shown, of whatever age it is (K10, P6).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use tidegauge_query::Selection;
use tidegauge_storage::fs::sim::SimFs;
use tidegauge_storage::fs::{Fs, MemFs};
use tidegauge_storage::manifest::{Edit, Horizon, Manifest, Retention, RetentionRule};
use tidegauge_storage::model::{Matcher, SeqNo, TimeRange, Timestamp};
use tidegauge_storage::source::{ColumnCursor, Columns};

use crate::clock;
use crate::core::SeriesSample;
use crate::engine::Engine;
use crate::faults::{SOON, series};
use crate::options::{Builder, Durability, Level};
use crate::recovery::Recovery;

const HOUR: i64 = 3_600_000_000_000;
/// Between two samples of a series. Samples lie in the middle of a slot, the horizons of ages at its ends.
const SLOT: i64 = 6 * HOUR;
const SLOTS: usize = 8;
const HOSTS: usize = 3;
/// A series that a rule hides at once, whatever other rules there are.
const MARKER: usize = 9;

/// How long samples are kept, in slots.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Ages {
    of_first: Option<usize>,
    of_all: Option<usize>,
}

impl Ages {
    const NONE: Self = Self { of_first: None, of_all: None };

    fn hides(&self, host: usize, slot: usize) -> bool {
        let own = if host == 0 && self.of_first.is_some() { self.of_first } else { self.of_all };
        own.is_some_and(|slots| slot >= slots)
    }

    fn rules(&self) -> Vec<RetentionRule> {
        let rule = |host: Option<usize>, slots: usize| RetentionRule {
            matchers: host.map(|host| Matcher::equal("host", host.to_string())).into_iter().collect(),
            max_age: Some(Duration::from_nanos(SLOT as u64) * slots as u32),
        };
        let marker = rule(Some(MARKER), 1);
        let first = self.of_first.map(|slots| rule(Some(0), slots));
        [marker].into_iter().chain(first).chain(self.of_all.map(|slots| rule(None, slots))).collect()
    }
}

#[derive(Clone, Debug)]
enum Step {
    Push(Vec<(usize, usize)>),
    Flush,
    /// Whatever can be seen by nobody goes, and nothing else.
    Look,
    Compact,
    Keep(Ages),
    /// So many percent of the bytes may stay, for a moment.
    Size(u64),
    Reopen,
}

struct Twin {
    fs: Arc<dyn Fs>,
    engine: Engine,
    now: i64,
    ages: Ages,
    next: u32,
    markers: i64,
    /// The value accepted last, and whether it must be there if no rule in force hides it.
    last: BTreeMap<(usize, usize), (u32, bool)>,
}

impl Twin {
    fn new() -> Self {
        let fs: Arc<dyn Fs> = Arc::new(MemFs::new());
        let engine = Self::open(&fs);
        let (now, last) = (clock::now().nanos(), BTreeMap::new());
        let mut twin = Self { fs, engine, now, ages: Ages::NONE, next: 0, markers: 0, last };
        twin.keep(Ages::NONE);
        twin
    }

    fn open(fs: &Arc<dyn Fs>) -> Engine {
        let builder = Builder::new(None).durability(Durability::Memory).query_threads(1).compact_threads(1);
        let mut builder = builder.background_compaction(false);
        builder.fs = Some(Arc::clone(fs));
        builder.open().unwrap()
    }

    fn at(&self, slot: usize) -> i64 {
        self.now - slot as i64 * SLOT - SLOT / 2
    }

    fn push(&mut self, samples: &[(usize, usize)]) {
        for &(host, slot) in samples {
            self.next += 1;
            let sample = SeriesSample::new(
                series(&self.engine, host),
                Timestamp::from_nanos(self.at(slot)),
                f64::from(self.next),
            );
            let ack = self.engine.push_batch(&[sample]).unwrap();
            self.engine.wait(ack, Level::Visible, SOON).unwrap();
            self.last.insert((host, slot), (self.next, !self.ages.hides(host, slot)));
        }
    }

    fn keep(&mut self, ages: Ages) {
        self.ages = ages;
        self.engine.set_retention(Retention { rules: ages.rules(), max_bytes: None }).unwrap();
        for ((host, slot), (_, must)) in &mut self.last {
            *must &= !ages.hides(*host, *slot);
        }
    }

    /// A segment of its own that every look lets go, so that one has been when it is gone.
    fn look(&mut self) {
        self.markers += 1;
        let at = -(1_000_000 + self.markers) * HOUR;
        let sample = SeriesSample::new(series(&self.engine, MARKER), Timestamp::from_nanos(at), 0.0);
        self.engine.flush().unwrap();
        let ack = self.engine.push_batch(&[sample]).unwrap();
        self.engine.wait(ack, Level::Visible, SOON).unwrap();
        self.engine.flush().unwrap();
        let is_there = || {
            let version = self.engine.life().core.versions.load();
            version.segments.iter().any(|s| s.info().time_range.is_some_and(|time| time.start.nanos() == at))
        };
        let deadline = Instant::now() + SOON;
        while is_there() {
            assert!(Instant::now() < deadline, "what nobody sees stays");
            thread::yield_now();
        }
    }

    fn take(&mut self, step: &Step) {
        match step {
            Step::Push(samples) => self.push(samples),
            Step::Flush => self.engine.flush().unwrap(),
            Step::Look => self.look(),
            Step::Compact => self.engine.compact().unwrap(),
            Step::Keep(ages) => self.keep(*ages),
            Step::Size(percent) => {
                let max_bytes = Some((self.engine.stats().segment_bytes * percent / 100).max(1));
                self.engine.set_retention(Retention { rules: self.ages.rules(), max_bytes }).unwrap();
                self.look();
                self.engine.set_retention(Retention { rules: self.ages.rules(), max_bytes: None }).unwrap();
                self.last.values_mut().for_each(|(_, must)| *must = false);
            }
            Step::Reopen => {
                self.engine.clone().close().unwrap();
                self.engine = Self::open(&self.fs);
            }
        }
    }

    fn shown(&self) -> BTreeMap<(usize, usize), u32> {
        let (mut shown, snapshot) = (BTreeMap::new(), self.engine.snapshot());
        let selection = Selection::new(&snapshot, &[]).unwrap();
        for one in selection.iter() {
            let host: usize = one.labels().get("host").unwrap().parse().unwrap();
            let (mut cursor, mut columns) = (one.cursor(), Columns::default());
            while cursor.next(&mut columns).unwrap() {}
            for (at, value) in columns.timestamps.iter().zip(&columns.values) {
                shown.insert((host, ((self.now - at) / SLOT) as usize), *value as u32);
            }
        }
        shown
    }

    fn check(&self) -> Result<(), String> {
        let shown = self.shown();
        for (place, value) in &shown {
            let last = self.last.get(place).map(|(last, _)| *last);
            if last != Some(*value) {
                return Err(format!("{value} shows at {place:?}, and {last:?} was accepted last"));
            }
            if self.ages.hides(place.0, place.1) {
                return Err(format!("{place:?} is over age"));
            }
        }
        match self.last.iter().find(|(place, (_, must))| *must && !shown.contains_key(place)) {
            Some(missing) => Err(format!("{missing:?} is not shown")),
            None => Ok(()),
        }
    }
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let age = || prop_oneof![Just(None), (1..SLOTS).prop_map(Some)];
    let ages = (age(), age()).prop_map(|(of_first, of_all)| Ages { of_first, of_all });
    // The series that has a rule of its own most often.
    let place = (prop_oneof![3 => Just(0), 1 => 1..HOSTS], 0..SLOTS);
    let step = prop_oneof![
        6 => prop::collection::vec(place, 1..4).prop_map(Step::Push),
        4 => Just(Step::Flush),
        3 => Just(Step::Look),
        1 => Just(Step::Compact),
        3 => ages.prop_map(Step::Keep),
        2 => Just(Step::Keep(Ages::NONE)),
        1 => (1..100u64).prop_map(Step::Size),
        1 => Just(Step::Reopen),
    ];
    prop::collection::vec(step, 1..40)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn k10_p6_the_last_value_is_shown_or_none_whatever_retention_drops(steps in steps()) {
        let mut twin = Twin::new();
        for step in &steps {
            twin.take(step);
            prop_assert!(twin.check().is_ok(), "{:?} after {step:?}", twin.check());
        }
        // Nothing hides it any more.
        twin.keep(Ages::NONE);
        prop_assert!(twin.check().is_ok(), "{:?} without rules", twin.check());
        twin.push(&(0..SLOTS).flat_map(|slot| (0..HOSTS).map(move |host| (host, slot))).collect::<Vec<_>>());
        for _ in 0..2 {
            prop_assert!(twin.check().is_ok(), "{:?} of all ages", twin.check());
            twin.engine.compact().unwrap();
        }
        prop_assert_eq!(twin.shown().len(), SLOTS * HOSTS);
        // Nothing is left to hide.
        twin.look();
        prop_assert!(twin.engine.life().core.versions.load().horizons.is_empty());
    }
}

/// A horizon hid for ever what lay before it, whatever the rules became: an import of old history into a store of which the
/// retention had been lifted was acknowledged, and never shown.
#[test]
fn p6_what_comes_once_rules_are_lifted_is_shown_whatever_its_age() {
    let mut twin = Twin::new();
    twin.push(&[(1, 6), (1, 5), (1, 2), (1, 0)]);
    twin.take(&Step::Flush);
    twin.push(&[(1, 6)]);
    twin.take(&Step::Flush);
    twin.keep(Ages { of_all: Some(4), ..Ages::NONE });
    twin.look();
    assert_eq!(twin.engine.stats().segment_samples, 4, "the later one went");
    twin.keep(Ages::NONE);
    twin.check().unwrap();
    assert!(!twin.shown().contains_key(&(1, 6)));
    twin.push(&[(1, 7), (1, 5), (2, 6)]);
    for step in [Step::Look, Step::Reopen, Step::Compact, Step::Reopen] {
        twin.check().unwrap();
        assert!(!twin.shown().contains_key(&(1, 6)));
        twin.take(&step);
    }
    twin.check().unwrap();
}

/// What a damaged manifest says of horizons holds in the one that is made anew.
#[test]
fn k10_a_salvage_of_the_manifest_keeps_horizons() {
    let mut twin = Twin::new();
    twin.push(&[(1, 6), (1, 0)]);
    twin.take(&Step::Flush);
    twin.push(&[(1, 6)]);
    twin.take(&Step::Flush);
    twin.keep(Ages { of_all: Some(4), ..Ages::NONE });
    twin.look();
    twin.keep(Ages::NONE);
    let manifest = twin.engine.life().root.join("MANIFEST");
    twin.engine.clone().close().unwrap();
    twin.fs.open(&manifest).unwrap().write_all_at(0, b"x").unwrap();
    let mut builder = Builder::new(None).durability(Durability::Memory).recovery(Recovery::Salvage);
    builder.fs = Some(Arc::clone(&twin.fs));
    twin.engine = builder.background_compaction(false).open().unwrap();
    assert!(twin.engine.recovery_report().manifest_made_anew);
    assert_eq!(twin.shown(), BTreeMap::from([((1, 0), 2)]));
    twin.check().unwrap();
}

/// A segment of late samples went for its age, and of an earlier segment, of which only little was over age, what they had
/// overwritten came back once the rule was loosened.
#[test]
fn k10_of_what_a_rule_hides_of_some_series_the_lower_goes_first() {
    let mut twin = Twin::new();
    let fresh: Vec<_> = (0..40).map(|_| (1, 0)).chain((0..SLOTS).map(|slot| (2, slot))).collect();
    twin.push(&fresh);
    twin.push(&[(0, 5), (0, 0)]);
    twin.take(&Step::Flush);
    twin.push(&[(0, 5)]);
    twin.take(&Step::Flush);
    let of_first = Ages { of_first: Some(3), of_all: None };
    twin.keep(of_first);
    twin.look();
    twin.keep(Ages::NONE);
    twin.check().unwrap();
    // All of it goes, the lower one first.
    twin.keep(of_first);
    twin.take(&Step::Compact);
    twin.look();
    assert_eq!(twin.engine.stats().segment_samples, 1 + SLOTS as u64 + 1);
    twin.keep(Ages::NONE);
    twin.check().unwrap();
    assert!(!twin.shown().contains_key(&(0, 5)));
    assert_eq!(twin.engine.count_matching("cpu{host=\"0\"}", TimeRange::ALL).unwrap().samples, 1);
}

/// Of a store of version 2 a horizon hides all that it holds, in segments and in the log, and nothing that comes then.
#[test]
fn a_horizon_without_a_number_hides_what_there_is_at_the_next_opening() {
    let open = |fs: &SimFs| {
        let mut builder = Builder::new(None).durability(Durability::Sync).query_threads(1);
        builder = builder.background_compaction(false);
        builder.fs = Some(Arc::new(fs.clone()) as Arc<dyn Fs>);
        builder.open().unwrap()
    };
    let push = |engine: &Engine, host: usize, times: std::ops::Range<i64>| {
        let id = series(engine, host);
        let batch: Vec<_> = times.map(|t| SeriesSample::new(id, Timestamp::from_nanos(t), 1.0)).collect();
        let ack = engine.push_batch(&batch).unwrap();
        engine.wait(ack, Level::Durable, SOON).unwrap();
    };
    let counts = |engine: &Engine| {
        [1, 2, 3].map(|host| engine.count_matching(&format!("cpu{{host=\"{host}\"}}"), TimeRange::ALL).unwrap().samples)
    };
    let mut fs = SimFs::new();
    let engine = open(&fs);
    push(&engine, 1, 0..100);
    engine.flush().unwrap();
    push(&engine, 2, 0..100);
    let dir = engine.life().root.clone();
    fs = fs.next_process();
    let _ = engine.close();
    let mut manifest = Manifest::open_or_create(Arc::new(fs.clone()), &dir).unwrap();
    let of_all = Horizon { before: Timestamp::from_nanos(60), through: SeqNo(u64::MAX), created: 0 };
    manifest.commit(&[Edit::Horizon(of_all)]).unwrap();
    drop(manifest);
    for push_more in [true, false] {
        let engine = open(&fs);
        if push_more {
            assert_eq!(counts(&engine), [40, 40, 0]);
            push(&engine, 3, 0..100);
            assert_eq!(engine.last(series(&engine, 3)).unwrap().map(|last| last.timestamp.nanos()), Some(99));
        }
        assert_eq!(counts(&engine), [40, 40, 100]);
        fs = fs.next_process();
        let _ = engine.close();
    }
    let engine = open(&fs);
    assert_eq!(counts(&engine), [40, 40, 100]);
    // What came out of the log is flushed behind the opening.
    engine.flush().unwrap();
    engine.compact().unwrap();
    assert_eq!((counts(&engine), engine.stats().segment_samples), ([40, 40, 100], 180));
    assert!(engine.life().manifest.lock().unwrap().state().horizons.is_empty(), "nothing is left to hide");
}
