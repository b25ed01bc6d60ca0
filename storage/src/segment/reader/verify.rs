//! Reading all of a segment, to know that all of it can be read.

use super::Segment;
use super::labels::Walked;
use super::lost::{TRIES, unreadable};
use super::places::DamagedPlaces;
use super::sets::SetDecoder;
use super::unclaimed::{TextLeft, Unclaimed};
use crate::chunk::ChunkStats;
use crate::model::{Labels, TimeRange, Timestamp};
use crate::segment::format::{Chunk, STATS_SAMPLES_MIN, Section, TimestampsRecord, WideStats};
use crate::source::{Columns, ReadError};

/// What was read and found right.
///
/// Of a damaged segment: its sound parts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct VerifyReport {
    /// Series, each found by its labels.
    pub series: u64,
    /// Chunks decoded, and found as the directory says.
    pub chunks: u64,
    /// Samples in them.
    pub samples: u64,
    /// Bytes of the file.
    pub bytes: u64,
}

/// What was found on the way.
struct Survey {
    report: VerifyReport,
    damage: DamagedPlaces,
    chunks: Unclaimed,
    label_sets: Unclaimed,
    /// Of each series' label set, which labels were found in the postings.
    walked: Vec<Walked>,
    /// Of the chunk at hand.
    samples: Columns,
    /// The first and the last timestamp of what was found right.
    times: Option<[i64; 2]>,
}

impl Segment {
    /// Checks every checksum anew, decodes every chunk, compares the statistics, and checks that
    /// the label index finds every series and nothing else. O(bytes of the file).
    ///
    /// # Errors
    /// [`ReadError`] names the first thing that is wrong; [`survey`](Self::survey) all of them.
    pub fn verify(&self) -> Result<VerifyReport, ReadError> {
        let (report, damage) = self.survey();
        damage.into_parts().0.into_iter().next().map_or(Ok(report), Err)
    }

    /// As [`verify`](Self::verify), and goes on behind what is damaged: answers what was found right, and what was not.
    /// What cannot be told because of other damage is not named beside it. O(bytes of the file).
    #[must_use]
    pub fn survey(&self) -> (VerifyReport, DamagedPlaces) {
        let mut found = self.survey_beside(DamagedPlaces::default());
        let mut known = 0;
        // Anew, once it is known which pages cannot be read: what lies in others is told beside these.
        for _ in 0..TRIES {
            if self.map.losses() == known {
                break;
            }
            self.map.touch();
            known = self.map.losses();
            let mut damage = DamagedPlaces::default();
            self.map.lost_ranges().iter().for_each(|lost| damage.note(unreadable(&self.path, &self.map, lost)));
            found = self.survey_beside(damage);
        }
        found
    }

    /// Reads all of it; `damage` is known.
    fn survey_beside(&self, damage: DamagedPlaces) -> (VerifyReport, DamagedPlaces) {
        let mut survey = Survey {
            report: VerifyReport { bytes: self.info.file_bytes, ..VerifyReport::default() },
            damage,
            chunks: Unclaimed::default(),
            label_sets: Unclaimed::default(),
            walked: Vec::with_capacity(self.series_count() as usize),
            samples: Columns::default(),
            times: None,
        };
        self.index.check_all(&self.path, &self.map, |e| survey.damage.note(e));
        let mut last: Option<Labels> = None;
        let mut label_uses = 0u64;
        for ordinal in 0..self.series_count() {
            let range = self.own_label_range(ordinal, &mut survey.label_sets);
            // Of a set that is none of its own there is nothing to find.
            survey.walked.push(range.as_ref().map(Walked::at_the_start).unwrap_or_default());
            match range.and_then(|_| self.verify_labels(ordinal, last.as_ref())) {
                Ok(labels) => {
                    label_uses += labels.len() as u64;
                    survey.report.series += 1;
                    last = Some(labels);
                }
                Err(e) => survey.damage.note(e),
            }
            self.verify_chunks(ordinal, &mut survey);
        }
        // With series left out these would differ for that alone.
        let label_uses = survey.damage.is_empty().then_some(label_uses);
        self.verify_postings(label_uses, &mut survey);
        if survey.damage.is_empty() && survey.report.samples != self.info.samples {
            survey.damage.note(self.corrupt(Section::Chunks, "the footer counts other samples".to_owned()));
        }
        // By these every query decides whether to look into the file at all.
        let told = |at: &i64| self.info.time_range.is_some_and(|range| range.contains(Timestamp::from_nanos(*at)));
        if survey.times.is_some_and(|times| !times.iter().all(told)) {
            survey.damage.note(self.corrupt(Section::Chunks, "the footer does not tell of all times".to_owned()));
        }
        // Where columns cannot be told something else is damaged, and was.
        for (at, _) in self.padding_not_zero().unwrap_or_default() {
            survey
                .damage
                .note(self.corrupt_at(at as u64, "padding is not zero: nothing else is wrong for it".to_owned()));
        }
        (survey.report, survey.damage)
    }

