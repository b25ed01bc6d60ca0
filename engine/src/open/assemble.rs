//! Everything that was found and began, put together: an engine whose threads run.

use std::sync::Arc;

use tidegauge_query::Threads;
use tidegauge_storage::manifest::Manifest;
use tidegauge_storage::model::SeqNo;
use tidegauge_storage::wal::{WalWriter, WriterOptions, leave_reserve};

use super::begin::{Begun, known_tombstones};
use super::store::{Place, Store, free_segment};
use crate::audit::AuditLog;
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
use crate::recovery::RecoveryReport;
use crate::registry::Registry;
use crate::replay::Replayed;
use crate::retention::Kept;
use crate::ring::Rings;
use crate::snapshot::Reads;
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use crate::version::{Version, Versions, hiding};

/// The log between two flushes, in files of at least four and at most 64 MiB.
const WAL_FILES: u64 = 8;
const WAL_FILE_BYTES_MIN: u64 = 4 << 20;
/// Files kept for reuse: an idle store holds little disk, a busy one allocates seldom.
const WAL_SPARES: usize = 2;

/// What an opening has come to.
pub(super) struct Parts {
    pub(super) place: Place,
    pub(super) lock: Option<DirLock>,
    pub(super) teams: Threads,
    pub(super) registry: Arc<Registry>,
    pub(super) store: Store,
    pub(super) begun: Begun,
    pub(super) audit: AuditLog,
    pub(super) report: RecoveryReport,
}

impl Builder {
    pub(super) fn assemble(self, parts: Parts) -> Result<Engine, OpenError> {
        let Parts { place, lock, teams, registry, store, begun, audit, report } = parts;
        let Store { mut manifest, segments, .. } = store;
        let log = self.log(&place, &manifest, &begun)?;
        let Begun { replayed: Replayed { applier, sealed, tombstones }, released, seq, recovered, .. } = begun;
        let visible = Visible { commit: 1, seq };
        let replayed_below = applier.active().generation;
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
                active: Arc::clone(applier.active()),
                tombstones: known_tombstones(&manifest, &tombstones),
                horizons: hiding(&manifest.state().horizons),
                forgotten: Arc::default(),
                registry,
            }),
            kept: Kept::new(manifest.state()),
            durability: self.durability,
            max_ahead: self.max_ahead,
            query_memory_bytes: self.query_memory_bytes,
        }));
        core.counters.recovered.store(recovered, Ordering::Relaxed);
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
        let (store_id, opening) = (manifest.state().store_id, manifest.state().open_number);
        let next_segment = Arc::new(AtomicU64::new(free_segment(&*place.fs, &place.segments, manifest.state())));
        let graveyard = Arc::new(Graveyard::new(Arc::clone(&place.fs)));
        let manifest = Arc::new(Mutex::new(manifest));
        let lock_name = lock.as_ref().map(DirLock::name);
        let log = log.map(|log| (log, Arc::new(SyncThread::new(Arc::clone(&manifest), self.pace, lock_name))));
        let sync = log.as_ref().map(|(_, sync)| Arc::clone(sync));
        let compactor = Compactor::new(CompactorParts {
            core: Arc::clone(&core),
            fs: Arc::clone(&place.fs),
            dir: place.segments.clone(),
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
            fs: Arc::clone(&place.fs),
            dir: place.segments,
            manifest: Arc::clone(&manifest),
            store_id,
            opening,
            next_segment,
            pace: self.pace,
        });
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
        Ok(Engine::from_life(Life {
            core: Arc::clone(&core),
            common,
            outlives: self.dir.is_some() || self.fs.is_some(),
            replayed_below,
            begins_at: SeqNo(seq),
            dir: self.dir,
            log_files: Some((Arc::clone(&place.fs), place.wal)),
            fs: place.fs,
            root: place.root,
            manifest,
            audit,
            report,
            told: AtomicBool::new(false),
            follower: None,
            sync,
            flushes,
            reads: Arc::new(Reads { core, graveyard, threads: teams }),
            held: Mutex::new(held),
        }))
    }

    /// The log that this opening writes, if it writes one.
    fn log(&self, place: &Place, manifest: &Manifest, begun: &Begun) -> Result<Option<Log>, OpenError> {
        let state = manifest.state();
        if !self.durability.logs() {
            if self.dir.is_some() {
                // Nobody else takes one, and it may just have been given up.
                leave_reserve(&*place.fs, &place.wal, state.open_number, manifest.bytes_to_open());
            }
            return Ok(None);
        }
        let mut options = WriterOptions::new(state.store_id, state.open_number, begun.released.next_frame);
        let file_bytes = (self.wal_bytes / WAL_FILES).clamp(WAL_FILE_BYTES_MIN, WriterOptions::FILE_BYTES);
        options.file_bytes = self.wal_file_bytes.unwrap_or(file_bytes);
        options.spare_files = WAL_SPARES;
        options.reserve_at_once = begun.reserve_given_up;
        let writer = WalWriter::open(Arc::clone(&place.fs), place.wal.clone(), state.wal.oldest_epoch, options)?;
        Ok(Some(Log::new(writer, self.durability, begun.replayed.applier.active().generation)))
    }
}
