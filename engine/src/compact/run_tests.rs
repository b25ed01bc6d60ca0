//! Compaction against its naive twin: a map from (series, timestamp) to the value accepted last.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use proptest::prelude::*;
use tidegauge_query::Selection;
use tidegauge_storage::fs::{Fs, MemFs};
use tidegauge_storage::manifest::Horizon;
use tidegauge_storage::model::{LabelLimits, Labels, Matcher, SeqNo, SeqRange, TimeRange, Timestamp, Tombstone};
use tidegauge_storage::segment::{
    ChunkInfo, Segment, SegmentHeader, SegmentInfo, SegmentWriter, WriteError, file_name,
};
use tidegauge_storage::source::{AgeMask, Columns, Snapshot};

use super::carry::lets_show;
use super::graveyard::Graveyard;
use super::hidden::Hidden;
use super::input::Input;
use super::look::time_of;
use super::plan::{Piece, Rules, Turn, Why, plan};
use super::run::{RunError, Target, discard, run, slices, weight};
use crate::memtable::Memtable;
use crate::registry::Registry;
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::version::{Version, order_of};

/// By (series, timestamp), values as bits.
pub(super) type Twin = BTreeMap<(u8, i64), u64>;

fn labels(series: u8) -> Labels {
    let host = series.to_string();
    Labels::new([("__name__", "cpu"), ("host", &host)], &LabelLimits::DEFAULT).unwrap()
}

/// Segments on a disk in memory, made as the flusher makes them.
pub(super) struct Store {
    fs: Arc<dyn Fs>,
    dir: PathBuf,
    next_id: AtomicU64,
    pub(super) segments: Vec<Arc<Segment>>,
    pub(super) twin: Twin,
    next_seq: u64,
    pub(super) tombstones: Vec<Arc<Tombstone>>,
    jobs: u32,
    decoded: AtomicU64,
}

/// A store of a test that needs more jobs is written anew for ever.
const JOBS_MAX: u32 = 200;

impl Store {
    pub(super) fn new() -> Self {
        let (fs, dir) = (Arc::new(MemFs::new()), PathBuf::from("d"));
        fs.create_dir_all(&dir).unwrap();
        Self {
            fs,
            dir,
            next_id: AtomicU64::new(0),
            segments: Vec::new(),
            twin: Twin::new(),
            next_seq: 1,
            tombstones: Vec::new(),
            jobs: 0,
            decoded: AtomicU64::new(0),
        }
    }

    fn write(&mut self, seq_range: SeqRange, late: bool, samples: &Twin) {
        if samples.is_empty() {
            return;
        }
        let header = SegmentHeader { store_id: 7, seq_range, late, ..SegmentHeader::default() };
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let mut writer = SegmentWriter::create(Arc::clone(&self.fs), &self.dir, id, header).unwrap();
        let mut series: Vec<u8> = samples.keys().map(|(s, _)| *s).collect();
        series.dedup();
        series.sort_by_key(|s| labels(*s));
        for s in series {
            let mut columns = Columns::default();
            samples.range((s, i64::MIN)..=(s, i64::MAX)).for_each(|((_, t), v)| columns.push(*t, f64::from_bits(*v)));
            writer.push_series(&labels(s), &columns, SeqNo(seq_range.end.0 - 1)).unwrap();
        }
        self.open(&writer.finish().unwrap());
    }

    fn open(&mut self, info: &SegmentInfo) {
        let segment = Segment::open(&*self.fs, &self.dir.join(file_name(info.id))).unwrap();
        segment.verify().unwrap();
        self.segments.push(Arc::new(segment));
        self.segments.sort_by_key(|s| order_of(s));
    }

