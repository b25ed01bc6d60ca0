//! What administrators do to a store that no engine has, on a disk that loses power: a restore, a copy that is moved, a
//! salvage of each kind of damage, a forced unlock.
//!
//! - Once it has answered, a power loss takes nothing of what it did.
//! - Before that, the store is as it was, or as it will be, or the same done again makes it so. No file that was damaged
//!   is ever gone, and no copy that is not whole passes for a store.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tidegauge::{Durability, Engine, Level, OpenError, Recovery, SeriesSample, Timestamp};
use tidegauge_storage::fs::Fs;
use tidegauge_storage::fs::sim::{SimFs, SyncSite};
use tidegauge_storage::manifest::ManifestError;

use crate::oracle::Found;
use crate::run::{BASE, Stopped, stopped};
use crate::store;
use crate::syncs::{Judge, Workload};

/// Where a store on a simulated disk is.
const STORE: &str = "memory";
const MANIFEST: &str = "memory/MANIFEST";
const SEGMENTS: &str = "memory/segments";
const WAL: &str = "memory/wal";
/// Where one is restored to: below folders that have to be made.
const RESTORED: &str = "far/away/new";
/// Choices at each step: there are few steps, and some windows between two of them are narrow.
const CHOICES: u64 = 16;
/// A segment's header; the first column lies behind it.
const SEGMENT_HEADER: u64 = 72;
/// The file header of a log.
const WAL_HEADER: usize = 4096;

/// All of them.
///
/// # Errors
/// [`Stopped`]: on a sound disk nothing is refused.
pub fn workloads(site: fn() -> SyncSite) -> Result<Vec<Workload>, Stopped> {
    let mut all = vec![restore(site, killed(true)?)?, restore(site, unsaid()?)?, moved(site)?, unlock(site)?];
    for damage in DAMAGES {
        all.push(salvage(site, damage)?);
    }
    Ok(all)
}

/// Two batches in a segment, if there is one, and four in the log; killed, and all of it is on the disk.
fn killed(has_segment: bool) -> Result<SimFs, Stopped> {
    let fs = SimFs::new();
    let engine = store::open(&fs, Durability::Sync).map_err(|e| stopped("opening", e))?;
    if has_segment {
        (0..2).try_for_each(|round| push(&engine, round))?;
        engine.flush().map_err(|e| stopped("a flush", e))?;
    }
    (2..6).try_for_each(|round| push(&engine, round))?;
    let left = fs.kill();
    let _next = fs.next_process();
    let _ = engine.close();
    settle(&left)?;
    Ok(left)
}

/// One batch in a log of which the manifest was told nothing yet.
fn unsaid() -> Result<SimFs, Stopped> {
    let fs = SimFs::new();
    let never = Durability::Interval(Duration::from_secs(3600));
    let engine = store::open(&fs, never).map_err(|e| stopped("opening", e))?;
    let ack = engine.push(store::series(&engine, 0, 0), Timestamp::from_nanos(BASE), 1.0);
    let ack = ack.map_err(|e| stopped("a push", e))?;
    engine.wait(ack, Level::Visible, store::SOON).map_err(|e| stopped("a wait", e))?;
    let left = fs.kill();
    let _next = fs.next_process();
    let _ = engine.close();
    settle(&left)?;
    Ok(left)
}

/// A batch for each of two series, durable on return.
fn push(engine: &Engine, round: i64) -> Result<(), Stopped> {
    let mut samples = Vec::new();
    for n in 0..2 {
        let series = store::series(engine, 0, n);
        let at = |i: i64| Timestamp::from_nanos(BASE + (round * 40 + i) * 1000 + i64::from(n));
        samples.extend((0..40).map(|i| SeriesSample::new(series, at(i), ((round * 40 + i) as f64).sqrt())));
    }
    let ack = engine.push_batch(&samples).map_err(|e| stopped("a push", e))?;
    engine.wait(ack, Level::Durable, store::SOON).map(drop).map_err(|e| stopped("a wait", e))
}

