//! Keeping damaged files of the log, and telling what was in them.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tidegauge_storage::fs::Fs;
use tidegauge_storage::manifest::State;
use tidegauge_storage::model::{SeqNo, SeqRange, TimeRange, Timestamp, Tombstone};
use tidegauge_storage::segment::Segment;
use tidegauge_storage::wal::{Edge, LostRange, NUMBER_GAP, Recovered};

use super::{Lost, RecoveryReport, quarantine};
use crate::audit::{self, Audited};
use crate::delete::TOMBSTONES_MAX;
use crate::error::OpenError;
use crate::replay::{Undefined, flushed_before};

/// Notes the holes, and gives each damaged file, and what is cut, a name in quarantine before anything may let go of it.
pub(crate) fn salvage_log(
    fs: &dyn Fs,
    dir: &Path,
    recovered: &Recovered,
    undefined: Option<Undefined>,
    known: &State,
    segments: &[Arc<Segment>],
    report: &mut RecoveryReport,
) -> Result<(), OpenError> {
    let mut files: BTreeSet<PathBuf> = recovered.lost.iter().map(|hole| hole.file.clone()).collect();
    if undefined.is_some() {
        // In which of them the samples of unknown series lie, nobody noted.
        let used = recovered.ends.iter().filter(|(_, end)| !end.is_empty());
        files.extend(used.map(|(epoch, _)| dir.join("wal").join(epoch.file_name())));
    }
    for file in &files {
        // A file that is missing is named by its hole.
        if is_there(fs, file)? {
            let kept = quarantine::keep(fs, dir, file);
            report.quarantined.push(kept.map_err(|source| OpenError::Io { path: file.clone(), source })?);
        }
    }
    for file in recovered.cut.iter().filter(|file| !files.contains(*file)) {
        let kept = quarantine::keep_written(fs, dir, file);
        report.quarantined.push(kept.map_err(|source| OpenError::Io { path: file.clone(), source })?);
    }
    let all = SeqRange { start: SeqNo(flushed_before(known)), end: recovered.next_seq.max(known.next_seq) };
    let lost_before = report.lost.len();
    report.lost.extend(holes(&recovered.lost, all));
    if let Some(undefined) = undefined {
        let at = Timestamp::from_nanos;
        report.lost.push(Lost {
            file: dir.join("wal"),
            offset: 0,
            what: "samples of series whose definition was lost".to_owned(),
            series: None,
            seq_range: SeqRange { start: SeqNo(undefined.seqs.start), end: SeqNo(undefined.seqs.end) },
            time_range: Some(TimeRange::covering(at(undefined.first), at(undefined.last))),
            samples: Some(undefined.samples),
            samples_at_least: undefined.samples,
        });
    }
    // Late samples lie anywhere in time, and so may what a lost one had replaced.
    let in_log = recovered.lost.iter().filter_map(|hole| hole.before).map(|edge| edge.seq).min();
    let oldest = segments.iter().map(|s| s.info().seq_range.start).chain(in_log).min();
    let replaced = |lost: &Lost| lost.samples != Some(0) && oldest.is_some_and(|oldest| oldest < lost.seq_range.end);
    if report.lost[lost_before..].iter().any(replaced) {
        let note = "there are samples older than what is lost of the log: where a lost sample had replaced one, the older value is shown again, and where a delete is lost that audit.log does not name, what it hid";
        report.notes.push(note.to_owned());
    }
    Ok(())
}

/// Deletes that the audit log names, and that lay in a hole of the log or behind `end`, that of all that is known: they
/// were acknowledged, and nobody else knows them. Others were carried out, and forgotten.
pub(crate) fn lost_deletes(
    audited: &Audited,
    recovered: &Recovered,
    known: &State,
    logged: &[Arc<Tombstone>],
    end: SeqNo,
    report: &mut RecoveryReport,
) -> Vec<Tombstone> {
    let is_known = |delete: &Tombstone| {
        known.tombstones.contains_key(&delete.seq) || logged.iter().any(|logged| logged.seq == delete.seq)
    };
    // Numbers below the first are in segments, and so are the deletes that came before them in the manifest.
    let holes = recovered.lost.iter().filter(|hole| loses(hole)).map(|hole| {
        let start = hole.before.map_or(SeqNo(flushed_before(known)), |edge| edge.seq);
        start..hole.behind.map_or(SeqNo(u64::MAX), |edge| edge.seq)
    });
    let holes: Vec<_> = holes.collect();
    let is_lost = |delete: &&Tombstone| delete.seq >= end || holes.iter().any(|hole| hole.contains(&delete.seq));
    let lost = audited.deletes.iter().filter(is_lost);
    let room = TOMBSTONES_MAX.saturating_sub(known.tombstones.len() + logged.len());
    let taken = audit::newest(lost.filter(|delete| !is_known(delete)), room, &mut report.notes);
    if !taken.is_empty() {
        let taken = taken.len();
        let deletes =
            if taken == 1 { "delete that the log may have lost is" } else { "deletes that the log may have lost are" };
        report.notes.push(format!("{taken} {deletes} taken from audit.log"));
    }
    if audited.unsure > 0 && !holes.is_empty() {
        report.notes.push(audited.tell_unsure());
    }
    taken
}

