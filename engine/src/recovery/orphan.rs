//! Segments of flushes whose commit the manifest lost, and of whose samples the log has let go; or of a compaction of
//! such.
//!
//! - OS1: One counts only if samples that the log is known to have lost have its numbers, in a file of no later opening than
//!   its own, and if the log has let go of it: of one of a flush it has no sample left, of a merged one not the first. What a crash leaves is no such thing, damage to
//!   the log beside it or not: what a flush writes is in the log until its commit is durable, or nobody was told that it
//!   is; and what a compaction writes is of segments that the manifest names.
//! - OS2: It reaches above everything that is named: flushes are committed one after the other. One of a flush shares no
//!   number with what is named (P9), and its samples are the last accepted there. A merged one may, if inputs of it are
//!   named and still there: that is as if its compaction had been interrupted, and shows nothing twice (K1 of
//!   `docs/compaction.md`).
//! - OS3: What the log still has above what is named and below it would not be read any more once it is named. Then it is
//!   set aside as before: it is not known to follow on what is named.
//! - OS4: "Named" is what ever was, and what was flushed into no segment (`State::flushed_through`): the file of a segment
//!   that was removed may be there still, or a power loss brings it back; so it may with one that was finished and given
//!   up, an output of a compaction or half of a flush that found no space. All of these have lower numbers alone, or the
//!   log still has theirs. Its own number, as a file, tells nothing: those of flushes and compactions are committed in any
//!   order.
//! - OS5: The manifest is made anew then (`manifest.rs`), which takes it and whatever flushes and compactions made beside
//!   it, and reads the log behind it. Deletes, rules and descriptions that were committed with it, or behind it, are lost
//!   with those commits.

use std::ops::Range;
use std::path::{Path, PathBuf};

use tidegauge_storage::fs::Fs;
use tidegauge_storage::manifest::State;
use tidegauge_storage::segment::SegmentInfo;
use tidegauge_storage::wal::{RecoverMode, Replay, recover};

use super::later::{all_unnamed, unnamed};
use crate::error::OpenError;

/// A segment of this store that `state` does not name, and without which samples are lost.
pub(crate) fn orphan(fs: &dyn Fs, dir: &Path, state: &State) -> Result<Option<PathBuf>, OpenError> {
    let end = state.flushed_through.0.max(1);
    // What it has above all that is named.
    let above = |info: &SegmentInfo| info.seq_range.start.0.max(end)..info.seq_range.end.0;
    let unnamed_above = all_unnamed(fs, dir, state)?.into_iter().map(|(_, info)| above(&info));
    let Some(lowest) = unnamed_above.filter(|range| !range.is_empty()).map(|range| range.start).min() else {
        return Ok(None);
    };
    // The least number that the log has of those, and where it has holes.
    let mut first = u64::MAX;
    let recovered = recover(fs, &dir.join("wal"), state.store_id, &state.wal, RecoverMode::Salvage, &mut |piece| {
        let seq = match piece {
            Replay::Samples { first_seq, .. } => first_seq.0,
            Replay::Delete(tombstone) => tombstone.seq.0,
            _ => return Ok(()),
        };
        first = if seq < end { first } else { first.min(seq) };
        Ok(())
    })?;
    if first < lowest {
        return Ok(None);
    }
    let holes = recovered.lost.iter().map(|hole| {
        let start = hole.before.map_or(end, |edge| edge.seq.0);
        (start..hole.behind.map_or(u64::MAX, |edge| edge.seq.0), hole.epoch.open_number())
    });
    let holes: Vec<_> = holes.collect();
    unnamed(fs, dir, state, |info| {
        let above = above(info);
        let is_let_go = if info.level == 0 { first >= above.end } else { first > above.start };
        let lacks = |hole: &Range<u64>| above.start.max(hole.start) < above.end.min(hole.end);
        is_let_go && holes.iter().any(|(hole, opening)| *opening <= info.opening && lacks(hole))
    })
}

