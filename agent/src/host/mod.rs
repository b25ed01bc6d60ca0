//! This machine's metrics, under the names and units that node_exporter made common.
//!
//! Each area of the machine is a function from the kernel's text to [`Readings`]; [`Host`]
//! reads the files and runs all of them. An area whose file is missing or strange is
//! reported by `node_scrape_collector_success{collector="..."} 0`, and the others go on.

mod cpu;
mod disk;
mod filesystem;
mod load;
mod memory;
mod network;
mod process;
mod readings;
mod source;

use std::io;
use std::path::PathBuf;
use std::time::Instant;

use tidegauge::Timestamp;

pub use readings::{Description, Readings};
pub use source::HostError;

use readings::GAUGE;
use source::Source;

/// Reads this machine's metrics. Its buffers are reused from one collection to the next.
#[derive(Debug)]
pub struct Host {
    source: Source,
    readings: Readings,
    ticks_per_second: f64,
    failed: Vec<(&'static str, HostError)>,
}

type Area = fn(&mut Host) -> Result<(), HostError>;

const AREAS: [(&str, Area); 14] = [
    ("cpu", |host| {
        let ticks = host.ticks_per_second;
        host.source.proc("stat", |text| cpu::cpu(text, ticks, &mut host.readings))
    }),
    ("stat", |host| host.source.proc("stat", |text| cpu::stat(text, &mut host.readings))),
    ("loadavg", |host| host.source.proc("loadavg", |text| load::loadavg(text, &mut host.readings))),
    ("meminfo", |host| host.source.proc("meminfo", |text| memory::meminfo(text, &mut host.readings))),
    ("vmstat", |host| host.source.proc("vmstat", |text| memory::vmstat(text, &mut host.readings))),
    ("diskstats", |host| host.source.proc("diskstats", |text| disk::diskstats(text, &mut host.readings))),
    ("netdev", |host| host.source.proc("net/dev", |text| network::netdev(text, &mut host.readings))),
    ("netclass", |host| {
        let path = host.source.sys_root().join("class/net");
        network::netclass(&mut host.source, &mut host.readings).map_err(|e| cannot_read(path, e))
    }),
    ("netstat", |host| {
        host.source.proc("net/snmp", |text| network::netstat(text, &mut host.readings))?;
        host.source.proc("net/netstat", |text| network::netstat(text, &mut host.readings))
    }),
    ("sockstat", |host| host.source.proc("net/sockstat", |text| network::sockstat(text, &mut host.readings))),
    ("filesystem", |host| {
        let readings = &mut host.readings;
        host.source.proc("self/mounts", |text| filesystem::filesystem(text, filesystem::statvfs, readings))
    }),
    ("filefd", |host| host.source.proc("sys/fs/file-nr", |text| load::file_nr(text, &mut host.readings))),
    ("pressure", |host| {
        load::PRESSURES.into_iter().try_for_each(|pressure| {
            let file = format!("pressure/{}", pressure.resource);
            host.source.proc(&file, |text| pressure.parse(text, &mut host.readings))
        })
    }),
    ("processes", |host| {
        let path = host.source.proc_root().to_owned();
        process::processes(&mut host.source, &mut host.readings).map_err(|e| cannot_read(path, e))
    }),
];

impl Host {
    /// Reads the machine the process runs on.
    #[must_use]
    pub fn new() -> Self {
        Self::at("/proc", "/sys")
    }

    /// Reads other folders as if they were `/proc` and `/sys`: those of a container's host, say.
    pub fn at(proc: impl Into<PathBuf>, sys: impl Into<PathBuf>) -> Self {
        Self {
            source: Source::new(proc, sys),
            readings: Readings::default(),
            ticks_per_second: rustix::param::clock_ticks_per_second() as f64,
            failed: Vec::new(),
        }
    }

    /// Collects everything once; `now` becomes `node_time_seconds`.
    ///
    /// Well below a millisecond on a small machine. It may block where a local disk does.
    pub fn collect(&mut self, now: Timestamp) -> &mut Readings {
        self.readings.clear();
        self.failed.clear();
        for (name, area) in AREAS {
            let start = Instant::now();
            let result = area(self);
            let success = if result.is_ok() { 1.0 } else { 0.0 };
            let labels = [("collector", name)];
            let help = "node_exporter: Duration of a collector scrape.";
            let seconds = start.elapsed().as_secs_f64();
            self.readings.put("node_scrape_collector_duration_seconds", GAUGE, help, &labels, seconds);
            let help = "node_exporter: Whether a collector succeeded.";
            self.readings.put("node_scrape_collector_success", GAUGE, help, &labels, success);
            if let Err(error) = result {
                self.failed.push((name, error));
            }
        }
        process::uname(&mut self.readings);
        let help = "System time in seconds since epoch (1970).";
        self.readings.put("node_time_seconds", GAUGE, help, &[], now.nanos() as f64 / 1e9);
        &mut self.readings
    }

    /// The areas that the last collection could not read, and why.
    #[must_use]
    pub fn failed(&self) -> &[(&'static str, HostError)] {
        &self.failed
    }
}

impl Default for Host {
    fn default() -> Self {
        Self::new()
    }
}

fn cannot_read(path: PathBuf, source: io::Error) -> HostError {
    HostError::Read { path, source }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exposition::{Dialect, Entry, parse_line};
    use std::collections::HashSet;

    #[test]
    fn this_machine_gives_each_series_once_and_all_of_them_parse() {
        let mut host = Host::new();
        let now = Timestamp::from_nanos(1_700_000_000_500_000_000);
        let readings = host.collect(now);
        let mut seen = HashSet::new();
        for (series, value) in readings.iter() {
            assert!(seen.insert(series.to_owned()), "{series} twice");
            let line = format!("{series} {value}");
            let Entry::Sample(sample) = parse_line(line.as_bytes(), Dialect::Text).unwrap() else { panic!("{line}") };
            sample.series.labels().unwrap();
        }
        assert!(seen.contains(r#"node_cpu_seconds_total{cpu="0",mode="idle"}"#));
        assert!(seen.contains("node_memory_MemTotal_bytes"));
        assert!(seen.contains("node_load1"));
        assert_eq!(readings.value("node_time_seconds"), Some(1_700_000_000.5));
        let described = readings.take_descriptions().len();
        assert!(described > 50, "{described}");
        assert!(host.collect(now).take_descriptions().is_empty());
    }

    #[test]
    fn a_missing_or_strange_file_takes_down_its_own_area_only() {
        let proc = tempfile::tempdir().unwrap();
        std::fs::write(proc.path().join("loadavg"), "0.5 0.4 0.3 1/2 3\n").unwrap();
        std::fs::write(proc.path().join("meminfo"), "binary \u{0} nonsense\n").unwrap();
        let mut host = Host::at(proc.path(), proc.path());
        let readings = host.collect(Timestamp::from_nanos(0));
        assert_eq!(readings.value("node_load1"), Some(0.5));
        let success = |area: &str| readings.value(&format!("node_scrape_collector_success{{collector=\"{area}\"}}"));
        assert_eq!(success("loadavg"), Some(1.0));
        assert_eq!(success("cpu"), Some(0.0));
        assert_eq!(success("meminfo"), Some(0.0));
        let failed: Vec<_> = host.failed().iter().map(|(area, error)| format!("{area}: {error}")).collect();
        assert!(failed.iter().any(|f| f.starts_with("meminfo: ") && f.ends_with("a line without `:`")), "{failed:?}");
        assert!(failed.iter().any(|f| f.starts_with("cpu: ")), "{failed:?}");
    }
}
