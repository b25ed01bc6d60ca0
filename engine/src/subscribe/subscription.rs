//! What a reader holds.

use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use tidegauge_query::promql::{self, ParseError};
use tidegauge_storage::model::{Labels, SeqNo};

use super::{Feeds, Inbox, Missed, NewFeed, Next, feed};
use crate::core::{Core, SeriesSample};
use crate::error::Poisoned;
use crate::gate::Shut;
use crate::ingest::Request;
use crate::registry::SeriesId;
use crate::requests::{NoReply, NotAsked, reply};
use crate::sync::thread;
use crate::wait::Ticket;

/// What happens when a reader is behind by the whole ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lag {
    /// He misses whole commits, and is told how many ([`Delivery::Missed`]). Nobody waits for him.
    Miss,
    /// The ingest worker, and so every appender, is held up for at most this long at a time; then he misses, and is
    /// not held for again until he has caught up with a commit. For a commit that never fits nobody waits.
    Hold(Duration),
}

/// How a subscription is to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SubscribeOptions {
    /// Room for samples not yet taken, rounded up to a power of two, 2 to 4,194,304; each takes 32 bytes. A commit
    /// takes one more, and another one if something was missed before it; one that never fits is missed, however fast
    /// the reader. A commit has 65,536 samples at most, those that are not selected included, unless lanes are longer
    /// ([`Builder::lane_samples`](crate::Builder::lane_samples)): then a lane's.
    pub samples: usize,
    /// What happens when there is no room.
    pub lag: Lag,
}

impl Default for SubscribeOptions {
    /// 131,072 samples (4 MiB), so that every commit of an engine with lanes as they are by default fits, and a slow
    /// reader misses.
    fn default() -> Self {
        Self { samples: 1 << 17, lag: Lag::Miss }
    }
}

/// Why there is no subscription.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SubscribeError {
    /// The selector does not parse; the message points at the place.
    #[error(transparent)]
    Parse(#[from] ParseError),
    /// As many subscriptions as are possible. Drop one.
    #[error("{limit} subscriptions exist already: drop one")]
    TooMany {
        /// The limit.
        limit: usize,
    },
    /// The worker has too much to do. Subscribe again later.
    #[error("the ingest worker did not take the subscription in time: subscribe again later")]
    Timeout,
    /// A waker asked, on a thread of the engine, which would have to take it. Subscribe from another thread.
    #[error("a waker cannot subscribe: subscribe from another thread")]
    InWaker,
    /// The engine was closed. Open it again.
    #[error("the engine is closed: open it again")]
    Closed,
    /// Opened read-only: nothing will come. Open it to write, or refresh it and take snapshots.
    #[error("the engine was opened read-only, nothing will come: open it to write, or refresh it and take snapshots")]
    ReadOnly,
    /// The engine stopped writing.
    #[error(transparent)]
    Poisoned(#[from] Poisoned),
}

/// Why nothing was received.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RecvError {
    /// Nothing came in time. Wait again.
    #[error("nothing came within {waited:?}: wait again")]
    Timeout {
        /// How long was waited.
        waited: Duration,
    },
    /// A waker asked, on a thread of the engine, and there is nothing yet: it would wait for itself. Poll for it
    /// ([`Subscription::poll_recv`]), or receive on another thread.
    #[error("nothing is there, and a waker cannot wait for it: poll, or receive on another thread")]
    InWaker,
    /// The engine was closed, and everything was received. Open it again, and subscribe anew.
    #[error("the engine is closed, and everything was received: open it again, and subscribe anew")]
    Closed,
    /// The engine stopped writing, and everything was received.
    #[error(transparent)]
    Poisoned(#[from] Poisoned),
}

/// What a subscription brings.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Delivery {
    /// The samples of one commit that the selector selects, in the order of acceptance: all of them. A snapshot taken
    /// now holds them.
    Commit {
        /// Number of the commit's first sample, selected or not.
        first: SeqNo,
        /// The number behind its last one. A [`Snapshot`](crate::Snapshot) whose `watermark` is at or above it holds
        /// the commit.
        end: SeqNo,
        /// At least one.
        samples: Vec<SeriesSample>,
    },
    /// Here the reader was too slow, or a commit never fits ([`SubscribeOptions::samples`]): exactly this much is missing.
    Missed {
        /// Commits.
        commits: u64,
        /// Samples in them that the selector selects.
        samples: u64,
    },
}

/// Follows the samples of a selector, commit by commit. One reader; dropping it ends it.
pub struct Subscription {
    core: Arc<Core>,
    inbox: Inbox<SeriesSample>,
    start: u64,
    ticket: Option<Ticket>,
}

/// How long a new subscription waits for the worker.
const START_PATIENCE: Duration = Duration::from_secs(10);
const SAMPLES_MAX: usize = 1 << 22;

pub(crate) fn subscribe(
    core: &Arc<Core>,
    selector: &str,
    options: SubscribeOptions,
) -> Result<Subscription, SubscribeError> {
    subscribe_within(core, selector, options, START_PATIENCE)
}

