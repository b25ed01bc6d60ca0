//! What no writer leaves, under right checksums: salvage takes nothing of it for what it is not.

mod checksums;
mod damage;
mod salvaged;

use std::path::Path;
use std::sync::Arc;

use checksums::{SEGMENT_FOOTER, index_start, put_u32, u64_at};
use salvaged::{DIR, SERIES, STORE, read_series, section, whole};
use tidegauge_storage::fs::{Fs, sim::SimFs};
use tidegauge_storage::model::{LabelLimits, Labels, MatchOp, Matcher, SeqNo};
use tidegauge_storage::segment::{Salvage, Segment, SegmentHeader, SegmentWriter, file_name};
use tidegauge_storage::source::{Columns, SampleSource};

/// Two records that tell of the same column, one of them wrongly: the bit that the right one is put right by is not taken
/// for the other's, whichever is read first.
#[test]
fn records_that_contradict_each_other_about_a_column_are_told_apart() {
    let fs = SimFs::new();
    let path = Path::new(DIR).join(file_name(1));
    fs.create_dir_all(Path::new(DIR)).unwrap();
    let header = SegmentHeader { store_id: STORE, ..SegmentHeader::default() };
    let mut writer = SegmentWriter::create(Arc::new(fs.clone()), Path::new(DIR), 1, header).unwrap();
    let labels = |i: usize| Labels::new([("n", i.to_string())], &LabelLimits::DEFAULT).unwrap();
    // Times of their own, so that each has a column and a record.
    let times = |i: usize| -> Vec<i64> { (0..400).map(|at| at * 1_000 + (at * at * (i as i64 + 3)) % 701).collect() };
    for i in 0..2 {
        let values = (0..400).map(|at| f64::from(at + i as i32)).collect();
        writer.push_series(&labels(i), &Columns { timestamps: times(i), values }, SeqNo(1)).unwrap();
    }
    writer.finish().unwrap();
    let whole = fs.map(&path).unwrap().to_vec();
    let (records, end) = section(&whole, 0);
    assert_eq!(end - records, 64, "two records");
    let column = |n: usize| u64_at(&whole, records + n * 32 + 16) as usize;
    let outcome = |bytes: &[u8]| -> Vec<Vec<i64>> {
        let disk = SimFs::new();
        disk.create(Path::new("1.seg")).unwrap().write_all_at(0, bytes).unwrap();
        let mut salvage = Salvage::open(&disk, Path::new("1.seg"), None).unwrap();
        let read = |ordinal| {
            let (mut out, mut lost) = (Columns::default(), Vec::new());
            read_series(&mut salvage, ordinal, &mut out, &mut lost);
            assert_eq!(out.is_empty(), !lost.is_empty(), "{ordinal}: {lost:?}");
            out.timestamps
        };
        (0..2).map(read).collect()
    };
    for (right, wrong) in [(0, 1), (1, 0)] {
        let mut bytes = whole.clone();
        // The wrong one tells of the right one's column, with a checksum that no single bit explains.
        let place = records + wrong * 32;
        bytes.copy_within(records + right * 32 + 16..records + right * 32 + 24, place + 16);
        bytes.copy_within(records + right * 32 + 28..records + right * 32 + 30, place + 28);
        checksums::fix_outline(&mut bytes);
        // One bit of that column.
        bytes[column(right) + 9] ^= 4;
        let found = outcome(&bytes);
        assert_eq!(found[right], times(right), "{right} is right");
        assert_eq!(found[wrong], [], "{wrong} is wrong");
    }
}

