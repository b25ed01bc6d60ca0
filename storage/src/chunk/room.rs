//! Memory that decoding a vector needs beside what it fills.
//!
//! Filling it with zeros for each vector would cost a tenth of the decoding, so each thread keeps its own.

use std::cell::RefCell;

use super::format::VECTOR_SAMPLES;

/// Nobody reads what another vector left here. It begins with a line of the cache: vector units store as much at a time,
/// and what lies across two lines takes twice as long.
#[derive(Debug)]
#[repr(C, align(64))]
pub(super) struct Room {
    /// Differences, corrections, or forms.
    pub(super) words: [u64; VECTOR_SAMPLES],
    pub(super) patches: Patches,
}

#[derive(Debug)]
#[repr(C, align(64))]
pub(super) struct Patches {
    /// Of a vector, and a few more that are loaded with them.
    pub(super) far: [u64; VECTOR_SAMPLES + 8],
    /// Of a vector, and a few more that are written before they are known not to count.
    pub(super) places: [u16; VECTOR_SAMPLES + 8],
}

impl Room {
    pub(super) const fn new() -> Self {
        let patches = Patches { far: [0; VECTOR_SAMPLES + 8], places: [0; VECTOR_SAMPLES + 8] };
        Self { words: [0; VECTOR_SAMPLES], patches }
    }

    /// Calls `work` with this thread's.
    #[inline]
    pub(super) fn with<R>(work: impl FnOnce(&mut Self) -> R) -> R {
        thread_local! {
            static ROOM: RefCell<Room> = const { RefCell::new(Room::new()) };
        }
        ROOM.with(|room| match room.try_borrow_mut() {
            Ok(mut room) => work(&mut room),
            // Decoding does not call itself; if it ever did, it would only be slower.
            Err(_) => work(&mut Self::new()),
        })
    }
}

/// Aligned as [`Room`] is.
#[repr(align(64))]
struct Values([f64; VECTOR_SAMPLES]);

/// Calls `work` with a place for the values of a vector, in which anything may stand.
#[inline]
pub(super) fn with_values<R>(work: impl FnOnce(&mut [f64; VECTOR_SAMPLES]) -> R) -> R {
    thread_local! {
        static VALUES: RefCell<Values> = const { RefCell::new(Values([0.0; VECTOR_SAMPLES])) };
    }
    VALUES.with(|values| match values.try_borrow_mut() {
        Ok(mut values) => work(&mut values.0),
        // Whoever looks at values may look at those of another column.
        Err(_) => work(&mut [0.0; VECTOR_SAMPLES]),
    })
}
