//! The blocks of a damaged index: one flipped bit of each is put right.

use std::ops::Range;

use super::Mends;
use crate::segment::format::{Footer, INDEX_BLOCK_LEN, SECTIONS};
use crate::segment::mend::{OneBit, one_bit};
use crate::segment::reader::open::Sections;

/// Where they lie, and what the footer says of the sections that lie in them.
pub(super) struct Blocks<'a> {
    pub(super) start: usize,
    /// Their checksums.
    pub(super) table: Range<usize>,
    pub(super) sections: &'a Sections,
    pub(super) footer: &'a Footer,
}

impl Blocks<'_> {
    /// Puts right what can be. Answers which sections have their checksum then: those are sound whatever is said of their
    /// blocks.
    pub(super) fn mend(&self, image: &mut [u8], mends: &mut Mends) -> [bool; SECTIONS] {
        let table_is_sound = self.mend_table(image, mends);
        let mut flipped: Vec<(usize, u8)> = Vec::new();
        // Of a damaged table nothing is known that could tell a bit.
        for block in (0..self.table.len() / 4).filter(|_| table_is_sound) {
            let range = self.range(block);
            let stored: u32 = bytemuck::pod_read_unaligned(&image[self.table.start + block * 4..][..4]);
            // The table has its own checksum: its entry is right.
            if let Some(OneBit::Bytes { at, bit }) = one_bit(&image[range.clone()], stored) {
                image[range.start + at] ^= 1 << bit;
                flipped.push((range.start + at, bit));
            }
        }
        let sound = self.sound(image);
        for (at, bit) in flipped {
            if self.is_proved(at, &sound) {
                mends.note(at, Some(bit), "the index");
            } else {
                image[at] ^= 1 << bit;
            }
        }
        sound
    }

    fn sound(&self, image: &[u8]) -> [bool; SECTIONS] {
        std::array::from_fn(|i| crc32c::crc32c(&image[self.sections[i].clone()]) == self.footer.sections[i].crc)
    }

    /// Answers whether the table can be relied on now.
    fn mend_table(&self, image: &mut [u8], mends: &mut Mends) -> bool {
        let (table, stored) = (self.table.clone(), self.footer.checksums_crc);
        if crc32c::crc32c(&image[table.clone()]) == stored {
            return true;
        }
        // The footer has its own checksum: what it says of the table is right.
        let Some(OneBit::Bytes { at, bit }) = one_bit(&image[table.clone()], stored) else { return false };
        image[table.start + at] ^= 1 << bit;
        mends.note(table.start + at, Some(bit), "the checksums of the index");
        true
    }

    /// Whether a bit that was put right is one: the section it lies in has its checksum now. Between sections it matters
    /// to none, if those around say so.
    fn is_proved(&self, at: usize, sound: &[bool]) -> bool {
        match self.touching(at..at + 1).next() {
            Some(section) => sound[section],
            None => self.touching(self.range((at - self.start) / INDEX_BLOCK_LEN)).all(|section| sound[section]),
        }
    }

    fn touching(&self, range: Range<usize>) -> impl Iterator<Item = usize> {
        let touches = move |section: &Range<usize>| section.start < range.end && range.start < section.end;
        self.sections.iter().enumerate().filter(move |(_, section)| touches(section)).map(|(i, _)| i)
    }

    fn range(&self, block: usize) -> Range<usize> {
        let from = self.start + block * INDEX_BLOCK_LEN;
        from..(from + INDEX_BLOCK_LEN).min(self.table.start)
    }
}
