//! Sealed memtables into segments.

mod flusher;
mod queue;

pub(crate) use flusher::{Flusher, FlusherParts};
pub(crate) use queue::{FlushJob, FlushQueue};
