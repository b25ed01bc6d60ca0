//! A manifest made anew, from what is left of the damaged one, from the segments and from the log.
//!
//! - RM1: What was the manifest has a durable name in quarantine before another one takes its place; nothing else is
//!   changed before that, and the new one is there whole or not at all.
//! - RM2: Every segment of this store in the folder counts, unless the old manifest is known to have removed it. One that
//!   compaction had replaced already sorts in front of its successors (K1 of `docs/compaction.md`), so it shows nothing
//!   that they do not, unless it was deleted or over age. It is not set aside: whether all of them are there, nobody can
//!   tell. A segment that a sound commit named and that is gone, or cannot be opened, is told as lost, unless unnamed ones
//!   that were made behind it hold its numbers and reach from its first to its last time.
//! - RM3: The log is replayed from where the last flush began, if it reaches so far: of that flush, segments may be
//!   missing. What both hold is the same (`storage/src/wal/survey.rs`). None is missing if there is one in order and
//!   one of late samples, if there is one with as many samples as numbers, or if a sound commit says that the numbers
//!   were flushed: what it named of them was all. Else what is there, one or several tries of one half, is set aside, if the log has all numbers of that flush (SV5): what is below the end of a segment is not replayed. If the log
//!   has not, samples may be missing: as many at most as that segment has less than numbers.
//! - RM4: Deletes are those that can be read of the old manifest, that are still in the log, or that the audit log names
//!   (`engine/src/audit/deletes.rs`) and that reach a segment, or something that is replayed: files that the log had let
//!   go of are there without those behind them, which had the deletes. Descriptions of metrics are as far as the old manifest can be read. Rules of
//!   retention are not taken over.
//! - RM5: What the new manifest names is durable before it is, and so are the frames of the log that it calls durable. A
//!   flush or compaction that was interrupted may have left a segment whose name is in the page cache alone, a killed
//!   process frames, and who puts files back by hand both.
//! - RM6: Its open number is above that of every file there is, so that no later opening has one that a file has.
//! - RM7: Where samples of the log may be missing although frames of it are there, so of an unfinished flush and behind a
//!   gap, every file of it that may hold more than segments do has a durable name in quarantine before a manifest lets go
//!   of it. That is a second name: it takes space only once the log has let go of the file.
//! - RM8: What can be read of the old manifest is believed in what it calls durable of the log: where that is missing, and
//!   no segment has its numbers, it is lost, and told (SV6). Where frames of the same opening are left, by what replays
//!   them. Where nothing of that can be read, nobody knows where the log ended: that is told, and a delete that the audit
//!   log names above all that is left.
//! - RM9: All that is told stands in the audit log, if it can be written, before the new manifest is there: behind that
//!   nobody could tell (RS4 of `segments.rs`).

use std::collections::{BTreeMap, BTreeSet};
use std::mem::take;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rayon::prelude::*;
use tidegauge_query::Threads;
use tidegauge_storage::fs::Fs;
use tidegauge_storage::manifest::{Edit, Manifest, ManifestError, Remains, SegmentRef};
use tidegauge_storage::model::{SeqNo, SeqRange, Tombstone};
use tidegauge_storage::segment::{SegmentInfo, file_name};
use tidegauge_storage::source::ReadError;
use tidegauge_storage::wal::{
    Epoch, FrameNo, NUMBER_GAP, Survey, WalState, holds_anything, later_than, stores_of, survey,
};

use super::later::{ids, is_made_behind, later_segment, successor};
use super::misnamed::{outline, refuse_homeless, refuse_undecided};
use super::orphan::orphan;
use super::{Lost, RecoveryReport, quarantine};
use crate::audit::{self, AuditLog, Audited};
use crate::delete::TOMBSTONES_MAX;
use crate::error::OpenError;
use crate::flush::reference;

/// Parts of the log that cannot be read and are told one by one.
const UNREAD_MAX: usize = 20;

