//! P10: one owner, told to others, succeeded when dead, stopped when its lock is gone.

use std::cell::Cell;
use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, mpsc};

use crate::engine::Metadata;
use tidegauge_storage::fs::sim::SimFs;
use tidegauge_storage::fs::{Fs, FsFile, Map, OsFs};
use tidegauge_storage::model::Timestamp;

use super::unlock::{set_aside, unlock_with};
use super::*;
use crate::clock;
use crate::options::Builder;
use crate::recovery::Recovery;
use crate::sync::atomic::{AtomicU64, Ordering};

const EVERY: Duration = Duration::from_secs(30);
const SOON: Duration = Duration::from_secs(30);

/// A lock held on `dir` by a process of another host, heard `ago` seconds ago.
fn foreign(dir: &Path, ago: i64) -> File {
    let path = dir.join(FILE_NAME);
    let file = lock(&path, TRIES).unwrap().unwrap();
    let mut owner = Owner::this_process(Some("10.0.0.7:9595"), EVERY);
    owner.host = "gone.example".to_owned();
    owner.heartbeat = Timestamp::from_nanos(clock::now().nanos() - ago * 1_000_000_000);
    fs::write(&path, owner.to_text()).unwrap();
    file
}

/// Asks who has the directory.
fn look(dir: &Path) -> Result<Unlocked, UnlockError> {
    unlock_with(dir, false, &|_, _| panic!("nobody is waited for"))
}

/// Forces its lock; `meanwhile` is all that happens in each second of the watch, and takes none.
fn force(dir: &Path, meanwhile: impl Fn(u64)) -> Result<Unlocked, UnlockError> {
    unlock_with(dir, true, &|watched, _| meanwhile(watched.as_secs()))
}

#[test]
fn a_second_owner_is_told_who_holds_the_directory() {
    let dir = tempfile::tempdir().unwrap();
    let held = DirLock::take(dir.path(), Some("127.0.0.1:9595"), EVERY, true).unwrap();
    let Err(OpenError::InUse { owner: Some(owner), .. }) = DirLock::take(dir.path(), None, EVERY, true) else {
        panic!("two owners")
    };
    assert_eq!((owner.pid, owner.address.as_deref()), (std::process::id(), Some("127.0.0.1:9595")));
    assert_eq!(owner_of(dir.path()).unwrap().as_ref(), Some(&*owner));
    drop(held);
    DirLock::take(dir.path(), None, EVERY, true).unwrap();
}

/// What cannot be locked is named, not the folder around it; a folder that is not there is no file that is missing.
#[test]
fn what_is_in_the_way_of_the_lock_is_named() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join(FILE_NAME)).unwrap();
    let refused = DirLock::take(dir.path(), None, EVERY, true).err().unwrap().to_string();
    assert!(refused.contains(&format!("{}/LOCK", dir.path().display())), "{refused}");
    let refused = look(dir.path()).unwrap_err().to_string();
    assert!(refused.contains("LOCK: ") && refused.contains("try again"), "{refused}");
    let nowhere = dir.path().join("nowhere");
    let refused = force(&nowhere, |_| {}).unwrap_err().to_string();
    assert_eq!(refused, format!("{} does not exist: name the folder that holds the data", nowhere.display()));
}

#[test]
fn garbage_in_the_lock_file_hides_the_owner_but_not_the_lock() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join(FILE_NAME), vec![0xff; 10_000]).unwrap();
    let _held = DirLock::take(dir.path(), None, EVERY, true).unwrap();
    fs::write(dir.path().join(FILE_NAME), vec![0xff; 10_000]).unwrap();
    let refused = DirLock::take(dir.path(), None, EVERY, true).err().unwrap();
    assert!(matches!(refused, OpenError::InUse { owner: None, .. }), "{refused}");
    assert!(refused.to_string().contains("another process"), "{refused}");
    assert!(matches!(look(dir.path()), Err(UnlockError::Silent { owner: None, .. })));
}

