//! P4 on a simulated disk: no more files may be opened, and a delete comes.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, mpsc};

use tidegauge_storage::fs::sim::{Fault, SimFs};

use crate::appender::Ack;
use crate::engine::Engine;
use crate::error::{CloseError, DeleteError, ProbeError, PushError, WaitError};
use crate::faults::{SOON, reached, series};
use crate::full::{at, count, delete, fill, open, within};
use crate::gate::Shortage;
use crate::hooked::{Call, Hooked, When};
use crate::options::{Builder, Durability, Level};
use crate::wait::{NotDurable, block_durable};
use crate::watch::Warning;

/// Until [`SimFs::restart`] is called.
pub(crate) fn no_more_files(fs: &SimFs) {
    let from = fs.operations();
    (1..100_000).for_each(|i| fs.fail_at(from + i, Fault::Files));
}

/// Answers of a delete of `host` up to `end`: who waits for ever is no end of the test.
pub(crate) fn delete_until(engine: &Arc<Engine>, host: usize, end: i64) -> DeleteError {
    let (tell, told) = mpsc::channel();
    let deleting = Arc::clone(engine);
    std::thread::spawn(move || tell.send(delete(&deleting, host, at(0)..at(end))));
    told.recv_timeout(SOON).expect("who deletes is answered").unwrap_err()
}

/// No more files: a push waits for the log's next one, and so does a delete for its sync. Of one before, the file at hand has
/// its frame.
fn delete_without_files(fs: &SimFs, engine: &Arc<Engine>) -> (Ack, DeleteError) {
    fill(engine, 0, 10);
    reached(engine, engine.push(series(engine, 0), at(10), 1.0).unwrap(), Level::Durable);
    no_more_files(fs);
    delete(engine, 0, at(0)..at(2)).expect("the file at hand takes it");
    let waiting = engine.push(series(engine, 1), at(1), 1.0).unwrap();
    assert_eq!(engine.wait(waiting, Level::Visible, SOON), Err(WaitError::OutOfFiles));
    (waiting, delete_until(engine, 0, 4))
}

/// The delete went to the log's reserve, and waited for ever for a sync of the log's folder, which may not be opened. And
/// what samples waited for behind it, another reserve, was told as space on the disk.
#[test]
fn p4_a_delete_while_no_file_may_be_opened_says_that_it_is_done_and_not_durable() {
    let (fs, asked) = (SimFs::new(), Arc::new(AtomicU32::new(0)));
    let (tell, warnings) = mpsc::channel();
    let mut builder = Builder::new(None).durability(Durability::Sync).background_compaction(false).query_threads(1);
    builder = builder.on_warning(move |warning| drop(tell.send(warning.clone())));
    let counted = Arc::clone(&asked);
    builder.fs = Some(Hooked::around(&fs, move |when, call, path| {
        let is_reserve = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(".reserve.0"));
        if (when, call) == (When::Before, Call::Create) && is_reserve {
            counted.fetch_add(1, Ordering::Relaxed);
        }
    }));
    let engine = Arc::new(builder.open().unwrap());
    let (waiting, refused) = delete_without_files(&fs, &engine);
    assert!(matches!(refused, DeleteError::NotDurable { short_of: Shortage::Files }), "{refused}");
    let text = refused.to_string();
    assert!(text.contains("ulimit -n") && text.contains("power loss") && !text.contains("delete again"), "{text}");
    assert_eq!(count(&engine, 0), 7, "it is done");
    let told =
        within("that no line was written", || warnings.try_recv().ok().filter(|w| w.to_string().contains(&text)));
    assert!(matches!(told, Warning::Unaudited { .. }), "{told}");

    // Once it has been tried, and told, what samples wait for is the same.
    let before = asked.load(Ordering::Relaxed);
    within("samples wait for a reserve", || (asked.load(Ordering::Relaxed) > before + 2).then_some(()));
    assert_eq!(engine.stats().short_of, Some(Shortage::Files));
    assert_eq!(engine.probe(SOON), Err(ProbeError::OutOfFiles));
    assert_eq!(engine.push(series(&engine, 1), at(2), 1.0), Err(PushError::OutOfFiles));
    assert_eq!(engine.wait(waiting, Level::Visible, SOON), Err(WaitError::OutOfFiles));

    let killed = fs.kill();
    killed.restart();
    assert_eq!(count(&open(&killed, Durability::Sync), 0), 7, "it survives the process");

    fs.restart();
    within("what was pushed goes on", || engine.wait(waiting, Level::Durable, SOON).ok());
    within("and new pushes", || engine.push(series(&engine, 1), at(2), 1.0).ok());
    within("a flush goes on, too", || engine.stats().short_of.is_none().then_some(()));
    assert_eq!(count(&engine, 0), 7);
    for seed in 0..4 {
        let again = open(&fs.crash(seed), Durability::Sync);
        assert!(count(&again, 0) == 7 && count(&again, 1) > 0, "it is durable before what was pushed behind it");
    }
    delete(&engine, 0, at(4)..at(5)).expect("deletes are durable again");
}

/// Whose delete waited for a sync that a close gives up was told that the engine is closed, though the next opening has it.
#[test]
fn p4_who_waits_for_a_sync_that_a_close_gives_up_is_told_what_it_waited_for() {
    let fs = SimFs::new();
    let engine = Arc::new(open(&fs, Durability::Sync));
    let (_, refused) = delete_without_files(&fs, &engine);
    assert!(matches!(refused, DeleteError::NotDurable { .. }), "{refused}");
    let behind_it = engine.life().core.watermark.seq();

    let closing = Engine::clone(&engine).close().expect_err("no file may be opened");
    assert!(!matches!(closing, CloseError::Poisoned(_)), "{closing}");
    let ended =
        block_durable(&engine.life().core, behind_it).map_err(|why| matches!(why, NotDurable::Short(Shortage::Files)));
    assert_eq!(ended, Err(true), "it is in the log");
    drop(engine);
    fs.restart();
    assert_eq!(count(&open(&fs, Durability::Sync), 0), 7);
}