/// As [`subscribe`], where the worker has room for it within `patience`, and takes it within as much again.
pub(crate) fn subscribe_within(
    core: &Arc<Core>,
    selector: &str,
    options: SubscribeOptions,
    patience: Duration,
) -> Result<Subscription, SubscribeError> {
    let matchers = promql::parse_selector(selector)?;
    match core.gate.why_shut() {
        Some(Shut::ReadOnly) => return Err(SubscribeError::ReadOnly),
        Some(Shut::Poisoned(poisoned)) => return Err(poisoned.into()),
        Some(Shut::Closed | Shut::Short(_)) | None => {}
    }
    if core.is_own_thread() {
        return Err(SubscribeError::InWaker);
    }
    let gone = || core.gate.poisoned().map_or(SubscribeError::Closed, SubscribeError::Poisoned);
    let (feed, inbox) = feed(options.samples.clamp(2, SAMPLES_MAX));
    let (replier, mut started) = reply();
    let request = Request::Subscribe(NewFeed { feed, matchers, lag: options.lag, started: replier });
    let asked = core.ask(request, 1, patience).map_err(|e| match e {
        NotAsked::Full => SubscribeError::Timeout,
        NotAsked::Closed => gone(),
    })?;
    let start = match started.wait(Some(patience)) {
        Err(NoReply::Timeout) if core.requests.withdraw(asked).is_some() => {
            core.counters.wait_timed_out();
            return Err(SubscribeError::Timeout);
        }
        // Taken in the meantime, its answer is on the way.
        Err(NoReply::Timeout) => started.wait(None),
        answer => answer,
    };
    let start = start.map_err(|_| gone())?.ok_or(SubscribeError::TooMany { limit: Feeds::MAX })?;
    Ok(Subscription { core: Arc::clone(core), inbox, start, ticket: None })
}

impl Subscription {
    /// The number it starts at: what is accepted from here on is delivered; what was accepted before is in every
    /// snapshot taken by now.
    #[must_use]
    pub fn start(&self) -> SeqNo {
        SeqNo(self.start)
    }

    /// The labels of a delivered sample's series; `None` if it was evicted since, which takes
    /// [`Builder::series_idle`](crate::Builder::series_idle) at least.
    #[must_use]
    pub fn labels(&self, series: SeriesId) -> Option<Labels> {
        self.core.registry().slots().labels_of(series)
    }

    /// The next delivery, if there is one by now.
    ///
    /// # Errors
    /// [`RecvError::Closed`] or [`RecvError::Poisoned`] when nothing will come.
    pub fn try_recv(&mut self) -> Result<Option<Delivery>, RecvError> {
        match self.inbox.next() {
            Next::Commit(head, samples) => {
                Ok(Some(Delivery::Commit { first: SeqNo(head.first), end: SeqNo(head.end), samples }))
            }
            Next::Missed(Missed { commits, samples }) => Ok(Some(Delivery::Missed { commits, samples })),
            // In a child of the process nothing comes any more.
            Next::Empty => Ok(self.core.gate.not_in_child().map(|()| None)?),
            Next::Ended => Err(self.core.gate.poisoned().map_or(RecvError::Closed, RecvError::Poisoned)),
        }
    }

    /// The next delivery; waits for at most `timeout`.
    ///
    /// # Errors
    /// [`RecvError`].
    pub fn recv(&mut self, timeout: Duration) -> Result<Delivery, RecvError> {
        if let Some(delivery) = self.try_recv()? {
            return Ok(delivery);
        }
        if self.core.is_own_thread() && !timeout.is_zero() {
            return Err(RecvError::InWaker);
        }
        let waker = Waker::from(Arc::new(Unpark(thread::current())));
        let began = Instant::now();
        loop {
            if let Poll::Ready(delivery) = self.poll_recv(&mut Context::from_waker(&waker)) {
                return delivery;
            }
            let left = timeout.saturating_sub(began.elapsed());
            if left.is_zero() {
                self.withdraw();
                return Err(RecvError::Timeout { waited: timeout });
            }
            thread::park_timeout(left);
        }
    }

    /// The next delivery, for tasks: registers the waker if there is none yet.
    ///
    /// # Errors
    /// As [`Self::try_recv`].
    pub fn poll_recv(&mut self, context: &mut Context<'_>) -> Poll<Result<Delivery, RecvError>> {
        if self.core.gate.is_forked() {
            // What is left of what was delivered; to register would lock.
            return Poll::Ready(self.try_recv().map(|delivery| delivery.expect("nothing comes in a child")));
        }
        // Registered, then looked (N1).
        self.withdraw();
        self.ticket = Some(self.inbox.register(context.waker()));
        match self.try_recv() {
            Ok(None) => Poll::Pending,
            Ok(Some(delivery)) => {
                self.withdraw();
                Poll::Ready(Ok(delivery))
            }
            Err(e) => Poll::Ready(Err(e)),
        }
    }

    fn withdraw(&mut self) {
        if let Some(ticket) = self.ticket.take() {
            self.inbox.withdraw(ticket);
        }
    }
}

impl std::fmt::Debug for Subscription {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Subscription").field("start", &self.start).finish_non_exhaustive()
    }
}

struct Unpark(thread::Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}
