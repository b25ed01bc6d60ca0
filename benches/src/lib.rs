//! Workloads for Tidegauge, and the driver that measures it with them.
//!
//! Nothing is reported that was not checked: what a run reads back is compared with a count
//! and a checksum that the generator makes a second time, apart from what was pushed.
#![forbid(unsafe_code)]

// Seeded numbers
pub mod rng;
// make samples
pub mod workload;
// that are summed up,
pub mod checksum;
// pushed and read back
pub mod run;
// against another run,
pub mod ratios;
// by many at once,
pub mod concurrency;
// while questions are asked, and for hours,
pub mod live;
// killed and opened again,
pub mod recovery;
// by the clock,
pub mod measure;
// beside what the machine could do,
pub mod roofs;
// and reported.
pub mod cli;
pub mod leftovers;
pub mod progress;
pub mod report;
// on a page,
pub mod page;
// beside other stores.
pub mod compare;

mod error;

pub use error::Error;
