//! Names of labels as far as they can be read: a damaged one costs the series that have it.

use std::ops::Range;

use crate::model::Labels;
use crate::segment::format::{LabelRecord, NameRecord, Section};
use crate::segment::reader::Segment;
use crate::segment::reader::unclaimed::TextLeft;
use crate::source::ReadError;

#[derive(Debug)]
pub(super) struct Names(Vec<Name>);

/// A name, and the labels that have it.
#[derive(Debug)]
struct Name {
    text: Box<str>,
    labels: Range<u32>,
}

impl Names {
    /// As their records tell.
    pub(super) fn of_records(segment: &Segment) -> Self {
        let count = segment.index.count::<NameRecord>(Section::Names);
        let record = |at: usize| -> Option<&NameRecord> { segment.record(Section::Names, at).ok().flatten() };
        let mut left = TextLeft::new(segment);
        let name = |at: usize| {
            let name = record(at)?;
            // A label has the last name that begins before it, so the next one must be known, too.
            let end = if at + 1 == count { segment.label_count() as u32 } else { record(at + 1)?.first_value };
            let text = segment.text(name.text, name.text_len).ok().filter(|text| left.take(text.len()))?;
            Some(Name { text: text.into(), labels: name.first_value..end })
        };
        Self((0..count).filter_map(name).collect())
    }

    /// As the texts lie: a name stands before the values that it has, which stand one behind the other. That is how they
    /// are written, not what the format promises: what is made of it must be proved.
    pub(super) fn of_gaps(segment: &Segment) -> Self {
        let (mut names, mut left): (Vec<Name>, _) = (Vec::new(), TextLeft::new(segment));
        let mut end = Some(0);
        for number in 0..segment.label_count() as u32 {
            let Ok(LabelRecord { text: at, text_len, .. }) = segment.label(number as usize) else {
                end = None;
                continue;
            };
            match end {
                Some(end) if end < *at => {
                    let len = u32::try_from(at - end).unwrap_or(u32::MAX);
                    let text = segment.text(end, len).ok().filter(|text| left.take(text.len())).unwrap_or_default();
                    names.push(Name { text: text.into(), labels: number..number });
                }
                // Behind a hole, another name may have begun.
                None => names.push(Name { text: "".into(), labels: number..number }),
                _ => {}
            }
            if let Some(name) = names.last_mut() {
                name.labels.end = number + 1;
            }
            end = at.checked_add(u64::from(*text_len));
        }
        Self(names)
    }

    /// The label set of these numbers, of at most `most` bytes of text, and no more than there is.
    pub(super) fn labels(&self, segment: &Segment, numbers: &[u32], most: usize) -> Result<Labels, ReadError> {
        let mut encoded = Vec::new();
        let (mut before, mut text) = (None, 0);
        let most = most.min(segment.index.len(Section::Strings));
        for &number in numbers {
            let at = self.0.partition_point(|name| name.labels.end <= number);
            let name = self.0.get(at).filter(|name| name.labels.contains(&number));
            let name = name.ok_or_else(|| segment.corrupt(Section::Names, "the name of a label".to_owned()))?;
            let value = segment.value_text(segment.label(number as usize)?)?;
            let wrong = name.text.is_empty() || value.is_empty() || before.is_some_and(|before| before >= &*name.text);
            text += name.text.len() + value.len();
            if wrong || text > most {
                return Err(segment.corrupt(Section::Labels, "labels of a series".to_owned()));
            }
            Labels::encode_pair(&name.text, value, &mut encoded);
            before = Some(&*name.text);
        }
        Ok(Labels::from_checked(&encoded))
    }
}
