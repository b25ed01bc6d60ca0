//! Roofs of the minute: what a run takes right before and right behind itself, in 1.3 s each time.

use std::process::Stdio;

use serde::{Deserialize, Serialize};

use super::memory::{self, Effort};
use super::vectors::{Order, W1_SERIES, append_m_s};
use crate::error::Error;
use crate::leftovers::{Victim, give_way, this_program};
use crate::measure::{Machine, cores};
use crate::progress::Progress;

/// Half of what `roofs` takes, and fewer rounds. Each figure is the one of this name in [`Roofs`](super::Roofs).
const EFFORT: Effort = Effort { bytes: 128 << 20, rounds: 3, loads: 300_000 };

/// ... and more where many threads share it.
fn effort(threads: usize) -> Effort {
    EFFORT.shared_by(threads)
}

/// Roofs that change with what else the host does.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize, Serialize)]
pub struct ShortRoofs {
    /// Copying from DRAM to DRAM, one thread.
    pub memcpy_gb_s: f64,
    /// Summing `f64` from DRAM, one thread.
    pub read_sum_gb_s: f64,
    /// The same on all cores, each with a share of its own.
    pub read_sum_all_gb_s: f64,
    /// Samples appended to a plain `Vec` for each of 4,000 series, in the order of `w1`, by one thread: millions a second.
    pub vec_append_w1_m_s: f64,
    /// One dependent load from 128 MiB, in an order that nothing foresees.
    pub random_access_ns: f64,
}

/// Those of one run.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct RoofsOfRun {
    /// Before the samples were made.
    pub before: ShortRoofs,
    /// When all else was done.
    pub after: ShortRoofs,
}

/// What `roofs` tells. Figures without roofs are worth more than none: where a look fails, that is a word on standard
/// error and no error.
pub(crate) fn look(
    progress: &Progress,
    roofs: impl FnOnce() -> Result<Option<ShortRoofs>, Error>,
) -> Option<ShortRoofs> {
    progress.step("timing memory");
    roofs().unwrap_or_else(|error| {
        // A signal that ends this program took the process away, too.
        give_way();
        progress.suspend(|| eprintln!("tidegauge-bench: this run has no roofs: {error}"));
        None
    })
}

impl ShortRoofs {
    /// Takes them.
    #[must_use]
    pub fn measure() -> Self {
        Self {
            memcpy_gb_s: memory::memcpy_of(1, EFFORT),
            read_sum_gb_s: memory::read_sum_of(1, EFFORT),
            read_sum_all_gb_s: memory::read_sum_of(cores(), effort(cores())),
            vec_append_w1_m_s: append_m_s(1, W1_SERIES, Order::InTurn),
            random_access_ns: memory::cycle_ns(EFFORT),
        }
    }

    /// Takes them in a process of its own, which must be this program: what they need is no part of this one's memory.
    ///
    /// # Errors
    /// [`Error::Io`] if it cannot be started; [`Error::Wrong`] if it tells no roofs.
    pub fn apart() -> Result<Self, Error> {
        let this = "this program";
        let mut command = this_program().map_err(Error::io(this))?;
        command.args(["--parent", &std::process::id().to_string(), "roofs", "--short", "--json"]);
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        let running = Victim::spawn(&mut command).map_err(Error::io(this))?;
        let told = running.take_stdout().map(std::io::read_to_string).transpose().map_err(Error::io(this))?;
        let status = running.wait().map_err(Error::io(this))?;
        let told = serde_json::from_str(told.unwrap_or_default().trim_end());
        told.map_err(|e| Error::Wrong(format!("the process that takes roofs ended with {status} and told none: {e}")))
    }

    /// All of them, with their verb and the machine, as one JSON object in one line: `report` takes them for [`Roofs`](super::Roofs)
    /// of which some are missing.
    #[must_use]
    pub fn to_json(&self, machine: &Machine) -> String {
        #[derive(Serialize)]
        struct Told<'a> {
            verb: &'static str,
            #[serde(flatten)]
            roofs: &'a ShortRoofs,
            machine: &'a Machine,
        }
        let told = Told { verb: "roofs", roofs: self, machine };
        serde_json::to_string(&told).expect("numbers, texts and their names always make JSON")
    }
}

impl std::fmt::Display for ShortRoofs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { memcpy_gb_s, read_sum_gb_s, read_sum_all_gb_s, vec_append_w1_m_s, random_access_ns } = self;
        write!(
            f,
            "memcpy {memcpy_gb_s:.1}, read-sum {read_sum_gb_s:.1} (all cores {read_sum_all_gb_s:.1}) GB/s, Vec \
             {vec_append_w1_m_s:.1} M/s, random access {random_access_ns:.0} ns"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_all_cores_read_is_in_no_cache_of_theirs_however_many_they_are() {
        for threads in [1, 2, 4, 8, 64, 256] {
            let Effort { bytes, rounds, .. } = effort(threads);
            assert!(bytes >= EFFORT.bytes && bytes / threads >= 32 << 20 && rounds == EFFORT.rounds, "{threads}");
        }
    }

    #[test]
    fn a_look_at_roofs_that_fails_is_no_error_of_the_run() {
        let told = ShortRoofs {
            memcpy_gb_s: 1.0,
            read_sum_gb_s: 2.0,
            read_sum_all_gb_s: 3.0,
            vec_append_w1_m_s: 4.0,
            random_access_ns: 5.0,
        };
        let progress = Progress::hidden();
        assert_eq!(look(&progress, || Ok(Some(told))), Some(told));
        assert_eq!(look(&progress, || Err(Error::Wrong("killed for want of memory".into()))), None);
    }
}
