//! Sealed memtables into segments.

mod flusher;
mod queue;
mod write;

pub(crate) use flusher::{Flusher, FlusherParts, reference};
pub(crate) use queue::{FlushJob, FlushQueue};