#[test]
fn the_heartbeat_moves_and_ends_with_the_lock() {
    let dir = tempfile::tempdir().unwrap();
    let mut held = DirLock::take(dir.path(), None, Duration::from_millis(1), true).unwrap();
    let first = owner_of(dir.path()).unwrap().unwrap().heartbeat;
    held.beat(Arc::default(), |why| panic!("{why}")).unwrap();
    let deadline = clock::now().nanos() + SOON.as_nanos() as i64;
    // A reader may come between the write and the cut of a longer text.
    while owner_of(dir.path()).unwrap().is_none_or(|owner| owner.heartbeat == first) {
        assert!(clock::now().nanos() < deadline, "no heartbeat");
        std::thread::yield_now();
    }
    drop(held);
    let last = owner_of(dir.path()).unwrap();
    assert_eq!(owner_of(dir.path()).unwrap(), last, "nobody writes any more");
    DirLock::take(dir.path(), None, EVERY, true).unwrap();
}

#[test]
fn an_owner_whose_lock_file_is_gone_is_told() {
    for replaced in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let mut held = DirLock::take(dir.path(), None, Duration::from_millis(1), true).unwrap();
        let (tell, told) = mpsc::channel();
        held.beat(Arc::default(), move |why| tell.send(why).unwrap()).unwrap();
        fs::remove_file(dir.path().join(FILE_NAME)).unwrap();
        if replaced {
            fs::write(dir.path().join(FILE_NAME), "").unwrap();
        }
        assert!(told.recv_timeout(SOON).unwrap().contains("LOCK"));
    }
}

#[test]
fn p10_unlock_refuses_while_the_owner_lives() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(force(dir.path(), |_| {}).unwrap(), Unlocked::Free { last: None });
    let held = DirLock::take(dir.path(), None, EVERY, true).unwrap();
    let not_watched = |_| panic!("there is nothing to watch");
    for refused in [look(dir.path()), force(dir.path(), not_watched)] {
        assert!(matches!(refused, Err(UnlockError::Alive { .. })), "held by this process");
    }
    drop(held);
    let Unlocked::Free { last: Some(last) } = look(dir.path()).unwrap() else { panic!("not free") };
    assert_eq!(last.pid, std::process::id());
    let _foreign = foreign(dir.path(), 60);
    assert!(matches!(look(dir.path()), Err(UnlockError::Alive { .. })), "heard a minute ago");
    assert!(matches!(force(&dir.path().join("none"), |_| {}), Err(UnlockError::NoDirectory { .. })));
}

#[test]
fn p10_unlock_forces_what_a_dead_host_left_and_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let foreign = foreign(dir.path(), 3600);
    let refused = DirLock::take(dir.path(), None, EVERY, true).err().unwrap().to_string();
    assert!(refused.contains("gone.example") && refused.contains("unlock --force"), "{refused}");
    let refused = look(dir.path()).unwrap_err();
    assert!(matches!(refused, UnlockError::Silent { .. }), "force is asked for");
    assert!(refused.to_string().contains("for 90 s"), "{refused}");
    let looks = Cell::new(0);
    let forced = force(dir.path(), |second| looks.set(looks.get() + u64::from(second == looks.get()))).unwrap();
    let Unlocked::Forced { owner: Some(owner), aside, unnoted: None } = forced else {
        panic!("not forced: {forced:?}")
    };
    assert_eq!((owner.host.as_str(), looks.get()), ("gone.example", 90));
    assert!(fs::read_to_string(aside).unwrap().contains("gone.example"), "nothing is deleted");
    let audit = fs::read_to_string(dir.path().join("audit.log")).unwrap();
    assert!(audit.contains("\"act\":\"unlock\"") && audit.contains("gone.example"), "{audit}");
    let _held = DirLock::take(dir.path(), None, EVERY, true).unwrap();
    drop(foreign);
    assert!(matches!(DirLock::take(dir.path(), None, EVERY, true), Err(OpenError::InUse { .. })), "the new lock holds");
}