/// Opens the manifest of the store in `dir`, or puts one in its place that says what can still be known. Then what is told has
/// its line in the audit log, with what `report` had set aside before. Where it cannot, it may be tried again, and `report`
/// has what was set aside. What had a line before anything else was done is in `noted`, and was done for good.
pub(crate) fn open_or_rebuild(
    fs: &Arc<dyn Fs>,
    dir: &Path,
    threads: &Threads,
    audit: &AuditLog,
    noted: &mut RecoveryReport,
    report: &mut RecoveryReport,
) -> Result<Manifest, OpenError> {
    let mut tried = RecoveryReport { quarantined: take(&mut report.quarantined), ..RecoveryReport::default() };
    let opened = open_or_rebuild_at(fs, dir, threads, audit, (noted, &mut tried));
    match opened {
        Ok(_) => report.append(tried),
        Err(_) => report.quarantined = tried.quarantined,
    }
    opened
}

fn open_or_rebuild_at(
    fs: &Arc<dyn Fs>,
    dir: &Path,
    threads: &Threads,
    audit: &AuditLog,
    (noted, report): (&mut RecoveryReport, &mut RecoveryReport),
) -> Result<Manifest, OpenError> {
    let mut manifest = match Manifest::read_to_open(Arc::clone(fs), dir) {
        Err(why @ (ManifestError::Corrupt { .. } | ManifestError::ManifestMissing { .. })) => {
            return Rebuild { fs, dir, audit, noted, report }.run(threads, &why);
        }
        other => other?,
    };
    let state = manifest.state();
    let later_log = keep_strangers(&**fs, dir, (state.store_id, state.open_number), audit, noted)?;
    let mut anew = |what, report| {
        let why = ManifestError::Corrupt { file: dir.join("MANIFEST"), offset: 0, what };
        Rebuild { fs, dir, audit, noted, report }.run(threads, &why)
    };
    if later_log || later_segment(&**fs, dir, state)?.is_some() {
        return anew("an older copy: there is a file of a later opening", report);
    }
    if successor(&**fs, dir, state)?.is_some() {
        return anew("its last commits are lost: a segment that it names was replaced", report);
    }
    if orphan(&**fs, dir, state)?.is_some() {
        return anew("its last commits are lost: a segment that it does not name has what the log lost", report);
    }
    manifest.begin()?;
    Ok(manifest)
}

/// Sets aside the log's files of later openings in which nothing of this store can be read, each of which has its line in the
/// audit log before it loses its name. Answers whether one is left.
fn keep_strangers(
    fs: &dyn Fs,
    dir: &Path,
    (store_id, open_number): (u128, u32),
    audit: &AuditLog,
    noted: &mut RecoveryReport,
) -> Result<bool, OpenError> {
    let (folder, mut left) = (dir.join("wal"), false);
    let (mut report, mut done) = (RecoveryReport::default(), Vec::new());
    for epoch in later_than(fs, &folder, open_number)? {
        if holds_anything(fs, &folder, store_id, epoch)? {
            left = true;
            continue;
        }
        let path = folder.join(epoch.file_name());
        let kept = quarantine::keep(fs, dir, &path).map_err(|source| OpenError::Io { path: path.clone(), source })?;
        report.notes.push(format!(
            "nothing of this store can be read in {}; it is kept as {}",
            path.display(),
            kept.display()
        ));
        report.quarantined.push(kept);
        done.push(path);
    }
    report.note_in(audit, (store_id, open_number));
    noted.append(report);
    for path in done {
        fs.remove(&path).map_err(|source| OpenError::Io { path, source })?;
    }
    Ok(left)
}

/// Segments that there are.
#[derive(Default)]
struct Found {
    own: Vec<SegmentInfo>,
    /// Under another name than they say.
    strange: Vec<(PathBuf, SegmentInfo)>,
    unreadable: Vec<Lost>,
}

struct Rebuild<'a> {
    fs: &'a Arc<dyn Fs>,
    dir: &'a Path,
    audit: &'a AuditLog,
    /// What has its line already.
    noted: &'a mut RecoveryReport,
    report: &'a mut RecoveryReport,
}

