//! Encoded chunks one behind the other, as one chunk: vectors stand alone, so that none is decoded.

use super::vectors::{self, Vectors};
use super::{CHUNK_SAMPLES_MAX, ChunkError, ChunkView, VECTOR_SAMPLES, ValueEncoding};

/// Chunks of one series, ascending, that make one chunk together.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Joined<'a> {
    parts: &'a [ChunkView<'a>],
    count: usize,
}

impl<'a> Joined<'a> {
    /// `None` if they are no chunk together: none or too many samples, a part before the last that ends within a
    /// vector, parts that do not ascend, or a part whose vectors do not stand alone (cold).
    pub(crate) fn new(parts: &'a [ChunkView<'a>]) -> Option<Self> {
        let (_, before) = parts.split_last()?;
        let count = parts.iter().map(ChunkView::count).sum();
        let whole = before.iter().all(|part| part.count().is_multiple_of(VECTOR_SAMPLES));
        let ascend = parts.windows(2).all(|w| w[0].last_timestamp() < w[1].first_timestamp());
        let alone = |part: &ChunkView<'_>| part.values().encoding(0).is_ok_and(|first| first != ValueEncoding::Cold);
        let fits = count <= CHUNK_SAMPLES_MAX && whole && ascend && parts.iter().all(alone);
        fits.then_some(Self { parts, count })
    }

    pub(crate) fn count(&self) -> usize {
        self.count
    }

    pub(crate) fn first_timestamp(&self) -> i64 {
        self.parts[0].first_timestamp()
    }

    pub(crate) fn last_timestamp(&self) -> i64 {
        self.parts[self.parts.len() - 1].last_timestamp()
    }

    /// Appends the timestamp column.
    pub(crate) fn timestamps(&self, out: &mut Vec<u8>) {
        self.column(|part| part.timestamps().0, out);
    }

    /// Appends the value column.
    pub(crate) fn values(&self, out: &mut Vec<u8>) {
        self.column(|part| part.values().0, out);
    }

    /// Appends the values themselves.
    pub(crate) fn decode_values(&self, out: &mut Vec<f64>) -> Result<(), ChunkError> {
        let mut columns = self.parts.iter().map(ChunkView::values);
        columns.try_for_each(|values| (0..values.vectors()).try_for_each(|i| values.decode_vector(i, out)))
    }

    fn column(&self, of: impl Fn(&ChunkView<'a>) -> Vectors<'a>, out: &mut Vec<u8>) {
        let all = self.parts.iter().map(of).flat_map(|column| (0..column.len()).map(move |i| column.bytes(i)));
        vectors::lay(self.count, all, out, |vector, out| out.extend_from_slice(vector));
    }
}
