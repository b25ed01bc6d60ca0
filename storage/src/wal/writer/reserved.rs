//! Deletes on a full disk: `docs/concurrency.md`, "A full disk".

use std::io;

use super::{OpenFile, WalWriter, bytes_for};
use crate::fs::{is_exhausted, is_out_of_files};
use crate::wal::encode::FrameEncoder;
use crate::wal::format::PAGE;
use crate::wal::reserve::{FOR_OPENING, Reserve};
use crate::wal::types::{FrameNo, WalError};

impl WalWriter {
    /// As [`append`](Self::append), for a frame that helps to empty a full disk: it goes to what was the reserve, too.
    ///
    /// # Errors
    /// As [`append`](Self::append). After `NoSpace`, where [`has_reserve`](Self::has_reserve) answers so, begin a
    /// generation ([`rotate`](Self::rotate)) if there are samples in the running one, and
    /// [`append_reserved`](Self::append_reserved).
    pub fn append_delete(&mut self, frame: &mut FrameEncoder) -> Result<FrameNo, WalError> {
        if self.poisoned {
            return Err(WalError::Poisoned);
        }
        let len = frame.frame_len();
        if !self.has_room(len) {
            self.next_file(len)?;
        }
        self.write(frame, len)
    }

    /// Whether there is a reserve with room for this frame.
    #[must_use]
    pub fn has_reserve(&self, frame: &mut FrameEncoder) -> bool {
        let needed = bytes_for(PAGE, frame.frame_len()) + FOR_OPENING;
        self.reserve.as_ref().is_some_and(|reserve| needed <= reserve.capacity())
    }

    /// Puts the reserve in the place of the current file, and the frame into it. The reserve is taken anew as soon as
    /// there is space again; until then only [`append_delete`](Self::append_delete) writes.
    ///
    /// # Errors
    /// As [`append`](Self::append); `NoSpace` without a reserve.
    pub fn append_reserved(&mut self, frame: &mut FrameEncoder) -> Result<FrameNo, WalError> {
        if self.poisoned {
            return Err(WalError::Poisoned);
        }
        let epoch = self.take_epoch();
        let path = self.path(epoch);
        let Some(reserve) = self.has_reserve(frame).then(|| self.reserve.take()).flatten() else {
            self.give_back(epoch);
            return Err(WalError::NoSpace { file: path, source: io::ErrorKind::StorageFull.into() });
        };
        let capacity = reserve.capacity();
        let file = match reserve.become_file(&*self.fs, &path) {
            Ok(file) => file,
            Err(source) if is_exhausted(&source) => {
                self.reserve = Some(reserve);
                self.give_back(epoch);
                return Err(WalError::NoSpace { file: path, source });
            }
            Err(source) => {
                self.poisoned = true;
                return Err(WalError::Failed { file: path, source });
            }
        };
        if let Err(source) = self.write_header(&*file, epoch) {
            self.poisoned = true;
            return Err(WalError::Failed { file: path, source });
        }
        self.go_on_in(OpenFile { file, path, epoch, at: PAGE, capacity, reserved: true });
        let len = frame.frame_len();
        self.write(frame, len)
    }

    /// What was the reserve takes samples once there is another one, with room for any delete: files that were let go of
    /// give their space for it. What keeps it from being there is told as what it is: where no file may be opened there may
    /// be space enough.
    pub(super) fn may_take_samples(&mut self) -> Result<(), WalError> {
        let Some(open) = self.current.as_ref().filter(|open| open.reserved) else { return Ok(()) };
        let path = open.path.clone();
        loop {
            let source = match self.take_reserve() {
                Ok(()) if self.reserve.as_ref().is_some_and(Reserve::is_ample) => break,
                Ok(()) => io::ErrorKind::StorageFull.into(),
                Err(source) if is_exhausted(&source) => source,
                Err(source) => {
                    self.poisoned = true;
                    return Err(WalError::Failed { file: path, source });
                }
            };
            let spare = if is_out_of_files(&source) { None } else { self.spares.pop_front() };
            let Some(spare) = spare else { return Err(WalError::NoSpace { file: path, source }) };
            if self.fs.remove(&self.path(spare)).is_err_and(|e| e.kind() != io::ErrorKind::NotFound) {
                // Nor would the next one give its space.
                self.spares.push_front(spare);
                return Err(WalError::NoSpace { file: path, source });
            }
        }
        self.current.as_mut().expect("just looked at").reserved = false;
        Ok(())
    }

    /// Allocates what is missing of the reserve. Only who needs it is held up by an error.
    pub(super) fn take_reserve(&mut self) -> io::Result<()> {
        let taken = Reserve::take(self.reserve.take(), &*self.fs, &self.dir, self.options.open_number);
        self.reserve = Some(taken?);
        Ok(())
    }
}
