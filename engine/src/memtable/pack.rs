//! Short idle tails of neighbouring series in one piece of memory.
//!
//! A chunk of its own costs a node, a box and a header, some 250 bytes; that is too much for a series that had ten
//! samples in its memtable. So tails of few samples are put side by side, as they are: values one after another, and
//! timestamps once where neighbours share them.

use super::tail::{ChunkMark, Full, Kind, PACKED_SAMPLES, Pair, len_at};

/// Slots whose short tails share a pack.
pub const PACK_SLOTS: u32 = if cfg!(loom) { 1 } else { 256 };

/// Never changes once it is in the memtable.
#[derive(Default)]
pub struct Pack {
    /// Of the slots that may share it.
    first_slot: u32,
    /// Ascending by slot, then kind.
    tails: Box<[Packed]>,
    /// How far the slot of each tail is from the first.
    slots: Box<[u8]>,
    timestamps: Box<[i64]>,
    values: Box<[f64]>,
    /// By place in `tails`, ascending; only what a pinned commit needs.
    marks: Box<[(u32, ChunkMark)]>,
}

/// One tail of a pack.
#[derive(Clone, Copy)]
struct Packed {
    last_seq: u64,
    /// Length, then the bit of the kind, then the ordinal.
    place: u32,
    timestamps: u16,
    values: u16,
}

const LEN_BITS: u32 = 6;
const LEN_MASK: u32 = (1 << LEN_BITS) - 1;
const KIND_BIT: u32 = 1 << LEN_BITS;
const _: () = assert!(PACKED_SAMPLES <= LEN_MASK as usize && super::ORDINALS_END <= 1 << (31 - LEN_BITS));
const _: () = assert!(PACK_SLOTS <= 1 << u8::BITS && PACK_SLOTS as usize * 2 * PACKED_SAMPLES <= 1 << u16::BITS);

impl Packed {
    fn new(full: &Full<'_>, timestamps: usize, values: usize) -> Self {
        let place = full.ordinal << (LEN_BITS + 1) | kind_bit(full.kind) | full.pairs.len() as u32;
        Self { last_seq: full.last_seq, place, timestamps: timestamps as u16, values: values as u16 }
    }

    fn len(&self) -> usize {
        (self.place & LEN_MASK) as usize
    }

    fn ordinal(&self) -> u32 {
        self.place >> (LEN_BITS + 1)
    }
}

fn kind_bit(kind: Kind) -> u32 {
    if kind == Kind::Late { KIND_BIT } else { 0 }
}

impl Pack {
    /// Bytes on the heap, the skiplist's node included (about).
    pub fn bytes(&self) -> usize {
        const NODE: usize = 64;
        let columns = size_of_val(&*self.timestamps) + size_of_val(&*self.values);
        let tails = size_of_val(&*self.tails) + size_of_val(&*self.slots);
        NODE + size_of::<Self>() + columns + tails + size_of_val(&*self.marks)
    }

    /// Appends to `out` what the tail of `slot` and `kind` held at `commit`, if it is here and its ordinal is below
    /// `below`. O(log n + k).
    pub fn copy(&self, slot: u32, kind: Kind, below: u32, commit: u64, out: &mut Vec<Pair>) {
        let Some(at) = self.find(slot, kind) else { return };
        let tail = &self.tails[at];
        if tail.ordinal() >= below {
            return;
        }
        let marks = self.marks_of(at).iter().map(|(_, mark)| *mark);
        let len = len_at(commit, tail.len() as u32, marks) as usize;
        let (timestamps, values) = (usize::from(tail.timestamps), usize::from(tail.values));
        let columns = self.timestamps[timestamps..].iter().zip(&self.values[values..values + len]);
        out.extend(columns.map(|(&timestamp, &value)| Pair { timestamp, value }));
    }

    /// With many pins there are many of each tail.
    fn marks_of(&self, at: usize) -> &[(u32, ChunkMark)] {
        let start = self.marks.partition_point(|(of, _)| (*of as usize) < at);
        let len = self.marks[start..].partition_point(|(of, _)| *of as usize == at);
        &self.marks[start..start + len]
    }

