//! Memory in large blocks: a registry that was followed by another gives back what it took.
//!
//! Allocators keep small pieces for later, and what lies between others' pieces for good (glibc: all up to 32 MiB; twice
//! the largest that was ever given back stays at the end of each thread's heap). A larger block is mapped alone: its
//! pages come as they are touched, zeroed, and leave when it is dropped.

use std::alloc::{Layout, handle_alloc_error};
use std::sync::OnceLock;

use bytemuck::Zeroable;

/// Above what malloc keeps for itself.
const LARGE_BYTES: usize = 33 << 20;
/// What is smaller than this lies where the allocator likes.
const SMALL_BYTES: usize = 128 << 10;

/// `len` zeros at least; those that nobody touches take no memory.
pub(super) fn zeroed<T: Zeroable>(len: usize) -> Box<[T]> {
    let is_small = len.saturating_mul(size_of::<T>()) < SMALL_BYTES;
    let len = if is_small { len } else { len.max(LARGE_BYTES / size_of::<T>()) };
    // Without memory the process ends here, as anywhere else, and comes back whole: a panic would leave the lock that is
    // held to nobody.
    bytemuck::try_zeroed_slice_box(len).unwrap_or_else(|()| match Layout::array::<T>(len) {
        Ok(layout) => handle_alloc_error(layout),
        Err(_) => panic!("capacity overflow"),
    })
}

/// An empty list that `len` values fit in; one that is not small lies in a large block.
pub(crate) fn with_room<T>(len: usize) -> Vec<T> {
    let is_small = len.saturating_mul(size_of::<T>()) < SMALL_BYTES;
    Vec::with_capacity(if is_small { len } else { len.max(LARGE_BYTES / size_of::<T>()) })
}

/// Adds a value; what is not small any more gets a large block.
pub(super) fn push<T>(values: &mut Vec<T>, value: T) {
    let bytes = values.len() * size_of::<T>();
    if values.len() == values.capacity() && (SMALL_BYTES..LARGE_BYTES / 2).contains(&bytes) {
        values.reserve_exact(LARGE_BYTES / size_of::<T>() - values.len());
    }
    values.push(value);
}

/// Makes room for an index, with zeros; what is not small any more gets a large block.
pub(super) fn reach(values: &mut Vec<u32>, index: usize) {
    if index < values.len() {
        return;
    }
    let len = (index + 1).next_power_of_two();
    if values.capacity() < len {
        let mut grown = with_room(len);
        grown.append(values);
        *values = grown;
    }
    values.resize(len, 0);
}

/// Values of the first and the second block; each later one is large.
const ENDS: [usize; 2] = [1 << 10, 1 << 16];

/// Up to a fixed number of values that begin as zeros, found without a lock and never moved.
pub(super) struct Blocks<T>(Box<[OnceLock<Box<[T]>>]>);

impl<T: Zeroable> Blocks<T> {
    const IN_LARGE: usize = LARGE_BYTES / size_of::<T>();

    /// For values up to index `len` and some more.
    pub(super) fn new(len: usize) -> Self {
        let blocks = place::<T>(len.saturating_sub(1)).0 + 1;
        Self((0..blocks).map(|_| OnceLock::new()).collect())
    }

    /// The value at `index`, if somebody asked to make it or one near it.
    #[inline]
    pub(super) fn get(&self, index: usize) -> Option<&T> {
        let (block, offset) = place::<T>(index);
        self.0.get(block)?.get()?.get(offset)
    }

    /// The value at `index`.
    ///
    /// # Panics
    /// If the index is above what there may be.
    pub(super) fn make(&self, index: usize) -> &T {
        let (block, offset) = place::<T>(index);
        let len = match block {
            0 => ENDS[0],
            1 => ENDS[1] - ENDS[0],
            _ => Self::IN_LARGE,
        };
        &self.0[block].get_or_init(|| zeroed(len))[offset]
    }
}

/// Block and offset of an index.
#[inline]
fn place<T: Zeroable>(index: usize) -> (usize, usize) {
    match index {
        index if index < ENDS[0] => (0, index),
        index if index < ENDS[1] => (1, index - ENDS[0]),
        index => (2 + (index - ENDS[1]) / Blocks::<T>::IN_LARGE, (index - ENDS[1]) % Blocks::<T>::IN_LARGE),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sync::atomic::{AtomicU64, Ordering};

    #[test]
    fn each_index_has_a_place_of_its_own_and_begins_as_zero() {
        const LARGE: usize = Blocks::<AtomicU64>::IN_LARGE;
        let end = ENDS[1] + 2 * LARGE;
        let blocks = Blocks::<AtomicU64>::new(end);
        let edges = [0, ENDS[0], ENDS[1], ENDS[1] + LARGE, end];
        let near: Vec<usize> =
            edges.iter().flat_map(|edge| [edge.wrapping_sub(1), *edge]).filter(|i| *i < end).collect();
        assert!(near.iter().all(|&i| blocks.get(i).is_none()));
        for &i in &near {
            assert_eq!(blocks.make(i).swap(i as u64 + 1, Ordering::Relaxed), 0);
        }
        assert!(near.iter().all(|&i| blocks.get(i).unwrap().load(Ordering::Relaxed) == i as u64 + 1));
        assert_eq!((blocks.0.len(), Blocks::<AtomicU64>::new(0).0.len()), (4, 1));
        assert!(blocks.get(end).is_none() && blocks.get(usize::MAX).is_none(), "above what there may be");
    }

    /// It panicked, and whoever held a lock left it poisoned.
    #[cfg(unix)]
    #[test]
    fn without_memory_the_process_ends() {
        use std::os::unix::process::ExitStatusExt;
        use std::process::{Command, Stdio};

        const ASKED: &str = "TIDEGAUGE_TEST_ALLOCATES_TOO_MUCH";
        if std::env::var_os(ASKED).is_some() {
            // More than there are addresses.
            std::hint::black_box(zeroed::<u64>(1 << 50));
            return;
        }
        let mut again = Command::new(std::env::current_exe().unwrap());
        again.args(["--exact", "registry::large::tests::without_memory_the_process_ends"]).env(ASKED, "1");
        let ended = again.stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap();
        assert_eq!(ended.signal(), Some(6), "SIGABRT, and no panic: {ended}");
    }

    #[test]
    fn what_is_not_small_is_large() {
        assert_eq!(zeroed::<u64>(SMALL_BYTES / 8 - 1).len(), SMALL_BYTES / 8 - 1);
        assert!(zeroed::<u64>(SMALL_BYTES / 8).len() * 8 > 32 << 20);
        assert_eq!(with_room::<u64>(SMALL_BYTES / 8 - 1).capacity(), SMALL_BYTES / 8 - 1);
        assert!(with_room::<u64>(SMALL_BYTES / 8).capacity() * 8 > 32 << 20);
        let (mut values, mut sizes) = (Vec::new(), std::collections::BTreeSet::new());
        (0..6_000_000u64).for_each(|n| {
            push(&mut values, n);
            sizes.insert(values.capacity() * 8);
        });
        assert!(values.iter().copied().eq(0..6_000_000));
        let mut places = Vec::new();
        (0..10_000_000).step_by(9).for_each(|n| {
            reach(&mut places, n);
            places[n] = n as u32 + 1;
            sizes.insert(places.capacity() * 4);
        });
        assert!((0..10_000_000).all(|n| places[n] == if n % 9 == 0 { n as u32 + 1 } else { 0 }));
        assert!(sizes.iter().all(|&size| size <= SMALL_BYTES || size > 32 << 20), "{sizes:?}");
    }
}
