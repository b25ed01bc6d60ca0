//! Opening: checks, segments, replay, threads.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rayon::ThreadPoolBuilder;
use rayon::prelude::*;
use tidegauge_query::Threads;
use tidegauge_storage::fs::{Fs, MemFs, OsFs};
use tidegauge_storage::manifest::{Edit, Horizon, Manifest, ManifestError, SegmentRef, State};
use tidegauge_storage::model::{SeqNo, Tombstone};
use tidegauge_storage::segment::{Segment, first_id, id_of};
use tidegauge_storage::source::ReadError;
use tidegauge_storage::wal::{
    CutFrames, NUMBER_GAP, RecoverMode, Recovered, TornTail, WalRelease, WalState, WalWriter, WriterOptions,
    finish_renaming, give_up_reserve, leave_reserve,
};

use crate::audit::{AuditLog, Audited};
use crate::clock;
use crate::commit::{Durable, Visible, Watermark};
use crate::compact::{CompactOptions, Compactor, CompactorParts, Graveyard};
use crate::core::{Core, CoreParts};
use crate::engine::Engine;
use crate::error::OpenError;
use crate::flush::{FlushJob, FlushQueue, Flusher, FlusherParts};
use crate::ingest::{Log, SyncThread, Worker, WorkerParts};
use crate::life::{Life, start};
use crate::lock::DirLock;
use crate::options::Builder;
use crate::recovery::{
    OpenStep, Recovery, RecoveryReport, Step, end_of_known, keep_misplaced, keep_unnamed, later_file, lost_deletes,
    missing_is_damage, note_unnamed, open_as_named, open_or_rebuild, quarantine, salvage_log, salvage_segments,
    tell_lost_end,
};
use crate::registry::Registry;
use crate::replay::{Replayed, Replayer, flushed_before};
use crate::retention::Kept;
use crate::ring::{RingLimits, Rings};
use crate::snapshot::Reads;
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::version::{Version, Versions, hiding, order_of};

/// Where an engine in memory keeps its files.
const MEMORY_DIR: &str = "memory";
/// The log between two flushes, in files of at least four and at most 64 MiB.
const WAL_FILES: u64 = 8;
const WAL_FILE_BYTES_MIN: u64 = 4 << 20;
/// Files kept for reuse: an idle store holds little disk, a busy one allocates seldom.
const WAL_SPARES: usize = 2;
/// All lanes together.
const LANE_BYTES_MAX: usize = 1 << 30;

impl Builder {
    /// Opens the engine.
    ///
    /// # Errors
    /// [`OpenError`] says why and what to do; no sample, segment or log was changed, unless it says so.
    pub fn open(mut self) -> Result<Engine, OpenError> {
        self.dir = self.dir.map(lasting);
        let dir = self.dir.clone().unwrap_or_else(|| PathBuf::from(MEMORY_DIR));
        self.open_at(dir)
    }

    pub(crate) fn open_at(self, dir: PathBuf) -> Result<Engine, OpenError> {
        self.check()?;
        let fs: Arc<dyn Fs> = match (&self.fs, &self.dir) {
            (Some(fs), _) => Arc::clone(fs),
            (None, Some(_)) => Arc::new(OsFs),
            (None, None) => Arc::new(MemFs::new()),
        };
        if self.read_only { self.open_read_only(&fs, &dir) } else { self.open_to_write(fs, dir) }
    }

