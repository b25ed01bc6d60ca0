//! The life of the agent: open, collect, answer, and stop without losing anything.

mod collectors;
mod open_files;
mod stop;
mod threads;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tidegauge::{Builder, CloseError, Durability, Engine, OpenProgress, Retention};
use tokio::net::TcpListener;

use crate::blocking::{self, NotDone};
use crate::collect::{self, Outcomes, Report};
use crate::config::{Settings, in_force};
use crate::failure::Failure;
use crate::http::{self, App};
use crate::own::Counters;
use crate::units::show_bytes;
use collectors::Collectors;

/// An opening that takes longer says how far it is, this often.
const LINE_EVERY: Duration = Duration::from_secs(1);

/// Runs until a signal, or until something makes it impossible to begin.
pub(crate) fn run(settings: Settings) -> Result<(), Failure> {
    open_files::check(&collect::to_stderr())?;
    threads::check(&settings)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name("tidegauge-http")
        .build()
        .map_err(|e| Failure::found(format_args!("cannot start threads: {e}")))?;
    runtime.block_on(live(settings))
}

async fn live(settings: Settings) -> Result<(), Failure> {
    // Signals first: one that comes during a long recovery must not kill us half-way.
    let stop = stop::Stop::listen().map_err(|e| Failure::found(format_args!("cannot listen for signals: {e}")))?;
    // The address before the data: a taken port must not cost a recovery.
    let listener = TcpListener::bind(settings.listen).await.map_err(|e| {
        Failure::found(format_args!(
            "cannot listen on {}: {e}; does an agent run there already? Else give another address with --listen",
            settings.listen
        ))
    })?;
    let bound = listener.local_addr().unwrap_or(settings.listen);
    let report = collect::to_stderr();
    let engine = open(&settings, builder(&settings, bound, Arc::clone(&report)), report).await?;
    if let Some(line) = kept(&engine.retention(), &settings) {
        collect::to_stderr()(&line);
    }

    let counters = Arc::new(Counters::beside(&settings.data_dir));
    let outcomes = Outcomes::default();
    let collectors = Collectors::start(&engine, &settings, &counters, outcomes.clone(), bound)?;
    let app = App::new(engine.clone(), settings.clone(), Arc::clone(&counters), outcomes);
    let ready = http::is_ready(Arc::clone(&app)).await;
    if let Err(why) = &ready {
        // It serves what it can: pushes are taken, and what is sound is read.
        collect::to_stderr()(&format!(
            "warning: not ready: {why}; where something is damaged, `tidegauge verify --data-dir {0}` names it and `tidegauge repair --data-dir {0}` saves the rest",
            settings.data_dir.display()
        ));
    }
    announce(&settings, bound, ready.is_ok());
    http::serve(listener, http::router(app), counters, stop.asked()).await;
    collectors.stop().await;

    let closing = engine.clone();
    let closed = match blocking::run(move || closing.close()).await {
        // Nobody is served any more whom it would hold up.
        Err(NotDone::NoThread(_)) => Ok(engine.close()),
        closed => closed,
    };
    match closed {
        Ok(closed) => end(closed, settings.durability, &collect::to_stderr()),
        Err(why) => Err(Failure::found(format_args!("closing failed: {why}"))),
    }
}

/// How it ends. Where a full disk kept the close from its flush, all that was acknowledged is in the log and comes back:
/// that is told, and no failure. What never became visible was answered with an error.
fn end(closed: Result<(), CloseError>, durability: Durability, report: &Report) -> Result<(), Failure> {
    match closed {
        // One that writes no log, too, may have all that it did not flush in that of the opening before.
        Err(why)
            if matches!(why, CloseError::NotFlushed { logged: true, .. })
                || matches!(why, CloseError::NotTaken { .. }) && durability != Durability::Memory =>
        {
            report(&format!("{why}. Everything acknowledged is in the log, and comes back with the next start"));
            Ok(())
        }
        closed => closed.map_err(Failure::found),
    }
}

/// The engine as the settings want it; what it warns of goes to `report`.
fn builder(settings: &Settings, bound: SocketAddr, report: Report) -> Builder {
    Engine::builder(&settings.data_dir)
        .durability(settings.durability)
        .series_idle(settings.series_idle)
        .address(bound.to_string())
        .query_memory_bytes(settings.query_memory)
        .on_progress(lines(Arc::clone(&report), LINE_EVERY))
        .on_warning(move |warning| report(&format!("warning: {warning}")))
}