    /// The labels of a series, which must come behind those of the one before.
    fn verify_labels(&self, ordinal: u32, last: Option<&Labels>) -> Result<Labels, ReadError> {
        let labels = SetDecoder::default().decode(self, ordinal)?;
        let series = self.series(ordinal)?;
        let key = labels.key().0;
        let wrong = |what: &str| Err(self.corrupt(Section::Series, format!("series {ordinal} ({labels}): {what}")));
        if series.key != [key as u64, (key >> 64) as u64] {
            return wrong("its key does not belong to its labels");
        }
        if last.is_some_and(|last| *last >= labels) {
            return wrong("it is not in order");
        }
        Ok(labels)
    }

    fn verify_chunks(&self, ordinal: u32, survey: &mut Survey) {
        let numbers = match self.own_chunks(ordinal, &mut survey.chunks) {
            Ok(numbers) => numbers,
            Err(e) => return survey.damage.note(e),
        };
        let mut last = None;
        for number in numbers {
            let read = self.chunk(number).and_then(|(chunk, timestamps)| {
                let read = self.verify_chunk(number, &chunk, timestamps, last, &mut survey.samples);
                let read = read.map(|last_at| [timestamps.first, last_at]);
                // Values are read behind their timestamps, and would not be looked at.
                if matches!(&read, Err(ReadError::Corrupt { offset, .. }) if *offset == timestamps.offset)
                    && let Err(e) = self.column(chunk.offset, chunk.len, chunk.crc, "a value column")
                {
                    survey.damage.note(e);
                }
                read
            });
            match read {
                Ok([first_at, last_at]) => {
                    last = Some(last_at);
                    let [first, end] = survey.times.unwrap_or([first_at, last_at]);
                    survey.times = Some([first.min(first_at), end.max(last_at)]);
                    survey.report.chunks += 1;
                    survey.report.samples += survey.samples.len() as u64;
                }
                Err(e) => survey.damage.note(e),
            }
        }
    }

    /// Decodes a chunk, and compares it with what the directory says. Answers its last timestamp.
    fn verify_chunk(
        &self,
        number: usize,
        chunk: &Chunk,
        timestamps: &TimestampsRecord,
        last: Option<i64>,
        samples: &mut Columns,
    ) -> Result<i64, ReadError> {
        let wrong = |what: &str| Err(self.corrupt_at(chunk.offset, format!("chunk {number}: {what}")));
        samples.clear();
        self.decode_chunk(chunk, timestamps, TimeRange::ALL, samples)?;
        let (Some(&first_at), Some(&last_at)) = (samples.timestamps.first(), samples.timestamps.last()) else {
            return wrong("it is empty");
        };
        if (first_at, last_at) != (timestamps.first, timestamps.last) || last.is_some_and(|last| last >= first_at) {
            return wrong("its timestamps contradict the directory");
        }
        let found = WideStats::new(&ChunkStats::of(&samples.timestamps, &samples.values));
        match self.stats(chunk, timestamps)? {
            // Bit by bit, so that NaN equals itself.
            Some(stats) if WideStats::new(&stats).words() != found.words() => wrong("its statistics are wrong"),
            None if samples.len() >= STATS_SAMPLES_MIN => wrong("it has no statistics"),
            _ => Ok(last_at),
        }
    }

    /// Every label of every series is in the postings if each label finds only series
    /// that have it, and all together find as many as the series have labels, if that is known.
    fn verify_postings(&self, label_uses: Option<u64>, survey: &mut Survey) {
        let Survey { damage, walked, .. } = survey;
        let (mut postings, mut found) = (Unclaimed::default(), 0u64);
        for number in 0..self.label_count() {
            match self.verify_label(number, &mut postings, walked) {
                Ok(series) => found += series,
                Err(e) => damage.note(e),
            }
        }
        let names = self.names().map_or(0, <[_]>::len);
        let mut left = TextLeft::new(self);
        (0..names).filter_map(|name| self.verify_values(name, &mut left).err()).for_each(|e| damage.note(e));
        if damage.is_empty() && label_uses.is_some_and(|uses| uses != found) {
            damage.note(self.corrupt(Section::Postings, "labels of some series are not found".to_owned()));
        }
    }

    /// Answers how many series a label finds, each of which has it. Labels come in order, as they do in the sets, so each
    /// number of a set is looked at once.
    fn verify_label(&self, number: usize, postings: &mut Unclaimed, walked: &mut [Walked]) -> Result<u64, ReadError> {
        let (mut runs, mut found) = (Vec::new(), 0);
        self.own_series_with(number, postings, |first, run| runs.push(first..first + run))?;
        for ordinal in runs.into_iter().flatten() {
            if !self.label_set(ordinal)?.has(self, number as u32, &mut walked[ordinal as usize])? {
                return Err(self.corrupt(Section::Postings, format!("series {ordinal} has no label {number}")));
            }
            found += 1;
        }
        Ok(found)
    }

    fn verify_values(&self, name: usize, left: &mut TextLeft) -> Result<(), ReadError> {
        let texts: Result<Vec<&str>, _> = self.values_of(name)?.map(|at| self.own_value(at, left)).collect();
        if texts?.is_sorted_by(|a, b| a < b) {
            return Ok(());
        }
        Err(self.corrupt(Section::Names, format!("the dictionary is not in order at name {name}")))
    }
}
