//! What this machine can do at best: the roofs that figures are read against.
//!
//! Taken with nothing else running, in the same minutes as the figures they belong to.

mod disk;
mod memory;
mod short;
mod sync;
mod vectors;

use std::fmt;
use std::path::Path;

use serde::Serialize;

use crate::error::Error;
use crate::measure::{Machine, cores};
use crate::progress::Progress;

use vectors::{MANY_SERIES, Order, W1_SERIES, append_m_s};

pub use disk::{DiskTimes, pwrite_fdatasync_64k};
pub(crate) use short::look;
pub use short::{RoofsOfRun, ShortRoofs};

/// All roofs. Bandwidths count the bytes once that are copied or read.
#[derive(Clone, Debug, Serialize)]
pub struct Roofs {
    /// `roofs`.
    pub verb: &'static str,
    /// Processors in use for the figures that say `all`.
    pub cores: usize,
    /// Appending 16 bytes and publishing them with a release store.
    pub append_release_ns: f64,
    /// Samples appended to a plain `Vec` for each of 4,000 series, in the order of `w1`, by one thread: millions a second.
    pub vec_append_w1_m_s: f64,
    /// The same on all cores, each with series of its own.
    pub vec_append_w1_all_m_s: f64,
    /// The same to 100,000 series at random, by one thread.
    pub vec_append_random_m_s: f64,
    /// The same on all cores.
    pub vec_append_random_all_m_s: f64,
    /// `fetch_add` by one thread.
    pub fetch_add_ns: f64,
    /// `fetch_add` by all cores on one counter, per call of each.
    pub fetch_add_contended_ns: f64,
    /// One dependent load from 256 MiB in random order.
    pub random_access_ns: f64,
    /// Copying from DRAM to DRAM, one thread.
    pub memcpy_gb_s: f64,
    /// The same on all cores, each with a share of its own.
    pub memcpy_all_gb_s: f64,
    /// Summing `f64` from DRAM, one thread.
    pub read_sum_gb_s: f64,
    /// The same on all cores, each with a share of its own.
    pub read_sum_all_gb_s: f64,
    /// Summing `f64` from 256 KiB, one thread.
    pub read_sum_cached_gb_s: f64,
    /// 4 KiB written into an allocated file, and fdatasync, in microseconds.
    pub pwrite_fdatasync_4k_us: DiskTimes,
    /// The same with 64 KiB.
    pub pwrite_fdatasync_64k_us: DiskTimes,
    /// 1 MiB writes into an allocated file with one fdatasync at the end, in MB/s.
    pub write_mb_s: f64,
    /// The machine.
    pub machine: Machine,
}

impl Roofs {
    /// Measures all of them; the disk's in a file of its own in `dir`, which is removed again.
    ///
    /// # Errors
    /// [`Error::Io`] if `dir` cannot be written, before anything is measured.
    pub fn measure(dir: &Path, progress: &Progress) -> Result<Self, Error> {
        tempfile::tempfile_in(dir).map_err(Error::io(dir))?;
        // Before this is the load.
        let machine = Machine::with(dir);
        let step = |what| progress.step(what);
        step("stores");
        let append_release_ns = sync::append_release_ns();
        let vec_append_w1_m_s = append_m_s(1, W1_SERIES, Order::InTurn);
        let vec_append_w1_all_m_s = append_m_s(cores(), W1_SERIES, Order::InTurn);
        let vec_append_random_m_s = append_m_s(1, MANY_SERIES, Order::Random);
        let vec_append_random_all_m_s = append_m_s(cores(), MANY_SERIES, Order::Random);
        let fetch_add_ns = sync::fetch_add_ns(1);
        let fetch_add_contended_ns = sync::fetch_add_ns(cores());
        step("random access");
        let random_access_ns = memory::random_access_ns();
        step("bandwidth");
        let memcpy_gb_s = memory::memcpy_gb_s(1);
        let memcpy_all_gb_s = memory::memcpy_gb_s(cores());
        let read_sum_gb_s = memory::read_sum_gb_s(1);
        let read_sum_all_gb_s = memory::read_sum_gb_s(cores());
        let read_sum_cached_gb_s = memory::read_sum_cached_gb_s();
        step("disk");
        Ok(Self {
            verb: "roofs",
            cores: cores(),
            append_release_ns,
            vec_append_w1_m_s,
            vec_append_w1_all_m_s,
            vec_append_random_m_s,
            vec_append_random_all_m_s,
            fetch_add_ns,
            fetch_add_contended_ns,
            random_access_ns,
            memcpy_gb_s,
            memcpy_all_gb_s,
            read_sum_gb_s,
            read_sum_all_gb_s,
            read_sum_cached_gb_s,
            pwrite_fdatasync_4k_us: disk::pwrite_fdatasync(dir, 4 << 10, 200)?,
            pwrite_fdatasync_64k_us: disk::pwrite_fdatasync(dir, 64 << 10, 200)?,
            write_mb_s: disk::write_mb_s(dir)?,
            machine,
        })
    }
}

