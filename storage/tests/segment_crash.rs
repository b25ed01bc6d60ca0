//! A segment is there whole and durable, or not at all: under failing writes, a full disk, and power loss.

use std::path::Path;
use std::sync::Arc;

use tidegauge_storage::fs::Fs;
use tidegauge_storage::fs::sim::{Fault, SimFs};
use tidegauge_storage::model::{LabelLimits, Labels, SeqNo};
use tidegauge_storage::segment::{Segment, SegmentHeader, SegmentInfo, SegmentWriter, WriteError, file_name};
use tidegauge_storage::source::Columns;

const DIR: &str = "/segments";

fn disk() -> SimFs {
    let fs = SimFs::new();
    fs.create_dir_all(Path::new(DIR)).unwrap();
    fs.sync_dir(Path::new("/")).unwrap();
    fs
}

/// Large enough for several writes.
fn write(fs: &SimFs) -> Result<SegmentInfo, WriteError> {
    let mut writer = SegmentWriter::create(Arc::new(fs.clone()), Path::new(DIR), 3, SegmentHeader::default())?;
    for i in 0..20u64 {
        let labels = Labels::new([("__name__", format!("m{i:02}"))], &LabelLimits::DEFAULT).unwrap();
        // Cubed, or the differences would be all the same and pack to nothing.
        let noise =
            |at: i64| f64::from_bits((at as u64 + i * 10_000).wrapping_pow(3).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let columns = Columns { timestamps: (0..9000).collect(), values: (0..9000).map(noise).collect() };
        writer.push_series(&labels, &columns, SeqNo(i))?;
    }
    writer.finish()
}

fn open(fs: &SimFs) -> Option<Segment> {
    let named = fs.list(Path::new(DIR)).unwrap().contains(&file_name(3));
    named.then(|| Segment::open(fs, &Path::new(DIR).join(file_name(3))).unwrap())
}

#[test]
fn whichever_operation_fails_no_file_has_the_name() {
    let fs = disk();
    let before = fs.operations();
    write(&fs).unwrap();
    let operations = fs.operations();
    assert!(operations > before + 5, "writes, a sync, a rename, a sync of the folder");
    for fault in [Fault::Io, Fault::Full] {
        for operation in before + 1..=operations {
            let fs = disk();
            fs.fail_at(operation, fault);
            match write(&fs) {
                Ok(info) => {
                    // Clearing away what a crash left may fail: then there was nothing to clear.
                    assert_eq!(operation, before + 1, "operation {operation} failed unnoticed");
                    assert_eq!(open(&fs).unwrap().info(), &info);
                }
                Err(error) => {
                    // A sync of the folder that failed is no matter of space, whatever it says: nobody tries it again.
                    let is_full = fault == Fault::Full && !matches!(error, WriteError::Folder { .. });
                    assert_eq!(error.is_storage_full(), is_full, "{error}");
                    assert!(open(&fs).is_none(), "operation {operation}: {error}");
                    // The id is free, and a second try goes through.
                    write(&fs).unwrap();
                    open(&fs).unwrap().verify().unwrap();
                }
            }
        }
    }
}

#[test]
fn a_disk_that_runs_full_refuses_and_takes_the_segment_once_there_is_space() {
    let fs = disk();
    fs.set_capacity(Some(1_200_000));
    let error = write(&fs).unwrap_err();
    assert!(error.is_storage_full(), "{error}");
    assert!(fs.list(Path::new(DIR)).unwrap().is_empty(), "the space is given back");
    fs.set_capacity(None);
    write(&fs).unwrap();
    open(&fs).unwrap().verify().unwrap();
}

#[test]
fn after_a_power_loss_a_segment_is_whole_or_has_no_name() {
    let fs = disk();
    let before = fs.operations();
    write(&fs).unwrap();
    let operations = fs.operations();
    for operation in before + 1..=operations {
        for seed in 0..4 {
            let fs = disk();
            fs.stop_at(operation);
            write(&fs).unwrap_err();
            fs.restart();
            let after = fs.crash(seed);
            if let Some(segment) = open(&after) {
                assert_eq!(operation, operations, "only the last operation follows the rename");
                segment.verify().unwrap();
            }
        }
    }
    for seed in 0..4 {
        let fs = disk();
        write(&fs).unwrap();
        open(&fs.crash(seed)).expect("finished means durable").verify().unwrap();
    }
}
