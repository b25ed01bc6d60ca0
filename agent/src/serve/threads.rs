//! How many threads may run: tried before anything is begun, since a runtime or an engine that gets half of its threads
//! panics, or waits for ever for the other half.

use std::io;
use std::sync::{Mutex, PoisonError};
use std::thread::{Builder, available_parallelism, scope};

use crate::config::Settings;
use crate::failure::Failure;

/// Those of an engine that are as many on every machine, and of a collector of this machine and of ourselves.
const ALWAYS: usize = 12;
/// For requests at a time, beside those that serve connections.
const FOR_REQUESTS: usize = 8;
/// They only wait.
const STACK_BYTES: usize = 64 << 10;

/// Refuses to begin with too few.
pub(super) fn check(settings: &Settings) -> Result<(), Failure> {
    // Connections, queries, compaction.
    let by_processors = 3 * available_parallelism().map_or(1, usize::from);
    judge(by_processors + ALWAYS + FOR_REQUESTS + settings.scrape.len(), at_once)
}

fn judge(wanted: usize, at_once: impl FnOnce(usize) -> (usize, io::Result<()>)) -> Result<(), Failure> {
    let (begun, done) = at_once(wanted);
    done.map_err(|why| {
        Failure::found(format_args!(
            "only {begun} more threads are allowed, and it takes {wanted} to serve ({why}): allow more (`ulimit -u`; of a service: TasksMax, or the pids limit of its container)"
        ))
    })
}

/// Runs so many threads at once, for a moment. Answers how many began, and why no more.
fn at_once(wanted: usize) -> (usize, io::Result<()>) {
    let gate = Mutex::new(());
    scope(|scope| {
        // None ends before all have begun.
        let shut = gate.lock().unwrap_or_else(PoisonError::into_inner);
        let wait = || drop(gate.lock());
        let mut begun = 0;
        let mut begin = || {
            Builder::new().stack_size(STACK_BYTES).spawn_scoped(scope, wait)?;
            begun += 1;
            Ok(())
        };
        let done = (0..wanted).try_for_each(|_| begin());
        drop(shut);
        (begun, done)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_few_threads_are_refused_with_what_to_do() {
        let few = |_| (5, Err(io::Error::from_raw_os_error(11)));
        let refused = format!("{:?}", judge(40, few).unwrap_err());
        assert!(
            ["only 5", "takes 40", "ulimit -u", "temporarily"].iter().all(|word| refused.contains(word)),
            "{refused}"
        );
        let mut asked = 0;
        let enough = |wanted| {
            asked = wanted;
            (wanted, Ok(()))
        };
        assert!(judge(40, enough).is_ok());
        assert_eq!(asked, 40);
    }

    #[test]
    fn threads_are_tried_at_once() {
        let (begun, done) = at_once(20);
        assert!(done.is_ok() && begun == 20, "{begun}: {done:?}");
    }
}
