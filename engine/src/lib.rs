//! Tidegauge.

// what threads and atomics all of it is built from
mod sync;