/// What a dead host can leave: times that say nothing, or no word of an owner.
fn left(dir: &Path) -> [(&'static str, Vec<u8>, u64); 4] {
    let _held = foreign(dir, 0);
    let text = |ago: i64| {
        let mut owner = owner_of(dir).unwrap().unwrap();
        owner.heartbeat = Timestamp::from_nanos(clock::now().nanos() - ago * 1_000_000_000);
        owner.to_text().into_bytes()
    };
    let torn = text(3600)[..20].to_vec();
    [
        ("a clock that was ahead", text(-86_400), 90),
        ("long silent", text(3600), 90),
        ("no owner", vec![0xff; 10_000], 360),
        ("half an owner", torn, 360),
    ]
}

/// With a lock that says nothing of its owner, or a heartbeat that lies ahead, it was answered for ever that the owner
/// lives.
#[test]
fn whatever_a_dead_host_left_can_be_freed_and_is_watched_before() {
    let dir = tempfile::tempdir().unwrap();
    for (what, bytes, seconds) in left(dir.path()) {
        let _held = foreign(dir.path(), 0);
        fs::write(dir.path().join(FILE_NAME), &bytes).unwrap();
        assert!(matches!(look(dir.path()), Err(UnlockError::Silent { .. })), "{what}");
        let looks = Cell::new(0);
        let forced = force(dir.path(), |_| looks.set(looks.get() + 1));
        let Ok(Unlocked::Forced { aside, .. }) = forced else { panic!("{what}: {forced:?}") };
        assert_eq!((looks.get(), fs::read(aside).unwrap()), (seconds, bytes), "{what}");
        drop(DirLock::take(dir.path(), None, EVERY, true).unwrap());
    }
}

/// Whatever clocks say, and whatever the file said before: a heartbeat of the last moment counts.
#[test]
fn p10_an_owner_that_is_heard_while_its_lock_is_watched_keeps_it() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(FILE_NAME);
    for (what, bytes, seconds) in left(dir.path()) {
        let _held = foreign(dir.path(), 0);
        fs::write(&path, &bytes).unwrap();
        let mut owner = Owner::this_process(None, EVERY);
        owner.host = "alive.example".to_owned();
        owner.heartbeat = Timestamp::from_nanos(17);
        let kept = force(dir.path(), |second| {
            if second == seconds - 1 {
                fs::write(&path, owner.to_text()).unwrap();
            }
        });
        let Err(UnlockError::Alive { owner: Some(told), .. }) = kept else { panic!("{what}: {kept:?}") };
        assert_eq!((*told, owner_of(dir.path()).unwrap().as_ref()), (owner.clone(), Some(&owner)), "{what}");
    }
    // The heartbeat of a real one, over what somebody else wrote into the file.
    let mut held = DirLock::take(dir.path(), None, Duration::from_millis(1), true).unwrap();
    fs::write(&path, "garbage").unwrap();
    held.held.owner.host = "alive.example".to_owned();
    held.beat(Arc::default(), |why| panic!("{why}")).unwrap();
    let since = std::time::Instant::now();
    let kept = force(dir.path(), |_| {
        // The first heartbeat ends the watch, however slow the disk is.
        while fs::read(&path).unwrap() == b"garbage" && since.elapsed() < Duration::from_secs(60) {
            std::thread::yield_now();
        }
    });
    assert!(matches!(kept, Err(UnlockError::Alive { .. })), "{kept:?}");
}

#[test]
fn a_lock_that_becomes_free_or_another_while_it_is_watched_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(FILE_NAME);
    let held = Cell::new(Some(foreign(dir.path(), 3600)));
    let freed = force(dir.path(), |second| drop(held.take().filter(|_| second == 5)));
    assert!(matches!(freed, Ok(Unlocked::Free { last: Some(_) })), "{freed:?}");
    let _held = foreign(dir.path(), 3600);
    let replaced = force(dir.path(), |_| {
        fs::rename(&path, dir.path().join("aside")).unwrap();
        fs::write(&path, "another").unwrap();
    });
    assert!(replaced.unwrap_err().to_string().contains("changed hands"));
    assert_eq!(fs::read_to_string(&path).unwrap(), "another");
}

/// A machine of the same name, as containers are, had the lock, in a process of a number that another one has here.
#[test]
fn a_process_of_this_machine_owns_the_directory_only_if_it_has_the_lock_open() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(FILE_NAME);
    for has_it in [true, false] {
        let _held = foreign(dir.path(), 3600);
        let stdin = if has_it { File::open(&path).unwrap().into() } else { Stdio::piped() };
        // It opens nothing more, and waits until it is killed.
        let mut other = Command::new("sleep").arg("1000").stdin(stdin).spawn().unwrap();
        let mut owner = owner_of(dir.path()).unwrap().unwrap();
        (owner.host, owner.pid) = (owner::host(), other.id());
        fs::write(&path, owner.to_text()).unwrap();
        let forced = force(dir.path(), |_| {});
        other.kill().unwrap();
        other.wait().unwrap();
        match forced {
            Err(UnlockError::Alive { .. }) => assert!(has_it),
            Ok(Unlocked::Forced { .. }) => assert!(!has_it),
            other => panic!("{has_it}: {other:?}"),
        }
    }
}

