//! Reading beside the owner (P10): no lock, no write.
//!
//! - FW1: Manifest, segments, log up to the first frame that does not chain, then the manifest again. Whatever that one
//!   still needs of the log was not touched before. So where it needs the frame that did not chain, that frame was not
//!   there, and the look is whole, wherever the owner has flushed and compacted meanwhile: the segments stay open, and
//!   what the log has let go of since was read.
//! - FW2: So what is shown is a prefix of the owner's order that holds all that was flushed, and all that had left
//!   the owner's process, when reading began.
//! - FW3: A refresh replays into a memtable of its own. Who reads the version before keeps what he reads.
//! - FW4: Damage of the log is told: a part is never shown as all. Why what the owner does meanwhile is not taken for
//!   damage: `docs/concurrency.md`, "Reading beside the owner".
//! - FW5: It ends, however fast the owner is. Where the second manifest has let go of the frame that did not chain, the
//!   look begins anew with it; so each time the first file that is needed is a later one. Once none is needed of those
//!   that were there when the look began, segments hold all that was there then, and any part of the log behind them is a
//!   prefix that may be shown.
//! - FW6: A panic in a refresh poisons the reader: between two registries, or half through one, nobody knows which series
//!   there are. What was shown can be read; another refresh is refused, and so is a label set that is new where the panic
//!   came between two registries. Elsewhere that is still known afterwards, as it is before the owner knows it.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use rayon::prelude::*;
use tidegauge_query::Threads;
use tidegauge_storage::fs::Fs;
use tidegauge_storage::manifest::{Manifest, SegmentRef};
use tidegauge_storage::segment::Segment;
use tidegauge_storage::source::ReadError;
use tidegauge_storage::wal::{Damage, Epoch, FrameNo, RecoverMode, Recovered, WalError, WalState};

use crate::audit::AuditLog;
use crate::commit::{Durable, Visible, Watermark};
use crate::compact::Graveyard;
use crate::core::{Core, CoreParts};
use crate::engine::Engine;
use crate::error::OpenError;
use crate::evict::{IdleLimits, IdleSince, Past, evict_here};
use crate::flush::FlushQueue;
use crate::gate::Shut;
use crate::ingest::Applier;
use crate::life::{Held, Life, message};
use crate::memtable::Memtable;
use crate::open::known_tombstones;
use crate::options::Builder;
use crate::recovery::{OnProgress, OpenStep, RecoveryReport, Step, later_file, missing_is_damage, open_as_named};
use crate::registry::Registry;
use crate::replay::{Replayed, Replayer, flushed_before};
use crate::retention::Kept;
use crate::ring::{RingLimits, Rings};
use crate::snapshot::Reads;
use crate::sync::Mutex;
use crate::sync::atomic::AtomicBool;
use crate::version::{Version, Versions, hiding, order_of};

/// Readings of one look at most. Each but the last one is behind a flush that let go of a file that was there when the look
/// began, of which there are some ten (FW5), or behind another owner, or behind a compaction that removed a segment
/// between two lines.
const ROUNDS_MAX: u32 = 64;

/// What a reader beside the owner needs to look again.
pub(crate) struct Follower {
    fs: Arc<dyn Fs>,
    dir: PathBuf,
    registry: Arc<Registry>,
    /// Between two looks.
    applier: Option<Applier>,
    /// Who hears how far the first look is.
    progress: OnProgress,
    /// When series leave memory, and what was current when.
    idle: Option<IdleLimits>,
    past: Past,
}

/// What one look found.
struct Found {
    manifest: Manifest,
    version: Version,
    next_seq: u64,
    report: RecoveryReport,
}

