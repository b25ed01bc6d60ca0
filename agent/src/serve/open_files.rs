//! How many files may be open: looked at before anything is begun, since an agent that may open too few of them starts,
//! and then serves nobody.

use std::fmt::Write;

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
    let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    judge(limit, inherited(limit), report)
}

/// How many of those that are allowed are taken already, beside the three of every process: who starts it may have
/// left it open files of his own.
fn inherited(limit: u64) -> u64 {
    // Where the system does not list them: none.
    let listed = std::fs::read_dir("/proc/self/fd").into_iter().flatten().flatten();
    let numbers = listed.filter_map(|entry| entry.file_name().to_str()?.parse::<u64>().ok());
    let taken = numbers.filter(|number| (3..limit).contains(number)).count() as u64;
    // The list itself is one of them.
    taken.saturating_sub(1)
}

fn judge(limit: u64, inherited: u64, report: &Report) -> Result<(), Failure> {
    let free = limit.saturating_sub(inherited);
    let mut allowed = format!("{limit} open files are allowed (`ulimit -n`)");
    if inherited > 0 {
        let _ = write!(allowed, ", {inherited} of them were left open by whoever started it");
    }
    if free < FILES_MIN {
        return Err(Failure::found(format_args!(
            "{allowed}, and it takes {FILES_MIN} to serve: allow more, e.g. `ulimit -n 4096`"
        )));
    }
    if free < FILES_SANE {
        report(&format!(
            "warning: {allowed}: many clients may use them up, and pushes are refused then; allow at least {FILES_SANE}"
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
        assert!(judge(FILES_MIN - 1, 0, &report).is_err() && judge(0, 0, &report).is_err());
        assert!(judge(FILES_MIN, 1, &report).is_err() && judge(0, 1, &report).is_err());
        assert!(said.try_recv().is_err(), "who is refused is not warned as well");
        for (limit, warned) in [(FILES_MIN, true), (FILES_SANE - 1, true), (FILES_SANE, false), (u64::MAX, false)] {
            assert!(judge(limit, 0, &report).is_ok(), "{limit}");
            assert_eq!(said.try_recv().is_ok_and(|line| line.contains("ulimit -n")), warned, "{limit}");
        }
        assert!(judge(FILES_SANE, 7, &report).is_ok());
        assert!(said.try_recv().unwrap().contains("7 of them were left open"));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn what_was_open_before_is_counted() {
        let _open: Vec<_> = (0..5).map(|_| std::fs::File::open("/dev/null").unwrap()).collect();
        assert!(inherited(u64::MAX) >= 5, "{}", inherited(u64::MAX));
        assert_eq!(inherited(3), 0, "none of those that count");
    }
}
