//! One eviction: found and prepared beside the worker, judged and done by it between two commits.

use std::collections::HashMap;
use std::ops::Range;
use std::time::{Duration, Instant};

use crate::core::Core;
use crate::ingest::Request;
use crate::memtable::HeadTable;
use crate::registry::{Rebuild, Registry, SLOTS_BEYOND};
use crate::requests::{Replier, reply};
use crate::sync::{Arc, lock};
use crate::version::Version;

/// Series that the worker judges between two commits: some 100 ns each.
const SLICE: usize = if cfg!(test) { 4 } else { 1 << 10 };
/// Evicted series that may be remembered for what is still in a lane: each may have to be registered once more, beyond
/// the limit of series.
const GRAVES_MAX: usize = SLOTS_BEYOND / 2;
/// And what remembering them may take.
pub(super) const GRAVE_BYTES_MAX: usize = if cfg!(test) { 8 << 10 } else { 64 << 20 };
/// Of one, beside its labels.
const GRAVE_BYTES: usize = 64;

/// What is idle: not accepted and not resolved since.
#[derive(Clone, Copy, Debug)]
pub(crate) struct IdleSince {
    /// No sample of the series has this number or a greater one.
    pub(crate) seq: u64,
    /// It was resolved before this look.
    pub(crate) look: u32,
}

impl IdleSince {
    /// Whether the series in `slot` is idle, and nothing of it is in a memtable of `version`.
    pub(crate) fn is_idle(&self, core: &Core, version: &Version, slot: u32) -> bool {
        let last = core.heads.head(slot).last_seq().unwrap_or(0);
        last < self.seq.min(version.flushed_before()) && core.heads.asked_for_at(slot) < self.look
    }
}

/// Asked of the worker: to take those of some series that are idle still.
pub(crate) struct Taking {
    since: IdleSince,
    /// Ascending.
    slots: Vec<u32>,
    /// The labels of each, for the samples that are still in a lane.
    buried: Buried,
    /// Told how many went.
    pub(crate) replier: Replier<usize>,
}

/// Asked of the worker: to go on with another registry.
pub(crate) struct Following {
    rebuild: Rebuild,
    /// Given what is to be freed.
    pub(crate) replier: Replier<Arc<Registry>>,
}

/// The labels of evicted series, by slot and tag.
pub(crate) type Buried = HashMap<(u32, u32), Epitaph>;

/// The labels of an evicted series, in one piece with those of others.
pub(crate) struct Epitaph {
    all: Arc<[u8]>,
    own: Range<u32>,
}

impl Epitaph {
    /// As label sets are encoded.
    pub(crate) fn labels(&self) -> &[u8] {
        &self.all[self.own.start as usize..self.own.end as usize]
    }
}

/// What labels in graves take.
pub(crate) fn grave_bytes(buried: &Buried) -> usize {
    buried.values().map(|epitaph| epitaph.own.len() + GRAVE_BYTES).sum()
}

/// Why nothing was evicted, or not all of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NotEvicted {
    /// Too few are idle and flushed. So many are idle, but not flushed.
    TooFew { unflushed: usize },
    /// Appenders that have not pushed for long hold back what was evicted before, or snapshots the registries from before.
    HeldBack,
    /// The worker is gone, or too busy. What went meanwhile is left to the next eviction.
    Unanswered,
}

/// Evicts what is idle, if it is `enough` at least. Costs time by the number of all series; the worker is busy with it
/// by a thousand at a time, and by those that were registered meanwhile.
pub(crate) fn evict(core: &Core, since: IdleSince, enough: usize, patience: Duration) -> Result<usize, NotEvicted> {
    let _alone = lock(&core.evicting);
    let started = Instant::now();
    let result = evict_alone(core, since, enough, patience);
    core.counters.eviction(started.elapsed());
    result
}

fn evict_alone(core: &Core, since: IdleSince, enough: usize, patience: Duration) -> Result<usize, NotEvicted> {
    let registry = core.registry();
    let going = idle(core, since, enough)?;
    let mut rebuild = Rebuild::without(&registry, &going);
    let mut gone = 0;
    for slice in going.chunks(SLICE) {
        // Those that are not taken stay, and the next eviction finds them.
        if !has_room(core) {
            break;
        }
        gone += take(core, &registry, since, slice, patience)?;
    }
    rebuild.settle(&going);
    let old = ask(core, patience, |replier| Request::Follow(Box::new(Following { rebuild, replier })))?;
    // Freed here, unless a reader has it still: there may be millions of pieces.
    drop(registry);
    drop(old);
    Ok(gone)
}

/// As [`evict`], where no worker is and nothing on its way: by who holds the right to append. `forget` is called for each
/// that goes.
pub(crate) fn evict_here(core: &Core, since: IdleSince, enough: usize, mut forget: impl FnMut(u32)) {
    let _alone = lock(&core.evicting);
    let Ok(going) = idle(core, since, enough) else { return };
    let (version, registry) = (core.versions.load(), core.registry());
    let mut rebuild = Rebuild::without(&registry, &going);
    let mut gone = 0;
    // Readers wait for a slice at most.
    for slice in going.chunks(SLICE) {
        registry.take(slice, |slot| {
            let is_idle = since.is_idle(core, &version, slot);
            if is_idle {
                forget(slot);
                gone += 1;
            }
            is_idle
        });
    }
    core.counters.evicted(gone);
    rebuild.settle(&going);
    follow(core, rebuild);
}

