//! The engine that ships, on a disk that loses power, lies, fails and runs full.
//!
//! A workload runs once on a simulated disk that records every step. Between any two steps the
//! power may have failed: each such *crash point* is a disk of its own, with a choice of what was
//! not synced. The engine is opened on it, and what comes back is compared with what a naive twin
//! says was pushed and acknowledged (P5): an exact prefix of the order of acceptance, with every
//! durable acknowledgement, the same when opened again, and after a crash in the middle of that.

// what was pushed and promised
pub mod oracle;
// what is done to an engine
pub mod script;
// what it was about when it crashed
pub mod acts;
// an engine on a simulated disk, and reading it
pub mod store;
// one lane of it
mod lane;
// one run, with its kills and reopenings
pub mod run;
// its atomic batches, and increments
mod batches;
// numbers that answers told
pub mod numbers;
// its deletes, retention and copies
mod admin;
// opening what a crash left
pub mod examine;
// and once more
mod twice;
// damage to the end of the log
pub mod end;
// and to that of the manifest
pub mod manifest;
// many of them
pub mod campaign;
// every choice at every step of short ones
pub mod short;
// a disk that fails, runs full, or ages
pub mod faults;
// the same for random workloads
pub mod unsound;
// and bits that turn over behind a crash
pub mod flips;
// and a manifest that is lost behind a kill
pub mod amid;
// the same behind a delete
pub mod deleted;
// restores, salvages and a forced unlock
pub mod mends;
// which sync is missed when it is left out
pub mod syncs;
// a crash point that broke a promise, on a real disk
pub mod case;
