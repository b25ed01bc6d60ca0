//! Where damaged files go: set aside under `quarantine/`, never deleted.

/// The folder inside the data directory.
pub(crate) const FOLDER: &str = "quarantine";
