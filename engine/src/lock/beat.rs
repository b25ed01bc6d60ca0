//! The heartbeat: a light thread that sleeps nearly always.

use std::io;

use super::Held;
use crate::clock;
use crate::sync::{Arc, Condvar, Mutex, thread};
use crate::watch::{Worker, Works};

/// A running heartbeat. Dropping it ends the thread.
pub(super) struct Beat {
    stop: Arc<Stop>,
    thread: Option<thread::JoinHandle<()>>,
}

#[derive(Default)]
struct Stop {
    asked: Mutex<bool>,
    changed: Condvar,
}

impl Beat {
    pub(super) fn start(held: Held, works: Arc<Works>, lost: impl FnOnce(String) + Send + 'static) -> io::Result<Self> {
        let stop = Arc::new(Stop::default());
        let seen = Arc::clone(&stop);
        let thread =
            thread::Builder::new().name("tidegauge-lock".to_owned()).spawn(move || run(held, &seen, &works, lost))?;
        Ok(Self { stop, thread: Some(thread) })
    }
}

fn run(mut held: Held, stop: &Stop, works: &Arc<Works>, lost: impl FnOnce(String)) {
    while !stop.asked_within(&held) {
        let _work = works.begin(Worker::Lock, "the heartbeat");
        if !held.name.is_ours() {
            lost(held.name.lost());
            return;
        }
        held.owner.heartbeat = clock::now();
        // A heartbeat that cannot be written is no failure: the lock holds all the same. It is synced, since another
        // machine that watches the file may not see before what this one only holds in memory.
        let _ = held.write(&held.owner).and_then(|()| held.with_file(|file| file.sync_data()));
    }
}

impl Stop {
    /// Waits for the next heartbeat, less if the end is asked for. Answers whether it is.
    fn asked_within(&self, held: &Held) -> bool {
        let asked = self.asked.lock().expect("heartbeat lock");
        let waited = self.changed.wait_timeout_while(asked, held.owner.heartbeat_every, |asked| !*asked);
        *waited.expect("heartbeat lock").0
    }
}

impl Drop for Beat {
    fn drop(&mut self) {
        *self.stop.asked.lock().expect("heartbeat lock") = true;
        self.stop.changed.notify_all();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