impl Rebuild<'_> {
    fn run(mut self, threads: &Threads, why: &ManifestError) -> Result<Manifest, OpenError> {
        let (fs, wal_dir) = (&**self.fs, self.dir.join("wal"));
        let remains = Remains::read(fs, self.dir)?;
        let Found { own: found, strange, unreadable } = self.segments(threads)?;
        let store_id = match remains.store_id {
            Some(id) => id,
            None => {
                let logs = stores_of(fs, &wal_dir)?;
                let of_own = most_named(found.iter(), &logs);
                if let Some(of_own) = of_own.filter(|_| logs.is_empty()) {
                    refuse_undecided(&self.dir.join("segments"), &strange, &found, of_own)?;
                }
                // Where all have strange names, there is no other that tells which of them are missed.
                let of_strange = || most_named(strange.iter().map(|(_, info)| info), &BTreeMap::new());
                of_own.or_else(of_strange).unwrap_or_default()
            }
        };
        // Nothing tells it: the line of the audit log must name the one that it gets.
        let store_id = if store_id == 0 { Manifest::new_store_id() } else { store_id };
        refuse_homeless(&self.dir.join("segments"), &strange, &found, &remains, store_id)?;
        strange.iter().try_for_each(|(path, _)| self.set_aside(path, "its header gives it another number"))?;
        unreadable.into_iter().try_for_each(|lost| self.lose(lost))?;
        keep_strangers(fs, self.dir, (store_id, remains.open_number), self.audit, self.noted)?;
        let segments = self.choose(found, &remains, store_id)?;
        let told = self.report.notes.len();
        let (segments, survey) = self.without_unfinished(segments, &remains, store_id)?;
        self.doubt_lost(&survey);
        let audited = Audited::read(fs, self.dir, store_id)?;
        if remains.found {
            let path = self.dir.join("MANIFEST");
            let kept = quarantine::keep_numbered(fs, self.dir, &path);
            // A try before, which found no space, has kept the same.
            self.report.add_quarantined(kept.map_err(|source| OpenError::Io { path, source })?);
        }
        let deletes = self.deletes(&audited, &remains, &segments, &survey);
        self.tell(why, &remains, segments.len(), &survey, (&audited, deletes.len()));
        let end_is_lost = self.tell_lost_end(&remains, &audited, &segments, &survey);
        self.tell_unknown_end(&remains, &audited, &segments, &survey);
        let is_unread = !survey.unread.is_empty();
        let may_hold_more = self.report.unfinished_flush_samples > 0 || survey.left_out > 0 || end_is_lost || is_unread;
        let kept = if may_hold_more { survey.unflushed.clone() } else { BTreeSet::new() };
        self.secure(&segments, &survey, &kept)?;
        self.keep_log(&survey, &kept)?;
        self.tell_unread(&survey);
        // In front: a line of the audit log has the first ones, and of files that are set aside there may be many.
        self.report.notes.rotate_left(told);
        let mut edits = vec![Edit::NextSegment(self.next_segment(&segments)?)];
        edits.extend(segments.iter().map(|info| Edit::SegmentAdd(reference(info))));
        edits.extend(deletes.into_iter().map(Edit::TombstoneAdd));
        // Not what came after them: whether or not they are taken, a later salvage finds them in the audit log again.
        let named = audited.deletes.iter().map(|delete| SeqNo(delete.seq.0.saturating_add(1))).max();
        edits.extend(named.map(|next_seq| Edit::Numbers { next_seq, greatest_frame: FrameNo(0) }));
        let mut state = remains.state;
        state.store_id = store_id;
        let of_segments = segments.iter().map(|info| info.opening).max();
        let known = [Some(remains.open_number), survey.open_number, of_segments];
        state.open_number = known.into_iter().flatten().max().unwrap_or(0);
        state.wal = survey.wal;
        // Files that are gone had these numbers.
        state.wal.next_frame = state.wal.next_frame.max(FrameNo(state.greatest_frame.0.saturating_add(1)));
        let state = state.with(&edits)?;
        self.report.note_in(self.audit, (store_id, state.open_number.saturating_add(1)));
        Ok(Manifest::make_anew(Arc::clone(self.fs), self.dir, state)?)
    }

    /// Every segment in the folder, one flipped bit of its outline put right, which is done once the manifest names it.
    fn segments(&self, threads: &Threads) -> Result<Found, OpenError> {
        let folder = self.dir.join("segments");
        // A manifest that names none of what is there has it removed.
        let ids = ids(&**self.fs, &folder)?;
        let fs = self.fs;
        let opened: Vec<(u64, Result<SegmentInfo, ReadError>)> = threads
            .install(|| ids.into_par_iter().map(|id| (id, outline(&**fs, &folder.join(file_name(id))))).collect());
        let mut found = Found::default();
        for (id, opened) in opened {
            let path = folder.join(file_name(id));
            match opened {
                Ok(info) if info.id == id => found.own.push(info),
                Ok(info) => found.strange.push((path, info)),
                Err(ReadError::Corrupt { offset, what, .. }) => found.unreadable.push(Lost {
                    file: path,
                    offset,
                    what,
                    series: None,
                    seq_range: SeqRange { start: SeqNo(0), end: SeqNo(0) },
                    time_range: None,
                    samples: None,
                    samples_at_least: 0,
                }),
                Err(e) => return Err(e.into()),
            }
        }
        found.own.sort_by_key(|info| info.id);
        Ok(found)
    }

    /// Sets aside a segment that cannot be opened.
    fn lose(&mut self, lost: Lost) -> Result<(), OpenError> {
        self.keep(&lost.file)?;
        self.report.lost.push(lost);
        Ok(())
    }

    /// Those that count (RM2).
    fn choose(
        &mut self,
        found: Vec<SegmentInfo>,
        remains: &Remains,
        store_id: u128,
    ) -> Result<Vec<SegmentInfo>, OpenError> {
        let mut chosen = Vec::new();
        for info in found {
            let path = self.dir.join("segments").join(file_name(info.id));
            if info.store_id != store_id {
                self.set_aside(&path, "it belongs to another store")?;
            } else if remains.removed.contains(&info.id) {
                self.set_aside(&path, "compaction had replaced it")?;
            } else {
                chosen.push(info);
            }
        }
        for gone in remains.named.values().filter(|gone| chosen.iter().all(|info| info.id != gone.id)) {
            if is_replaced(gone, &chosen, remains) {
                self.report.notes.push(format!("{} was named, and was replaced since", file_name(gone.id)));
                continue;
            }
            let file = self.dir.join("segments").join(file_name(gone.id));
            // A job that left out the edges of its time has made less of it: then it is not known how much is lost, if any.
            let is_held = chosen.iter().any(|info| holds(info, gone, remains));
            let of_it = Lost {
                offset: 0,
                what: "a segment that was named is not there".to_owned(),
                series: None,
                seq_range: gone.seq_range,
                time_range: Some(gone.time_range),
                samples: Some(gone.samples).filter(|_| !is_held),
                samples_at_least: if is_held { 0 } else { gone.samples },
                file,
            };
            // One that cannot be opened is told of already, but not what it held.
            match self.report.lost.iter_mut().find(|lost| lost.file == of_it.file) {
                Some(lost) => *lost = Lost { offset: lost.offset, what: lost.what.clone(), ..of_it },
                None => self.report.lost.push(of_it),
            }
        }
        Ok(chosen)
    }

    /// Where the log has numbers of what is lost with segments, it brings them back, or some of them: as many at most.
    fn doubt_lost(&mut self, survey: &Survey) {
        let Some((first, end)) = survey.first_seq.zip(survey.end_seq) else { return };
        let is_replayed = |lost: &&mut Lost| first < lost.seq_range.end && lost.seq_range.start < end;
        for lost in self.report.lost.iter_mut().filter(is_replayed) {
            let replayed = end.min(lost.seq_range.end).0 - first.max(lost.seq_range.start).0;
            (lost.samples, lost.samples_at_least) = (None, lost.samples_at_least.saturating_sub(replayed));
        }
    }

    /// Those of the audit log that are not known yet, and may hide something (RM4).
    fn deletes(
        &mut self,
        audited: &Audited,
        remains: &Remains,
        segments: &[SegmentInfo],
        survey: &Survey,
    ) -> Vec<Tombstone> {
        let known = &remains.state.tombstones;
        let reaches = |delete: &Tombstone| {
            let of_log = survey.first_seq.is_some_and(|first| first <= delete.seq);
            of_log || segments.iter().any(|info| delete.reaches(info.seq_range, info.time_range))
        };
        let lost = audited.deletes.iter().filter(|delete| !known.contains_key(&delete.seq) && reaches(delete));
        let room = TOMBSTONES_MAX.saturating_sub(known.len());
        audit::newest(lost, room, &mut self.report.notes)
    }

    /// Tells what the old manifest called durable of the log, where nothing is left of that (RM8). Answers whether it is so.
    fn tell_lost_end(
        &mut self,
        remains: &Remains,
        audited: &Audited,
        segments: &[SegmentInfo],
        survey: &Survey,
    ) -> bool {
        let Some((first, last)) = survey.missing else { return false };
        // What was in segments that are lost is told with them.
        let gone = self.report.lost.iter().map(|lost| lost.seq_range.end);
        let start = segments.iter().map(|info| info.seq_range.end).chain(gone).max().unwrap_or_default().max(SeqNo(1));
        let end = remains.state.next_seq;
        // Each delete has a frame of its own.
        let named = audited.deletes.iter().map(|delete| delete.seq);
        let deletes: BTreeSet<SeqNo> = remains.state.tombstones.keys().copied().chain(named).collect();
        let deletes = deletes.range(start..).count() as u64;
        let frames = (last.0 - first.0).saturating_add(1);
        if end <= start || frames <= deletes {
            return false;
        }
        let numbers = Some(end.0 - start.0).filter(|numbers| *numbers < NUMBER_GAP);
        let frames = if frames < NUMBER_GAP { frames } else { 1 };
        self.report.lost.push(Lost {
            file: self.dir.join("wal"),
            offset: 0,
            what: format!(
                "the manifest called frames {} to {} of the log durable, and nothing is left of them",
                first.0, last.0
            ),
            series: None,
            seq_range: SeqRange { start, end },
            time_range: None,
            // Nobody knows what came behind them.
            samples: None,
            samples_at_least: numbers.unwrap_or(frames).saturating_sub(deletes),
        });
        true
    }

    /// Tells that the end of the log may be missing where nothing says where it was (RM8); and if a delete was acknowledged
    /// behind all that is left, that something may be missing before it: then all of the log may be gone.
    fn tell_unknown_end(&mut self, remains: &Remains, audited: &Audited, segments: &[SegmentInfo], survey: &Survey) {
        if remains.state.wal != WalState::default() {
            return;
        }
        let notes = &mut self.report.notes;
        let end = if survey.end_seq.is_some() { "where the log ended durably" } else { "whether there was a log" };
        notes.push(format!(
            "{end} only the manifest knew, and that cannot be read: if the end of the log is lost, too, nothing tells it"
        ));
        let left = segments.iter().map(|info| info.seq_range.end).chain(survey.end_seq).max().unwrap_or_default();
        if let Some(last) =
            audited.deletes.iter().map(|delete| delete.seq).max().filter(|last| *last > left.max(SeqNo(1)))
        {
            notes.push(format!(
                "audit.log names delete {}, and what is left ends with number {}: what came before that delete may be lost",
                last.0, left.0
            ));
        }
    }

    /// What of the log cannot be read. Where frames lie on both sides, what replays them tells the hole as well.
    fn tell_unread(&mut self, survey: &Survey) {
        for (epoch, at, bytes) in survey.unread.iter().take(UNREAD_MAX) {
            let path = self.dir.join("wal").join(epoch.file_name());
            let place = format!("{bytes} bytes from byte {at} of {} cannot be read", path.display());
            self.report.notes.push(format!("{place}; what lay there is not known"));
        }
        if let Some(others @ 1..) = survey.unread.len().checked_sub(UNREAD_MAX) {
            self.report.notes.push(format!("nor can {others} other parts of the log"));
        }
    }

    /// Makes sure of RM5. A segment that was synced before costs little.
    fn secure(&self, segments: &[SegmentInfo], survey: &Survey, besides: &BTreeSet<Epoch>) -> Result<(), OpenError> {
        let folder = self.dir.join("segments");
        let io = |path: &Path, source| OpenError::Io { path: path.to_owned(), source };
        for info in segments {
            let path = folder.join(file_name(info.id));
            self.fs.open(&path).and_then(|file| file.sync_data()).map_err(|e| io(&path, e))?;
        }
        if !segments.is_empty() {
            self.fs.sync_dir(&folder).map_err(|e| io(&folder, e))?;
        }
        // The folders' own names. Behind this they would be durable with the line of the audit log alone, which may fail to be
        // written without ending the repair, and with the manifest's name too late.
        self.fs.sync_dir(self.dir).map_err(|e| io(self.dir, e))?;
        Ok(survey.secure(&**self.fs, &self.dir.join("wal"), besides)?)
    }

    /// Makes sure of RM7.
    fn keep_log(&mut self, survey: &Survey, files: &BTreeSet<Epoch>) -> Result<(), OpenError> {
        let (fs, folder) = (&**self.fs, self.dir.join("wal"));
        for epoch in files {
            let path = folder.join(epoch.file_name());
            // On a full disk a file may be cut behind what is replayed of it.
            let may_be_cut = survey.left_out_of.contains(epoch) && survey.wal.ends.contains_key(epoch);
            let kept = match may_be_cut {
                true => quarantine::keep_written(fs, self.dir, &path),
                false => quarantine::keep(fs, self.dir, &path),
            };
            self.report.add_quarantined(kept.map_err(|source| OpenError::Io { path, source })?);
        }
        if !files.is_empty() {
            let (count, folder) = (files.len(), self.dir.join(quarantine::FOLDER));
            self.report.notes.push(format!(
                "{count} files of the log may hold what is missing, and are kept in {}: remove them there once nobody misses anything",
                folder.display()
            ));
        }
        Ok(())
    }

    /// Leaves out what there is of a flush that may have been under way, if the log has all of it; else tells how much may
    /// be missing (RM3). Answers what the log has, too.
    fn without_unfinished(
        &mut self,
        mut segments: Vec<SegmentInfo>,
        remains: &Remains,
        store_id: u128,
    ) -> Result<(Vec<SegmentInfo>, Survey), OpenError> {
        let (fs, wal_dir) = (&**self.fs, self.dir.join("wal"));
        let numbers = newest_flush(&segments);
        let found = survey(fs, &wal_dir, store_id, numbers.clone(), &remains.state.wal)?;
        let of_it = || segments.iter().filter(|info| info.level == 0 && info.seq_range.end == numbers.end);
        // Two of one kind are tries of the same half: on a full disk the earlier one was given up.
        let is_whole = of_it().any(|info| info.late) && of_it().any(|info| !info.late);
        let Some(half) = of_it().map(|info| info.samples).max().filter(|_| !is_whole) else {
            return Ok((segments, found));
        };
        // From one opening to the next, numbers leap: nobody has those between.
        let given = (numbers.end.0 - numbers.start.0) % NUMBER_GAP;
        let missing = given.saturating_sub(half);
        if missing == 0 || numbers.end <= remains.flushed_through {
            return Ok((segments, found));
        }
        // What that half has, it has of the log.
        if found.of_newest.is_some_and(|numbers| numbers >= half) {
            let ids: BTreeSet<u64> = of_it().map(|info| info.id).collect();
            for id in &ids {
                let path = self.dir.join("segments").join(file_name(*id));
                self.set_aside(&path, "the log has all of its flush, of which another segment may be missing")?;
            }
            segments.retain(|info| !ids.contains(&info.id));
            let found = survey(fs, &wal_dir, store_id, newest_flush(&segments), &remains.state.wal)?;
            return Ok((segments, found));
        }
        self.report.unfinished_flush_samples = missing;
        self.report.notes.push(format!(
            "{missing} samples at most may be missing of a flush that was being written, numbers {} to {}, above all late ones: one of its two segments may not be there, and the log does not hold all of it",
            numbers.start.0, numbers.end.0
        ));
        Ok((segments, found))
    }

    fn keep(&mut self, path: &Path) -> Result<PathBuf, OpenError> {
        let kept = quarantine::keep(&**self.fs, self.dir, path);
        let kept = kept.map_err(|source| OpenError::Io { path: path.to_owned(), source })?;
        self.report.add_quarantined(kept.clone());
        Ok(kept)
    }

    /// A file that the new manifest does not name would be removed as a leftover.
    fn set_aside(&mut self, path: &Path, why: &str) -> Result<(), OpenError> {
        let kept = self.keep(path)?;
        self.report.notes.push(format!(
            "{} does not count, because {why}; it is kept as {}",
            path.display(),
            kept.display()
        ));
        Ok(())
    }

    /// Above every number that a file has, or had as far as is known: those in quarantine keep theirs.
    fn next_segment(&self, segments: &[SegmentInfo]) -> Result<u64, OpenError> {
        let kept = ids(&**self.fs, &self.dir.join(quarantine::FOLDER))?;
        let known = kept.into_iter().chain(segments.iter().map(|info| info.id));
        Ok(known.max().map_or(0, |greatest| greatest.saturating_add(1)))
    }

    fn tell(
        &mut self,
        why: &ManifestError,
        remains: &Remains,
        segments: usize,
        survey: &Survey,
        (audited, of_audit): (&Audited, usize),
    ) {
        self.report.manifest_made_anew = true;
        let notes = &mut self.report.notes;
        // That it is to be repaired no longer holds.
        let why = match why {
            ManifestError::Corrupt { file, offset, what } => {
                format!("{} was damaged at byte {offset}: {what}", file.display())
            }
            ManifestError::ManifestMissing { found, .. } => format!("there was none beside what is in {found}"),
            other => other.to_string(),
        };
        let segments = number_of(segments, "segment");
        notes.push(format!("the manifest was made anew from {segments} and the log ({why})"));
        let deletes = number_of(remains.state.tombstones.len(), "delete");
        let are = if of_audit == 1 { "is" } else { "are" };
        notes.push(format!(
            "{deletes} could be read, and {of_audit} more {are} taken from audit.log; what others hid, and compaction had not removed, is shown again: delete it again"
        ));
        if audited.unsure > 0 {
            notes.push(audited.tell_unsure());
        }
        let last = audited.retention.as_ref().map(|rules| format!(" (the last ones that audit.log names: {rules})"));
        let last = last.unwrap_or_default();
        notes.push(format!("rules of retention are not taken over: set them again, if there were any{last}"));
        if survey.left_out > 0 {
            let left_out = survey.left_out;
            let (frames, was) = match left_out {
                1 => ("1 frame of the log lies".to_owned(), "was left out: it was"),
                n => (format!("{n} frames of the log lie"), "were left out: they were"),
            };
            notes.push(format!("{frames} behind a gap and {was} not durable, as far as is known"));
        }
    }
}