    /// What a memtable makes of samples in order of acceptance: one segment in order, one late.
    pub(super) fn flush(&mut self, accepted: &[(u8, i64, f64)]) {
        let (mut in_order, mut late) = (Twin::new(), Twin::new());
        let mut newest: BTreeMap<u8, i64> = BTreeMap::new();
        for &(series, at, value) in accepted {
            let ahead = newest.get(&series).is_none_or(|newest| at > *newest);
            if ahead {
                newest.insert(series, at);
            }
            let half = if ahead { &mut in_order } else { &mut late };
            half.insert((series, at), value.to_bits());
            self.twin.insert((series, at), value.to_bits());
        }
        let start = SeqNo(self.next_seq);
        self.next_seq += accepted.len() as u64;
        let seq_range = SeqRange { start, end: SeqNo(self.next_seq) };
        self.write(seq_range, false, &in_order);
        self.write(seq_range, true, &late);
    }

    fn version(&self) -> Version {
        let active = Arc::new(Memtable::new(1, self.next_seq));
        let (segments, tombstones) = (self.segments.clone(), self.tombstones.clone());
        let registry = Arc::new(Registry::new(1, LabelLimits::DEFAULT));
        let (sealed, unmapped_below, horizons, forgotten) = (Vec::new(), 0, Vec::new(), Arc::default());
        Version { segments, sealed, unmapped_below, active, tombstones, horizons, forgotten, registry }
    }

    fn input(&self, segment: Arc<Segment>) -> Input {
        Input::new(segment, &self.tombstones, &Arc::default(), false)
    }

    /// Deletes some of one series (P9).
    pub(super) fn delete(&mut self, series: u8, start: i64, end: i64) {
        let seq = SeqNo(self.next_seq);
        self.next_seq += 1;
        let range = TimeRange::new(Timestamp::from_nanos(start), Timestamp::from_nanos(end));
        let matchers = vec![Matcher::equal("host", series.to_string())];
        self.tombstones.push(Arc::new(Tombstone { seq, matchers, range, created: 0 }));
        self.twin.retain(|(s, t), _| *s != series || !range.contains(Timestamp::from_nanos(*t)));
    }

    pub(super) fn contents(&self) -> Twin {
        let mut sources = self.version().sources(1, None);
        sources.pop();
        let snapshot = Snapshot::new(sources, SeqNo(self.next_seq));
        let selection = Selection::new(&snapshot, &[]).unwrap();
        let mut all = Twin::new();
        for series in selection.iter() {
            let host: u8 = series.labels().get("host").unwrap().parse().unwrap();
            let columns = series.read().unwrap();
            let samples = columns.timestamps.iter().zip(&columns.values);
            all.extend(samples.map(|(t, v)| ((host, *t), v.to_bits())));
        }
        all
    }

    fn pieces(&self) -> Vec<Piece> {
        let piece = |s: &Arc<Segment>| {
            let info = s.info();
            Piece {
                id: info.id,
                seq: info.seq_range,
                time: time_of(info),
                late: info.late,
                bytes: info.file_bytes,
                created: info.created,
                samples: info.samples,
                hidden: Hidden::count(s, &self.tombstones, &Arc::default(), None, &|| ())
                    .unwrap()
                    .map_or(0, |h| h.found.samples),
                aged: 0,
                urgent: false,
                damaged: false,
                busy: false,
                cold: info.cold,
            }
        };
        self.segments.iter().map(piece).collect()
    }

    /// Length and encodings of the value columns, chunk by chunk.
    fn value_columns(&self) -> Vec<(u32, String)> {
        let chunks = self.segments.iter().flat_map(|s| s.chunks().map(Result::unwrap).collect::<Vec<_>>());
        let encodings = |chunk: &ChunkInfo| chunk.value_vectors.iter().map(|v| v.encoding).collect::<Vec<_>>();
        chunks.map(|chunk| (chunk.value_bytes, format!("{:?}", encodings(&chunk)))).collect()
    }

