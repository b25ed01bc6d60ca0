//! The manifest: which segments, WAL files and rules exist, in order.
//!
//! Byte layout: `docs/format/manifest.md`.

// what is known
mod horizon;
mod metadata;
mod retention;
mod state;

// as bytes
mod codec;
mod format;

// in a file
mod anew;
mod closed;
mod error;
mod log;
mod names;
mod read;
mod remains;

pub use anew::Grows;
pub use error::ManifestError;
pub use horizon::{HORIZONS_MAX, Horizon, Horizons};
pub use log::{Manifest, Ownership, write_copy};
pub use metadata::{METADATA_BYTES_MAX, Metadata};
pub use names::Names;
pub use remains::Remains;
pub use retention::{RETENTION_RULES_MAX, Retention, RetentionRule};
pub use state::{Edit, SegmentRef, State};
