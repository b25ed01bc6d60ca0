//! The memory of a tail: a header and its slots in one allocation, and the marks of pinned commits.
#![allow(unsafe_code)]

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::mem::MaybeUninit;
use std::ptr::NonNull;

use super::{Pair, TAIL_SAMPLES};
use crate::sync::atomic::AtomicPtr;
use crate::sync::{UnsafeCell, epoch, weakenable_step};

pub(super) type Slot = UnsafeCell<MaybeUninit<Pair>>;

/// "When `commit` first touched this tail, it held `base` samples", kept for a pinned commit.
pub(super) struct Mark {
    /// A cell only so that a model sees who reads it without having been told; never written again.
    pub(super) pair: UnsafeCell<ChunkMark>,
    pub(super) next: *mut Mark,
}

/// A mark that a sealed chunk carries on. See [`len_at`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ChunkMark {
    pub commit: u64,
    pub base: u32,
}

/// The length as of `commit`, of something that has `len` samples now and these marks:
/// that of the earliest touch after `commit`, if there was one (T5).
pub fn len_at(commit: u64, len: u32, marks: impl IntoIterator<Item = ChunkMark>) -> u32 {
    let later = marks.into_iter().filter(|m| m.commit > commit);
    later.min_by_key(|m| m.commit).map_or(len, |m| m.base)
}

const ORDINAL_BITS: u32 = 21;
/// Behind the last ordinal that a tail can have.
pub const ORDINALS_END: u32 = 1 << ORDINAL_BITS;

/// One allocation: this header, then `capacity` slots.
#[repr(C)]
pub(super) struct TailBuf {
    pub(super) marks: AtomicPtr<Mark>,
    pub(super) generation: u32,
    /// Ordinal in the low 21 bits, capacity in the rest.
    place: u32,
}

/// The capacity after `capacity`: header and slots fill whole cache lines; a short series stays small, and a long
/// one, whose tail doubles, is copied once in all.
pub(super) fn next_capacity(capacity: usize) -> usize {
    if cfg!(loom) {
        return (capacity + 1).min(TAIL_SAMPLES);
    }
    let lines = (capacity + 1) / 4;
    let next = if lines < 4 { lines + 1 } else { lines * 2 };
    let next = next * 4 - 1;
    // Not a step for the last sample alone.
    if next + 1 >= TAIL_SAMPLES { TAIL_SAMPLES } else { next }
}

impl TailBuf {
    pub(super) fn layout(capacity: usize) -> Layout {
        let slots = Layout::array::<Slot>(capacity).expect("at most TAIL_SAMPLES slots");
        let (layout, offset) = Layout::new::<Self>().extend(slots).expect("at most TAIL_SAMPLES slots");
        debug_assert_eq!(offset, size_of::<Self>());
        layout
    }

    pub(super) fn allocate(generation: u32, ordinal: u32, capacity: usize, marks: *mut Mark) -> NonNull<Self> {
        let layout = Self::layout(capacity);
        // SAFETY: the layout holds at least the header, so its size is not zero.
        let raw = unsafe { alloc(layout) };
        let Some(buf) = NonNull::new(raw.cast::<Self>()) else { handle_alloc_error(layout) };
        // Two thousand million samples of one series in one memtable. Beyond, the capacity beside it would be wrong,
        // and the wrong number of bytes freed.
        assert!(ordinal < ORDINALS_END, "a memtable holds at most {ORDINALS_END} chunks of a series: flush earlier");
        let place = ordinal | (capacity as u32) << ORDINAL_BITS;
        let header = Self { marks: AtomicPtr::new(marks), generation, place };
        // SAFETY: freshly allocated above for this type, nobody else knows the address.
        unsafe { buf.write(header) };
        #[cfg(loom)]
        for i in 0..capacity {
            // SAFETY: slot `i` lies inside the allocation made above.
            unsafe { Self::slots(buf).add(i).write(UnsafeCell::new(MaybeUninit::uninit())) };
        }
        buf
    }

    pub(super) fn slots(this: NonNull<Self>) -> *mut Slot {
        // SAFETY: the allocation goes on behind the header (see `layout`).
        unsafe { this.as_ptr().add(1) }.cast()
    }

    fn capacity(&self) -> usize {
        (self.place >> ORDINAL_BITS) as usize
    }

