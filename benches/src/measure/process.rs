//! Processor time and memory of this process, from the system.

use std::fs;
use std::num::NonZero;

use rustix::time::{ClockId, clock_gettime};

/// Processor seconds of all threads of this process, user and system, since its start.
#[must_use]
pub fn cpu_s() -> f64 {
    let spent = clock_gettime(ClockId::ProcessCPUTime);
    spent.tv_sec as f64 + spent.tv_nsec as f64 / 1e9
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
    use super::*;

    #[test]
    fn memory_is_read_in_bytes_and_missing_fields_are_zero() {
        let status =
            "Name:\tx\nVmPeak:\t  9 kB\nVmHWM:\t    2048 kB\nVmRSS:\t    1024 kB\nRssAnon:\t     512 kB\nThreads:\t1\n";
        assert_eq!(Memory::parse(status), Memory { rss: 1 << 20, peak: 2 << 20, anonymous: 1 << 19 });
        assert_eq!(Memory::parse("VmRSS:\tmuch kB\n"), Memory { rss: 0, peak: 0, anonymous: 0 });
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
