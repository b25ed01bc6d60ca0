//! Sealed memtables into segments.

mod flusher;
mod folder;
mod left_out;
mod queue;
mod witness;
mod write;

pub(crate) use flusher::{Flusher, FlusherParts, reference};
pub(crate) use folder::SegmentFolder;
pub(crate) use queue::{FlushJob, FlushQueue};
pub(crate) use witness::{try_witness, witness};

#[cfg(test)]
mod close_tests;
#[cfg(test)]
mod folder_tests;
#[cfg(test)]
mod unmapped_tests;
