//! The manifest says itself which of its commits is durable (E1 to E5 of `docs/concurrency.md`).

use tidegauge_storage::manifest::Manifest;

use crate::core::Core;
use crate::sync::Mutex;

/// Has the manifest say so of its last commit. Where there is no space for that, the next commit or the close tries
/// again; any other failure poisons (P4).
pub(crate) fn witness(core: &Core, manifest: &Mutex<Manifest>) {
    if let Err(cause) = try_witness(core, manifest) {
        core.poison(cause);
    }
}

/// As [`witness`], but leaves it to the caller to poison with what is answered.
pub(crate) fn try_witness(core: &Core, manifest: &Mutex<Manifest>) -> Result<(), String> {
    if core.is_poisoned() {
        return Ok(());
    }
    let witnessed = match manifest.lock() {
        Ok(mut manifest) => manifest.witness(),
        // Whoever panicked may have been in the middle of a commit.
        Err(_) => return Err("a panic has left the manifest to nobody".to_owned()),
    };
    match witnessed {
        Err(e) if !e.changes_nothing() => Err(format!("the manifest cannot be written: {e}")),
        _ => Ok(()),
    }
}
