//! Waiting for a push: blocking, or as a future.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use tidegauge_storage::model::SeqNo;

use super::{Target, Ticket};
use crate::appender::Ack;
use crate::core::Core;
use crate::error::WaitError;
use crate::gate::Shortage;
use crate::options::Level;
use crate::ring::{LaneId, LaneWatch};
use crate::sync::thread;

/// Who waits for the device without a bound of his own looks so often whether a sync may open no file: what passes by itself
/// meanwhile is not told, as a rule.
const SHORT_FOR: Duration = Duration::from_millis(if cfg!(test) { 20 } else { 1_000 });

/// A push into a lane, and the look at how far that lane has come.
#[derive(Clone)]
pub(crate) struct Pushed {
    id: LaneId,
    lane: LaneWatch,
    position: u64,
}

/// A lane becomes visible in its order.
impl Target for Pushed {
    type Line = LaneId;

    fn line(&self) -> LaneId {
        self.id
    }

    fn place(&self) -> u64 {
        self.position
    }
}

impl Pushed {
    /// A visible sequence number at or above those of the push, once it is visible.
    pub(crate) fn visible_seq(&self) -> Option<u64> {
        let progress = self.lane.progress();
        (progress.visible_position >= self.position).then_some(progress.visible_seq)
    }
}

/// How far a wait has come: first visible, then durable.
enum Stage {
    Visible(Pushed),
    Durable { seq: u64 },
}

/// One wait for one push.
struct Wait {
    core: Arc<Core>,
    /// The push was made to this engine.
    own: bool,
    stage: Stage,
    level: Level,
    ticket: Option<Ticket>,
}

impl Wait {
    fn new(core: Arc<Core>, ack: Ack, level: Level) -> Self {
        let stage = match ack.lane {
            // Not even looked up: a thread of the parent may hold the lanes for ever.
            _ if core.gate.is_forked() => Stage::Durable { seq: u64::MAX },
            // A batch is visible once its commit answers; the position is the number behind it.
            LaneId::NONE => Stage::Durable { seq: ack.position },
            id => match core.rings.watch(id) {
                Some(lane) => Stage::Visible(Pushed { id, lane, position: ack.position }),
                // The lane is retired: all of it is visible.
                None => Stage::Durable { seq: core.watermark.seq() },
            },
        };
        let own = ack.tag == core.tag;
        Self { core, own, stage, level, ticket: None }
    }

    /// The answer, if there is one by now.
    fn answer(&mut self) -> Option<Result<SeqNo, WaitError>> {
        if let Err(poisoned) = self.core.gate.not_in_child() {
            return Some(Err(poisoned.into()));
        }
        if !self.own {
            return Some(Err(WaitError::OtherEngine));
        }
        if self.level == Level::Durable && !self.core.durability.logs() {
            return Some(Err(WaitError::NotDurable));
        }
        // Before the look: what came before the end is seen by the look.
        let ended = self.core.has_ended();
        if let Stage::Visible(pushed) = &self.stage {
            let Some(seq) = pushed.visible_seq() else { return self.hopeless(ended) };
            if self.level == Level::Visible {
                return Some(Ok(SeqNo(seq)));
            }
            self.withdraw();
            self.stage = Stage::Durable { seq };
        }
        let Stage::Durable { seq } = self.stage else { return None };
        if self.level == Level::Visible {
            return Some(Ok(SeqNo(seq)));
        }
        if self.core.durable.seq() >= seq { Some(Ok(SeqNo(seq))) } else { self.hopeless(ended) }
    }

    /// The error, if what is waited for will never come, or not before there is space (N5).
    fn hopeless(&self, ended: bool) -> Option<Result<SeqNo, WaitError>> {
        if let Some(poisoned) = self.core.gate.poisoned() {
            return Some(Err(poisoned.into()));
        }
        if ended {
            return Some(Err(WaitError::Closed));
        }
        let in_lane = matches!(self.stage, Stage::Visible(_));
        let short = self.core.keeps_waiting().filter(|_| in_lane);
        short.map(|short| Err(short.into()))
    }

