//! The ingest worker: drains the lanes, logs, applies, publishes.

mod apply;
mod batch;
mod behind;
#[cfg(test)]
mod behind_tests;
#[cfg(test)]
mod deletes_tests;
mod evict;
mod fullness;
#[cfg(test)]
mod fullness_tests;
mod held;
mod log;
mod pressure;
mod serve;
mod space;
mod sync_thread;
mod worker;

pub(crate) use apply::Applier;
pub(crate) use log::Log;
use log::WriteWholeError;
pub(crate) use serve::{Request, probe, settle};
pub(crate) use sync_thread::SyncThread;
pub(crate) use worker::{Worker, WorkerParts};
