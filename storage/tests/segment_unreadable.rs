//! A page of a segment that cannot be read is an error where it is needed, and nothing else: never zeros for samples or
//! labels, and never the end of the process. Each test in a process of its own.
#![cfg(target_os = "linux")]

mod child;

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tidegauge_storage::chunk::StatsWanted;
use tidegauge_storage::fs::spoiled::SpoiledFs;
use tidegauge_storage::fs::{Fs, OsFs, survive_unreadable_pages, unreadable_pages};
use tidegauge_storage::model::{LabelLimits, Labels, MatchOp, Matcher, SeqNo, TimeRange};
use tidegauge_storage::segment::{Expected, Salvage, Segment, SegmentHeader, SegmentWriter, file_name};
use tidegauge_storage::source::{Columns, ReadCounts, ReadError, SampleSource};

const SERIES: u32 = 200;
const PAGE: usize = 4_096;

fn labels(i: u32) -> Labels {
    let text = [format!("host-{i:05}"), "x".repeat(40 + i as usize % 50)];
    let pairs = [("__name__", ["cpu", "mem"][i as usize / 100]), ("host", &*text[0]), ("note", &*text[1])];
    Labels::new(pairs, &LabelLimits::DEFAULT).unwrap()
}

/// Of some there are statistics.
fn samples(i: u32) -> u32 {
    if i.is_multiple_of(10) { 300 } else { 20 }
}

/// Some thirty pages, a third of them an index of several blocks.
fn write(dir: &Path) -> PathBuf {
    let mut writer = SegmentWriter::create(Arc::new(OsFs), dir, 1, SegmentHeader::default()).unwrap();
    let mut series: Vec<u32> = (0..SERIES).collect();
    series.sort_by_key(|&i| labels(i));
    for i in series {
        // A column is shared by neighbours: one of all series would be lost for all of them.
        let begin = i64::from(i / 30);
        let timestamps = (0..i64::from(samples(i))).map(|at| begin + at * 1000 + i64::from(i) * at % 7).collect();
        let values = (0..samples(i)).map(|at| f64::from(at * (i + 1)).sqrt()).collect();
        writer.push_series(&labels(i), &Columns { timestamps, values }, SeqNo(u64::from(i))).unwrap();
    }
    writer.finish().unwrap();
    dir.join(file_name(1))
}

/// Runs `body` in a process of its own that survives unreadable pages, with a segment.
fn with_segment(test: &str, body: impl FnOnce(&Path)) {
    child::passes(module_path!(), test, || {
        survive_unreadable_pages().unwrap();
        let dir = tempfile::tempdir().unwrap();
        body(&write(dir.path()));
    });
}

