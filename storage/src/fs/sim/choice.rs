//! What of the unsynced a power loss leaves: by a seed, or each possibility in turn.

/// A sector, the least that a disk writes whole.
const SECTOR: u64 = 512;
/// A page, which most disks write whole.
const PAGE: u64 = 4096;

/// Decides what a power loss leaves of what was not synced.
pub trait Choose {
    /// The unsynced of another file, or of all names, comes next. Answers the bytes that are written whole.
    fn begin(&mut self) -> u64;

    /// One of `n` states, the oldest being 0 and the newest `n - 1`.
    fn pick(&mut self, n: u64) -> u64;
}

/// A choice that depends on a seed alone. Where all or nothing is what breaks things, all or
/// nothing comes often.
#[derive(Clone, Debug)]
pub struct Random {
    seed: u64,
    mood: u64,
    by_sector: bool,
}

impl Random {
    /// The choice of this seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self { seed, mood: 0, by_sector: false }
    }

    /// As above, and no write is whole beyond a sector.
    #[must_use]
    pub fn by_sector(seed: u64) -> Self {
        Self { by_sector: true, ..Self::new(seed) }
    }

    /// SplitMix64.
    fn next(&mut self) -> u64 {
        self.seed = self.seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.seed;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

impl Choose for Random {
    fn begin(&mut self) -> u64 {
        self.mood = self.next() % 6;
        if self.next().is_multiple_of(2) || self.by_sector { SECTOR } else { PAGE }
    }

    /// The newest state never, sometimes, mostly, always; otherwise any.
    fn pick(&mut self, n: u64) -> u64 {
        if self.mood == 5 {
            0
        } else if self.next() % 4 < self.mood {
            n - 1
        } else {
            self.next() % n
        }
    }
}

/// All the newest and one the oldest, or the other way about, by pages: what breaks where a single sync is missing is
/// mostly one thing that is lost alone, or alone is left.
#[derive(Clone, Copy, Debug)]
pub struct AllBut {
    nth: u64,
    lost: bool,
    turn: u64,
}

impl AllBut {
    /// All are left but the `nth`, from 0.
    #[must_use]
    pub fn lost(nth: u64) -> Self {
        Self { nth, lost: true, turn: 0 }
    }

    /// All are lost but the `nth`, from 0.
    #[must_use]
    pub fn left(nth: u64) -> Self {
        Self { nth, lost: false, turn: 0 }
    }
}

impl Choose for AllBut {
    fn begin(&mut self) -> u64 {
        PAGE
    }

    fn pick(&mut self, n: u64) -> u64 {
        // Where there is one state nothing can be lost.
        if n == 1 {
            return 0;
        }
        self.turn += 1;
        if (self.turn - 1 == self.nth) == self.lost { 0 } else { n - 1 }
    }
}

/// Every choice there is, one after the other, by pages.
///
/// Each pass over the unsynced takes one path; [`more`](Self::more) goes on to the next.
#[derive(Clone, Debug, Default)]
pub struct Every {
    /// The state picked at each turn, and how many there were.
    path: Vec<(u64, u64)>,
    turn: usize,
}

impl Every {
    /// Goes on to the next choice. False once all were there.
    pub fn more(&mut self) -> bool {
        self.turn = 0;
        while let Some((picked, n)) = self.path.pop() {
            if picked + 1 < n {
                self.path.push((picked + 1, n));
                return true;
            }
        }
        false
    }
}

impl Choose for Every {
    fn begin(&mut self) -> u64 {
        PAGE
    }

    fn pick(&mut self, n: u64) -> u64 {
        if self.turn == self.path.len() {
            self.path.push((0, n));
        }
        self.turn += 1;
        self.path[self.turn - 1].0
    }
}
