//! How soon a thread that is woken may run.

/// Asks the scheduler for short slices: for a thread that sleeps often, is woken, does a little, and is waited for.
///
/// From Linux 6.12 on a thread that computes keeps its processor for a whole slice, 1.4 to 4 milliseconds, whoever is
/// woken meanwhile; only who asks for shorter slices comes first (sched_setattr(2), `sched_runtime`). He gets no more of
/// the processor for it: of two that compute each has half, in shorter turns. Threads that this one starts ask for the
/// same. Needs no right; where the system knows nothing of it, nothing changes.
///
/// Behind a filter of system calls nothing is asked: systemd's `SystemCallFilter=~@resources` ends who calls this one.
#[allow(unsafe_code)]
pub(crate) fn run_soon() {
    #[cfg(all(target_os = "linux", not(miri), not(loom)))]
    {
        /// The least that Linux takes, in nanoseconds.
        const SLICE: u64 = 100_000;
        if is_filtered() {
            return;
        }
        let mut attr = std::mem::MaybeUninit::<libc::sched_attr>::zeroed();
        let size = size_of::<libc::sched_attr>() as libc::c_uint;
        // SAFETY: of the calling thread (0), into `size` bytes that are there; of a shorter answer the rest stays nought.
        let known = unsafe { libc::syscall(libc::SYS_sched_getattr, 0, attr.as_mut_ptr(), size, 0) } == 0;
        // SAFETY: noughts are a value of every field, and so is what the kernel writes.
        let mut attr = unsafe { attr.assume_init() };
        // Who chose another policy for the process chose how soon it runs.
        if known && attr.sched_policy == libc::SCHED_OTHER as u32 {
            attr.sched_runtime = SLICE;
            // SAFETY: of the calling thread, from a whole struct, with everything else as it was.
            unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const attr, 0) };
        }
    }
}

/// Whether a filter looks at the system calls of this process, or nobody can tell.
#[cfg(all(target_os = "linux", not(miri), not(loom)))]
fn is_filtered() -> bool {
    let status = std::fs::read_to_string("/proc/thread-self/status").unwrap_or_default();
    let mode = status.lines().find_map(|line| line.strip_prefix("Seccomp:"));
    mode.is_none_or(|mode| mode.trim() != "0")
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    fn of_this_thread() -> String {
        std::fs::read_to_string("/proc/thread-self/sched").unwrap_or_default()
    }

    /// Policy and priority stay as they are; where the kernel shows the slice, it is the short one.
    #[test]
    fn only_the_slice_changes() {
        let of = |text: &str, name: &str| {
            let line = text.lines().find(|line| line.split([' ', ':']).next() == Some(name));
            line.and_then(|line| line.split(':').next_back()).map(|value| value.trim().to_owned())
        };
        let there = std::thread::spawn(|| {
            let before = of_this_thread();
            run_soon();
            (before, of_this_thread())
        });
        let (before, after) = there.join().unwrap();
        if is_filtered() || of(&before, "policy").as_deref() != Some("0") {
            println!("a filter of system calls, or a policy of its own: not checked");
            assert_eq!(of(&before, "se.slice"), of(&after, "se.slice"));
            return;
        }
        for kept in ["policy", "prio"] {
            assert_eq!(of(&before, kept), of(&after, kept), "{kept}");
        }
        if of(&before, "se.slice").is_some() {
            assert_eq!(of(&after, "se.slice").as_deref(), Some("100000"), "{after}");
        } else {
            println!("the kernel shows no slices: not checked");
        }
    }
}
