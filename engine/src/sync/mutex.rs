//! `Mutex` and `Condvar` as std's, which count who has to wait, and in debug builds watch the order.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::{LockResult, PoisonError, TryLockError, TryLockResult, WaitTimeoutResult};
use std::time::Duration;

use super::atomic::{AtomicU64, Ordering};
use super::order::{Class, Held};

/// Locks of this process that found their mutex, or their read-write lock, taken.
static WAITS: AtomicU64 = AtomicU64::new(0);

/// How often a thread of this process had to wait for a mutex of an engine.
pub(crate) fn lock_waits() -> u64 {
    WAITS.load(Ordering::Relaxed)
}

pub(super) fn count_wait() {
    WAITS.fetch_add(1, Ordering::Relaxed);
}

/// [`std::sync::Mutex`], off the hot path only.
pub(crate) struct Mutex<T> {
    inner: std::sync::Mutex<T>,
    class: Class,
}

/// [`std::sync::MutexGuard`].
pub(crate) struct MutexGuard<'a, T> {
    // In this order: unlocked first, then forgotten.
    inner: std::sync::MutexGuard<'a, T>,
    held: Held,
}

impl<T> Mutex<T> {
    /// A mutex around `value`. Where it is made tells its place in the order of locks.
    #[track_caller]
    pub(crate) fn new(value: T) -> Self {
        Self { inner: std::sync::Mutex::new(value), class: Class::here::<T>() }
    }

    /// See [`std::sync::Mutex::lock`].
    ///
    /// # Panics
    /// In debug builds, if it closes a circle with the orders of locks seen so far: a deadlock that may happen.
    #[inline]
    pub(crate) fn lock(&self) -> LockResult<MutexGuard<'_, T>> {
        self.class.is_about_to_be_locked();
        let locked = match self.inner.try_lock() {
            Ok(inner) => Ok(inner),
            Err(TryLockError::Poisoned(poisoned)) => Err(poisoned),
            Err(TryLockError::WouldBlock) => {
                count_wait();
                self.inner.lock()
            }
        };
        let held = self.class.is_locked();
        match locked {
            Ok(inner) => Ok(MutexGuard { inner, held }),
            Err(poisoned) => Err(PoisonError::new(MutexGuard { inner: poisoned.into_inner(), held })),
        }
    }

    /// See [`std::sync::Mutex::try_lock`]. Waits for nobody, so any order is fine.
    #[inline]
    pub(crate) fn try_lock(&self) -> TryLockResult<MutexGuard<'_, T>> {
        match self.inner.try_lock() {
            Ok(inner) => Ok(MutexGuard { inner, held: self.class.is_locked() }),
            Err(TryLockError::WouldBlock) => Err(TryLockError::WouldBlock),
            Err(TryLockError::Poisoned(poisoned)) => {
                let guard = MutexGuard { inner: poisoned.into_inner(), held: self.class.is_locked() };
                Err(TryLockError::Poisoned(PoisonError::new(guard)))
            }
        }
    }
}

impl<T: Default> Default for Mutex<T> {
    fn default() -> Self {
        Self::new(T::default())
    }
}

impl<T: fmt::Debug> fmt::Debug for Mutex<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

impl<T> Deref for MutexGuard<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        &self.inner
    }
}

impl<T> DerefMut for MutexGuard<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        &mut self.inner
    }
}

/// [`std::sync::Condvar`].
#[derive(Debug, Default)]
pub(crate) struct Condvar(std::sync::Condvar);

impl Condvar {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    pub(crate) fn notify_one(&self) {
        self.0.notify_one();
    }

    pub(crate) fn notify_all(&self) {
        self.0.notify_all();
    }

    /// See [`std::sync::Condvar::wait`].
    pub(crate) fn wait<'a, T>(&self, guard: MutexGuard<'a, T>) -> LockResult<MutexGuard<'a, T>> {
        let MutexGuard { inner, held } = guard;
        let held = held.while_waiting();
        match self.0.wait(inner) {
            Ok(inner) => Ok(MutexGuard { inner, held: held.again() }),
            Err(e) => Err(PoisonError::new(MutexGuard { inner: e.into_inner(), held: held.again() })),
        }
    }

    /// See [`std::sync::Condvar::wait_while`].
    pub(crate) fn wait_while<'a, T>(
        &self,
        mut guard: MutexGuard<'a, T>,
        mut condition: impl FnMut(&mut T) -> bool,
    ) -> LockResult<MutexGuard<'a, T>> {
        while condition(&mut guard) {
            guard = self.wait(guard)?;
        }
        Ok(guard)
    }

    /// See [`std::sync::Condvar::wait_timeout`].
    pub(crate) fn wait_timeout<'a, T>(
        &self,
        guard: MutexGuard<'a, T>,
        timeout: Duration,
    ) -> LockResult<(MutexGuard<'a, T>, WaitTimeoutResult)> {
        let MutexGuard { inner, held } = guard;
        let held = held.while_waiting();
        match self.0.wait_timeout(inner, timeout) {
            Ok((inner, result)) => Ok((MutexGuard { inner, held: held.again() }, result)),
            Err(e) => {
                let (inner, result) = e.into_inner();
                Err(PoisonError::new((MutexGuard { inner, held: held.again() }, result)))
            }
        }
    }

    /// See [`std::sync::Condvar::wait_timeout_while`].
    pub(crate) fn wait_timeout_while<'a, T>(
        &self,
        guard: MutexGuard<'a, T>,
        timeout: Duration,
        condition: impl FnMut(&mut T) -> bool,
    ) -> LockResult<(MutexGuard<'a, T>, WaitTimeoutResult)> {
        let MutexGuard { inner, held } = guard;
        let held = held.while_waiting();
        match self.0.wait_timeout_while(inner, timeout, condition) {
            Ok((inner, result)) => Ok((MutexGuard { inner, held: held.again() }, result)),
            Err(e) => {
                let (inner, result) = e.into_inner();
                Err(PoisonError::new((MutexGuard { inner, held: held.again() }, result)))
            }
        }
    }
}
