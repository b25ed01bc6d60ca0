//! Which files are mapped where, for a handler of signals: it may neither lock nor allocate, and runs at any moment.
//!
//! Who changes the table holds a lock; who reads it takes none. A place is changed under an odd version, so that a reader
//! passes over one that changes meanwhile: the one of the map that he has read from does not (UP2). Places are given again,
//! and the table grows by sixty-four of them; it never shrinks.

use std::array;
use std::ptr;
use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering, fence};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use super::Lost;

const BLOCK: usize = 64;

/// Places, and those behind them.
struct Block {
    places: [Place; BLOCK],
    next: OnceLock<Box<Self>>,
}

/// Where a map lies.
#[derive(Debug)]
struct Place {
    /// Odd while it changes.
    version: AtomicUsize,
    start: AtomicUsize,
    /// 0: nothing lies there.
    len: AtomicUsize,
    lost: AtomicPtr<Lost>,
}

static FIRST: Block = Block { places: [const { Place::new() }; BLOCK], next: OnceLock::new() };
static FREE: Mutex<Free> = Mutex::new(Free { begun: false, places: Vec::new() });

struct Free {
    /// Whether the places of the first block were handed out.
    begun: bool,
    places: Vec<&'static Place>,
}

impl Place {
    const fn new() -> Self {
        Self {
            version: AtomicUsize::new(0),
            start: AtomicUsize::new(0),
            len: AtomicUsize::new(0),
            lost: AtomicPtr::new(ptr::null_mut()),
        }
    }

    /// For whoever holds the lock.
    fn set(&self, start: usize, len: usize, lost: *const Lost) {
        let version = self.version.load(Ordering::Relaxed);
        self.version.store(version + 1, Ordering::Relaxed);
        // Whoever sees one of these sees an odd version, or a later one, behind it.
        fence(Ordering::Release);
        self.start.store(start, Ordering::Relaxed);
        self.len.store(len, Ordering::Relaxed);
        self.lost.store(lost.cast_mut(), Ordering::Relaxed);
        self.version.store(version + 2, Ordering::Release);
    }

    fn get(&self) -> Option<Found> {
        let version = self.version.load(Ordering::Acquire);
        let found = Found {
            start: self.start.load(Ordering::Relaxed),
            len: self.len.load(Ordering::Relaxed),
            lost: self.lost.load(Ordering::Relaxed),
        };
        fence(Ordering::Acquire);
        let stable = version.is_multiple_of(2) && self.version.load(Ordering::Relaxed) == version;
        stable.then_some(found)
    }
}

impl Block {
    fn new() -> Self {
        Self { places: array::from_fn(|_| Place::new()), next: OnceLock::new() }
    }
}

/// A map of the table.
#[derive(Clone, Copy, Debug)]
pub(super) struct Found {
    pub(super) start: usize,
    pub(super) len: usize,
    /// Lives as long as the map.
    pub(super) lost: *const Lost,
}

/// The map in which an address lies.
pub(super) fn find(address: usize) -> Option<Found> {
    let mut block = Some(&FIRST);
    while let Some(Block { places, next }) = block {
        let inside = |found: &Found| address.checked_sub(found.start).is_some_and(|at| at < found.len);
        if let Some(found) = places.iter().filter_map(Place::get).find(inside) {
            return Some(found);
        }
        block = next.get().map(|next| &**next);
    }
    None
}

/// A map that is in the table until this is dropped, which must be before it is unmapped.
#[derive(Debug)]
pub(in crate::fs) struct Watched {
    place: &'static Place,
    lost: Arc<Lost>,
}

impl Watched {
    /// Enters the map that lies here.
    pub(in crate::fs) fn new(bytes: &[u8], writable: bool) -> Self {
        let lost = Arc::new(Lost::new(bytes.len(), writable));
        let mut free = FREE.lock().unwrap_or_else(PoisonError::into_inner);
        let place = free.take();
        place.set(bytes.as_ptr().expose_provenance(), bytes.len(), Arc::as_ptr(&lost));
        Self { place, lost }
    }

    pub(in crate::fs) fn lost(&self) -> &Arc<Lost> {
        &self.lost
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        let mut free = FREE.lock().unwrap_or_else(PoisonError::into_inner);
        self.place.set(0, 0, ptr::null());
        free.places.push(self.place);
    }
}

impl Free {
    fn take(&mut self) -> &'static Place {
        if self.places.is_empty() {
            let block = if self.begun { append() } else { &FIRST };
            self.begun = true;
            self.places.extend(block.places.iter().rev());
        }
        self.places.pop().expect("a block has some")
    }
}

fn append() -> &'static Block {
    let mut last = &FIRST;
    while let Some(next) = last.next.get() {
        last = next;
    }
    last.next.get_or_init(|| Box::new(Block::new()))
}

/// Places that the table has.
#[cfg(test)]
pub(super) fn places() -> usize {
    let mut blocks = 1;
    let mut last = &FIRST;
    while let Some(next) = last.next.get() {
        (last, blocks) = (next, blocks + 1);
    }
    blocks * BLOCK
}
