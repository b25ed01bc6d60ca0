//! An allocator that counts: the only way to know. A test that takes this module in gets it.
#![allow(dead_code, unsafe_code)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

thread_local! {
    /// Allocations of this thread, moves of grown blocks included.
    static OF_THREAD: Cell<u64> = const { Cell::new(0) };
}

/// Bytes allocated now, and the most there were since somebody asked.
static BYTES: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

/// Allocations of the calling thread so far, moves of grown blocks included.
pub(crate) fn of_this_thread() -> u64 {
    OF_THREAD.get()
}

/// Bytes that all threads have allocated now. The peak begins anew here.
pub(crate) fn bytes_from_here() -> usize {
    let bytes = BYTES.load(Relaxed);
    PEAK.store(bytes, Relaxed);
    bytes
}

/// The most bytes there were since [`bytes_from_here`].
pub(crate) fn bytes_peak() -> usize {
    PEAK.load(Relaxed)
}

struct Counting;

impl Counting {
    fn count(more: usize) {
        // A thread that is about to end has no counter any more, and is not the one that is watched.
        let _ = OF_THREAD.try_with(|n| n.set(n.get() + 1));
        PEAK.fetch_max(BYTES.fetch_add(more, Relaxed) + more, Relaxed);
    }
}

// SAFETY: every call goes to the system's allocator as it came; the counters allocate nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        Self::count(layout.size());
        // SAFETY: the caller keeps the contract of this very method.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        BYTES.fetch_sub(layout.size(), Relaxed);
        // SAFETY: as above; the block came from `System`.
        unsafe { System.dealloc(block, layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // What grows in place is not held twice; what is moved is, for a moment that is nobody's to charge.
        Self::count(size.saturating_sub(layout.size()));
        BYTES.fetch_sub(layout.size().saturating_sub(size), Relaxed);
        // SAFETY: as above; the block came from `System`.
        unsafe { System.realloc(block, layout, size) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;
