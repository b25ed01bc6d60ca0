use std::path::Path;
use std::sync::{Arc, mpsc};
use std::thread;

use tidegauge_storage::fs::Fs;
use tidegauge_storage::fs::sim::SimFs;
use tidegauge_storage::model::Timestamp;
use tidegauge_storage::wal::WalError;

use crate::engine::{Engine, Metadata};
use crate::error::{OpenError, SeriesError};
use crate::faults::{SOON, contents, series};
use crate::hooked::{Call, Hooked, When};
use crate::options::{Builder, Durability, Level};
use crate::registry::Rebuild;
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicI64, AtomicU64, Ordering};

fn builder(fs: &SimFs) -> Builder {
    let mut builder = Builder::new(None).durability(Durability::Sync).query_threads(1);
    builder.fs = Some(Arc::new(fs.clone()) as Arc<dyn Fs>);
    builder
}

fn push(engine: &Engine, at: i64) {
    let ack = engine.push(series(engine, 0), Timestamp::from_nanos(at), 1.0).unwrap();
    engine.wait(ack, Level::Durable, SOON).unwrap();
}

/// Put back from before the last opening, the manifest let a reader show what there was then as if it were all.
#[test]
fn p10_a_reader_tells_an_older_copy_of_the_manifest() {
    let (fs, manifest) = (SimFs::new(), Path::new("memory/MANIFEST"));
    let engine = builder(&fs).open().unwrap();
    push(&engine, 1);
    engine.close().unwrap();
    let older = fs.map(manifest).unwrap().to_vec();
    let engine = builder(&fs).open().unwrap();
    push(&engine, 2);
    let reader = builder(&fs).read_only(true).open().unwrap();
    assert_eq!(contents(&reader).len(), 2);
    let disk = fs.kill();
    disk.remove(manifest).unwrap();
    disk.create(manifest).unwrap().write_all_at(0, &older).unwrap();
    match builder(&disk).read_only(true).open() {
        Err(OpenError::LaterFile { path }) => assert!(path.starts_with("memory/wal"), "{path:?}"),
        other => panic!("{:?}", other.map(drop)),
    }
    // Under a reader's eyes: what was shown stays.
    fs.remove(manifest).unwrap();
    fs.create(manifest).unwrap().write_all_at(0, &older).unwrap();
    assert!(matches!(reader.refresh(), Err(OpenError::LaterFile { .. })));
    assert_eq!(contents(&reader).len(), 2);
}

/// Between the reader's look at the manifest and those at the log's folder the store gets another owner, who makes a
/// file of the log: no older copy, so the reader begins anew.
#[test]
fn p10_an_opening_behind_the_readers_back_is_no_older_manifest() {
    for late in 0..2 {
        let fs = SimFs::new();
        let engine = builder(&fs).open().unwrap();
        push(&engine, 1);
        let disk = fs.kill();
        let (listed, next) = (AtomicU64::new(0), disk.clone());
        let owner = Arc::new(Mutex::new(None));
        let opened = Arc::clone(&owner);
        // The first listing is for the replay, the second asks for later files.
        disk.on_list(Arc::new(move |folder: &Path| {
            if folder.ends_with("wal") && listed.fetch_add(1, Ordering::Relaxed) == late {
                let engine = builder(&next).open().unwrap();
                push(&engine, 2);
                *opened.lock().unwrap() = Some(engine);
            }
        }));
        let reader = builder(&disk).read_only(true).open().unwrap();
        assert_eq!(contents(&reader).len(), 2, "{late}");
        // Its end wakes: not under the lock.
        let taken = owner.lock().unwrap().take();
        assert!(taken.is_some(), "{late}: there was another owner");
    }
}

/// Calls `meanwhile` before each time that a reader lists the log's folder, or opens a file of it, and answers the reader's
/// builder.
fn beside(fs: &SimFs, call: Call, meanwhile: impl Fn() + Send + Sync + 'static) -> Builder {
    let calls = AtomicU64::new(0);
    let hooked = Hooked::around(fs, move |when, called, path| {
        let of_log = path.ends_with("wal") || path.extension().is_some_and(|e| e == "wal");
        if (when, called) == (When::Before, call) && of_log {
            assert!(calls.fetch_add(1, Ordering::Relaxed) < 1_000, "the look does not end");
            meanwhile();
        }
    });
    let mut builder = builder(fs).read_only(true);
    builder.fs = Some(hooked);
    builder
}

