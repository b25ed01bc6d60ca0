//! What is done for others between two commits.

use std::time::Duration;

use tidegauge_storage::model::{Matcher, SeqNo, TimeRange};

use super::Worker;
use super::worker::ROUND_SAMPLES_MAX;
use crate::batch::{BatchRequest, Verdict};
use crate::core::Core;
use crate::error::{DeleteError, ProbeError};
use crate::evict::{Following, Taking};
use crate::gate::{Shortage, Shut};
use crate::requests::{NoReply, NotAsked, Replier, reply};
use crate::subscribe::NewFeed;

/// Requests served between two rounds, so that lanes are not held up by them; fewer if they bring a round's samples.
const REQUESTS_A_ROUND: usize = 64;

/// Something asked of the worker. Dropped unserved, its answer is "gone" (Q3).
pub(crate) enum Request {
    /// Whether the worker goes round. `settles`: answered only once what was pushed before is visible, unless that waits
    /// for the disk.
    Probe { settles: bool, replier: Replier<()> },
    /// Samples that are committed together, if all is as expected.
    Batch(BatchRequest),
    /// Somebody wants to follow along from the next commit on.
    Subscribe(NewFeed),
    /// Idle series leave memory.
    Take(Box<Taking>),
    /// What knows the series gives way to what knows fewer.
    Follow(Box<Following>),
    /// A delete; answered once it is visible.
    Delete { matchers: Vec<Matcher>, range: TimeRange, created: i64, replier: Replier<Result<SeqNo, DeleteError>> },
}

impl Request {
    /// Of all that wait together, in samples.
    pub(crate) const WEIGHT_MAX: usize = 1 << 20;
    /// Of those beside them that bring no samples: batches that wait for memory leave them room.
    pub(crate) const LIGHT_MAX: usize = 1 << 10;
}

/// What decides whether a request may be served (Q5).
struct Now {
    /// Lanes are not drained: memory or the disk holds them back.
    held_back: bool,
    /// And nothing but space on the disk will change that.
    short: Option<Shortage>,
    /// A delete seals the active memtable, and one closes at a time.
    closes: bool,
}

impl Now {
    /// `behind`: what was pushed before the request is visible.
    fn may_serve(&self, request: &Request, behind: bool) -> bool {
        match request {
            Request::Probe { settles: true, .. } => behind || self.short.is_some(),
            Request::Probe { settles: false, .. } => behind || self.held_back,
            Request::Delete { .. } => (behind || self.held_back) && !self.closes,
            // On a full disk memory stays full: it is refused.
            Request::Batch(_) => self.short.is_some() || (behind && !self.held_back),
            Request::Subscribe(_) | Request::Take(_) | Request::Follow(_) => true,
        }
    }
}

impl Worker {
    /// Before a round is observed: who has asked by now?
    pub(super) fn note_requests(&mut self) {
        if self.core.requests.is_waiting() {
            self.behind.note(self.core.requests.next_no(), &self.drain);
        }
    }

    fn now(&self) -> Now {
        let held_back = self.is_held_back() || self.no_space_until.is_some();
        let short = match self.core.gate.why_shut() {
            Some(Shut::Short(short)) if held_back => Some(short),
            _ => None,
        };
        Now { held_back, short, closes: self.is_closing() }
    }