/// Records of series beside a damaged block that say, under right checksums, that their chunks begin behind those of the
/// next one, or behind all: salvage comes to an end, and what it does not ask them for comes back.
#[test]
fn a_crafted_first_chunk_beside_a_damaged_block_ends_nothing() {
    let whole = whole();
    let (start, end) = section(&whole.bytes, 3);
    let index = index_start(&whole.bytes);
    // The first block that holds series alone: the records around it lie in two others.
    let block = (start - index).div_ceil(16 << 10) * (16 << 10) + index;
    assert!(block + (16 << 10) < end);
    let record = |at: usize| start + (at - start) / 36 * 36;
    let (before, behind) = (record(block) - 36, record(block + (16 << 10)) + 36);
    let count = (end - start) / 36;
    for (crafted, at) in
        [(u32::MAX, before), (1 << 20, before), (count as u32, before), (0, behind), (u32::MAX, behind)]
    {
        let mut bytes = whole.bytes.clone();
        bytes[at + 32..at + 36].copy_from_slice(&crafted.to_le_bytes());
        checksums::fix_outline(&mut bytes);
        bytes[block + 100..block + 900].fill(0x5a);
        let fs = SimFs::new();
        fs.create(Path::new("1.seg")).unwrap().write_all_at(0, &bytes).unwrap();
        let mut salvage = Salvage::open(&fs, Path::new("1.seg"), Some(&whole.expected)).unwrap();
        let mut right = 0;
        for ordinal in 0..salvage.series_count() {
            let (mut out, mut lost) = (Columns::default(), Vec::new());
            let labels = salvage.labels(ordinal);
            read_series(&mut salvage, ordinal, &mut out, &mut lost);
            right += usize::from(labels.is_ok_and(|labels| whole.samples[&labels].len() == out.len()));
        }
        assert!(right > SERIES / 3, "{crafted} at {at}: {right} series are whole");
    }
}

/// Series that say in turn, under right checksums, that their chunks are all and none: whoever walks through the file
/// reads each chunk once, and not once a series.
#[test]
fn chunks_that_many_series_claim_are_read_and_counted_once() {
    const CLAIMING: i64 = 8;
    let fs = SimFs::new();
    let path = Path::new(DIR).join(file_name(1));
    fs.create_dir_all(Path::new(DIR)).unwrap();
    let header = SegmentHeader { store_id: STORE, ..SegmentHeader::default() };
    let mut writer = SegmentWriter::create(Arc::new(fs.clone()), Path::new(DIR), 1, header).unwrap();
    for i in 0..CLAIMING {
        let labels = Labels::new([("n", i.to_string())], &LabelLimits::DEFAULT).unwrap();
        // Each behind the one before: together they would make one series.
        let columns = Columns { timestamps: (i * 100..i * 100 + 40).collect(), values: vec![0.5; 40] };
        writer.push_series(&labels, &columns, SeqNo(1)).unwrap();
    }
    writer.finish().unwrap();
    let mut bytes = fs.map(&path).unwrap().to_vec();
    let (records, end) = section(&bytes, 3);
    for (place, first) in (records..end).step_by(36).zip([0, CLAIMING as u32].into_iter().cycle()) {
        checksums::put_u32(&mut bytes, place + 32, first);
    }
    checksums::fix_outline(&mut bytes);
    fs.create(Path::new("1.seg")).unwrap().write_all_at(0, &bytes).unwrap();
    let segment = Segment::open(&fs, Path::new("1.seg")).unwrap();
    let (report, damage) = segment.survey();
    assert_eq!((report.chunks, report.samples), (CLAIMING as u64, CLAIMING as u64 * 40));
    assert!(damage.places().iter().any(|e| e.to_string().contains("chunks of series 2 belong to another one")));
    assert_eq!(segment.chunks().filter(Result::is_ok).count(), CLAIMING as usize);
    let mut walk = segment.walk();
    let spans: Vec<_> = (0..segment.series_count()).map(|i| walk.spans(i).map(Iterator::count)).collect();
    let found = spans.iter().flatten().sum::<usize>();
    assert_eq!(found, CLAIMING as usize, "{spans:?}");
}

