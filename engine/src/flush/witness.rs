//! The manifest says itself which of its commits is durable (E1 to E5 of `docs/concurrency.md`).

use tidegauge_storage::manifest::Manifest;

use crate::core::Core;
use crate::sync::Mutex;

/// Has the manifest say so of its last commit. Where there is no space for that, the next commit or the close tries
/// again; any other failure poisons (P4).
pub(crate) fn witness(core: &Core, manifest: &Mutex<Manifest>) {
    if core.is_poisoned() {
        return;
    }
    let witnessed = manifest.lock().expect("manifest lock").witness();
    if let Err(e) = witnessed
        && !e.changes_nothing()
    {
        core.poison(format!("the manifest cannot be written: {e}"));
    }
}
