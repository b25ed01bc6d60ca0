//! What no writer leaves, under right checksums: salvage takes nothing of it for what it is not.

mod checksums;
mod damage;
mod salvaged;

use std::path::Path;
use std::sync::Arc;

use checksums::{index_start, u64_at};
use salvaged::{DIR, SERIES, STORE, section, whole};
use tidegauge_storage::fs::{Fs, sim::SimFs};
use tidegauge_storage::model::{LabelLimits, Labels, SeqNo};
use tidegauge_storage::segment::{Salvage, Segment, SegmentHeader, SegmentWriter, file_name};
use tidegauge_storage::source::Columns;

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
            salvage.read(ordinal, &mut out, &mut lost);
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
            salvage.read(ordinal, &mut out, &mut lost);
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
}
