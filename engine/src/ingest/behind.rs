//! Which requests come behind what was pushed before them (Q5).

use std::collections::VecDeque;

use crate::requests::RequestNo;
use crate::ring::{Drain, Mark};

/// Requests that a round found, and what has to be taken before they are served.
#[derive(Default)]
pub(super) struct Behind {
    /// Those with smaller numbers, in order; one entry at most for each round that found new ones.
    waiting: VecDeque<(RequestNo, Mark)>,
    /// Behind these everything was taken.
    passed: RequestNo,
}

impl Behind {
    /// Before a round is observed: all with smaller numbers than `next` were asked.
    pub(super) fn note<T: Copy>(&mut self, next: RequestNo, drain: &Drain<T>) {
        if next <= self.waiting.back().map_or(self.passed, |(noted, _)| *noted) {
            return;
        }
        let mark = drain.mark();
        match self.waiting.back_mut() {
            Some((noted, last)) if *last == mark => *noted = next,
            _ => self.waiting.push_back((next, mark)),
        }
    }

    /// After a round was taken and published, or nothing was found.
    pub(super) fn settle<T: Copy>(&mut self, drain: &Drain<T>) {
        while let Some((next, _)) = self.waiting.pop_front_if(|(_, mark)| drain.is_past(mark)) {
            self.passed = next;
        }
    }

    /// Whether all that was pushed before this request is visible.
    pub(super) fn is_behind(&self, no: RequestNo) -> bool {
        no < self.passed
    }
}
