//! Whether there is space for what comes next, while nothing has come: `docs/concurrency.md`, "A full disk" (X11).

use std::io;

use super::{FILE_BYTES_LEAST, WalWriter, bytes_for};
use crate::fs::{FsFile, is_exhausted};
use crate::wal::format::PAGE;
use crate::wal::reserve::{Reserve, allocate};

impl WalWriter {
    /// Tries whether samples in a frame of `len` bytes would find space: in the current file, or in the smallest that may
    /// follow it, beside what is missing of the reserve. What that needs is allocated, and given back at once: the writer
    /// is as it was, and what a delete frees stays free for what it is needed for.
    ///
    /// # Errors
    /// What has run out ([`is_exhausted`]). Any other failure is told to who writes.
    pub fn try_space(&self, len: u64) -> io::Result<()> {
        let has_room = self.current.as_ref().is_some_and(|open| bytes_for(open.at, len) <= open.capacity);
        if has_room && !self.waits_for_reserve() {
            return Ok(());
        }
        let path = Reserve::trial_path(&self.dir);
        // Before the trial takes what may be the last file that may be opened.
        let spares = self.spare_bytes();
        let file = match self.fs.create(&path) {
            // An earlier one's could not be removed.
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => self.fs.open(&path),
            created => created,
        };
        let made = file.is_ok();
        let tried = file.and_then(|file| self.try_in(&*file, has_room, &spares));
        if made {
            let _ = self.fs.remove(&path);
        }
        tried.or_else(|e| if is_exhausted(&e) { Err(e) } else { Ok(()) })
    }

    /// What was the reserve takes no samples before there is another one.
    fn waits_for_reserve(&self) -> bool {
        let has_ample = self.reserve.as_ref().is_some_and(Reserve::is_ample);
        self.current.as_ref().is_some_and(|open| open.reserved) && !has_ample
    }

    /// What the files take that were let go of, the oldest first.
    fn spare_bytes(&self) -> Vec<u64> {
        let len = |spare| self.fs.open_read(&self.path(spare)).and_then(|file| file.len());
        self.spares.iter().map(|&spare| len(spare).unwrap_or(0)).collect()
    }

    /// In the order in which a push takes it: the reserve first, as much of it as there is, and then the file.
    fn try_in(&self, file: &dyn FsFile, has_room: bool, spares: &[u64]) -> io::Result<()> {
        let held = self.reserve.as_ref().map_or(0, Reserve::capacity);
        let mut spares = spares.iter().copied();
        // What a spare that is given up for the reserve gives back is there for it, and for the file.
        let mut freed = 0;
        let more = loop {
            let more = match allocate_behind(file, freed, Reserve::wants(held)) {
                Err(e) if !is_exhausted(&e) => return Err(e),
                taken => taken.unwrap_or(0),
            };
            if !self.waits_for_reserve() || Reserve::would_be_ample(held + more) {
                break more;
            }
            freed += spares.next().ok_or(io::ErrorKind::StorageFull)?;
        };
        if has_room {
            return Ok(());
        }
        // A file that is written over has its bytes.
        let least = FILE_BYTES_LEAST.min(self.options.file_bytes).next_multiple_of(PAGE);
        let wanted = more + least.saturating_sub(spares.next().unwrap_or(0));
        allocate_behind(file, freed, [wanted]).map(drop)
    }
}

