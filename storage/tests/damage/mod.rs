//! Damage that follows from a seed, and how many seeds are tried.
//!
//! `TIDEGAUGE_DAMAGE=100000` tries that many of each decoder instead of the few that the suite does, and
//! `TIDEGAUGE_DAMAGE_FROM=SEED` begins at that one: a seed that failed is repeated with `TIDEGAUGE_DAMAGE=1`.
#![allow(dead_code, unreachable_pub)]

use std::ops::Range;

/// The seeds that a test tries: 0 to `quick`, unless the environment says otherwise.
pub fn seeds(quick: u64) -> Range<u64> {
    let number = |name: &str| {
        let text = std::env::var(name).ok()?;
        Some(text.parse::<u64>().unwrap_or_else(|e| panic!("{name}: {e}")))
    };
    let first = number("TIDEGAUGE_DAMAGE_FROM").unwrap_or(0);
    first..first + number("TIDEGAUGE_DAMAGE").unwrap_or(quick)
}

/// Tries each seed, and counts: errors, answers. A seed that panics is named.
pub fn campaign(what: &str, quick: u64, mut trial: impl FnMut(&mut Noise) -> bool) -> (u64, u64) {
    let (mut errors, mut answers) = (0, 0);
    for seed in seeds(quick) {
        let _named = Named(what, seed);
        if trial(&mut Noise::new(seed)) { answers += 1 } else { errors += 1 }
    }
    println!("{what}: {errors} errors, {answers} answers");
    (errors, answers)
}

struct Named<'a>(&'a str, u64);

impl Drop for Named<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let Self(what, seed) = self;
            eprintln!("{what}: seed {seed}; TIDEGAUGE_DAMAGE=1 TIDEGAUGE_DAMAGE_FROM={seed} repeats it");
        }
    }
}

/// Numbers that follow from a seed.
pub struct Noise(u64);

impl Noise {
    /// Seeds that are neighbours have nothing in common.
    pub fn new(seed: u64) -> Self {
        Self((seed ^ seed >> 7).wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    /// At least 0, below `n`.
    pub fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) as usize) % n
    }

    /// Once in `n` times.
    pub fn once_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    /// Overwrites a byte with any other, one that lengths and counts stumble over, or flips a bit of it.
    pub fn overwrite(&mut self, byte: &mut u8) {
        match self.below(3) {
            0 => *byte = self.below(256) as u8,
            1 => *byte = [0, 1, 64, 127, 128, 255][self.below(6)],
            _ => *byte ^= 1 << self.below(8),
        }
    }
}