    /// See [`Full::last_seq`]; 0 if nothing of the series is here.
    pub fn last_seq(&self, slot: u32) -> u64 {
        let of = |kind| self.find(slot, kind).map_or(0, |at| self.tails[at].last_seq);
        of(Kind::InOrder).max(of(Kind::Late))
    }

    /// By the distance of the slot, then the kind.
    fn key(&self, at: usize) -> (u8, u32) {
        (self.slots[at], self.tails[at].place & KIND_BIT)
    }

    /// The place of a tail. The slot is one of those that may share this pack.
    fn find(&self, slot: u32, kind: Kind) -> Option<usize> {
        let key = ((slot - self.first_slot) as u8, kind_bit(kind));
        // Where it is if every slot has one tail: a search would miss the cache at each step.
        let likely = usize::from(key.0);
        if likely < self.tails.len() && self.key(likely) == key {
            return Some(likely);
        }
        let start = self.slots.partition_point(|&slot| slot < key.0);
        (start..self.tails.len()).take(2).find(|&at| self.key(at) == key)
    }

    /// The slots that have a tail here, ascending; one that has two comes twice.
    #[cfg(not(loom))]
    pub fn slots(&self) -> impl Iterator<Item = u32> + '_ {
        self.slots.iter().map(|&slot| self.first_slot + u32::from(slot))
    }
}

/// Gathers a pack, in memory that is reused.
#[derive(Default)]
pub struct Packer {
    first_slot: u32,
    tails: Vec<Packed>,
    slots: Vec<u8>,
    timestamps: Vec<i64>,
    values: Vec<f64>,
    marks: Vec<(u32, ChunkMark)>,
}

impl Packer {
    /// Adds a tail of at most `PACKED_SAMPLES`. Tails come by slot, the one in order before the late one.
    pub fn push(&mut self, full: Full<'_>) {
        debug_assert!(full.pairs.len() <= PACKED_SAMPLES, "a longer tail is a chunk");
        let at = self.timestamps_of(full.pairs);
        self.marks.extend(full.marks.iter().map(|mark| (self.tails.len() as u32, *mark)));
        let slot = full.slot % PACK_SLOTS;
        debug_assert!(self.tails.is_empty() || self.first_slot == full.slot - slot, "neighbours");
        self.first_slot = full.slot - slot;
        self.slots.push(slot as u8);
        self.tails.push(Packed::new(&full, at, self.values.len()));
        self.values.extend(full.pairs.iter().map(|pair| pair.value));
    }

    /// Where the timestamps of `pairs` are: those of the tail before, if they are the same.
    fn timestamps_of(&mut self, pairs: &[Pair]) -> usize {
        let before = self.tails.last().map_or(0, |tail| usize::from(tail.timestamps));
        let shared = self.timestamps.get(before..before + pairs.len());
        if shared.is_some_and(|shared| shared.iter().zip(pairs).all(|(a, pair)| *a == pair.timestamp)) {
            return before;
        }
        let at = self.timestamps.len();
        self.timestamps.extend(pairs.iter().map(|pair| pair.timestamp));
        at
    }