/// Whether a slice more may be remembered for what is still in a lane.
fn has_room(core: &Core) -> bool {
    let (graves, bytes) = core.counters.graves_now();
    graves + SLICE <= GRAVES_MAX && bytes < GRAVE_BYTES_MAX
}

/// What is idle, and what an eviction before took and had no time to build a registry without: ascending slots.
fn idle(core: &Core, since: IdleSince, enough: usize) -> Result<Vec<u32>, NotEvicted> {
    let version = core.versions.load();
    let (slots, tags) = (version.registry.slots(), &core.heads.tags);
    let (graves, bytes) = core.counters.graves_now();
    // Each eviction leaves a whole registry to the snapshots that are held over it (V10).
    if core.versions.pinned_registry_bytes() > version.registry.bytes_max() {
        return Err(NotEvicted::HeldBack);
    }
    // Less than half of the room is not worth a registry.
    if !tags.has_turns() || graves > GRAVES_MAX / 2 || bytes > GRAVE_BYTES_MAX / 2 {
        return Err(NotEvicted::HeldBack);
    }
    let (mut going, mut unflushed) = (Vec::new(), 0);
    for slot in slots.occupied() {
        if tags.is_free(slot) || since.is_idle(core, &version, slot) {
            going.push(slot);
        } else if core.heads.head(slot).last_seq().unwrap_or(0) < since.seq {
            unflushed += 1;
        }
    }
    if going.len() < enough.max(1) { Err(NotEvicted::TooFew { unflushed }) } else { Ok(going) }
}

/// Takes those of a slice that are idle still. Answers how many.
fn take(
    core: &Core,
    registry: &Registry,
    since: IdleSince,
    slice: &[u32],
    patience: Duration,
) -> Result<usize, NotEvicted> {
    let tags = &core.heads.tags;
    let slots: Vec<u32> = slice.iter().copied().filter(|slot| !tags.is_free(*slot)).collect();
    if slots.is_empty() {
        return Ok(0);
    }
    let (mut all, mut own, mut encoded) = (Vec::new(), Vec::with_capacity(slots.len()), Vec::new());
    for &slot in &slots {
        registry.slots().encoded(slot, &mut encoded);
        let start = all.len() as u32;
        all.extend_from_slice(&encoded);
        own.push(start..all.len() as u32);
    }
    let all: Arc<[u8]> = all.into();
    let epitaphs = own.into_iter().map(|own| Epitaph { all: Arc::clone(&all), own });
    let buried = slots.iter().map(|&slot| (slot, tags.of(slot))).zip(epitaphs).collect();
    ask(core, patience, |replier| Request::Take(Box::new(Taking { since, slots, buried, replier })))
}

/// As an eviction that the worker has no time to finish.
#[cfg(test)]
pub(super) fn take_only(core: &Core, since: IdleSince) -> Result<usize, NotEvicted> {
    let registry = core.registry();
    let slots: Vec<u32> = registry.slots().occupied().collect();
    take(core, &registry, since, &slots, Duration::from_secs(30))
}

/// Asks the worker, and waits for what it answers.
fn ask<T>(core: &Core, patience: Duration, request: impl FnOnce(Replier<T>) -> Request) -> Result<T, NotEvicted> {
    let (replier, mut answer) = reply();
    let asked = core.ask(request(replier), 1, patience).map_err(|_| NotEvicted::Unanswered)?;
    let answered = answer.wait(Some(patience)).or_else(|why| match core.requests.withdraw(asked) {
        Some(_) => {
            core.counters.wait_timed_out();
            Err(why)
        }
        // Taken: the answer is on its way.
        None => answer.wait(None),
    });
    answered.map_err(|_| NotEvicted::Unanswered)
}

impl Taking {
    /// Between two commits, by the worker: judges each series once more. `forget` is called for each that goes. Answers
    /// what went and the turn that this was, if anything went.
    pub(crate) fn carry_out(
        self,
        core: &Core,
        registry: &Registry,
        mut forget: impl FnMut(u32),
    ) -> (Option<(u32, Buried)>, Replier<usize>) {
        let Self { since, slots, mut buried, replier } = self;
        let version = core.versions.load();
        let turn = registry.take(&slots, |slot| {
            let is_idle = since.is_idle(core, &version, slot);
            if is_idle {
                forget(slot);
            } else {
                buried.remove(&(slot, core.heads.tags.of(slot)));
            }
            is_idle
        });
        (turn.map(|turn| (turn, buried)), replier)
    }
}

impl Following {
    /// Between two commits, by the worker: puts the registry without those that went into the version.
    pub(crate) fn carry_out(self, core: &Core) -> Replier<Arc<Registry>> {
        let Self { rebuild, replier } = self;
        follow(core, rebuild);
        replier
    }
}

/// Puts a registry without what went into the version.
fn follow(core: &Core, rebuild: Rebuild) {
    core.versions.follow(|| rebuild.follow());
}
