//! What pending deletes cost a read: statistics of all series of a segment, and a question about one, with the matchers
//! tried on each series and as `Masked` does it.
//!
//! `cargo run --release -p tidegauge-storage --example masked -- [series] [deletes]`

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tidegauge_storage::chunk::StatsWanted;
use tidegauge_storage::fs::{Fs, MemFs};
use tidegauge_storage::model::{LabelLimits, Labels, MatchOp, Matcher, SeqNo, TimeRange, Timestamp, Tombstone};
use tidegauge_storage::segment::{Segment, SegmentHeader, SegmentWriter, file_name};
use tidegauge_storage::source::{Columns, Mask, Masked, ReadCounts, SampleSource};

fn segment(series: usize) -> Segment {
    let (fs, dir) = (Arc::new(MemFs::new()), Path::new("d"));
    let mut writer = SegmentWriter::create(Arc::clone(&fs) as Arc<dyn Fs>, dir, 1, SegmentHeader::default()).unwrap();
    for i in 0..series {
        let (instance, id) = (format!("host-{:04}:9100", i % 1_000), format!("{i:07}"));
        let pairs = [("__name__", "mm"), ("id", &id), ("instance", &instance), ("job", "node")];
        let samples = Columns { timestamps: (0..300).collect(), values: vec![i as f64; 300] };
        writer.push_series(&Labels::new(pairs, &LabelLimits::DEFAULT).unwrap(), &samples, SeqNo(1)).unwrap();
    }
    writer.finish().unwrap();
    Segment::open(&*fs, &dir.join(file_name(1))).unwrap()
}

fn timed(mut ask: impl FnMut()) -> Duration {
    let begun = Instant::now();
    ask();
    begun.elapsed()
}

fn main() {
    let mut args = std::env::args().skip(1).map(|arg| arg.parse().expect("a number"));
    let (series, deletes) = (args.next().unwrap_or(30_000), args.next().unwrap_or(150));
    let source = Arc::new(segment(series));
    // Nothing of a segment is hidden: what is measured is who finds that out.
    let delete = |i: usize| {
        let matcher = Matcher::new("instance", MatchOp::Regex, format!(".*-{:04}:.*", i % 1_000)).unwrap();
        let range = TimeRange::new(Timestamp::from_nanos(-9), Timestamp::from_nanos(-5));
        Arc::new(Tombstone { seq: SeqNo(9), matchers: vec![matcher], range, created: 0 })
    };
    let mask = Mask { tombstones: (0..deletes).map(delete).collect(), ages: Arc::default() };
    let masked = || Masked::new(Arc::clone(&source) as Arc<dyn SampleSource>, mask.clone());
    let all = |each: &mut dyn FnMut(u32)| (0..series as u32).for_each(each);
    let ask = |source: &dyn SampleSource, ordinal| {
        let (one, counts) = (ordinal..ordinal + 1, &mut ReadCounts::default());
        let told = source.statistics(one, TimeRange::ALL, StatsWanted::default(), counts, &mut |_, _| true);
        assert_eq!(told.unwrap(), 1);
    };
    let one = |source: &dyn SampleSource| {
        let (mut scratch, mut counts) = (Columns::default(), ReadCounts::default());
        source.last(series as u32 / 2, TimeRange::ALL, &mut scratch, &mut counts).unwrap().unwrap();
    };
    for _ in 0..3 {
        let without = timed(|| all(&mut |ordinal| ask(&*source, ordinal)));
        let tried = timed(|| {
            all(&mut |ordinal| {
                assert_eq!(
                    mask.hidden(&source.labels(ordinal).unwrap()).len(),
                    usize::from(ordinal % 1_000 < deletes as u32)
                );
                ask(&*source, ordinal);
            });
        });
        let through = masked();
        let asked = timed(|| all(&mut |ordinal| ask(&through, ordinal)));
        let lone = timed(|| one(&masked()));
        println!(
            "{series} series, {deletes} deletes: none {without:?}, tried {tried:?}, masked {asked:?}; one series {lone:?}"
        );
    }
}
