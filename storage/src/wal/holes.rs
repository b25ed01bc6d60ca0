//! Between which numbers and times the holes in the chain of frames lie.

use super::format::FrameHeader;
use super::recovered::{Edge, LostRange};
use crate::model::SeqNo;

/// Where the chain stands, and which of the holes that were met wait for what lies behind them.
#[derive(Debug, Default)]
pub(super) struct Edges {
    /// Behind the last frame that took numbers.
    edge: Option<Edge>,
    /// The last holes, behind which no number was found yet.
    without_end: usize,
    /// The last holes, behind which no timestamp was found yet: a delete has none.
    without_time: usize,
}

impl Edges {
    /// What lies before a hole that begins here.
    pub(super) fn before(&self) -> Option<Edge> {
        self.edge
    }

    /// One more hole is the last of those that are told.
    pub(super) fn add_hole(&mut self) {
        self.without_end += 1;
        self.without_time += 1;
    }

    /// A frame was given that took numbers: it ends the last of the holes `lost`. With the least timestamp and the greatest
    /// one of its samples.
    pub(super) fn pass(&mut self, lost: &mut [LostRange], header: &FrameHeader, times: Option<(i64, i64)>) {
        let first = Edge { seq: SeqNo(header.first_seq), timestamp: None };
        for hole in lost.iter_mut().rev().take(self.without_end) {
            hole.behind = Some(first);
        }
        self.without_end = 0;
        if let Some((least, _)) = times {
            for behind in lost.iter_mut().rev().take(self.without_time).filter_map(|hole| hole.behind.as_mut()) {
                behind.timestamp = Some(least);
            }
            self.without_time = 0;
        }
        let before = self.edge.and_then(|edge| edge.timestamp);
        let timestamp = times.map(|(_, greatest)| greatest).or(before);
        self.edge = Some(Edge { seq: header.end_seq(), timestamp });
    }
}
