//! A manifest that cannot be written anew, and whoever is told so.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tidegauge_storage::fs::Fs;
use tidegauge_storage::fs::sim::{Fault, SimFs};
use tidegauge_storage::manifest::Retention;

use super::Warning;
use crate::engine::{Engine, Metadata};
use crate::options::{Builder, Durability};
use crate::pace::Pace;

const SOON: Duration = Duration::from_secs(30);

fn known(help: String) -> Metadata {
    Metadata { kind: "gauge".into(), help, unit: String::new() }
}

/// Of an engine that writes nothing but what it is asked for: each commit has the same operations.
fn open(fs: &SimFs, on_warning: impl Fn(&Warning) + Send + Sync + 'static) -> Engine {
    let mut builder = Builder::new(None).durability(Durability::Memory).background_compaction(false);
    builder.pace = Pace::NEVER;
    builder.fs = Some(Arc::new(fs.clone()) as Arc<dyn Fs>);
    builder.on_warning(on_warning).open().unwrap()
}

/// One commit of some size.
fn describe(engine: &Engine, nth: usize) {
    engine.set_metadata("cpu", known("x".repeat(20_000 + nth))).unwrap();
}

/// Which commits, those before `failing` having failed to, would have the manifest written anew: one that does, does more
/// than another, of which the file may have to become longer.
fn next_rewrite(failing: &[usize]) -> usize {
    let (fs, told) = (SimFs::new(), |_: &Warning| {});
    let engine = open(&fs, told);
    let rewrites = |&nth: &usize| {
        let before = fs.operations();
        fail_rewrite(&fs, failing.contains(&nth));
        describe(&engine, nth);
        !failing.contains(&nth) && fs.operations() - before > 5
    };
    (0..100).find(rewrites).expect("it is written anew now and then")
}

/// The first operation takes away what others left under the name: of a commit that does not write the manifest anew it would
/// be the write.
fn fail_rewrite(fs: &SimFs, fail: bool) {
    if fail {
        fs.fail_at(fs.operations() + 1, Fault::Io);
    }
}

fn told_of_growth() -> (Mutex<Sender<Warning>>, Receiver<Warning>) {
    let (tell, told) = channel();
    (Mutex::new(tell), told)
}

/// Commits went on in a file that grew, and nobody was told.
#[test]
fn p4_a_manifest_that_cannot_be_written_anew_is_told_until_it_can() {
    let first = next_rewrite(&[]);
    let second = next_rewrite(&[first]);
    assert!(second > first + 5, "not before 256 KiB more: {first}, {second}");
    let fs = SimFs::new();
    let (tell, told) = told_of_growth();
    let engine = open(&fs, move |warning| {
        if let Warning::ManifestGrows { .. } = warning {
            drop(tell.lock().unwrap().send(warning.clone()));
        }
    });
    for nth in 0..=second {
        fail_rewrite(&fs, nth == first || nth == second);
        describe(&engine, nth);
        assert_eq!(engine.stats().manifest_rewrite_failing, nth >= first, "{nth}");
    }
    let Ok(Warning::ManifestGrows { bytes, cause }) = told.recv_timeout(SOON) else { panic!("it is told") };
    assert!(bytes > 200 << 10 && cause.contains("error"), "{bytes}: {cause}");
    let until_next = (1..100).find(|&more| {
        describe(&engine, second + more);
        !engine.stats().manifest_rewrite_failing
    });
    assert!(until_next.is_some_and(|commits| commits > 5), "{until_next:?}");
    assert!(engine.is_healthy().is_ok());
    engine.close().unwrap();
    assert_eq!(told.try_iter().count(), 0, "once");
}

/// Warnings were told under the lock of the list that they wait in, which whoever commits takes under the manifest's: what
/// changes the manifest, asked for by who is told, waited for ever, and so did every commit.
#[test]
fn p4_who_is_told_of_a_manifest_that_grows_may_change_it() {
    let first = next_rewrite(&[]);
    let second = next_rewrite(&[first]);
    let fs = SimFs::new();
    let (tell, answers) = channel();
    let tell = Mutex::new(tell);
    let own: Arc<Mutex<Option<Engine>>> = Arc::default();
    let asked = Arc::clone(&own);
    let engine = open(&fs, move |warning| {
        let is_growth = matches!(warning, Warning::ManifestGrows { .. });
        if let Some(engine) = asked.lock().unwrap().take_if(|_| is_growth) {
            let described = engine.set_metadata("mem", known("x".to_owned()));
            let kept = engine.set_retention(Retention { rules: Vec::new(), max_bytes: Some(1 << 40) });
            let known = engine.metadata().len();
            drop(engine);
            tell.lock().unwrap().send((described.is_ok(), kept.is_ok(), known)).unwrap();
        }
    });
    *own.lock().unwrap() = Some(engine.clone());
    for nth in 0..=first {
        fail_rewrite(&fs, nth == first);
        describe(&engine, nth);
    }
    assert_eq!(answers.recv_timeout(SOON), Ok((true, true, 2)));
    // And others meanwhile.
    for nth in first + 1..second + 5 {
        describe(&engine, nth);
    }
    assert!(!engine.stats().manifest_rewrite_failing);
    engine.close().unwrap();
}
