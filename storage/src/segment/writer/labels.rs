//! The label index: a sorted dictionary, label sets as numbers in it, and postings.

use std::collections::HashMap;

use super::sink::Sink;
use crate::chunk::put_varint;
use crate::model::Labels;
use crate::segment::WriteError;
use crate::segment::format::{Footer, LabelRecord, NameRecord, Section, SeriesRecord};
use crate::segment::postings;

/// Gathers the labels of the series. Labels are numbered as they come, and by the
/// order of (name, value) only in the file, once all are known.
#[derive(Debug, Default)]
pub(super) struct LabelIndex {
    names: HashMap<Box<str>, HashMap<Box<str>, u32>>,
    /// Series of each label, by its number.
    postings: Vec<Vec<u32>>,
    /// Labels of each series, one behind the other.
    sets: Vec<u32>,
    /// End of each series' labels in `sets`.
    ends: Vec<usize>,
    last: Option<Labels>,
}

impl LabelIndex {
    /// Adds the label set of the next series.
    pub(super) fn push(&mut self, labels: &Labels) {
        let ordinal = self.ends.len() as u32;
        let last = self.last.replace(labels.clone());
        let mut before = last.iter().flat_map(Labels::iter);
        let first_before = self.ends.len().checked_sub(2).map_or(0, |i| self.ends[i]);
        for (i, (name, value)) in labels.iter().enumerate() {
            // Sorted series share most labels with the one before, at the same place: those need no look-up.
            let number = match before.next() {
                Some(same) if same == (name, value) => self.sets[first_before + i],
                _ => self.number(name, value),
            };
            self.postings[number as usize].push(ordinal);
            self.sets.push(number);
        }
        self.ends.push(self.sets.len());
    }

    fn number(&mut self, name: &str, value: &str) -> u32 {
        // Twice looked up when new, but no text is copied when known.
        if let Some(number) = self.names.get(name).and_then(|values| values.get(value)) {
            return *number;
        }
        let number = self.postings.len() as u32;
        self.postings.push(Vec::new());
        self.names.entry(name.into()).or_default().insert(value.into(), number);
        number
    }

    /// Writes the index, and the series once they know where their labels lie.
    pub(super) fn finish(
        &mut self,
        series: &mut [SeriesRecord],
        sink: &mut Sink,
        footer: &mut Footer,
    ) -> Result<(), WriteError> {
        let dictionary = self.dictionary();
        let mut sets = Vec::new();
        let mut start = 0;
        for (record, &end) in series.iter_mut().zip(&self.ends) {
            record.labels = sets.len() as u64;
            let mut last = 0;
            // Names ascend within a set, so the numbers in the file do too.
            for &number in &self.sets[start..end] {
                let rank = dictionary.ranks[number as usize];
                put_varint(&mut sets, u64::from(rank - last));
                last = rank;
            }
            start = end;
        }
        let mut write = |section: Section, bytes: &[u8]| -> Result<(), WriteError> {
            footer.sections[section as usize] = sink.section(bytes)?;
            Ok(())
        };
        write(Section::Series, bytemuck::cast_slice(series))?;
        write(Section::Labels, &sets)?;
        write(Section::Names, bytemuck::cast_slice(&dictionary.names))?;
        write(Section::Values, bytemuck::cast_slice(&dictionary.values))?;
        write(Section::Strings, &dictionary.strings)?;
        write(Section::Postings, &dictionary.postings)
    }

    fn dictionary(&mut self) -> Dictionary {
        let mut dictionary = Dictionary { ranks: vec![0; self.postings.len()], ..Dictionary::default() };
        let mut names: Vec<_> = std::mem::take(&mut self.names).into_iter().collect();
        names.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        for (name, values) in names {
            let (text, text_len) = dictionary.text(&name);
            dictionary.names.push(NameRecord { text, text_len, first_value: dictionary.values.len() as u32 });
            let mut values: Vec<_> = values.into_iter().collect();
            values.sort_unstable_by(|a, b| a.0.cmp(&b.0));
            for (value, number) in values {
                // Taken, so that the memory shrinks as the section grows.
                let series = std::mem::take(&mut self.postings[number as usize]);
                dictionary.ranks[number as usize] = dictionary.values.len() as u32;
                let (text, text_len) = dictionary.text(&value);
                let postings = dictionary.postings.len() as u64;
                dictionary.values.push(LabelRecord { text, postings, text_len, series: series.len() as u32 });
                postings::encode(&series, &mut dictionary.postings);
            }
        }
        dictionary
    }
}

/// The labels in order, as the sections hold them.
#[derive(Default)]
struct Dictionary {
    /// Place in the order, by number as they came.
    ranks: Vec<u32>,
    names: Vec<NameRecord>,
    values: Vec<LabelRecord>,
    strings: Vec<u8>,
    postings: Vec<u8>,
}

impl Dictionary {
    fn text(&mut self, text: &str) -> (u64, u32) {
        let at = self.strings.len() as u64;
        self.strings.extend_from_slice(text.as_bytes());
        (at, text.len() as u32)
    }
}