/// A series whose labels lie, as its record says under right checksums, behind all, or at their end: salvage loses two
/// series at most, the one before it being the other, and not all that follow.
#[test]
fn a_wrong_place_of_labels_takes_no_other_series_with_it() {
    let whole = whole();
    let (start, end) = section(&whole.bytes, 3);
    let (labels_start, labels_end) = section(&whole.bytes, 4);
    let (postings_start, postings_end) = section(&whole.bytes, 8);
    let len = (labels_end - labels_start) as u32;
    for wrong in [u32::MAX, 4 * len, len - 1] {
        let mut bytes = whole.bytes.clone();
        // These would tell the labels of those that are lost.
        bytes[postings_start..postings_end].fill(0);
        checksums::put_u32(&mut bytes, start + 36 * 5 + LABELS_AT, wrong);
        checksums::fix_outline(&mut bytes);
        let fs = SimFs::new();
        fs.create(Path::new("1.seg")).unwrap().write_all_at(0, &bytes).unwrap();
        let salvage = Salvage::open(&fs, Path::new("1.seg"), Some(&whole.expected)).unwrap();
        let found = (0..salvage.series_count()).filter(|&ordinal| salvage.labels(ordinal).is_ok()).count();
        assert!(found >= SERIES - 2 && (end - start) / 36 == SERIES, "{wrong}: {found} series");
    }
}

/// The footer's times are those by which every query decides whether to look: one that leaves some out is damage.
#[test]
fn a_footer_that_tells_not_of_all_times_is_found() {
    let whole = whole();
    let footer = whole.bytes.len() - SEGMENT_FOOTER;
    let verified = |change: &dyn Fn(&mut [u8])| {
        let mut bytes = whole.bytes.clone();
        change(&mut bytes);
        checksums::fix_outline(&mut bytes);
        let fs = SimFs::new();
        fs.create(Path::new("1.seg")).unwrap().write_all_at(0, &bytes).unwrap();
        Segment::open(&fs, Path::new("1.seg")).unwrap().verify().map_err(|e| e.to_string())
    };
    let moved = |at: usize, by: i64| {
        verified(&|bytes| {
            let time = i64::from_le_bytes(bytes[footer + at..][..8].try_into().unwrap()) + by;
            bytes[footer + at..][..8].copy_from_slice(&time.to_le_bytes());
        })
    };
    let (first, last) = (FOOTER_SAMPLES_AT + 8, FOOTER_SAMPLES_AT + 16);
    assert!(verified(&|_| ()).is_ok());
    for wrong in [moved(first, 1), moved(last, -1)] {
        assert!(wrong.is_err_and(|why| why.contains("the footer does not tell of all times")));
    }
}

/// Where a series' record tells where its labels begin.
const LABELS_AT: usize = 24;
/// Where the footer counts samples; the first and the last timestamp follow.
const FOOTER_SAMPLES_AT: usize = 9 * 24;

/// The sections that tell of labels, to be written as no writer does.
#[derive(Default)]
struct Crafted {
    names: Vec<u8>,
    values: Vec<u8>,
    strings: Vec<u8>,
    postings: Vec<u8>,
    labels: Vec<u8>,
    series: Vec<u8>,
}

impl Crafted {
    fn name(&mut self, (at, len): (usize, usize), first_label: usize) {
        self.names.extend((at as u64).to_le_bytes());
        self.names.extend((len as u32).to_le_bytes());
        self.names.extend((first_label as u32).to_le_bytes());
    }

    fn value(&mut self, (at, len): (usize, usize), postings: usize, series: usize) {
        self.values.extend((at as u64).to_le_bytes());
        self.values.extend((postings as u64).to_le_bytes());
        self.values.extend((len as u32).to_le_bytes());
        self.values.extend((series as u32).to_le_bytes());
    }

    fn series(&mut self, key: u128, labels: usize) {
        self.series.extend(key.to_le_bytes());
        self.series.extend(1u64.to_le_bytes());
        self.series.extend((labels as u64).to_le_bytes());
        self.series.extend(0u32.to_le_bytes());
    }

