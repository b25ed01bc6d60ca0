//! Which series carry a label pair: their slots, as differences of a byte or so.

/// Slots in the order in which they came: ascending, but for those that were free again.
#[derive(Default)]
pub(super) struct Posting {
    /// The difference of each slot to the one before, as LEB128 of a zigzag; empty while there is one slot only.
    differences: Vec<u8>,
    last: u32,
    len: u32,
}

/// Where a reading of a posting stands. What was added since is behind it.
#[derive(Clone, Copy, Default)]
pub(super) struct Place {
    byte: usize,
    slot: u32,
    read: u32,
}

impl Posting {
    /// Adds a slot that is not there.
    pub(super) fn push(&mut self, slot: u32) {
        if self.len == 1 {
            put(&mut self.differences, zigzag(0, self.last));
        }
        if self.len > 0 {
            put(&mut self.differences, zigzag(self.last, slot));
        }
        self.last = slot;
        self.len += 1;
    }

    /// Appends at most `most` slots from `place` on to `out`. Answers where to go on, `None` at the end.
    pub(super) fn read(&self, mut place: Place, most: usize, out: &mut Vec<u32>) -> Option<Place> {
        if self.len == 1 && place.read == 0 {
            out.push(self.last);
            return None;
        }
        let end = self.len.min(place.read.saturating_add(most as u32));
        while place.read < end {
            place.slot = zagzig(place.slot, take(&self.differences, &mut place.byte));
            place.read += 1;
            out.push(place.slot);
        }
        (place.read < self.len).then_some(place)
    }
}

/// The way from `a` to `b`, short if they are near.
fn zigzag(a: u32, b: u32) -> u64 {
    let way = i64::from(b) - i64::from(a);
    (way << 1 ^ way >> 63) as u64
}

/// Where the way leads from `a`.
fn zagzig(a: u32, way: u64) -> u32 {
    let way = (way >> 1) as i64 ^ -((way & 1) as i64);
    (i64::from(a) + way) as u32
}

fn put(out: &mut Vec<u8>, mut n: u64) {
    while n >= 0x80 {
        out.push(n as u8 | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
}

fn take(bytes: &[u8], at: &mut usize) -> u64 {
    let (mut n, mut shift) = (0, 0);
    loop {
        let byte = bytes[*at];
        *at += 1;
        n |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return n;
        }
        shift += 7;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn slots_come_back_in_pieces_of_any_length(
            slots in prop::collection::hash_set(any::<u32>(), 0..50), most in 1usize..20,
        ) {
            let mut posting = Posting::default();
            slots.iter().for_each(|&slot| posting.push(slot));
            let (mut found, mut place) = (vec![], Some(Place::default()));
            while let Some(at) = place {
                let before = found.len();
                place = posting.read(at, most, &mut found);
                prop_assert!(found.len() - before <= most);
            }
            prop_assert!(found.into_iter().eq(slots));
        }
    }

    /// One that was read before the second slot came goes on behind the first.
    #[test]
    fn a_reading_goes_on_behind_what_it_has() {
        let mut posting = Posting::default();
        [5, 9, 400].iter().for_each(|&slot| posting.push(slot));
        let mut found = vec![];
        let place = posting.read(Place::default(), 2, &mut found).unwrap();
        posting.push(401);
        assert!(posting.read(place, 9, &mut found).is_none());
        assert_eq!(found, [5, 9, 400, 401]);
    }
}
