//! The durable watermark: everything below it survives a power loss.

use crate::sync::atomic::AtomicU64;
use crate::sync::weakenable;

/// First sequence number that may be lost.
///
/// - D1: it is raised only after the fdatasync (or the manifest edit) that covers it returned.
/// - D2: an engine begins with it only once what was replayed is on the device (P5).
pub struct Durable(AtomicU64);

impl Durable {
    pub fn new(seq: u64) -> Self {
        Self(AtomicU64::new(seq))
    }

    /// Everything below `seq` is on the device. Answers what is known to be there now.
    pub fn synced(&self, seq: u64) -> u64 {
        // AcqRel: whoever acts on the number comes after the sync, and after earlier ones.
        self.0.fetch_max(seq, weakenable!("durable", AcqRel)).max(seq)
    }

    pub fn seq(&self) -> u64 {
        // Acquire: what is called so is on the device for whoever reads it (D1).
        self.0.load(weakenable!("durable_read", Acquire))
    }
}
