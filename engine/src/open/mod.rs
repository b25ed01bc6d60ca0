//! Opening a store to write: lock, manifest and segments, what the log holds, the life that begins, threads.

mod assemble;
mod begin;
mod log;
mod reserve;
mod store;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rayon::ThreadPoolBuilder;
use tidegauge_query::Threads;
use tidegauge_storage::fs::{Fs, MemFs, OsFs};
use tidegauge_storage::manifest::Manifest;

use self::assemble::Parts;
use self::begin::Begun;
use self::log::Logged;
use self::reserve::LogReserve;
use self::store::{Place, Store};
use crate::audit::AuditLog;
use crate::engine::Engine;
use crate::error::OpenError;
use crate::lock::DirLock;
use crate::options::Builder;
use crate::recovery::Recovery;
use crate::registry::Registry;
use crate::ring::RingLimits;
use crate::sync::Process;

pub(crate) use self::begin::known_tombstones;
pub(crate) use self::store::next_segment;

/// Where an engine in memory keeps its files.
const MEMORY_DIR: &str = "memory";
/// All lanes together.
const LANE_BYTES_MAX: usize = 1 << 30;

impl Builder {
    /// Opens the engine.
    ///
    /// # Errors
    /// [`OpenError`] says why and what to do; no sample, segment or log was changed, unless it says so. With
    /// [`Recovery::Salvage`] files may have been set aside by then, the manifest made anew, and some of the segments saved:
    /// each of that has its line in `audit.log`, if it could be written, and to salvage again goes on from there.
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
        let lock = self.lock(&*fs)?;
        let teams = self.teams()?;
        let audit = AuditLog::new(Arc::clone(&fs), &dir);
        let audit = if self.dir.is_some() { audit.beside_others() } else { audit };
        let place = Place::new(fs, dir);
        let mut reserve = LogReserve::new(&place);
        let mut store = match self.recovery {
            Recovery::Strict => Store::read(&place, &teams)?,
            Recovery::Salvage => Store::salvage(&place, &teams, &self.progress, lock.as_ref(), &mut reserve, &audit)?,
        };
        let audit = audit.beside_manifest(&store.manifest);
        if let Some(lock) = &lock {
            store.manifest.owned_while(lock.name());
        }
        let registry =
            Arc::new(Registry::new(self.max_series, self.label_limits).with_label_bytes(self.max_label_bytes));
        let mut logged = Logged::read(&place, &registry, store.manifest.state(), self.recovery, &self.progress)?;
        if self.recovery == Recovery::Strict {
            let alone = lock.as_ref().map(DirLock::alone).transpose()?;
            store.begin(&mut reserve, &logged.recovered)?;
            drop(alone);
            store.make_folder(&place)?;
        }
        // Not before all was read: where the manifest or the log is damaged, what is unnamed may be all there is.
        store.remove_leftovers(&place);
        let report = logged.tell(&place, &mut store, &audit)?;
        logged.recovered.secure(&*place.fs)?;
        let log_is_whole = logged.is_whole;
        let begun = Begun::of(logged, &mut store.manifest, &place, reserve)?;
        let parts = Parts { place, lock, teams, registry, store, begun, audit, report };
        let engine = self.assemble(parts)?;
        if !log_is_whole {
            // Once what was saved is in segments, nobody needs the damaged log any more.
            engine.flush().map_err(|why| OpenError::NotSettled { why })?;
        }
        Ok(engine)
    }

    /// Takes the folder of the store for this process, and makes it where there is none.
    fn lock(&self, fs: &dyn Fs) -> Result<Option<DirLock>, OpenError> {
        let Some(dir) = &self.dir else { return Ok(None) };
        // Before the lock's file is in it: see there.
        if fs.list(dir).is_err_and(|e| e.kind() == io::ErrorKind::NotFound) {
            Manifest::make_folder(fs, dir)?;
        }
        DirLock::take(dir, self.address.as_deref(), self.heartbeat, self.durability.logs()).map(Some)
    }

    pub(crate) fn teams(&self) -> Result<Threads, OpenError> {
        let team = |threads| {
            ThreadPoolBuilder::new().num_threads(threads).thread_name(|i| format!("tidegauge-query-{i}")).build()
        };
        let first = team(self.query_threads).map_err(|e| OpenError::Thread { source: io::Error::other(e) })?;
        Ok(Threads::told_by(first, move |threads| team(threads).ok(), Process::number))
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
