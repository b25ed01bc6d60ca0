//! All subscriptions of an engine, as the worker serves them.

use std::time::Instant;

use tidegauge_storage::model::Matcher;

use super::{Feed, Lag, Missed};
use crate::core::{Core, SeriesSample};
use crate::registry::Slots;
use crate::requests::Replier;
use crate::sync::thread;

/// A subscription to be.
pub(crate) struct NewFeed {
    pub(crate) feed: Feed<SeriesSample>,
    pub(crate) matchers: Vec<Matcher>,
    pub(crate) lag: Lag,
    /// The number from which on samples are delivered; `None` if there are too many subscriptions.
    pub(crate) started: Replier<Option<u64>>,
}

struct Follower {
    feed: Feed<SeriesSample>,
    matchers: Vec<Matcher>,
    lag: Lag,
    /// Was held for in vain, and has taken nothing since: not held for again.
    lags: bool,
}

/// Who wants the samples of one slot, as far as it is known.
#[derive(Clone, Copy, Default)]
struct Memo {
    /// Of the series that had the slot then.
    tag: u32,
    /// Of the set of followers; 0 is never one.
    epoch: u32,
    /// Bit `i`: the `i`th follower.
    wanted: u64,
}

/// Subscriptions, each with its bit.
#[derive(Default)]
pub(crate) struct Feeds {
    followers: Vec<Follower>,
    /// Counts the changes of the set: a memo of another epoch is worth nothing.
    epoch: u32,
    /// When what large commits took was looked at last.
    settled_at: Option<Instant>,
    /// By slot; grows up to the number of series, while there are followers.
    memos: Vec<Memo>,
}

impl Feeds {
    /// At once: one bit each.
    pub(crate) const MAX: usize = u64::BITS as usize;

    pub(crate) fn is_empty(&self) -> bool {
        self.followers.is_empty()
    }

    /// A subscription begins between two commits: the next sample has number `seq` (U1).
    pub(crate) fn add(&mut self, new: NewFeed, seq: u64, core: &Core) {
        let NewFeed { feed, matchers, lag, started } = new;
        if self.followers.len() == Self::MAX {
            return started.tell(None);
        }
        self.followers.push(Follower { feed, matchers, lag, lags: false });
        self.changed(core);
        started.tell(Some(seq));
    }

    fn changed(&mut self, core: &Core) {
        self.epoch = self.epoch.wrapping_add(1).max(1);
        if self.epoch == 1 || self.followers.is_empty() {
            // Memos of an epoch of the same number, long ago, or of nobody.
            self.memos = Vec::new();
        }
        core.counters.subscriptions(self.followers.len());
    }

    /// Looks at samples of the running commit.
    pub(crate) fn stage(&mut self, samples: &[SeriesSample], slots: &Slots) {
        for sample in samples {
            let slot = sample.0.series as usize;
            let known = self.memos.get(slot).filter(|memo| memo.epoch == self.epoch && memo.tag == sample.0.tag);
            let mut wanted = match known {
                Some(memo) => memo.wanted,
                None => self.resolve(sample, slots),
            };
            while wanted != 0 {
                self.followers[wanted.trailing_zeros() as usize].feed.stage(*sample);
                wanted &= wanted - 1;
            }
        }
    }

    /// Who wants this sample's series: matched once a series and change of the set (U6).
    #[cold]
    fn resolve(&mut self, sample: &SeriesSample, slots: &Slots) -> u64 {
        let slot = sample.0.series;
        let Some(labels) = slots.labels(slot) else { return 0 };
        let wants = |follower: &Follower| follower.matchers.iter().all(|m| m.matches_labels(&labels));
        let bits = self.followers.iter().enumerate().filter(|(_, follower)| wants(follower));
        let wanted = bits.fold(0, |bits, (i, _)| bits | 1 << i);
        if slot as usize >= self.memos.len() {
            self.memos.resize((slot as usize + 1).next_power_of_two(), Memo::default());
        }
        self.memos[slot as usize] = Memo { tag: sample.0.tag, epoch: self.epoch, wanted };
        wanted
    }

