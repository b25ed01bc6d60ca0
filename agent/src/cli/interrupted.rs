//! A backup through an agent that is interrupted: what the agent made for it is not left behind.

use std::path::{Path, PathBuf};
use std::process::exit;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use tidegauge::admin::discard;
use tokio::signal::unix::{SignalKind, signal};

use super::Failure;

/// As shells count it, of a process that SIGINT ended.
const INTERRUPTED: i32 = 130;

/// Waits for SIGINT and SIGTERM while it lives.
pub(super) struct Interrupted(Arc<Mutex<Stage>>);

/// How far the backup is.
enum Stage {
    /// The agent makes the copy, somewhere in this folder.
    Asked(PathBuf),
    /// It lies here, and is to be brought away.
    Made(PathBuf),
    /// It is brought away, or an error is told.
    Brought,
}

impl Interrupted {
    /// An agent is about to be asked for a copy, which it makes in `snapshots`.
    pub(super) fn listen(snapshots: &Path) -> Result<Self, Failure> {
        let stage = Arc::new(Mutex::new(Stage::Asked(snapshots.to_owned())));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().map_err(Failure::found)?;
        let listening = Arc::clone(&stage);
        let inside = runtime.enter();
        // Before anything is asked: from here on neither ends the process by itself.
        let mut int = signal(SignalKind::interrupt()).map_err(Failure::found)?;
        let mut term = signal(SignalKind::terminate()).map_err(Failure::found)?;
        drop(inside);
        let wait = move || {
            runtime.block_on(async {
                tokio::select! { _ = int.recv() => {}, _ = term.recv() => {} }
            });
            // Held until the end: whoever comes to a next stage waits for it.
            let stage = listening.lock().unwrap_or_else(PoisonError::into_inner);
            eprintln!("tidegauge: interrupted{}", told(&stage));
            exit(INTERRUPTED);
        };
        thread::Builder::new().spawn(wait).map_err(Failure::found)?;
        Ok(Self(stage))
    }

    /// The agent has made the copy.
    pub(super) fn is_made(&self, at: &Path) {
        self.comes_to(Stage::Made(at.to_owned()));
    }

    /// Nothing is to be removed any more.
    pub(super) fn is_brought(&self) {
        self.comes_to(Stage::Brought);
    }

    fn comes_to(&self, next: Stage) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = next;
    }
}

/// What is left, and what was done for it.
fn told(stage: &Stage) -> String {
    match stage {
        Stage::Asked(snapshots) => {
            format!(": the agent goes on making the copy, in {}; remove it there", snapshots.display())
        }
        Stage::Made(at) => match discard(at) {
            Ok(()) => "; what the agent had made is removed".to_owned(),
            Err(why) => format!("; what the agent had made lies in {}, and cannot be removed: {why}", at.display()),
        },
        Stage::Brought => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use tidegauge::Engine;

    use super::*;

    /// What an agent had made for a backup that was interrupted stayed in its directory.
    #[test]
    fn an_interrupted_backup_leaves_no_copy_where_it_was_made() {
        let dir = tempfile::tempdir().unwrap();
        let made = dir.path().join("snapshots/a");
        Engine::open(dir.path().join("data")).unwrap().backup(&made).unwrap();
        assert_eq!(told(&Stage::Made(made.clone())), "; what the agent had made is removed");
        assert!(!made.exists());
        let said = told(&Stage::Made(made.clone()));
        assert!(said.contains(made.to_str().unwrap()) && said.contains("cannot be removed"), "{said}");
        assert!(told(&Stage::Asked(dir.path().to_owned())).contains("remove it there"));
    }
}
