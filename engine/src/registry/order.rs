//! Series in the order of their labels, for the flush.

use super::large;
use super::slots::Slots;

/// Some milliseconds.
const COMPARISONS: u32 = 1 << 16;

impl Slots {
    /// The slots in the order of their label sets. O(n log n) comparisons of numbers: text is compared only to order
    /// the pairs that occur, each of them once. Of millions that takes seconds: `gets_on` is called all along.
    pub(crate) fn in_label_order(&self, slots: Vec<u32>, gets_on: impl Fn()) -> Vec<u32> {
        let mut compared = 0_u32;
        let mut count = || {
            compared = compared.wrapping_add(1);
            if compared.is_multiple_of(COMPARISONS) {
                gets_on();
            }
        };
        let ranks = self.ranks(&slots, &mut count);
        // Many bytes for a moment: none that an allocator would keep.
        let mut sets = large::with_room(slots.len());
        // The ranks of each set, one after another: what is compared lies together.
        let mut all: Vec<u32> = large::with_room(slots.len() * 4);
        for slot in slots {
            let start = all.len();
            all.extend(self.pairs(slot).map(|pair| ranks[pair as usize]));
            sets.push(Set { slot, start: start as u32, len: (all.len() - start) as u32 });
        }
        sets.sort_unstable_by(|a, b| {
            count();
            a.of(&all).cmp(b.of(&all))
        });
        let mut sorted = large::with_room(sets.len());
        sorted.extend(sets.into_iter().map(|set| set.slot));
        sorted
    }

    /// For each pair that occurs its place in the order of names, then values.
    fn ranks(&self, slots: &[u32], mut count: impl FnMut()) -> Vec<u32> {
        const OCCURS: u32 = 1;
        let mut ranks: Vec<u32> = Vec::new();
        for &slot in slots {
            for pair in self.pairs(slot) {
                large::reach(&mut ranks, pair as usize);
                ranks[pair as usize] = OCCURS;
            }
        }
        let occurring = ranks.iter().filter(|&&rank| rank == OCCURS).count();
        let (mut texts, mut text): (Vec<u8>, _) = (large::with_room(occurring * 16), Vec::new());
        let mut pairs: Vec<(usize, usize, usize, u32)> = large::with_room(occurring);
        for (pair, _) in (0..).zip(&ranks).filter(|(_, occurs)| **occurs == OCCURS) {
            let (name, value) = self.texts().split(pair, &mut text);
            let start = texts.len();
            [name, value].iter().for_each(|part| texts.extend_from_slice(part.as_bytes()));
            pairs.push((start, start + name.len(), texts.len(), pair));
        }
        let of = |&(start, middle, end, _): &(usize, usize, usize, u32)| (&texts[start..middle], &texts[middle..end]);
        pairs.sort_unstable_by(|a, b| {
            count();
            of(a).cmp(&of(b))
        });
        (0..).zip(&pairs).for_each(|(rank, &(.., pair))| ranks[pair as usize] = rank);
        ranks
    }
}

/// One set: where its ranks are.
struct Set {
    slot: u32,
    start: u32,
    len: u32,
}

impl Set {
    fn of<'a>(&self, all: &'a [u32]) -> &'a [u32] {
        &all[self.start as usize..(self.start + self.len) as usize]
    }
}
