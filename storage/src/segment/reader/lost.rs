//! Answers of pages that could be read.
//!
//! Where the process survives pages that cannot be read (`fs/unreadable.rs`), they read as zeros. A column is checked each
//! time, but decoded behind that; a block of the index is checked once. So that no zeros pass for what was there:
//!
//! - UR1: A part of the index is not handed out once a page of it is lost (`Index::bytes`), nor a column.
//! - UR2: Whatever is read of a segment is answered only if no page was lost between its beginning and its end. Then what
//!   UR1 let pass was still there when it was looked at.

use std::ops::Range;
use std::path::Path;

use super::Segment;
use crate::fs::Map;
use crate::source::ReadError;

/// A page is lost once, so whoever reads again has an end. That many in a row are no coincidence.
pub(super) const TRIES: usize = 16;

impl Segment {
    /// What `read` answers (UR2). Where a page was lost meanwhile it is asked again: it may not have looked there.
    #[inline]
    pub(super) fn whole<T>(&self, mut read: impl FnMut() -> Result<T, ReadError>) -> Result<T, ReadError> {
        for _ in 0..TRIES {
            let before = self.map.losses();
            let answer = read();
            if self.map.losses() == before {
                return answer;
            }
        }
        Err(self.unreadable())
    }

    /// The same of what cannot be asked again.
    #[inline]
    pub(super) fn whole_once<T>(&self, read: impl FnOnce() -> Result<T, ReadError>) -> Result<T, ReadError> {
        let before = self.map.losses();
        let answer = read();
        if self.map.losses() == before { answer } else { Err(self.unreadable()) }
    }

    /// Whether no page of the file was found that cannot be read. Whoever passes on what he has [borrowed of
    /// it](Self::encoded) asks behind that.
    ///
    /// # Errors
    /// [`ReadError::Corrupt`] if there is one.
    pub fn check_readable(&self) -> Result<(), ReadError> {
        if self.map.losses() == 0 { Ok(()) } else { Err(self.unreadable()) }
    }

    /// That the page that was lost last cannot be read.
    #[cold]
    pub(super) fn unreadable(&self) -> ReadError {
        let at = self.map.last_lost();
        unreadable(&self.path, &self.map, &(at..at + 1))
    }
}

/// That a page of these bytes cannot be read. It names all of those that lie together, so each of them says the same.
#[cold]
pub(super) fn unreadable(path: &Path, map: &Map, bytes: &Range<usize>) -> ReadError {
    let run = map.lost_run(bytes).unwrap_or_else(|| bytes.clone());
    let what = format!(
        "{} bytes from there cannot be read: the disk refuses them, or the file was cut off while it was in use",
        run.len()
    );
    ReadError::Corrupt { file: path.to_owned(), offset: run.start as u64, what }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::fs::{Fs, OsFs};
    use crate::model::{LabelLimits, Labels, SeqNo};
    use crate::segment::{SegmentHeader, SegmentWriter, file_name};
    use crate::source::Columns;

    fn segment(dir: &Path) -> Segment {
        let mut writer = SegmentWriter::create(Arc::new(OsFs), dir, 1, SegmentHeader::default()).unwrap();
        let labels = Labels::new([("__name__", "cpu")], &LabelLimits::DEFAULT).unwrap();
        let columns = Columns { timestamps: (0..1000).map(|i| i * i).collect(), values: vec![1.5; 1000] };
        writer.push_series(&labels, &columns, SeqNo(1)).unwrap();
        writer.finish().unwrap();
        Segment::open(&OsFs as &dyn Fs, &dir.join(file_name(1))).unwrap()
    }

    /// UR2, also where nothing that is read looks at a page itself.
    #[test]
    fn what_was_read_while_a_page_was_lost_is_not_answered() {
        let dir = tempfile::tempdir().unwrap();
        let segment = segment(dir.path());
        let mut tries = 0;
        // The page is lost during the first `losses` tries.
        let mut read = |losses| {
            tries += 1;
            if tries <= losses {
                segment.map.begin_to_give_up();
            }
            Ok(tries)
        };
        assert_eq!(segment.whole(|| read(0)).unwrap(), 1);
        assert_eq!(segment.whole(|| read(3)).unwrap(), 4, "the second and the third are asked again");
        assert_eq!(segment.whole_once(|| read(0)).unwrap(), 5);
        let said = segment.whole_once(|| read(6)).unwrap_err().to_string();
        assert!(said.contains("cannot be read"), "{said}");
        let said = segment.whole(|| read(usize::MAX)).unwrap_err().to_string();
        assert!(said.contains("cannot be read"), "{said}");
        assert_eq!(tries, 6 + TRIES, "an end to the tries");
    }

    /// Whoever begins to read between the count and the zeros finds the count as it stays, and the column as it was
    /// when its checksum was taken: the zeros that came then were decoded, and passed for samples.
    #[test]
    fn a_column_of_a_map_that_is_being_given_up_is_not_handed_out() {
        let dir = tempfile::tempdir().unwrap();
        let segment = segment(dir.path());
        let crc = crc32c::crc32c(&segment.map[..64]);
        let read = || segment.column(0, 64, crc, "a column").map(<[u8]>::len).map_err(|e| e.to_string());
        assert_eq!(read(), Ok(64));
        segment.map.begin_to_give_up();
        let said = read().unwrap_err();
        assert!(said.contains("cannot be read"), "{said}");
    }
}