    fn target<'a>(
        &'a self,
        next_id: &'a (dyn Fn() -> u64 + Sync),
        segment_bytes: u64,
        go_on: &'a (dyn Fn() -> bool + Sync),
    ) -> Target<'a> {
        let sync_folder = &|| Ok(());
        Target {
            fs: &self.fs,
            dir: &self.dir,
            store_id: 7,
            opening: 1,
            next_id,
            sync_folder,
            segment_bytes,
            go_on,
            decoded: &self.decoded,
        }
    }

    /// One job; answers whether there was one.
    pub(super) fn step(&mut self, rules: &Rules) -> bool {
        let Some(job) = plan(&self.pieces(), rules) else { return false };
        assert!(!job.cuts.contains(&i64::MAX), "no range ends there");
        self.jobs += 1;
        assert!(self.jobs < JOBS_MAX, "no end");
        let ours = self.segments.iter().filter(|s| job.inputs.contains(&s.info().id)).cloned();
        let inputs: Vec<Input> = ours.map(|s| self.input(s)).collect();
        let mut made = Vec::new();
        let next_id = || self.next_id.fetch_add(1, Ordering::Relaxed);
        if job.why != Why::Drop {
            let target = self.target(&next_id, rules.segment_bytes, &|| true);
            run(&inputs, &job.cuts, job.cold, &target, &mut made).unwrap();
        }
        for cut in &job.cuts {
            let cut = Timestamp::from_nanos(*cut);
            let over = |r: TimeRange| r.start < cut && cut < r.end;
            assert!(!made.iter().any(|info| info.time_range.is_some_and(over)), "no output lies across a cut");
        }
        self.segments.retain(|s| !job.inputs.contains(&s.info().id));
        made.iter().for_each(|info| self.open(info));
        true
    }
}

/// The watchdog saw no step while many files were removed, while what deletes hide was counted, and while it was found
/// where to cut, and took each of these for a stall when it was long.
#[test]
fn long_parts_of_a_compaction_count_their_steps() {
    let mut store = Store::new();
    for flush in 0..3 {
        store.flush(&[(1, flush, 1.0), (2, flush, 2.0)]);
    }
    let steps = AtomicU64::new(0);
    let step = || {
        steps.fetch_add(1, Ordering::Relaxed);
    };
    let taken = || steps.swap(0, Ordering::Relaxed);
    let inputs: Vec<Input> = store.segments.iter().map(|s| store.input(Arc::clone(s))).collect();
    let next_id = || store.next_id.fetch_add(1, Ordering::Relaxed);
    let stop = || {
        step();
        false
    };
    let target = store.target(&next_id, 1, &stop);
    assert!(matches!(slices(&inputs, &[], &target), Err(RunError::Interrupted)));
    assert_eq!(taken(), 1, "asked before the first series is weighed, and ended there");
    drop(inputs);
    store.delete(1, 0, 10);
    let hidden = Hidden::count(&store.segments[0], &store.tombstones, &Arc::default(), None, &step).unwrap();
    assert_eq!((hidden.map(|h| h.found.samples), taken()), (Some(1), 1), "a chunk is a step");
    let graveyard = Graveyard::new(Arc::clone(&store.fs));
    graveyard.bury(std::mem::take(&mut store.segments), &step);
    assert_eq!(taken(), 3);
}

/// What is hidden of the first segment, with what was known of it, and whether a chunk was looked at.
fn counted(store: &Store, ages: &Arc<[AgeMask]>, known: &mut Option<Hidden>) -> (u64, bool) {
    let looked = AtomicU64::new(0);
    let look = || {
        looked.fetch_add(1, Ordering::Relaxed);
    };
    *known = Hidden::count(&store.segments[0], &store.tombstones, ages, known.as_ref(), &look).unwrap();
    (known.as_ref().map_or(0, |hidden| hidden.found.samples), looked.into_inner() > 0)
}

fn aged(host: &str, horizon: i64) -> AgeMask {
    AgeMask { matchers: [Matcher::equal("host", host)].into(), horizon: Timestamp::from_nanos(horizon) }
}