/// Puts all that is there on the disk, not only in its cache.
pub(crate) fn settle(fs: &SimFs) -> Result<(), Stopped> {
    let refused = |e| stopped("a sync", e);
    for (path, _) in fs.files() {
        fs.open(&path).and_then(|file| file.sync_data()).map_err(refused)?;
        path.ancestors().skip(1).try_for_each(|folder| fs.sync_dir(folder)).map_err(refused)?;
    }
    Ok(())
}

/// Records what is done to a disk from now on, and who asks for its syncs.
fn watch(fs: &SimFs, site: fn() -> SyncSite) {
    fs.record();
    fs.on_sync(Arc::new(site));
}

/// A workload on a disk that was watched. `judge` sees what a power loss left, and how many steps were taken.
fn workload(name: &str, fs: &SimFs, judge: impl Fn(&SimFs, u64) -> Result<(), String> + 'static) -> Workload {
    let judge: Judge = Box::new(move |timeline, choose, _| judge(&timeline.power_loss(choose), timeline.at()));
    Workload { name: name.to_owned(), timeline: fs.timeline(), choices: CHOICES, alone: true, judge }
}

/// Everything in the store of an engine, which is killed for it.
fn read(fs: &SimFs, engine: Engine) -> Result<Found, String> {
    let read = store::read(&engine, 1);
    let _next = fs.next_process();
    let _ = engine.close();
    read.map(|read| read.found)
}

fn read_strictly(fs: &SimFs, dir: &Path) -> Result<Result<Found, String>, OpenError> {
    let builder = store::builder(fs, Durability::Sync);
    let engine = tidegauge::internals::open_at(builder, dir)?;
    Ok(read(fs, engine))
}

fn salvaged(fs: &SimFs) -> Result<Engine, OpenError> {
    store::builder(fs, Durability::Sync).recovery(Recovery::Salvage).open()
}

fn has_line(fs: &SimFs, dir: &Path, act: &str) -> Result<(), String> {
    let text = fs.map(&dir.join("audit.log")).map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    let noted = text.unwrap_or_default().contains(&format!("\"act\":\"{act}\""));
    if noted { Ok(()) } else { Err(format!("{} was answered, and the audit log has no line of it", act)) }
}

/// A killed store, its log taken along, into folders that have to be made.
fn restore(site: fn() -> SyncSite, fs: SimFs) -> Result<Workload, Stopped> {
    let twin = read_strictly(&fs.kill(), Path::new(STORE)).map_err(|e| stopped("opening", e))?.map_err(Stopped)?;
    let (from, to) = (Path::new(STORE), Path::new(RESTORED));
    watch(&fs, site);
    let disk: Arc<dyn Fs> = Arc::new(fs.clone());
    tidegauge::internals::restore_on(&disk, from, to).map_err(|e| stopped("a restore", e))?;
    let done = fs.steps();
    let judge = move |left: &SimFs, step: u64| {
        let done = step >= done;
        // Opening where nothing is would begin a store.
        if !done && left.map(&to.join("MANIFEST")).is_err() {
            return Ok(());
        }
        if done {
            has_line(left, to, "restore")?;
        }
        match read_strictly(left, to) {
            Err(_) if !done => Ok(()),
            Err(e) => Err(format!("what was restored does not open: {e}")),
            Ok(found) if found.as_ref() == Ok(&twin) => Ok(()),
            Ok(_) => Err("what was restored is not what was there".to_owned()),
        }
    };
    Ok(workload("restore", &fs, judge))
}

