//! Segments that no version holds any more, and snapshots still may.

use std::sync::Arc;
use std::time::Duration;

use tidegauge_storage::fs::Fs;
use tidegauge_storage::segment::Segment;

use crate::sync::atomic::{AtomicUsize, Ordering};
use crate::sync::{Mutex, thread};

/// Whoever looks at the version just then holds what it had for some microseconds, or until he gets the processor back. The
/// next job would take its space beside that of these.
const LOOKS: u32 = 20;
/// Between them.
const LOOK: Duration = Duration::from_millis(1);

/// Keeps their files until the last snapshot that reads them is gone. The manifest does not
/// name them: what a crash leaves of them is removed at the next opening.
pub(crate) struct Graveyard {
    fs: Arc<dyn Fs>,
    dead: Mutex<Vec<Arc<Segment>>>,
    /// How many; readable without the lock.
    len: AtomicUsize,
}

impl Graveyard {
    pub(crate) fn new(fs: Arc<dyn Fs>) -> Self {
        Self { fs, dead: Mutex::new(Vec::new()), len: AtomicUsize::new(0) }
    }

    /// Takes segments in. The manifest and the version must be rid of them already. Those that somebody holds are waited
    /// for, some 20 ms at the most; snapshots may keep them for longer. `gets_on` is called between files.
    pub(crate) fn bury(&self, dead: Vec<Arc<Segment>>, gets_on: &dyn Fn()) {
        let mut all = self.dead.lock().expect("graveyard lock");
        let held_before = all.len();
        all.extend(dead);
        // Relaxed, here and below: who reads a stale number leaves the files to the next one.
        self.len.store(all.len(), Ordering::Relaxed);
        drop(all);
        self.sweep(gets_on);
        for _ in 0..LOOKS {
            if self.len.load(Ordering::Relaxed) <= held_before {
                return;
            }
            thread::sleep(LOOK);
            self.sweep(gets_on);
        }
    }

    /// Removes the files of those that nobody holds. One load if there are none. `gets_on` is called between files.
    pub(crate) fn sweep(&self, gets_on: &dyn Fn()) {
        if self.len.load(Ordering::Relaxed) == 0 {
            return;
        }
        let mut all = self.dead.lock().expect("graveyard lock");
        let unheld: Vec<_> = all.extract_if(.., |segment| Arc::strong_count(segment) == 1).collect();
        self.len.store(all.len(), Ordering::Relaxed);
        drop(all);
        self.remove(&unheld, gets_on);
    }

    /// Whether somebody held a segment when it was last swept.
    pub(crate) fn has_any(&self) -> bool {
        self.len.load(Ordering::Relaxed) > 0
    }

    /// Removes the files of all: the engine closes. Maps keep their bytes. While a copy is made, which needs the names
    /// too, those that anybody holds stay; the next opening removes them.
    pub(crate) fn clear(&self, copying: bool) {
        let mut all = std::mem::take(&mut *self.dead.lock().expect("graveyard lock"));
        self.len.store(0, Ordering::Relaxed);
        if copying {
            all.retain(|segment| Arc::strong_count(segment) == 1);
        }
        self.remove(&all, &|| ());
    }

    fn remove(&self, segments: &[Arc<Segment>], gets_on: &dyn Fn()) {
        for segment in segments {
            let _ = self.fs.remove(segment.path());
            gets_on();
        }
    }
}