/// A rule was given to other series, and what was hidden by it before still counted: a segment that nobody saw any more
/// by the count went, unread, though the rule in force kept it.
#[test]
fn what_is_hidden_is_counted_anew_when_a_rule_names_other_series() {
    let mut store = Store::new();
    store.flush(&[(1, 0, 1.0), (1, 50, 1.0), (1, 100, 1.0), (2, 10, 2.0)]);
    let mut known = None;
    assert_eq!(counted(&store, &[aged("1", 90)].into(), &mut known), (2, true));
    assert_eq!(counted(&store, &[aged("1", 90)].into(), &mut known), (2, false));
    assert_eq!(counted(&store, &[aged("2", 90)].into(), &mut known), (1, true));
}

/// As horizons moved, all that had been stored was counted again, though nothing of it came to be hidden: what is wholly
/// before a horizon, or behind one.
#[test]
fn what_a_horizon_has_passed_or_not_reached_is_not_counted_again() {
    let mut store = Store::new();
    store.flush(&[(1, 100, 1.0), (1, 200, 1.0), (2, 150, 2.0)]);
    let ages = |of_1, of_2| -> Arc<[AgeMask]> { [aged("1", of_1), aged("2", of_2)].into() };
    let mut known = None;
    assert_eq!(counted(&store, &ages(160, 0), &mut known), (1, true));
    assert_eq!(counted(&store, &ages(160, 90), &mut known), (1, false), "before all of it");
    assert_eq!(counted(&store, &ages(201, 95), &mut known), (2, true));
    assert_eq!(counted(&store, &ages(900, 100), &mut known), (2, false), "behind all of it");
    assert_eq!(counted(&store, &ages(901, 151), &mut known), (3, true));
    assert_eq!(counted(&store, &ages(950, 201), &mut known), (3, false), "it goes unread");
}

pub(super) fn rules(all: bool) -> Rules {
    let (span, ages, turn) = (i64::MAX, [].into(), Turn::default());
    let (most, cold_after) = (u64::MAX, i64::MAX);
    Rules { segment_bytes: 1 << 20, span, ages, fan: 4, now: 0, most, turn, all, cold_after }
}

/// One of so many lies at the end of time, where no range says all that one may want to say.
pub(super) fn times(of: u32) -> impl Strategy<Value = i64> {
    prop_oneof![of => -300i64..3_000, 1 => i64::MAX - 1..=i64::MAX]
}

