//! What a closed store says of its manifest beside it: `docs/format/manifest.md`, "Closed"; E8 of `docs/concurrency.md`.

use std::io;
use std::path::Path;

use bytemuck::Zeroable;

use super::format::{CLOSED_MAGIC, CLOSED_NAME, CLOSED_VERSION, FILE_HEADER_LEN, FileHeader};
use super::state::State;
use crate::fs::Fs;

/// Where the manifest ended when an opening closed in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Closed {
    pub(super) store_id: u128,
    pub(super) open_number: u32,
    /// Number of the last commit. It was durable.
    pub(super) through: u64,
}

impl Closed {
    /// What stands in `dir`. Nothing where it is missing or damaged, or of a later form: it only ever adds to what the
    /// manifest says.
    pub(super) fn read(fs: &dyn Fs, dir: &Path) -> Option<Self> {
        let mut bytes = [0; FILE_HEADER_LEN];
        let n = fs.open_read(&dir.join(CLOSED_NAME)).and_then(|file| file.read_at(0, &mut bytes)).ok()?;
        let found: FileHeader = bytemuck::pod_read_unaligned(&bytes);
        let sound = n == FILE_HEADER_LEN && found.magic == CLOSED_MAGIC && found.crc == found.checksum();
        (sound && found.version == CLOSED_VERSION).then(|| Self {
            store_id: u128::from_le_bytes(found.store_id),
            open_number: found.open_number,
            through: found.first_commit,
        })
    }

    /// Writes it, in the place of what an earlier opening said: it is no longer than a sector, so one of them is there.
    /// It is not synced. What a power loss takes of it, it does not say.
    pub(super) fn write(&self, fs: &dyn Fs, dir: &Path) -> io::Result<()> {
        let path = dir.join(CLOSED_NAME);
        let said = FileHeader {
            magic: CLOSED_MAGIC,
            version: CLOSED_VERSION,
            store_id: self.store_id.to_le_bytes(),
            open_number: self.open_number,
            first_commit: self.through,
            ..FileHeader::zeroed()
        };
        let file = fs.open(&path).or_else(|_| fs.create(&path))?;
        file.write_all_at(0, bytemuck::bytes_of(&said.sealed()))
    }

    /// The commit that a manifest of `state`, with `next_commit` to come, lacks. A later opening may count anew: whatever
    /// this one says then, it is not enough.
    pub(super) fn lacking(&self, state: &State, next_commit: u64) -> Option<u64> {
        if self.store_id != state.store_id {
            return None;
        }
        match self.open_number.cmp(&state.open_number) {
            std::cmp::Ordering::Less => None,
            std::cmp::Ordering::Equal => (self.through >= next_commit).then_some(self.through),
            std::cmp::Ordering::Greater => Some(u64::MAX),
        }
    }
}
