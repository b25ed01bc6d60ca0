//! The slots of a lane: memory that one side writes and the other reads, and who may when is the lane's business.

use std::mem::MaybeUninit;

use crate::sync::UnsafeCell;

/// A power of two of slots; position `p` lives in slot `p mod capacity`.
pub(super) struct Slots<T> {
    cells: Box<[UnsafeCell<MaybeUninit<T>>]>,
    /// `capacity - 1`.
    mask: u64,
}

// SAFETY: the slots hand out access only through the four unsafe methods below, whose callers promise that no two
// threads touch a slot at once unless both read; what moves from thread to thread is `T`, which is `Send`.
unsafe impl<T: Send> Sync for Slots<T> {}
// SAFETY: as above; ownership of the memory itself is a `Box`.
unsafe impl<T: Send> Send for Slots<T> {}

impl<T: Copy> Slots<T> {
    /// `capacity` slots, which must be a power of two. Their memory is touched only as they are first written.
    pub(super) fn new(capacity: usize) -> Self {
        assert!(capacity.is_power_of_two());
        let cells = (0..capacity).map(|_| UnsafeCell::new(MaybeUninit::uninit())).collect();
        Slots { cells, mask: capacity as u64 - 1 }
    }

    /// How many samples fit.
    #[inline(always)]
    pub(super) fn capacity(&self) -> u64 {
        self.mask + 1
    }

    /// The slot of `position`.
    #[inline(always)]
    pub(super) fn index(&self, position: u64) -> usize {
        (position & self.mask) as usize
    }

    /// Writes one sample.
    ///
    /// # Safety
    /// No other thread reads or writes the slot of `position` during the call.
    #[inline(always)]
    pub(super) unsafe fn write(&self, position: u64, sample: T) {
        let index = self.index(position);
        // SAFETY: the mask keeps `index` below the length, which is `mask + 1`.
        let cell = unsafe { self.cells.get_unchecked(index) };
        cell.with_mut(|slot| {
            // SAFETY: the cell's memory is valid for a `T`, and the caller promised that it is ours.
            unsafe { (*slot).write(sample) };
        });
    }

    /// Copies `samples` to the slots from `position` on.
    ///
    /// # Safety
    /// `samples` is no longer than the capacity, and no other thread reads or writes its slots during the call.
    #[cfg(not(loom))]
    #[inline]
    pub(super) unsafe fn write_slice(&self, position: u64, samples: &[T]) {
        let at = self.index(position);
        let (first, wrapped) = samples.split_at(samples.len().min(self.cells.len() - at));
        let base = self.base();
        // SAFETY: the mask keeps `at` below the length.
        let slot = unsafe { base.add(at) };
        // SAFETY: `at + first.len()` is at most the length; the caller promised that these slots are ours.
        unsafe { std::ptr::copy_nonoverlapping(first.as_ptr(), slot, first.len()) };
        if !wrapped.is_empty() {
            // SAFETY: what is left is at most `at` long, because the batch is no longer than the cells; ours as above.
            unsafe { std::ptr::copy_nonoverlapping(wrapped.as_ptr(), base, wrapped.len()) };
        }
    }

    /// The first slot, seen as a value, with leave to reach them all.
    #[cfg(not(loom))]
    #[inline(always)]
    fn base(&self) -> *mut T {
        // From the slice and not from its first cell: the pointer may be used for the whole of it. A cell is laid out
        // as its content (`repr(transparent)`), and may be written through a shared reference.
        self.cells.as_ptr().cast_mut().cast::<T>()
    }

    /// Lends the samples in `from..to`, in order: one slice, or two where the range goes over the end.
    ///
    /// # Safety
    /// The slots of `from..to` have been written, by writes that happened before this call, `to - from` is at most
    /// the capacity, and no thread writes them during the call.
    #[cfg(not(loom))]
    #[inline]
    pub(super) unsafe fn read(&self, from: u64, to: u64, mut f: impl FnMut(&[T])) {
        for (slot, len) in self.pieces(from, to) {
            // SAFETY: inside the cells; the caller promised that they are written and stay so.
            f(unsafe { std::slice::from_raw_parts(slot, len) });
        }
    }

    /// First slot and length of the one or two pieces, inside the cells, that `from..to` is: at most the capacity.
    #[cfg(not(loom))]
    #[inline(always)]
    fn pieces(&self, from: u64, to: u64) -> impl Iterator<Item = (*mut T, usize)> {
        let (at, len) = (self.index(from), (to - from) as usize);
        let first = len.min(self.cells.len() - at);
        let base = self.base();
        // What is left behind the end is at most `at` long.
        [(base.wrapping_add(at), first), (base, len - first)].into_iter().filter(|(_, len)| *len > 0)
    }

    /// As [`Self::read`], to be changed.
    ///
    /// # Safety
    /// As [`Self::read`], and no thread reads them during the call.
    #[cfg(not(loom))]
    pub(super) unsafe fn change(&self, from: u64, to: u64, mut f: impl FnMut(&mut [T])) {
        for (slot, len) in self.pieces(from, to) {
            // SAFETY: as in `read`, and the caller promised that they are ours alone.
            f(unsafe { std::slice::from_raw_parts_mut(slot, len) });
        }
    }

    /// Under loom the slices have one element each.
    ///
    /// # Safety
    /// As without loom.
    #[cfg(loom)]
    pub(super) unsafe fn change(&self, from: u64, to: u64, mut f: impl FnMut(&mut [T])) {
        for position in from..to {
            self.cells[self.index(position)].with_mut(|slot| {
                // SAFETY: the caller promised that it is ours.
                let slot: &mut MaybeUninit<T> = unsafe { &mut *slot };
                // SAFETY: the caller promised that it is written.
                f(std::slice::from_mut(unsafe { slot.assume_init_mut() }));
            });
        }
    }

    /// Under loom each slot is a cell of its own, which checks the access.
    ///
    /// # Safety
    /// As without loom.
    #[cfg(loom)]
    pub(super) unsafe fn write_slice(&self, position: u64, samples: &[T]) {
        for (at, sample) in (position..).zip(samples) {
            // SAFETY: passed on.
            unsafe { self.write(at, *sample) };
        }
    }

    /// Under loom the slices have one element each.
    ///
    /// # Safety
    /// As without loom.
    #[cfg(loom)]
    pub(super) unsafe fn read(&self, from: u64, to: u64, mut f: impl FnMut(&[T])) {
        for position in from..to {
            self.cells[self.index(position)].with(|slot| {
                // SAFETY: the caller promised that nobody writes it meanwhile.
                let slot: &MaybeUninit<T> = unsafe { &*slot };
                // SAFETY: the caller promised that it is written.
                f(std::slice::from_ref(unsafe { slot.assume_init_ref() }));
            });
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_range_over_the_end_comes_back_in_order() {
        let slots = Slots::new(8);
        let samples: Vec<u32> = (100..107).collect();
        for position in [0, 1, 5, 7, 8, 1_000_003] {
            let mut seen = Vec::new();
            // SAFETY: this thread alone has the slots.
            unsafe { slots.write_slice(position, &samples) };
            // SAFETY: and reads what it wrote.
            unsafe { slots.read(position, position + 7, |slice| seen.extend_from_slice(slice)) };
            assert_eq!(seen, samples, "from {position}");
        }
    }
}
