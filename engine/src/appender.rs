//! A collector's handle.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tidegauge_storage::model::Timestamp;

use crate::core::{Core, SeriesSample};
use crate::error::PushError;
use crate::evict::Seen;
use crate::registry::SeriesId;
use crate::ring::{BackPressure, CommonSender, LaneId, LaneSender, Refused};
use crate::stats::Counters;

/// Where a push stands in its lane: what [`Engine::wait`](crate::Engine::wait) takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ack {
    pub(crate) lane: LaneId,
    /// Behind the last sample of the push.
    pub(crate) position: u64,
    /// Of the engine that gave it.
    pub(crate) tag: u32,
}

/// A collector's own lane into the engine, one a thread.
///
/// A push takes no lock, makes no system call and allocates nothing; only if its policy says so and the lane is full,
/// it wakes the worker and waits. Samples of one appender keep their order.
/// Dropping it closes the lane; what was pushed still arrives.
pub struct Appender {
    core: Arc<Core>,
    lane: LaneSender<SeriesSample>,
    pressure: BackPressure,
    pushes: u32,
    /// Of evictions.
    seen: Seen,
}

impl Appender {
    pub(crate) fn new(core: Arc<Core>, lane: LaneSender<SeriesSample>, pressure: BackPressure) -> Self {
        let seen = Seen::new(&core.heads.tags, &lane);
        Self { core, lane, pressure, pushes: Counters::PUSH_EVERY - Counters::PUSH_FIRST, seen }
    }

    /// Pushes one sample. About 10 ns.
    ///
    /// # Errors
    /// [`PushError`]; the sample was not taken.
    #[inline]
    pub fn push(&mut self, series: SeriesId, timestamp: Timestamp, value: f64) -> Result<Ack, PushError> {
        let sample = SeriesSample::new(series, timestamp, value);
        let is_known = self.seen.knows(&self.core.heads.tags, &self.lane, series.slot, series.tag);
        if !is_known || !self.core.gate.admits(timestamp.nanos()) {
            check(&self.core, is_known, &sample)?;
        }
        self.timed(|lane| lane.push(sample), |lane, pressure| lane.push_under(pressure, sample))
    }

    /// Pushes a batch: all of it, or nothing. One claim for the whole batch. It becomes visible together; what is not
    /// durable yet a crash may cut in the middle. Where it must not, use [`Engine::batch`](crate::Engine::batch).
    ///
    /// # Errors
    /// [`PushError`]; nothing of the batch was taken.
    #[inline]
    pub fn push_batch(&mut self, samples: &[SeriesSample]) -> Result<Ack, PushError> {
        let turn = self.seen.refresh(&self.core.heads.tags, &self.lane);
        check_all(&self.core, turn, samples)?;
        self.timed(|lane| lane.push_slice(samples), |lane, pressure| lane.push_slice_under(pressure, samples))
    }

    /// As a push does that has checked its ids before.
    #[cfg(test)]
    pub(crate) fn push_unchecked(&mut self, samples: &[SeriesSample]) -> Ack {
        let position = self.lane.push_slice(samples).expect("there is room");
        self.ack(position)
    }

    #[inline]
    fn ack(&self, position: u64) -> Ack {
        Ack { lane: self.lane.id(), position, tag: self.core.tag }
    }

    #[inline]
    fn timed(
        &mut self,
        push: impl FnOnce(&mut LaneSender<SeriesSample>) -> Result<u64, Refused>,
        under: impl FnOnce(&mut LaneSender<SeriesSample>, BackPressure) -> Result<u64, Refused>,
    ) -> Result<Ack, PushError> {
        self.pushes = self.pushes.wrapping_add(1);
        if self.pushes.is_multiple_of(Counters::PUSH_EVERY) {
            return self.push_with_a_clock(push, under);
        }
        match push(&mut self.lane) {
            Ok(position) => Ok(self.ack(position)),
            Err(_) => self.push_again(under),
        }
    }

    #[cold]
    fn push_with_a_clock(
        &mut self,
        push: impl FnOnce(&mut LaneSender<SeriesSample>) -> Result<u64, Refused>,
        under: impl FnOnce(&mut LaneSender<SeriesSample>, BackPressure) -> Result<u64, Refused>,
    ) -> Result<Ack, PushError> {
        // Nobody takes anything out of the lane of a child of the process; a look at each push would be felt.
        if let Err(poisoned) = self.core.gate.not_in_child() {
            // The next one comes here, too.
            self.pushes = self.pushes.wrapping_sub(1);
            return Err(poisoned.into());
        }
        let started = Instant::now();
        let pushed = match push(&mut self.lane) {
            Ok(position) => Ok(self.ack(position)),
            Err(_) => self.push_again(under),
        };
        self.core.counters.push.record(started.elapsed());
        pushed
    }

