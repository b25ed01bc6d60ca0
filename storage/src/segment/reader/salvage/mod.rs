//! Reading what can be read of a damaged segment, and putting right what its checksums say how to.
//!
//! - SM1: One flipped bit under a checksum is put right (`mend.rs`), in memory; the file stays as it is. It counts only if
//!   everything else agrees: what lies where, the section's own checksum, the directory, the statistics. Values of a chunk
//!   of less than 256 samples have no second proof but that they decode, and of timestamps only order, ends and count are
//!   checked.
//! - SM2: What the header says, the manifest knows too. Of the footer each place of a section is as good as its checksum:
//!   it counts if the bytes there have it.
//! - SM3: A part of the index is sound if its block is, or its section. What is not costs the series and chunks that cannot
//!   be told without it; statistics and postings are never missed, and what is in several places is taken from any.
//! - SM4: A label set counts if it is proved, and then wherever it comes from: by the key in its series' record (`labels.rs`),
//!   or by its encoding among its neighbours' (`holes.rs`).
//! - SM5: A record of timestamps in a damaged block may be whole, and yet that of another column, where one part of the
//!   section was written over another. A timestamp column lies right before the value column of the first chunk that has
//!   it: the record counts if its column ends where that begins. A column that ends there has no other number.

mod blocks;
mod chunks;
mod holes;
mod labels;
mod names;
mod outline;

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use super::Segment;
use super::index::Checks;
use super::lost::TRIES;
use super::open::{blocks as blocks_of, corrupt, sections};
use crate::fs::{Fs, MapMut};
use crate::model::{Labels, SeqNo, SeqRange, TimeRange};
use crate::segment::SegmentInfo;
use crate::segment::format::{SECTIONS, Section};
use crate::source::ReadError;
use blocks::Blocks;
use chunks::Columned;
use holes::Holes;
use labels::Sets;

pub use chunks::LostChunk;

/// What is proved by what it leads to: label sets by their key, timestamps by their column.
const PROVED: [Section; 6] =
    [Section::Timestamps, Section::Labels, Section::Names, Section::Values, Section::Strings, Section::Postings];

/// What is known of a segment from elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expected {
    /// The store it belongs to.
    pub store_id: u128,
    /// Its number.
    pub id: u64,
    /// Its place in the order of acceptance.
    pub seq_range: SeqRange,
    /// Holds every timestamp in it.
    pub time_range: TimeRange,
    /// Whether it holds the late samples of a flush.
    pub late: bool,
    /// How often it was compacted.
    pub level: u32,
    /// Length of the file in bytes.
    pub file_bytes: u64,
    /// Samples in it.
    pub samples: u64,
    /// Series in it.
    pub series: u64,
}

/// A place of a damaged file that is read as if it were whole.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Mended {
    /// The damaged file.
    pub file: PathBuf,
    /// Where in it.
    pub offset: u64,
    /// Which bit of that byte was turned over (0: the lowest); `None` if the place was made anew from what else is known.
    pub bit: Option<u8>,
    /// What lies there.
    pub what: &'static str,
}

/// `data/segments/0000000000000001.seg, byte 72: one bit was put right (bit 3, in a value column)`
impl fmt::Display for Mended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, byte {}: ", self.file.display(), self.offset)?;
        match self.bit {
            Some(bit) => write!(f, "one bit was put right (bit {bit}, in {})", self.what),
            None => write!(f, "{} is damaged, and known from elsewhere", self.what),
        }
    }
}