    /// A segment of one chunk that has these sections, its checksums right.
    fn file(&self) -> (SimFs, &'static Path) {
        let fs = SimFs::new();
        fs.create_dir_all(Path::new(DIR)).unwrap();
        let header = SegmentHeader { store_id: STORE, ..SegmentHeader::default() };
        let mut writer = SegmentWriter::create(Arc::new(fs.clone()), Path::new(DIR), 1, header).unwrap();
        let labels = Labels::new([("n", "v")], &LabelLimits::DEFAULT).unwrap();
        writer.push_series(&labels, &Columns { timestamps: vec![1, 2], values: vec![0.5, 1.5] }, SeqNo(1)).unwrap();
        writer.finish().unwrap();
        let whole = fs.map(&Path::new(DIR).join(file_name(1))).unwrap().to_vec();
        let mut footer = whole[whole.len() - SEGMENT_FOOTER..].to_vec();
        let mut bytes = whole[..whole.len() - SEGMENT_FOOTER].to_vec();
        let sections = [&self.series, &self.labels, &self.names, &self.values, &self.strings, &self.postings];
        for (i, section) in (3..).zip(sections) {
            footer[i * 24..i * 24 + 8].copy_from_slice(&(bytes.len() as u64).to_le_bytes());
            footer[i * 24 + 8..i * 24 + 16].copy_from_slice(&(section.len() as u64).to_le_bytes());
            bytes.extend(section);
            bytes.resize(bytes.len().next_multiple_of(8), 0);
        }
        // Checked by sections: where the checksums of blocks would be said to lie is 0.
        footer[248..256].fill(0);
        put_u32(&mut footer, 256, 0);
        footer[240..248].copy_from_slice(&((bytes.len() + SEGMENT_FOOTER) as u64).to_le_bytes());
        bytes.extend(footer);
        checksums::fix_outline(&mut bytes);
        let path = Path::new("1.seg");
        fs.create(path).unwrap().write_all_at(0, &bytes).unwrap();
        (fs, path)
    }
}

/// What `verify` finds wrong first.
fn first_wrong(fs: &SimFs, path: &Path) -> String {
    Segment::open(fs, path).unwrap().verify().unwrap_err().to_string()
}

/// Names that are the beginnings of one text: they would take the square of its length. A file of 600 KB would ask for
/// gigabytes, and the process would be ended.
#[test]
fn names_that_share_their_text_are_refused_before_they_take_memory() {
    const NAMES: usize = 60;
    let text = "a".repeat(NAMES);
    let mut crafted = Crafted { strings: format!("{text}v").into_bytes(), ..Crafted::default() };
    for i in 0..NAMES {
        crafted.name((0, i + 1), i);
        crafted.value((NAMES, 1), i, 1);
        crafted.postings.push(0);
        crafted.labels.push(u8::from(i > 0));
    }
    let labels = Labels::new((1..=NAMES).map(|len| (&text[..len], "v")), &LabelLimits::NONE).unwrap();
    crafted.series(labels.key().0, 0);
    let (fs, path) = crafted.file();
    let wrong = first_wrong(&fs, path);
    assert!(wrong.contains("names are longer than all text"), "{wrong}");
    let salvage = Salvage::open(&fs, path, None).unwrap();
    assert!(salvage.labels(0).is_err(), "some of its names were not taken");
}

/// One series whose labels all have one long value: a file of 600 KB would ask for gigabytes.
#[test]
fn a_label_set_that_is_longer_than_all_text_is_refused() {
    const LABELS: usize = 20;
    let value = "v".repeat(100);
    let name = |i: usize| format!("n{i:02}");
    let mut crafted =
        Crafted { strings: (0..LABELS).flat_map(|i| name(i).into_bytes()).collect(), ..Crafted::default() };
    crafted.strings.extend(value.as_bytes());
    for i in 0..LABELS {
        crafted.name((3 * i, 3), i);
        crafted.value((3 * LABELS, value.len()), i, 1);
        crafted.postings.push(0);
        crafted.labels.push(u8::from(i > 0));
    }
    let labels = Labels::new((0..LABELS).map(|i| (name(i), &value)), &LabelLimits::NONE).unwrap();
    crafted.series(labels.key().0, 0);
    let (fs, path) = crafted.file();
    let wrong = first_wrong(&fs, path);
    assert!(wrong.contains("labels of series 0 are longer than all text"), "{wrong}");
    assert!(Segment::open(&fs, path).unwrap().labels(0).is_err());
    assert!(Salvage::open(&fs, path, None).unwrap().labels(0).is_err());
}

