//! Block devices, from `/proc/diskstats`.

use super::readings::{COUNTER, GAUGE, Readings};
use super::source::{Malformed, number};

const SECTOR_BYTES: f64 = 512.0;
const MILLI: f64 = 1e-3;

/// The file's columns behind the device's name: metric, type, factor, help.
const COLUMNS: [(&str, &str, f64, &str); 17] = [
    ("node_disk_reads_completed_total", COUNTER, 1.0, "The total number of reads completed successfully."),
    ("node_disk_reads_merged_total", COUNTER, 1.0, "The total number of reads merged."),
    ("node_disk_read_bytes_total", COUNTER, SECTOR_BYTES, "The total number of bytes read successfully."),
    ("node_disk_read_time_seconds_total", COUNTER, MILLI, "The total number of seconds spent by all reads."),
    ("node_disk_writes_completed_total", COUNTER, 1.0, "The total number of writes completed successfully."),
    ("node_disk_writes_merged_total", COUNTER, 1.0, "The number of writes merged."),
    ("node_disk_written_bytes_total", COUNTER, SECTOR_BYTES, "The total number of bytes written successfully."),
    ("node_disk_write_time_seconds_total", COUNTER, MILLI, "This is the total number of seconds spent by all writes."),
    ("node_disk_io_now", GAUGE, 1.0, "The number of I/Os currently in progress."),
    ("node_disk_io_time_seconds_total", COUNTER, MILLI, "Total seconds spent doing I/Os."),
    ("node_disk_io_time_weighted_seconds_total", COUNTER, MILLI, "The weighted # of seconds spent doing I/Os."),
    ("node_disk_discards_completed_total", COUNTER, 1.0, "The total number of discards completed successfully."),
    ("node_disk_discards_merged_total", COUNTER, 1.0, "The total number of discards merged."),
    ("node_disk_discarded_sectors_total", COUNTER, 1.0, "The total number of sectors discarded successfully."),
    (
        "node_disk_discard_time_seconds_total",
        COUNTER,
        MILLI,
        "This is the total number of seconds spent by all discards.",
    ),
    ("node_disk_flush_requests_total", COUNTER, 1.0, "The total number of flush requests completed successfully"),
    (
        "node_disk_flush_requests_time_seconds_total",
        COUNTER,
        MILLI,
        "This is the total number of seconds spent by all flush requests.",
    ),
];

/// `node_disk_*` per device; partitions, loop, RAM and floppy devices are left out.
pub(super) fn diskstats(text: &str, out: &mut Readings) -> Result<(), Malformed> {
    for line in text.lines() {
        let mut words = line.split_ascii_whitespace().skip(2);
        let device = words.next().ok_or(Malformed("a line without a device"))?;
        if is_ignored(device) {
            continue;
        }
        for (at, (metric, kind, factor, help)) in COLUMNS.into_iter().enumerate() {
            // Kernels before 4.18 end before the discards, those before 5.5 before the flushes.
            let Ok(value) = number(&mut words) else {
                if at < 11 {
                    return Err(Malformed("a device with too few columns"));
                }
                break;
            };
            // Division by 1,000 rounds better than multiplication by 0.001.
            let value = if factor == MILLI { value / 1000.0 } else { value * factor };
            out.put(metric, kind, help, &[("device", device)], value);
        }
    }
    Ok(())
}

/// What the usual exporter leaves out: `(z?ram|loop|fd|(h|s|v|xv)d[a-z]|nvme\d+n\d+p)\d+`.
fn is_ignored(device: &str) -> bool {
    let stem = device.trim_end_matches(|c: char| c.is_ascii_digit());
    if stem.len() == device.len() {
        return false;
    }
    if ["ram", "zram", "loop", "fd"].contains(&stem) {
        return true;
    }
    let disk = ["hd", "sd", "vd", "xvd"].iter().find_map(|kind| stem.strip_prefix(kind));
    if disk.is_some_and(|letter| letter.len() == 1 && letter.as_bytes()[0].is_ascii_lowercase()) {
        return true;
    }
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    stem.strip_prefix("nvme")
        .and_then(|rest| rest.strip_suffix('p'))
        .and_then(|rest| rest.split_once('n'))
        .is_some_and(|(controller, namespace)| digits(controller) && digits(namespace))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partitions_and_memory_devices_are_ignored_as_the_usual_exporter_does() {
        let pattern = regex::Regex::new(r"^(z?ram|loop|fd|(h|s|v|xv)d[a-z]|nvme\d+n\d+p)\d+$").unwrap();
        let devices = [
            "sda",
            "sda1",
            "sdaa",
            "sdaa1",
            "vda",
            "vda12",
            "xvdf3",
            "hdc",
            "loop0",
            "loop",
            "zram0",
            "ram15",
            "fd0",
            "nvme0n1",
            "nvme0n1p2",
            "nvme10n2p13",
            "nvmen1p1",
            "nvme0np1",
            "dm-0",
            "md127",
            "sr0",
            "mmcblk0p1",
            "",
        ];
        for device in devices {
            assert_eq!(is_ignored(device), pattern.is_match(device), "{device}");
        }
    }

    #[test]
    fn sectors_become_bytes_and_milliseconds_seconds() {
        let mut out = Readings::default();
        let text = "   7       0 loop0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0\n \
            254       0 vda 16433 7077 4934266 16527 5851 20045 3746360 12625 2 5124 29622 3940 88 261992 425 624 44\n";
        diskstats(text, &mut out).unwrap();
        assert_eq!(out.len(), 17);
        let value = |metric: &str| out.value(&format!("node_disk_{metric}{{device=\"vda\"}}")).unwrap();
        assert_eq!(value("read_bytes_total"), 4_934_266.0 * 512.0);
        assert_eq!(value("write_time_seconds_total"), 12.625);
        assert_eq!(value("io_now"), 2.0);
        assert_eq!(value("discarded_sectors_total"), 261_992.0);
        assert_eq!(value("flush_requests_time_seconds_total"), 0.044);
    }

    #[test]
    fn older_kernels_give_fewer_columns_and_a_cut_line_is_refused() {
        let mut out = Readings::default();
        diskstats("8 0 sda 1 2 3 4 5 6 7 8 9 10 11\n", &mut out).unwrap();
        assert_eq!(out.len(), 11);
        assert!(diskstats("8 0 sda 1 2 3\n", &mut out).is_err());
        assert!(diskstats("8 0\n", &mut out).is_err());
    }
}