/// What was put right, by where it lies: of header, footer, each column and each block of the index one place at most.
#[derive(Debug, Default)]
struct Mends(BTreeMap<u64, (Option<u8>, &'static str)>);

impl Mends {
    fn note(&mut self, offset: usize, bit: Option<u8>, what: &'static str) {
        self.0.insert(offset as u64, (bit, what));
    }
}

/// A segment of which parts may be damaged.
#[derive(Debug)]
pub struct Salvage {
    segment: Segment,
    /// The same file, and what proves itself is read whatever its blocks are.
    unchecked: Segment,
    mends: Mends,
    sets: Sets,
    holes: Holes,
    columns: Columned,
}

impl Salvage {
    /// Opens a segment whatever state it is in, as far as it can be told where everything lies. `expected` helps where
    /// header or footer cannot be read, or the file has not the length that it had. O(bytes of the index); a file that was
    /// cut short is copied to memory whole.
    ///
    /// # Errors
    /// [`ReadError::Corrupt`] if nothing can be told, [`ReadError::Io`] if the file cannot be read.
    pub fn open(fs: &dyn Fs, path: &Path, expected: Option<&Expected>) -> Result<Self, ReadError> {
        let io = |source| ReadError::Io { file: path.to_owned(), source };
        if fs.open_read(path).and_then(|file| file.is_empty()).map_err(io)? {
            return Err(corrupt(path, 0, "the file is empty"));
        }
        for _ in 0..TRIES {
            let image = fs.map_to_mend(path).map_err(io)?;
            // Then it is known which pages cannot be read. They read as zeros, which are damage like any other.
            image.touch();
            let losses = image.losses();
            let lost = losses.count();
            let opened = Self::of_image(path, image, expected);
            // What was looked at and lost behind that was not proved (UR2). Others may lose pages beside this.
            if losses.count() == lost {
                return opened;
            }
        }
        Err(io(std::io::Error::other("another program cuts it off while it is read")))
    }

    fn of_image(path: &Path, mut image: MapMut, expected: Option<&Expected>) -> Result<Self, ReadError> {
        let len = image.len();
        if let Some(expected) = expected.filter(|expected| expected.file_bytes != len as u64) {
            // What was cut off may be what nobody needs.
            let wanted = usize::try_from(expected.file_bytes).ok().filter(|wanted| wanted / 2 <= len);
            let wanted = wanted.ok_or_else(|| corrupt(path, len as u64, "more than half of the file is cut off"))?;
            image = image.with_len(wanted);
        }
        let mut mends = Mends::default();
        let (header, footer) = outline::read(path, &image, expected, &mut mends)?;
        // Then it says nothing of parts that nobody misses.
        let is_anew = mends.0.values().any(|(bit, _)| bit.is_none());
        let sections = sections(path, image.len(), header.version, &footer)?;
        let blocks = blocks_of(path, image.len(), &footer, &sections)?;
        let mut sound = [false; SECTIONS];
        if let Some((start, table)) = blocks.clone() {
            let blocks = Blocks { start, table, sections: &sections, footer: &footer };
            sound = blocks.mend(&mut image, &mut mends);
        }
        let map = image.freeze();
        let opened = |sound| {
            let checks = Checks::new(blocks.clone(), sound);
            Segment::assemble(path, map.clone(), &header, &footer, sections.clone(), checks)
        };
        let segment = opened(sound)?;
        // Nobody reads it, so it stays in the image; what is written of the file has zeros there.
        for (at, bit) in segment.padding_not_zero().unwrap_or_default().into_iter().filter(|_| !is_anew) {
            mends.note(at, bit, "padding");
        }
        let mut proved = sound;
        PROVED.iter().for_each(|section| proved[*section as usize] = true);
        let holes = Holes::find(&segment);
        let unchecked = opened(proved)?;
        let sets = Sets::find(&segment, &unchecked, &holes);
        Ok(Self { segment, unchecked, mends, sets, holes, columns: Columned::default() })
    }

    /// What the segment says of itself, or the manifest of it.
    #[must_use]
    pub fn info(&self) -> &SegmentInfo {
        self.segment.info()
    }

    /// The segment as far as it can be opened.
    #[must_use]
    pub fn segment(&self) -> &Segment {
        &self.segment
    }

    /// Series that it had, numbered from 0.
    #[must_use]
    pub fn series_count(&self) -> u32 {
        self.segment.series_count()
    }

    /// The labels of a series.
    ///
    /// # Errors
    /// [`ReadError`] if they cannot be told.
    pub fn labels(&self, ordinal: u32) -> Result<Labels, ReadError> {
        self.segment.whole(|| self.sets.labels(&self.segment, &self.unchecked, &self.holes, ordinal))
    }

    /// A number that no sample of the series is above.
    #[must_use]
    pub fn max_seq(&self, ordinal: u32) -> SeqNo {
        self.segment.max_seq(ordinal).unwrap_or(self.info().seq_range.end)
    }

    /// Samples of a series, as the directory counts them; `None` if it is damaged there.
    #[must_use]
    pub fn samples_of(&self, ordinal: u32) -> Option<u64> {
        let chunks = self.holes.chunks(&self.segment, ordinal).ok().filter(|chunks| chunks.whole)?;
        chunks.range.map(|number| self.segment.chunk(number).ok().map(|(_, at)| u64::from(at.count))).sum()
    }

    /// What was put right so far, by offset: header, footer and index at the opening, columns when they are read. One place
    /// at most of each of these, of each block of the index and of each column.
    pub fn mended(&self) -> impl ExactSizeIterator<Item = Mended> {
        let file = &self.segment.path;
        self.mends.0.iter().map(|(&offset, &(bit, what))| Mended { file: file.clone(), offset, bit, what })
    }
}
