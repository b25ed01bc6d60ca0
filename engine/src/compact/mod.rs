//! Segments into fewer, smaller ones: late data merged, hidden samples left out.
//!
//! Rules, invariants K1–K12 and what it costs: `docs/compaction.md`.

// what is worth it
mod plan;
mod spans;
mod stacks;
mod table;
mod weighed;
mod windows;
// how it is done
mod apart;
mod hidden;
mod input;
mod run;
// by whom
mod asked;
mod beside;
mod carry;
mod compactor;
mod crew;
mod desk;
mod forget;
mod look;
mod oldest;
mod restraint;
// and what is left over
mod graveyard;

pub(crate) use compactor::{CompactOptions, Compactor, CompactorParts};
pub(crate) use desk::Desk;
pub(crate) use graveyard::Graveyard;

use crate::error::CompactError;

#[cfg(test)]
mod aged_tests;
#[cfg(test)]
mod apart_tests;
#[cfg(test)]
mod between_tests;
#[cfg(test)]
mod by_hand_tests;
#[cfg(test)]
mod crafted_tests;
#[cfg(test)]
mod crash_tests;
#[cfg(test)]
mod hidden_tests;
#[cfg(test)]
mod kept_tests;
#[cfg(test)]
mod naive_plan;
#[cfg(test)]
mod plan_equal_tests;
#[cfg(test)]
mod plan_tests;
#[cfg(test)]
mod run_tests;
#[cfg(test)]
mod turn_tests;