/// What a delete that begins at the end of time hid was shown, and written anew for ever; and what was cut there was in both
/// outputs.
#[test]
fn a_delete_from_the_end_of_time_on_is_carried_out_once() {
    let mut store = Store::new();
    store.flush(&[(0, 1, 1.0), (0, i64::MAX - 1, 2.0), (1, 5, 3.0), (1, i64::MAX, 4.0)]);
    store.flush(&[(0, i64::MAX, 5.0)]);
    // Beside it lies what the delete leaves: the segment does not go as a whole.
    store.flush(&[(0, 7, 6.0), (0, i64::MAX, 7.0)]);
    // And one whose only sample stays.
    store.flush(&[(1, i64::MAX, 8.0)]);
    store.delete(0, i64::MAX, i64::MAX);
    assert_eq!(store.twin.len(), 5);
    assert_eq!(store.contents(), store.twin);
    while store.step(&rules(true)) {
        assert_eq!(store.contents(), store.twin);
    }
    let samples: u64 = store.segments.iter().map(|s| s.info().samples).sum();
    assert_eq!(samples, 5);
    let (next, inputs) = (|| 0, store.segments.iter().map(|s| store.input(Arc::clone(s))).collect::<Vec<_>>());
    let slices = slices(&inputs, &[7, i64::MAX], &store.target(&next, 1 << 20, &|| true)).unwrap();
    assert_eq!(slices.iter().filter(|slice| slice.contains(Timestamp::MAX)).count(), 1, "{slices:?}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    /// K1, K2: after any number of jobs the store holds what its twin holds.
    #[test]
    fn compaction_equals_the_naive_twin(
        flushes in prop::collection::vec(
            (
                prop::collection::vec((0u8..4, times(400), -9i32..9), 1..400),
                prop::option::of((0u8..4, times(10), 0i64..2_000)),
                any::<bool>(),
            ),
            1..14,
        ),
        segment_bytes in prop_oneof![Just(2_500u64), Just(6_000), Just(1 << 20)],
        span in prop_oneof![Just(500i64), Just(100_000)],
        fan in 2usize..5,
        cold_after in prop_oneof![Just(i64::MAX), Just(0i64)],
    ) {
        let mut store = Store::new();
        let mut rules = Rules { segment_bytes, span, fan, cold_after, ..rules(false) };
        for (samples, delete, compact) in flushes {
            let accepted: Vec<_> = samples.into_iter().map(|(s, t, v)| (s, t, f64::from(v) / 4.0)).collect();
            store.flush(&accepted);
            delete.into_iter().for_each(|(series, start, len)| store.delete(series, start, start.saturating_add(len)));
            while compact && store.step(&rules) {}
            prop_assert_eq!(&store.contents(), &store.twin);
        }
        rules.all = true;
        while store.step(&rules) {
            prop_assert_eq!(&store.contents(), &store.twin);
        }
        prop_assert!(store.segments.iter().all(|s| s.info().cold == (cold_after == 0)), "all are marked, or none");
        let samples: u64 = store.segments.iter().map(|s| s.info().samples).sum();
        prop_assert_eq!(samples as usize, store.twin.len(), "overwritten and deleted samples are gone");
        store.tombstones.clear();
        prop_assert_eq!(&store.contents(), &store.twin, "and no delete is needed any more");
    }
}

/// Two flushes in order, of series scraped together, one of which misses samples now and then.
fn scraped(store: &mut Store, scrapes: std::ops::Range<i64>) {
    let scrape = |t: i64| t * 1_000_000_000 + (t * 7_919) % 4_000_000;
    let misses = |series: u8, t: i64| series == 2 && t % 700 == 13;
    let samples: Vec<_> = scrapes
        .flat_map(|t| (0u8..4).filter(move |s| !misses(*s, t)).map(move |s| (s, scrape(t), (t % 50) as f64)))
        .collect();
    store.flush(&samples);
}

/// K6: full chunks that nothing overlaps are taken over as they are, and what is left between
/// them makes decent chunks; series scraped together keep sharing their timestamps.
#[test]
fn chunks_stay_full_and_timestamps_stay_shared() {
    let mut store = Store::new();
    for i in 0..4 {
        scraped(&mut store, i * 9_000..(i + 1) * 9_000);
    }
    let columns = |store: &Store| {
        let chunks =
            store.segments.iter().flat_map(|s| s.chunks().map(|c| (s.info().id, c.unwrap())).collect::<Vec<_>>());
        let mut columns: Vec<_> = chunks.map(|(id, c)| (id, c.timestamp_column)).collect();
        columns.sort_unstable();
        columns.dedup();
        columns.len()
    };
    assert!(columns(&store) >= 4 * 2 * 2 + 4, "fresh, the series with gaps goes its own way");
    while store.step(&rules(true)) {}
    assert_eq!(store.contents(), store.twin);
    assert_eq!(store.segments.len(), 1);
    let chunks: Vec<_> = store.segments[0].chunks().map(Result::unwrap).collect();
    let is_last = |i: usize| chunks.get(i + 1).is_none_or(|next| next.series != chunks[i].series);
    assert!(
        (0..chunks.len()).all(|i| chunks[i].count >= 1_024 || is_last(i)),
        "{:?}",
        chunks.iter().map(|c| c.count).collect::<Vec<_>>()
    );
    assert!(chunks.len() <= 4 * 14, "{} chunks", chunks.len());
    let whole = chunks.iter().filter(|c| c.series != 2).map(|c| c.timestamp_column);
    let whole: std::collections::BTreeSet<_> = whole.collect();
    assert!(whole.len() <= 14, "three series share their columns: {}", whole.len());
}

/// K5: an interrupted job leaves nothing behind but its inputs.
#[test]
fn an_interrupted_job_leaves_no_file() {
    let mut store = Store::new();
    (0..4).for_each(|i| scraped(&mut store, i * 5_000..(i + 1) * 5_000));
    let before = store.fs.list(&store.dir).unwrap();
    let inputs: Vec<Input> = store.segments.iter().map(|s| store.input(Arc::clone(s))).collect();
    for steps in [0u64, 1, 5, 12] {
        let left = AtomicU64::new(steps);
        let fewer = |left: u64| Some(left.saturating_sub(1));
        let go_on = || left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fewer).unwrap() > 0;
        let next_id = || store.next_id.fetch_add(1, Ordering::Relaxed);
        let target = store.target(&next_id, 20_000, &go_on);
        let mut made = Vec::new();
        let result = run(&inputs, &[], false, &target, &mut made);
        assert!(matches!(result, Err(RunError::Interrupted)), "after {steps}");
        discard(&made, &target);
        assert_eq!(store.fs.list(&store.dir).unwrap(), before, "after {steps}");
    }
    while store.step(&rules(true)) {}
    assert_eq!(store.contents(), store.twin);
}