/// Values that are pieces of one text, each another one: whoever lists them would keep them all.
#[test]
fn values_that_share_their_text_are_refused_before_they_take_memory() {
    const VALUES: usize = 60;
    let mut crafted = Crafted { strings: format!("n{}", "a".repeat(VALUES)).into_bytes(), ..Crafted::default() };
    crafted.name((0, 1), 0);
    for i in 0..VALUES {
        crafted.value((1, i + 1), i, 1);
        crafted.postings.push(i as u8 * 2);
        crafted.labels.push(i as u8);
        let labels = Labels::new([("n", "a".repeat(i + 1))], &LabelLimits::NONE).unwrap();
        crafted.series(labels.key().0, i);
    }
    let (fs, path) = crafted.file();
    let segment = Segment::open(&fs, path).unwrap();
    let longer = |answer: Result<(), String>| answer.is_err_and(|e| e.contains("values are longer than all text"));
    let mut listed = 0;
    let answer = segment.label_values("n", &mut |text| {
        listed += text.len();
        true
    });
    assert!(longer(answer.map_err(|e| e.to_string())) && listed <= VALUES + 1, "{listed} bytes");
    // One that begins with anything, so that it is tried on all of them.
    let matcher = Matcher::new("n", MatchOp::Regex, ".+b").unwrap();
    assert!(longer(segment.select(&[matcher]).map(drop).map_err(|e| e.to_string())));
    let told = segment.survey().1;
    assert!(told.places().iter().any(|e| longer(Err(e.to_string()))));
}

/// Every other label has, under right checksums, all postings, and every other series all label sets: whoever looked for
/// each series of each label in its set would do so for hours, in a file of half a megabyte.
#[test]
fn label_sets_and_postings_that_many_claim_are_read_once() {
    for many in [400, 4_000] {
        let mut crafted = Crafted { strings: b"nv".to_vec(), ..Crafted::default() };
        crafted.name((0, 1), 0);
        // Series 0, 2, 4 and so on.
        crafted.postings = vec![2; many / 2];
        crafted.postings[0] = 0;
        crafted.labels = vec![1; many];
        crafted.labels[0] = 0;
        for i in 0..many {
            crafted.value((1, 1), i % 2 * crafted.postings.len(), many / 2);
            crafted.series(7, i % 2 * crafted.labels.len());
        }
        let (fs, path) = crafted.file();
        let segment = Segment::open(&fs, path).unwrap();
        let mut walk = segment.walk();
        let labels: Vec<_> = (0..3).map(|i| walk.labels(i).map_err(|e| e.to_string())).collect();
        assert!(matches!(&labels[2], Err(e) if e.contains("labels of series 2 belong to another one")), "{labels:?}");
        let (_, damage) = segment.survey();
        let told = |what: &str| damage.places().iter().any(|e| e.to_string().contains(what));
        assert!(told("labels of series 2 belong to another one"));
        // Not so many places are named that it would not be among them.
        assert!(many > 1_000 || told("postings of label 2 belong to another one"));
        let matcher = Matcher::new("n", MatchOp::Regex, "v.*").unwrap();
        assert!(segment.select(&[matcher]).is_err());
        let refused = segment.select(&[]).unwrap_err().to_string();
        assert!(refused.contains("labels of series 2 belong to another one"), "{refused}");
        let salvage = Salvage::open(&fs, path, None).unwrap();
        assert!((0..salvage.series_count()).all(|ordinal| salvage.labels(ordinal).is_err()));
    }
}
