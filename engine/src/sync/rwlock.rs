//! `RwLock` as std's, which counts who has to wait, and in debug builds watches the order.

use std::ops::{Deref, DerefMut};
use std::sync::{PoisonError, RwLockReadGuard, RwLockWriteGuard, TryLockError};

use super::mutex::count_wait;
use super::order::{Class, Held};

/// [`std::sync::RwLock`], off the hot path only. A panic while it is held leaves it usable to nobody: the next one to
/// lock it panics too.
pub(crate) struct RwLock<T> {
    inner: std::sync::RwLock<T>,
    class: Class,
}

/// Shared: [`std::sync::RwLockReadGuard`].
pub(crate) struct ReadGuard<'a, T> {
    // In this order: unlocked first, then forgotten.
    inner: RwLockReadGuard<'a, T>,
    _held: Held,
}

/// Alone: [`std::sync::RwLockWriteGuard`].
pub(crate) struct WriteGuard<'a, T> {
    inner: RwLockWriteGuard<'a, T>,
    _held: Held,
}

impl<T> RwLock<T> {
    /// A lock around `value`. Where it is made tells its place in the order of locks.
    #[track_caller]
    pub(crate) fn new(value: T) -> Self {
        Self { inner: std::sync::RwLock::new(value), class: Class::here::<T>() }
    }

    /// Beside other readers.
    ///
    /// # Panics
    /// In debug builds, if it closes a circle with the orders of locks seen so far, or if the thread holds a lock of
    /// this class already: with a writer waiting in between that is a deadlock. And after a panic of a writer.
    #[inline]
    pub(crate) fn read(&self) -> ReadGuard<'_, T> {
        self.class.is_about_to_be_locked_once();
        let inner = match self.inner.try_read() {
            Ok(inner) => inner,
            Err(TryLockError::WouldBlock) => {
                count_wait();
                self.inner.read().expect("a writer panicked")
            }
            Err(TryLockError::Poisoned(_)) => panic!("a writer panicked"),
        };
        ReadGuard { inner, _held: self.class.is_locked() }
    }

    /// As [`Self::read`], for figures: after a panic of a writer as well. They may be off then.
    pub(crate) fn read_even_broken(&self) -> ReadGuard<'_, T> {
        self.class.is_about_to_be_locked_once();
        let inner = match self.inner.try_read() {
            Ok(inner) => inner,
            Err(TryLockError::WouldBlock) => {
                count_wait();
                self.inner.read().unwrap_or_else(PoisonError::into_inner)
            }
            Err(TryLockError::Poisoned(broken)) => broken.into_inner(),
        };
        ReadGuard { inner, _held: self.class.is_locked() }
    }

    /// Alone.
    ///
    /// # Panics
    /// As [`Self::read`].
    #[inline]
    pub(crate) fn write(&self) -> WriteGuard<'_, T> {
        self.class.is_about_to_be_locked_once();
        let inner = match self.inner.try_write() {
            Ok(inner) => inner,
            Err(TryLockError::WouldBlock) => {
                count_wait();
                self.inner.write().expect("a writer panicked")
            }
            Err(TryLockError::Poisoned(_)) => panic!("a writer panicked"),
        };
        WriteGuard { inner, _held: self.class.is_locked() }
    }
}

impl<T> RwLock<T> {
    /// Whether a writer panicked, so that nobody can lock it any more.
    pub(crate) fn is_broken(&self) -> bool {
        self.inner.is_poisoned()
    }
}

impl<T> Deref for ReadGuard<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        &self.inner
    }
}

impl<T> Deref for WriteGuard<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        &self.inner
    }
}

impl<T> DerefMut for WriteGuard<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        &mut self.inner
    }
}

#[cfg(all(test, debug_assertions))]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use super::*;
    use crate::sync::{Mutex, lock};

    fn why(wrong: impl FnOnce()) -> String {
        let why = catch_unwind(AssertUnwindSafe(wrong)).unwrap_err();
        why.downcast_ref::<String>().unwrap().clone()
    }

    #[test]
    fn readers_share_and_a_circle_with_a_mutex_is_found() {
        let (names, other) = (RwLock::new(1_u64), Mutex::new([1_u8; 3]));
        {
            let _other = lock(&other);
            assert_eq!(*names.read(), 1);
            *names.write() += 1;
        }
        let names_held = names.read();
        let said = why(|| drop(lock(&other)));
        assert!(said.contains("u64") && said.contains("the other way round"), "{said}");
        drop(names_held);
        assert_eq!(*names.read(), 2);
    }

    #[test]
    fn a_reader_that_reads_again_is_found() {
        let names = RwLock::new([0_u16; 5]);
        let held = names.read();
        assert!(why(|| drop(names.read())).contains("twice"));
        assert!(why(|| drop(names.write())).contains("twice"));
        drop(held);
        drop(names.write());
    }
}