    fn open_to_write(self, fs: Arc<dyn Fs>, dir: PathBuf) -> Result<Engine, OpenError> {
        let lock = match &self.dir {
            Some(dir) => {
                // Before the lock's file is in it: see there.
                if fs.list(dir).is_err_and(|e| e.kind() == io::ErrorKind::NotFound) {
                    Manifest::make_folder(&*fs, dir)?;
                }
                Some(DirLock::take(dir, self.address.as_deref(), self.heartbeat, self.durability.logs())?)
            }
            None => None,
        };
        let teams = self.teams()?;
        // What has its lines in the audit log.
        let mut salvaged = RecoveryReport::default();
        let audit = AuditLog::new(Arc::clone(&fs), &dir);
        let audit = if self.dir.is_some() { audit.beside_others() } else { audit };
        let (wal_dir, segment_dir) = (dir.join("wal"), dir.join("segments"));
        let mut reserve = LogReserve { fs: &*fs, wal_dir: &wal_dir, given_up: false, leftovers: Vec::new() };
        let (mut manifest, segments);
        let mut unnamed = Vec::new();
        match self.recovery {
            // Nothing is written before all was read: a store that is refused stays as it is.
            Recovery::Strict => {
                if let Some(path) = quarantine::misplaced(&*fs, &dir).pop() {
                    return Err(OpenError::NotAFolder { path });
                }
                finish_names(&*fs, &wal_dir)?;
                manifest = Manifest::read_to_open(Arc::clone(&fs), &dir)?;
                if let Some(path) = later_file(&*fs, &dir, manifest.state())? {
                    return Err(OpenError::LaterFile { path });
                }
                segments = teams.install(|| open_segments(&*fs, &segment_dir, &manifest))?;
            }
            Recovery::Salvage => {
                // One that could not be read later would leave half a repair that told nobody what it gave up (AD5).
                Audited::read(&*fs, &dir, 0)?;
                keep_misplaced(&*fs, &dir, &mut salvaged)?;
                finish_names(&*fs, &wal_dir)?;
                let _alone = lock.as_ref().map(DirLock::alone).transpose()?;
                manifest = reserve.or_without(None, || open_or_rebuild(&fs, &dir, &teams, &mut salvaged))?;
                make_folder(&*fs, &dir, &segment_dir)?;
                unnamed = keep_unnamed(&*fs, &dir, &manifest, &mut salvaged)?;
                // Whatever ends this salvage, the next one finds the new manifest, and nothing of the one before.
                salvaged.note_in(&audit, manifest.state().open_number);
                let of_segments;
                (segments, of_segments) = salvage_segments(&fs, &dir, &mut manifest, &teams, &self.progress, &audit)?;
                salvaged.append(of_segments);
            }
        }

        let audit = audit.beside_manifest(&manifest);
        let lock_name = lock.as_ref().map(DirLock::name);
        if let Some(name) = lock_name.clone() {
            manifest.owned_while(name);
        }

        // What the log holds, into a memtable of its own.
        let registry =
            Arc::new(Registry::new(self.max_series, self.label_limits).with_label_bytes(self.max_label_bytes));
        let mut replayer = Replayer::new(&registry, flushed_before(manifest.state()));
        let mode = match self.recovery {
            Recovery::Strict => RecoverMode::Strict,
            Recovery::Salvage => RecoverMode::Salvage,
        };
        let step = Step::new(&self.progress, OpenStep::ReplayLog);
        let state = manifest.state();
        let audited = match self.recovery {
            Recovery::Strict => Audited::default(),
            Recovery::Salvage => Audited::read(&*fs, &dir, state.store_id)?,
        };
        let horizons = state.horizons.iter().map(|horizon| horizon.through);
        let deletes = state.tombstones.keys().copied().chain(audited.deletes.iter().map(|delete| delete.seq));
        replayer.seal_at(deletes.chain(horizons));
        let recovered = replayer.recover(&*fs, &wal_dir, state.store_id, &state.wal, mode, &step)?;
        if self.recovery == Recovery::Strict {
            let known = manifest.state().wal.clone();
            let alone = lock.as_ref().map(DirLock::alone).transpose()?;
            // All was read, and is right.
            reserve.leftovers = leftovers(&*fs, &segment_dir, &manifest);
            reserve.or_without(Some((&recovered, &known)), || Ok(manifest.begin()?))?;
            drop(alone);
            make_folder(&*fs, &dir, &segment_dir)?;
        }
        let state = manifest.state();
        // Not before all was read: where the manifest or the log is damaged, what is unnamed may be all there is.
        remove_leftovers(&*fs, &segment_dir, &manifest);
        let mut report = RecoveryReport {
            samples: recovered.samples,
            torn_tail: recovered.torn_tail.clone(),
            ..RecoveryReport::default()
        };
        if let Some(torn) = &recovered.torn_tail
            && let Some(behind) = &torn.behind
        {
            report.notes.push(cut_before_sound(torn, behind, self.recovery == Recovery::Salvage));
        }
        let undefined = replayer.undefined();
        let log_is_whole = recovered.lost.is_empty() && undefined.is_none();
        let mut of_audit = false;
        if self.recovery == Recovery::Salvage {
            salvage_log(&*fs, &dir, &recovered, undefined, state, &segments, &mut report)?;
            let end = end_of_known(&recovered, state, salvaged.manifest_made_anew);
            tell_lost_end(&*fs, &dir, &audited, &recovered, end, &mut report)?;
            let deletes = lost_deletes(&audited, &recovered, state, replayer.deletes(), end, &mut report);
            of_audit = !deletes.is_empty();
            replayer.add_deletes(deletes);
        }
        if audited.set_unread_aside(&*fs, &dir, &mut report)? {
            // What was noted before lies there, or found no place.
            salvaged.note_in(&audit, manifest.state().open_number);
        }
        // Before anything lets go of the log: with the next commit, or a flush.
        report.note_in(&audit, manifest.state().open_number);
        salvaged.append(report);
        let told_through = manifest.closed_opening().unwrap_or(0);
        salvaged.notes.extend(audited.untold(told_through + 1..manifest.state().open_number));
        note_unnamed(&unnamed, &mut salvaged);
        let report = salvaged;
        recovered.secure(&*fs)?;
        let life = recovered.life(state.open_number);
        let mut options = WriterOptions::new(state.store_id, state.open_number, life.first_frame);
        let file_bytes = (self.wal_bytes / WAL_FILES).clamp(WAL_FILE_BYTES_MIN, WriterOptions::FILE_BYTES);
        options.file_bytes = self.wal_file_bytes.unwrap_or(file_bytes);
        options.spare_files = WAL_SPARES;
        let released = WalRelease {
            oldest_epoch: life.live_epoch,
            next_frame: life.first_frame,
            synced_through: life.synced_through,
        };
        // Deletes that the audit log names may be younger than the rest, or have hidden nothing of what is left: whether or
        // not this salvage takes them, what comes now must not be hidden by them, now or after a later one.
        let logged = replayer.deletes().iter().map(|delete| delete.seq);
        let named = audited.deletes.iter().map(|delete| delete.seq);
        let deleted = logged.chain(named).map(|seq| seq.0 + 1).max().unwrap_or(0);
        let greatest = recovered.next_seq.max(state.next_seq).0.max(deleted);
        let seq = if greatest == 0 { 1 } else { greatest + NUMBER_GAP };
        let Replayed { applier, sealed, tombstones } = replayer.finish(seq);
        let mut edits = vec![Edit::WalLife(life)];
        // From here on there is more than they hide.
        edits.extend(close_horizons(manifest.state(), SeqNo(seq - 1)));
        let beginning = edits.len();
        // Before the log lets go of them.
        let unknown = tombstones.iter().filter(|t| !manifest.state().tombstones.contains_key(&t.seq));
        edits.extend(unknown.map(|t| Edit::TombstoneAdd(Tombstone::clone(t))));
        if sealed.is_empty() {
            edits.push(Edit::WalRelease(released));
        }
        let short_of_space = reserve.given_up && !sealed.is_empty() && !of_audit;
        match commit_life(&mut manifest, &edits, beginning, short_of_space) {
            Err(ManifestError::NoSpace { .. }) => {
                let known = manifest.state().wal.clone();
                // The log does not have what the audit log told.
                let least = if of_audit { &edits[..] } else { &edits[..beginning] };
                reserve.or_without(Some((&recovered, &known)), || Ok(manifest.commit(least)?))?;
            }
            other => other?,
        }
        if reserve.given_up {
            recovered.give_back(&*fs, &manifest.state().wal);
        }
        options.reserve_at_once = reserve.given_up;

        let active = Arc::clone(applier.active());
        let (log_fs, log_dir) = (Arc::clone(&fs), wal_dir.clone());
        let log = if self.durability.logs() {
            let oldest = manifest.state().wal.oldest_epoch;
            let writer = WalWriter::open(Arc::clone(&fs), wal_dir, oldest, options)?;
            Some(Log::new(writer, self.durability, active.generation))
        } else {
            if self.dir.is_some() {
                // Nobody else takes one, and it may just have been given up.
                leave_reserve(&*fs, &wal_dir, manifest.state().open_number, manifest.bytes_to_open());
            }
            None
        };
        let visible = Visible { commit: 1, seq };
        let (rings, drain) = Rings::new(self.ring_limits());
        let common = rings.common();
        let core = Arc::new(Core::new(CoreParts {
            rings,
            watermark: Watermark::new(visible),
            durable: Durable::new(seq),
            versions: Versions::new(Version {
                segments,
                sealed: sealed.clone(),
                unmapped_below: 0,
                active,
                tombstones: known_tombstones(&manifest, &tombstones),
                horizons: hiding(&manifest.state().horizons),
                forgotten: Arc::default(),
                registry: Arc::clone(&registry),
            }),
            kept: Kept::new(manifest.state()),
            durability: self.durability,
            max_ahead: self.max_ahead,
            query_memory_bytes: self.query_memory_bytes,
        }));
        core.counters.recovered.store(recovered.samples, Ordering::Relaxed);
        let flushes = Arc::new(FlushQueue::default());
        // The log is not needed any more once the last one is in segments.
        let last = sealed.len().saturating_sub(1);
        for (i, memtable) in sealed.into_iter().enumerate() {
            let release = (i == last).then_some(released);
            // All that the log has where it goes: on a full disk they are not in the manifest yet (X5).
            let deletes_through = if i == last { seq - 1 } else { memtable.end_seq() };
            flushes.hand_over(FlushJob { memtable, commit: visible.commit, release, deletes_through });
        }
        let grew = Arc::clone(&flushes);
        manifest.on_unwitnessed(move || grew.manifest_grew());
        let told = Arc::clone(&core);
        manifest.on_written_anew(move |grows| told.manifest_grows(grows));
        let (store_id, next_segment) = (manifest.state().store_id, next_segment(manifest.state()));
        let opening = manifest.state().open_number;
        let next_segment = Arc::new(AtomicU64::new(next_segment));
        let graveyard = Arc::new(Graveyard::new(Arc::clone(&fs)));
        let manifest = Arc::new(Mutex::new(manifest));
        let log = log.map(|log| (log, Arc::new(SyncThread::new(Arc::clone(&manifest), self.pace, lock_name))));
        let compactor = Compactor::new(CompactorParts {
            core: Arc::clone(&core),
            fs: Arc::clone(&fs),
            dir: segment_dir.clone(),
            manifest: Arc::clone(&manifest),
            store_id,
            opening,
            next_segment: Arc::clone(&next_segment),
            graveyard: Arc::clone(&graveyard),
            options: CompactOptions {
                in_background: self.background_compaction,
                segment_bytes: self.segment_bytes,
                segment_span: self.segment_span,
                cold_after: self.cold_after,
                threads: self.compact_threads,
            },
        });
        let flusher = Flusher::new(FlusherParts {
            core: Arc::clone(&core),
            queue: Arc::clone(&flushes),
            fs,
            dir: segment_dir,
            manifest: Arc::clone(&manifest),
            store_id,
            opening,
            next_segment,
            pace: self.pace,
        });
        let sync = log.as_ref().map(|(_, sync)| Arc::clone(sync));
        let mut worker = Worker::new(WorkerParts {
            core: Arc::clone(&core),
            drain,
            applier,
            log,
            flushes: Arc::clone(&flushes),
            visible,
            flush_bytes: self.flush_bytes,
            wal_bytes: self.wal_bytes,
        });
        worker.look_for_space();
        let idle = self.idle_limits();
        let threads = (worker, flusher, compactor);
        let held = start(&core, threads, &flushes, sync.as_ref(), lock, (self.watch, idle))?;
        let held = Mutex::new(held);
        let (root, outlives) = (dir, self.dir.is_some() || self.fs.is_some());
        let log_files = Some((Arc::clone(&log_fs), log_dir));
        let (fs, dir, follower) = (log_fs, self.dir, None);
        let reads = Arc::new(Reads { core: Arc::clone(&core), graveyard, threads: teams });
        let life = Life {
            core,
            common,
            dir,
            outlives,
            fs,
            root,
            manifest,
            audit,
            report,
            follower,
            log_files,
            sync,
            flushes,
            reads,
            held,
        };
        let engine = Engine::from_life(life);
        if !log_is_whole {
            // Once what was saved is in segments, nobody needs the damaged log any more.
            engine.flush().map_err(|why| OpenError::NotSettled { why })?;
        }
        Ok(engine)
    }

