//! One subscription's ring: whole commits from the worker to one reader, and what did not fit is counted.
//!
//! Protocol and invariants U1–U6: `docs/concurrency.md`, "Subscriptions". Models: `loom-tests/tests/subscribe.rs`.

use std::task::Waker;

use crate::ring::{LaneReceiver, LaneSender, lane};
use crate::sync::{Arc, Mutex, lock, weakenable_step};
use crate::wait::{Ticket, WaitList};

/// What lies in the ring.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Piece<S> {
    /// Commits that did not fit, between what comes before and what comes behind.
    Missed(Missed),
    /// The head of a commit; its samples follow.
    Commit(CommitHead),
    /// One sample of the commit at hand.
    Sample(S),
}

/// What a reader missed: commits that held samples for him, and how many samples.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Missed {
    /// Commits.
    pub commits: u64,
    /// Samples in them that the subscription selects.
    pub samples: u64,
}

/// Numbers of a commit's samples: `first..end`, of which `samples` are selected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CommitHead {
    pub first: u64,
    pub end: u64,
    pub samples: u64,
}

/// What a reader gets.
#[derive(Clone, Debug, PartialEq)]
pub enum Next<S> {
    /// A whole commit.
    Commit(CommitHead, Vec<S>),
    /// What was missed at this place.
    Missed(Missed),
    /// Nothing yet.
    Empty,
    /// Nothing, and nothing will come.
    Ended,
}

/// The worker's end.
pub struct Feed<S: Copy> {
    /// Gone once it is dropped.
    sender: Option<LaneSender<Piece<S>>>,
    shared: Arc<Shared>,
    /// Places for [`Piece::Missed`] and [`Piece::Commit`], then the samples of the running commit as far as they fit.
    staged: Vec<Piece<S>>,
    /// The largest commit since [`Feed::settle`] looked last, in pieces.
    largest: usize,
    /// Samples of the running commit that do not.
    beyond: u64,
    /// Not told yet.
    missed: Missed,
}

/// The reader's end. Dropping it ends the subscription.
pub struct Inbox<S: Copy> {
    receiver: LaneReceiver<Piece<S>>,
    shared: Arc<Shared>,
}

/// Beside the ring.
struct Shared {
    news: WaitList,
    /// What was missed and had no room in the ring when the feed ended.
    untold: Mutex<Missed>,
}

/// Both ends of a ring of `capacity` pieces: a sample takes one, and a commit one more.
pub fn feed<S: Copy>(capacity: usize) -> (Feed<S>, Inbox<S>) {
    let (sender, receiver) = lane(capacity);
    let shared = Arc::new(Shared { news: WaitList::new(), untold: Mutex::new(Missed::default()) });
    let staged = Feed::first_places();
    let (largest, beyond, missed) = (0, 0, Missed::default());
    let feed = Feed { sender: Some(sender), shared: Arc::clone(&shared), staged, largest, beyond, missed };
    (feed, Inbox { receiver, shared })
}

impl<S: Copy> Feed<S> {
    const PLACES: usize = 2;
    /// Pieces of a small commit.
    const STAGED_AT_REST: usize = 256;

    fn first_places() -> Vec<Piece<S>> {
        vec![Piece::Missed(Missed::default()); Self::PLACES]
    }

    fn sender(&mut self) -> &mut LaneSender<Piece<S>> {
        self.sender.as_mut().expect("there until the feed is dropped")
    }

    /// Adds a sample to the running commit.
    #[inline]
    pub fn stage(&mut self, sample: S) {
        if self.staged.len() == self.staged.capacity() && !self.grow() {
            self.beyond += 1;
        } else {
            self.staged.push(Piece::Sample(sample));
        }
    }

    /// Makes room in the stage. More than the ring holds is only counted: memory is bounded by it.
    #[cold]
    fn grow(&mut self) -> bool {
        let (len, max) = (self.staged.len(), self.staged_max());
        let more = len.max(Self::STAGED_AT_REST).min(max.saturating_sub(len));
        // Exactly: to grow by as much as there is would be twice the ring.
        self.staged.reserve_exact(more);
        more > 0
    }

    /// Between commits, once in a while: gives back what the commits since the last time had no need of.
    pub fn settle(&mut self) {
        let needed = std::mem::take(&mut self.largest).max(Self::STAGED_AT_REST);
        if self.staged.capacity() > 2 * needed {
            self.staged.shrink_to(needed);
        }
    }