/// One that cannot be opened is there: it would not be kept, and the log would go over it.
fn is_there(fs: &dyn Fs, file: &Path) -> Result<bool, OpenError> {
    match fs.open_read(file) {
        Ok(_) => Ok(true),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(source) => Err(OpenError::Io { path: file.to_owned(), source }),
    }
}

fn loses(hole: &LostRange) -> bool {
    hole.open_ended || hole.first <= hole.last
}

/// Behind every number that the manifest knows or the log gave: a delete gets into the manifest with its number, and
/// what is flushed raises that as well. One made anew knows no such end, and has asked the audit log itself (RM4).
pub(crate) fn end_of_known(recovered: &Recovered, known: &State, made_anew: bool) -> SeqNo {
    if made_anew { SeqNo(u64::MAX) } else { recovered.end_seq.max(known.next_seq).max(SeqNo(1)) }
}

/// A delete is noted in the audit log once the log has it for good. So one with a number behind the end of the log proves
/// that this is no end: it was damaged with all that speaks of it, and what lay before the delete is gone, too.
pub(crate) fn tell_lost_end(
    fs: &dyn Fs,
    dir: &Path,
    audited: &Audited,
    recovered: &Recovered,
    end: SeqNo,
    report: &mut RecoveryReport,
) -> Result<(), OpenError> {
    let behind = || audited.deletes.iter().map(|delete| delete.seq).filter(|seq| *seq >= end);
    let Some(last) = behind().max() else { return Ok(()) };
    if recovered.lost.iter().any(|hole| loses(hole) && hole.behind.is_none()) {
        // A hole without an end holds it.
        return Ok(());
    }
    let wal = dir.join("wal");
    let of_log = recovered.ends.keys().next_back().map(|epoch| wal.join(epoch.file_name()));
    let of_log = match of_log {
        Some(file) if is_there(fs, &file)? => Some(file),
        _ => None,
    };
    // What is cut is kept already.
    if recovered.cut.is_empty()
        && let Some(file) = &of_log
    {
        let kept = quarantine::keep_written(fs, dir, file);
        report.quarantined.push(kept.map_err(|source| OpenError::Io { path: file.clone(), source })?);
    }
    let (file, offset) = match &recovered.torn_tail {
        Some(torn) => (torn.file.clone(), torn.offset),
        None => (of_log.unwrap_or(wal), 0),
    };
    let others: BTreeSet<SeqNo> = behind().filter(|seq| *seq < last).collect();
    let samples = (last.0 - end.0).saturating_sub(others.len() as u64);
    // Between two lives numbers leap.
    let samples = (samples < NUMBER_GAP).then_some(samples);
    report.lost.push(Lost {
        file,
        offset,
        what: format!(
            "audit.log names delete {last}, which was durable: the end of the log is lost, or that of the manifest",
            last = last.0
        ),
        series: None,
        seq_range: SeqRange { start: end, end: SeqNo(last.0 + 1) },
        time_range: None,
        // Nobody knows what came behind it.
        samples: None,
        samples_at_least: samples.unwrap_or(0),
    });
    Ok(())
}

/// The holes of the log. How many samples neighbours lost that have nothing but holes between them is known of all of them
/// together: the first one counts them.
fn holes(of_log: &[LostRange], all: SeqRange) -> Vec<Lost> {
    let between = |hole: &LostRange| (hole.before.map(|edge| edge.seq), hole.behind.map(|edge| edge.seq));
    let mut told: Vec<Lost> = Vec::new();
    for together in of_log.chunk_by(|hole, next| between(hole) == between(next)) {
        let frames = together.iter().map(frames_of).sum::<u64>();
        let mut is_counted = false;
        for hole in together {
            let mut lost = lost(hole, all);
            let counts = loses(hole) && numbers_of(hole, lost.seq_range, all).is_some();
            if counts && is_counted {
                (lost.samples, lost.samples_at_least) = (None, 0);
                lost.what.push_str("; what it lost is counted with the hole before");
            } else if counts && lost.samples.is_none() {
                lost.samples_at_least = lost.samples_at_least.max(frames);
            }
            is_counted |= counts;
            told.push(lost);
        }
    }
    told
}

/// Numbers, of samples and of frames, are given without gaps within one life; from one to the next they leap. Of a hole
/// over several lives one frame is known to be missing.
fn frames_of(hole: &LostRange) -> u64 {
    match (hole.last.0 + 1).saturating_sub(hole.first.0) {
        frames if frames < NUMBER_GAP => frames,
        _ => 1,
    }
}

