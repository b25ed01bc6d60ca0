//! The label index: matchers to series, series to labels.

use std::cmp::Ordering;
use std::ops::Range;

use super::Segment;
use super::unclaimed::{TextLeft, Unclaimed};
use crate::chunk::Cursor;
use crate::model::{Labels, MatchOp, Matcher};
use crate::segment::bitmap::Bitmap;
use crate::segment::format::{LabelRecord, Section};
use crate::segment::postings;
use crate::source::ReadError;

/// The numbers of a series' labels, one by one.
pub(super) struct LabelSet<'a> {
    ordinal: u32,
    cursor: Cursor<'a>,
    last: u64,
}

/// How far a label set was looked through for labels that ascend.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Walked {
    /// Bytes of it that are left.
    left: usize,
    /// The number before these.
    last: u64,
}

impl Walked {
    /// Not begun: a set that lies there.
    pub(super) fn at_the_start(range: &Range<u64>) -> Self {
        Self { left: range.end.saturating_sub(range.start) as usize, last: 0 }
    }
}

impl LabelSet<'_> {
    /// Whether the set has a label, which is above all that were asked for before.
    pub(super) fn has(mut self, segment: &Segment, number: u32, walked: &mut Walked) -> Result<bool, ReadError> {
        let rest = self.cursor.rest();
        self.cursor = Cursor::new(&rest[rest.len().saturating_sub(walked.left)..]);
        self.last = walked.last;
        while let Some(next) = self.next(segment)?.filter(|next| *next <= number) {
            *walked = Walked { left: self.cursor.rest().len(), last: self.last };
            if next == number {
                return Ok(true);
            }
        }
        Ok(false)
    }

    pub(super) fn next(&mut self, segment: &Segment) -> Result<Option<u32>, ReadError> {
        if self.cursor.rest().is_empty() {
            return Ok(None);
        }
        let step = self.cursor.varint("label numbers").ok();
        let number = step.and_then(|step| self.last.checked_add(step)).filter(|at| *at < segment.label_count() as u64);
        let damaged = || segment.corrupt(Section::Labels, format!("labels of series {}", self.ordinal));
        self.last = number.ok_or_else(damaged)?;
        Ok(Some(self.last as u32))
    }
}

impl Segment {
    /// The series with exactly these labels. O(log series), and nothing is allocated.
    ///
    /// # Errors
    /// [`ReadError`] if the index is damaged.
    pub fn find(&self, labels: &Labels) -> Result<Option<u32>, ReadError> {
        self.whole(|| self.search(labels))
    }

    fn search(&self, labels: &Labels) -> Result<Option<u32>, ReadError> {
        let (mut low, mut high) = (0, self.series_count());
        while low < high {
            let middle = low + (high - low) / 2;
            match self.compare(middle, labels)? {
                Ordering::Less => low = middle + 1,
                Ordering::Equal => return Ok(Some(middle)),
                Ordering::Greater => high = middle,
            }
        }
        Ok(None)
    }

    /// The order of a series' labels and others, pair by pair, as label sets are ordered.
    fn compare(&self, ordinal: u32, labels: &Labels) -> Result<Ordering, ReadError> {
        let mut others = labels.iter();
        let mut numbers = self.label_set(ordinal)?;
        while let Some(number) = numbers.next(self)? {
            let Some((name, value)) = others.next() else { return Ok(Ordering::Greater) };
            let of_name = (*self.names()?[self.name_of(number)?].text).cmp(name);
            let order = of_name.then(self.value_text(self.label(number as usize)?)?.cmp(value));
            if order.is_ne() {
                return Ok(order);
            }
        }
        Ok(if others.next().is_some() { Ordering::Less } else { Ordering::Equal })
    }

    /// The series that pass all matchers. Regexes see each value of their label once, of those that begin as they must.
    pub(super) fn matching(&self, matchers: &[Matcher]) -> Result<Bitmap, ReadError> {
        let mut passing = Bitmap::full(self.series_count());
        for matcher in matchers {
            let values = self.values_of_name(matcher.name())?;
            if matcher.matches_empty() {
                // Series without the label pass too, so look for those that fail.
                passing.and_not(&self.union(values, |value| !matcher.matches(value))?);
            } else if matcher.op() == MatchOp::Equal {
                let found = self.value_position(values, matcher.value())?;
                passing.and(&self.union(found.into_iter(), |_| true)?);
            } else if let Some(prefixes) = matcher.prefixes() {
                let ranges: Result<Vec<_>, _> = prefixes.iter().map(|prefix| self.beginning(&values, prefix)).collect();
                passing.and(&self.union(ranges?.into_iter().flatten(), |value| matcher.matches(value))?);
            } else {
                passing.and(&self.union(values, |value| matcher.matches(value))?);
            }
        }
        Ok(passing)
    }

