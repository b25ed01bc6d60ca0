//! What machine the figures are of.

use std::fs;

use serde::Serialize;

use super::cores;

/// A short description of the machine. What the system does not tell is empty or zero.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Machine {
    /// The processor's name.
    pub cpu: String,
    /// Processors that this process may use.
    pub cores: usize,
    /// Memory in bytes.
    pub memory_bytes: u64,
    /// The kernel's release.
    pub kernel: String,
}

impl Machine {
    /// Asks the system.
    #[must_use]
    pub fn this() -> Self {
        let read = |path| fs::read_to_string(path).unwrap_or_default();
        let memory = field(&read("/proc/meminfo"), "MemTotal").trim_end_matches("kB").trim().parse::<u64>();
        Self {
            cpu: field(&read("/proc/cpuinfo"), "model name"),
            cores: cores(),
            memory_bytes: memory.unwrap_or(0) * 1024,
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
        }
    }
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
}
