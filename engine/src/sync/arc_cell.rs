//! A place that holds an `Arc` and can be read and replaced by any thread.

// Reached from outside by the models; see `loom_only` in the crate's root.
#![allow(unreachable_pub)]

use std::sync::Arc;

#[cfg(not(loom))]
use arc_swap::ArcSwap;
#[cfg(loom)]
use stand_in::ArcSwap;

/// An `Arc` that is read often and replaced now and then: the current version of something.
///
/// [`load`](Self::load) takes no lock (arc-swap). Who sees a value sees what came before it was stored, and no more is
/// relied on: under loom a cell that is just as weak stands in.
pub struct ArcCell<T> {
    inner: ArcSwap<T>,
}

impl<T> ArcCell<T> {
    /// A cell that holds `value`.
    pub fn new(value: Arc<T>) -> Self {
        ArcCell { inner: ArcSwap::new(value) }
    }

    /// What it holds now.
    pub fn load(&self) -> Arc<T> {
        self.inner.load_full()
    }

    /// What it holds now, to be looked at and let go of by the same thread: no count is touched that other threads share.
    /// A thread that keeps more than a few of them pays as for [`load`](Self::load).
    pub fn peek(&self) -> Peeked<T> {
        Peeked(self.inner.load())
    }

    /// Replaces what it holds. The old value goes when its last holder drops it.
    pub fn store(&self, value: Arc<T>) {
        self.inner.store(value);
    }
}

/// What an [`ArcCell`] held when it was looked at.
pub struct Peeked<T>(Guard<T>);

#[cfg(not(loom))]
type Guard<T> = arc_swap::Guard<Arc<T>>;
#[cfg(loom)]
type Guard<T> = Arc<T>;

impl<T> Peeked<T> {
    /// Whether both are the very same value.
    pub fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// To be kept.
    pub fn into_arc(self) -> Arc<T> {
        #[cfg(not(loom))]
        return arc_swap::Guard::into_inner(self.0);
        #[cfg(loom)]
        return self.0;
    }
}

impl<T> std::ops::Deref for Peeked<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

#[cfg(loom)]
mod stand_in {
    use std::sync::{Arc, Mutex};

    use crate::sync::atomic::{AtomicUsize, Ordering};
    use crate::sync::weakenable;

    /// Keeps every value. The mutex is std's, which loom does not see: it orders nothing in a model. The place does.
    pub(super) struct ArcSwap<T> {
        all: Mutex<Vec<Arc<T>>>,
        last: AtomicUsize,
    }

    impl<T> ArcSwap<T> {
        pub(super) fn new(value: Arc<T>) -> Self {
            Self { all: Mutex::new(vec![value]), last: AtomicUsize::new(0) }
        }

        pub(super) fn load_full(&self) -> Arc<T> {
            let last = self.last.load(weakenable!("version_load", Acquire));
            Arc::clone(&self.all.lock().unwrap()[last])
        }

        pub(super) fn load(&self) -> Arc<T> {
            self.load_full()
        }

        pub(super) fn store(&self, value: Arc<T>) {
            let last = {
                let mut all = self.all.lock().unwrap();
                all.push(value);
                all.len() - 1
            };
            self.last.store(last, weakenable!("version_store", Release));
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_store_replaces_and_frees_the_old() {
        let first = Arc::new(1);
        let cell = ArcCell::new(Arc::clone(&first));
        let held = cell.load();
        cell.store(Arc::new(2));
        assert_eq!((*held, *cell.load()), (1, 2));
        drop(held);
        assert_eq!(Arc::strong_count(&first), 1);
    }
}