/// FW1, FW5: an owner who flushes, recycles his log and goes on whenever the reader turns to it. The manifest moved during
/// each reading, and no opening and no refresh came to an end: at full load each took longer than a memtable.
#[test]
fn p10_a_look_ends_however_often_the_owner_flushes_meanwhile() {
    for call in [Call::List, Call::OpenRead] {
        for flushes in [0, 1, 3] {
            let fs = SimFs::new();
            let mut owner = builder(&fs).durability(Durability::Interval(SOON)).background_compaction(false);
            owner.wal_file_bytes = Some(1 << 16);
            let (owner, pushed) = (owner.open().unwrap(), Arc::new(AtomicI64::new(0)));
            let (engine, count) = (owner.clone(), Arc::clone(&pushed));
            let push = move || {
                let at = count.load(Ordering::Relaxed);
                let ack = engine.push(series(&engine, 0), Timestamp::from_nanos(at), at as f64).unwrap();
                engine.wait(ack, Level::Visible, SOON).unwrap();
                count.store(at + 1, Ordering::Relaxed);
            };
            let engine = owner.clone();
            let go_on = move || {
                for _ in 0..flushes {
                    push();
                    engine.flush().unwrap();
                }
                (0..3).for_each(|_| push());
            };
            (0..4).for_each(|_| go_on());
            let begun = pushed.load(Ordering::Relaxed);
            let is_prefix_of = |reader: &Engine, begun: i64| {
                let back: Vec<i64> = contents(reader).into_keys().map(|(_, at)| at).collect();
                assert!(back.iter().copied().eq(0..back.len() as i64), "{call:?}, {flushes}: {back:?}");
                assert!(back.len() as i64 >= begun, "{call:?}, {flushes}: {} of {begun}", back.len());
            };
            let reader = beside(&fs, call, go_on).open().unwrap();
            is_prefix_of(&reader, begun);
            for _ in 0..3 {
                let begun = pushed.load(Ordering::Relaxed);
                reader.refresh().unwrap();
                is_prefix_of(&reader, begun);
            }
        }
    }
}

/// FW4: damage of a part of the log that is needed is told, though the manifest moves with each reading.
#[test]
fn p10_damage_is_told_beside_an_owner_who_never_rests() {
    let fs = SimFs::new();
    let owner = builder(&fs).open().unwrap();
    (0..3).for_each(|at| push(&owner, at));
    let log = fs.files().into_iter().map(|(path, _)| path).find(|path| path.extension().is_some_and(|e| e == "wal"));
    fs.flip(&log.unwrap(), (4096 + 100) * 8).unwrap();
    let told = AtomicU64::new(0);
    let reader = beside(&fs, Call::List, move || {
        let help = told.fetch_add(1, Ordering::Relaxed).to_string();
        owner.set_metadata("cpu", Metadata { help, ..Metadata::default() }).unwrap();
    });
    let refused = reader.open().map(drop);
    assert!(matches!(refused, Err(OpenError::Wal(WalError::Corrupt { .. }))), "{refused:?}");
}

/// FW6: an eviction that a panic ended between two registries left who resolved a series beside it in a loop for ever, and
/// each refresh panicked anew.
#[test]
fn p10_a_panic_in_a_refresh_poisons_the_reader_and_who_resolves_is_told() {
    let fs = SimFs::new();
    let owner = builder(&fs).open().unwrap();
    push(&owner, 1);
    let spoilt = Arc::new(AtomicU64::new(0));
    let seen = Arc::clone(&spoilt);
    let hooked = Hooked::around(&fs, move |_, _, _| assert!(seen.load(Ordering::Relaxed) == 0, "a defect"));
    let mut reader = builder(&fs).read_only(true);
    reader.fs = Some(hooked);
    let reader = reader.open().unwrap();
    let shown = contents(&reader);
    // As far as an eviction comes: the registry in use is closed, and none follows.
    let registry = reader.life().core.registry();
    drop(Rebuild::without(&registry, &[]).follow());
    push(&owner, 2);
    spoilt.store(1, Ordering::Relaxed);
    for _ in 0..2 {
        let refused = reader.refresh();
        assert!(matches!(&refused, Err(OpenError::Poisoned(why)) if why.cause.contains("a defect")), "{refused:?}");
    }
    // Who waited for that refresh to end finds the cause, and no lock that a panic has spoilt.
    assert!(reader.life().follower.as_ref().unwrap().lock().is_ok());
    let (tell, told) = mpsc::channel();
    let asked = reader.clone();
    thread::spawn(move || tell.send(asked.series(&[("__name__", "new")])));
    assert!(matches!(told.recv_timeout(SOON), Ok(Err(SeriesError::Poisoned(_)))), "it is told");
    assert!(reader.is_healthy().is_err() && reader.can_read().is_ok());
    assert_eq!(contents(&reader), shown, "what was shown stays");
}
