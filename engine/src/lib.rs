//! Tidegauge.

// collectors push into
#[cfg_attr(not(any(loom, feature = "internals")), allow(dead_code, unused_imports))]
mod ring;
// what threads and atomics all of it is built from
mod sync;

/// What the models in `loom-tests/` run. Not there in an ordinary build.
#[cfg(loom)]
pub mod loom_only {
    /// The ring.
    pub mod ring {
        pub use crate::ring::*;
    }
}

/// What the benches and stress tests of this repository reach. Not there without the feature `internals`.
#[cfg(feature = "internals")]
pub mod internals {
    /// The ring.
    pub mod ring {
        pub use crate::ring::*;
    }
}