/// A chunk that reached over many outputs was decoded once for each of them.
#[test]
fn what_reaches_over_many_outputs_is_decoded_a_few_times() {
    let mut store = Store::new();
    let samples: Vec<_> = (0..3u8).flat_map(|s| (0..4_000i64).map(move |t| (s, t * 10, t as f64))).collect();
    store.flush(&samples);
    let inputs: Vec<Input> = store.segments.iter().map(|s| store.input(Arc::clone(s))).collect();
    let chunks: u64 = store.segments.iter().map(|s| s.info().chunks).sum();
    let cuts: Vec<i64> = (1..40).map(|i| i * 1_000).collect();
    let next_id = || store.next_id.fetch_add(1, Ordering::Relaxed);
    let mut made = Vec::new();
    let one = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
    one.install(|| run(&inputs, &cuts, false, &store.target(&next_id, 1 << 20, &|| true), &mut made)).unwrap();
    let decoded = store.decoded.load(Ordering::Relaxed);
    drop(inputs);
    assert_eq!(made.len(), 40);
    assert!(decoded <= 5 * chunks, "{decoded} chunks decoded of {chunks}, for {} outputs", made.len());
    store.segments.clear();
    made.iter().for_each(|info| store.open(info));
    assert_eq!(store.contents(), store.twin);
}

/// Old data becomes smaller once, and what is cold is taken over as it is.
#[test]
fn a_cold_job_makes_chunks_smaller_and_cold_ones_are_not_touched() {
    let mut store = Store::new();
    let value = |i: i64| (1.0 + i as f64 / 700.0).sin();
    (0..4).for_each(|f| store.flush(&(f * 9_000..(f + 1) * 9_000).map(|t| (1, t * 10, value(t))).collect::<Vec<_>>()));
    while store.step(&rules(true)) {}
    let bytes = |store: &Store| store.segments.iter().map(|s| s.info().file_bytes).sum::<u64>();
    let warm = bytes(&store);
    #[cfg(feature = "cold")]
    let columns = store.value_columns();
    assert!(!store.segments[0].info().cold);
    let cold = Rules { cold_after: 0, now: i64::MAX, ..rules(false) };
    let jobs = (0..).take_while(|_| store.step(&cold)).count();
    assert_eq!((jobs, store.segments.len()), (1, 1), "once");
    assert!(store.segments[0].info().cold);
    // Without the feature the tightest encoding may be the one that they have, and the record of a chunk is some bytes.
    #[cfg(not(feature = "cold"))]
    assert!(bytes(&store) <= warm + 64, "{} bytes cold, {warm} before", bytes(&store));
    #[cfg(feature = "cold")]
    assert!(bytes(&store) < warm / 4 * 3, "{} bytes cold, {warm} before", bytes(&store));
    #[cfg(feature = "cold")]
    assert_ne!(store.value_columns(), columns);
    assert_eq!(store.contents(), store.twin);
    // Another one of the kind beside it: both are joined, and nothing is encoded again.
    let columns = store.value_columns();
    store.flush(&[(2, 0, 1.0)]);
    while store.step(&Rules { all: true, ..cold.clone() }) {}
    assert_eq!((store.segments.len(), store.segments[0].info().cold), (1, true));
    let joined = store.value_columns();
    assert_eq!(joined[..columns.len() - 1], columns[..columns.len() - 1], "full chunks are taken over");
    assert_eq!(store.contents(), store.twin);
}