/// Tells how far an opening is, once it takes longer than a moment.
fn lines(report: Report, every: Duration) -> impl Fn(&OpenProgress) + Send + Sync {
    let told = Mutex::new(Instant::now());
    move |progress| {
        let Ok(mut told) = told.lock() else { return };
        if told.elapsed() >= every {
            *told = Instant::now();
            let OpenProgress { step, done, total, .. } = progress;
            report(&format!("{step}: {} of {}", show_bytes(*done), show_bytes(*total)));
        }
    }
}

/// What the opening noted goes to `report`.
async fn open(settings: &Settings, builder: Builder, report: Report) -> Result<Engine, Failure> {
    let kept = settings.kept.clone();
    let opened = tokio::task::spawn_blocking(move || {
        let engine = builder.open().map_err(Failure::found)?;
        engine.recovery_report().notes.iter().for_each(|note| report(&format!("warning: {note}")));
        let before = engine.retention();
        let kept = kept.with(before.clone());
        // What is said again leaves no line in the audit log.
        if kept != before {
            engine.set_retention(kept).map_err(Failure::found)?;
        }
        Ok(engine)
    });
    match opened.await {
        Ok(opened) => opened,
        Err(why) => Err(Failure::found(format_args!("opening failed: {why}"))),
    }
}

/// What the store drops, if anything: one that was told once goes on, whoever starts it.
fn kept(retention: &Retention, settings: &Settings) -> Option<String> {
    if *retention == Retention::default() {
        return None;
    }
    let (told, line) = (&settings.kept, format!("retention in force: {}", in_force(retention)));
    // Ages and rules are one thing, the size is another.
    let ages = told.age.is_none() && told.rules.is_empty() && !retention.rules.is_empty();
    let size = told.size.is_none() && retention.max_bytes.is_some();
    Some(match (ages, size) {
        (false, false) => line,
        (true, false) => format!("{line}; the store remembers the ages (--retention forever lifts them)"),
        (false, true) => format!("{line}; the store remembers the size (--retention-size none lifts it)"),
        (true, true) => {
            format!("{line}; the store remembers it (--retention forever and --retention-size none lift it)")
        }
    })
}