/// A finished copy that is given a place below folders that have to be made: at any time it is whole, in one of the two.
fn moved(site: fn() -> SyncSite) -> Result<Workload, Stopped> {
    let (made, target) = (Path::new("memory/snapshots/one"), Path::new(RESTORED));
    let refused = |e| stopped("a backup", e);
    let fs = killed(true)?;
    fs.create_dir_all(Path::new("memory/snapshots")).map_err(|e| stopped("a folder", e))?;
    let engine = store::open(&fs, Durability::Sync).map_err(|e| stopped("opening", e))?;
    tidegauge::internals::backup_on(&engine, made).map_err(refused)?;
    let left = fs.kill();
    read(&fs, engine).map_err(Stopped)?;
    let fs = left;
    settle(&fs)?;
    let twin = read_strictly(&fs.kill(), made).map_err(|e| stopped("opening", e))?.map_err(Stopped)?;
    watch(&fs, site);
    let disk: Arc<dyn Fs> = Arc::new(fs.clone());
    let copied = tidegauge::internals::bring_on(&disk, made, target).map_err(refused)?;
    if copied.is_some() {
        return Err(Stopped("a copy was copied that could be moved".to_owned()));
    }
    let done = fs.steps();
    let judge = move |left: &SimFs, step: u64| {
        let is_there = |dir: &Path| left.map(&dir.join("MANIFEST")).is_ok();
        match (is_there(made), is_there(target)) {
            (false, false) => return Err("the copy is gone".to_owned()),
            (_, false) | (true, _) if step >= done => return Err("the copy was moved, and is back".to_owned()),
            _ => {}
        }
        for dir in [made, target].into_iter().filter(|dir| is_there(dir)) {
            let found = read_strictly(&left.kill(), dir).map_err(|e| format!("the copy does not open: {e}"))?;
            if found? != twin {
                return Err("the copy is not what was there".to_owned());
            }
        }
        Ok(())
    };
    Ok(workload("a copy that is moved", &fs, judge))
}

/// The lock of a machine that is gone.
fn unlock(site: fn() -> SyncSite) -> Result<Workload, Stopped> {
    const LOCK: &[u8] = b"pid=17\nhost=gone.example\n";
    let fs = killed(true)?;
    let (dir, lock) = (Path::new(STORE), Path::new("memory/LOCK"));
    put(&fs, lock, LOCK)?;
    settle(&fs)?;
    watch(&fs, site);
    let disk: Arc<dyn Fs> = Arc::new(fs.clone());
    let refused = |e| stopped("an unlock", e);
    let aside = tidegauge::internals::set_lock_aside_on(&*disk, dir).map_err(refused)?;
    let set_aside = fs.steps();
    tidegauge::internals::note_unlock_on(disk, dir, &aside).map_err(refused)?;
    let noted = fs.steps();
    let judge = move |left: &SimFs, step: u64| {
        let is_there = |path: &Path| left.map(path).is_ok_and(|bytes| bytes[..] == *LOCK);
        if !is_there(lock) && !is_there(&aside) {
            return Err("the lock file is gone".to_owned());
        }
        // Whether it can be noted or not: on a full disk it cannot.
        if step >= set_aside && (is_there(lock) || !is_there(&aside)) {
            return Err("the lock was set aside, and is back".to_owned());
        }
        if step >= noted { has_line(left, dir, "unlock") } else { Ok(()) }
    };
    Ok(workload("unlock", &fs, judge))
}

fn put(fs: &SimFs, path: &Path, bytes: &[u8]) -> Result<(), Stopped> {
    let refused = |e| stopped("a write", e);
    path.parent().map_or(Ok(()), |folder| fs.create_dir_all(folder)).map_err(refused)?;
    fs.create(path).and_then(|file| file.write_all_at(0, bytes)).map_err(refused)
}

/// Puts something into a store that another disk has, as it was before.
type PutBack = fn(&SimFs, &SimFs) -> Result<(), Stopped>;

/// One way to damage a store.
struct Damage {
    what: &'static str,
    /// Whether anything was flushed before.
    has_segment: bool,
    /// Done to a store that lies on the disk; what it changes lies there, too.
    damage: fn(&SimFs) -> Result<(), Stopped>,
    /// Done behind that, and not synced: as who puts something back by hand leaves it.
    by_hand: Option<PutBack>,
    /// Whether the line of the audit log can be written.
    is_noted: bool,
}

impl Damage {
    const fn new(what: &'static str, damage: fn(&SimFs) -> Result<(), Stopped>) -> Self {
        Self { what, has_segment: true, damage, by_hand: None, is_noted: true }
    }
}

