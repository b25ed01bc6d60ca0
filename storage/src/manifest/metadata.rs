//! What metrics mean: kind, help and unit, as their collectors give them.

use std::collections::BTreeMap;
use std::sync::Arc;

/// Bytes that all metadata together may take.
pub const METADATA_BYTES_MAX: usize = 16 << 20;
/// What an entry costs beside its strings.
const ENTRY_BYTES: usize = 64;

/// What is known of a metric.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Metadata {
    /// `counter`, `gauge`, `histogram`, `summary`, or whatever its collector says.
    pub kind: String,
    /// One sentence for people.
    pub help: String,
    /// The unit, such as `seconds`; empty if unknown.
    pub unit: String,
}

/// Metadata by metric, within [`METADATA_BYTES_MAX`]. Clones share it until one changes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct MetadataTable {
    entries: Arc<BTreeMap<String, Metadata>>,
    bytes: usize,
}

impl MetadataTable {
    pub(super) fn entries(&self) -> &BTreeMap<String, Metadata> {
        &self.entries
    }

    /// Sets one metric's metadata; false if there is no room for it.
    pub(super) fn set(&mut self, metric: &str, metadata: &Metadata) -> bool {
        let old = self.entries.get(metric).map_or(0, |old| cost(metric, old));
        let bytes = self.bytes - old + cost(metric, metadata);
        if bytes > METADATA_BYTES_MAX {
            return false;
        }
        self.bytes = bytes;
        Arc::make_mut(&mut self.entries).insert(metric.to_owned(), metadata.clone());
        true
    }
}

fn cost(metric: &str, metadata: &Metadata) -> usize {
    metric.len() + metadata.kind.len() + metadata.help.len() + metadata.unit.len() + ENTRY_BYTES
}