impl Builder {
    pub(crate) fn open_read_only(self, fs: &Arc<dyn Fs>, dir: &Path) -> Result<Engine, OpenError> {
        let teams = self.teams()?;
        let registry =
            Arc::new(Registry::new(self.max_series, self.label_limits).with_label_bytes(self.max_label_bytes));
        let fs_of = || Arc::clone(fs);
        let mut follower = Follower {
            fs: fs_of(),
            dir: dir.to_owned(),
            registry,
            applier: None,
            progress: self.progress.clone(),
            idle: self.idle_limits(),
            past: Past::default(),
        };
        let found = follower.look(&teams, &[])?;
        follower.progress = OnProgress::default();
        let (rings, _) = Rings::new(RingLimits { lane_samples: 2, common_samples: 2, ..self.ring_limits() });
        let common = rings.common();
        let core = Arc::new(Core::new(CoreParts {
            rings,
            watermark: Watermark::new(Visible { commit: 1, seq: found.next_seq }),
            durable: Durable::new(0),
            versions: Versions::new(found.version),
            kept: Kept::new(found.manifest.state()),
            durability: self.durability,
            max_ahead: self.max_ahead,
            query_memory_bytes: self.query_memory_bytes,
        }));
        core.gate.shut(Shut::ReadOnly);
        core.requests.close();
        let graveyard = Arc::new(Graveyard::new(fs_of()));
        let reads = Arc::new(Reads { core: Arc::clone(&core), graveyard, threads: teams });
        Ok(Engine::from_life(Life {
            core,
            common,
            dir: self.dir,
            outlives: true,
            replayed_below: 0,
            begins_at: Default::default(),
            fs: fs_of(),
            root: dir.to_owned(),
            manifest: Arc::new(Mutex::new(found.manifest)),
            audit: AuditLog::new(fs_of(), dir),
            report: found.report,
            told: AtomicBool::new(false),
            follower: Some(Mutex::new(follower)),
            log_files: None,
            sync: None,
            flushes: Arc::new(FlushQueue::default()),
            reads,
            held: Mutex::new(Held::default()),
        }))
    }
}

impl Life {
    pub(crate) fn refresh(&self) -> Result<(), OpenError> {
        let Some(follower) = &self.follower else { return Ok(()) };
        // Before anything is locked.
        if let Some(poisoned) = self.core.gate.poisoned() {
            return Err(poisoned.into());
        }
        let mut follower = follower.lock().expect("a panic is caught before it gets here");
        // By who had it locked.
        if let Some(poisoned) = self.core.gate.poisoned() {
            return Err(poisoned.into());
        }
        // As in a thread of an engine that writes: who waits for what it was about must learn of it (FW6), and who refreshes
        // next the cause.
        let refreshed = catch_unwind(AssertUnwindSafe(|| self.refresh_now(&mut follower))).map_err(|panic| {
            let cause = format!("a refresh panicked: {}", message(&*panic));
            self.core.note_poison(&*cause);
            cause
        });
        drop(follower);
        refreshed.unwrap_or_else(|cause| {
            self.core.poison(cause);
            Err(self.core.gate.poisoned().expect("just now").into())
        })
    }

    fn refresh_now(&self, follower: &mut Follower) -> Result<(), OpenError> {
        let core = &self.core;
        let found = follower.look(&self.reads.threads, &core.versions.load().segments)?;
        let state = found.manifest.state();
        core.kept.changed(state.retention.clone());
        *self.manifest.lock().expect("manifest lock") = found.manifest;
        let mut version = Some(found.version);
        core.versions.change(|_| version.take().expect("changed once"));
        // Everything replayed is of commit 1, so whoever comes between the two finds all of it.
        let commit = core.watermark.commit() + 1;
        core.watermark.publish(Visible { commit, seq: found.next_seq });
        follower.evict(core, Instant::now());
        Ok(())
    }
}

impl Follower {
    /// What has been idle for long leaves memory, as with the owner. Here nothing is on its way, and nobody else appends.
    fn evict(&mut self, core: &Core, now: Instant) {
        let (Some(limits), Some(applier)) = (self.idle, &mut self.applier) else { return };
        self.past.note(now, IdleSince { seq: core.watermark.seq(), look: core.heads.next_look() });
        if let Some(since) = self.past.before(now, limits.after) {
            evict_here(core, since, limits.enough(&self.registry), |slot| applier.forget(slot));
            self.registry = core.registry();
        }
    }

    /// Reads until what was read is whole (FW1, FW5). `known` segments are not opened again.
    fn look(&mut self, teams: &Threads, known: &[Arc<Segment>]) -> Result<Found, OpenError> {
        let (mut known, mut begun) = (known.to_vec(), None);
        for _ in 0..ROUNDS_MAX {
            if let Some(found) = self.look_once(teams, &mut known, &mut begun)? {
                return Ok(found);
            }
        }
        Err(OpenError::Overtaken { dir: self.dir.clone(), tries: ROUNDS_MAX })
    }

