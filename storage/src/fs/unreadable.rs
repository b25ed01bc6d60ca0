//! Pages of a mapped file that cannot be read: the disk refuses them, or another program cut the file off.
//!
//! The system raises SIGBUS in whoever touches one, which ends the process. Where the handler is
//! [installed](survive_unreadable_pages), a page of zeros takes its place, and the map remembers it:
//!
//! - UP1: A page is noted as lost, and counted, before zeros take its place. So whoever read zeros and looks at the
//!   [count](super::Map::losses) behind that sees another one than before he read; and whoever begins later sees which
//!   pages [are lost](super::Map::is_lost).
//! - UP2: A map is in the table before anybody can read it, and leaves it before it is unmapped. So what the handler finds
//!   there of an address that was read is right, and lives while it looks (`table.rs`).
//! - UP3: A fault anywhere else is passed to the handler that was there before, and ends the process as it did.

mod handler;
mod table;
#[cfg(all(test, target_os = "linux"))]
mod tests;

use std::io;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicIsize, AtomicU64, AtomicUsize, Ordering, fence};
use std::sync::{Arc, OnceLock};

pub(super) use handler::page_size;
pub(super) use table::Watched;

/// Lost pages of one map, in runs of neighbours, beyond which all of it is given up: each run costs the process two of the
/// maps that it may have (65,530 by default), and where those run out nothing gets memory any more.
const RUNS_MAX: isize = 1_024;

/// Of all maps together, since the process began.
static LOST_PAGES: AtomicU64 = AtomicU64::new(0);

/// Lets this process live on when a page under a mapped segment cannot be read, because the disk refuses it or another
/// program cut the file off: who reads it gets [`ReadError::Corrupt`](crate::source::ReadError::Corrupt), as of any
/// damage. Without this, such a page raises SIGBUS, and the process ends.
///
/// It installs a handler of SIGBUS, of which a process has one: whether to is for the program to say, once, at its
/// beginning. A fault anywhere else is passed on to the handler that was there before. A program that installs one later
/// must do likewise. Calling this again does nothing.
///
/// # Errors
/// What the operating system says; `Unsupported` on others than Linux, where such a page still ends the process.
pub fn survive_unreadable_pages() -> io::Result<()> {
    static INSTALLED: OnceLock<Result<(), io::ErrorKind>> = OnceLock::new();
    INSTALLED.get_or_init(|| handler::install().map_err(|e| e.kind())).map_err(io::Error::from)
}

/// Pages of mapped files that could not be read, since the process began; 0 where nobody asked to
/// [survive](survive_unreadable_pages) the first.
#[must_use]
pub fn unreadable_pages() -> u64 {
    // As in `Lost::faults`.
    fence(Ordering::Acquire);
    LOST_PAGES.load(Ordering::Acquire)
}

/// What of a map is lost.
#[derive(Debug, Default)]
pub(super) struct Lost {
    /// Times that a page could not be read.
    faults: AtomicU64,
    /// The first byte of the page that was lost last.
    last: AtomicUsize,
    /// A bit for each page.
    pages: Box<[AtomicU64]>,
    /// Runs of lost pages.
    runs: AtomicIsize,
    all: AtomicBool,
    len: usize,
    page: usize,
    /// What takes the place of a page can be written to.
    writable: bool,
}

impl Lost {
    /// Nothing yet, of a map of `len` bytes.
    fn new(len: usize, writable: bool) -> Self {
        let page = page_size();
        let words = len.div_ceil(page).div_ceil(64);
        Self { pages: bytemuck::zeroed_slice_box(words), len, page, writable, ..Self::default() }
    }

    /// Times that a page could not be read.
    #[inline]
    pub(super) fn faults(&self) -> u64 {
        // What was read of the map before comes before this: see UP1.
        fence(Ordering::Acquire);
        // Acquire: whoever sees the count sees which page it was.
        self.faults.load(Ordering::Acquire)
    }

