//! Processor time and memory of this process, from the system.

use std::fs;
use std::num::NonZero;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use serde::Serialize;

/// Processor seconds of all threads of this process, user and system, since its start.
#[must_use]
pub fn cpu_s() -> f64 {
    let spent = clock_gettime(ClockId::ProcessCPUTime);
    spent.tv_sec as f64 + spent.tv_nsec as f64 / 1e9
}

/// Processor time of the calling thread since it began. It takes a system call to ask.
#[must_use]
pub fn thread_cpu() -> Duration {
    let spent = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(spent.tv_sec as u64, spent.tv_nsec as u32)
}

/// How often the system took the processor from a thread that would have gone on, and how long the thread was ready to
/// run and did not. What a host takes from a whole virtual machine is not in it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Preempted {
    /// Involuntary changes to another thread.
    pub times: u64,
    /// Seconds in the queue for a processor, those after a sleep included.
    pub queued_s: f64,
}

impl Preempted {
    /// Of the calling thread since it began; noughts where the system does not tell.
    #[must_use]
    pub fn so_far() -> Self {
        let read = |name: &str| fs::read_to_string(format!("/proc/thread-self/{name}")).unwrap_or_default();
        Self::parse(&read("status"), &read("schedstat"))
    }

    fn parse(status: &str, schedstat: &str) -> Self {
        let times =
            status.lines().find_map(|line| line.strip_prefix("nonvoluntary_ctxt_switches:")?.trim().parse().ok());
        let queued_ns = schedstat.split_whitespace().nth(1).and_then(|ns| ns.parse::<u64>().ok());
        Self { times: times.unwrap_or(0), queued_s: queued_ns.unwrap_or(0) as f64 / 1e9 }
    }

    /// What has come to it since `before`.
    #[must_use]
    pub fn since(self, before: Self) -> Self {
        // The system did not tell the second time where it told the first: no figure, and no end of the run.
        let queued_s = (self.queued_s - before.queued_s).max(0.0);
        Self { times: self.times.saturating_sub(before.times), queued_s }
    }

    /// Adds another thread's.
    pub fn add(&mut self, other: Self) {
        self.times += other.times;
        self.queued_s += other.queued_s;
    }
}

/// Processors that this process may use.
#[must_use]
pub fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, NonZero::get)
}

/// Resident memory of this process, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    /// Now.
    pub rss: u64,
    /// The most since the start, or since [`Memory::reset_peak`].
    pub peak: u64,
    /// What of `rss` is no file's.
    pub anonymous: u64,
}

impl Memory {
    /// Reads `/proc/self/status`; zeros where there is none.
    #[must_use]
    pub fn now() -> Self {
        Self::parse(&fs::read_to_string("/proc/self/status").unwrap_or_default())
    }

    /// The same of another process.
    #[must_use]
    pub fn of(pid: u32) -> Self {
        Self::parse(&fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default())
    }

    fn parse(status: &str) -> Self {
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            let kib = line.and_then(|rest| rest.trim().strip_suffix("kB")?.trim().parse::<u64>().ok());
            kib.unwrap_or(0) * 1024
        };
        Self { rss: field("VmRSS"), peak: field("VmHWM"), anonymous: field("RssAnon") }
    }

    /// Lets the peak start again from what is resident now. Answers whether the system did it.
    #[must_use]
    pub fn reset_peak() -> bool {
        fs::write("/proc/self/clear_refs", "5").is_ok()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::time::Instant;

    use super::*;

    #[test]
    fn memory_is_read_in_bytes_and_missing_fields_are_zero() {
        let status =
            "Name:\tx\nVmPeak:\t  9 kB\nVmHWM:\t    2048 kB\nVmRSS:\t    1024 kB\nRssAnon:\t     512 kB\nThreads:\t1\n";
        assert_eq!(Memory::parse(status), Memory { rss: 1 << 20, peak: 2 << 20, anonymous: 1 << 19 });
        assert_eq!(Memory::parse("VmRSS:\tmuch kB\n"), Memory { rss: 0, peak: 0, anonymous: 0 });
    }

    #[test]
    fn what_was_taken_from_a_thread_is_read_and_missing_figures_are_noughts() {
        let status = "Name:\tx\nvoluntary_ctxt_switches:\t9\nnonvoluntary_ctxt_switches:\t7\n";
        let read = Preempted::parse(status, "1000 2500000000 16\n");
        assert_eq!(read, Preempted { times: 7, queued_s: 2.5 });
        assert_eq!(read.since(Preempted { times: 3, queued_s: 0.5 }), Preempted { times: 4, queued_s: 2.0 });
        assert_eq!(Preempted::parse("", "12\n"), Preempted::default());
        assert_eq!(Preempted::default().since(read), Preempted::default(), "it was told before, and is no longer");
    }

    /// More threads than processors, each of which would go on.
    #[test]
    fn a_thread_that_shares_its_processor_has_it_taken_away() {
        if !std::path::Path::new("/proc/thread-self/schedstat").exists() {
            eprintln!("skipped: the system does not tell how long a thread was queued");
            return;
        }
        let over = AtomicBool::new(false);
        let work = || {
            let (began, start) = (Preempted::so_far(), Instant::now());
            while !over.load(Ordering::Relaxed) {
                let taken = Preempted::so_far().since(began);
                if (taken.times > 0 && taken.queued_s > 0.0) || start.elapsed() > Duration::from_secs(60) {
                    over.store(true, Ordering::Relaxed);
                }
            }
            Preempted::so_far().since(began)
        };
        let mut all = Preempted::default();
        std::thread::scope(|scope| {
            let running: Vec<_> = (0..cores() * 2 + 1).map(|_| scope.spawn(work)).collect();
            running.into_iter().for_each(|thread| all.add(thread.join().unwrap()));
        });
        assert!(all.times > 0 && all.queued_s > 0.0, "{all:?}");
    }

    #[test]
    fn a_large_buffer_shows_in_resident_memory() {
        let buffer = vec![1u8; 64 << 20];
        let now = Memory::now();
        assert_eq!(buffer.iter().map(|&b| u64::from(b)).sum::<u64>(), 64 << 20);
        assert!(now.rss >= 64 << 20 && now.peak >= now.rss, "{now:?}");
    }

    #[test]
    fn processor_time_goes_on_while_working() {
        let before = cpu_s();
        let mut x = 1u64;
        while cpu_s() - before < 0.01 {
            x = std::hint::black_box(x.wrapping_mul(3));
        }
        assert!(x != 0);
    }
}
