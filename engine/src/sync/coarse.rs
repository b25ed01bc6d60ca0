//! A clock for what needs no better one than the scheduler's.

use std::time::Duration;

/// The time since a moment that stays the same while the process lives. It never goes back, and is behind by one tick of
/// the system at most: some milliseconds.
///
/// Costs 5 ns where the system's clock costs 20 to 40.
#[allow(unsafe_code)]
pub(crate) fn coarse_time() -> Duration {
    #[cfg(all(target_os = "linux", not(miri)))]
    {
        let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: of a clock that every Linux has, into a place that is there.
        unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC_COARSE, &raw mut now) };
        Duration::new(now.tv_sec as u64, now.tv_nsec as u32)
    }
    #[cfg(not(all(target_os = "linux", not(miri))))]
    {
        static FIRST: std::sync::LazyLock<std::time::Instant> = std::sync::LazyLock::new(std::time::Instant::now);
        FIRST.elapsed()
    }
}
