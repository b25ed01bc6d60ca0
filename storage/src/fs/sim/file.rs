//! An open file of the simulated disk.

use std::fmt;
use std::io;
use std::sync::{Arc, Mutex};

use super::disk::{DataChange, State, Step, Synced};
use super::{Fault, lock};
use crate::fs::FsFile;

pub(super) struct SimFile {
    pub(super) state: Arc<Mutex<State>>,
    pub(super) process: u64,
    pub(super) file: u64,
    pub(super) writable: bool,
}

impl fmt::Debug for SimFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimFile").field("file", &self.file).finish_non_exhaustive()
    }
}

impl SimFile {
    fn check_writable(&self) -> io::Result<()> {
        if self.writable { Ok(()) } else { Err(io::ErrorKind::PermissionDenied.into()) }
    }

    fn change(&self, state: &mut State, change: DataChange) {
        state.step(Step::Data { file: self.file, change });
    }

    fn live_len(&self, state: &State) -> u64 {
        state.disk.files[&self.file].live.len()
    }
}

impl FsFile for SimFile {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        let mut state = lock(&self.state);
        state.reading(self.process)?;
        if state.spoiled == Some(self.file) {
            return Err(Fault::Io.error());
        }
        Ok(state.disk.files[&self.file].live.read(offset, buf))
    }

    fn write_all_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.check_writable()?;
        let mut state = lock(&self.state);
        let mut fault = state.operation(self.process)?;
        let growth = (offset + bytes.len() as u64).saturating_sub(self.live_len(&state));
        let room = state.disk.has_room(growth);
        if fault.is_none() && (growth > 0 && !room || state.is_full_in_place(self.file)) {
            fault = Some(Fault::Full);
        }
        let written = if fault.is_some() { bytes.len() / 2 } else { bytes.len() };
        if fault != Some(Fault::Full) || room {
            self.change(&mut state, DataChange::Write(offset, bytes[..written].into()));
        }
        fault.map_or(Ok(()), |fault| Err(fault.error()))
    }

    fn sync_data(&self) -> io::Result<()> {
        let (fault, since, hook) = {
            let mut state = lock(&self.state);
            let fault = state.operation(self.process)?;
            let failing = state.syncing();
            (fault.or(failing), state.disk.steps, state.hook.clone())
        };
        let site = hook.map(|hook| hook());
        let mut state = lock(&self.state);
        state.running(self.process)?;
        let synced = Synced { since, failed: fault.is_some(), site };
        state.step(Step::SyncFile { file: self.file, synced });
        fault.map_or(Ok(()), |fault| Err(fault.error()))
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        self.check_writable()?;
        let mut state = lock(&self.state);
        state.whole_operation(self.process)?;
        let now = self.live_len(&state);
        if len <= now {
            return Ok(());
        }
        if !state.disk.has_room(len - now) {
            return Err(Fault::Full.error());
        }
        self.change(&mut state, DataChange::Len(len));
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.check_writable()?;
        let mut state = lock(&self.state);
        state.whole_operation(self.process)?;
        self.change(&mut state, DataChange::Len(len));
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        let mut state = lock(&self.state);
        state.reading(self.process)?;
        Ok(self.live_len(&state))
    }
}
