//! The one door to threads and atomics: nothing else in this crate names `std::sync::atomic` or `std::thread`. `Arc`
//! for ownership and `OnceLock` come from `std` where no model runs.
//!
//! The names are the same in both worlds; under `cfg(loom)` they are loom's, so that the models in
//! `loom-tests/` run the very types that ship. What differs:
//!
//! - Cells use loom's closure form ([`UnsafeCell::with`], [`UnsafeCell::with_mut`]) everywhere.
//! - loom treats `SeqCst` on a load or store as `AcqRel`. A protocol that needs the single total order (a store,
//!   then a load of something else) states it with [`atomic::fence`]`(SeqCst)`, which loom does model.
//! - Time does not pass under loom: [`thread::park_timeout`] and [`thread::sleep`] yield and come back early.
//! - crossbeam-epoch, arc-swap and prefetching have no loom form; [`epoch`], [`ArcCell`] and [`prefetch()`] stand in.
//! - [`ArcCell`]'s stand-in orders no more than is relied on. `epoch`'s goes through a mutex, so under loom a `pin` also
//!   orders what the real one would not: models of readers must not take their order from it.

// The facade offers the same names in both worlds, and not every build uses each of them.
#![allow(unused_imports, unused_macros, dead_code)]

mod arc_cell;
mod cell;
#[cfg(not(loom))]
mod coarse;
pub(crate) mod epoch;
#[cfg(not(loom))]
mod forks;
mod lock;
#[cfg(not(loom))]
mod mutex;
#[cfg(not(loom))]
mod order;
mod ordering;
mod prefetch;
#[cfg(not(loom))]
mod rwlock;
mod slice;
mod trim;
#[cfg(not(loom))]
mod yields;

#[allow(unreachable_pub)]
pub use arc_cell::{ArcCell, Peeked};
pub(crate) use cell::UnsafeCell;
#[cfg(not(loom))]
pub(crate) use coarse::coarse_time;
pub(crate) use crossbeam_utils::CachePadded;
#[cfg(not(loom))]
pub(crate) use forks::Process;
pub(crate) use lock::lock;
#[cfg(any(loom, asan, tsan))]
pub(crate) use ordering::is_weakened;
pub(crate) use ordering::{weakenable, weakenable_fence, weakenable_step};
pub(crate) use prefetch::prefetch;
pub(crate) use slice::run_soon;
pub(crate) use trim::trim_memory;

#[cfg(not(loom))]
pub(crate) use mutex::{Condvar, Mutex, MutexGuard, lock_waits};
#[cfg(not(loom))]
pub(crate) use order::expect_none_held;
#[cfg(not(loom))]
pub(crate) use rwlock::{ReadGuard, RwLock};
#[cfg(not(loom))]
pub(crate) use std::sync::Arc;
#[cfg(not(loom))]
pub(crate) use yields::Yields;

#[cfg(loom)]
pub(crate) use loom::sync::{Arc, Condvar, Mutex, MutexGuard};
/// loom's locks are not watched.
#[cfg(loom)]
pub(crate) fn expect_none_held() {}

/// Atomic integers, pointers and fences.
pub(crate) mod atomic {
    #[cfg(loom)]
    pub(crate) use loom::sync::atomic::{
        AtomicBool, AtomicI64, AtomicPtr, AtomicU8, AtomicU16, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence,
    };
    #[cfg(not(loom))]
    pub(crate) use std::sync::atomic::{
        AtomicBool, AtomicI64, AtomicPtr, AtomicU8, AtomicU16, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence,
    };
}

/// Threads, parking and yielding.
pub(crate) mod thread {
    #[cfg(loom)]
    pub(crate) use loom::thread::{Builder, JoinHandle, Thread, current, park, spawn, yield_now};
    #[cfg(not(loom))]
    pub(crate) use std::thread::{
        Builder, JoinHandle, Thread, available_parallelism, current, park, park_timeout, sleep, spawn, yield_now,
    };

    /// A yield that takes longer than this was not for a moment: somebody computes.
    pub(crate) const LONG_YIELD: std::time::Duration = std::time::Duration::from_micros(300);

    /// Yields, and answers whether it was back in a moment.
    pub(crate) fn yield_shortly() -> bool {
        let before = std::time::Instant::now();
        yield_now();
        before.elapsed() <= LONG_YIELD
    }

    /// Comes back early, as a timed park always may.
    #[cfg(loom)]
    pub(crate) fn park_timeout(_: std::time::Duration) {
        yield_now();
    }

    /// Yields: time does not pass in a model.
    #[cfg(loom)]
    pub(crate) fn sleep(_: std::time::Duration) {
        yield_now();
    }
}

/// Hints to the processor.
pub(crate) mod hint {
    #[cfg(loom)]
    pub(crate) use loom::hint::spin_loop;
    #[cfg(not(loom))]
    pub(crate) use std::hint::spin_loop;
}
