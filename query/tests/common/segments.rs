//! Segments as they are written and mapped.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use tidegauge_storage::fs::Fs;
use tidegauge_storage::fs::sim::SimFs;
use tidegauge_storage::model::{Labels, SeqNo};
use tidegauge_storage::segment::{Segment, SegmentHeader, SegmentWriter, file_name};
use tidegauge_storage::source::Columns;

/// One of these series, in the file system of the tests.
pub(crate) fn segment(fs: &SimFs, id: u64, series: &BTreeMap<Labels, Columns>) -> Segment {
    let dir = Path::new("/s");
    fs.create_dir_all(dir).unwrap();
    let mut writer = SegmentWriter::create(Arc::new(fs.clone()), dir, id, SegmentHeader::default()).unwrap();
    for (labels, columns) in series {
        writer.push_series(labels, columns, SeqNo(1)).unwrap();
    }
    writer.finish().unwrap();
    Segment::open(fs, &dir.join(file_name(id))).unwrap()
}
