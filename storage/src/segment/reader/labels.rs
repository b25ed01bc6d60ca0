//! The label index: matchers to series, series to labels.

use std::cmp::Ordering;
use std::ops::Range;

use super::Segment;
use crate::chunk::Cursor;
use crate::model::{Labels, MatchOp, Matcher};
use crate::segment::bitmap::Bitmap;
use crate::segment::format::{LabelRecord, NameRecord, Section, SeriesRecord};
use crate::segment::postings;
use crate::source::ReadError;

impl Segment {
    /// The series with exactly these labels. O(log series).
    ///
    /// # Errors
    /// [`ReadError`] if the index is damaged.
    pub fn find(&self, labels: &Labels) -> Result<Option<u32>, ReadError> {
        let (mut low, mut high) = (0, self.series_count());
        while low < high {
            let middle = low + (high - low) / 2;
            match self.labels_of(middle)?.cmp(labels) {
                Ordering::Less => low = middle + 1,
                Ordering::Equal => return Ok(Some(middle)),
                Ordering::Greater => high = middle,
            }
        }
        Ok(None)
    }

    /// The series that pass all matchers. Regexes see each value of their label once.
    pub(super) fn matching(&self, matchers: &[Matcher]) -> Result<Bitmap, ReadError> {
        let mut passing = Bitmap::full(self.series_count());
        for matcher in matchers {
            let values = self.values_of_name(matcher.name())?;
            if matcher.matches_empty() {
                // Series without the label pass too, so look for those that fail.
                passing.and_not(&self.union(values, |value| !matcher.matches(value))?);
            } else if matcher.op() == MatchOp::Equal {
                let found = self.value_position(values, matcher.value())?;
                passing.and(&self.union(found.map_or(0..0, |at| at..at + 1), |_| true)?);
            } else {
                passing.and(&self.union(values, |value| matcher.matches(value))?);
            }
        }
        Ok(passing)
    }

    /// The series that have one of these labels whose value passes `keep`.
    fn union(&self, labels: Range<usize>, keep: impl Fn(&str) -> bool) -> Result<Bitmap, ReadError> {
        let series = self.series_count();
        let mut all = Bitmap::empty(series);
        for number in labels {
            if keep(self.value_text(self.label(number)?)?) {
                self.series_with(number, |first, run| all.insert_run(first, run))?;
            }
        }
        Ok(all)
    }

    /// The numbers of the labels that carry `name`; empty if none does.
    pub(super) fn values_of_name(&self, name: &str) -> Result<Range<usize>, ReadError> {
        let (mut low, mut high) = (0, self.name_count());
        while low < high {
            let middle = low + (high - low) / 2;
            match self.name_text(middle)?.cmp(name) {
                Ordering::Less => low = middle + 1,
                Ordering::Equal => return self.values_of(middle),
                Ordering::Greater => high = middle,
            }
        }
        Ok(0..0)
    }

    /// The numbers of the labels of one name.
    pub(super) fn values_of(&self, name: usize) -> Result<Range<usize>, ReadError> {
        let first = |at: usize| -> Result<usize, ReadError> {
            let name: Option<&NameRecord> = self.record(Section::Names, at)?;
            Ok(name.map_or(self.label_count(), |name| name.first_value as usize))
        };
        let (start, end) = (first(name)?, first(name + 1)?);
        if start > end || end > self.label_count() {
            return Err(self.corrupt(Section::Names, format!("labels of name {name}")));
        }
        Ok(start..end)
    }

    pub(super) fn name_count(&self) -> usize {
        self.index.count::<NameRecord>(Section::Names)
    }

    pub(super) fn label_count(&self) -> usize {
        self.index.count::<LabelRecord>(Section::Values)
    }

    /// The name and value of number `number`.
    pub(super) fn label(&self, number: usize) -> Result<&LabelRecord, ReadError> {
        let label = self.record(Section::Values, number)?;
        label.ok_or_else(|| self.corrupt(Section::Values, format!("there is no label {number}")))
    }

