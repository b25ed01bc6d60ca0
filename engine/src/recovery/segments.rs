//! Saving what can be read of damaged segments.
//!
//! - RS1: A damaged file has a durable name in quarantine before the manifest lets go of it.
//! - RS2: What was saved is durable in a new segment, in the old one's place in the order, in the same edit.
//! - RS3: So after a crash at any point, either nothing has happened or all of it; salvaging again finds no damage.
//! - RS4: What is lost with a file stands in the audit log before the manifest lets go of it, if it can be written: after
//!   that nobody could tell.
//! - RS5: A segment under another's name, or under one that nobody has, ends the salvage before any segment that the manifest names is set aside, if
//!   nothing or another segment has its own name, or a damaged one and it is sound: what it holds would be told as lost, and
//!   giving it its name back loses nothing (`misnamed.rs`). So does one of which nobody can say now what it is; and one of
//!   another store than those that have their names, and no fewer, where neither a manifest nor a log tells which store it is.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rayon::prelude::*;
use tidegauge_query::Threads;
use tidegauge_storage::chunk::CHUNK_SAMPLES_MAX;
use tidegauge_storage::fs::Fs;
use tidegauge_storage::manifest::{Edit, Manifest, Remains, SegmentRef};
use tidegauge_storage::model::{Labels, SeqRange};
use tidegauge_storage::segment::{
    Expected, Salvage as Damaged, Segment, SegmentHeader, SegmentInfo, SegmentWriter, WriteError, file_name, id_of,
};
use tidegauge_storage::source::ReadError;

use super::check::contradiction;
use super::later::all_unnamed;
use super::misnamed::{refuse_exchanged, refuse_renamed};
use super::{Finding, Lost, OnProgress, OpenStep, RecoveryReport, Step, check_segment, quarantine};
use crate::audit::{AuditLog, Audited};
use crate::clock;
use crate::error::OpenError;
use crate::flush::reference;
use crate::open::next_segment;
use crate::version::order_of;

/// Holes of one file that are told one by one, and places that were put right.
const HOLES_MAX: usize = 10_000;

/// Checks every segment that the manifest names, and puts what can be saved in the place of the damaged ones.
/// Answers those that count now, by precedence: what was compacted has a greater number than what was flushed meanwhile,
/// and was accepted before it; and what became of the damaged ones, each of which has its line in the audit log.
pub(crate) fn salvage_segments(
    fs: &Arc<dyn Fs>,
    dir: &Path,
    manifest: &mut Manifest,
    threads: &Threads,
    (unnamed, progress): (&mut Vec<(PathBuf, SeqRange)>, &OnProgress),
    audit: &AuditLog,
) -> Result<(Vec<Arc<Segment>>, RecoveryReport), OpenError> {
    let mut report = RecoveryReport::default();
    let folder = dir.join("segments");
    let (store_id, opening) = (manifest.state().store_id, manifest.state().open_number);
    let named: Vec<SegmentRef> = manifest.state().segments.values().copied().collect();
    let (step, total) = (Step::new(progress, OpenStep::CheckSegments), named.iter().map(|s| s.bytes).sum());
    let checked: Vec<(SegmentRef, Finding)> = threads.install(|| {
        let check = |named: SegmentRef| {
            let finding = check_segment(&**fs, &folder, &named, store_id);
            step.add(named.bytes, total);
            (named, finding)
        };
        named.into_par_iter().map(check).collect()
    });
    refuse_exchanged(&**fs, &folder, &checked, store_id)?;
    let mut known = Vec::new();
    for (named, finding) in checked {
        known.push(match finding {
            // Before anything is given up: what cannot be read now may be missed for nothing.
            Finding::Unknown(e) => return Err(e.into()),
            Finding::Sound(segment) => (named, Ok(segment)),
            Finding::Missing => (named, Err(None)),
            Finding::Unreadable(e) | Finding::Damaged(e) => (named, Err(Some(e))),
        });
    }
    // Which samples had replaced which, only those that are lost could tell. Of a file that is no segment any more none is
    // shown.
    let is_shown = |named: &SegmentRef, found: &Result<_, Option<ReadError>>| match found {
        Ok(_) => true,
        Err(None) => false,
        Err(Some(_)) => {
            let opened = open_damaged(&**fs, &folder.join(file_name(named.id)), named, store_id);
            !matches!(opened, Err(ReadError::Corrupt { .. }))
        }
    };
    let there: Vec<SegmentRef> =
        known.iter().filter(|(named, found)| is_shown(named, found)).map(|(named, _)| *named).collect();
    let replaced = |lost: &Lost| {
        let in_its_time = |s: &SegmentRef| lost.time_range.is_none_or(|lost| s.time_range.overlaps(&lost));
        lost.samples != Some(0) && there.iter().any(|s| s.seq_range.start < lost.seq_range.start && in_its_time(s))
    };
    let mut is_told = false;
    let mut tell = |report: &mut RecoveryReport| {
        note_unnamed(unnamed, report);
        if !is_told && report.lost.iter().any(replaced) {
            let note = "other segments have older samples in the time of what is lost: where a lost sample had replaced one, the older value is shown again";
            report.notes.push(note.to_owned());
            is_told = true;
        }
    };
    let mut sound: Vec<Arc<Segment>> = Vec::new();
    for (named, finding) in known {
        let mut salvage = Salvage { fs, dir, folder: &folder, named, opening, report: RecoveryReport::default() };
        let path = salvage.path();
        match finding {
            Ok(segment) => sound.push(Arc::from(segment)),
            Err(None) => {
                salvage.lose_all(0, "the file is missing".to_owned());
                tell(&mut salvage.report);
                salvage.report.note_in(audit, (store_id, opening));
                manifest.commit(&[Edit::SegmentRemove(named.id)])?;
            }
            Err(Some(e)) => {
                let saved = match open_damaged(&**fs, &path, &named, store_id) {
                    Ok(mut old) => salvage.rewrite(&mut old, store_id, next_segment(manifest.state()))?,
                    Err(ReadError::Corrupt { .. }) => {
                        let (offset, what) = place_of(&e);
                        salvage.lose_all(offset, what);
                        None
                    }
                    Err(e) => return Err(e.into()),
                };
                let mut edits = vec![Edit::SegmentRemove(named.id)];
                edits.extend(saved.iter().map(|info| Edit::SegmentAdd(reference(info))));
                salvage.keep()?;
                tell(&mut salvage.report);
                salvage.report.note_in(audit, (store_id, opening));
                manifest.commit(&edits)?;
                if let Some(info) = saved {
                    sound.push(Arc::new(Segment::open(&**fs, &folder.join(file_name(info.id)))?));
                }
                remove(&**fs, &path)?;
            }
        }
        report.append(salvage.report);
    }
    sound.sort_by_key(|s| order_of(s));
    Ok((sound, report))
}