    /// What the stage takes, in pieces.
    #[cfg(all(test, not(loom)))]
    fn staged_capacity(&self) -> usize {
        self.staged.capacity()
    }

    fn staged_max(&self) -> usize {
        self.sender.as_ref().map_or(0, LaneSender::capacity) + Self::PLACES - 1
    }

    /// Whether the running commit holds anything for the reader.
    pub fn has_staged(&self) -> bool {
        self.staged.len() > Self::PLACES
    }

    /// Samples of the running commit.
    fn staged_samples(&self) -> u64 {
        (self.staged.len() - Self::PLACES) as u64 + self.beyond
    }

    /// Offers the running commit, which is visible (U2), whole: with what was missed before in front. Where there is
    /// no room, `hold` waits a moment and says whether to try again. Answers what the reader misses of it.
    pub fn offer(&mut self, first: u64, end: u64, mut hold: impl FnMut() -> bool) -> Missed {
        if !self.has_staged() {
            return Missed::default();
        }
        let samples = self.staged_samples();
        self.staged[0] = Piece::Missed(self.missed);
        self.staged[1] = Piece::Commit(CommitHead { first, end, samples });
        let from = usize::from(self.missed == Missed::default());
        let staged = std::mem::take(&mut self.staged);
        let fits = self.beyond == 0 && staged.len() - from <= self.sender().capacity();
        let told = loop {
            if fits && self.sender().push_slice(&staged[from..]).is_ok() {
                break true;
            }
            if !fits || self.is_gone() || !hold() {
                break false;
            }
        };
        self.largest = self.largest.max(staged.len());
        self.staged = staged;
        self.staged.truncate(Self::PLACES);
        self.beyond = 0;
        if told {
            self.missed = Missed::default();
            self.tell();
            return Missed::default();
        }
        weakenable_step!("feed_missed", {
            self.missed.commits += 1;
            self.missed.samples += samples;
        });
        Missed { commits: 1, samples }
    }

    /// Tells the reader what he missed as soon as there is room for that, even if no commit follows (U3).
    pub fn tell_missed(&mut self) {
        let missed = self.missed;
        if missed != Missed::default() && self.sender().push(Piece::Missed(missed)).is_ok() {
            self.missed = Missed::default();
            self.tell();
        }
    }

    fn tell(&self) {
        weakenable_step!("feed_told", self.shared.news.reached(0));
    }

    /// Whether the reader ended the subscription.
    pub fn is_gone(&self) -> bool {
        self.sender.as_ref().is_none_or(LaneSender::is_severed)
    }
}

impl<S: Copy> Drop for Feed<S> {
    fn drop(&mut self) {
        self.tell_missed();
        *lock(&self.shared.untold) = self.missed;
        // Closed first, then told (U4).
        drop(self.sender.take());
        weakenable_step!("feed_ended", self.shared.news.wake_all());
    }
}

impl<S: Copy> Inbox<S> {
    /// What comes next. Takes no lock before the end.
    pub fn next(&mut self) -> Next<S> {
        if self.receiver.ready() == 0 {
            let ended = self.receiver.observe();
            if self.receiver.ready() == 0 {
                return if ended { self.ended() } else { Next::Empty };
            }
        }
        match self.receiver.pop() {
            Some(Piece::Missed(missed)) => Next::Missed(missed),
            Some(Piece::Commit(head)) => {
                let mut samples = Vec::with_capacity(head.samples as usize);
                self.receiver.take(head.samples as usize, |pieces| {
                    samples.extend(pieces.iter().filter_map(|piece| match piece {
                        Piece::Sample(sample) => Some(*sample),
                        Piece::Missed(_) | Piece::Commit(_) => None,
                    }));
                });
                debug_assert_eq!(samples.len() as u64, head.samples, "published with its head (R5)");
                Next::Commit(head, samples)
            }
            Some(Piece::Sample(_)) | None => unreachable!("a commit begins with its head"),
        }
    }

    /// Nothing is in the ring, and nothing comes: what was missed last, then the end.
    fn ended(&self) -> Next<S> {
        match std::mem::take(&mut *lock(&self.shared.untold)) {
            missed if missed == Missed::default() => Next::Ended,
            missed => Next::Missed(missed),
        }
    }

    /// Registers before the caller looks again with [`Self::next`] (N1).
    pub fn register(&self, waker: &Waker) -> Ticket {
        self.shared.news.register(0, waker)
    }

