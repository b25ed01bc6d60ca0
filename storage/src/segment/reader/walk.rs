//! Going through a segment, series by series.

use super::Segment;
use super::copy::ChunkSpan;
use super::sets::SetDecoder;
use super::unclaimed::Unclaimed;
use crate::model::Labels;
use crate::segment::format::Section;
use crate::source::ReadError;

/// For who goes through the series of a segment in their order, all of them or some: what one of them has is none of
/// another's. So it reads each chunk and each label set once, whatever a file says under right checksums.
pub struct Walk<'a> {
    segment: &'a Segment,
    chunks: Unclaimed,
    label_sets: Unclaimed,
    sets: SetDecoder,
    last: Option<Labels>,
}

impl Segment {
    /// Begins to go through the series.
    #[must_use]
    pub fn walk(&self) -> Walk<'_> {
        Walk {
            segment: self,
            chunks: Unclaimed::default(),
            label_sets: Unclaimed::default(),
            sets: SetDecoder::default(),
            last: None,
        }
    }
}

impl<'a> Walk<'a> {
    /// The labels of a series, which come behind those of the one asked for before. Ordinals must ascend.
    ///
    /// # Errors
    /// [`ReadError`] if they are damaged, another series' too, or not in order.
    pub fn labels(&mut self, ordinal: u32) -> Result<Labels, ReadError> {
        let Self { segment, label_sets, sets, .. } = self;
        let decoded = segment.whole_once(|| {
            segment.own_label_range(ordinal, label_sets)?;
            sets.decode(segment, ordinal)
        });
        if decoded.is_err() {
            *sets = SetDecoder::default();
        }
        let labels = decoded?;
        if self.last.as_ref().is_some_and(|last| *last >= labels) {
            let what = format!("series {ordinal} ({labels}): it is not in order");
            return Err(self.segment.corrupt(Section::Series, what));
        }
        self.last = Some(labels.clone());
        Ok(labels)
    }

    /// As [`Segment::spans`]. Ordinals must ascend.
    ///
    /// # Errors
    /// [`ReadError`] if the directory is damaged, or the chunks are another series' too.
    pub fn spans(
        &mut self,
        ordinal: u32,
    ) -> Result<impl Iterator<Item = Result<ChunkSpan, ReadError>> + use<'a>, ReadError> {
        let numbers = self.segment.whole_once(|| self.segment.own_chunks(ordinal, &mut self.chunks))?;
        Ok(self.segment.spans_of(numbers))
    }
}
