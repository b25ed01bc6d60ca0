//! The parts of the Tidegauge agent; the binary wires them together.

#![forbid(unsafe_code)]

// what the wire looks like
pub mod exposition;

// where samples come from
pub mod host;
pub mod scrape;
