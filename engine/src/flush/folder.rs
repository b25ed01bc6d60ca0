//! The folder of the segments, which a flush and compactions give names to at once.
//!
//! - SF1: A sync of it that failed, whatever the reason, may have lost every name that was not durable yet, those of other
//!   threads too, and no later sync brings one back: it poisons (P4), and is never tried again.
//! - SF2: One sync at a time. So whoever syncs behind one that failed finds that out, and calls nothing durable: the other
//!   way round his own sync would have succeeded, and the manifest would name a segment, and let go of its log, before the
//!   thread whose sync failed had told anybody.
//! - SF3: Where the folder could not even be opened no sync has failed: that is told, and tried again later.

use std::io;
use std::path::Path;

use tidegauge_storage::fs::{Fs, is_out_of_files};

use crate::core::Core;
use crate::sync::Mutex;

/// Whether a sync of the folder has failed.
#[derive(Default)]
pub(crate) struct SegmentFolder(Mutex<bool>);

impl SegmentFolder {
    /// Makes the names in `dir`, which is the folder, durable.
    pub(crate) fn sync(&self, core: &Core, fs: &dyn Fs, dir: &Path) -> io::Result<()> {
        let mut has_failed = self.0.lock().expect("segment folder lock");
        if *has_failed {
            return Err(io::Error::other("an earlier sync of it failed"));
        }
        let synced = fs.sync_dir(dir);
        if let Err(e) = &synced
            && !is_out_of_files(e)
        {
            *has_failed = true;
            drop(has_failed);
            core.poison(format!("the folder of the segments cannot be synced: {e}"));
        }
        synced
    }
}
