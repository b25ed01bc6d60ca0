//! Memory and paging, from `/proc/meminfo` and `/proc/vmstat`.

use std::fmt::Write as _;

use super::readings::{GAUGE, Readings, UNTYPED};
use super::source::{Malformed, number};

/// `node_memory_<field>_bytes`, or without the unit where the file gives none.
pub(super) fn meminfo(text: &str, out: &mut Readings) -> Result<(), Malformed> {
    let mut metric = String::new();
    for line in text.lines() {
        let (field, rest) = line.split_once(':').ok_or(Malformed("a line without `:`"))?;
        let mut words = rest.split_ascii_whitespace();
        let value = number(&mut words)?;
        let bytes = words.next() == Some("kB");
        metric.clear();
        metric.push_str("node_memory_");
        // `Active(anon)` becomes `Active_anon`.
        metric.extend(field.chars().filter_map(|c| match c {
            '(' => Some('_'),
            ')' => None,
            c if c.is_ascii_alphanumeric() || c == '_' => Some(c),
            _ => Some('_'),
        }));
        if bytes {
            metric.push_str("_bytes");
        }
        let help = format_args!("Memory information field {}.", &metric["node_memory_".len()..]);
        out.put(&metric, GAUGE, help, &[], if bytes { value * 1024.0 } else { value });
    }
    if text.is_empty() { Err(Malformed("empty")) } else { Ok(()) }
}

/// The paging counters among the many of `/proc/vmstat`.
pub(super) fn vmstat(text: &str, out: &mut Readings) -> Result<(), Malformed> {
    let mut metric = String::new();
    for line in text.lines() {
        let mut words = line.split_ascii_whitespace();
        let Some(field) = words.next() else { continue };
        let paging = ["oom_kill", "pgpg", "pswp"].iter().any(|start| field.starts_with(start));
        if paging || (field.starts_with("pg") && field.contains("fault")) {
            metric.clear();
            let _ = write!(metric, "node_vmstat_{field}");
            let help = format_args!("/proc/vmstat information field {field}.");
            out.put(&metric, UNTYPED, help, &[], number(&mut words)?);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kilobytes_become_bytes_and_counts_stay() {
        let mut out = Readings::default();
        let text = "MemTotal:       24684084 kB\nActive(anon):       1588 kB\nHugePages_Total:       3\n";
        meminfo(text, &mut out).unwrap();
        let all: Vec<_> = out.iter().collect();
        assert_eq!(
            all,
            [
                ("node_memory_MemTotal_bytes", 24_684_084.0 * 1024.0),
                ("node_memory_Active_anon_bytes", 1588.0 * 1024.0),
                ("node_memory_HugePages_Total", 3.0),
            ]
        );
        assert_eq!(out.take_descriptions()[0].help, "Memory information field MemTotal_bytes.");
        for bad in ["", "MemTotal 1 kB\n", "MemTotal: x kB\n"] {
            assert!(meminfo(bad, &mut out).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn of_vmstat_only_paging_is_kept() {
        let mut out = Readings::default();
        vmstat("nr_free_pages 5\npgpgin 7\npswpout 8\npgmajfault 9\noom_kill 1\npgfree 2\n", &mut out).unwrap();
        let all: Vec<_> = out.iter().collect();
        assert_eq!(
            all,
            [
                ("node_vmstat_pgpgin", 7.0),
                ("node_vmstat_pswpout", 8.0),
                ("node_vmstat_pgmajfault", 9.0),
                ("node_vmstat_oom_kill", 1.0),
            ]
        );
    }
}
