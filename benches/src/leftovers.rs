//! What must be gone when a signal ends this program: temporary folders, and processes that it started.

use std::io;
use std::os::unix::process::{CommandExt, parent_id};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use rustix::process::{
    Pid, Signal, WaitId, WaitIdOptions, kill_process_group, set_parent_process_death_signal, waitid,
};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
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
    children: Vec<Arc<Mutex<Started>>>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// From now on SIGHUP, SIGINT and SIGTERM end this program with 129, 130 and 143, and nothing is left behind. With `stop`
/// the first signal only sets that. A SIGHUP that is ignored stays so: `nohup` means it.
///
/// # Errors
/// If the system takes no handler or no thread.
pub fn end_on_signals(mut stop: Option<Arc<AtomicBool>>) -> io::Result<()> {
    let mut signals = Signals::new([SIGINT, SIGTERM])?;
    if !ignores_hangups(&std::fs::read_to_string("/proc/self/status").unwrap_or_default()) {
        signals.add_signal(SIGHUP)?;
    }
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

/// What the system says of a process: signal n is bit n - 1 of those ignored.
fn ignores_hangups(status: &str) -> bool {
    let ignored = status.lines().find_map(|line| u64::from_str_radix(line.strip_prefix("SigIgn:")?.trim(), 16).ok());
    ignored.is_some_and(|ignored| ignored & 1 << (SIGHUP - 1) != 0)
}

/// From now on the end of the process with this number, which started this one, is a SIGTERM to this one.
///
/// # Errors
/// If the system does not know how, or that process is gone already.
pub fn end_with(parent: u32) -> io::Result<()> {
    set_parent_process_death_signal(Some(Signal::TERM))?;
    // Gone before it was asked for: nobody would tell.
    if parent_id() == parent { Ok(()) } else { Err(io::Error::other("the process that started this one is gone")) }
}

fn end(signal: i32) -> ! {
    ENDING.store(true, Ordering::SeqCst);
    let held = locked(&HELD);
    held.children.iter().for_each(|child| locked(child).end());
    held.folders.iter().for_each(|dir| remove(dir));
    // With the lock: nobody makes another one.
    std::process::exit(128 + signal)
}

/// A signal that ends this program removes this folder, too, which is somebody else's otherwise.
pub fn remove_on_signal(dir: &Path) {
    locked(&HELD).folders.push(dir.to_owned());
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
    eprintln!("{} could not be removed", dir.display());
}

/// This program once more, for a process of its own. On Linux that is what runs, even where its file has been replaced by
/// another build since, or removed.
///
/// # Errors
/// If the system does not tell where it is.
pub fn this_program() -> io::Result<Command> {
    let running = Path::new("/proc/self/exe");
    let this = if running.exists() { running.to_owned() } else { std::env::current_exe()? };
    let mut command = Command::new(this);
    if let Some(name) = std::env::args_os().next() {
        command.arg0(name);
    }
    Ok(command)
}

/// A folder that is removed with its content when this is dropped.
#[derive(Debug)]
pub struct Temporary(PathBuf);

impl Temporary {
    /// A new one in the current folder.
    pub(crate) fn new() -> io::Result<Self> {
        // Not the system's folder for such things: that is often memory, where fdatasync is free.
        Self::within(Path::new("."), "tidegauge-bench-")
    }

    /// A new one in `dir`, whose name begins with `prefix`.
    ///
    /// # Errors
    /// If it cannot be made.
    pub fn within(dir: &Path, prefix: &str) -> io::Result<Self> {
        let mut held = locked(&HELD);
        let dir = tempfile::Builder::new().prefix(prefix).tempdir_in(dir)?.keep();
        held.folders.push(dir.clone());
        Ok(Self(dir))
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
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

/// How a process is ended.
#[derive(Clone, Copy, Debug, PartialEq)]
enum How {
    /// With SIGKILL.
    Killed,
    /// With SIGKILL, and all that it started and that stayed in its group.
    KilledWithItsGroup,
    /// With SIGTERM to its group: it knows what to clear away.
    Asked,
}

#[derive(Debug)]
struct Started {
    child: Child,
    how: How,
    /// Waited for: its number may be somebody else's by now.
    gone: bool,
}

impl Started {
    fn end(&mut self) {
        if self.gone {
            return;
        }
        match self.how {
            How::Killed => drop(self.child.kill()),
            How::KilledWithItsGroup => self.signal_group(Signal::KILL),
            How::Asked => self.signal_group(Signal::TERM),
        }
        let _ = self.child.wait();
        self.gone = true;
    }

    /// It is the leader of its group, and not waited for, so that the number is its own.
    fn signal_group(&self, signal: Signal) {
        // An error says that nobody is there any more.
        let _ = kill_process_group(Pid::from_child(&self.child), signal);
    }
}

/// A process that is ended when this is dropped.
#[derive(Debug)]
pub struct Victim(Arc<Mutex<Started>>);

impl Victim {
    /// Starts one that is killed with SIGKILL.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn spawn(command: &mut Command) -> io::Result<Self> {
        Self::started(command, How::Killed)
    }

    /// Starts one in a group of its own, which is killed with all that it starts in turn.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn spawn_group(command: &mut Command) -> io::Result<Self> {
        // The interrupt of a terminal is for this process, which ends the others.
        Self::started(command.process_group(0), How::KilledWithItsGroup)
    }

    /// As [`spawn_group`](Self::spawn_group), but it is asked by SIGTERM, and waited for.
    pub(crate) fn spawn_asked(command: &mut Command) -> io::Result<Self> {
        Self::started(command.process_group(0), How::Asked)
    }

    fn started(command: &mut Command, how: How) -> io::Result<Self> {
        let mut held = locked(&HELD);
        let started = Started { child: command.spawn()?, how, gone: false };
        let child = Arc::new(Mutex::new(started));
        held.children.push(Arc::clone(&child));
        Ok(Self(child))
    }

    /// Its number.
    #[must_use]
    pub fn id(&self) -> u32 {
        locked(&self.0).child.id()
    }

    /// What it prints, if that was asked for and not taken before.
    #[must_use]
    pub fn take_stdout(&self) -> Option<ChildStdout> {
        locked(&self.0).child.stdout.take()
    }

    /// Ends it; comes back when it is gone.
    pub(crate) fn kill(&self) {
        let _held = locked(&HELD);
        locked(&self.0).end();
    }

    /// How it ended, if it has.
    ///
    /// # Errors
    /// If the system does not tell.
    pub fn try_wait(&self) -> io::Result<Option<ExitStatus>> {
        let mut started = locked(&self.0);
        let status = started.child.try_wait()?;
        started.gone |= status.is_some();
        Ok(status)
    }

    /// Waits until it ends by itself; whatever it left in a group of its own is killed then.
    ///
    /// # Errors
    /// If the system does not tell.
    pub fn wait(&self) -> io::Result<ExitStatus> {
        let pid = Pid::from_child(&locked(&self.0).child);
        // Without the lock, so that a signal can end it, and without taking its number from it.
        let waited = waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT);
        give_way();
        waited?;
        let mut started = locked(&self.0);
        if started.how != How::Killed {
            started.signal_group(Signal::KILL);
        }
        started.gone = true;
        started.child.wait()
    }
}

impl Drop for Victim {
    fn drop(&mut self) {
        let mut held = locked(&HELD);
        locked(&self.0).end();
        held.children.retain(|child| !Arc::ptr_eq(child, &self.0));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hangup_that_is_ignored_is_seen_to_be() {
        assert!(ignores_hangups("Name:\tx\nSigBlk:\t0000000000000000\nSigIgn:\t0000000000001001\n"));
        assert!(!ignores_hangups("SigIgn:\t0000000000001000\nSigCgt:\t0000000000000001\n"));
        assert!(!ignores_hangups(""));
    }
}