    /// `begun`: the last file of the log that was there when the look began, once that is known. `None` if the owner has
    /// let go of what is missing.
    fn look_once(
        &mut self,
        teams: &Threads,
        known: &mut Vec<Arc<Segment>>,
        begun: &mut Option<Epoch>,
    ) -> Result<Option<Found>, OpenError> {
        let manifest = Manifest::open_read_only(Arc::clone(&self.fs), &self.dir)?;
        let segments = match teams.install(|| self.open_segments(&manifest, known)) {
            Err(ReadError::Io { source, .. })
                if source.kind() == io::ErrorKind::NotFound && !manifest.is_current()? =>
            {
                return Ok(None);
            }
            other => other.map_err(missing_is_damage)?,
        };
        known.clone_from(&segments);
        let state = manifest.state();
        let first_seq = flushed_before(state);
        let mut replayer = match self.applier.take() {
            None => Replayer::new(&self.registry, first_seq),
            Some(applier) => Replayer::again(&self.registry, applier, first_seq),
        };
        replayer.seal_at(state.tombstones.keys().copied().chain(state.horizons.iter().map(|horizon| horizon.through)));
        let wal = self.dir.join("wal");
        let step = Step::new(&self.progress, OpenStep::ReplayLog);
        let recovered = replayer.recover(&*self.fs, &wal, state.store_id, &state.wal, RecoverMode::Follow, &step);
        let next_seq = recovered.as_ref().map_or(0, |r| r.next_seq.max(state.next_seq).0);
        let Replayed { applier, sealed, tombstones } = replayer.finish(next_seq.max(first_seq));
        let active: Arc<Memtable> = Arc::clone(applier.active());
        self.applier = Some(applier);
        let later = later_file(&*self.fs, &self.dir, state)?;
        let now = Manifest::open_read_only(Arc::clone(&self.fs), &self.dir)?;
        if !now.is_of_opening(&manifest) {
            return Ok(None);
        }
        if let Some(path) = later {
            return Err(OpenError::LaterFile { path });
        }
        let recovered = match recovered {
            // Files of a log that moved on may be gone, or be others by now.
            Err(_) if !manifest.is_current()? => return Ok(None),
            other => other?,
        };
        let last = recovered.ends.keys().next_back().copied().unwrap_or_default();
        // Known from an earlier reading: of a file that came and went within this one the folder may tell nothing.
        let all_is_flushed = begun.is_some_and(|begun| state.wal.oldest_epoch > begun);
        begun.get_or_insert(last);
        match end_of_look(&state.wal, &recovered, &now.state().wal) {
            End::Whole => {}
            End::Overtaken if all_is_flushed => {}
            End::Overtaken => return Ok(None),
            // What lies behind was durable: to show the rest as if it were all would be a lie (FW4).
            End::Damage(damage) => return Err(WalError::from(damage.clone()).into()),
        }
        let report = RecoveryReport { samples: recovered.samples, ..RecoveryReport::default() };
        let tombstones = known_tombstones(&manifest, &tombstones);
        let (horizons, registry) = (hiding(&manifest.state().horizons), Arc::clone(&self.registry));
        let (unmapped_below, forgotten) = (0, Arc::default());
        let version = Version { segments, sealed, unmapped_below, active, tombstones, horizons, forgotten, registry };
        Ok(Some(Found { manifest, version, next_seq, report }))
    }

    fn open_segments(&self, manifest: &Manifest, known: &[Arc<Segment>]) -> Result<Vec<Arc<Segment>>, ReadError> {
        let folder = self.dir.join("segments");
        let state = manifest.state();
        let named: Vec<&SegmentRef> = state.segments.values().collect();
        let open = |named: &SegmentRef| match known.iter().find(|segment| segment.info().id == named.id) {
            Some(segment) => Ok(Arc::clone(segment)),
            None => open_as_named(&*self.fs, &folder, named, state.store_id).map(Arc::new),
        };
        let mut segments = named.into_par_iter().map(open).collect::<Result<Vec<_>, _>>()?;
        segments.sort_by_key(|segment| order_of(segment));
        Ok(segments)
    }
}

/// What the end of a reading of the log means.
enum End<'a> {
    /// The next frame was not there.
    Whole,
    /// It may have been there: the owner has let go of it.
    Overtaken,
    /// It was durable, is needed, and is not there.
    Damage(&'a Damage),
}

/// `first` is what the manifest said before the log was read, `now` what it said behind that, in the same opening.
fn end_of_look<'a>(first: &WalState, recovered: &'a Recovered, now: &WalState) -> End<'a> {
    let Some(damage) = &recovered.damage else {
        let missing = FrameNo(recovered.last_frame.0 + 1).max(first.next_frame);
        return if now.next_frame <= missing { End::Whole } else { End::Overtaken };
    };
    let file = damage.file.file_name().and_then(|name| Epoch::from_file_name(name.to_str()?));
    let is_gone = match file.filter(|epoch| first.ends.contains_key(epoch)) {
        Some(of_earlier_opening) => of_earlier_opening < now.oldest_epoch,
        None => damage.frame < now.next_frame,
    };
    if is_gone { End::Overtaken } else { End::Damage(damage) }
}

#[cfg(all(test, not(loom)))]
mod tests;
