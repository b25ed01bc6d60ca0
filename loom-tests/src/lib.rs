//! One loom model for each named invariant; see `tests/`.
