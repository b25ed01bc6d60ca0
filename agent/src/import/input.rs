//! The bytes of what is imported, and what is let go of while they keep us waiting.

use std::cell::RefCell;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::rc::Rc;
use std::time::Instant;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use tidegauge::Engine;

use super::replaced::Replaced;

/// A file, or a pipe that may give nothing for hours.
pub(super) struct Input<'e> {
    file: File,
    /// Of a pipe: what the count of what is replaced keeps.
    kept: Option<(&'e Engine, Rc<RefCell<Replaced>>)>,
}

impl<'e> Input<'e> {
    /// Nothing is kept for whoever only looks.
    pub(super) fn open(path: &Path, kept: Option<(&'e Engine, Rc<RefCell<Replaced>>)>) -> io::Result<Self> {
        Self::of(File::open(path)?, kept)
    }

    pub(super) fn of(file: File, kept: Option<(&'e Engine, Rc<RefCell<Replaced>>)>) -> io::Result<Self> {
        let may_stall = !file.metadata()?.is_file();
        Ok(Self { file, kept: kept.filter(|_| may_stall) })
    }
}

impl Read for Input<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if let Some((engine, replaced)) = &self.kept {
            // Without an answer, reading tells what is wrong.
            let until = || replaced.borrow().pins_until();
            while until().is_some_and(|ends| matches!(is_ready(&self.file, ends), Ok(false))) {
                replaced.borrow_mut().rest(engine);
            }
        }
        self.file.read(buf)
    }
}

/// Whether there is something to be read, or the end, at the latest at that time.
fn is_ready(file: &File, at: Instant) -> io::Result<bool> {
    loop {
        let left = at.saturating_duration_since(Instant::now());
        let left = Timespec::try_from(left).map_err(io::Error::other)?;
        match poll(&mut [PollFd::new(file, PollFlags::IN)], Some(&left)) {
            Ok(ready) => return Ok(ready > 0),
            Err(Errno::INTR) => {}
            Err(e) => return Err(e.into()),
        }
    }
}
