//! One loom model for each named invariant of `docs/concurrency.md`; the models are in `tests/`.
//!
//! They run the types that ship, which reach loom through the engine's `sync` facade. `ci/loom.sh` runs them, and
//! `ci/weaken.sh` shows that each of them can fail. Without `--cfg loom` there is nothing here but a
//! look at that page.

#![forbid(unsafe_code)]

#[cfg(loom)]
pub mod memtable;

/// Runs `f` in every order that differs, with at most `preemptions` switches away from a thread that could have gone
/// on (and any number at points where it waits).
///
/// Bugs of this kind are found with two or three; `LOOM_MAX_PREEMPTIONS` overrides it.
#[cfg(loom)]
pub fn model(preemptions: usize, f: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = builder.preemption_bound.or(Some(preemptions));
    // Threads that wait for each other by yielding take many steps; a model that never ends still fails.
    builder.max_branches = 20_000;
    builder.check(f);
}
