//! Processes and the system they run on.

use std::io;

use super::readings::{GAUGE, Readings};
use super::source::Source;

/// `node_processes_pids` and its limit. Counts the folders of `/proc` without opening them:
/// 1 µs a process.
pub(super) fn processes(source: &mut Source, out: &mut Readings) -> io::Result<()> {
    let mut pids = 0u32;
    for entry in std::fs::read_dir(source.proc_root())? {
        pids += u32::from(entry?.file_name().to_str().is_some_and(|name| name.bytes().all(|b| b.is_ascii_digit())));
    }
    out.put("node_processes_pids", GAUGE, "Number of PIDs", &[], f64::from(pids));
    let limits = [
        ("sys/kernel/pid_max", "node_processes_max_processes", "Number of max PIDs limit"),
        ("sys/kernel/threads-max", "node_processes_max_threads", "Limit of threads in the system"),
    ];
    for (file, metric, help) in limits {
        let path = source.proc_root().join(file);
        if let Some(limit) = source.attribute(&path).and_then(|text| text.parse::<f64>().ok()) {
            out.put(metric, GAUGE, help, &[], limit);
        }
    }
    Ok(())
}

/// `node_uname_info`, always 1: the labels say what runs here.
pub(super) fn uname(out: &mut Readings) {
    let uname = rustix::system::uname();
    let fields = [
        ("domainname", uname.domainname()),
        ("machine", uname.machine()),
        ("nodename", uname.nodename()),
        ("release", uname.release()),
        ("sysname", uname.sysname()),
        ("version", uname.version()),
    ];
    let texts = fields.map(|(label, text)| (label, text.to_string_lossy()));
    let labels = texts.each_ref().map(|(label, text)| (*label, &**text));
    let help = "Labeled system information as provided by the uname system call.";
    out.put("node_uname_info", GAUGE, help, &labels, 1.0);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_with_a_number_are_processes() {
        let proc = tempfile::tempdir().unwrap();
        for folder in ["1", "42", "self", "sys/kernel"] {
            std::fs::create_dir_all(proc.path().join(folder)).unwrap();
        }
        std::fs::write(proc.path().join("sys/kernel/pid_max"), "4194304\n").unwrap();
        let mut out = Readings::default();
        processes(&mut Source::new(proc.path(), "/nowhere"), &mut out).unwrap();
        let all: Vec<_> = out.iter().collect();
        assert_eq!(all, [("node_processes_pids", 2.0), ("node_processes_max_processes", 4_194_304.0)]);
    }

    #[test]
    fn the_system_names_itself() {
        let mut out = Readings::default();
        uname(&mut out);
        let (series, value) = out.iter().next().unwrap();
        assert!(series.contains("sysname=\"Linux\""), "{series}");
        assert_eq!(value, 1.0);
    }
}
