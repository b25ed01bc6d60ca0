//! A segment that is written, and cannot be mapped for want of memory, or of files that may be open.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tidegauge_storage::fs::Fs;
use tidegauge_storage::fs::sim::{Fault, Random, SimFs};
use tidegauge_storage::model::Timestamp;

use crate::engine::Engine;
use crate::error::{CompactError, FlushError, PushError};
use crate::faults::{SOON, contents, series};
use crate::gate::Shortage;
use crate::options::{Builder, Durability, Level};
use crate::pace::Pace;
use crate::watch::Warning;

fn builder(fs: &SimFs, durability: Durability) -> Builder {
    let mut builder = Builder::new(None).durability(durability).background_compaction(false).wal_bytes(1 << 20);
    builder.pace = Pace::NEVER;
    builder.fs = Some(Arc::new(fs.clone()) as Arc<dyn Fs>);
    builder
}

fn open(fs: &SimFs, durability: Durability) -> Engine {
    builder(fs, durability).open().unwrap()
}

fn push(engine: &Engine, at: i64) {
    let ack = engine.push(series(engine, 1), Timestamp::from_nanos(at), 1.0).unwrap();
    engine.wait(ack, Level::Visible, SOON).unwrap();
}

fn segments(fs: &SimFs) -> Vec<PathBuf> {
    let names = fs.files().into_iter().map(|(path, _)| path);
    names.filter(|path| path.parent().is_some_and(|dir| dir.ends_with("segments"))).collect()
}

/// What a map may want for, and how it is told.
const FAULTS: [(Fault, Shortage); 2] = [(Fault::Memory, Shortage::Memory), (Fault::Files, Shortage::Files)];

/// ENOMEM at the map of a new segment (`ulimit -v`, `vm.max_map_count`) poisoned the engine, although the segment was durable
/// and nothing lost.
#[test]
fn p4_a_flush_whose_segment_cannot_be_mapped_waits_and_goes_on_by_itself() {
    let hour = Duration::from_secs(3600);
    let durabilities = [Durability::Memory, Durability::Interval(hour)];
    for ((fault, short), durability) in FAULTS.into_iter().flat_map(|fault| durabilities.map(|each| (fault, each))) {
        let (flush, push_again, limit) = match short {
            Shortage::Files => (FlushError::OutOfFiles, PushError::OutOfFiles, "ulimit -n"),
            _ => (FlushError::OutOfMemory, PushError::OutOfMemory, "ulimit -v"),
        };
        let fs = SimFs::new();
        let engine = open(&fs, durability);
        push(&engine, 0);
        fs.refuse_maps(Some(fault));
        let refused = engine.flush().unwrap_err();
        assert_eq!(refused, flush);
        assert!(refused.to_string().contains(limit), "{refused}");
        assert_eq!(engine.stats().short_of, Some(short));
        assert_eq!(contents(&engine).len(), 1, "reads go on");
        let written = segments(&fs);
        assert_eq!(written.len(), 1);
        // Each waits for two tries more.
        assert_eq!(engine.flush().unwrap_err(), flush);
        assert_eq!(segments(&fs), written, "it is not written again");
        if durability.logs() {
            push(&engine, 1);
        } else {
            let pushed = engine.push(series(&engine, 1), Timestamp::from_nanos(1), 1.0);
            assert_eq!(pushed.unwrap_err(), push_again, "there is nowhere else to go");
        }
        fs.refuse_maps(None);
        let began = Instant::now();
        while engine.flush().is_err() {
            assert!(began.elapsed() < SOON, "it does not go on");
        }
        assert_eq!((engine.stats().short_of, contents(&engine).len()), (None, if durability.logs() { 2 } else { 1 }));
        assert_eq!(segments(&fs)[0], written[0]);
        push(&engine, 2);
        engine.close().unwrap();
    }
}