    pub(crate) fn teams(&self) -> Result<Threads, OpenError> {
        let team = |threads| {
            ThreadPoolBuilder::new().num_threads(threads).thread_name(|i| format!("tidegauge-query-{i}")).build()
        };
        let first = team(self.query_threads).map_err(|e| OpenError::Thread { source: io::Error::other(e) })?;
        Ok(Threads::new(first, move |threads| team(threads).ok()))
    }

    pub(crate) fn ring_limits(&self) -> RingLimits {
        RingLimits {
            lane_samples: self.lane_samples,
            common_samples: self.lane_samples,
            lanes_max: self.max_appenders,
            lane_bytes_max: LANE_BYTES_MAX,
        }
    }
}

/// The same path wherever the program goes: one that becomes a daemon leaves the folder that it was started in, and what was
/// told relative to it would be somewhere else, or nowhere. Where the system does not say which folder that is, as it was.
pub(crate) fn lasting(path: PathBuf) -> PathBuf {
    std::path::absolute(&path).unwrap_or(path)
}

/// Space that a store can be opened with after it was killed on a full disk.
struct LogReserve<'a> {
    fs: &'a dyn Fs,
    wal_dir: &'a Path,
    given_up: bool,
    /// Files that this opening removes in any case, once all was read.
    leftovers: Vec<PathBuf>,
}