    /// Values that [`matching`](Self::matching) looks at for a matcher, about.
    pub(super) fn looks_of(&self, matcher: &Matcher) -> Result<u64, ReadError> {
        let values = self.values_of_name(matcher.name())?;
        if matcher.matches_empty() {
            return Ok(values.len() as u64);
        }
        if matcher.op() == MatchOp::Equal {
            return Ok(u64::from(values.len().max(1).ilog2()) + 1);
        }
        let Some(prefixes) = matcher.prefixes() else { return Ok(values.len() as u64) };
        let mut looks = 0;
        for prefix in prefixes {
            looks += self.beginning(&values, prefix)?.len() as u64 + 1;
        }
        Ok(looks)
    }

    /// The series that have one of these labels whose value passes `keep`.
    fn union(&self, labels: impl Iterator<Item = usize>, keep: impl Fn(&str) -> bool) -> Result<Bitmap, ReadError> {
        let series = self.series_count();
        let mut all = Bitmap::empty(series);
        let (mut postings, mut left) = (Unclaimed::default(), TextLeft::new(self));
        // Of one name a series has one label.
        let mut unlabelled = series;
        for number in labels {
            if keep(self.own_value(number, &mut left)?) {
                let found = unlabelled.checked_sub(self.label(number)?.series);
                let damaged =
                    || self.corrupt(Section::Values, "labels of one name have more series than all".to_owned());
                unlabelled = found.ok_or_else(damaged)?;
                self.own_series_with(number, &mut postings, |first, run| all.insert_run(first, run))?;
            }
        }
        Ok(all)
    }

    pub(super) fn label_count(&self) -> usize {
        self.index.count::<LabelRecord>(Section::Values)
    }

    /// The name and value of number `number`.
    pub(super) fn label(&self, number: usize) -> Result<&LabelRecord, ReadError> {
        let label = self.record(Section::Values, number)?;
        label.ok_or_else(|| self.corrupt(Section::Values, format!("there is no label {number}")))
    }

    fn value_position(&self, labels: Range<usize>, value: &str) -> Result<Option<usize>, ReadError> {
        let at = self.partition(&labels, |text| text < value)?;
        Ok(if at < labels.end && self.value_text(self.label(at)?)? == value { Some(at) } else { None })
    }

    /// The labels, of those whose values ascend, that begin so.
    fn beginning(&self, labels: &Range<usize>, prefix: &[u8]) -> Result<Range<usize>, ReadError> {
        let start = self.partition(labels, |text| text.as_bytes() < prefix)?;
        let end = self.partition(&(start..labels.end), |text| text.as_bytes().starts_with(prefix))?;
        Ok(start..end)
    }

    /// The first label, of those whose values ascend, that does not pass: all before do.
    fn partition(&self, labels: &Range<usize>, passes: impl Fn(&str) -> bool) -> Result<usize, ReadError> {
        let Range { start: mut low, end: mut high } = labels.clone();
        while low < high {
            let middle = low + (high - low) / 2;
            if passes(self.value_text(self.label(middle)?)?) { low = middle + 1 } else { high = middle }
        }
        Ok(low)
    }

    /// The numbers of a series' labels, each below the number of labels.
    pub(super) fn label_numbers(&self, ordinal: u32) -> Result<Vec<u32>, ReadError> {
        let (mut set, mut numbers) = (self.label_set(ordinal)?, Vec::with_capacity(8));
        while let Some(number) = set.next(self)? {
            numbers.push(number);
        }
        Ok(numbers)
    }

    pub(super) fn label_set(&self, ordinal: u32) -> Result<LabelSet<'_>, ReadError> {
        let damaged = || self.corrupt(Section::Labels, format!("labels of series {ordinal}"));
        let Range { start, end } = self.label_range(ordinal)?;
        let bytes = self.bytes(Section::Labels, start, end)?.ok_or_else(damaged)?;
        Ok(LabelSet { ordinal, cursor: Cursor::new(bytes), last: 0 })
    }

    /// Where the label set of a series lies, as its record and the next one say.
    pub(super) fn label_range(&self, ordinal: u32) -> Result<Range<u64>, ReadError> {
        let start = self.series(ordinal)?.labels;
        let next = self.series_at(ordinal as usize + 1)?;
        Ok(start..next.map_or(self.index.len(Section::Labels) as u64, |next| next.labels))
    }

    pub(super) fn value_text(&self, label: &LabelRecord) -> Result<&str, ReadError> {
        self.text(label.text, label.text_len)
    }

    pub(super) fn text(&self, at: u64, len: u32) -> Result<&str, ReadError> {
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

    /// Where the postings of a label lie, as its record and the next one say.
    pub(super) fn postings_range(&self, label: usize) -> Result<Range<u64>, ReadError> {
        let start = self.label(label)?.postings;
        let next: Option<&LabelRecord> = self.record(Section::Values, label + 1)?;
        Ok(start..next.map_or(self.index.len(Section::Postings) as u64, |next| next.postings))
    }

    fn postings_bytes(&self, label: usize) -> Result<&[u8], ReadError> {
        let Range { start, end } = self.postings_range(label)?;
        let bytes = self.bytes(Section::Postings, start, end)?;
        bytes.ok_or_else(|| self.corrupt(Section::Postings, format!("series of label {label}")))
    }
}