#[cfg(test)]
pub(super) mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;
    use std::time::{Duration, Instant};

    use tidegauge_storage::fs::sim::SimFs;
    use tidegauge_storage::manifest::Manifest;
    use tidegauge_storage::model::{LabelLimits, Labels, SeqNo, SeqRange};
    use tidegauge_storage::segment::{SegmentHeader, SegmentWriter, file_name};
    use tidegauge_storage::source::Columns;

    use super::*;
    use crate::engine::Engine;
    use crate::recovery::Recovery;
    use crate::recovery::tests::{
        Contents, contents, damage_frame, killed, open_unmerged, path_of, push, salvage_again_from_anywhere, settle,
        try_open,
    };
    use crate::replay::flushed_before;

    const MANIFEST: &str = "memory/MANIFEST";

    /// Waits until the manifest knows that so many samples are durable in the log (L8).
    pub(in crate::recovery) fn until_known(fs: &SimFs, samples: u64) {
        let deadline = Instant::now() + Duration::from_secs(30);
        let known = || Manifest::open_read_only(Arc::new(fs.clone()), "memory").unwrap().state().next_seq.0;
        while known() <= samples {
            assert!(Instant::now() < deadline, "the manifest knows of {} samples", known());
            std::thread::yield_now();
        }
    }

    /// Waits until the log has let go of what is flushed. The worker does that between what it is asked and the round
    /// that answers a probe.
    pub(in crate::recovery) fn until_freed(engine: &Engine) {
        engine.probe(Duration::from_secs(30)).unwrap();
    }

    /// Some rounds in segments, some in the log; and the manifest as it was before the last `lost` flushes. The log has
    /// gone on in the files that they freed.
    pub(in crate::recovery) fn older_manifest(lost: usize) -> (SimFs, Contents) {
        let fs = SimFs::new();
        let engine = try_open(&fs, Recovery::Strict).unwrap();
        let (mut before, mut round) = (Vec::new(), 0);
        for _ in 0..4 {
            (round..round + 2).for_each(|round| push(&engine, round));
            round += 2;
            until_known(&fs, 1200 * round as u64);
            before.push(fs.map(Path::new(MANIFEST)).unwrap().to_vec());
            engine.flush().unwrap();
            until_freed(&engine);
        }
        (round..round + 3).for_each(|round| push(&engine, round));
        let all = contents(&engine);
        let disk = fs.kill();
        let file = disk.open(Path::new(MANIFEST)).unwrap();
        let older = &before[before.len() - lost];
        file.write_all_at(0, older).unwrap();
        file.set_len(older.len() as u64).unwrap();
        (disk, all)
    }

    #[test]
    fn p5_a_salvage_takes_the_segments_of_flushes_whose_commits_are_lost() {
        for lost in 1..4 {
            let (disk, all) = older_manifest(lost);
            assert!(try_open(&disk, Recovery::Strict).is_err(), "{lost}: the log has a hole");
            let engine = try_open(&disk, Recovery::Salvage).unwrap();
            let report = engine.recovery_report().clone();
            assert!(contents(&engine) == all, "{lost}: {report:?}");
            assert!(report.manifest_made_anew && report.lost.is_empty(), "{lost}: {report:?}");
            engine.close().unwrap();
            assert!(contents(&try_open(&disk, Recovery::Strict).unwrap()) == all, "{lost}, opened again");
        }
    }

    #[test]
    fn p5_a_salvage_that_takes_a_flush_loses_power_anywhere_and_loses_nothing() {
        let (disk, all) = older_manifest(1);
        settle(&disk);
        salvage_again_from_anywhere(&disk, |_, engine, stopped| assert!(contents(engine) == all, "{stopped}"));
    }

    /// Two segments of each of four flushes, merged since; some more in the log, which has gone on in the files that they
    /// freed. The manifest is as it was before the flush number `lost_from`. What it names was merged, too: with
    /// `still_there` its files are not removed yet.
    fn merged_since(lost_from: usize, still_there: bool) -> (SimFs, Contents) {
        let fs = SimFs::new();
        let engine = open_unmerged(&fs);
        let (mut before, mut segments) = (Vec::new(), BTreeMap::new());
        for flush in 0..4 {
            push(&engine, 10 * (flush + 1));
            push(&engine, flush);
            until_known(&fs, 2400 * (flush as u64 + 1));
            before.push(fs.map(Path::new(MANIFEST)).unwrap().to_vec());
            engine.flush().unwrap();
            until_freed(&engine);
            let files = fs.files().into_iter().filter(|(path, _)| path.starts_with("memory/segments"));
            segments.extend(files.map(|(path, _)| (path.clone(), fs.map(&path).unwrap().to_vec())));
        }
        engine.compact().unwrap();
        (5..8).for_each(|round| push(&engine, round));
        let all = contents(&engine);
        let disk = fs.kill();
        let older = &before[lost_from];
        disk.remove(Path::new(MANIFEST)).unwrap();
        disk.create(Path::new(MANIFEST)).unwrap().write_all_at(0, older).unwrap();
        let state = Manifest::open_read_only(Arc::new(disk.clone()), "memory").unwrap().state().clone();
        for id in state.segments.keys().filter(|_| still_there) {
            let path = Path::new("memory/segments").join(file_name(*id));
            if disk.open_read(&path).is_err() {
                disk.create(&path).unwrap().write_all_at(0, &segments[&path]).unwrap();
            }
        }
        settle(&disk);
        (disk, all)
    }

    /// Only segments of flushes counted: once they were merged, what had become of them was set aside, and all of their
    /// samples were lost.
    #[test]
    fn p5_a_salvage_takes_what_was_merged_of_flushes_whose_commits_are_lost() {
        for (lost_from, still_there) in [(0, false), (1, true), (2, true), (3, true), (2, false)] {
            let what = format!("from {lost_from} on, {still_there}");
            let (disk, all) = merged_since(lost_from, still_there);
            assert!(try_open(&disk, Recovery::Strict).is_err(), "{what}: the log has a hole");
            let engine = try_open(&disk, Recovery::Salvage).unwrap();
            let report = engine.recovery_report().clone();
            assert!(contents(&engine) == all, "{what}: {} of {}: {report:?}", contents(&engine).len(), all.len());
            assert!(report.manifest_made_anew && report.lost.is_empty(), "{what}: {report:?}");
            engine.flush().unwrap();
            engine.compact().unwrap();
            assert_eq!(engine.stats().segment_samples, all.len() as u64, "{what}: nothing twice");
            engine.close().unwrap();
            assert!(contents(&try_open(&disk, Recovery::Strict).unwrap()) == all, "{what}, opened again");
        }
    }

    #[test]
    fn p5_a_salvage_that_takes_what_was_merged_loses_power_anywhere_and_loses_nothing() {
        let (disk, all) = merged_since(0, false);
        salvage_again_from_anywhere(&disk, |_, engine, stopped| assert!(contents(engine) == all, "{stopped}"));
    }

    /// Kills an engine that has gone on, puts the file of a removed segment back, and damages the first frame of the log.
    fn killed_with(fs: &SimFs, engine: &Engine, path: &Path, segment: &[u8]) -> SimFs {
        let before = engine.stats().visible_seq;
        push(engine, 1);
        until_known(fs, before + 600);
        let disk = fs.kill();
        disk.create(path).unwrap().write_all_at(0, segment).unwrap();
        damage_frame(&disk, 0);
        settle(&disk);
        disk
    }

    /// A segment of which nothing is left, and whose removal a power loss undid, passed for what the log had lost since: the
    /// manifest was made anew, and the hole of the log was not told.
    #[test]
    fn a_segment_of_an_earlier_opening_has_nothing_of_what_the_log_lost() {
        let fs = SimFs::new();
        let engine = open_unmerged(&fs);
        push(&engine, 0);
        engine.close().unwrap();
        let path = path_of(&fs, "segments");
        let segment = fs.map(&path).unwrap().to_vec();
        let engine = open_unmerged(&fs);
        engine.delete("cpu", tidegauge_storage::model::TimeRange::ALL).unwrap();
        engine.compact().unwrap();
        engine.close().unwrap();
        let engine = open_unmerged(&fs);
        let disk = killed_with(&fs, &engine, &path, &segment);
        let salvaged = try_open(&disk, Recovery::Salvage).unwrap();
        let report = salvaged.recovery_report();
        assert!(!report.manifest_made_anew && contents(&salvaged).is_empty(), "{report:?}");
        let lost: Vec<_> =
            report.lost.iter().map(|lost| (lost.file.parent().unwrap(), lost.series.is_none())).collect();
        assert_eq!(lost, [(Path::new("memory/wal"), true)], "{report:?}");
    }

    /// As above, and all in one opening: a kill came between the commit of the compaction and the removal.
    #[test]
    fn a_segment_that_was_removed_has_nothing_of_what_the_log_lost() {
        let fs = SimFs::new();
        let engine = open_unmerged(&fs);
        push(&engine, 0);
        engine.flush().unwrap();
        let path = path_of(&fs, "segments");
        let segment = fs.map(&path).unwrap().to_vec();
        engine.delete("cpu", tidegauge_storage::model::TimeRange::ALL).unwrap();
        engine.compact().unwrap();
        until_freed(&engine);
        let disk = killed_with(&fs, &engine, &path, &segment);
        assert!(try_open(&disk, Recovery::Strict).is_err());
        let salvaged = try_open(&disk, Recovery::Salvage).unwrap();
        let report = salvaged.recovery_report();
        assert!(!report.manifest_made_anew, "{report:?}");
        assert!(report.lost.iter().any(|lost| lost.file.starts_with("memory/wal")), "{report:?}");
    }

    /// A strange segment amid the numbers that the log has does not stand in the log's way (OS3), and neither does what a
    /// crash amid a flush leaves of it (OS1): with a damaged frame beside it the manifest was made anew, and all other late
    /// samples of that flush were gone.
    #[test]
    fn a_segment_amid_what_the_log_has_is_set_aside() {
        for behind in [0, 2 * 1200] {
            let (fs, mut all) = killed();
            let state = Manifest::open_read_only(Arc::new(fs.clone()), "memory").unwrap().state().clone();
            // A round is 1,200 samples; the log begins with the third, and its fourth frame is damaged.
            let start = flushed_before(&state) + behind;
            let header = SegmentHeader {
                store_id: state.store_id,
                seq_range: SeqRange { start: SeqNo(start), end: SeqNo(start + 4 * 1200) },
                opening: state.open_number,
                ..SegmentHeader::default()
            };
            let folder = Path::new("memory/segments");
            let mut writer = SegmentWriter::create(Arc::new(fs.clone()), folder, 77, header).unwrap();
            let labels = Labels::new([("__name__", "strange")], &LabelLimits::DEFAULT).unwrap();
            let mut columns = Columns::default();
            columns.push(1, 1.0);
            writer.push_series(&labels, &columns, SeqNo(start)).unwrap();
            writer.finish().unwrap();
            damage_frame(&fs, 3);
            let engine = try_open(&fs, Recovery::Salvage).unwrap();
            all.retain(|(_, at), _| !(1_500_000..1_800_000).contains(at));
            let report = engine.recovery_report();
            assert!(contents(&engine) == all && !report.manifest_made_anew, "{report:?}");
            assert!(report.quarantined.iter().any(|path| path.ends_with("000000000000004d.seg")));
            // It has numbers of what is lost: that was not told.
            let told = |note: &String| note.contains("4d.seg may hold samples that are lost");
            assert!(report.notes.iter().any(told), "{:?}", report.notes);
        }
    }
}