    /// The lane was full, or worse: once more, as the policy says.
    #[cold]
    fn push_again(
        &mut self,
        under: impl FnOnce(&mut LaneSender<SeriesSample>, BackPressure) -> Result<u64, Refused>,
    ) -> Result<Ack, PushError> {
        self.core.gate.not_in_child()?;
        let (pressure, capacity) = (may_wait(&self.core, self.pressure), self.lane.capacity());
        wake_before_waiting(&self.core, pressure);
        match under(&mut self.lane, pressure) {
            Ok(position) => Ok(self.ack(position)),
            Err(refused) => Err(refusal(&self.core, refused, pressure, capacity)),
        }
    }

    /// Samples that fit into the lane, and so into a batch.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.lane.capacity()
    }
}

impl std::fmt::Debug for Appender {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Appender").field("lane", &self.lane.id()).field("pressure", &self.pressure).finish()
    }
}

/// A push by a thread without an appender, through the common lane.
pub(crate) fn push_common(
    core: &Core,
    lane: &CommonSender<SeriesSample>,
    samples: &[SeriesSample],
    mut pressure: BackPressure,
) -> Result<Ack, PushError> {
    let tags = &core.heads.tags;
    let judge = || {
        let turn = tags.turn_seen();
        check_all(core, turn, samples).map(|()| turn)
    };
    let (mut turn, mut unfit) = (judge()?, None);
    let mut push = || loop {
        // Ids that were judged before an eviction do not get behind the bar that it lays across the lane (V4).
        match lane.push_slice_if(samples, || tags.turn() == turn) {
            Err(Refused::Outdated) => {}
            answer => return answer,
        }
        match judge() {
            Ok(now) => turn = now,
            Err(why) => {
                unfit = Some(why);
                return Err(Refused::Outdated);
            }
        }
    };
    let pushed = match push() {
        Err(Refused::Full) => {
            pressure = may_wait(core, pressure);
            wake_before_waiting(core, pressure);
            lane.when_full(pressure, samples.len(), push)
        }
        answer => answer,
    };
    if let Some(unfit) = unfit {
        return Err(unfit);
    }
    pushed
        .map(|position| Ack { lane: LaneId::COMMON, position, tag: core.tag })
        .map_err(|refused| refusal(core, refused, pressure, lane.capacity()))
}

/// Ids are judged by what was evicted up to `turn`.
#[inline]
pub(crate) fn check_all(core: &Core, turn: u32, samples: &[SeriesSample]) -> Result<(), PushError> {
    // A sample is plain bytes to whoever pushes it: its slot may be anything.
    core.gate.not_in_child()?;
    let knows = core.heads.tags.knowing(turn);
    let is_known = |s: &SeriesSample| knows(s.0.series, s.0.tag);
    let fine = |s: &SeriesSample| is_known(s) && core.gate.admits(s.0.timestamp);
    if samples.iter().all(fine) { Ok(()) } else { samples.iter().try_for_each(|s| check(core, is_known(s), s)) }
}

/// A thread of the engine does not wait for room, which it may be to make itself.
fn may_wait(core: &Core, pressure: BackPressure) -> BackPressure {
    match pressure {
        BackPressure::Block(_) if core.is_own_thread() => BackPressure::Reject,
        other => other,
    }
}

/// Whoever waits for room must not wait for the worker's nap, too.
fn wake_before_waiting(core: &Core, pressure: BackPressure) {
    if let BackPressure::Block(_) = pressure {
        core.wake_worker();
    }
}

#[cold]
fn check(core: &Core, is_known: bool, sample: &SeriesSample) -> Result<(), PushError> {
    if !is_known {
        return Err(PushError::StaleSeries);
    }
    if core.gate.admits(sample.0.timestamp) {
        return Ok(());
    }
    let labels = || core.registry().slots().labels_of(sample.series());
    let Some(refusal) = core.gate.refusal(sample.0.timestamp, labels) else { return Ok(()) };
    if matches!(refusal, PushError::TooFarAhead { .. }) {
        core.counters.refused_ahead();
    }
    Err(refusal)
}

#[cold]
fn refusal(core: &Core, refused: Refused, pressure: BackPressure, capacity: usize) -> PushError {
    match (refused, pressure) {
        (Refused::Full, BackPressure::Block(waited)) if waited > Duration::ZERO => {
            core.counters.wait_timed_out();
            PushError::Timeout { waited }
        }
        (Refused::Full, _) => PushError::Full,
        (Refused::Dropped, _) => PushError::Dropped,
        (Refused::TooLong, _) => PushError::BatchTooLarge { limit: capacity },
        // Who judges anew says himself what he found.
        (Refused::Closed | Refused::Outdated, _) => core.gate.poisoned().map_or(PushError::Closed, PushError::Poisoned),
    }
}