/// Late data costs no space once it is compacted: within 5 % of the same samples in order.
#[test]
fn late_samples_weigh_no_more_than_those_in_order() {
    let value = |t: i64| ((t * t) % 1_013) as f64 / 100.0;
    let weigh = |late: bool| {
        let mut store = Store::new();
        for flush in 0..4i64 {
            let times = flush * 10_000..(flush + 1) * 10_000;
            let mut samples: Vec<_> = times.flat_map(|t| (0u8..3).map(move |s| (s, t * 60, value(t)))).collect();
            if late {
                let (behind, ahead): (Vec<_>, Vec<_>) =
                    samples.iter().partition(|(s, t, _)| (t / 60 + i64::from(*s)) % 10 == 3);
                samples = ahead;
                samples.extend(behind.into_iter().rev());
            }
            store.flush(&samples);
        }
        while store.step(&rules(true)) {}
        assert_eq!(store.contents(), store.twin);
        store.segments.iter().map(|s| s.info().file_bytes).sum::<u64>() as f64
    };
    let (in_order, late) = (weigh(false), weigh(true));
    assert!(late <= in_order * 1.05, "{late} bytes late, {in_order} in order");
}

/// Two outputs are written side by side: that the folder could not be synced was lost behind another error of the same job,
/// which is no reason to poison.
#[test]
fn a_failed_sync_of_the_folder_is_told_before_all_other_errors() {
    let (dir, gone) = (PathBuf::from("segments"), || io::Error::other("gone"));
    let of_file = RunError::Write(WriteError::Io { file: dir.join("1.seg"), source: gone() });
    let of_folder = RunError::Write(WriteError::Folder { dir, source: gone() });
    let told = [&RunError::Interrupted, &of_file, &of_folder].map(weight);
    assert!(told.is_sorted_by(|a, b| a < b), "{told:?}");
}

/// A job that was planned before a horizon came would carry what that hides to above its number.
#[test]
fn k10_a_job_that_would_show_what_a_horizon_hides_is_outdated() {
    let mut store = Store::new();
    store.flush(&[(1, 0, 1.0), (1, 10, 1.0)]);
    store.flush(&[(1, 5, 2.0), (1, 20, 2.0)]);
    let horizon = |before, through| {
        let horizon = Horizon { before: Timestamp::from_nanos(before), through: SeqNo(through), created: 0 };
        Arc::new(horizon.tombstone())
    };
    let outdated = |known: &[Arc<Tombstone>], now| {
        let input = |s: &Arc<Segment>| Input::new(Arc::clone(s), known, &Arc::default(), false);
        let inputs: Vec<Input> = store.segments.iter().map(input).collect();
        let version = Version { horizons: vec![now], ..store.version() };
        inputs.iter().any(|input| lets_show(input, &inputs, &version))
    };
    assert!(outdated(&[], horizon(8, 2)) && outdated(&[horizon(7, 2)], horizon(8, 2)));
    assert!(!outdated(&[], horizon(8, 4)), "it hides the same of what is made");
    assert!(!outdated(&[], horizon(0, 2)), "there is nothing before it");
    assert!(!outdated(&[horizon(9, 2)], horizon(8, 2)), "it is left out already");
    assert!(!outdated(&[], horizon(8, 1)), "it reaches none of them");
}