    pub(super) fn ordinal(&self) -> u32 {
        self.place & ((1 << ORDINAL_BITS) - 1)
    }

    /// # Safety
    /// `this` came from `allocate`, and nobody reads or writes it any more.
    pub(super) unsafe fn free(this: NonNull<Self>) {
        // SAFETY: the caller says that it came from `allocate`.
        let capacity = unsafe { this.as_ref() }.capacity();
        #[cfg(loom)]
        for i in 0..capacity {
            // SAFETY: `allocate` initialised each slot.
            unsafe { std::ptr::drop_in_place(Self::slots(this).add(i)) };
        }
        // SAFETY: allocated with this very layout; the caller says nobody uses it.
        unsafe { dealloc(this.as_ptr().cast(), Self::layout(capacity)) };
    }
}

/// # Safety
/// `slots` are those of a live buffer with more than `i` of them.
pub(super) unsafe fn slot_at<'a>(slots: *mut Slot, i: usize) -> &'a Slot {
    // SAFETY: the caller says that the slot is inside.
    let slot = unsafe { slots.add(i) };
    // SAFETY: as above; slots are initialised cells from the allocation on.
    unsafe { &*slot }
}

/// # Safety
/// Nobody follows the list any more.
pub(super) unsafe fn free_marks(mut mark: *mut Mark) {
    while !mark.is_null() {
        // SAFETY: every node came from `Box::into_raw` in `keep_mark`; the caller says
        // that this is the last use.
        mark = unsafe { Box::from_raw(mark) }.next;
    }
}

/// Frees a buffer (and marks) once every reader that may have seen it has let go (T6).
pub(super) fn retire(buf: NonNull<TailBuf>, marks: *mut Mark) {
    struct Retired(NonNull<TailBuf>, *mut Mark);
    // SAFETY: whoever runs the closure below is the only owner of both.
    unsafe impl Send for Retired {}
    impl Retired {
        pub(super) fn free(self) {
            // SAFETY: runs after all guards of readers that could have loaded the address.
            unsafe { free_marks(self.1) };
            // SAFETY: as above; it came from `allocate` and is no longer published.
            unsafe { TailBuf::free(self.0) };
        }
    }
    let retired = Retired(buf, marks);
    // Weakened: at once, under whoever reads it.
    let mut late = false;
    weakenable_step!("tail_retire", late = true);
    if !late {
        return retired.free();
    }
    // SAFETY: `retired` owns what it frees and borrows nothing, so any thread may run it late.
    unsafe { epoch::pin().defer_unchecked(move || retired.free()) };
}

/// Walks a list of marks, newest first.
pub(super) struct Marks(*const Mark);

impl Marks {
    /// # Safety
    /// The nodes stay alive as long as the iterator.
    pub(super) unsafe fn new(first: *const Mark) -> Self {
        Self(first)
    }
}

impl Iterator for Marks {
    type Item = ChunkMark;

    fn next(&mut self) -> Option<ChunkMark> {
        // SAFETY: `new`'s caller keeps the nodes alive; they never change once published.
        let mark = unsafe { self.0.as_ref() }?;
        self.0 = mark.next;
        // SAFETY: written once, before the node was published.
        Some(mark.pair.with(|pair| unsafe { *pair }))
    }
}

/// Hands out the first `len` slots as a slice. They must be published (T2).
#[cfg(not(loom))]
pub(super) fn with_pairs<R>(slots: *mut Slot, len: usize, f: impl FnOnce(&[Pair]) -> R) -> R {
    if len == 0 {
        return f(&[]);
    }
    // SAFETY: callers pass a live buffer and a length that was published in it; published
    // slots are initialised and never written again; `Slot` is transparent over `Pair`.
    f(unsafe { std::slice::from_raw_parts(slots.cast::<Pair>(), len) })
}

/// As above, slot by slot, so that loom sees each access.
#[cfg(loom)]
pub(super) fn with_pairs<R>(slots: *mut Slot, len: usize, f: impl FnOnce(&[Pair]) -> R) -> R {
    let pairs: Vec<Pair> = (0..len)
        .map(|i| {
            // SAFETY: as above.
            let cell = unsafe { slot_at(slots, i) };
            // SAFETY: as above.
            cell.with(|p| unsafe { (*p).assume_init() })
        })
        .collect();
    f(&pairs)
}