    /// Withdraws a registration that may have been used up.
    pub fn withdraw(&self, ticket: Ticket) {
        self.shared.news.withdraw(ticket);
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn offer(feed: &mut Feed<u32>, samples: std::ops::Range<u32>) -> Missed {
        samples.clone().for_each(|s| feed.stage(s));
        feed.offer(u64::from(samples.start), u64::from(samples.end), || false)
    }

    fn head(samples: std::ops::Range<u32>) -> CommitHead {
        CommitHead { first: samples.start.into(), end: samples.end.into(), samples: samples.len() as u64 }
    }

    #[test]
    fn commits_come_whole_and_what_did_not_fit_is_counted_in_its_place() {
        let (mut feed, mut inbox) = feed(8);
        assert_eq!(inbox.next(), Next::Empty);
        assert_eq!(offer(&mut feed, 0..3), Missed::default());
        assert_eq!(offer(&mut feed, 3..6), Missed::default());
        assert_eq!(offer(&mut feed, 6..7), Missed { commits: 1, samples: 1 }, "full");
        assert_eq!(offer(&mut feed, 7..27), Missed { commits: 1, samples: 20 }, "never fits");
        assert_eq!(offer(&mut feed, 27..27), Missed::default(), "a commit without a sample is none");
        feed.tell_missed();
        assert_eq!(inbox.next(), Next::Commit(head(0..3), vec![0, 1, 2]));
        assert_eq!(offer(&mut feed, 27..29), Missed::default());
        assert_eq!(inbox.next(), Next::Commit(head(3..6), vec![3, 4, 5]));
        assert_eq!(inbox.next(), Next::Missed(Missed { commits: 2, samples: 21 }));
        assert_eq!(inbox.next(), Next::Commit(head(27..29), vec![27, 28]));
        assert_eq!(offer(&mut feed, 0..7), Missed::default());
        assert_eq!(offer(&mut feed, 0..9), Missed { commits: 1, samples: 9 });
        drop(feed);
        assert!(matches!(inbox.next(), Next::Commit(_, samples) if samples.len() == 7));
        assert_eq!(inbox.next(), Next::Missed(Missed { commits: 1, samples: 9 }), "though nothing follows");
        assert_eq!(inbox.next(), Next::Ended);
    }

    #[test]
    fn a_commit_that_fills_the_ring_fits_and_one_more_sample_does_not() {
        let (mut feed, mut inbox) = feed(8);
        assert_eq!(offer(&mut feed, 0..7), Missed::default());
        assert!(matches!(inbox.next(), Next::Commit(_, samples) if samples.len() == 7));
        assert_eq!(offer(&mut feed, 0..8), Missed { commits: 1, samples: 8 });
        // The count of what was missed takes a place too.
        assert_eq!(offer(&mut feed, 0..7), Missed { commits: 1, samples: 7 });
        feed.tell_missed();
        assert_eq!(inbox.next(), Next::Missed(Missed { commits: 2, samples: 15 }));
        assert_eq!(offer(&mut feed, 0..7), Missed::default());
    }

    /// Twice as much as the ring itself, for as long as the subscription lived.
    #[test]
    fn what_a_subscription_keeps_is_bounded_by_its_ring_and_given_back() {
        const RING: u32 = 1 << 12;
        let (mut feed, mut inbox) = feed(RING as usize);
        for samples in [RING / 2 + 1, RING - 1, RING, 3 * RING] {
            offer(&mut feed, 0..samples);
            assert!(feed.staged_capacity() <= RING as usize + 1, "{} for {samples}", feed.staged_capacity());
            while inbox.next() != Next::Empty {}
        }
        feed.settle();
        assert!(feed.staged_capacity() >= RING as usize, "commits are as large");
        offer(&mut feed, 0..3);
        feed.settle();
        assert!(feed.staged_capacity() <= 256, "{} at rest", feed.staged_capacity());
    }

    #[test]
    fn a_reader_who_left_is_known_and_one_who_is_held_for_gets_everything() {
        let (mut feed, mut inbox) = feed(4);
        offer(&mut feed, 0..3);
        feed.stage(9);
        let mut got = vec![];
        assert_eq!(
            feed.offer(3, 4, || {
                got.push(inbox.next());
                true
            }),
            Missed::default()
        );
        assert_eq!(got.len(), 1);
        assert_eq!(inbox.next(), Next::Commit(head(3..4), vec![9]));
        drop(inbox);
        assert!(feed.is_gone());
        assert_eq!(offer(&mut feed, 4..5).commits, 1);
    }
}
