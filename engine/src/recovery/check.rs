//! Is a segment what the manifest says, and can all of it be read?

use std::io;
use std::path::Path;

use tidegauge_storage::fs::Fs;
use tidegauge_storage::manifest::SegmentRef;
use tidegauge_storage::segment::{Segment, SegmentInfo, file_name};
use tidegauge_storage::source::ReadError;

/// What was found of a segment.
pub(crate) enum Finding {
    /// All of it can be read.
    Sound(Box<Segment>),
    /// It can be opened, and something in it cannot be read.
    Damaged(ReadError),
    /// It cannot be opened, or is another one.
    Unreadable(ReadError),
    /// There is no file.
    Missing,
    /// It may be sound: a newer release wrote it, or one with a feature that is missing here, or the system refuses to
    /// read it.
    Unknown(ReadError),
}

/// Opens a segment, compares it with the manifest, and reads all of it. O(bytes of the file).
pub(crate) fn check_segment(fs: &dyn Fs, dir: &Path, named: &SegmentRef, store_id: u128) -> Finding {
    let segment = match open_named(fs, dir, named, store_id) {
        Ok(segment) => segment,
        Err(finding) => return finding,
    };
    match segment.verify() {
        Ok(_) => Finding::Sound(Box::new(segment)),
        Err(e @ ReadError::Corrupt { .. }) => Finding::Damaged(e),
        Err(e) => Finding::Unknown(e),
    }
}

/// Opens a segment and compares it with the manifest; most of it is not looked at. Otherwise what is wrong with it as
/// a whole.
pub(crate) fn open_named(fs: &dyn Fs, dir: &Path, named: &SegmentRef, store_id: u128) -> Result<Segment, Finding> {
    open_as_named(fs, dir, named, store_id).map_err(|e| match e {
        ReadError::Io { source, .. } if source.kind() == io::ErrorKind::NotFound => Finding::Missing,
        e @ ReadError::Corrupt { .. } => Finding::Unreadable(e),
        e => Finding::Unknown(e),
    })
}

/// What is wrong where a file that the manifest names is not there, which the system tells like one that nobody named.
pub(crate) fn missing_is_damage(e: ReadError) -> ReadError {
    match e {
        ReadError::Io { file, source } if source.kind() == io::ErrorKind::NotFound => {
            ReadError::Corrupt { file, offset: 0, what: "the file is missing".to_owned() }
        }
        e => e,
    }
}

/// Opens a segment, unless it is another one than the manifest names: a sound file in the place of another would be
/// shown as if it were that one. O(1).
pub(crate) fn open_as_named(fs: &dyn Fs, dir: &Path, named: &SegmentRef, store_id: u128) -> Result<Segment, ReadError> {
    let path = dir.join(file_name(named.id));
    let segment = Segment::open(fs, &path)?;
    match contradiction(segment.info(), named, store_id) {
        Some(what) => Err(ReadError::Corrupt { file: path, offset: 0, what }),
        None => Ok(segment),
    }
}

/// Where a segment is not the one that the manifest names.
pub(super) fn contradiction(info: &SegmentInfo, named: &SegmentRef, store_id: u128) -> Option<String> {
    let differs = |what: &str| Some(format!("the manifest says another {what}: this is not the segment it names"));
    match () {
        () if info.store_id != store_id => Some("the segment belongs to another store".to_owned()),
        () if info.id != named.id => Some(format!(
            "it says of itself that it is {}: this is not the segment that the manifest names; files were given each other's names, or one was copied over another: give them their own names back",
            file_name(info.id)
        )),
        () if info.seq_range != named.seq_range => differs("range of sequence numbers"),
        () if info.late != named.late => differs("kind"),
        () if info.time_range.is_some_and(|range| range != named.time_range) => differs("range of time"),
        () if info.file_bytes != named.bytes => differs("length"),
        () if info.samples != named.samples => differs("number of samples"),
        () if info.series != named.series => differs("number of series"),
        () => None,
    }
}
