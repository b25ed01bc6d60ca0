//! Label sets out of the index, many at once.

use super::Segment;
use crate::model::Labels;
use crate::segment::format::Section;
use crate::source::ReadError;

/// The label set decoded last, so that the next one need not be decoded where it is the same:
/// series are sorted, so neighbours share most labels, and the first ones mostly.
#[derive(Default)]
pub(super) struct SetDecoder {
    numbers: Vec<u32>,
    ends: Vec<End>,
    encoded: Vec<u8>,
    /// Place of the last label's name.
    name: Option<usize>,
}

/// Up to a label.
struct End {
    /// Its end in what is encoded.
    encoded: usize,
    /// Text of names and values.
    text: usize,
}

impl SetDecoder {
    /// The labels of a series.
    pub(super) fn decode(&mut self, segment: &Segment, ordinal: u32) -> Result<Labels, ReadError> {
        let decoded = self.update(segment, ordinal);
        if decoded.is_err() {
            *self = Self::default();
        }
        decoded.map(|()| Labels::from_checked(&self.encoded))
    }

    fn update(&mut self, segment: &Segment, ordinal: u32) -> Result<(), ReadError> {
        let mut set = segment.label_set(ordinal)?;
        let mut at = 0;
        while let Some(number) = set.next(segment)? {
            if self.numbers.get(at) != Some(&number) {
                self.cut(segment, at)?;
                self.add(segment, ordinal, number)?;
            }
            at += 1;
        }
        self.cut(segment, at)
    }

    /// Keeps the first `at` labels.
    fn cut(&mut self, segment: &Segment, at: usize) -> Result<(), ReadError> {
        if at < self.numbers.len() {
            self.numbers.truncate(at);
            self.ends.truncate(at);
            self.encoded.truncate(self.ends.last().map_or(0, |end| end.encoded));
            self.name = self.numbers.last().map(|&last| segment.name_of(last)).transpose()?;
        }
        Ok(())
    }

    fn add(&mut self, segment: &Segment, ordinal: u32, number: u32) -> Result<(), ReadError> {
        let place = segment.name_of(number)?;
        let name = &*segment.names()?[place].text;
        let value = segment.value_text(segment.label(number as usize)?)?;
        let text = self.ends.last().map_or(0, |end| end.text) + name.len() + value.len();
        // No writer lets two labels of a set share their text.
        if text > segment.index.len(Section::Strings) {
            let what = format!("labels of series {ordinal} are longer than all text");
            return Err(segment.corrupt(Section::Labels, what));
        }
        if self.name.is_some_and(|last| last >= place) || name.is_empty() || value.is_empty() {
            return Err(segment.corrupt(Section::Labels, format!("labels of series {ordinal}")));
        }
        Labels::encode_pair(name, value, &mut self.encoded);
        self.numbers.push(number);
        self.ends.push(End { encoded: self.encoded.len(), text });
        self.name = Some(place);
        Ok(())
    }
}
