//! The label index: a sorted dictionary, label sets as numbers in it, and postings.

use std::collections::HashMap;
use std::ops::Range;

use super::series::SeriesList;
use super::sets::Sets;
use super::sink::Sink;
use crate::chunk::{put_varint, varint_len};
use crate::model::{Labels, SeriesKey};
use crate::segment::WriteError;
use crate::segment::format::{Footer, LabelRecord, NameRecord, Section, Series, SeriesRecord};
use crate::segment::postings::Gathered;

/// Gathers the labels of the series. Labels are numbered as they come, and by the
/// order of (name, value) only in the file, once all are known.
#[derive(Debug, Default)]
pub(super) struct LabelIndex {
    names: HashMap<Box<str>, HashMap<Box<str>, u32>>,
    /// Series of each label, by its number.
    postings: Vec<Gathered>,
    /// The numbers of each series' labels.
    sets: Sets,
    /// Memory to make one in.
    set: Vec<u32>,
    last: Option<Labels>,
}

impl LabelIndex {
    /// Adds the label set of the next series.
    pub(super) fn push(&mut self, labels: &Labels) {
        let ordinal = self.sets.len() as u32;
        let last = self.last.replace(labels.clone());
        let mut before = last.iter().flat_map(Labels::iter);
        let mut set = std::mem::take(&mut self.set);
        set.clear();
        for (i, (name, value)) in labels.iter().enumerate() {
            // Sorted series share most labels with the one before, at the same place: those need no look-up.
            let number = match before.next() {
                Some(same) if same == (name, value) => self.sets.last()[i],
                _ => self.number(name, value),
            };
            self.postings[number as usize].push(ordinal);
            set.push(number);
        }
        self.sets.push(&set);
        self.set = set;
    }

    fn number(&mut self, name: &str, value: &str) -> u32 {
        // Twice looked up when new, but no text is copied when known.
        if let Some(number) = self.names.get(name).and_then(|values| values.get(value)) {
            return *number;
        }
        let number = self.postings.len() as u32;
        self.postings.push(Gathered::default());
        self.names.entry(name.into()).or_default().insert(value.into(), number);
        number
    }

    /// Writes the index, and the series, which know where their labels lie.
    pub(super) fn finish(
        &mut self,
        series: &SeriesList,
        sink: &mut Sink,
        footer: &mut Footer,
    ) -> Result<(), WriteError> {
        let dictionary = self.dictionary();
        let mut labels = 0;
        let mut encoded = Vec::new();
        let mut sets = self.sets.read();
        footer.sections[Section::Series as usize] = sink.section_of(series.iter(), |(max_seq, first_chunk), out| {
            let set = sets.next();
            encoded.clear();
            set.iter().for_each(|&number| encoded.extend_from_slice(dictionary.pair(number)));
            let key = SeriesKey::of_encoded(&encoded).0;
            let series = Series { key: [key as u64, (key >> 64) as u64], max_seq, labels, first_chunk };
            labels += dictionary.differences(set).map(|rank| varint_len(rank) as u64).sum::<u64>();
            out.extend_from_slice(bytemuck::bytes_of(&SeriesRecord::from(&series)));
        })?;
        let mut sets = self.sets.read();
        footer.sections[Section::Labels as usize] = sink.section_of(0..self.sets.len(), |_, out| {
            dictionary.differences(sets.next()).for_each(|rank| put_varint(out, rank));
        })?;
        let mut write = |section: Section, bytes: &[u8]| -> Result<(), WriteError> {
            footer.sections[section as usize] = sink.section(bytes)?;
            Ok(())
        };
        write(Section::Names, bytemuck::cast_slice(&dictionary.names))?;
        write(Section::Values, bytemuck::cast_slice(&dictionary.values))?;
        write(Section::Strings, &dictionary.strings)?;
        write(Section::Postings, &dictionary.postings)
    }

    fn dictionary(&mut self) -> Dictionary {
        let labels = self.postings.len();
        let mut dictionary = Dictionary { ranks: vec![0; labels], pairs: vec![0..0; labels], ..Dictionary::default() };
        let mut names: Vec<_> = std::mem::take(&mut self.names).into_iter().collect();
        names.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        for (name, values) in names {
            let (text, text_len) = dictionary.text(&name);
            dictionary.names.push(NameRecord { text, text_len, first_value: dictionary.values.len() as u32 });
            let mut values: Vec<_> = values.into_iter().collect();
            values.sort_unstable_by(|a, b| a.0.cmp(&b.0));
            for (value, number) in values {
                // Taken, so that the memory shrinks as the section grows.
                let gathered = std::mem::take(&mut self.postings[number as usize]);
                dictionary.ranks[number as usize] = dictionary.values.len() as u32;
                let start = dictionary.encoded.len();
                Labels::encode_pair(&name, &value, &mut dictionary.encoded);
                dictionary.pairs[number as usize] = start..dictionary.encoded.len();
                let (text, text_len) = dictionary.text(&value);
                let postings = dictionary.postings.len() as u64;
                let series = gathered.finish(&mut dictionary.postings);
                dictionary.values.push(LabelRecord { text, postings, text_len, series });
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
    /// Where each pair's encoding lies in `encoded`, by number as they came.
    pairs: Vec<Range<usize>>,
    encoded: Vec<u8>,
    names: Vec<NameRecord>,
    values: Vec<LabelRecord>,
    strings: Vec<u8>,
    postings: Vec<u8>,
}

impl Dictionary {
    /// A pair as label sets encode it.
    fn pair(&self, number: u32) -> &[u8] {
        &self.encoded[self.pairs[number as usize].clone()]
    }

    /// The numbers that a set has in the file, as distances. Names ascend within a set, so these do too.
    fn differences(&self, set: &[u32]) -> impl Iterator<Item = u64> {
        let mut last = 0;
        set.iter().map(move |&number| {
            let rank = self.ranks[number as usize];
            u64::from(rank - std::mem::replace(&mut last, rank))
        })
    }

    fn text(&mut self, text: &str) -> (u64, u32) {
        let at = self.strings.len() as u64;
        self.strings.extend_from_slice(text.as_bytes());
        (at, text.len() as u32)
    }
}