impl LogReserve<'_> {
    /// Where there is no space, once more without leftovers, without the reserve, and then without what is allocated
    /// behind what the log holds, where it was read.
    fn or_without<T>(
        &mut self,
        log: Option<(&Recovered, &WalState)>,
        mut attempt: impl FnMut() -> Result<T, OpenError>,
    ) -> Result<T, OpenError> {
        let is_full = |e: &OpenError| matches!(e, OpenError::Manifest(ManifestError::NoSpace { .. }));
        let mut result = attempt();
        if result.as_ref().is_err_and(is_full) && !self.leftovers.is_empty() {
            // What the reserve was given up for may have been taken by a flush that a crash ended.
            self.leftovers.drain(..).for_each(|path| drop(self.fs.remove(&path)));
            result = attempt();
        }
        if result.as_ref().is_err_and(is_full) && give_up_reserve(self.fs, self.wal_dir) {
            self.given_up = true;
            result = attempt();
        }
        if result.as_ref().is_err_and(is_full)
            && let Some((recovered, known)) = log
            && recovered.give_back(self.fs, known)
        {
            self.given_up = true;
            result = attempt();
        }
        result
    }
}

/// Commits the new life of the log, which the first `beginning` edits are, the deletes of the log, and that it may go if
/// nothing else is in it. With `short_of_space` it keeps its deletes until the flush of what it has saves them (X5).
fn commit_life(
    manifest: &mut Manifest,
    edits: &[Edit],
    beginning: usize,
    short_of_space: bool,
) -> Result<(), ManifestError> {
    if short_of_space && edits.len() > beginning {
        return manifest.commit(&edits[..beginning]);
    }
    if matches!(edits.last(), Some(Edit::WalRelease(_))) {
        // What it takes in the manifest, it gives back of the log.
        return manifest.commit(edits);
    }
    manifest.commit_beside_reserve(edits)
}