    /// The place of the name that a label has.
    fn name_of(&self, number: u32) -> Result<usize, ReadError> {
        let (mut low, mut high) = (0, self.name_count());
        while low < high {
            let middle = low + (high - low) / 2;
            let name: Option<&NameRecord> = self.record(Section::Names, middle)?;
            if name.is_some_and(|name| name.first_value <= number) { low = middle + 1 } else { high = middle }
        }
        low.checked_sub(1).ok_or_else(|| self.corrupt(Section::Names, "first name".to_owned()))
    }

    fn value_position(&self, labels: Range<usize>, value: &str) -> Result<Option<usize>, ReadError> {
        let (mut low, mut high) = (labels.start, labels.end);
        while low < high {
            let middle = low + (high - low) / 2;
            match self.value_text(self.label(middle)?)?.cmp(value) {
                Ordering::Less => low = middle + 1,
                Ordering::Equal => return Ok(Some(middle)),
                Ordering::Greater => high = middle,
            }
        }
        Ok(None)
    }

    pub(super) fn labels_of(&self, ordinal: u32) -> Result<Labels, ReadError> {
        let mut pairs = Vec::with_capacity(8);
        for number in self.label_numbers(ordinal)? {
            let name = self.name_text(self.name_of(number)?)?;
            let value = self.value_text(self.label(number as usize)?)?;
            if pairs.last().is_some_and(|&(last, _)| last >= name) || name.is_empty() || value.is_empty() {
                return Err(self.corrupt(Section::Labels, format!("labels of series {ordinal}")));
            }
            pairs.push((name, value));
        }
        Ok(Labels::from_sorted(&pairs))
    }

    /// The numbers of a series' labels, each below the number of labels.
    pub(super) fn label_numbers(&self, ordinal: u32) -> Result<Vec<u32>, ReadError> {
        let damaged = || self.corrupt(Section::Labels, format!("labels of series {ordinal}"));
        let start = self.series(ordinal)?.labels;
        let next: Option<&SeriesRecord> = self.record(Section::Series, ordinal as usize + 1)?;
        let end = next.map_or(self.index.len(Section::Labels) as u64, |next| next.labels);
        let bytes = self.bytes(Section::Labels, start, end)?.ok_or_else(damaged)?;
        let mut cursor = Cursor::new(bytes);
        let (mut numbers, mut last) = (Vec::with_capacity(8), 0u64);
        while !cursor.rest().is_empty() {
            let step = cursor.varint("label numbers").map_err(|_| damaged())?;
            last = last.checked_add(step).filter(|at| *at < self.label_count() as u64).ok_or_else(damaged)?;
            numbers.push(last as u32);
        }
        Ok(numbers)
    }

    pub(super) fn name_text(&self, name: usize) -> Result<&str, ReadError> {
        let record: Option<&NameRecord> = self.record(Section::Names, name)?;
        let record = record.ok_or_else(|| self.corrupt(Section::Names, format!("there is no name {name}")))?;
        self.text(record.text, record.text_len)
    }

    pub(super) fn value_text(&self, label: &LabelRecord) -> Result<&str, ReadError> {
        self.text(label.text, label.text_len)
    }

    fn text(&self, at: u64, len: u32) -> Result<&str, ReadError> {
        let bytes = self.bytes(Section::Strings, at, at.saturating_add(u64::from(len)))?;
        let text = bytes.and_then(|bytes| std::str::from_utf8(bytes).ok());
        text.ok_or_else(|| self.corrupt(Section::Strings, "text of a label".to_owned()))
    }

    /// Calls `each` with first ordinal and length of the runs of series that have a label.
    pub(super) fn series_with(&self, label: usize, each: impl FnMut(u32, u32)) -> Result<(), ReadError> {
        let (count, series) = (self.label(label)?.series, self.series_count());
        let decoded = postings::decode(self.postings_bytes(label)?, count, series, each);
        decoded.map_err(|what| self.corrupt(Section::Postings, what.to_owned()))
    }

    fn postings_bytes(&self, label: usize) -> Result<&[u8], ReadError> {
        let start = self.label(label)?.postings;
        let next: Option<&LabelRecord> = self.record(Section::Values, label + 1)?;
        let end = next.map_or(self.index.len(Section::Postings) as u64, |next| next.postings);
        let bytes = self.bytes(Section::Postings, start, end)?;
        bytes.ok_or_else(|| self.corrupt(Section::Postings, format!("series of label {label}")))
    }
}