    /// Looks, registers, looks again: what comes in between is not lost (N1).
    fn poll(&mut self, waker: &Waker) -> Option<Result<SeqNo, WaitError>> {
        self.withdraw();
        loop {
            if let Some(answer) = self.answer() {
                return Some(answer);
            }
            if self.ticket.is_some() {
                self.core.wake_worker();
                return None;
            }
            self.ticket = Some(match &self.stage {
                Stage::Visible(pushed) if self.level == Level::Visible => {
                    self.core.visible_waiters.register(pushed.clone(), waker)
                }
                Stage::Visible(pushed) => self.core.durable_waiters.register_push(pushed.clone(), waker),
                Stage::Durable { seq } => self.core.durable_waiters.register(*seq, waker),
            });
        }
    }

    fn withdraw(&mut self) {
        if let Some(ticket) = self.ticket.take().filter(|_| !self.core.gate.is_forked()) {
            match self.level {
                Level::Visible => drop(self.core.visible_waiters.withdraw(ticket)),
                Level::Durable => self.core.durable_waiters.withdraw(ticket),
            }
        }
    }
}

impl Drop for Wait {
    fn drop(&mut self) {
        self.withdraw();
    }
}

struct Unpark(thread::Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Blocks until the push has reached `level`, at most `timeout`.
pub(crate) fn block(core: &Arc<Core>, ack: Ack, level: Level, timeout: Duration) -> Result<SeqNo, WaitError> {
    let mut wait = Wait::new(Arc::clone(core), ack, level);
    if let Some(answer) = wait.answer() {
        return answer;
    }
    if core.is_own_thread() && !timeout.is_zero() {
        return Err(WaitError::InWaker);
    }
    // A commit takes less than putting a thread to sleep and waking it; an fdatasync takes longer than a moment.
    if level == Level::Visible && !timeout.is_zero() {
        core.wake_worker();
        if let Some(answer) = core.looks.find(&core.yields, || wait.answer()) {
            return answer;
        }
    }
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let started = Instant::now();
    loop {
        if let Some(answer) = wait.poll(&waker) {
            return answer;
        }
        let left = timeout.saturating_sub(started.elapsed());
        if left.is_zero() {
            core.counters.wait_timed_out();
            return Err(WaitError::Timeout { waited: timeout });
        }
        thread::park_timeout(left);
    }
}

/// Why [`block_durable`] has not waited on.
pub(crate) enum NotDurable {
    /// A sync of the log waits for this, and goes on by itself once it is there, or the next opening does: what is waited for
    /// becomes durable then.
    Short(Shortage),
    Ended(WaitError),
}

/// Blocks until everything below `seq`, which has left the process, is durable: as long as that takes, but for a sync that
/// may open no file (N5).
pub(crate) fn block_durable(core: &Arc<Core>, seq: u64) -> Result<SeqNo, NotDurable> {
    let stage = Stage::Durable { seq };
    let mut wait = Wait { core: Arc::clone(core), own: true, stage, level: Level::Durable, ticket: None };
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut looked = Instant::now();
    loop {
        if let Some(answer) = wait.poll(&waker) {
            return answer.map_err(|ended| match core.gate.sync_waits() {
                // The close has given the sync up (X13), and what is waited for is in the log.
                Some(short) if matches!(ended, WaitError::Closed) => NotDurable::Short(short),
                _ => NotDurable::Ended(ended),
            });
        }
        // Nobody is woken for it, since it may last for a moment only.
        if looked.elapsed() >= SHORT_FOR {
            if let Some(short) = core.gate.sync_waits() {
                return Err(NotDurable::Short(short));
            }
            looked = Instant::now();
        }
        thread::park_timeout(SHORT_FOR.saturating_sub(looked.elapsed()));
    }
}

/// Resolves when a push has reached a level: [`Engine::wait_async`](crate::Engine::wait_async).
#[must_use = "a future does nothing until it is polled"]
pub struct AckFuture(Wait);

impl AckFuture {
    pub(crate) fn new(core: Arc<Core>, ack: Ack, level: Level) -> Self {
        Self(Wait::new(core, ack, level))
    }
}

impl Future for AckFuture {
    type Output = Result<SeqNo, WaitError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match self.0.poll(context.waker()) {
            Some(answer) => Poll::Ready(answer),
            None => Poll::Pending,
        }
    }
}

impl std::fmt::Debug for AckFuture {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AckFuture").field("level", &self.0.level).finish_non_exhaustive()
    }
}
