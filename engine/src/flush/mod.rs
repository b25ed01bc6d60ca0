//! Sealed memtables into segments.

mod flusher;
mod queue;

pub(crate) use flusher::{Flusher, FlusherParts, reference};
pub(crate) use queue::{FlushJob, FlushQueue};