/// An opening that died before may have left files of the log with other names, the same files.
fn finish_names(fs: &dyn Fs, wal: &Path) -> Result<(), OpenError> {
    finish_renaming(fs, wal).map_err(|source| OpenError::Io { path: wal.to_owned(), source })
}

/// What is told of an end of the log that is cut off and has sound frames in it.
fn cut_before_sound(torn: &TornTail, behind: &CutFrames, kept: bool) -> String {
    let (offset, file) = (torn.offset, torn.file.display());
    let then = if kept {
        "the files are kept in quarantine"
    } else {
        "opening with salvage (`tidegauge repair`) keeps such files in quarantine"
    };
    format!(
        "the log is cut at byte {offset} of {file}: {behind}; nobody was told that this is durable, and it is not shown. A \
         power loss leaves it so; where there was none, something has damaged what lies before; {then}"
    )
}

/// The folder's own name must survive before any segment in it can.
fn make_folder(fs: &dyn Fs, dir: &Path, segments: &Path) -> Result<(), OpenError> {
    let made = fs.create_dir_all(segments).and_then(|()| {
        // A sync that failed may have lost the name, and no later one brings it back: the next try is to make it anew.
        fs.sync_dir(dir).inspect_err(|_| drop(fs.remove_dir(segments)))
    });
    made.map_err(|source| OpenError::Io { path: segments.to_owned(), source })
}

/// Number of the next segment: of this opening, and not taken (LK7 of `lock/`).
pub(crate) fn next_segment(state: &State) -> u64 {
    state.next_segment_id.max(first_id(state.open_number))
}

/// Opens what the manifest names, in parallel, in order of acceptance.
pub(crate) fn open_segments(fs: &dyn Fs, dir: &Path, manifest: &Manifest) -> Result<Vec<Arc<Segment>>, OpenError> {
    let state = manifest.state();
    let named: Vec<&SegmentRef> = state.segments.values().collect();
    let open = |named: &&SegmentRef| open_as_named(fs, dir, named, state.store_id).map(Arc::new);
    let opened: Result<Vec<_>, ReadError> = named.par_iter().map(open).collect();
    let mut segments = opened.map_err(missing_is_damage)?;
    segments.sort_by_key(|s| order_of(s));
    Ok(segments)
}