/// Opens a damaged segment with the help of what the manifest says of it.
fn open_damaged(fs: &dyn Fs, path: &Path, named: &SegmentRef, store_id: u128) -> Result<Damaged, ReadError> {
    let expected = Expected {
        store_id,
        id: named.id,
        seq_range: named.seq_range,
        time_range: named.time_range,
        late: named.late,
        level: u32::try_from(named.level).unwrap_or(u32::MAX),
        file_bytes: named.bytes,
        samples: named.samples,
        series: named.series,
    };
    let damaged = Damaged::open(fs, path, Some(&expected))?;
    match contradiction(damaged.info(), named, store_id) {
        Some(what) => Err(ReadError::Corrupt { file: path.to_owned(), offset: 0, what }),
        None => Ok(damaged),
    }
}

/// Sets aside the segments that the manifest does not name. As a rule they are leftovers, and what is in them is in the
/// log, too; but a manifest that lost its end may have named them, and the log may be damaged. Answers where those of
/// this store are kept now that can be opened, and which numbers they have; and what became of all, which has its line in the
/// audit log before one loses its name: the next salvage finds none of them there.
pub(crate) fn keep_unnamed(
    fs: &dyn Fs,
    dir: &Path,
    manifest: &Manifest,
    lost: &[Lost],
    audit: &AuditLog,
) -> Result<(Vec<(PathBuf, SeqRange)>, RecoveryReport), OpenError> {
    let mut report = RecoveryReport::default();
    let folder = dir.join("segments");
    refuse_renamed(fs, &folder, manifest.state())?;
    let names = fs.list(&folder).map_err(|source| OpenError::Io { path: folder.clone(), source })?;
    let readable: BTreeMap<PathBuf, SeqRange> =
        all_unnamed(fs, dir, manifest.state())?.into_iter().map(|(path, info)| (path, info.seq_range)).collect();
    let (mut unnamed, mut done) = (Vec::new(), Vec::new());
    for name in names {
        if id_of(&name).is_some_and(|id| !manifest.state().segments.contains_key(&id)) {
            let path = folder.join(name);
            let kept =
                quarantine::keep(fs, dir, &path).map_err(|source| OpenError::Io { path: path.clone(), source })?;
            unnamed.extend(readable.get(&path).map(|range| (kept.clone(), *range)));
            report.quarantined.push(kept);
            done.push(path);
        }
    }
    // Of what is lost already, with the manifest.
    report.notes = note_those(&mut unnamed, lost);
    report.note_in(audit, (manifest.state().store_id, manifest.state().open_number));
    done.iter().try_for_each(|path| remove(fs, path))?;
    Ok((unnamed, report))
}

