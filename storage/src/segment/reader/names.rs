//! The names of a segment's labels. There are few of them, so they are taken out of the index once.

use std::ops::Range;

use super::Segment;
use super::unclaimed::TextLeft;
use crate::segment::format::{NameRecord, Section};
use crate::source::ReadError;

/// A name, and the number of its first label; the labels of the next name follow its own.
#[derive(Debug)]
pub(super) struct Name {
    pub(super) text: Box<str>,
    first: u32,
}

impl Segment {
    /// All names, ascending. O(names) the first time, O(1) from then on.
    pub(super) fn names(&self) -> Result<&[Name], ReadError> {
        if let Some(names) = self.names.get() {
            return Ok(names);
        }
        // They are kept.
        let names = self.whole(|| {
            let mut left = TextLeft::new(self);
            let names = (0..self.index.count::<NameRecord>(Section::Names)).map(|at| self.name(at, &mut left));
            names.collect::<Result<Box<[Name]>, _>>()
        })?;
        let labels = self.label_count();
        let ascend = names.is_sorted_by(|a, b| a.text < b.text && a.first <= b.first);
        if !ascend || names.last().is_some_and(|n| n.first as usize > labels) {
            return Err(self.corrupt(Section::Names, "names are not in order".to_owned()));
        }
        Ok(self.names.get_or_init(|| names))
    }

    fn name(&self, at: usize, left: &mut TextLeft) -> Result<Name, ReadError> {
        let damaged = || self.corrupt(Section::Names, format!("name {at}"));
        let record: &NameRecord = self.record(Section::Names, at)?.ok_or_else(damaged)?;
        if !left.take(record.text_len as usize) {
            return Err(self.corrupt(Section::Names, "names are longer than all text".to_owned()));
        }
        Ok(Name { text: self.text(record.text, record.text_len)?.into(), first: record.first_value })
    }

    /// The numbers of the labels of one name, by its place.
    pub(super) fn values_of(&self, name: usize) -> Result<Range<usize>, ReadError> {
        let names = self.names()?;
        let first = |at: usize| names.get(at).map_or(self.label_count(), |name| name.first as usize);
        Ok(first(name)..first(name + 1))
    }

    /// The numbers of the labels that carry `name`; empty if none does.
    pub(super) fn values_of_name(&self, name: &str) -> Result<Range<usize>, ReadError> {
        match self.names()?.binary_search_by(|other| (*other.text).cmp(name)) {
            Ok(at) => self.values_of(at),
            Err(_) => Ok(0..0),
        }
    }

    /// The place of the name that a label has.
    pub(super) fn name_of(&self, number: u32) -> Result<usize, ReadError> {
        let at = self.names()?.partition_point(|name| name.first <= number);
        at.checked_sub(1).ok_or_else(|| self.corrupt(Section::Names, "first name".to_owned()))
    }
}
