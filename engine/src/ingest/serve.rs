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
    /// Whether the worker goes round.
    Probe(Replier<()>),
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

    /// Whether it may be served while lanes are held back for want of memory.
    fn is_light(&self) -> bool {
        matches!(self, Self::Probe(_) | Self::Subscribe(_) | Self::Take(_) | Self::Follow(_) | Self::Delete { .. })
    }
}

impl Worker {
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
            let held_back = self.is_held_back();
            // A delete seals the active memtable, and one closes at a time.
            let closes = self.is_closing();
            // On a full disk memory stays full: a batch that waits for it must not stand before a delete.
            let refuses = match self.core.gate.why_shut() {
                Some(Shut::Short(short)) if held_back => Some(short),
                _ => None,
            };
            let due = |r: &Request| match r {
                Request::Delete { .. } => !closes,
                other => other.is_light() || !held_back || refuses.is_some(),
            };
            let Some(request) = self.core.requests.take_if(due) else { break };
            served += 1;
            match request {
                // Who asks may have pushed behind the round that ended: the next ones come first.
                Request::Probe(replier) => {
                    self.probes.push_back((self.drain.next_sweep(), replier));
                    break;
                }
                Request::Batch(batch) => match refuses {
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

    /// After a round: `went`, or there was nothing, or memory or the disk holds it back. Then nobody waits for what he
    /// pushed.
    pub(super) fn answer_probes(&mut self, went: bool) {
        if self.probes.is_empty() {
            return;
        }
        if self.core.is_poisoned() || self.gave_up {
            return self.probes.clear();
        }
        let sweeps = self.drain.sweeps();
        while let Some((_, replier)) = self.probes.pop_front_if(|(sweep, _)| !went || *sweep <= sweeps) {
            replier.tell(());
        }
    }
}

/// In the middle of a commit that finds no space nothing else has a place in the order: what changes something is
/// refused.
pub(super) fn refuse(core: &Core, short: Shortage) {
    let changes = |r: &Request| matches!(r, Request::Batch(_) | Request::Delete { .. });
    while let Some(request) = core.requests.take_if(changes) {
        match request {
            Request::Batch(batch) => batch.replier.tell(Verdict::Short(short)),
            Request::Delete { replier, .. } => replier.tell(Err(short.into())),
            Request::Probe(_) | Request::Subscribe(_) | Request::Take(_) | Request::Follow(_) => {}
        }
    }
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
    let asked = core.ask(Request::Probe(replier), 1, timeout).map_err(|e| match e {
        NotAsked::Full => ProbeError::Timeout { waited: timeout },
        NotAsked::Closed => gone(),
    })?;
    sign.wait(Some(timeout)).map_err(|e| {
        drop(core.requests.withdraw(asked));
        if e == NoReply::Gone {
            return gone();
        }
        core.counters.wait_timed_out();
        match core.gate.why_shut() {
            Some(Shut::Short(short)) => short.into(),
            _ => ProbeError::Timeout { waited: timeout },
        }
    })
}