    /// Serves what was asked. Answers whether there was anything.
    pub(super) fn serve(&mut self) -> bool {
        // The way of an ordinary round: one relaxed load.
        if !self.core.requests.is_waiting() {
            return false;
        }
        let (mut served, mut looks, began) = (0, 0, self.visible.seq);
        let has_time = |served, looks: u64, seq: u64| {
            // To match a delete takes as long as a sample, about.
            served < REQUESTS_A_ROUND && seq - began + looks < ROUND_SAMPLES_MAX as u64
        };
        while has_time(served, looks, self.visible.seq) && !self.core.is_poisoned() && !self.gave_up {
            let (now, behind) = (self.now(), &self.behind);
            let due = |no, request: &Request| now.may_serve(request, behind.is_behind(no));
            let Some(request) = self.core.requests.take_first_that(due) else { break };
            served += 1;
            match request {
                Request::Probe { replier, .. } => replier.tell(()),
                Request::Batch(batch) => match now.short {
                    Some(short) => batch.replier.tell(Verdict::Short(short)),
                    None => {
                        self.commit_batch(batch, &mut looks);
                        // Who waits for this one to be durable does not wait for the others that are there.
                        self.tend_log();
                    }
                },
                Request::Subscribe(new) => self.feeds.add(new, self.visible.seq, &self.core),
                // One between two rounds: whoever asks has the next one ready.
                Request::Take(taking) => {
                    self.take(*taking);
                    break;
                }
                Request::Follow(following) => self.follow(*following),
                Request::Delete { matchers, range, created, replier } => {
                    replier.tell(self.delete(matchers, range, created));
                }
            }
        }
        served > 0
    }
}

/// In the middle of a commit that finds no space nothing else has a place in the order: what changes something is
/// refused, and who only wants to know how far it is is told.
pub(super) fn refuse(core: &Core, short: Shortage) {
    let due = |_, r: &Request| matches!(r, Request::Batch(_) | Request::Delete { .. } | Request::Probe { .. });
    while let Some(request) = core.requests.take_first_that(due) {
        match request {
            Request::Batch(batch) => batch.replier.tell(Verdict::Short(short)),
            Request::Delete { replier, .. } => replier.tell(Err(short.into())),
            Request::Probe { replier, .. } => replier.tell(()),
            Request::Subscribe(_) | Request::Take(_) | Request::Follow(_) => {}
        }
    }
}

/// Waits until what the calling thread has pushed is visible, or waits for the disk, which the gate tells; for as long as
/// is `left`, if that has an end.
pub(crate) fn settle(core: &Core, left: impl Fn() -> Option<Duration>) -> Result<(), NoReply> {
    let (replier, mut sign) = reply();
    let request = Request::Probe { settles: true, replier };
    let asked = core.ask(request, 1, left().unwrap_or(Duration::MAX)).map_err(|e| match e {
        NotAsked::Full => NoReply::Timeout,
        NotAsked::Closed => NoReply::Gone,
    })?;
    sign.wait(left()).inspect_err(|_| drop(core.requests.withdraw(asked)))
}

/// Asks the worker for a sign of life.
pub(crate) fn probe(core: &Core, timeout: Duration) -> Result<(), ProbeError> {
    match core.gate.why_shut() {
        Some(Shut::Short(short)) => return Err(short.into()),
        Some(Shut::ReadOnly) => return Err(ProbeError::ReadOnly),
        Some(Shut::Closed) => return Err(ProbeError::Closed),
        Some(Shut::Poisoned(poisoned)) => return Err(poisoned.into()),
        None => {}
    }
    if core.is_own_thread() {
        return Err(ProbeError::InWaker);
    }
    let gone = || core.gate.poisoned().map_or(ProbeError::Closed, ProbeError::Poisoned);
    let (replier, mut sign) = reply();
    let asked = core.ask(Request::Probe { settles: false, replier }, 1, timeout).map_err(|e| match e {
        NotAsked::Full => ProbeError::Timeout { waited: timeout },
        NotAsked::Closed => gone(),
    })?;
    let answer = sign.wait(Some(timeout));
    drop(core.requests.withdraw(asked));
    match (answer, core.gate.why_shut()) {
        (Err(NoReply::Gone), _) => Err(gone()),
        (Err(NoReply::Timeout), why) => {
            core.counters.wait_timed_out();
            Err(match why {
                Some(Shut::Short(short)) => short.into(),
                _ => ProbeError::Timeout { waited: timeout },
            })
        }
        // The worker was in the middle of a commit that found none.
        (Ok(()), Some(Shut::Short(short))) => Err(short.into()),
        (Ok(()), _) => Ok(()),
    }
}