/// Tells which of the segments that were set aside have numbers of what is lost, each once: before the line of the audit log
/// is written that tells the loss.
pub(crate) fn note_unnamed(unnamed: &mut Vec<(PathBuf, SeqRange)>, report: &mut RecoveryReport) {
    let notes = note_those(unnamed, &report.lost);
    report.notes.extend(notes);
}

fn note_those(unnamed: &mut Vec<(PathBuf, SeqRange)>, lost: &[Lost]) -> Vec<String> {
    let meets = |range: &SeqRange, lost: &SeqRange| range.start.max(lost.start) < range.end.min(lost.end);
    let of_lost = |(_, range): &mut (PathBuf, SeqRange)| {
        lost.iter().any(|lost| lost.samples != Some(0) && meets(range, &lost.seq_range))
    };
    let note = |(path, range): (PathBuf, SeqRange)| {
        format!(
            "{} may hold samples that are lost, numbers {} to {}: it is a segment that the manifest does not name, and does not count",
            path.display(),
            range.start.0,
            range.end.0
        )
    };
    unnamed.extract_if(.., of_lost).map(note).collect()
}

/// Sets aside files that lie where a folder of the store belongs, each of which has its line in the audit log before it loses
/// its name. Where no manifest tells which store it is, the line is of whichever lies there.
pub(crate) fn keep_misplaced(fs: &dyn Fs, dir: &Path, audit: &AuditLog) -> Result<RecoveryReport, OpenError> {
    let mut report = RecoveryReport::default();
    let misplaced = quarantine::misplaced(fs, dir);
    if misplaced.is_empty() {
        return Ok(report);
    }
    let remains = Remains::read(fs, dir)?;
    for path in &misplaced {
        let kept = quarantine::keep(fs, dir, path).map_err(|source| OpenError::Io { path: path.clone(), source })?;
        let (place, now) = (path.display(), kept.display());
        report.notes.push(format!("{place} was a file where a folder of the store belongs; it is kept as {now}"));
        report.quarantined.push(kept);
    }
    report.note_in(audit, (remains.store_id.unwrap_or(Audited::ANY_STORE), remains.open_number));
    misplaced.iter().try_for_each(|path| remove(fs, path))?;
    Ok(report)
}

/// The salvage of one segment.
struct Salvage<'a> {
    fs: &'a Arc<dyn Fs>,
    dir: &'a Path,
    folder: &'a Path,
    named: SegmentRef,
    /// Which opening of the store this is.
    opening: u32,
    /// Of this segment alone.
    report: RecoveryReport,
}

