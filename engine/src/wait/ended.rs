//! Whether the engine is over, for those who wait (R14).

use crate::sync::atomic::AtomicBool;
use crate::sync::weakenable;

/// Told once, after the last commit and the last sync: what is not reached then never will be.
#[derive(Default)]
pub struct Ended(AtomicBool);

impl Ended {
    /// Not yet.
    pub fn new() -> Self {
        Self(AtomicBool::new(false))
    }

    /// For whoever has joined the threads that publish. Those who wait are woken afterwards (N2).
    pub fn tell(&self) {
        // Release: who sees it sees all that was published before (R14).
        self.0.store(true, weakenable!("ended", Release));
    }

    /// Asked **before** the last look: what came before the end is found by a look that comes after this.
    pub fn is_told(&self) -> bool {
        // Acquire: pairs with the Release in `tell`.
        self.0.load(weakenable!("ended_read", Acquire))
    }
}
