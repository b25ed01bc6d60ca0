//! Data model, codecs and files of Tidegauge.
//!
//! This crate knows bytes and nothing that moves: it has no thread, no atomic,
//! no clock. The engine decides when; this crate decides what the bytes mean.
//! The byte layouts are described in `docs/format/` and nowhere else.

// what everything speaks of
pub mod model;

// samples of one series, encoded
pub mod chunk;

// and what is made of them, decoded
pub mod lanes;

// many series in one immutable file
pub mod segment;

// how files are reached
pub mod fs;

// how others read what is stored here
pub mod source;

// what is accepted and not yet in a segment
pub mod wal;

// which of all that counts
pub mod manifest;