impl Salvage<'_> {
    fn path(&self) -> PathBuf {
        self.folder.join(file_name(self.named.id))
    }

    fn keep(&mut self) -> Result<(), OpenError> {
        let path = self.path();
        let kept = quarantine::keep(&**self.fs, self.dir, &path);
        self.report.quarantined.push(kept.map_err(|source| OpenError::Io { path, source })?);
        Ok(())
    }

    fn lose_all(&mut self, offset: u64, what: String) {
        self.report.lost.push(Lost {
            file: self.path(),
            offset,
            what,
            series: None,
            seq_range: self.named.seq_range,
            time_range: Some(self.named.time_range),
            samples: Some(self.named.samples),
            samples_at_least: self.named.samples,
        });
    }

    /// Holes of one file beyond [`HOLES_MAX`] are told together.
    fn lose(&mut self, why: &ReadError, series: Option<&Labels>) -> &mut Lost {
        let (offset, mut what) = place_of(why);
        let holes = self.report.lost.len();
        if holes > HOLES_MAX {
            let last = self.report.lost.last_mut().expect("there are many");
            last.samples = None;
            return last;
        }
        if holes == HOLES_MAX {
            what = "further places of this file".to_owned();
        }
        self.report.lost.push(Lost {
            file: self.path(),
            offset,
            what,
            series: series.map(Labels::to_string),
            seq_range: self.named.seq_range,
            time_range: Some(self.named.time_range),
            samples: None,
            samples_at_least: 0,
        });
        self.report.lost.last_mut().expect("just put there")
    }

    /// A new segment of everything that can be read; `None` if that is nothing.
    fn rewrite(&mut self, old: &mut Damaged, store_id: u128, id: u64) -> Result<Option<SegmentInfo>, OpenError> {
        let info = old.info().clone();
        let header = SegmentHeader {
            store_id,
            seq_range: info.seq_range,
            late: info.late,
            cold: false,
            level: info.level,
            // Of a header that is gone nothing tells it.
            created: if info.created == 0 { clock::now().nanos() } else { info.created },
            opening: self.opening,
        };
        let failed = |e: WriteError| OpenError::Io {
            path: self.folder.join(file_name(id)),
            source: match e {
                WriteError::Io { source, .. } => source,
                other => std::io::Error::other(other),
            },
        };
        let series = self.named_series(old);
        let mut writer: Option<SegmentWriter> = None;
        let mut last = None;
        for (labels, ordinal) in series {
            if last.as_ref() == Some(&labels) {
                let what = "a second series of the same labels".to_owned();
                let _ = self.lose(&ReadError::Corrupt { file: self.path(), offset: 0, what }, Some(&labels));
                continue;
            }
            let (mut lost, mut begun) = (Vec::new(), false);
            let max_seq = old.max_seq(ordinal);
            old.read(ordinal, &mut lost, |chunk| {
                let into = match &mut writer {
                    Some(writer) => writer,
                    None => writer.insert(SegmentWriter::create(Arc::clone(self.fs), self.folder, id, header)?),
                };
                if !begun {
                    into.begin_series(&labels, max_seq)?;
                    begun = true;
                }
                // What a crafted file calls a chunk may be none by its length.
                let (timestamps, values) =
                    (chunk.timestamps.chunks(CHUNK_SAMPLES_MAX), chunk.values.chunks(CHUNK_SAMPLES_MAX));
                timestamps.zip(values).try_for_each(|(timestamps, values)| into.push_chunk(timestamps, values))
            })
            .map_err(failed)?;
            for chunk in lost {
                if matches!(chunk.why, ReadError::TooNew { .. } | ReadError::MissingFeature { .. }) {
                    // Not damaged: another program can read it, and saves it with the rest.
                    return Err(chunk.why.into());
                }
                let many = self.report.lost.len() >= HOLES_MAX;
                let entry = self.lose(&chunk.why, Some(&labels).filter(|_| !many));
                if let Some(range) = chunk.time_range.filter(|_| !many) {
                    (entry.time_range, entry.samples) = (Some(range), Some(chunk.samples));
                    entry.samples_at_least = chunk.samples;
                }
            }
            if begun {
                last = Some(labels);
            }
        }
        let mended = old.mended();
        self.report.mended_places = mended.len() as u64;
        self.report.mended.extend(mended.take(HOLES_MAX));
        let saved = writer.map(SegmentWriter::finish).transpose().map_err(failed)?;
        self.count_lost(saved.as_ref().map_or(0, |info| info.samples));
        Ok(saved)
    }

    /// The series whose labels can be told, by them; others are lost.
    fn named_series(&mut self, old: &Damaged) -> Vec<(Labels, u32)> {
        let mut series = Vec::new();
        // Why, how many, and samples of those of which that is known.
        let mut nameless: Option<(ReadError, u64, Option<u64>)> = None;
        for ordinal in 0..old.series_count() {
            match old.labels(ordinal) {
                Ok(labels) => series.push((labels, ordinal)),
                Err(why) => {
                    let (_, count, samples) = nameless.get_or_insert((why, 0, Some(0)));
                    *count += 1;
                    *samples = samples.zip(old.samples_of(ordinal)).map(|(sum, more)| sum + more);
                }
            }
        }
        if let Some((why, count, samples)) = nameless {
            let lost = self.lose(&why, None);
            lost.what = format!("{}; the names of {count} series are lost", lost.what);
            (lost.samples, lost.samples_at_least) = (samples, samples.unwrap_or(0));
        }
        series.sort_unstable();
        series
    }

    /// What is missing all in all is known: the manifest counts the samples. Where one place's size is not known, that is
    /// what the others leave; where several are not, they are that together.
    fn count_lost(&mut self, saved: u64) {
        let lost = &mut self.report.lost;
        let known: u64 = lost.iter().map(|lost| lost.samples_at_least).sum();
        let rest = self.named.samples.saturating_sub(saved).saturating_sub(known);
        let mut unknown = lost.iter_mut().filter(|lost| lost.samples.is_none());
        match (unknown.next(), unknown.count()) {
            (Some(one), 0) => {
                one.samples_at_least += rest;
                one.samples = Some(one.samples_at_least);
            }
            (Some(_), others) => {
                let (places, file) = (others + 1, self.path());
                let file = file.display();
                self.report
                    .notes
                    .push(format!("{file}: at {places} places of unknown size {rest} samples are lost together"));
            }
            (None, _) => {}
        }
    }
}

fn place_of(error: &ReadError) -> (u64, String) {
    match error {
        ReadError::Corrupt { offset, what, .. } => (*offset, what.clone()),
        other => (0, other.to_string()),
    }
}

fn remove(fs: &dyn Fs, path: &Path) -> Result<(), OpenError> {
    fs.remove(path).map_err(|source| OpenError::Io { path: path.to_owned(), source })
}
