//! What machine the figures are of.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::cores;

/// A short description of the machine and of this program. What the system does not tell is empty or zero.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Machine {
    /// The processor's name.
    pub cpu: String,
    /// Processors that this process may use.
    pub cores: usize,
    /// Memory in bytes.
    pub memory_bytes: u64,
    /// The kernel's release.
    pub kernel: String,
    /// What the folder of the data lies on: kind of file system and device.
    pub disk: Disk,
    /// Whether this program was optimised: figures of a `debug` one say nothing.
    pub build: &'static str,
    /// This program's version.
    pub version: &'static str,
    /// What it was built from, where that was told: `TIDEGAUGE_COMMIT=$(git describe --always --dirty) cargo build …`.
    pub commit: Option<&'static str>,
    /// When the system takes huge pages for memory that is no file's: `always`, `madvise` (where a program asks for them) or
    /// `never`.
    pub transparent_hugepage: String,
    /// What the environment tells glibc, if anything: with `glibc.malloc.hugetlb=1` it asks for huge pages for its heap.
    pub glibc_tunables: Option<String>,
    /// Threads that ran or were ready to, on average over the last 1, 5 and 15 minutes before the figures were taken: on a
    /// machine that is idle otherwise near nought.
    pub load_average: [f64; 3],
}

/// A mounted file system.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Disk {
    /// `ext4`, `tmpfs` …
    pub file_system: String,
    /// `/dev/sda1` …
    pub device: String,
}

impl Machine {
    /// Asks the system. `dir` is where the data lie.
    #[must_use]
    pub fn with(dir: &Path) -> Self {
        let read = |path| fs::read_to_string(path).unwrap_or_default();
        let memory = field(&read("/proc/meminfo"), "MemTotal").trim_end_matches("kB").trim().parse::<u64>();
        Self {
            cpu: field(&read("/proc/cpuinfo"), "model name"),
            cores: cores(),
            memory_bytes: memory.unwrap_or(0) * 1024,
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            disk: Disk::under(&read("/proc/self/mountinfo"), dir.canonicalize().as_deref().unwrap_or(dir)),
            build: if cfg!(debug_assertions) { "debug" } else { "release" },
            version: env!("CARGO_PKG_VERSION"),
            commit: option_env!("TIDEGAUGE_COMMIT"),
            transparent_hugepage: chosen(&read("/sys/kernel/mm/transparent_hugepage/enabled")),
            glibc_tunables: std::env::var("GLIBC_TUNABLES").ok().filter(|tunables| !tunables.is_empty()),
            load_average: load_average(&read("/proc/loadavg")),
        }
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { cpu, cores, memory_bytes, kernel, disk, build, version, commit, .. } = self;
        let gib = *memory_bytes as f64 / f64::from(1 << 30);
        let Disk { file_system, device } = disk;
        let commit = commit.map_or(String::new(), |commit| format!(" ({commit})"));
        write!(
            f,
            "{cores} × {cpu}, {gib:.1} GiB, Linux {kernel}, {file_system} on {device}, {build} build of {version}"
        )?;
        write!(f, "{commit}, huge pages {}", self.transparent_hugepage)?;
        if let Some(tunables) = &self.glibc_tunables {
            write!(f, ", GLIBC_TUNABLES={tunables}")?;
        }
        write!(f, ", load {:.2} before", self.load_average[0])
    }
}

impl Disk {
    /// The mount whose point is the longest beginning of `dir`; of equal ones the last, which hides the others.
    fn under(mountinfo: &str, dir: &Path) -> Self {
        let mut best: Option<(PathBuf, Self)> = None;
        for line in mountinfo.lines() {
            // `36 35 98:0 /root /point options [fields] - type device more`
            let Some((before, after)) = line.split_once(" - ") else { continue };
            let (Some(point), mut rest) = (before.split(' ').nth(4), after.split(' ')) else { continue };
            // A space in a path is written in octal.
            let point = PathBuf::from(point.replace("\\040", " "));
            if dir.starts_with(&point) && best.as_ref().is_none_or(|(longest, _)| point >= *longest) {
                let mut next = || rest.next().unwrap_or_default().to_owned();
                best = Some((point, Self { file_system: next(), device: next() }));
            }
        }
        best.map(|(_, disk)| disk).unwrap_or_default()
    }
}

/// Of `always [madvise] never` the word in brackets.
fn chosen(text: &str) -> String {
    text.split_once('[').and_then(|(_, rest)| rest.split_once(']')).map_or(String::new(), |(word, _)| word.to_owned())
}

fn load_average(text: &str) -> [f64; 3] {
    let mut all = text.split(' ').map(|word| word.parse().unwrap_or(0.0));
    [(); 3].map(|()| all.next().unwrap_or(0.0))
}

fn field(text: &str, name: &str) -> String {
    let value = |line: &str| line.strip_prefix(name)?.trim_start().strip_prefix(':').map(|v| v.trim().to_owned());
    text.lines().find_map(value).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_with_any_white_space_around() {
        let text = "vendor_id\t: x\nmodel name\t: Fast CPU @ 3 GHz\nMemTotal:       1024 kB\n";
        assert_eq!(field(text, "model name"), "Fast CPU @ 3 GHz");
        assert_eq!(field(text, "MemTotal"), "1024 kB");
        assert_eq!(field(text, "Mem"), "");
    }

    #[test]
    fn of_words_one_of_which_is_chosen_that_one_is_told() {
        assert_eq!(chosen("always [madvise] never\n"), "madvise");
        assert_eq!(["", "always", "always [madvise"].map(chosen), [""; 3]);
    }

    #[test]
    fn the_load_is_that_of_one_five_and_fifteen_minutes() {
        assert_eq!(load_average("0.42 12.58 3.00 2/345 6789\n"), [0.42, 12.58, 3.0]);
        assert_eq!(load_average(""), [0.0; 3]);
    }

    #[test]
    fn the_file_system_is_that_of_the_longest_mount_point() {
        let mounts = "1 0 8:1 / / rw shared:1 - ext4 /dev/sda1 rw\n\
                      2 1 8:2 / /data rw - xfs /dev/sdb rw\n\
                      3 2 0:5 / /data/a\\040b rw master:1 - tmpfs none rw\n\
                      4 1 8:3 / /data rw - btrfs /dev/sdc rw\n";
        let of = |dir: &str| Disk::under(mounts, Path::new(dir)).file_system;
        assert_eq!(of("/home"), "ext4");
        assert_eq!(of("/database"), "ext4", "no part of a name");
        assert_eq!(of("/data/x"), "btrfs", "the later mount hides the earlier one");
        assert_eq!(of("/data/a b/c"), "tmpfs");
        assert_eq!(Disk::under("", Path::new("/")), Disk::default());
    }
}