    /// Delivers the commit with numbers `first..end`, which is visible (U2). While the worker is held up, `meanwhile`
    /// does what is owed to commits by now (U7).
    pub(crate) fn deliver(&mut self, first: u64, end: u64, core: &Core, mut meanwhile: impl FnMut()) {
        for follower in &mut self.followers {
            let (lag, lags) = (follower.lag, follower.lags);
            let (mut began, mut ran_out) = (None, false);
            let hold = || {
                let Lag::Hold(patience) = lag else { return false };
                if lags || patience.is_zero() || core.is_stopping() || core.is_poisoned() {
                    return false;
                }
                let began = *began.get_or_insert_with(|| {
                    core.counters.holds();
                    Instant::now()
                });
                if began.elapsed() >= patience {
                    core.counters.held_in_vain();
                    ran_out = true;
                    return false;
                }
                core.heartbeat();
                meanwhile();
                thread::park_timeout(HOLD_STEP);
                true
            };
            if follower.feed.has_staged() {
                let missed = follower.feed.offer(first, end, hold);
                // Who left, before or meanwhile, misses nothing; he is forgotten soon (U5).
                if follower.feed.is_gone() {
                    continue;
                }
                // What never fits says nothing about who reads.
                follower.lags = missed != Missed::default() && (lags || ran_out);
                core.counters.missed_by_subscriptions(missed.samples);
            }
        }
    }

    /// Once in a while: tells what was missed where there is room now, and forgets who left.
    pub(crate) fn tend(&mut self, core: &Core, now: Instant) {
        let before = self.followers.len();
        self.followers.retain(|follower| !follower.feed.is_gone());
        if self.followers.len() != before {
            self.changed(core);
        }
        for follower in &mut self.followers {
            follower.feed.tell_missed();
        }
        if !self.followers.is_empty() && self.settled_at.is_none_or(|at| now.duration_since(at) >= SETTLE_EVERY) {
            self.settled_at = Some(now);
            self.followers.iter_mut().for_each(|follower| follower.feed.settle());
        }
    }

    /// Nothing is committed any more.
    pub(crate) fn close(&mut self, core: &Core) {
        self.followers.clear();
        self.changed(core);
    }
}

/// What large commits took is given back after this, if no others come.
const SETTLE_EVERY: std::time::Duration = std::time::Duration::from_millis(100);
/// The worker looks again after this whether a reader it is held up by has made room.
const HOLD_STEP: std::time::Duration = std::time::Duration::from_micros(100);

#[cfg(test)]
mod tests {
    use tidegauge_storage::model::Timestamp;

    use super::*;
    use crate::engine::Engine;
    use crate::requests::reply;
    use crate::subscribe::feed;

    /// Until it was noticed that he had left, each commit counted as missed.
    #[test]
    fn a_reader_who_left_misses_nothing() {
        let engine = Engine::in_memory().unwrap();
        let core = &engine.life().core;
        let id = engine.series(&[("__name__", "cpu")]).unwrap();
        let registry = core.registry();
        let mut feeds = Feeds::default();
        let mut inboxes: Vec<_> = [8, 8]
            .map(|capacity| {
                let (feed, inbox) = feed(capacity);
                let (started, _) = reply();
                feeds.add(NewFeed { feed, matchers: Vec::new(), lag: Lag::Miss, started }, 1, core);
                inbox
            })
            .into();
        let mut commit = |samples: u64| {
            let sample = |n: u64| SeriesSample::new(id, Timestamp::from_nanos(n as i64), 1.0);
            feeds.stage(&(0..samples).map(sample).collect::<Vec<_>>(), registry.slots());
            feeds.deliver(1, 1 + samples, core, || {});
            engine.stats().subscription_missed_samples
        };
        assert_eq!(commit(9), 18, "more than fits");
        inboxes.pop();
        assert_eq!(commit(9), 27, "one is left");
        inboxes.pop();
        assert_eq!([commit(9), commit(3), commit(3), commit(3)], [27; 4]);
    }
}