    /// The pack of everything pushed since the last one; `None` if that is nothing.
    pub fn finish(&mut self) -> Option<Pack> {
        if self.tails.is_empty() {
            return None;
        }
        let pack = Pack {
            first_slot: self.first_slot,
            tails: self.tails.as_slice().into(),
            slots: self.slots.as_slice().into(),
            timestamps: self.timestamps.as_slice().into(),
            values: self.values.as_slice().into(),
            marks: self.marks.as_slice().into(),
        };
        self.tails.clear();
        self.slots.clear();
        self.timestamps.clear();
        self.values.clear();
        self.marks.clear();
        Some(pack)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use proptest::prelude::*;

    use super::*;

    type Tail = (u32, bool, u32, Vec<(i64, f64)>, Vec<(u64, u32)>);

    fn tail() -> impl Strategy<Value = Tail> {
        let samples = prop::collection::vec((0i64..3, 0.0..9.0), 1..=PACKED_SAMPLES);
        (0u32..8, any::<bool>(), 0u32..5, samples, prop::collection::vec((0u64..9, 0u32..3), 0..3))
    }

    proptest! {
        /// Twin: each tail kept by itself.
        #[test]
        fn a_pack_gives_back_each_tail_as_of_each_commit(
            tails in prop::collection::vec(tail(), 0..20), commit in 0u64..10, below in 0u32..6,
        ) {
            let mut twin = std::collections::BTreeMap::new();
            for (slot, late, ordinal, samples, marks) in tails {
                twin.entry((slot, late)).or_insert((ordinal, samples, marks));
            }
            let mut packer = Packer::default();
            for (&(slot, late), (ordinal, samples, marks)) in &twin {
                let pairs: Vec<_> = samples.iter().map(|&(timestamp, value)| Pair { timestamp, value }).collect();
                let marks = marks.iter().map(|&(commit, base)| ChunkMark { commit, base: base.min(pairs.len() as u32) });
                let (kind, marks) = (if late { Kind::Late } else { Kind::InOrder }, marks.collect());
                packer.push(Full { slot, kind, generation: 1, ordinal: *ordinal, pairs: &pairs, marks, last_seq: 1 });
            }
            let pack = packer.finish();
            prop_assert_eq!(pack.is_none(), twin.is_empty());
            let pack = pack.unwrap_or_default();
            for slot in 0..8 {
                for late in [false, true] {
                    let mut found = vec![];
                    pack.copy(slot, if late { Kind::Late } else { Kind::InOrder }, below, commit, &mut found);
                    let expected = twin.get(&(slot, late)).filter(|(ordinal, ..)| *ordinal < below);
                    let expected = expected.map_or(vec![], |(_, samples, marks)| {
                        let marks = marks.iter().map(|&(commit, base)| ChunkMark { commit, base: base.min(samples.len() as u32) });
                        samples[..len_at(commit, samples.len() as u32, marks) as usize].to_vec()
                    });
                    prop_assert_eq!(found.iter().map(|p| (p.timestamp, p.value)).collect::<Vec<_>>(), expected);
                }
            }
        }
    }

    #[test]
    fn neighbours_that_share_timestamps_share_the_memory() {
        let mut packer = Packer::default();
        let pairs: Vec<_> = (0..10).map(|i| Pair { timestamp: i, value: i as f64 }).collect();
        for slot in 0..PACK_SLOTS {
            packer.push(Full {
                slot,
                kind: Kind::InOrder,
                generation: 1,
                ordinal: 0,
                pairs: &pairs,
                marks: vec![],
                last_seq: 1,
            });
        }
        let bytes = packer.finish().unwrap().bytes() / PACK_SLOTS as usize;
        assert!(bytes <= 10 * 8 + 17 + 2, "{bytes} bytes a series");
    }

    /// Each read of a tail looked at the marks of all 512.
    #[test]
    fn a_tail_in_a_pack_is_read_by_its_own_marks() {
        let mut packer = Packer::default();
        let pairs = [Pair { timestamp: 1, value: 1.0 }];
        let of = |slot: u32| (0..slot % 4).map(move |n| ChunkMark { commit: u64::from(slot * 10 + n), base: 0 });
        for slot in 0..PACK_SLOTS {
            let (kind, marks) = (Kind::InOrder, of(slot).collect());
            packer.push(Full { slot, kind, generation: 1, ordinal: 0, pairs: &pairs, marks, last_seq: 1 });
        }
        let pack = packer.finish().unwrap();
        for slot in 0..PACK_SLOTS {
            let found: Vec<_> = pack.marks_of(slot as usize).iter().map(|(_, mark)| *mark).collect();
            assert_eq!(found, of(slot).collect::<Vec<_>>(), "slot {slot}");
        }
    }
}
