//! A cursor for callers who want samples in pieces.

use tidegauge_storage::chunk::ChunkStats;
use tidegauge_storage::source::{ColumnCursor, Columns, ReadCounts, ReadError};

use crate::limits::Ledger;
use crate::merge::Merge;

/// The samples of one series, some thousand at a time: what [`Series::cursor`](super::Series::cursor) gives.
///
/// Nothing is counted against a budget. Where the store takes in more than it keeps up with beside its queries, the
/// thread that reads pauses behind each 32,768 samples that it was handed, of however many series.
pub struct Cursor<'a> {
    merge: Merge<'a>,
    ledger: Option<&'a Ledger>,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(merge: Merge<'a>, ledger: Option<&'a Ledger>) -> Self {
        Self { merge, ledger }
    }
}

impl ColumnCursor for Cursor<'_> {
    fn next(&mut self, out: &mut Columns) -> Result<bool, ReadError> {
        let before = out.len();
        let going = self.merge.next(out)?;
        if let Some(ledger) = self.ledger {
            ledger.handed_out((out.len() - before) as u64);
        }
        Ok(going)
    }

    fn bound(&self) -> Option<i64> {
        self.merge.bound()
    }

    fn whole(&mut self) -> Result<Option<ChunkStats>, ReadError> {
        self.merge.whole()
    }

    fn pass(&mut self) {
        self.merge.pass();
    }

    fn counts(&self) -> ReadCounts {
        self.merge.counts()
    }
}
