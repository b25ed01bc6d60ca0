//! Network devices and protocols, from `/proc/net` and `/sys/class/net`.

use std::fmt::Write as _;

use super::readings::{COUNTER, GAUGE, Readings, UNTYPED};
use super::source::{Malformed, Source, number};

/// Columns of `/proc/net/dev`, received ones first.
const RECEIVE: [&str; 8] = ["bytes", "packets", "errs", "drop", "fifo", "frame", "compressed", "multicast"];
const TRANSMIT: [&str; 8] = ["bytes", "packets", "errs", "drop", "fifo", "colls", "carrier", "compressed"];

/// `node_network_{receive,transmit}_*_total` per device.
pub(super) fn netdev(text: &str, out: &mut Readings) -> Result<(), Malformed> {
    let mut metric = String::new();
    for line in text.lines().skip(2) {
        // An alias like `eth0:1` keeps its colon: the counters have none.
        let (device, rest) = line.rsplit_once(':').ok_or(Malformed("a line without a device"))?;
        let mut words = rest.split_ascii_whitespace();
        let columns = RECEIVE.map(|column| ("receive", column)).into_iter();
        for (way, column) in columns.chain(TRANSMIT.map(|column| ("transmit", column))) {
            metric.clear();
            let _ = write!(metric, "node_network_{way}_{column}_total");
            let help = format_args!("Network device statistic {way}_{column}.");
            out.put(&metric, COUNTER, help, &[("device", device.trim())], number(&mut words)?);
        }
    }
    Ok(())
}

/// State and size of each device: `node_network_up`, `_carrier`, `_mtu_bytes`, `_speed_bytes`,
/// `_transmit_queue_length`. A property that a device does not have is left out.
pub(super) fn netclass(source: &mut Source, out: &mut Readings) -> std::io::Result<()> {
    const PROPERTIES: [(&str, &str, f64, &str); 4] = [
        ("carrier", "node_network_carrier", 1.0, "Network device property: carrier"),
        ("mtu", "node_network_mtu_bytes", 1.0, "Network device property: mtu_bytes"),
        ("speed", "node_network_speed_bytes", 125_000.0, "Network device property: speed_bytes"),
        ("tx_queue_len", "node_network_transmit_queue_length", 1.0, "Network device property: transmit_queue_length"),
    ];
    for entry in std::fs::read_dir(source.sys_root().join("class/net"))? {
        let entry = entry?;
        let name = entry.file_name();
        let Some(device) = name.to_str() else { continue };
        let labels = [("device", device)];
        let mut path = entry.path();
        path.push("operstate");
        if let Some(state) = source.attribute(&path) {
            let up = if state == "up" { 1.0 } else { 0.0 };
            out.put("node_network_up", GAUGE, "Value is 1 if operstate is 'up', 0 otherwise.", &labels, up);
        }
        for (file, metric, factor, help) in PROPERTIES {
            path.set_file_name(file);
            let value = source.attribute(&path).and_then(|text| text.parse::<f64>().ok());
            // The speed is -1 where it is not known.
            if let Some(value) = value.filter(|&value| value >= 0.0) {
                out.put(metric, GAUGE, help, &labels, value * factor);
            }
        }
    }
    Ok(())
}

/// The counters among those of `/proc/net/snmp` and `/proc/net/netstat` that the usual
/// exporter keeps. Lines come in pairs: names, then values.
pub(super) fn netstat(text: &str, out: &mut Readings) -> Result<(), Malformed> {
    let mut metric = String::new();
    let mut lines = text.lines();
    while let (Some(names), Some(values)) = (lines.next(), lines.next()) {
        let (protocol, names) = names.split_once(':').ok_or(Malformed("a line without `:`"))?;
        let values = values.strip_prefix(protocol).and_then(|rest| rest.strip_prefix(':'));
        let mut values = values.ok_or(Malformed("names and values do not pair"))?.split_ascii_whitespace();
        for name in names.split_ascii_whitespace() {
            let value = number(&mut values)?;
            if keeps(protocol, name) {
                metric.clear();
                let _ = write!(metric, "node_netstat_{protocol}_{name}");
                out.put(&metric, UNTYPED, format_args!("Statistic {protocol}{name}."), &[], value);
            }
        }
    }
    Ok(())
}