    /// Whether a page is lost; for whoever looks before he reads.
    #[inline]
    pub(super) fn any(&self) -> bool {
        self.faults.load(Ordering::Acquire) != 0
    }

    pub(super) fn last(&self) -> usize {
        self.last.load(Ordering::Relaxed)
    }

    fn has(&self, page: usize) -> bool {
        let word = self.pages.get(page / 64);
        word.is_some_and(|word| word.load(Ordering::Acquire) >> (page % 64) & 1 == 1)
    }

    pub(super) fn covers(&self, bytes: &Range<usize>) -> bool {
        if bytes.is_empty() || self.pages.is_empty() {
            return false;
        }
        let mut pages = bytes.start / self.page..(bytes.end - 1) / self.page + 1;
        self.all.load(Ordering::Acquire) || pages.any(|page| self.has(page))
    }

    /// The first lost page of these bytes, with its neighbours that are lost, too.
    pub(super) fn run(&self, bytes: &Range<usize>) -> Option<Range<usize>> {
        if !self.covers(bytes) {
            return None;
        }
        if self.all.load(Ordering::Acquire) {
            return Some(0..self.len);
        }
        let page = (bytes.start / self.page..(bytes.end - 1) / self.page + 1).find(|&page| self.has(page))?;
        let full = |word: usize| self.pages.get(word).is_some_and(|word| word.load(Ordering::Acquire) == u64::MAX);
        let (mut start, mut end) = (page, page + 1);
        while start > 0 && self.has(start - 1) {
            start -= if start.is_multiple_of(64) && full(start / 64 - 1) { 64 } else { 1 };
        }
        while self.has(end) {
            end += if end.is_multiple_of(64) && full(end / 64) { 64 } else { 1 };
        }
        Some(start * self.page..(end * self.page).min(self.len))
    }

    /// Where the lost pages lie, neighbours together.
    pub(super) fn ranges(&self) -> Vec<Range<usize>> {
        let mut ranges: Vec<Range<usize>> = Vec::new();
        let all = self.all.load(Ordering::Acquire);
        for page in (0..self.len.div_ceil(self.page.max(1))).filter(|&page| all || self.has(page)) {
            let (start, end) = (page * self.page, ((page + 1) * self.page).min(self.len));
            match ranges.last_mut() {
                Some(last) if last.end == start => last.end = end,
                _ => ranges.push(start..end),
            }
        }
        ranges
    }

    /// Notes that a page cannot be read; answers whether only that one is given up, not all. For the handler: neither
    /// locks nor allocates.
    fn note(&self, page: usize) -> bool {
        let before = self.pages[page / 64].fetch_or(1 << (page % 64), Ordering::AcqRel);
        let is_new = before >> (page % 64) & 1 == 0;
        if is_new {
            match (page > 0 && self.has(page - 1), self.has(page + 1)) {
                (false, false) => _ = self.runs.fetch_add(1, Ordering::Relaxed),
                // Two threads at once may both count: it is a bound, not a statistic.
                (true, true) => _ = self.runs.fetch_sub(1, Ordering::Relaxed),
                _ => {}
            }
            LOST_PAGES.fetch_add(1, Ordering::AcqRel);
        }
        self.last.store(page * self.page, Ordering::Relaxed);
        let one = self.runs.load(Ordering::Relaxed) <= RUNS_MAX;
        if !one {
            self.all.store(true, Ordering::Release);
        }
        self.faults.fetch_add(1, Ordering::AcqRel);
        one
    }

    /// Notes that nothing of the map is left.
    pub(super) fn note_all(&self) {
        LOST_PAGES.fetch_add(1, Ordering::AcqRel);
        self.all.store(true, Ordering::Release);
        self.faults.fetch_add(1, Ordering::AcqRel);
    }
}

/// Of a map that no file is behind: nothing is ever lost.
pub(super) fn nothing() -> Arc<Lost> {
    Arc::new(Lost::default())
}
