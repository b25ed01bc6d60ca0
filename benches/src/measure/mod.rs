//! How things are measured: push latency, processor time, memory.

mod latency;
mod machine;
mod process;

pub use latency::{Latency, Quantiles, TickClock, empty_pair};
pub use machine::{Disk, Machine};
pub use process::{Memory, Preempted, cores, cpu_s, thread_cpu};
