//! What names a series is the same by its labels and by the index, and the index is asked where that is cheaper.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use proptest::prelude::*;
use tidegauge_storage::chunk::StatsWanted;
use tidegauge_storage::fs::{Fs, MemFs};
use tidegauge_storage::model::{
    LabelLimits, Labels, MatchOp, Matcher, SeqNo, SeqRange, TimeRange, Timestamp, Tombstone,
};
use tidegauge_storage::segment::{Segment, SegmentHeader, SegmentWriter, file_name};
use tidegauge_storage::source::{
    AgeMask, ColumnCursor, Columns, Mask, Masked, Named, Naming, ReadCounts, ReadError, SampleSource, SeriesHit,
};

const SAMPLES: i64 = 60;

fn segment(series: &BTreeSet<Labels>) -> Segment {
    let (fs, dir) = (Arc::new(MemFs::new()), Path::new("d"));
    let mut writer = SegmentWriter::create(Arc::clone(&fs) as Arc<dyn Fs>, dir, 1, SegmentHeader::default()).unwrap();
    let samples = Columns { timestamps: (0..SAMPLES).collect(), values: vec![1.0; SAMPLES as usize] };
    series.iter().for_each(|labels| writer.push_series(labels, &samples, SeqNo(1)).unwrap());
    writer.finish().unwrap();
    Segment::open(&*fs, &dir.join(file_name(1))).unwrap()
}

fn nanos(start: i64, end: i64) -> TimeRange {
    TimeRange::new(Timestamp::from_nanos(start), Timestamp::from_nanos(end))
}

fn tombstone(matchers: Vec<Matcher>, range: TimeRange) -> Arc<Tombstone> {
    Arc::new(Tombstone { seq: SeqNo(9), matchers, range, created: 0 })
}

fn matchers() -> impl Strategy<Value = Vec<Matcher>> {
    let op = prop::sample::select(vec![MatchOp::Equal, MatchOp::NotEqual, MatchOp::Regex, MatchOp::NotRegex]);
    let name = prop::sample::select(vec!["__name__", "host", "zone", "absent"]);
    let value = prop::sample::select(vec!["", "a", "b", "1", "12", "a|b", "1.*", ".*", ".+", "nothing"]);
    let matcher = (name, op, value).prop_map(|(name, op, value)| Matcher::new(name, op, value).unwrap());
    prop::collection::vec(matcher, 0..3)
}

proptest! {
    /// The twin tries every matcher on every series.
    #[test]
    fn the_index_names_what_the_labels_name(
        series in prop::collection::btree_set((0u8..3, 0u8..30, 0u8..3), 1..60),
        deletes in prop::collection::vec((matchers(), 0i64..SAMPLES, 0i64..40), 0..9),
        ages in prop::collection::vec((matchers(), prop_oneof![Just(i64::MIN), 0..SAMPLES]), 0..4),
    ) {
        let text = |i: u8| ["", "a", "b"][usize::from(i)];
        let labels = |&(name, host, zone): &(u8, u8, u8)| {
            let host = host.to_string();
            let pairs = [("__name__", text(name)), ("host", &host), ("zone", text(zone))];
            Labels::new(pairs.into_iter().filter(|(_, value)| !value.is_empty()), &LabelLimits::DEFAULT).unwrap()
        };
        let segment = Arc::new(segment(&series.iter().map(labels).collect()));
        let mask = Mask {
            tombstones: deletes.into_iter().map(|(matchers, start, len)| tombstone(matchers, nanos(start, start + len))).collect(),
            ages: ages.into_iter().map(|(matchers, at)| AgeMask { matchers: matchers.into(), horizon: Timestamp::from_nanos(at) }).collect(),
        };
        let named = Named::find(&*segment, &mask).unwrap().unwrap();
        let masked = Masked::new(Arc::clone(&segment) as Arc<dyn SampleSource>, mask.clone());
        for _ in 0..4 {
            for ordinal in 0..segment.series_count() {
                let labels = segment.labels(ordinal).unwrap();
                prop_assert_eq!(named.naming(ordinal), &Naming::of(&mask, &labels), "{}", labels);
                let hidden = mask.hidden(&labels);
                let seen = |at: &i64| !hidden.iter().any(|range| range.contains(Timestamp::from_nanos(*at)));
                let (mut read, mut cursor) = (Columns::default(), masked.read(ordinal, TimeRange::ALL).unwrap());
                while cursor.next(&mut read).unwrap() {}
                prop_assert_eq!(read.timestamps, (0..SAMPLES).filter(seen).collect::<Vec<_>>());
            }
        }
    }
}

/// Counts what is asked of a segment.
struct Asked {
    inner: Segment,
    /// Its index names every series.
    lies: bool,
    labels: AtomicU64,
    ordinals: AtomicU64,
}

