//! Processor time and the kernel's global counters, from `/proc/stat`.

use super::readings::{COUNTER, GAUGE, Readings};
use super::source::{Malformed, number};

const MODES: [&str; 8] = ["user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal"];
const GUEST_MODES: [&str; 2] = ["user", "nice"];

/// `node_cpu_seconds_total` and `node_cpu_guest_seconds_total` per core and mode.
/// `ticks` is how many units of the file make a second.
pub(super) fn cpu(text: &str, ticks: f64, out: &mut Readings) -> Result<(), Malformed> {
    let mut found = false;
    for line in text.lines() {
        let mut words = line.split_ascii_whitespace();
        let Some(core) = words.next().and_then(|word| word.strip_prefix("cpu")) else { break };
        if core.is_empty() {
            continue;
        }
        found = true;
        // Kernels before 2.6.33 give fewer columns than these.
        for mode in MODES {
            let Ok(value) = number(&mut words) else { break };
            let labels = [("cpu", core), ("mode", mode)];
            out.put("node_cpu_seconds_total", COUNTER, "Seconds the CPUs spent in each mode.", &labels, value / ticks);
        }
        for mode in GUEST_MODES {
            let Ok(value) = number(&mut words) else { break };
            let help = "Seconds the CPUs spent in guests (VMs) for each mode.";
            out.put("node_cpu_guest_seconds_total", COUNTER, help, &[("cpu", core), ("mode", mode)], value / ticks);
        }
    }
    if found { Ok(()) } else { Err(Malformed("no line for a core")) }
}

/// Interrupts, context switches, forks, boot time, running and blocked processes.
pub(super) fn stat(text: &str, out: &mut Readings) -> Result<(), Malformed> {
    let mut found = false;
    for line in text.lines() {
        let mut words = line.split_ascii_whitespace();
        let (metric, kind, help) = match words.next() {
            Some("intr") => ("node_intr_total", COUNTER, "Total number of interrupts serviced."),
            Some("ctxt") => ("node_context_switches_total", COUNTER, "Total number of context switches."),
            Some("processes") => ("node_forks_total", COUNTER, "Total number of forks."),
            Some("btime") => ("node_boot_time_seconds", GAUGE, "Node boot time, in unixtime."),
            Some("procs_running") => ("node_procs_running", GAUGE, "Number of processes in runnable state."),
            Some("procs_blocked") => {
                ("node_procs_blocked", GAUGE, "Number of processes blocked waiting for I/O to complete.")
            }
            _ => continue,
        };
        out.put(metric, kind, help, &[], number(&mut words)?);
        found = true;
    }
    if found { Ok(()) } else { Err(Malformed("none of its counters")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAT: &str = "cpu  6627 2534 3375 322789 345 0 82 29 0 0\n\
        cpu0 3299 1269 1600 161611 42 0 25 13 7 0\n\
        cpu1 3328 1264 1774 161178 303 0 56 16 0 9\n\
        intr 212442 0 17 336\nctxt 463926\nbtime 1795201286\nprocesses 9612\nprocs_running 4\nprocs_blocked 0\n\
        softirq 120639 0 22940\n";

    #[test]
    fn each_core_and_mode_is_given_in_seconds() {
        let mut out = Readings::default();
        cpu(STAT, 100.0, &mut out).unwrap();
        assert_eq!(out.len(), 2 * (8 + 2), "the sum over all cores is left out");
        assert_eq!(out.value(r#"node_cpu_seconds_total{cpu="0",mode="user"}"#), Some(32.99));
        assert_eq!(out.value(r#"node_cpu_seconds_total{cpu="1",mode="steal"}"#), Some(0.16));
        assert_eq!(out.value(r#"node_cpu_guest_seconds_total{cpu="0",mode="user"}"#), Some(0.07));
        assert_eq!(out.value(r#"node_cpu_guest_seconds_total{cpu="1",mode="nice"}"#), Some(0.09));
    }

    #[test]
    fn the_global_counters_are_found_by_name() {
        let mut out = Readings::default();
        stat(STAT, &mut out).unwrap();
        let all: Vec<_> = out.iter().collect();
        assert_eq!(
            all,
            [
                ("node_intr_total", 212_442.0),
                ("node_context_switches_total", 463_926.0),
                ("node_boot_time_seconds", 1_795_201_286.0),
                ("node_forks_total", 9612.0),
                ("node_procs_running", 4.0),
                ("node_procs_blocked", 0.0),
            ]
        );
    }

    #[test]
    fn another_text_is_refused() {
        let mut out = Readings::default();
        assert!(cpu("", 100.0, &mut out).is_err());
        assert!(cpu("intr 1\n", 100.0, &mut out).is_err());
        assert!(stat("cpu0 1 2\n", &mut out).is_err());
        assert!(stat("ctxt many\n", &mut out).is_err());
    }
}
