//! Queries over a Tidegauge snapshot.
#![forbid(unsafe_code)]