/// The new name was not synced: a power loss behind the answer brought `LOCK` back, or left a file in a folder that was
/// not there.
#[test]
fn a_lock_that_was_set_aside_stays_aside_after_a_power_loss() {
    let sim = SimFs::new();
    let (dir, path) = (Path::new("store"), Path::new("store/LOCK"));
    sim.create_dir_all(dir).unwrap();
    let file = sim.create(path).unwrap();
    file.write_all_at(0, b"pid=17").unwrap();
    file.sync_data().unwrap();
    sim.sync_dir(dir).unwrap();
    sim.sync_dir(Path::new("")).unwrap();
    let there = |disk: &SimFs, path: &Path| disk.map(path).is_ok_and(|bytes| bytes[..] == *b"pid=17");
    let mut stop = 1;
    let (disk, aside) = loop {
        let disk = sim.kill();
        disk.stop_at(disk.operations() + stop);
        let done = set_aside(&disk, dir);
        disk.restart();
        let folder = dir.join("quarantine");
        for seed in 0..50 {
            let left = disk.crash(seed);
            let names = left.list(&folder).unwrap_or_default();
            let kept = names.iter().any(|name| there(&left, &folder.join(name)));
            assert!(kept || there(&left, path), "stopped before {stop}, {seed}: it is gone");
        }
        match done {
            Ok(aside) => break (disk, aside),
            Err(_) => stop += 1,
        }
    };
    for seed in 0..50 {
        let left = disk.crash(seed);
        assert!(there(&left, &aside) && left.open_read(path).is_err(), "it is back, {seed}");
    }
}

/// LK3: a lock on a file that lost its name meanwhile is no lock.
#[test]
fn a_lock_on_a_file_without_its_name_does_not_count() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(FILE_NAME);
    let file = lock(&path, TRIES).unwrap().unwrap();
    let name = LockName::of(&file, &path).unwrap();
    assert!(name.is_ours() && is_same(&file, &path).unwrap());
    fs::rename(&path, dir.path().join("aside")).unwrap();
    assert!(!name.is_ours());
    fs::write(&path, "").unwrap();
    assert!(!name.is_ours() && !is_same(&file, &path).unwrap());
}

/// LK5: the next owner locks the same file, which goes on under its name: who wrote behind the close found it his own.
#[test]
fn p10_a_lock_that_was_let_go_of_is_nobodys_any_more() {
    let dir = tempfile::tempdir().unwrap();
    let first = DirLock::take(dir.path(), None, EVERY, true).unwrap();
    let name = first.name();
    assert!(first.is_held() && name.is_ours());
    drop(first);
    assert!(!name.is_ours());
    let second = DirLock::take(dir.path(), None, EVERY, true).unwrap();
    assert!(second.is_held() && second.name().is_ours() && !name.is_ours());
    assert!(name.look().unwrap(), "the file is the same");
    assert!(name.lost().contains("was let go of"), "{}", name.lost());
}

/// LK7: who puts a manifest in the place of another does so alone, at an opening, a salvage, and when it is written anew.
#[test]
fn p10_a_manifest_is_replaced_by_one_process_at_a_time() {
    let dir = tempfile::tempdir().unwrap();
    assert!(alone(dir.path()).unwrap().is_none(), "nothing to lose");
    let watching = Arc::new(Watching { dir: dir.path().to_owned(), alone: AtomicU64::new(0) });
    let open = |recovery| {
        let mut builder = Builder::new(Some(dir.path())).recovery(recovery);
        builder.fs = Some(Arc::clone(&watching) as Arc<dyn Fs>);
        builder.open().unwrap()
    };
    let seen = || watching.alone.load(Ordering::Relaxed);
    open(Recovery::Strict).close().unwrap();
    assert_eq!(seen(), 0, "it was nobody's store before");
    open(Recovery::Salvage).close().unwrap();
    assert_eq!(seen(), 1);
    let engine = open(Recovery::Strict);
    assert_eq!(seen(), 2);
    for n in 0.. {
        assert!(n < 100, "it is never written anew");
        let metadata = Metadata { help: n.to_string().repeat(30_000), ..Metadata::default() };
        engine.set_metadata("cpu", metadata).unwrap();
        if seen() == 3 {
            break;
        }
    }
    fs::write(dir.path().join("MANIFEST"), "damaged").unwrap();
    let _ = engine.close();
    open(Recovery::Salvage).close().unwrap();
    assert_eq!(seen(), 4);
    let held = alone(dir.path()).unwrap();
    assert!(held.is_some());
    drop(held);
    open(Recovery::Strict).close().unwrap();
}

