//! The ingest worker: drains the lanes, logs, applies, publishes.

mod apply;
mod log;
mod sync_thread;
mod worker;

pub(crate) use apply::Applier;
pub(crate) use log::Log;
pub(crate) use sync_thread::SyncThread;
pub(crate) use worker::{Worker, WorkerParts};