/// How many numbers a hole holds, if what lies before it is known, in the same life.
fn numbers_of(hole: &LostRange, range: SeqRange, all: SeqRange) -> Option<u64> {
    let numbers = range.end.0.saturating_sub(range.start.max(all.start).0);
    Some(numbers).filter(|numbers| hole.before.is_some() && *numbers < NUMBER_GAP)
}

/// `all` holds every number that the log may have: those below are in segments.
fn lost(hole: &LostRange, all: SeqRange) -> Lost {
    let frames = match hole.last.0.checked_sub(hole.first.0) {
        None if hole.open_ended => format!("whatever followed from frame {} on is lost", hole.first.0),
        None => "no frame is lost".to_owned(),
        Some(_) if hole.open_ended => {
            format!("frames {} to {} are lost, and whatever followed", hole.first.0, hole.last.0)
        }
        Some(0) => format!("frame {} is lost", hole.first.0),
        Some(_) => format!("frames {} to {} are lost", hole.first.0, hole.last.0),
    };
    let start = hole.before.map_or(all.start, |edge| edge.seq);
    let end = hole.behind.map_or(all.end, |edge| edge.seq).max(start);
    // A frame has one sample at least.
    let count = frames_of(hole);
    let (samples, at_least) = match (numbers_of(hole, SeqRange { start, end }, all), hole.behind) {
        _ if count == 0 && !hole.open_ended => (Some(0), 0),
        (Some(numbers), Some(_)) => (Some(numbers), numbers),
        // Nobody knows what came behind the last that was heard of.
        (Some(numbers), None) => (None, numbers.max(count)),
        _ => (None, count),
    };
    let time = |edge: Option<Edge>| edge.and_then(|edge| edge.timestamp);
    let time_range = time(hole.before).zip(time(hole.behind)).map(|(before, behind)| {
        let (a, b) = (before.min(behind), before.max(behind));
        TimeRange::covering(Timestamp::from_nanos(a), Timestamp::from_nanos(b))
    });
    Lost {
        file: hole.file.clone(),
        offset: hole.offset,
        what: format!("{}; {frames}", hole.what),
        series: None,
        seq_range: SeqRange { start, end },
        time_range,
        samples,
        samples_at_least: at_least,
    }
}

#[cfg(test)]
mod tests {
    use tidegauge_storage::wal::{Epoch, FrameNo};

    use super::*;

    /// A hole from the first life's frames into the second's was said to hold 4,294,967,361 samples.
    #[test]
    fn what_is_lost_over_two_lives_is_not_counted_by_the_leap_between_them() {
        let hole = |first: u64, last: u64| LostRange {
            file: PathBuf::from("wal/a.wal"),
            epoch: Epoch::new(1, 0),
            offset: 4096,
            first: FrameNo(first),
            last: FrameNo(last),
            open_ended: false,
            what: "a frame is missing".to_owned(),
            before: None,
            behind: None,
        };
        let all = SeqRange { start: SeqNo(1), end: SeqNo(NUMBER_GAP + 500) };
        let at_least = |first, last| lost(&hole(first, last), all).samples_at_least;
        assert_eq!((at_least(1, 1), at_least(1, 65), at_least(2, 1)), (1, 65, 0));
        assert_eq!(at_least(1, NUMBER_GAP + 65), 1);
    }

    /// Each of them counted all that lay between the frames before and behind.
    #[test]
    fn what_two_holes_lost_together_is_counted_once() {
        let edge = |seq| Some(Edge { seq: SeqNo(seq), timestamp: None });
        let hole = |first: u64, (before, behind), open_ended| LostRange {
            file: PathBuf::from("wal/a.wal"),
            epoch: Epoch::new(1, 0),
            offset: first * 4096,
            first: FrameNo(first),
            last: FrameNo(first),
            open_ended,
            what: "a frame is missing".to_owned(),
            before: edge(before),
            behind: if behind == 0 { None } else { edge(behind) },
        };
        let all = SeqRange { start: SeqNo(1), end: SeqNo(500) };
        let apart = [hole(2, (20, 40), false), hole(4, (60, 80), false)];
        let counts = |of_log: &[LostRange]| -> Vec<(Option<u64>, u64)> {
            holes(of_log, all).iter().map(|lost| (lost.samples, lost.samples_at_least)).collect()
        };
        assert_eq!(counts(&apart), [(Some(20), 20), (Some(20), 20)]);
        // Frames 2 and 3 have 40 samples together.
        let together = [hole(2, (20, 60), false), hole(3, (20, 60), false), hole(5, (80, 100), false)];
        assert_eq!(counts(&together), [(Some(40), 40), (None, 0), (Some(20), 20)]);
        let told = holes(&together, all);
        assert!(told[1].what.contains("counted with the hole before"), "{}", told[1]);
        // At the end no number is known of the last, but that each frame has one.
        let all_named = [hole(2, (499, 0), false), hole(3, (499, 0), true)];
        assert_eq!(counts(&all_named), [(None, 2), (None, 0)]);
    }
}