impl Asked {
    fn counts(&self) -> [u64; 2] {
        [&self.labels, &self.ordinals].map(|count| count.load(Ordering::Relaxed))
    }
}

impl SampleSource for Asked {
    fn seq_range(&self) -> SeqRange {
        self.inner.seq_range()
    }

    fn time_range(&self) -> Option<TimeRange> {
        self.inner.time_range()
    }

    fn select(&self, matchers: &[Matcher]) -> Result<Vec<SeriesHit>, ReadError> {
        self.inner.select(matchers)
    }

    fn ordinals(&self, matchers: &[Matcher]) -> Result<Vec<u32>, ReadError> {
        self.ordinals.fetch_add(1, Ordering::Relaxed);
        self.inner.ordinals(if self.lies { &[] } else { matchers })
    }

    fn series_about(&self) -> Option<u64> {
        self.inner.series_about()
    }

    fn looks_to_select(&self, matchers: &[Matcher]) -> Option<u64> {
        self.inner.looks_to_select(matchers)
    }

    fn labels(&self, ordinal: u32) -> Result<Labels, ReadError> {
        self.labels.fetch_add(1, Ordering::Relaxed);
        self.inner.labels(ordinal)
    }

    fn read<'a>(&'a self, ordinal: u32, range: TimeRange) -> Result<Box<dyn ColumnCursor + 'a>, ReadError> {
        self.inner.read(ordinal, range)
    }
}

const SERIES: u32 = 2_000;
const DELETES: u64 = 50;

/// Deletes of half of the hosts, on 2,000 series of a hundred of them.
fn pending(lies: bool) -> (Arc<Asked>, Mask) {
    let labels = |i: u32| {
        let host = format!("host-{}", i % 100);
        Labels::new([("host", host.as_str()), ("id", &i.to_string())], &LabelLimits::DEFAULT).unwrap()
    };
    let inner = segment(&(0..SERIES).map(labels).collect());
    let delete = |i| tombstone(vec![Matcher::new("host", MatchOp::Regex, format!("h.*-{i}")).unwrap()], nanos(0, 5));
    let mask = Mask { tombstones: (0..DELETES).map(delete).collect(), ages: Arc::default() };
    (Arc::new(Asked { inner, lies, labels: AtomicU64::new(0), ordinals: AtomicU64::new(0) }), mask)
}

/// Each read of a series tried the matchers of each pending delete on its labels.
#[test]
fn many_series_ask_the_index_once_and_a_few_never() {
    let (source, mask) = pending(false);
    let snapshot = || Masked::new(Arc::clone(&source) as Arc<dyn SampleSource>, mask.clone());

    // A question about one series, each in a snapshot of its own, and about some in one.
    for ordinal in 0..40 {
        let (mut scratch, mut counts) = (Columns::default(), ReadCounts::default());
        snapshot().last(ordinal, TimeRange::ALL, &mut scratch, &mut counts).unwrap().unwrap();
    }
    let some = snapshot();
    for ordinal in 0..200 {
        drop(some.read(ordinal, TimeRange::ALL).unwrap());
    }
    assert_eq!(source.counts(), [240, 0]);

    // All series, three times: the matchers are tried on no more than an eighth of them.
    let masked = snapshot();
    for _ in 0..3 {
        for ordinal in 0..SERIES {
            drop(masked.read(ordinal, TimeRange::ALL).unwrap());
            let (one, counts) = (ordinal..ordinal + 1, &mut ReadCounts::default());
            masked.statistics(one, TimeRange::ALL, StatsWanted::default(), counts, &mut |_, _| true).unwrap();
        }
    }
    let [tried, asked] = source.counts();
    assert_eq!((tried - 240, asked), (u64::from(SERIES) / 8, DELETES));
}

/// A job leaves out for good what is hidden.
#[test]
fn what_the_index_alone_says_is_not_left_out() {
    let (source, mask) = pending(true);
    let masked = Masked::by_labels(Arc::clone(&source) as Arc<dyn SampleSource>, mask.clone());
    for ordinal in 0..SERIES {
        let hidden = mask.hidden(&source.labels(ordinal).unwrap());
        let (mut read, mut cursor) = (Columns::default(), masked.read(ordinal, TimeRange::ALL).unwrap());
        while cursor.next(&mut read).unwrap() {}
        let seen = |at: &i64| !hidden.iter().any(|range| range.contains(Timestamp::from_nanos(*at)));
        assert_eq!(read.timestamps, (0..SAMPLES).filter(seen).collect::<Vec<_>>());
    }
    assert_eq!(source.counts()[1], 0, "the index was asked");
}