/// The one line on stdout: where to look.
fn announce(settings: &Settings, bound: SocketAddr, is_ready: bool) {
    use std::io::Write;
    let mut out = std::io::stdout().lock();
    // Nobody reading our stdout is no reason to stop.
    let _ = writeln!(
        out,
        "tidegauge {} {}: http://{bound}  (data in {}, durability {})",
        env!("CARGO_PKG_VERSION"),
        if is_ready { "is ready" } else { "runs, but is not ready" },
        settings.data_dir.display(),
        settings.durability
    );
    let _ = out.flush();
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::ServeArgs;
    use std::path::Path;
    use tidegauge::Shortage;

    #[test]
    fn an_end_that_loses_nothing_acknowledged_is_no_failure_and_says_what_to_do() {
        let said = Arc::new(Mutex::new(String::new()));
        let into = Arc::clone(&said);
        let report: Report = Arc::new(move |line: &str| into.lock().unwrap().push_str(line));
        let unflushed = |logged| Err(CloseError::NotFlushed { samples: 7, logged, short_of: Some(Shortage::Space) });
        let logged = Durability::Interval(Duration::from_millis(100));
        end(unflushed(true), logged, &report).unwrap();
        let text = std::mem::take(&mut *said.lock().unwrap());
        assert!(text.contains("7 samples") && text.contains("make space") && text.contains("next start"), "{text}");
        end(Err(CloseError::NotTaken { samples: 3, short_of: Some(Shortage::Space) }), Durability::Sync, &report)
            .unwrap();
        assert!(std::mem::take(&mut *said.lock().unwrap()).contains("3 samples"));
        end(unflushed(true), Durability::Memory, &report).unwrap();
        let text = std::mem::take(&mut *said.lock().unwrap());
        assert!(text.contains("7 samples") && text.contains("next start"), "in the log of the opening before: {text}");
        end(Ok(()), logged, &report).unwrap();
        assert!(end(unflushed(false), Durability::Memory, &report).is_err(), "without a log they are lost");
        assert!(
            end(Err(CloseError::NotTaken { samples: 3, short_of: Some(Shortage::Space) }), Durability::Memory, &report)
                .is_err()
        );
        assert_eq!(*said.lock().unwrap(), "");
    }

    #[test]
    fn what_the_engine_warns_of_is_a_line_in_the_log() {
        let dir = tempfile::tempdir().unwrap();
        let args = ServeArgs { data_dir: Some(dir.path().join("data")), ..ServeArgs::default() };
        let settings = crate::config::settle(args).unwrap();
        let (lines, log) = std::sync::mpsc::channel();
        let report: Report = Arc::new(move |line: &str| drop(lines.send(line.to_owned())));
        let builder = builder(&settings, settings.listen, report).snapshot_warn_after(Duration::from_millis(1));
        let engine = builder.open().unwrap();
        let _held = engine.snapshot();
        let line = log.recv_timeout(Duration::from_secs(30)).expect("a warning");
        assert!(line.starts_with("warning: a snapshot has been held"), "{line}");
    }

    /// As a crash leaves it.
    fn copy_store(owned: &Path, left: &Path) {
        for folder in ["", "segments", "wal"] {
            std::fs::create_dir_all(left.join(folder)).unwrap();
            for file in std::fs::read_dir(owned.join(folder)).unwrap().map(Result::unwrap) {
                if file.path().is_file() {
                    std::fs::copy(file.path(), left.join(folder).join(file.file_name())).unwrap();
                }
            }
        }
    }

    #[test]
    fn what_an_opening_notes_is_a_warning_in_the_log() {
        let dir = tempfile::tempdir().unwrap();
        let (owned, left) = (dir.path().join("owned"), dir.path().join("left"));
        let long = tidegauge::Durability::Interval(Duration::from_secs(3_600));
        let engine = Engine::builder(&owned).durability(long).open().unwrap();
        let id = engine.series(&[("__name__", "m")]).unwrap();
        for _ in 0..3 {
            // Each is a frame of the log.
            let ack = engine.push(id, tidegauge::now(), 1.0).unwrap();
            engine.wait(ack, tidegauge::Level::Visible, Duration::from_secs(30)).unwrap();
        }
        copy_store(&owned, &left);
        let begins = |bytes: &[u8], at: &usize| bytes[*at..].starts_with(b"TGFR") && bytes[*at + 90] == 1;
        let frames =
            |bytes: &[u8]| (4096..bytes.len() - 96).step_by(8).filter(|at| begins(bytes, at)).collect::<Vec<usize>>();
        let files = std::fs::read_dir(left.join("wal")).unwrap().map(|file| file.unwrap().path());
        let log = files.max_by_key(|path| frames(&std::fs::read(path).unwrap()).len()).unwrap();
        let mut bytes = std::fs::read(&log).unwrap();
        let second = frames(&bytes)[1];
        bytes[second + 100] ^= 1;
        std::fs::write(&log, bytes).unwrap();

        let args = ServeArgs { data_dir: Some(left), ..ServeArgs::default() };
        let settings = crate::config::settle(args).unwrap();
        let (lines, log) = std::sync::mpsc::channel();
        let report: Report = Arc::new(move |line: &str| drop(lines.send(line.to_owned())));
        let builder = builder(&settings, settings.listen, Arc::clone(&report));
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let engine = runtime.block_on(open(&settings, builder, report)).unwrap();
        let said: Vec<String> = log.try_iter().collect();
        let told = |line: &String| {
            line.starts_with("warning: the log is cut at") && line.contains("1 sound frame with 1 sample lies behind")
        };
        assert!(said.iter().any(told), "{said:?}");
        engine.close().unwrap();
    }

    #[test]
    fn an_opening_that_replays_a_log_says_how_far_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let (owned, left) = (dir.path().join("owned"), dir.path().join("left"));
        let engine = Engine::open(&owned).unwrap();
        let id = engine.series(&[("__name__", "m")]).unwrap();
        let ack = engine.push(id, tidegauge::now(), 1.0).unwrap();
        engine.wait(ack, tidegauge::Level::Durable, Duration::from_secs(30)).unwrap();
        copy_store(&owned, &left);
        let (lines_to, log) = std::sync::mpsc::channel();
        let report: Report = Arc::new(move |line: &str| drop(lines_to.send(line.to_owned())));
        let opened = Engine::builder(&left).on_progress(lines(report, Duration::ZERO)).open().unwrap();
        assert_eq!(opened.recovery_report().samples, 1);
        let said: Vec<String> = log.try_iter().collect();
        let last = said.last().and_then(|line| line.strip_prefix("replaying the log: ")).expect("a line");
        let (done, total) = last.split_once(" of ").unwrap();
        assert_eq!(done, total, "{said:?}");
    }
}
