//! Locking, with what this crate thinks of poison.

use super::{Mutex, MutexGuard};

/// Locks, whether or not a thread panicked while it held the mutex.
///
/// For data that no panic leaves half changed; a panic of an engine thread is noticed elsewhere, and poisons the engine.
#[cfg(not(tsan))]
#[inline]
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// As without ThreadSanitizer, but by trying.
///
/// The contended path of std's `lock` is compiled into the standard library, which is not instrumented, so the
/// sanitizer does not see who hands over to whom; `try_lock` is inlined here, and seen.
#[cfg(tsan)]
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    loop {
        match mutex.try_lock() {
            Ok(guard) => return guard,
            Err(std::sync::TryLockError::Poisoned(poisoned)) => return poisoned.into_inner(),
            Err(std::sync::TryLockError::WouldBlock) => super::thread::yield_now(),
        }
    }
}