fn keeps(protocol: &str, name: &str) -> bool {
    let any = |starts: &[&str]| starts.iter().any(|start| name.starts_with(start));
    match (protocol, name) {
        (_, "InErrors" | "InErrs") | ("Ip", "Forwarding") | ("IpExt", "InOctets" | "OutOctets") => true,
        ("Icmp", "InMsgs" | "OutMsgs") => true,
        ("TcpExt", "TCPSynRetrans" | "TCPTimeouts" | "TCPOFOQueue" | "TCPRcvQDrop") => true,
        ("TcpExt", _) => any(&["Listen", "Syncookies"]),
        ("Tcp", "ActiveOpens" | "InSegs" | "OutSegs" | "OutRsts" | "PassiveOpens" | "RetransSegs" | "CurrEstab") => {
            true
        }
        ("Udp", "InDatagrams" | "OutDatagrams" | "NoPorts" | "RcvbufErrors" | "SndbufErrors") => true,
        _ => false,
    }
}

/// `node_sockstat_*`: sockets in use, by protocol.
pub(super) fn sockstat(text: &str, out: &mut Readings) -> Result<(), Malformed> {
    let mut metric = String::new();
    for line in text.lines() {
        let (protocol, rest) = line.split_once(':').ok_or(Malformed("a line without `:`"))?;
        let mut words = rest.split_ascii_whitespace();
        while let Some(field) = words.next() {
            metric.clear();
            let _ = write!(metric, "node_sockstat_{protocol}_{field}");
            let help = format_args!("Number of {protocol} sockets in state {field}.");
            out.put(&metric, GAUGE, help, &[], number(&mut words)?);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn device_counters_are_read_by_column() {
        let text = "Inter-|   Receive                                                |  Transmit\n \
            face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed\n    \
            lo:    3193      29    0    0    0     0          0         0     3193      29    0    0    0     0       0          0\n  \
            eth0:1: 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16\n";
        let mut out = Readings::default();
        netdev(text, &mut out).unwrap();
        assert_eq!(out.len(), 32);
        assert_eq!(out.value(r#"node_network_receive_bytes_total{device="lo"}"#), Some(3193.0));
        assert_eq!(out.value(r#"node_network_receive_multicast_total{device="eth0:1"}"#), Some(8.0));
        assert_eq!(out.value(r#"node_network_transmit_carrier_total{device="eth0:1"}"#), Some(15.0));
        assert!(netdev("\n\neth0: 1 2\n", &mut out).is_err());
    }

    #[test]
    fn protocol_counters_pair_names_with_values() {
        let mut out = Readings::default();
        netstat("Ip: Forwarding DefaultTTL\nIp: 2 64\nUdp: InDatagrams InErrors\nUdp: 5 6\n", &mut out).unwrap();
        let all: Vec<_> = out.iter().collect();
        let expected = [
            ("node_netstat_Ip_Forwarding", 2.0),
            ("node_netstat_Udp_InDatagrams", 5.0),
            ("node_netstat_Udp_InErrors", 6.0),
        ];
        assert_eq!(all, expected);
        assert!(netstat("Ip: A B\nTcp: 1 2\n", &mut out).is_err());
        assert!(netstat("Ip: A B\nIp: 1\n", &mut out).is_err());
    }

    #[test]
    fn sockets_are_counted_by_protocol_and_state() {
        let mut out = Readings::default();
        sockstat("sockets: used 16\nTCP: inuse 1 orphan 0 mem 158\n", &mut out).unwrap();
        assert_eq!(out.value("node_sockstat_sockets_used"), Some(16.0));
        assert_eq!(out.value("node_sockstat_TCP_mem"), Some(158.0));
        assert!(sockstat("TCP: inuse\n", &mut out).is_err());
    }

    #[test]
    fn a_device_gives_the_properties_it_has() {
        let sys = tempfile::tempdir().unwrap();
        let device = sys.path().join("class/net/eth0");
        std::fs::create_dir_all(&device).unwrap();
        for (file, text) in [("operstate", "up\n"), ("mtu", "1500\n"), ("speed", "-1\n")] {
            std::fs::write(device.join(file), text).unwrap();
        }
        let mut out = Readings::default();
        netclass(&mut Source::new("/nowhere", sys.path()), &mut out).unwrap();
        let all: Vec<_> = out.iter().collect();
        let expected =
            [(r#"node_network_up{device="eth0"}"#, 1.0), (r#"node_network_mtu_bytes{device="eth0"}"#, 1500.0)];
        assert_eq!(all, expected);
    }
}