/// `1 delete`, `2 deletes`.
fn number_of(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

/// Whether nothing named a segment, and it was made behind one that is gone and has the numbers of that.
fn holds(info: &SegmentInfo, gone: &SegmentRef, remains: &Remains) -> bool {
    is_made_behind(info, gone) && !remains.named.contains_key(&info.id)
}

/// Whether segments that nothing named hold the numbers of one that is gone, and its times: a compaction put them in its
/// place. Each output of one has the numbers of all inputs, and only some of the time.
fn is_replaced(gone: &SegmentRef, chosen: &[SegmentInfo], remains: &Remains) -> bool {
    let holding = || chosen.iter().filter(|info| holds(info, gone, remains));
    let times = || holding().filter_map(|info| info.time_range);
    let (start, end) = (times().map(|range| range.start).min(), times().map(|range| range.end).max());
    start.is_some_and(|start| start <= gone.time_range.start) && end.is_some_and(|end| gone.time_range.end <= end)
}

/// The store that most files name.
fn most_named<'a>(segments: impl Iterator<Item = &'a SegmentInfo>, logs: &BTreeMap<u128, usize>) -> Option<u128> {
    let mut stores = logs.clone();
    segments.for_each(|info| *stores.entry(info.store_id).or_default() += 1);
    stores.into_iter().max_by_key(|&(_, files)| files).map(|(id, _)| id)
}

/// The numbers of the last flush: everything below them is in segments whole. Empty if the last one was compacted, for
/// then it was whole.
fn newest_flush(segments: &[SegmentInfo]) -> Range<SeqNo> {
    let end = segments.iter().map(|info| info.seq_range.end).max().unwrap_or_default();
    let of_last = segments.iter().filter(|info| info.seq_range.end == end);
    let flushed = of_last.clone().all(|info| info.level == 0);
    let start = of_last.map(|info| info.seq_range.start).max().filter(|_| flushed);
    start.unwrap_or(end)..end
}