const DAMAGES: [Damage; 11] = [
    Damage::new("a column of a segment", |fs| flip(fs, &last(fs, SEGMENTS)?, SEGMENT_HEADER + 9)),
    Damage::new("the end of a segment", |fs| {
        let path = last(fs, SEGMENTS)?;
        let len = fs.map(&path).map_err(|e| stopped("a read", e))?.len();
        flip(fs, &path, len as u64 - 9)
    }),
    Damage::new("a frame of the log", |fs| flip_frame(fs, 1)),
    Damage::new("the last frame of the log", |fs| flip_frame(fs, 0)),
    Damage::new("the manifest", |fs| flip(fs, Path::new(MANIFEST), 70)),
    // Nothing else needs the folder's names before the new manifest takes its own.
    Damage {
        has_segment: false,
        ..Damage::new("the manifest of a store without segments", |fs| flip(fs, Path::new(MANIFEST), 70))
    },
    Damage {
        by_hand: Some(put_segment_back),
        ..Damage::new("no manifest, and segments that were put back by hand", without_segments)
    },
    // Else the line makes the folder's name durable.
    Damage {
        by_hand: Some(put_segment_back),
        is_noted: false,
        ..Damage::new("no manifest, segments that were put back by hand, and no line", without_segments)
    },
    Damage {
        by_hand: Some(|fs, before| {
            let path = last(before, WAL)?;
            put(fs, &path, &before.map(&path).map_err(|e| stopped("a read", e))?)
        }),
        ..Damage::new("no manifest, and a log that was put back by hand", |fs| {
            let removed = fs.remove(Path::new(MANIFEST)).and_then(|()| fs.remove(&last(fs, WAL).map_err(other)?));
            removed.map_err(|e| stopped("a removal", e))
        })
    },
    Damage::new("a segment that nobody names", |fs| {
        put(fs, Path::new("memory/segments/0000000100000077.seg"), b"not yet named")
    }),
    Damage::new("a stranger among the log's files", |fs| {
        put(fs, Path::new("memory/wal/0000007b00000000.wal"), &[0xa5; 5000])
    }),
];

fn without_segments(fs: &SimFs) -> Result<(), Stopped> {
    let removed = fs.remove(Path::new(MANIFEST)).and_then(|()| fs.remove(&last(fs, SEGMENTS).map_err(other)?));
    removed.and_then(|()| fs.remove_dir(Path::new(SEGMENTS))).map_err(|e| stopped("a removal", e))
}

fn put_segment_back(fs: &SimFs, before: &SimFs) -> Result<(), Stopped> {
    let path = last(before, SEGMENTS)?;
    put(fs, &path, &before.map(&path).map_err(|e| stopped("a read", e))?)
}

/// Has the sync of the line fail that a salvage writes to the audit log.
fn fail_line(fs: &SimFs) -> Result<(), Stopped> {
    for sync in 1.. {
        let tried = fs.kill();
        let fails = tried.syncs() + sync;
        tried.fail_sync_at(fails);
        if let Ok(engine) = salvaged(&tried) {
            let is_it = engine.recovery_report().unnoted;
            read(&tried, engine).map_err(Stopped)?;
            if is_it {
                fs.fail_sync_at(fs.syncs() + sync);
                return Ok(());
            }
        }
        if tried.syncs() < fails {
            break;
        }
    }
    Err(Stopped("a salvage writes no line".to_owned()))
}

fn other(e: Stopped) -> std::io::Error {
    std::io::Error::other(e.0)
}

fn last(fs: &SimFs, folder: &str) -> Result<PathBuf, Stopped> {
    let name = fs.list(Path::new(folder)).ok().and_then(|mut names| names.pop());
    name.map(|name| Path::new(folder).join(name)).ok_or_else(|| Stopped(format!("{folder} is empty")))
}

fn flip(fs: &SimFs, path: &Path, byte: u64) -> Result<(), Stopped> {
    fs.flip(path, byte * 8 + 2).map_err(|e| stopped("a flip", e))
}