/// Asks everything there is to ask; answers what was answered, by question. A cursor that failed has told nothing wrong
/// before.
fn ask(segment: &Segment) -> BTreeMap<String, Result<String, ReadError>> {
    let mut answers = BTreeMap::new();
    let mut tell = |question: String, answer: Result<String, ReadError>| drop(answers.insert(question, answer));
    fn text<T: Debug>(answer: Result<T, ReadError>) -> Result<String, ReadError> {
        answer.map(|answer| format!("{answer:?}"))
    }
    let regex = Matcher::new("host", MatchOp::Regex, ".*[24]").unwrap();
    for matcher in [regex, Matcher::equal("host", "host-00123"), Matcher::equal("__name__", "mem")] {
        tell(format!("select {matcher:?}"), text(segment.select(std::slice::from_ref(&matcher))));
    }
    let mut names = Vec::new();
    let named = segment.label_names(&mut |name| {
        names.push(name.to_owned());
        true
    });
    tell("names".to_owned(), text(named.map(|()| names)));
    let mut values = Vec::new();
    let valued = segment.label_values("note", &mut |value| {
        values.push(value.to_owned());
        true
    });
    tell("values".to_owned(), text(valued.map(|()| values)));
    let mut walk = segment.walk();
    for ordinal in 0..segment.series_count() {
        tell(format!("find {ordinal}"), text(segment.find(&labels(ordinal))));
        tell(format!("labels {ordinal}"), text(segment.labels(ordinal)));
        tell(format!("walk {ordinal}"), text(walk.labels(ordinal)));
        tell(format!("max {ordinal}"), text(segment.max_seq(ordinal)));
        tell(format!("stats {ordinal}"), text(segment.stats_of(ordinal)));
        let spans = walk.spans(ordinal).and_then(|spans| spans.collect::<Result<Vec<_>, _>>());
        tell(format!("spans {ordinal}"), text(spans));
        let (mut sums, mut counts) = (0.0, ReadCounts::default());
        let one = ordinal..ordinal + 1;
        let told = segment.statistics(one, TimeRange::ALL, StatsWanted::ALL, &mut counts, &mut |_, stats| {
            sums += stats.sum;
            true
        });
        tell(format!("statistics {ordinal}"), text(told.map(|told| (told, counts, sums))));
        let last = segment.last(ordinal, TimeRange::ALL, &mut Columns::default(), &mut ReadCounts::default());
        tell(format!("last {ordinal}"), text(last));
        let mut columns = Columns::default();
        let read = segment.read(ordinal, TimeRange::ALL).and_then(|mut cursor| {
            cursor.whole()?;
            while cursor.next(&mut columns)? {}
            Ok(())
        });
        assert!(columns.timestamps.iter().skip(1).all(|&at| at > 0), "zeros were handed out");
        tell(format!("read {ordinal}"), text(read.map(|()| columns)));
    }
    for (i, chunk) in segment.chunks().enumerate() {
        tell(format!("chunk {i}"), text(chunk));
    }
    answers
}

/// Compares with what was answered when all was well; answers how many questions got none.
fn compare(
    found: &BTreeMap<String, Result<String, ReadError>>,
    truth: &BTreeMap<String, Result<String, ReadError>>,
) -> usize {
    let mut errors = 0;
    for (question, answer) in found {
        match answer {
            Ok(answer) => assert_eq!(Some(answer), truth.get(question).and_then(|t| t.as_ref().ok()), "{question}"),
            Err(ReadError::Corrupt { file, what, .. }) => {
                assert!(file.ends_with(file_name(1)) && what.contains("cannot be read"), "{question}: {what}");
                errors += 1;
            }
            Err(e) => panic!("{question}: {e}"),
        }
    }
    errors
}

fn page(number: usize) -> Range<usize> {
    number * PAGE..(number + 1) * PAGE
}

/// Each page in turn cannot be read: of a file that is opened then, of one that is open and was never read, and of one of
/// which everything was looked at, so that its index counts as checked.
#[test]
fn whatever_page_is_lost_and_whenever_the_answers_are_right_or_say_so() {
    with_segment("whatever_page_is_lost_and_whenever_the_answers_are_right_or_say_so", |path| {
        let bytes = std::fs::metadata(path).unwrap().len() as usize;
        let all = u64::from((0..SERIES).map(samples).sum::<u32>());
        let truth = ask(&Segment::open(&OsFs, path).unwrap());
        assert!(truth.values().all(Result::is_ok));
        for number in 0..bytes.div_ceil(PAGE) {
            for when in ["at once", "before it is read", "after it was read"] {
                let fs = SpoiledFs::new();
                if when == "at once" {
                    fs.spoil(path, page(number)).unwrap();
                }
                let segment = match Segment::open(&fs, path) {
                    Ok(segment) => segment,
                    Err(ReadError::Corrupt { what, .. }) => {
                        assert!(when == "at once" && what.contains("cannot be read"), "{number}, {when}: {what}");
                        continue;
                    }
                    Err(e) => panic!("{number}, {when}: {e}"),
                };
                if when == "after it was read" {
                    assert_eq!(compare(&ask(&segment), &truth), 0);
                }
                if when != "at once" {
                    fs.spoil(path, page(number)).unwrap();
                }
                let before = unreadable_pages();
                let errors = compare(&ask(&segment), &truth);
                let seen = unreadable_pages() > before;
                assert!(seen || errors == 0, "{number}, {when}");
                assert_eq!(compare(&ask(&segment), &truth) > 0, errors > 0, "{number}, {when}: the same again");
                assert_eq!(segment.check_readable().is_err(), seen);
                // All of it is read, so the page is named, once.
                let (report, damage) = segment.survey();
                let places: Vec<String> = damage.places().iter().map(ToString::to_string).collect();
                let named = |place: &&String| place.contains(&format!("damaged at byte {}: ", number * PAGE));
                assert_eq!(places.iter().filter(named).count(), 1, "{number}, {when}: {places:?}");
                assert!(report.samples < all || errors > 0 || places.len() == 1, "{places:?}");
            }
        }
    });
}