impl Roofs {
    /// All roofs as one JSON object in one line.
    #[must_use]
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("numbers and their names always make JSON")
    }
}

impl fmt::Display for Roofs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = self.cores;
        writeln!(f, "append 16 bytes + release   {:>9.2} ns", self.append_release_ns)?;
        let vectors = [
            ("4,000 in turn", 1, self.vec_append_w1_m_s),
            ("4,000 in turn", all, self.vec_append_w1_all_m_s),
            ("100,000 at random", 1, self.vec_append_random_m_s),
            ("100,000 at random", all, self.vec_append_random_all_m_s),
        ];
        for (what, threads, m_s) in vectors {
            writeln!(f, "Vec of {what:<17} {threads:>3} {m_s:>9.1} M samples/s")?;
        }
        writeln!(f, "fetch_add                   {:>9.2} ns", self.fetch_add_ns)?;
        writeln!(f, "fetch_add, {all:>2} threads       {:>9.2} ns", self.fetch_add_contended_ns)?;
        writeln!(f, "random access, 256 MiB      {:>9.1} ns", self.random_access_ns)?;
        writeln!(f, "memcpy                      {:>9.1} GB/s", self.memcpy_gb_s)?;
        writeln!(f, "memcpy, {all:>2} threads          {:>9.1} GB/s", self.memcpy_all_gb_s)?;
        writeln!(f, "read-sum                    {:>9.1} GB/s", self.read_sum_gb_s)?;
        writeln!(f, "read-sum, {all:>2} threads        {:>9.1} GB/s", self.read_sum_all_gb_s)?;
        writeln!(f, "read-sum, 256 KiB           {:>9.1} GB/s", self.read_sum_cached_gb_s)?;
        for (what, times) in [("4 KiB ", self.pwrite_fdatasync_4k_us), ("64 KiB", self.pwrite_fdatasync_64k_us)] {
            writeln!(f, "pwrite + fdatasync, {what}  {:>9.0} µs p50 {:>9.0} µs p99", times.p50, times.p99)?;
        }
        writeln!(f, "write, 1 MiB each           {:>9.0} MB/s", self.write_mb_s)?;
        write!(f, "machine                     {}", self.machine)
    }
}

/// The median of figures of one thing, of an even number the mean of the two in the middle: what a neighbour's burst
/// does not move.
#[must_use]
pub fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_unstable_by(f64::total_cmp);
    let (n, upper) = (figures.len(), figures.get(figures.len() / 2).copied());
    match upper {
        Some(upper) if n.is_multiple_of(2) => f64::midpoint(figures[n / 2 - 1], upper),
        upper => upper.unwrap_or(f64::NAN),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_of_an_even_number_lies_between_the_two_in_the_middle() {
        for (figures, expected) in
            [(vec![7.0], 7.0), (vec![4.0, 1.0], 2.5), (vec![9.0, 1.0, 2.0], 2.0), (vec![1.0, 100.0, 3.0, 4.0], 3.5)]
        {
            assert_eq!(median(figures), expected);
        }
        assert!(median(Vec::new()).is_nan());
    }
}
