//! What an idle log says of its end: `docs/concurrency.md`, "The end of the log".

use super::WalWriter;
use crate::wal::encode::Place;
use crate::wal::format::{FrameHeader, PAGE};
use crate::wal::types::{FrameNo, WalError};

impl WalWriter {
    /// Writes down, where the next frame will begin, that everything up to the last frame is durable. Until that frame
    /// comes and takes the place, nothing else would say so of what the last [`SyncJob`](super::SyncJob) covered, and
    /// damage to it would pass for a torn tail. One pwrite of 96 bytes that needs no sync: if it is lost, it is as if
    /// it had not been written.
    ///
    /// Answers whether it wrote: not if frames are not synced yet, and once for each sync.
    ///
    /// # Errors
    /// [`WalError::Failed`]: the writer refuses from here on.
    pub fn witness(&mut self) -> Result<bool, WalError> {
        let settled = self.synced_through == self.last_frame() && self.witnessed < self.synced_through;
        if self.poisoned || !settled {
            return Ok(false);
        }
        let Some(open) = self.current.as_ref().or(self.ended.as_ref()) else { return Ok(false) };
        let place = Place {
            store_id: self.options.store_id,
            epoch: open.epoch,
            frame: FrameNo(self.next_frame),
            synced_through: self.synced_through,
            generation: self.generation(),
        };
        let header = FrameHeader::witness(&place, self.next_seq);
        let at = open.at.next_multiple_of(PAGE);
        debug_assert!(at + PAGE <= open.capacity, "each file keeps a page for it");
        if let Err(source) = open.file.write_all_at(at, bytemuck::bytes_of(&header)) {
            self.poisoned = true;
            return Err(WalError::Failed { file: open.path.clone(), source });
        }
        self.witnessed = self.synced_through;
        Ok(true)
    }
}
