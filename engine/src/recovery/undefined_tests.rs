//! P5: samples that were read, and whose series nobody knows.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tidegauge_storage::fs::Fs;
use tidegauge_storage::fs::sim::SimFs;
use tidegauge_storage::manifest::{Edit, Manifest};
use tidegauge_storage::model::{LabelLimits, SeqNo, Timestamp};
use tidegauge_storage::wal::{FrameEncoder, FrameNo, WalSample, WalSynced, WalWriter, WriterOptions};

use super::Recovery;
use super::tests::{contents, quarantined, try_open};
use crate::batch::Expect;
use crate::registry::Registry;

/// What a frame defines, and its samples: series and time.
type Frame<'a> = (&'a [u32], &'a [(u32, i64)]);

/// A store whose log has these frames, known to be durable. Answers the log's file, and where they lie in it.
fn logged(frames: &[Frame<'_>]) -> (SimFs, PathBuf, Vec<u64>) {
    let (fs, dir) = (SimFs::new(), Path::new("memory"));
    let mut manifest = Manifest::open_or_create(Arc::new(fs.clone()), dir).unwrap();
    let options = WriterOptions::new(manifest.state().store_id, manifest.state().open_number, FrameNo(1));
    let oldest = manifest.state().wal.oldest_epoch;
    let mut writer = WalWriter::open(Arc::new(fs.clone()), dir.join("wal"), oldest, options).unwrap();
    let registry = Registry::new(10, LabelLimits::DEFAULT);
    let (mut frame, mut seq) = (FrameEncoder::new(), 1);
    for (defined, samples) in frames {
        frame.begin(SeqNo(seq));
        for series in *defined {
            let labels = registry.labels(&[("__name__", "cpu"), ("host", &series.to_string())]).unwrap();
            frame.define(*series, &labels).unwrap();
        }
        let sample = |&(series, timestamp): &(u32, i64)| WalSample { series, timestamp, ..WalSample::default() };
        let samples: Vec<WalSample> = samples.iter().map(sample).collect();
        assert_eq!(frame.samples(&samples), samples.len());
        writer.append(&mut frame).unwrap();
        seq += samples.len() as u64;
    }
    let job = writer.sync_point().unwrap();
    writer.note_synced(job.run().unwrap());
    let synced = WalSynced { through: job.through(), files: job.made().iter().copied().collect() };
    manifest.commit(&[Edit::WalSynced(synced)]).unwrap();
    let path = dir.join("wal").join(fs.list(&dir.join("wal")).unwrap().pop().unwrap());
    let bytes = fs.map(&path).unwrap();
    let is_frame = |at: &usize| bytes[*at..].starts_with(b"TGFR") && bytes[at + 90] == 1;
    let places: Vec<u64> = (4096..bytes.len()).step_by(8).filter(is_frame).map(|at| at as u64).collect();
    assert_eq!(places.len(), frames.len());
    (fs, path, places)
}

/// No frame is damaged, and yet the log is not whole: it stayed needed, a kill right behind the opening left a store that
/// no strict opening took, and once the log had let go of the file nothing was left of the samples.
#[test]
fn p5_a_log_with_samples_that_nobody_knows_is_kept_and_let_go_of() {
    let (fs, path, _) = logged(&[(&[7], &[(7, 1), (7, 2)]), (&[], &[(8, 3), (7, 4)])]);
    assert!(try_open(&fs.kill(), Recovery::Strict).is_err());
    let engine = try_open(&fs, Recovery::Salvage).unwrap();
    let killed = fs.kill();
    let report = engine.recovery_report();
    let [lost] = &report.lost[..] else { panic!("{report:?}") };
    assert_eq!((lost.samples, lost.seq_range.start.0, lost.seq_range.end.0), (Some(1), 3, 4), "{lost}");
    let name = path.file_name().unwrap().to_str().unwrap();
    assert_eq!(quarantined(&killed), [name], "it has the sample still");
    let all = contents(&engine);
    assert_eq!(all.keys().map(|(_, at)| *at).collect::<Vec<_>>(), [1, 2, 4]);
    // Its number is its own, not that of the one before it that was left out.
    let series = engine.series(&[("__name__", "cpu"), ("host", "7")]).unwrap();
    let mut batch = engine.batch();
    batch.expect_last(series, Expect::Seq(SeqNo(4)));
    batch.commit().unwrap();
    let state = Manifest::open_read_only(Arc::new(killed.clone()), "memory").unwrap().state().clone();
    assert!(!state.segments.is_empty() && state.wal.ends.is_empty(), "the opening returned before: {state:?}");
    assert_eq!(contents(&try_open(&killed, Recovery::Strict).unwrap()), all);
}

/// The time told of a hole began with the first sample behind it whose series was known.
#[test]
fn p5_the_time_of_a_hole_reaches_to_samples_that_nobody_knows() {
    let frames: [Frame<'_>; 3] =
        [(&[7], &[(7, 50), (7, 59)]), (&[8], &[(8, 60), (7, 61)]), (&[], &[(8, 5), (7, 100), (8, 7)])];
    let (fs, path, places) = logged(&frames);
    let byte = fs.map(&path).unwrap()[places[1] as usize + 100];
    fs.open(&path).unwrap().write_all_at(places[1] + 100, &[byte ^ 4]).unwrap();
    let engine = try_open(&fs, Recovery::Salvage).unwrap();
    let report = engine.recovery_report();
    let [hole, undefined] = &report.lost[..] else { panic!("{report:?}") };
    assert_eq!((hole.samples, undefined.samples), (Some(2), Some(2)));
    let at = Timestamp::from_nanos;
    let range = hole.time_range.unwrap();
    assert_eq!((range.start, range.end), (at(5), at(60)), "{hole}");
}
