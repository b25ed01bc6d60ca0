//! The parts of the Tidegauge agent; the binary wires them together.

#![forbid(unsafe_code)]

// what the user typed
mod cli;
mod config;
mod units;

// what it ends with
mod failure;

// what the wire looks like
pub mod exposition;

// where samples come from
pub mod host;
pub mod scrape;

// how they get into the engine: every second, or from files
pub mod collect;
pub mod import;

// and out again
pub mod export;

// how long it all lives
mod blocking;
mod panic;
mod serve;

// what it measures of itself
mod own;

// how questions are answered, and over HTTP
mod ask;
mod http;

pub use cli::run;

#[cfg(fuzzing)]
pub mod fuzz_only;

#[cfg(test)]
mod test_engine;
