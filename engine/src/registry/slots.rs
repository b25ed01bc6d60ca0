//! Label sets by slot: found without a lock, never moved. And the heads, which outlive them.

use std::sync::OnceLock;

use tidegauge_storage::model::{Labels, SeriesKey};

use super::SeriesId;
use super::pairs::Texts;
use super::ragged::Scattered;
use crate::evict::Tags;
use crate::memtable::{HeadTable, SeriesHead};
use crate::sync::Arc;
use crate::sync::atomic::{AtomicBool, AtomicU32, Ordering};

const BLOCK_BITS: u32 = 10;
const BLOCK_SLOTS: usize = 1 << BLOCK_BITS;

/// The heads of all series of an engine, and whose they are: the same for all registries that follow each other.
pub(crate) struct Heads {
    blocks: Box<[OnceLock<Box<Block>>]>,
    pub(crate) tags: Tags,
    /// Counts the looks for idle series.
    looks: AtomicU32,
    writer_claimed: AtomicBool,
}

/// One kilo of series, made when the first of them is registered.
struct Block {
    heads: Box<[SeriesHead]>,
    /// The look at which each was resolved last.
    asked_for: Box<[AtomicU32]>,
}

impl Heads {
    fn new(slots_max: usize) -> Self {
        Self {
            blocks: (0..slots_max.div_ceil(BLOCK_SLOTS)).map(|_| OnceLock::new()).collect(),
            tags: Tags::new(slots_max),
            looks: AtomicU32::new(0),
            writer_claimed: AtomicBool::new(false),
        }
    }

    /// Gives a slot to a series. The registry's lock is held.
    pub(super) fn give(&self, slot: u32) {
        let made = || {
            let heads = (0..BLOCK_SLOTS).map(|_| SeriesHead::new()).collect();
            Box::new(Block { heads, asked_for: (0..BLOCK_SLOTS).map(|_| AtomicU32::new(0)).collect() })
        };
        self.blocks[slot as usize >> BLOCK_BITS].get_or_init(made);
        self.asked_for(slot);
        self.tags.give(slot);
    }

    /// The series that has a slot now, if any has.
    pub(crate) fn id(&self, slot: u32) -> SeriesId {
        SeriesId { slot, tag: self.tags.of(slot) }
    }

    /// Whether a series is still the one of its slot.
    #[inline]
    pub(crate) fn is_live(&self, series: SeriesId) -> bool {
        self.tags.is(series.slot, series.tag)
    }

    fn block(&self, slot: u32) -> &Block {
        self.blocks[slot as usize >> BLOCK_BITS].get().expect("the slot was given out")
    }

    /// Somebody resolved the series, and will push it soon. The registry's lock is held, shared at least.
    pub(super) fn asked_for(&self, slot: u32) {
        // Relaxed, both: ordered by the lock.
        let look = self.looks.load(Ordering::Relaxed);
        self.block(slot).asked_for[slot as usize % BLOCK_SLOTS].store(look, Ordering::Relaxed);
    }

    /// The look at which a series was resolved last.
    pub(crate) fn asked_for_at(&self, slot: u32) -> u32 {
        self.block(slot).asked_for[slot as usize % BLOCK_SLOTS].load(Ordering::Relaxed)
    }

    /// Begins another look; answers its number.
    pub(crate) fn next_look(&self) -> u32 {
        self.looks.fetch_add(1, Ordering::Relaxed) + 1
    }
}

impl HeadTable for Heads {
    /// # Panics
    /// If the slot was never given out: ids carry tags, so no caller has one.
    #[inline]
    fn head(&self, slot: u32) -> &SeriesHead {
        &self.block(slot).heads[slot as usize % BLOCK_SLOTS]
    }

    #[inline]
    fn len(&self) -> u32 {
        self.tags.len()
    }

    fn claim_writer(&self) -> bool {
        !self.writer_claimed.swap(true, Ordering::AcqRel)
    }
}

