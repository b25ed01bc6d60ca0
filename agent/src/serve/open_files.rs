//! How many files may be open: looked at before anything is begun, since an agent that may open too few of them starts,
//! and then serves nobody.

use rustix::process::{Resource, getrlimit};

use crate::collect::Report;
use crate::failure::Failure;

/// What it takes to serve: twenty or so while it rests with one client, and those of a flush, a compaction and some
/// more clients.
const FILES_MIN: u64 = 32;
/// Fewer are soon taken by clients, of which up to 1,024 are welcome.
const FILES_SANE: u64 = 256;

/// Refuses to begin with too few, and warns of few.
pub(super) fn check(report: &Report) -> Result<(), Failure> {
    // `None`: as many as there are.
    judge(getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX), report)
}

fn judge(limit: u64, report: &Report) -> Result<(), Failure> {
    if limit < FILES_MIN {
        return Err(Failure::found(format_args!(
            "{limit} open files are allowed (`ulimit -n`), and it takes {FILES_MIN} to serve: allow more, e.g. `ulimit -n 4096`"
        )));
    }
    if limit < FILES_SANE {
        report(&format!(
            "warning: {limit} open files are allowed (`ulimit -n`): many clients may use them up, and pushes are refused then; allow at least {FILES_SANE}"
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::mpsc::channel;

    use super::*;

    #[test]
    fn too_few_open_files_are_refused_and_few_are_warned_of() {
        let (lines, said) = channel();
        let report: Report = Arc::new(move |line: &str| drop(lines.send(line.to_owned())));
        assert!(judge(FILES_MIN - 1, &report).is_err() && judge(0, &report).is_err());
        assert!(said.try_recv().is_err(), "who is refused is not warned as well");
        for (limit, warned) in [(FILES_MIN, true), (FILES_SANE - 1, true), (FILES_SANE, false), (u64::MAX, false)] {
            assert!(judge(limit, &report).is_ok(), "{limit}");
            assert_eq!(said.try_recv().is_ok_and(|line| line.contains("ulimit -n")), warned, "{limit}");
        }
    }
}
