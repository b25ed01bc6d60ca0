//! Which replayed bytes may not have reached the device.

use std::collections::{BTreeSet, VecDeque};
use std::io;
use std::path::{Path, PathBuf};

use super::file::read_around;
use super::format::PAGE;
use super::types::FrameNo;
use crate::fs::Fs;

/// One place is remembered for this many bytes: a little more than needed is rewritten.
const MARK_EVERY: u64 = 1 << 20;

/// A part of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Unsure {
    pub(super) file: PathBuf,
    pub(super) from: u64,
    pub(super) to: u64,
}

/// Collects places of frames, and forgets those that turn out to be durable.
#[derive(Debug, Default)]
pub(super) struct UnsureFrames {
    marks: VecDeque<Mark>,
}

/// Frames up to `last`, in one file, without a gap.
#[derive(Debug)]
struct Mark {
    last: FrameNo,
    part: Unsure,
}

impl UnsureFrames {
    /// A frame that was replayed from `from..to`; those up to `synced` are durable.
    pub(super) fn add(&mut self, frame: FrameNo, path: &Path, from: u64, to: u64, synced: FrameNo) {
        while self.marks.front().is_some_and(|mark| mark.last <= synced) {
            self.marks.pop_front();
        }
        match self.marks.back_mut() {
            Some(mark) if mark.part.file == path && mark.part.to - mark.part.from < MARK_EVERY => {
                mark.part.to = to;
                mark.last = frame;
            }
            _ => {
                // A file's first frame takes the file's header along.
                let from = if from == PAGE { 0 } else { from };
                self.marks.push_back(Mark { last: frame, part: Unsure { file: path.to_owned(), from, to } });
            }
        }
    }

    /// What is left once all witnesses are heard.
    pub(super) fn into_parts(self, synced: FrameNo) -> Vec<Unsure> {
        let mut parts: Vec<Unsure> = Vec::new();
        for Mark { part, .. } in self.marks.into_iter().filter(|mark| mark.last > synced) {
            match parts.last_mut() {
                Some(last) if last.file == part.file => last.to = part.to,
                _ => parts.push(part),
            }
        }
        parts
    }
}

impl Unsure {
    /// Writes the same bytes again and syncs them: pages that the kernel takes for written,
    /// after a sync that failed, are not. Pages that the disk refuses to read stay as they are.
    pub(super) fn rewrite(&self, fs: &dyn Fs) -> io::Result<()> {
        let file = fs.open(&self.file)?;
        let mut buf = vec![0; (1 << 20).min(self.to as usize)];
        let mut at = self.from / PAGE * PAGE;
        let mut refused = BTreeSet::new();
        while at < self.to {
            let n = (self.to - at).min(buf.len() as u64) as usize;
            let got = read_around(&*file, at, &mut buf[..n], &mut refused)?;
            if got < n {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            // What cannot be read was not replayed.
            let (mut begin, end) = (at, at + n as u64);
            for page in refused.range(at..end).copied().chain([end]) {
                if begin < page {
                    file.write_all_at(begin, &buf[(begin - at) as usize..(page - at) as usize])?;
                }
                begin = page.saturating_add(PAGE).min(end);
            }
            at = end;
        }
        file.sync_data()
    }
}
