//! The worked examples of docs/format/ are what the code writes and reads.

use std::path::Path;
use std::sync::Arc;

use tidegauge_storage::chunk::{ChunkEncoder, ChunkView};
use tidegauge_storage::fs::Fs;
use tidegauge_storage::fs::sim::SimFs;
use tidegauge_storage::model::{LabelLimits, Labels, SeqNo, SeqRange};
use tidegauge_storage::segment::{Segment, SegmentHeader, SegmentWriter, file_name};
use tidegauge_storage::source::Columns;

/// The bytes of the first block fenced as `hex`: each line an offset, bytes, and a remark behind a semicolon.
fn example(page: &str) -> Vec<u8> {
    let (_, rest) = page.split_once("```hex\n").expect("a block fenced as hex");
    let (block, _) = rest.split_once("```").expect("the end of the block");
    let mut bytes = Vec::new();
    for line in block.lines() {
        let (fields, _) = line.split_once(';').unwrap_or((line, ""));
        let mut fields = fields.split_whitespace();
        let offset = usize::from_str_radix(fields.next().expect("an offset"), 16).unwrap();
        assert_eq!(offset, bytes.len(), "{line}");
        bytes.extend(fields.map(|byte| u8::from_str_radix(byte, 16).unwrap()));
    }
    bytes
}

/// Prints bytes as the pages show them, for whoever changes an example.
fn dump(bytes: &[u8]) -> String {
    let lines = bytes.chunks(16).enumerate().map(|(i, line)| {
        let hex: Vec<String> = line.iter().map(|byte| format!("{byte:02x}")).collect();
        format!("{:04x}  {}\n", i * 16, hex.join(" "))
    });
    lines.collect()
}

fn room_temperature() -> Columns {
    Columns {
        timestamps: vec![0, 10_000_000_000, 20_000_000_000, 30_000_000_000],
        values: vec![20.5, 20.7, 20.6, 21.0],
    }
}

#[test]
fn labels_are_encoded_as_their_page_shows() {
    let labels = Labels::new([("room", "attic"), ("__name__", "temp")], &LabelLimits::DEFAULT).unwrap();
    let page = example(include_str!("../../docs/format/labels.md"));
    assert_eq!(labels.encoded(), page, "{}", dump(labels.encoded()));
    assert_eq!(Labels::from_encoded(&page).unwrap(), labels);
}

#[test]
fn a_chunk_is_encoded_as_its_page_shows() {
    let samples = room_temperature();
    let mut bytes = Vec::new();
    ChunkEncoder::new().encode(&samples.timestamps, &samples.values, &mut bytes);
    let page = example(include_str!("../../docs/format/chunk.md"));
    assert_eq!(bytes, page, "\n{}", dump(&bytes));
    let mut out = Columns::default();
    ChunkView::parse(&page).unwrap().decode_into(&mut out).unwrap();
    assert_eq!(out, samples);
}

#[test]
fn a_segment_is_written_as_its_page_shows() {
    let fs = SimFs::new();
    fs.create_dir_all(Path::new("/")).unwrap();
    let seq_range = SeqRange { start: SeqNo(1), end: SeqNo(5) };
    let header = SegmentHeader { store_id: 0x77, seq_range, ..SegmentHeader::default() };
    let mut writer = SegmentWriter::create(Arc::new(fs.clone()), Path::new("/"), 1, header).unwrap();
    let labels = Labels::new([("room", "attic"), ("__name__", "temp")], &LabelLimits::DEFAULT).unwrap();
    writer.push_series(&labels, &room_temperature(), SeqNo(4)).unwrap();
    writer.finish().unwrap();
    let path = Path::new("/").join(file_name(1));
    let bytes = fs.map(&path).unwrap();
    let page = example(include_str!("../../docs/format/segment.md"));
    assert_eq!(&*bytes, page, "\n{}", dump(&bytes));
    Segment::open(&fs, &path).unwrap().verify().unwrap();
}

#[test]
fn statistics_are_written_as_their_page_shows() {
    let fs = SimFs::new();
    fs.create_dir_all(Path::new("/")).unwrap();
    let mut writer = SegmentWriter::create(Arc::new(fs.clone()), Path::new("/"), 1, SegmentHeader::default()).unwrap();
    let labels = Labels::new([("room", "attic"), ("__name__", "temp")], &LabelLimits::DEFAULT).unwrap();
    let samples = Columns { timestamps: (0..256).collect(), values: room_temperature().values.repeat(64) };
    writer.push_series(&labels, &samples, SeqNo(4)).unwrap();
    writer.finish().unwrap();
    let bytes = fs.map(&Path::new("/").join(file_name(1))).unwrap();
    // The third section, as the footer says.
    let number = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap()) as usize;
    let section = bytes.len() - 280 + 2 * 24;
    let record = &bytes[number(section)..number(section) + number(section + 8)];
    let (_, behind) = include_str!("../../docs/format/segment.md").split_once("The statistics of a chunk").unwrap();
    assert_eq!(record, example(behind), "{}", dump(record));
}