/// Half of a live file is cut off: what lies before can be read, as far as the index, which lies behind, was.
#[test]
fn what_is_cut_off_a_live_segment_is_told_by_whoever_reads_it() {
    with_segment("what_is_cut_off_a_live_segment_is_told_by_whoever_reads_it", |path| {
        let segment = Segment::open(&OsFs, path).unwrap();
        let truth = ask(&segment);
        let file = std::fs::OpenOptions::new().write(true).open(path).unwrap();
        let half = segment.info().file_bytes / 2 / PAGE as u64 * PAGE as u64;
        file.set_len(half).unwrap();
        assert!(compare(&ask(&segment), &truth) > 0);
        let (_, damage) = segment.survey();
        let rest = segment.info().file_bytes - half;
        let first = damage.places()[0].to_string();
        assert!(first.contains(&format!("byte {half}: {rest} bytes from there cannot be read")), "{first}");
        assert!(first.contains("tidegauge repair"), "{first}");
    });
}

/// A salvage loses the chunks that lie in the lost page, and no others; what the index has twice it does not miss.
#[test]
fn a_salvage_saves_what_lies_in_other_pages() {
    with_segment("a_salvage_saves_what_lies_in_other_pages", |path| {
        let sound = Segment::open(&OsFs, path).unwrap();
        let info = sound.info().clone();
        let expected = Expected {
            store_id: info.store_id,
            id: info.id,
            seq_range: info.seq_range,
            time_range: info.time_range.unwrap(),
            late: info.late,
            level: info.level,
            file_bytes: info.file_bytes,
            samples: info.samples,
            series: info.series,
        };
        let mut best = 0;
        for number in 0..(info.file_bytes as usize).div_ceil(PAGE) {
            let fs = SpoiledFs::new();
            fs.spoil(path, page(number)).unwrap();
            let mut salvage = match Salvage::open(&fs, path, Some(&expected)) {
                Ok(salvage) => salvage,
                Err(ReadError::Corrupt { .. }) => continue,
                Err(e) => panic!("{number}: {e}"),
            };
            let mut saved = 0;
            for ordinal in 0..salvage.series_count() {
                let Ok(labels) = salvage.labels(ordinal) else { continue };
                let of_sound = sound.find(&labels).unwrap().expect("none is made up");
                let mut columns = Columns::default();
                let mut cursor = sound.read(of_sound, TimeRange::ALL).unwrap();
                while cursor.next(&mut columns).unwrap() {}
                let mut lost = Vec::new();
                let take = |chunk: &Columns| {
                    assert_eq!(*chunk, columns, "{number}: {labels}");
                    saved += chunk.len();
                    Ok::<_, ReadError>(())
                };
                salvage.read(ordinal, &mut lost, take).unwrap();
            }
            best = best.max(saved);
            if number < info.file_bytes as usize / PAGE / 2 {
                assert!(saved as u64 >= info.samples / 2, "{number}: a page of columns costs those in it: {saved}");
            }
        }
        assert!(best as u64 <= info.samples && best as u64 > info.samples * 9 / 10, "{best}");
        assert!(fs_len(path) == info.file_bytes, "and the file stays as it is");
    });
}

fn fs_len(path: &Path) -> u64 {
    OsFs.open_read(path).unwrap().len().unwrap()
}
