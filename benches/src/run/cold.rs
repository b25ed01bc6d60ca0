//! What the data would weigh in a file for old data: all of it encoded with as much effort as the format knows.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use tidegauge::query::{QueryLimits, Selection};
use tidegauge::{Engine, SeqNo, TimeRange};
use tidegauge_storage::chunk::Effort;
use tidegauge_storage::fs::OsFs;
use tidegauge_storage::model::SeqRange;
use tidegauge_storage::segment::{Segment, SegmentHeader, SegmentWriter, file_name};
use tidegauge_storage::source::{Columns, SampleSource};

use super::REPEATS;
use super::readback::{select, sum_of};
use super::recount::Recount;
use crate::checksum::{Checksum, hash_labels};
use crate::error::Error;
use crate::roofs::median;

/// More samples are not encoded a second time: that would take longer than the run.
const SAMPLES_MAX: u64 = 50_000_000;

pub(super) struct Cold {
    pub(super) bytes: u64,
    /// Decoding and summing all of it by one thread: the median of [`REPEATS`].
    pub(super) scan_samples_per_s: f64,
    /// What the file holds is what it should.
    pub(super) verified: bool,
}

/// Writes all that `engine` holds into one segment in `dir`, reads it back and removes it. `None` for long runs.
pub(super) fn measure(engine: &Engine, dir: &Path, expected: &Recount) -> Result<Option<Cold>, Error> {
    if expected.checksum.count > SAMPLES_MAX {
        return Ok(None);
    }
    let dir = dir.join("cold");
    fs::create_dir(&dir).map_err(Error::io(&dir))?;
    let all = select(&engine.snapshot(), &[])?;
    let written = write(&all, &dir);
    let read = written.and_then(|()| read(&dir, expected));
    fs::remove_dir_all(&dir).map_err(Error::io(&dir))?;
    read.map(Some)
}

fn write(all: &Selection, dir: &Path) -> Result<(), Error> {
    let seq_range = SeqRange { start: SeqNo(1), end: SeqNo(u64::MAX) };
    let header = SegmentHeader { seq_range, ..SegmentHeader::default() };
    let failed = "writing an archive";
    let mut writer = SegmentWriter::create(Arc::new(OsFs), dir, 1, header).map_err(Error::engine(failed))?;
    writer.set_effort(Effort::Cold);
    let budget = tidegauge::query::Budget::new(QueryLimits::NONE);
    let mut columns = Columns::default();
    for series in all.iter() {
        columns.clear();
        series.read_into(&mut columns, &budget).map_err(Error::engine("reading everything back"))?;
        writer.push_series(series.labels(), &columns, SeqNo(1)).map_err(Error::engine(failed))?;
    }
    writer.finish().map(drop).map_err(Error::engine(failed))
}

fn read(dir: &Path, expected: &Recount) -> Result<Cold, Error> {
    let failed = "reading an archive";
    let segment = Segment::open(&OsFs, &dir.join(file_name(1))).map_err(Error::engine(failed))?;
    let mut columns = Columns::default();
    let mut each = |see: &mut dyn FnMut(u32, &Columns)| {
        for ordinal in 0..segment.series_count() {
            let mut cursor = segment.read(ordinal, TimeRange::ALL)?;
            while cursor.next(&mut columns)? {
                see(ordinal, &columns);
                columns.clear();
            }
        }
        Ok(())
    };
    let mut found = Checksum::default();
    let labels: Vec<_> = (0..segment.series_count())
        .map(|ordinal| segment.labels(ordinal))
        .collect::<Result<_, _>>()
        .map_err(Error::engine(failed))?;
    let hashes: Vec<_> = labels.iter().map(|labels| hash_labels(labels.iter())).collect();
    let mut see = |ordinal: u32, columns: &Columns| {
        found.add_columns(hashes[ordinal as usize], &columns.timestamps, &columns.values);
    };
    each(&mut see).map_err(Error::engine::<tidegauge::ReadError>(failed))?;
    let (mut rates, mut verified) = (Vec::new(), found == expected.checksum);
    for _ in 0..REPEATS {
        let (start, mut count, mut sum) = (Instant::now(), 0, 0.0);
        each(&mut |_, columns| {
            count += columns.len() as u64;
            sum += sum_of(&columns.values);
        })
        .map_err(Error::engine::<tidegauge::ReadError>(failed))?;
        rates.push(count as f64 / start.elapsed().as_secs_f64());
        verified &= count == found.count && sum.is_finite();
    }
    Ok(Cold { bytes: segment.info().file_bytes, scan_samples_per_s: median(rates), verified })
}