/// The label sets of one registry.
pub(crate) struct Slots {
    heads: Arc<Heads>,
    /// The numbers of each series' label pairs, names ascending. Of a slot without a series there are none.
    sets: Scattered,
    texts: Arc<Texts>,
}

impl Slots {
    pub(super) fn new(slots_max: usize, texts: Arc<Texts>) -> Self {
        Self::on(Arc::new(Heads::new(slots_max)), texts)
    }

    /// No label sets yet, but heads that are there already.
    pub(super) fn on(heads: Arc<Heads>, texts: Arc<Texts>) -> Self {
        let sets = Scattered::new(heads.tags.slots_max() as usize);
        Self { heads, sets, texts }
    }

    pub(crate) fn heads(&self) -> &Arc<Heads> {
        &self.heads
    }

    /// Sets the labels of a slot that has none. The registry's lock is held, or nobody else has it yet.
    pub(super) fn set(&self, slot: u32, pairs: &[u32]) {
        self.sets.set(slot as usize, pairs.iter().copied());
    }

    /// Whether so many pairs more fit.
    pub(super) fn has_room(&self, pairs: usize) -> bool {
        self.sets.has_room(pairs)
    }

    /// Whether a slot has a series here.
    pub(super) fn is_set(&self, slot: u32) -> bool {
        self.sets.is_set(slot as usize)
    }

    /// Gives a slot to a new series: its labels first, then the slot. The registry's lock is held.
    pub(super) fn give(&self, slot: u32, pairs: &[u32]) {
        self.set(slot, pairs);
        self.heads.give(slot);
    }

    /// Slots given so far, those that are free again included.
    pub(crate) fn len(&self) -> u32 {
        HeadTable::len(self)
    }

    /// The slots that have a series here.
    pub(crate) fn occupied(&self) -> impl Iterator<Item = u32> + '_ {
        (0..self.len()).filter(|&slot| self.is_set(slot))
    }

    /// The numbers of a series' label pairs, names ascending. None if there is no such series.
    pub(crate) fn pairs(&self, slot: u32) -> impl Iterator<Item = u32> + '_ {
        // One that nobody set is empty.
        self.sets.get(slot as usize)
    }

    /// Puts the encoding of a series' labels into `out`. Answers whether there is such a series.
    pub(crate) fn encoded(&self, slot: u32, out: &mut Vec<u8>) -> bool {
        out.clear();
        self.pairs(slot).for_each(|pair| self.texts.append(pair, out));
        !out.is_empty()
    }

    /// The labels of a series; `None` if there is no such series. Builds them anew each time.
    pub(crate) fn labels(&self, slot: u32) -> Option<Labels> {
        let mut encoded = Vec::new();
        self.encoded(slot, &mut encoded).then(|| Labels::from_encoded(&encoded).expect("encoded by this process"))
    }

    /// The labels that an id stands for; `None` if it is stale.
    pub(crate) fn labels_of(&self, series: SeriesId) -> Option<Labels> {
        let labels = self.labels(series.slot);
        // An id is older than the registry that its holder looks at. So if it is live still, the slot was its own all
        // the while (V1).
        labels.filter(|_| self.heads.is_live(series))
    }

    /// The key of a series' labels. `scratch` is memory to work in.
    pub(crate) fn key(&self, slot: u32, scratch: &mut Vec<u8>) -> Option<SeriesKey> {
        self.encoded(slot, scratch).then(|| SeriesKey::of_encoded(scratch))
    }

    pub(crate) fn texts(&self) -> &Texts {
        &self.texts
    }
}

impl HeadTable for Slots {
    #[inline]
    fn head(&self, slot: u32) -> &SeriesHead {
        self.heads.head(slot)
    }

    fn len(&self) -> u32 {
        HeadTable::len(&*self.heads)
    }

    fn claim_writer(&self) -> bool {
        self.heads.claim_writer()
    }
}