/// A bit of the `n`th frame from the end of the log's last file.
fn flip_frame(fs: &SimFs, n: usize) -> Result<(), Stopped> {
    let path = last(fs, WAL)?;
    let bytes = fs.map(&path).map_err(|e| stopped("a read", e))?;
    let frames: Vec<usize> =
        (WAL_HEADER..bytes.len()).step_by(8).filter(|&at| bytes[at..].starts_with(b"TGFR")).collect();
    let at = frames.iter().rev().nth(n).ok_or_else(|| Stopped(format!("the log has {} frames", frames.len())))?;
    flip(fs, &path, *at as u64 + 100)
}

/// Every file of the store, but those that any opening writes or removes.
fn stored(fs: &SimFs) -> BTreeMap<PathBuf, Vec<u8>> {
    let bytes = |path: PathBuf| fs.map(&path).ok().map(|bytes| (path, bytes.to_vec()));
    fs.files().into_iter().filter_map(|(path, _)| bytes(path)).collect()
}

/// Everything that can be read is saved, what is damaged is kept.
fn salvage(site: fn() -> SyncSite, damage: Damage) -> Result<Workload, Stopped> {
    let fs = killed(damage.has_segment)?;
    let before = fs.kill();
    (damage.damage)(&fs)?;
    settle(&fs)?;
    damage.by_hand.map_or(Ok(()), |put_back| put_back(&fs, &before))?;
    if !damage.is_noted {
        fail_line(&fs)?;
    }
    let damaged = stored(&fs);
    watch(&fs, site);
    let engine = salvaged(&fs).map_err(|e| stopped("a salvage", e))?;
    let done = fs.steps();
    let quarantined = engine.recovery_report().quarantined.clone();
    // As it is kept, and as it was before: under the name that it has in quarantine, but for a number.
    let kept = quarantined.iter().map(|path| {
        let bytes = fs.map(path).map_err(|e| stopped("a read", e))?.to_vec();
        let was = damaged.iter().find(|(_, was)| was.starts_with(&bytes)).map(|(was, _)| was.clone());
        let was = was.ok_or_else(|| Stopped(format!("{} is no file that was there", path.display())))?;
        Ok((path.clone(), was, bytes))
    });
    let kept = kept.collect::<Result<Vec<_>, Stopped>>()?;
    let changes = !kept.is_empty() || engine.recovery_report().manifest_made_anew;
    let has_noted = !engine.recovery_report().unnoted;
    if has_noted != damage.is_noted {
        return Err(Stopped(format!("{}: the audit log was to have a line: {}", damage.what, damage.is_noted)));
    }
    let saved = read(&fs, engine).map_err(Stopped)?;
    let judge = move |left: &SimFs, step: u64| {
        let done = step >= done;
        let holds = |path: &Path, bytes: &[u8]| left.map(path).is_ok_and(|there| there.starts_with(bytes));
        for (path, was, bytes) in &kept {
            if !holds(path, bytes) && (done || !holds(was, bytes)) {
                return Err(format!("{} was set aside, and is gone", was.display()));
            }
        }
        if done {
            if changes && has_noted {
                has_line(left, Path::new(STORE), "salvage")?;
            }
            let found =
                read_strictly(left, Path::new(STORE)).map_err(|e| format!("once salvaged it does not open: {e}"))?;
            return if found? == saved { Ok(()) } else { Err("once salvaged it holds something else".to_owned()) };
        }
        if damage.by_hand.is_some() {
            // Until the manifest names it, it may go.
            return match read_strictly(left, Path::new(STORE)) {
                Err(OpenError::Manifest(ManifestError::ManifestMissing { .. })) => Ok(()),
                Err(e) => Err(format!("a manifest was made anew, and it does not open: {e}")),
                Ok(found) if found.as_ref() == Ok(&saved) => Ok(()),
                Ok(_) => Err("made anew it holds something else".to_owned()),
            };
        }
        let again = salvaged(left).map_err(|e| format!("it is not salvaged again: {e}"))?;
        if read(left, again)? == saved { Ok(()) } else { Err("salvaged again it holds something else".to_owned()) }
    };
    Ok(workload(&format!("salvage of {}", damage.what), &fs, judge))
}
