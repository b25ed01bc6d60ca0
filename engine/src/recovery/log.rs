//! Keeping damaged files of the log, and telling what was in them.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use tidegauge_storage::fs::Fs;
use tidegauge_storage::model::{SeqNo, SeqRange, TimeRange, Timestamp};
use tidegauge_storage::wal::{LostRange, Recovered};

use super::{Lost, RecoveryReport, quarantine};
use crate::error::OpenError;
use crate::replay::Undefined;

/// Notes the holes, and gives each damaged file, and what is cut, a name in quarantine before anything may let go of it.
pub(crate) fn salvage_log(
    fs: &dyn Fs,
    dir: &Path,
    recovered: &Recovered,
    undefined: Option<Undefined>,
    report: &mut RecoveryReport,
) -> Result<(), OpenError> {
    let files: BTreeSet<&PathBuf> = recovered.lost.iter().map(|hole| &hole.file).collect();
    for file in files {
        // A file that is missing is named by its hole.
        if fs.open_read(file).is_ok() {
            let kept = quarantine::keep(fs, dir, file);
            report.quarantined.push(kept.map_err(|source| OpenError::Io { path: file.clone(), source })?);
        }
    }
    for file in recovered.cut.iter().filter(|file| recovered.lost.iter().all(|hole| hole.file != **file)) {
        let kept = quarantine::keep_written(fs, dir, file);
        report.quarantined.push(kept.map_err(|source| OpenError::Io { path: file.clone(), source })?);
    }
    report.lost.extend(recovered.lost.iter().map(|hole| lost(hole, recovered.next_seq)));
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
        });
    }
    Ok(())
}

fn lost(hole: &LostRange, next_seq: SeqNo) -> Lost {
    let frames = match hole.last.0.checked_sub(hole.first.0) {
        None if hole.open_ended => format!("what followed from frame {} on is lost", hole.first.0),
        None => "no frame is lost".to_owned(),
        Some(_) if hole.open_ended => format!("frames {} to {} are lost, and what followed", hole.first.0, hole.last.0),
        Some(0) => format!("frame {} is lost", hole.first.0),
        Some(_) => format!("frames {} to {} are lost", hole.first.0, hole.last.0),
    };
    let start = hole.before.map_or(SeqNo(0), |edge| edge.seq);
    let end = hole.behind.map_or(next_seq.max(start), |edge| edge.seq);
    let none_lost = hole.last < hole.first && !hole.open_ended;
    let time_range = hole.before.zip(hole.behind).map(|(before, behind)| {
        let (a, b) = (before.timestamp.min(behind.timestamp), before.timestamp.max(behind.timestamp));
        TimeRange::covering(Timestamp::from_nanos(a), Timestamp::from_nanos(b))
    });
    Lost {
        file: hole.file.clone(),
        offset: hole.offset,
        what: format!("{}; {frames}", hole.what),
        series: None,
        seq_range: SeqRange { start, end },
        time_range,
        // Numbers are given without gaps within one life, and frames of two lives are told apart by theirs.
        samples: if none_lost {
            Some(0)
        } else {
            hole.before.zip(hole.behind).map(|(a, b)| b.seq.0.saturating_sub(a.seq.0))
        },
    }
}