/// A close removed them: without a log what they held was lost, though all of it was on the disk.
#[test]
fn p4_a_close_commits_segments_that_cannot_be_mapped() {
    let durabilities = [Durability::Memory, Durability::Sync];
    for ((fault, short), durability) in FAULTS.into_iter().flat_map(|fault| durabilities.map(|each| (fault, each))) {
        let fs = SimFs::new();
        let engine = open(&fs, durability);
        push(&engine, 0);
        fs.refuse_maps(Some(fault));
        let flush = if short == Shortage::Files { FlushError::OutOfFiles } else { FlushError::OutOfMemory };
        assert_eq!(engine.flush().unwrap_err(), flush);
        if durability.logs() {
            push(&engine, 1);
            let ack = engine.push(series(&engine, 1), Timestamp::from_nanos(2), 1.0).unwrap();
            engine.wait(ack, Level::Durable, SOON).unwrap();
        }
        let (all, memtables) = (contents(&engine), if durability.logs() { 2 } else { 1 });
        let reader = engine.clone();
        // The second one could be mapped: it would lie below the first, which is newer as a memtable.
        let disk = fs.clone();
        fs.on_sync(Arc::new(move || {
            disk.refuse_maps((segments(&disk).len() < 2).then_some(fault));
            "".into()
        }));
        fs.record();
        engine.close().unwrap();
        assert_eq!((segments(&fs).len(), contents(&reader)), (memtables, all.clone()));
        let version = reader.life().core.versions.load();
        assert_eq!((version.segments.len(), version.sealed.len()), (0, memtables), "they stay in their place");
        drop((reader, version));
        let mut timeline = fs.timeline();
        loop {
            for disk in [timeline.kill(), timeline.power_loss(&mut Random::new(timeline.at()))] {
                let found = contents(&open(&disk, durability));
                let lost = !durability.logs() && !timeline.is_over() && found.is_empty();
                assert!(found == all || lost, "{fault:?}, {durability}, step {}: {found:?}", timeline.at());
            }
            if timeline.is_over() {
                break;
            }
            timeline.advance();
        }
    }
}

/// What a compaction has written goes, and comes again once it can be mapped.
#[test]
fn p4_a_compaction_whose_segment_cannot_be_mapped_is_told_and_tried_again() {
    let fs = SimFs::new();
    let (tell, told) = std::sync::mpsc::channel();
    let tell = move |warning: &Warning| {
        if let Warning::Compaction(_) = warning {
            drop(tell.send(warning.clone()));
        }
    };
    let engine = builder(&fs, Durability::Memory).on_warning(tell).open().unwrap();
    for at in 0..2 {
        push(&engine, at);
        engine.flush().unwrap();
    }
    let (all, inputs) = (contents(&engine), segments(&fs));
    fs.refuse_maps(Some(Fault::Memory));
    for _ in 0..2 {
        assert_eq!(engine.compact().unwrap_err(), CompactError::OutOfMemory);
        assert!(engine.stats().compaction_failing && engine.is_healthy().is_ok());
        assert_eq!((contents(&engine), segments(&fs)), (all.clone(), inputs.clone()));
    }
    assert_eq!(told.recv_timeout(SOON), Ok(Warning::Compaction(CompactError::OutOfMemory)));
    let killed = fs.kill();
    killed.refuse_maps(None);
    assert_eq!(contents(&open(&killed, Durability::Memory)), all);
    fs.refuse_maps(None);
    engine.compact().unwrap();
    assert!(!engine.stats().compaction_failing);
    assert_eq!((contents(&engine), engine.stats().segments), (all, 1));
    engine.close().unwrap();
    assert_eq!(told.try_iter().count(), 0, "once");
}

/// ENOMEM of a write was told as that of a map, without the file's name.
#[test]
fn p4_a_compaction_whose_write_finds_no_memory_names_the_file_it_failed_at() {
    let (mut failed, mut operation) = (0, 1);
    loop {
        let fs = SimFs::new();
        let engine = open(&fs, Durability::Memory);
        for at in 0..2 {
            push(&engine, at);
            engine.flush().unwrap();
        }
        let at = fs.operations() + operation;
        fs.fail_at(at, Fault::Memory);
        match engine.compact() {
            Ok(()) | Err(CompactError::Poisoned(_)) => {}
            Err(CompactError::Failed { cause }) => {
                assert!(cause.contains(".seg") && cause.ends_with(": out of memory"), "{cause}");
                failed += 1;
            }
            Err(e) => panic!("at {operation}: {e}"),
        }
        if fs.operations() < at {
            break;
        }
        operation += 1;
    }
    assert!(failed >= 3, "{failed} failed: a file to be made, to be written, to be synced");
}
