//! Writing a segment, series by series.

mod columns;
mod directory;
mod labels;
mod pieces;
mod series;
mod sets;
mod shared;
mod sink;
mod stream;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytemuck::Zeroable;

use super::format::{
    FLAG_COLD, FLAG_LATE, FOOTER_CRC_AT, FOOTER_MAGIC, Footer, HEADER_CRC_AT, HEADER_MAGIC, Header, RECORDS_MAX,
    SEGMENT_VERSION,
};
use super::{SegmentInfo, WriteError, file_name};
use crate::chunk::Effort;
use crate::fs::{Fs, is_out_of_files};
use crate::model::{Labels, SeqNo, SeqRange, TimeRange, Timestamp};
use crate::source::Columns;
use columns::ColumnWriter;
use labels::LabelIndex;
use series::SeriesList;
use sink::Sink;

/// What a segment says of itself, known before the first series.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SegmentHeader {
    /// The store it belongs to.
    pub store_id: u128,
    /// Its place in the order of acceptance.
    pub seq_range: SeqRange,
    /// Whether it holds the late samples of a flush.
    pub late: bool,
    /// Whether its chunks are encoded as small as they get ([`Effort::Cold`]). Chunks that are taken over encoded must
    /// be so already.
    pub cold: bool,
    /// 0 for a flush; compaction counts up.
    pub level: u32,
    /// When it is made, nanoseconds since the Unix epoch.
    pub created: i64,
    /// The opening of the store that makes it; 0 if there is none.
    pub opening: u32,
}

/// Writes one segment. Samples go to the file as they come; only the index stays in
/// memory until [`finish`](Self::finish). Dropped before that, it leaves no file.
#[derive(Debug)]
pub struct SegmentWriter {
    fs: Arc<dyn Fs>,
    dir: PathBuf,
    temporary: PathBuf,
    /// Taken by `finish`, or by the first failure.
    sink: Option<Sink>,
    id: u64,
    header: SegmentHeader,
    columns: ColumnWriter,
    labels: LabelIndex,
    series: SeriesList,
    last: Option<Labels>,
    /// The series that chunks go to, of those that come chunk by chunk.
    open: Option<stream::OpenSeries>,
}

impl SegmentWriter {
    /// Starts segment `id` in folder `dir`, under a temporary name.
    ///
    /// # Errors
    /// [`WriteError::Exists`] if the id is taken, [`WriteError::Io`] if the file cannot be made.
    pub fn create(fs: Arc<dyn Fs>, dir: &Path, id: u64, header: SegmentHeader) -> Result<Self, WriteError> {
        let path = dir.join(file_name(id));
        if fs.open_read(&path).is_ok() {
            return Err(WriteError::Exists { file: path });
        }
        let temporary = dir.join(format!("{}.tmp", file_name(id)));
        // A leftover of a crash: nobody reads that name.
        let _ = fs.remove(&temporary);
        let file = fs.create(&temporary).map_err(|source| WriteError::Io { file: temporary.clone(), source })?;
        let mut sink = Sink::new(file, temporary.clone());
        sink.write(bytemuck::bytes_of(&encode_header(id, &header)))?;
        let mut columns = ColumnWriter::default();
        columns.set_effort(if header.cold { Effort::Cold } else { Effort::Fresh });
        Ok(Self {
            fs,
            dir: dir.to_owned(),
            temporary,
            sink: Some(sink),
            id,
            header,
            columns,
            labels: LabelIndex::default(),
            series: SeriesList::default(),
            last: None,
            open: None,
        })
    }

    /// How hard the samples that are pushed from now on are encoded. At first as the header says.
    pub fn set_effort(&mut self, effort: Effort) {
        self.columns.set_effort(effort);
    }

    /// Adds a series: its samples (any number; none adds nothing), and the greatest
    /// sequence number among them. Series must ascend by their labels. O(samples).
    ///
    /// # Errors
    /// [`WriteError`]; the segment is given up then, but for the two `NotAscending`,
    /// after which other series can still be pushed.
    pub fn push_series(&mut self, labels: &Labels, samples: &Columns, max_seq: SeqNo) -> Result<(), WriteError> {
        self.check(labels, samples)?;
        self.open = None;
        if samples.is_empty() {
            return Ok(());
        }
        if self.series.len() >= RECORDS_MAX {
            return Err(WriteError::TooLarge);
        }
        let first_chunk = self.columns.chunks();
        let sink = self.sink.as_mut().ok_or_else(|| given_up(&self.temporary))?;
        if let Err(error) = self.columns.push(samples, sink) {
            self.sink = None;
            return Err(error);
        }
        self.note_series(labels, max_seq, first_chunk);
        Ok(())
    }

    /// Adds the series whose chunks begin with number `first_chunk` to the index.
    fn note_series(&mut self, labels: &Labels, max_seq: SeqNo, first_chunk: u32) {
        self.labels.push(labels);
        self.series.push(max_seq, first_chunk);
        self.last = Some(labels.clone());
    }

    fn check_labels(&self, labels: &Labels) -> Result<(), WriteError> {
        match self.last.as_ref().filter(|last| *last >= labels) {
            Some(last) => Err(WriteError::SeriesNotAscending { last: last.clone(), next: labels.clone() }),
            None => Ok(()),
        }
    }