/// As [`allocate`], where so much is `freed` for it that is not free yet.
fn allocate_behind(file: &dyn FsFile, freed: u64, sizes: impl IntoIterator<Item = u64>) -> io::Result<u64> {
    let (larger, fitting): (Vec<u64>, Vec<u64>) = sizes.into_iter().partition(|size| *size > freed);
    match (allocate(file, larger.iter().map(|size| size - freed)), fitting.first()) {
        (Ok(size), _) => Ok(size + freed),
        (Err(e), Some(size)) if is_exhausted(&e) => Ok(*size),
        (Err(e), _) => Err(e),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;

    use super::*;
    use crate::fs::sim::{Fault, SimFs};
    use crate::fs::{Fs, is_out_of_files};
    use crate::model::{SeqNo, TimeRange, Tombstone};
    use crate::wal::{Epoch, FrameEncoder, FrameNo, GenerationId, WalError, WalSample, WriterOptions};

    const DIR: &str = "d/wal";

    fn used(fs: &SimFs) -> u64 {
        fs.files().iter().map(|(_, len)| len).sum()
    }

    fn samples(frame: &mut FrameEncoder) {
        frame.begin(SeqNo(1));
        let sample = |t| WalSample { series: 1, tag: 1, timestamp: t, value: (t as f64).sqrt() };
        let _ = frame.samples(&(0..100).map(sample).collect::<Vec<_>>());
    }

    fn delete(frame: &mut FrameEncoder) {
        frame.begin(SeqNo(1));
        frame.delete(&Tombstone { seq: SeqNo(1), matchers: vec![], range: TimeRange::ALL, created: 0 });
    }

    /// How a log comes to where samples may find no space.
    #[derive(Clone, Copy, Debug, PartialEq)]
    enum Way {
        Opened,
        /// With the reserve that an earlier opening left.
        WithReserve,
        /// Its file was let go of, and may be written over.
        Spare,
        /// A delete went to the reserve.
        Reserved,
        /// And what was before it was let go of.
        ReservedSpare,
        /// And then deletes to all of it that they may have.
        ReservedFull,
    }

    fn log(way: Way, file_bytes: u64) -> (SimFs, WalWriter) {
        let fs = SimFs::new();
        let mut options = WriterOptions::new(7, 1, FrameNo(1));
        (options.file_bytes, options.reserve_at_once) = (file_bytes, way == Way::WithReserve);
        let mut writer = WalWriter::open(Arc::new(fs.clone()), DIR, Epoch::new(1, 0), options).unwrap();
        let mut frame = FrameEncoder::new();
        match way {
            Way::Opened | Way::WithReserve => {}
            Way::Spare => {
                samples(&mut frame);
                writer.append(&mut frame).unwrap();
                let first: GenerationId = writer.rotate();
                writer.release_before(first);
            }
            Way::Reserved | Way::ReservedSpare | Way::ReservedFull => {
                samples(&mut frame);
                writer.append(&mut frame).unwrap();
                let generation = writer.rotate();
                fs.set_capacity(Some(used(&fs)));
                delete(&mut frame);
                writer.append_reserved(&mut frame).unwrap();
                if way == Way::ReservedSpare {
                    writer.release_before(generation);
                }
                while way == Way::ReservedFull && writer.append_delete(&mut frame).is_ok() {
                    writer.sync_point();
                }
            }
        }
        (fs, writer)
    }

    /// X11: whatever is free, the answer is that of a push, and the disk as it was.
    #[test]
    fn space_is_tried_as_a_push_would_take_it_and_nothing_is_kept() {
        for file_bytes in [64 << 10, 4 << 20] {
            let reserved = [Way::Reserved, Way::ReservedSpare, Way::ReservedFull];
            for way in [Way::Opened, Way::WithReserve, Way::Spare].into_iter().chain(reserved) {
                let (mut some, mut none) = (0, 0);
                for free in (0..1600 << 10).step_by(16 << 10) {
                    let (fs, mut writer) = log(way, file_bytes);
                    fs.set_capacity(Some(used(&fs) + free));
                    let mut frame = FrameEncoder::new();
                    samples(&mut frame);
                    let before = fs.files();
                    let tried = writer.try_space(frame.frame_len());
                    assert_eq!(fs.files(), before, "{way:?}, {free} free");
                    let written = writer.append(&mut frame);
                    assert_eq!(tried.is_ok(), written.is_ok(), "{way:?}, {free} free: {tried:?}, {written:?}");
                    assert!(matches!(written, Ok(_) | Err(WalError::NoSpace { .. })), "{written:?}");
                    *if written.is_ok() { &mut some } else { &mut none } += 1;
                }
                let has_spare = matches!(way, Way::Spare | Way::ReservedSpare);
                assert!(some > 0 && (none > 0 || has_spare), "{way:?}: {some} found some, {none} none");
            }
        }
    }

    /// Behind a delete in what was the reserve samples wait for another one: that no file may be opened for it was told as
    /// space, of which there was enough.
    #[test]
    fn samples_that_wait_for_a_reserve_are_told_what_keeps_it() {
        for way in [Way::Reserved, Way::ReservedFull] {
            let (fs, mut writer) = log(way, 1 << 20);
            let mut frame = FrameEncoder::new();
            samples(&mut frame);
            let mut told = || match writer.append(&mut frame) {
                Err(WalError::NoSpace { source, .. }) => Some(source),
                other => other.map(|_| None).unwrap(),
            };
            assert_eq!(told().unwrap().kind(), io::ErrorKind::StorageFull, "{way:?}");
            fs.set_capacity(None);
            for _ in 0..2 {
                fs.fail_at(fs.operations() + 1, Fault::Files);
                let source = told().unwrap();
                assert!(is_out_of_files(&source), "{way:?}: {source}");
            }
            assert!(told().is_none(), "{way:?}");
            // Whatever fails else is no matter of waiting.
            let (fs, mut writer) = log(way, 1 << 20);
            fs.set_capacity(None);
            fs.fail_at(fs.operations() + 1, Fault::Io);
            let refused = writer.append(&mut frame);
            assert!(matches!(refused, Err(WalError::Failed { .. })), "{way:?}: {refused:?}");
        }
    }

    /// Nothing was written any more on a disk that somebody else had filled, though all was deleted: the log's file was kept
    /// to be written over, and there was no space for another reserve.
    #[test]
    fn p4_what_the_log_lets_go_of_gives_the_reserve_its_space() {
        let (fs, mut writer) = log(Way::ReservedSpare, 1 << 20);
        fs.set_capacity(Some(used(&fs)));
        let mut frame = FrameEncoder::new();
        samples(&mut frame);
        writer.append(&mut frame).unwrap();
        assert!(writer.reserve.as_ref().is_some_and(Reserve::is_ample));
        assert!(used(&fs) <= 1 << 20, "the space of the one that went");
    }

    /// A file that was gone, or stayed for a moment, kept the reserve from the space of those behind it.
    #[test]
    fn p4_a_kept_file_that_is_gone_or_stays_for_now_holds_nobody_up() {
        let mut stayed = 0;
        for at in 1.. {
            let (fs, mut writer) = log(Way::ReservedSpare, 1 << 20);
            let spare = *writer.spares.front().unwrap();
            writer.spares.push_front(Epoch(spare.0 + 1_000));
            fs.set_capacity(Some(used(&fs)));
            let mut frame = FrameEncoder::new();
            samples(&mut frame);
            let fails = fs.operations() + at;
            fs.fail_at(fails, Fault::Io);
            match writer.append(&mut frame) {
                // That of a removal: what else fails poisons.
                Err(WalError::NoSpace { .. }) => {
                    assert_eq!(writer.spares.len(), 2 - stayed, "it is tried again");
                    writer.append(&mut frame).unwrap();
                    stayed += 1;
                }
                Err(WalError::Failed { .. }) => {}
                Ok(_) => assert!(writer.reserve.as_ref().is_some_and(Reserve::is_ample)),
                Err(e) => panic!("{e}"),
            }
            if fs.operations() < fails {
                break;
            }
        }
        assert_eq!(stayed, 2, "of the one that is gone, and of the one that is there");
    }

    /// Somebody had removed it: the next file could not be made, and the engine ended.
    #[test]
    fn a_kept_file_that_is_gone_is_passed_over_by_the_next_file() {
        for way in [Way::Spare, Way::Opened] {
            let (_fs, mut writer) = log(way, 1 << 20);
            writer.spares.push_front(Epoch::new(9, 9));
            let mut frame = FrameEncoder::new();
            samples(&mut frame);
            writer.append(&mut frame).unwrap();
            assert!(writer.spares.is_empty(), "{way:?}");
        }
    }

    /// A frame that is larger than what is free shuts nobody out whose frame is not.
    #[test]
    fn a_large_frame_asks_for_a_file_of_the_least_size() {
        let (fs, writer) = log(Way::Opened, 4 << 20);
        fs.set_capacity(Some(used(&fs) + (2 << 20)));
        writer.try_space(8 << 20).unwrap();
    }

    /// Files that may be open are told as that, and what fails otherwise is left to who writes.
    #[test]
    fn a_trial_tells_what_has_run_out_and_nothing_else() {
        for (fault, told) in [(Fault::Files, true), (Fault::Full, true), (Fault::Io, false)] {
            let (fs, writer) = log(Way::Opened, 1 << 20);
            fs.fail_at(fs.operations() + 1, fault);
            let tried = writer.try_space(1);
            assert_eq!(tried.is_err(), told, "{fault:?}: {tried:?}");
            // One that could not be removed is in nobody's way.
            fs.create(&Reserve::trial_path(Path::new(DIR))).unwrap();
            writer.try_space(1).unwrap();
            assert_eq!(fs.list(Path::new(DIR)).unwrap(), [""; 0]);
        }
    }
}
