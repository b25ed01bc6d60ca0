//! Load averages, processes and threads, pressure, file handles: the small files of `/proc`.

use super::readings::{COUNTER, GAUGE, Readings};
use super::source::{Malformed, number};

/// `node_load1`, `node_load5`, `node_load15`, and from the same line how many threads exist.
pub(super) fn loadavg(text: &str, out: &mut Readings) -> Result<(), Malformed> {
    let mut words = text.split_ascii_whitespace();
    out.put("node_load1", GAUGE, "1m load average.", &[], number(&mut words)?);
    out.put("node_load5", GAUGE, "5m load average.", &[], number(&mut words)?);
    out.put("node_load15", GAUGE, "15m load average.", &[], number(&mut words)?);
    let threads = words.next().and_then(|word| word.split_once('/')).and_then(|(_, all)| all.parse().ok());
    let threads: f64 = threads.ok_or(Malformed("no number of threads"))?;
    out.put("node_processes_threads", GAUGE, "Allocated threads in system", &[], threads);
    Ok(())
}

/// `node_filefd_allocated` and `node_filefd_maximum`.
pub(super) fn file_nr(text: &str, out: &mut Readings) -> Result<(), Malformed> {
    let mut words = text.split_ascii_whitespace();
    let allocated = number(&mut words)?;
    let _unused = number(&mut words)?;
    out.put("node_filefd_allocated", GAUGE, "File descriptor statistics: allocated.", &[], allocated);
    out.put("node_filefd_maximum", GAUGE, "File descriptor statistics: maximum.", &[], number(&mut words)?);
    Ok(())
}

/// A resource that the kernel keeps pressure figures for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pressure {
    /// The file below `/proc/pressure`.
    pub resource: &'static str,
    waiting: (&'static str, &'static str),
    /// The file has such a line for the processor too, but it is always 0 there.
    stalled: Option<(&'static str, &'static str)>,
}

/// All three.
pub(super) const PRESSURES: [Pressure; 3] = [
    Pressure {
        resource: "cpu",
        waiting: (
            "node_pressure_cpu_waiting_seconds_total",
            "Total time in seconds that processes have waited for CPU time",
        ),
        stalled: None,
    },
    Pressure {
        resource: "io",
        waiting: (
            "node_pressure_io_waiting_seconds_total",
            "Total time in seconds that processes have waited due to IO congestion",
        ),
        stalled: Some((
            "node_pressure_io_stalled_seconds_total",
            "Total time in seconds no process could make progress due to IO congestion",
        )),
    },
    Pressure {
        resource: "memory",
        waiting: (
            "node_pressure_memory_waiting_seconds_total",
            "Total time in seconds that processes have waited for memory",
        ),
        stalled: Some((
            "node_pressure_memory_stalled_seconds_total",
            "Total time in seconds no process could make progress due to memory congestion",
        )),
    },
];

impl Pressure {
    /// `node_pressure_*_seconds_total` from the totals, which are in microseconds.
    pub(super) fn parse(self, text: &str, out: &mut Readings) -> Result<(), Malformed> {
        for line in text.lines() {
            let metric = match line.split_once(' ') {
                Some(("some", _)) => Some(self.waiting),
                Some(("full", _)) => self.stalled,
                _ => return Err(Malformed("neither `some` nor `full`")),
            };
            let total = line.rsplit_once("total=").and_then(|(_, total)| total.parse::<f64>().ok());
            let total = total.ok_or(Malformed("no total"))?;
            if let Some((metric, help)) = metric {
                out.put(metric, COUNTER, help, &[], total / 1e6);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_small_files_are_read_by_position() {
        let mut out = Readings::default();
        loadavg("1.66 0.40 0.13 4/118 9618\n", &mut out).unwrap();
        file_nr("807\t0\t2466170\n", &mut out).unwrap();
        let all: Vec<_> = out.iter().collect();
        assert_eq!(
            all,
            [
                ("node_load1", 1.66),
                ("node_load5", 0.40),
                ("node_load15", 0.13),
                ("node_processes_threads", 118.0),
                ("node_filefd_allocated", 807.0),
                ("node_filefd_maximum", 2_466_170.0),
            ]
        );
        for bad in ["", "1 2", "1 2 3 4", "1 2 x 4/5"] {
            assert!(loadavg(bad, &mut out).is_err(), "{bad:?}");
        }
        assert!(file_nr("1 2", &mut out).is_err());
    }

    #[test]
    fn pressure_totals_are_microseconds() {
        let text = "some avg10=3.55 avg60=1.74 avg300=1.96 total=40177013\n\
            full avg10=0.00 avg60=0.00 avg300=0.00 total=5\n";
        let mut out = Readings::default();
        for pressure in PRESSURES {
            pressure.parse(text, &mut out).unwrap();
        }
        assert_eq!(out.len(), 5, "cpu has no stalled time");
        assert_eq!(out.value("node_pressure_cpu_waiting_seconds_total"), Some(40.177_013));
        assert_eq!(out.value("node_pressure_io_stalled_seconds_total"), Some(5e-6));
        assert!(PRESSURES[0].parse("some avg10=1\n", &mut out).is_err());
        assert!(PRESSURES[0].parse("none total=1\n", &mut out).is_err());
    }
}
