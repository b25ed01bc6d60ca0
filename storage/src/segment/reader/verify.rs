//! Reading all of a segment, to know that all of it can be read.

use super::Segment;
use super::sets::SetDecoder;
use crate::chunk::ChunkStats;
use crate::model::{Labels, TimeRange};
use crate::segment::format::{STATS_SAMPLES_MIN, Section, WideStats};
use crate::source::{Columns, ReadError};

/// What was read and found right.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct VerifyReport {
    /// Series, each found by its labels.
    pub series: u64,
    /// Chunks decoded.
    pub chunks: u64,
    /// Samples decoded.
    pub samples: u64,
    /// Bytes of the file.
    pub bytes: u64,
}

impl Segment {
    /// Checks every checksum anew, decodes every chunk, compares the statistics, and checks that
    /// the label index finds every series and nothing else. O(bytes of the file).
    ///
    /// # Errors
    /// [`ReadError`] names the first thing that is wrong.
    pub fn verify(&self) -> Result<VerifyReport, ReadError> {
        self.index.check_all(&self.path, &self.map)?;
        let mut report = VerifyReport { bytes: self.info.file_bytes, ..VerifyReport::default() };
        let mut samples = Columns::default();
        let mut last: Option<Labels> = None;
        let mut label_uses = 0u64;
        for ordinal in 0..self.series_count() {
            let labels = SetDecoder::default().decode(self, ordinal)?;
            let series = self.series(ordinal)?;
            let key = labels.key().0;
            let wrong = |what: &str| Err(self.corrupt(Section::Series, format!("series {ordinal} ({labels}): {what}")));
            if series.key != [key as u64, (key >> 64) as u64] {
                return wrong("its key does not belong to its labels");
            }
            if last.as_ref().is_some_and(|last| *last >= labels) {
                return wrong("it is not in order");
            }
            label_uses += labels.len() as u64;
            self.verify_chunks(ordinal, &mut samples, &mut report)?;
            report.series += 1;
            last = Some(labels);
        }
        self.verify_postings(label_uses)?;
        if report.samples != self.info.samples {
            return Err(self.corrupt(Section::Chunks, "the footer counts other samples".to_owned()));
        }
        Ok(report)
    }

    fn verify_chunks(&self, ordinal: u32, samples: &mut Columns, report: &mut VerifyReport) -> Result<(), ReadError> {
        let mut last = None;
        for number in self.chunk_range(ordinal)? {
            let (chunk, timestamps) = self.chunk(number)?;
            let wrong = |what: &str| Err(self.corrupt_at(chunk.offset, format!("chunk {number}: {what}")));
            samples.clear();
            self.decode_chunk(&chunk, timestamps, TimeRange::ALL, samples)?;
            let (Some(&first_at), Some(&last_at)) = (samples.timestamps.first(), samples.timestamps.last()) else {
                return wrong("it is empty");
            };
            if (first_at, last_at) != (timestamps.first, timestamps.last) || last.is_some_and(|last| last >= first_at) {
                return wrong("its timestamps contradict the directory");
            }
            last = Some(last_at);
            let found = WideStats::new(&ChunkStats::of(&samples.timestamps, &samples.values));
            match self.stats(&chunk, timestamps)? {
                // Bit by bit, so that NaN equals itself.
                Some(stats) if WideStats::new(&stats).words() != found.words() => {
                    return wrong("its statistics are wrong");
                }
                None if samples.len() >= STATS_SAMPLES_MIN => return wrong("it has no statistics"),
                _ => {}
            }
            report.chunks += 1;
            report.samples += samples.len() as u64;
        }
        Ok(())
    }

    /// Every label of every series is in the postings if each label finds only series
    /// that have it, and all together find as many as the series have labels.
    fn verify_postings(&self, label_uses: u64) -> Result<(), ReadError> {
        let mut found = 0u64;
        for number in 0..self.label_count() {
            let mut runs = Vec::new();
            self.series_with(number, |first, run| runs.push(first..first + run))?;
            for ordinal in runs.into_iter().flatten() {
                if !self.label_numbers(ordinal)?.contains(&(number as u32)) {
                    return Err(self.corrupt(Section::Postings, format!("series {ordinal} has no label {number}")));
                }
                found += 1;
            }
        }
        for name in 0..self.names()?.len() {
            let texts: Result<Vec<&str>, _> =
                self.values_of(name)?.map(|at| self.value_text(self.label(at)?)).collect();
            if !texts?.is_sorted_by(|a, b| a < b) {
                return Err(self.corrupt(Section::Names, format!("the dictionary is not in order at name {name}")));
            }
        }
        if found == label_uses {
            return Ok(());
        }
        Err(self.corrupt(Section::Postings, "labels of some series are not found".to_owned()))
    }
}
