//! What the log's files take on the disk.

use std::path::Path;

/// Files directly inside, and their bytes. A folder that is missing holds nothing.
pub(crate) fn size_of(dir: &Path) -> (u64, u64) {
    let Ok(entries) = std::fs::read_dir(dir) else { return (0, 0) };
    let sizes = entries.filter_map(|entry| entry.ok()?.metadata().ok()).filter(|m| m.is_file()).map(|m| m.len());
    sizes.fold((0, 0), |(files, bytes), size| (files + 1, bytes + size))
}
