//! What must be gone when a signal ends this program: temporary folders, and processes that it started.

use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

/// Whoever makes or removes one of them holds the lock meanwhile, so a signal finds all there are.
static HELD: Mutex<Held> = Mutex::new(Held { folders: Vec::new(), children: Vec::new() });
/// A signal is ending this program. Set before anything is taken away from those that still run.
static ENDING: AtomicBool = AtomicBool::new(false);

/// Threads that still write put files into a folder while it is removed: so often it is tried again.
const TRIES: u32 = 1_000;
/// ... and one that is just opening a store makes the folder anew: so often it must be seen to stay away.
const LOOKS: u32 = 20;

struct Held {
    folders: Vec<PathBuf>,
    children: Vec<Arc<Mutex<Child>>>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// From now on SIGINT and SIGTERM end this program with 130 and 143, and nothing is left behind. With `stop` the first
/// signal only sets that.
///
/// # Errors
/// If the system takes no handler or no thread.
pub fn end_on_signals(mut stop: Option<Arc<AtomicBool>>) -> io::Result<()> {
    let mut signals = Signals::new([SIGINT, SIGTERM])?;
    let listen = move || {
        for signal in signals.forever() {
            match stop.take() {
                // Relaxed: nothing is read on the strength of it.
                Some(stop) => stop.store(true, Ordering::Relaxed),
                None => end(signal),
            }
        }
    };
    thread::Builder::new().name("signals".into()).spawn(listen).map(|_| ())
}

fn end(signal: i32) -> ! {
    ENDING.store(true, Ordering::SeqCst);
    let held = locked(&HELD);
    held.children.iter().for_each(|child| kill(child));
    held.folders.iter().for_each(|dir| remove(dir));
    // With the lock: nobody makes another one.
    std::process::exit(128 + signal)
}

/// Does not come back where a signal is ending this program: what failed then failed for want of what was removed.
pub fn give_way() {
    while ENDING.load(Ordering::SeqCst) {
        thread::park();
    }
}

fn remove(dir: &Path) {
    let looks = if ENDING.load(Ordering::SeqCst) { LOOKS } else { 1 };
    let mut gone = 0;
    for _ in 0..TRIES {
        let _ = std::fs::remove_dir_all(dir);
        gone = if dir.exists() { 0 } else { gone + 1 };
        if gone == looks {
            return;
        }
        thread::sleep(Duration::from_millis(1));
    }
    eprintln!("tidegauge-bench: {} could not be removed", dir.display());
}

fn kill(child: &Mutex<Child>) {
    let mut child = locked(child);
    let _ = child.kill();
    let _ = child.wait();
}

/// A folder in the current one, removed with its content when this is dropped.
#[derive(Debug)]
pub(crate) struct Temporary(PathBuf);

impl Temporary {
    pub(crate) fn new() -> io::Result<Self> {
        let mut held = locked(&HELD);
        // Not the system's folder for such things: that is often memory, where fdatasync is free.
        let dir = tempfile::Builder::new().prefix("tidegauge-bench-").tempdir_in(".")?.keep();
        held.folders.push(dir.clone());
        Ok(Self(dir))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        let mut held = locked(&HELD);
        remove(&self.0);
        held.folders.retain(|dir| *dir != self.0);
    }
}

/// A process that is killed when this is dropped.
#[derive(Debug)]
pub(crate) struct Victim(Arc<Mutex<Child>>);

impl Victim {
    pub(crate) fn spawn(command: &mut Command) -> io::Result<Self> {
        let mut held = locked(&HELD);
        let child = Arc::new(Mutex::new(command.spawn()?));
        held.children.push(Arc::clone(&child));
        Ok(Self(child))
    }

    pub(crate) fn id(&self) -> u32 {
        locked(&self.0).id()
    }

    pub(crate) fn take_stdout(&self) -> Option<ChildStdout> {
        locked(&self.0).stdout.take()
    }

    /// With SIGKILL; comes back when it is gone.
    pub(crate) fn kill(&self) {
        let _held = locked(&HELD);
        kill(&self.0);
    }
}

impl Drop for Victim {
    fn drop(&mut self) {
        let mut held = locked(&HELD);
        kill(&self.0);
        held.children.retain(|child| !Arc::ptr_eq(child, &self.0));
    }
}