/// A child that was forked while the manifest was replaced kept the lock, and the next one who replaced it had to give up.
#[test]
fn p10_a_copy_of_the_file_keeps_no_lock_on_the_folder_of_the_segments() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join(SEGMENTS)).unwrap();
    let held = alone(dir.path()).unwrap().unwrap();
    let other = File::open(dir.path().join(SEGMENTS)).unwrap();
    assert!(matches!(other.try_lock(), Err(TryLockError::WouldBlock)));
    // As in a child: the same open file.
    let copy = held.0.try_clone().unwrap();
    drop(held);
    other.try_lock().unwrap();
    drop(copy);
}

/// A child that was forked while a line was written kept the audit log locked: each line that followed waited for two seconds.
#[test]
fn p10_a_copy_of_the_file_keeps_no_lock_on_the_audit_log() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.log");
    let held = hold(&path, 0).unwrap().unwrap();
    assert!(hold(&path, 0).unwrap().is_none());
    let copy = held.0.try_clone().unwrap();
    drop(held);
    assert!(hold(&path, 0).unwrap().is_some());
    drop(copy);
}

/// LK8: a folder that could not be locked, for whatever reason, counted as locked: two owners could have replaced each
/// other's manifest.
#[test]
fn p10_a_lock_that_the_system_refuses_is_told_and_is_nobodys() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join(SEGMENTS)).unwrap();
    // ENOTSUP, ENOLCK, and one that is no matter of what the file system can do.
    for (code, typed) in [(95, true), (37, true), (5, false)] {
        let refuses = |_: &File| Err(TryLockError::Error(io::Error::from_raw_os_error(code)));
        let path = dir.path().join(SEGMENTS);
        let refused = [
            alone_by(dir.path(), refuses).unwrap_err(),
            lock_by(&dir.path().join(FILE_NAME), TRIES, refuses).unwrap_err(),
        ];
        for source in refused {
            assert_eq!(source.raw_os_error(), Some(code));
            let why = not_locked(path.clone(), source);
            assert_eq!(matches!(why, OpenError::NoLocks { .. }), typed, "{why}");
            assert!(why.to_string().contains("then open it again") && !why.to_string().contains("in use"), "{why}");
        }
    }
    // A name that leads to no folder is no lock either.
    fs::remove_dir(dir.path().join(SEGMENTS)).unwrap();
    std::os::unix::fs::symlink(SEGMENTS, dir.path().join(SEGMENTS)).unwrap();
    assert!(alone(dir.path()).is_err());
}

/// Counts how often a file took the manifest's name while nobody else could have done the same.
#[derive(Debug)]
struct Watching {
    dir: std::path::PathBuf,
    alone: AtomicU64,
}

impl Watching {
    fn is_alone(&self) -> bool {
        let Ok(folder) = File::open(self.dir.join(SEGMENTS)) else { return false };
        matches!(folder.try_lock(), Err(TryLockError::WouldBlock))
    }
}

impl Fs for Watching {
    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        OsFs.create_dir_all(dir)
    }
    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        OsFs.list(dir)
    }
    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        OsFs.sync_dir(dir)
    }
    fn create(&self, path: &Path) -> io::Result<Arc<dyn FsFile>> {
        OsFs.create(path)
    }
    fn open(&self, path: &Path) -> io::Result<Arc<dyn FsFile>> {
        OsFs.open(path)
    }
    fn open_read(&self, path: &Path) -> io::Result<Arc<dyn FsFile>> {
        OsFs.open_read(path)
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        if to.ends_with("MANIFEST") {
            self.alone.fetch_add(u64::from(self.is_alone()), Ordering::Relaxed);
        }
        OsFs.rename(from, to)
    }
    fn hard_link(&self, from: &Path, to: &Path) -> io::Result<()> {
        OsFs.hard_link(from, to)
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        OsFs.remove(path)
    }
    fn map(&self, path: &Path) -> io::Result<Map> {
        OsFs.map(path)
    }
}