    fn check(&self, labels: &Labels, samples: &Columns) -> Result<(), WriteError> {
        self.check_labels(labels)?;
        let lengths = samples.timestamps.len().min(samples.values.len());
        let wrong = if samples.timestamps.len() != samples.values.len() {
            Some(lengths)
        } else if samples.timestamps.windows(2).fold(true, |ok, w| ok & (w[0] < w[1])) {
            None
        } else {
            samples.timestamps.windows(2).position(|w| w[0] >= w[1]).map(|i| i + 1)
        };
        wrong.map_or(Ok(()), |index| Err(WriteError::SamplesNotAscending { series: labels.clone(), index }))
    }

    /// Series pushed so far.
    #[must_use]
    pub fn series(&self) -> usize {
        self.series.len()
    }

    /// Bytes written so far, the index not counted.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.sink.as_ref().map_or(0, Sink::offset)
    }

    /// Writes the index, syncs the file, gives it its name, and syncs the folder.
    /// The segment is durable when this returns.
    ///
    /// # Errors
    /// [`WriteError::Io`], or [`WriteError::Folder`]. No file has the segment's name then.
    pub fn finish(self) -> Result<SegmentInfo, WriteError> {
        self.finish_with(None, &|| ())
    }

    /// As [`Self::finish`]; the folder is synced by `sync_folder`, if there is one, for whoever writes several segments there at once: one
    /// failed sync may lose the names of all of them. Calls `gets_on` behind each part of it, for who watches whether it
    /// hangs.
    ///
    /// # Errors
    /// As [`Self::finish`].
    pub fn finish_with(
        mut self,
        sync_folder: Option<&dyn Fn() -> io::Result<()>>,
        gets_on: &dyn Fn(),
    ) -> Result<SegmentInfo, WriteError> {
        let mut sink = self.sink.take().ok_or_else(|| given_up(&self.temporary))?;
        let mut footer = Footer::zeroed();
        let chunks = self.columns.chunks();
        self.columns.finish(&mut sink, &mut footer)?;
        gets_on();
        self.labels.finish(&self.series, &mut sink, &mut footer)?;
        gets_on();
        (footer.checksums, footer.checksums_crc) = sink.checksums()?;
        let info = self.info(&mut footer, sink.offset(), chunks);
        sink.write(bytemuck::bytes_of(&footer))?;
        gets_on();
        sink.finish()?;
        gets_on();

        let path = self.dir.join(file_name(self.id));
        let io = |file: &Path| {
            let file = file.to_owned();
            move |source| WriteError::Io { file, source }
        };
        self.fs.rename(&self.temporary, &path).map_err(io(&path))?;
        let synced = match sync_folder {
            Some(sync_folder) => sync_folder(),
            None => self.fs.sync_dir(&self.dir),
        };
        if let Err(source) = synced {
            // The name may or may not survive a crash: better that it is not there at all.
            let _ = self.fs.remove(&path);
            // Where the folder could not be opened no sync has failed.
            return Err(if is_out_of_files(&source) {
                io(&self.dir)(source)
            } else {
                WriteError::Folder { dir: self.dir.clone(), source }
            });
        }
        self.temporary.clear();
        Ok(info)
    }

    fn info(&self, footer: &mut Footer, offset: u64, chunks: u32) -> SegmentInfo {
        footer.file_bytes = offset + size_of::<Footer>() as u64;
        footer.opening = self.header.opening;
        footer.version = SEGMENT_VERSION;
        footer.magic = FOOTER_MAGIC;
        footer.crc = crc32c::crc32c(&bytemuck::bytes_of(footer)[..FOOTER_CRC_AT]);
        let (first, last) = (footer.first_timestamp, footer.last_timestamp);
        let range = || TimeRange::covering(Timestamp::from_nanos(first), Timestamp::from_nanos(last));
        SegmentInfo {
            id: self.id,
            store_id: self.header.store_id,
            file_bytes: footer.file_bytes,
            series: self.series.len() as u64,
            chunks: u64::from(chunks),
            samples: footer.samples,
            time_range: (footer.samples > 0).then(range),
            seq_range: self.header.seq_range,
            late: self.header.late,
            cold: self.header.cold,
            level: self.header.level,
            created: self.header.created,
            opening: self.header.opening,
        }
    }
}

impl Drop for SegmentWriter {
    fn drop(&mut self) {
        if !self.temporary.as_os_str().is_empty() {
            // Best effort: the next writer of this id clears it, and nobody reads it.
            let _ = self.fs.remove(&self.temporary);
        }
    }
}

fn given_up(file: &Path) -> WriteError {
    let source = io::Error::other("an earlier write failed: write this segment again from the start");
    WriteError::Io { file: file.to_owned(), source }
}

fn encode_header(id: u64, header: &SegmentHeader) -> Header {
    let mut record = Header {
        magic: HEADER_MAGIC,
        version: SEGMENT_VERSION,
        flags: if header.late { FLAG_LATE } else { 0 } | if header.cold { FLAG_COLD } else { 0 },
        store_id: [header.store_id as u64, (header.store_id >> 64) as u64],
        id,
        seq_start: header.seq_range.start.0,
        seq_end: header.seq_range.end.0,
        created: header.created,
        level: header.level,
        crc: 0,
    };
    record.crc = crc32c::crc32c(&bytemuck::bytes_of(&record)[..HEADER_CRC_AT]);
    record
}
