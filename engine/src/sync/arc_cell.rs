//! A place that holds an `Arc` and can be read and replaced by any thread.

use super::Arc;

/// An `Arc` that is read often and replaced now and then: the current version of something.
///
/// [`load`](Self::load) takes no lock (arc-swap); under loom it is a mutex, which orders at least as much.
/// A load that follows a store, in time, gives what was stored or something newer.
pub(crate) struct ArcCell<T> {
    #[cfg(not(loom))]
    inner: arc_swap::ArcSwap<T>,
    #[cfg(loom)]
    inner: loom::sync::Mutex<Arc<T>>,
}

impl<T> ArcCell<T> {
    /// A cell that holds `value`.
    pub(crate) fn new(value: Arc<T>) -> Self {
        #[cfg(not(loom))]
        let inner = arc_swap::ArcSwap::new(value);
        #[cfg(loom)]
        let inner = loom::sync::Mutex::new(value);
        ArcCell { inner }
    }

    /// What it holds now.
    #[cfg(not(loom))]
    pub(crate) fn load(&self) -> Arc<T> {
        self.inner.load_full()
    }

    /// What it holds now.
    #[cfg(loom)]
    pub(crate) fn load(&self) -> Arc<T> {
        Arc::clone(&self.inner.lock().expect("no panic while it is held"))
    }

    /// Replaces what it holds. The old value goes when its last holder drops it.
    #[cfg(not(loom))]
    pub(crate) fn store(&self, value: Arc<T>) {
        self.inner.store(value);
    }

    /// Replaces what it holds. The old value goes when its last holder drops it.
    #[cfg(loom)]
    pub(crate) fn store(&self, value: Arc<T>) {
        let old = std::mem::replace(&mut *self.inner.lock().expect("no panic while it is held"), value);
        drop(old);
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