/// The deletes that the manifest knows, and those that only the log has, by number.
pub(crate) fn known_tombstones(manifest: &Manifest, logged: &[Arc<Tombstone>]) -> Vec<Arc<Tombstone>> {
    let mut all = manifest.state().tombstones.clone();
    all.extend(logged.iter().map(|t| (t.seq, Tombstone::clone(t))));
    all.into_values().map(Arc::new).collect()
}

/// Gives horizons of all that there is the last number of it.
fn close_horizons(state: &State, through: SeqNo) -> Vec<Edit> {
    let open = state.horizons.iter().filter(|horizon| horizon.is_open());
    let close = |horizon: &Horizon| {
        let gone = Edit::HorizonRemove { before: horizon.before, through: horizon.through };
        [gone, Edit::Horizon(Horizon { through, created: clock::now().nanos(), ..*horizon })]
    };
    open.flat_map(close).collect()
}

/// Removes segments that a crash left before the manifest named them: what is in them is in
/// the log too. A file that cannot be removed is tried again at the next opening.
fn remove_leftovers(fs: &dyn Fs, dir: &Path, manifest: &Manifest) {
    leftovers(fs, dir, manifest).iter().for_each(|path| drop(fs.remove(path)));
}

fn leftovers(fs: &dyn Fs, dir: &Path, manifest: &Manifest) -> Vec<PathBuf> {
    let is_leftover = |name: &String| {
        let unnamed = id_of(name).is_some_and(|id| !manifest.state().segments.contains_key(&id));
        unnamed || name.ends_with(".seg.tmp")
    };
    fs.list(dir).unwrap_or_default().iter().filter(|name| is_leftover(name)).map(|name| dir.join(name)).collect()
}

/// The directory could not be made or written to.
pub(crate) fn refused(path: &Path, source: io::Error) -> OpenError {
    match source.kind() {
        io::ErrorKind::AlreadyExists | io::ErrorKind::NotADirectory => OpenError::NotADirectory(path.to_owned()),
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            OpenError::NotPermitted { dir: path.to_owned(), source }
        }
        _ => OpenError::Io { path: path.to_owned(), source },
    }
}

#[cfg(test)]
mod tests {
    use tidegauge_storage::fs::sim::SimFs;
    use tidegauge_storage::model::{Matcher, TimeRange, Timestamp};
    use tidegauge_storage::wal::{Epoch, FrameNo, WalLife};

    use super::*;

    /// What else begins with a new life was left out where space was short, horizons among it: a store of an earlier release
    /// went on with those of all numbers, which hid what came then.
    #[test]
    fn without_space_all_that_begins_a_life_is_committed_and_no_delete() {
        let fs = Arc::new(SimFs::new()) as Arc<dyn Fs>;
        fs.create_dir_all(Path::new("d")).unwrap();
        for short in [true, false] {
            let mut manifest = Manifest::read_to_open(Arc::clone(&fs), Path::new("d")).unwrap();
            manifest.begin().unwrap();
            let first_frame = FrameNo(manifest.state().wal.next_frame.0 + 1);
            let live_epoch = Epoch::new(manifest.state().open_number, 0);
            let life = WalLife { live_epoch, first_frame, synced_through: FrameNo(0), ends: Default::default() };
            let horizon = |through| Horizon { before: Timestamp::from_nanos(7), through, created: 0 };
            let open = horizon(SeqNo(u64::MAX));
            if manifest.state().horizons.iter().next().is_none() {
                manifest.commit(&[Edit::Horizon(open)]).unwrap();
            }
            let mut edits = vec![Edit::WalLife(life)];
            edits.extend(close_horizons(manifest.state(), SeqNo(9)));
            let (beginning, seq) = (edits.len(), SeqNo(5));
            let matchers = vec![Matcher::equal("a", "b")];
            edits.push(Edit::TombstoneAdd(Tombstone { seq, matchers, range: TimeRange::ALL, created: 0 }));
            commit_life(&mut manifest, &edits, beginning, short).unwrap();
            assert!(manifest.state().horizons.iter().all(|horizon| !horizon.is_open()));
            assert_eq!(manifest.state().tombstones.is_empty(), short);
        }
    }
}
