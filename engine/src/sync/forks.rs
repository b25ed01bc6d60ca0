//! Whether this process is still the one in which something was made.

/// A process, told apart from its children that `fork` made. To ask whether it was left costs a load of a number that
/// hardly ever changes, and no system call.
///
/// What makes processes without `fork` (a bare `clone` or `_Fork`, which run no handlers) is not noticed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Process(u32);

impl Process {
    /// The one that runs.
    pub(crate) fn current() -> Self {
        Self(forks())
    }

    /// Another one in each child of the one that runs.
    pub(crate) fn number() -> u32 {
        if cfg!(all(target_os = "linux", not(miri))) { forks() } else { std::process::id() }
    }

    /// Whether the one that runs was forked from one that counted.
    #[cfg(debug_assertions)]
    pub(super) fn is_child() -> bool {
        counted() > 0
    }

    /// Whether the caller runs in a child of it, or a child's child.
    #[inline]
    pub(crate) fn is_left(self) -> bool {
        self.0 != counted()
    }
}

#[cfg(all(target_os = "linux", not(miri)))]
mod counting {
    use std::sync::Once;

    use crate::sync::atomic::{AtomicU32, Ordering};

    /// Forks that led from the process in which they were first counted to this one.
    static FORKS: AtomicU32 = AtomicU32::new(0);

    #[inline]
    pub(super) fn counted() -> u32 {
        // Relaxed: it is written where only one thread is.
        FORKS.load(Ordering::Relaxed)
    }

    /// Counts from now on at the latest.
    #[allow(unsafe_code)]
    pub(super) fn forks() -> u32 {
        unsafe extern "C" fn in_child() {
            FORKS.fetch_add(1, Ordering::Relaxed);
        }
        static COUNTING: Once = Once::new();
        COUNTING.call_once(|| {
            // SAFETY: the handler touches one atomic number and nothing else, which is fine in a child of a process with
            // threads, and lives as long as the code that may call it: the C library forgets it with a library that is
            // unloaded. Where there is no memory for it, children go unnoticed, as they did.
            unsafe { libc::pthread_atfork(None, None, Some(in_child)) };
        });
        counted()
    }
}

#[cfg(not(all(target_os = "linux", not(miri))))]
mod counting {
    pub(super) fn counted() -> u32 {
        0
    }

    pub(super) fn forks() -> u32 {
        0
    }
}

use counting::{counted, forks};
