//! OpenMetrics: seconds as timestamps, which hold nanoseconds, and `# EOF` at the end.

use std::collections::{BTreeMap, HashSet};
use std::io::Write;

use tidegauge::{Columns, Labels, METRIC_NAME, Metadata};

use super::value::{put_seconds, put_value};
use super::{ExportError, Sheet};
use crate::exposition::write_series;

pub(super) struct PromSheet<'a> {
    metadata: &'a BTreeMap<String, Metadata>,
    described: HashSet<String>,
    series: String,
}

impl<'a> PromSheet<'a> {
    pub(super) fn new(metadata: &'a BTreeMap<String, Metadata>) -> Self {
        Self { metadata, described: HashSet::new(), series: String::new() }
    }

    /// What is known of a metric, where it comes first.
    fn describe(&mut self, metric: &str, out: &mut Vec<u8>) {
        let Some(known) = self.metadata.get(metric) else { return };
        if !self.described.insert(metric.to_owned()) {
            return;
        }
        let mut name = String::new();
        write_series(&mut name, metric, []);
        // A name that needs quotes comes in braces as a series, and without them here.
        let name = name.trim_start_matches('{').trim_end_matches('}');
        if !known.kind.is_empty() {
            let _ = writeln!(out, "# TYPE {name} {}", known.kind);
        }
        if !known.unit.is_empty() {
            let _ = writeln!(out, "# UNIT {name} {}", known.unit);
        }
        if !known.help.is_empty() {
            let help = known.help.replace('\\', "\\\\").replace('\n', "\\n");
            let _ = writeln!(out, "# HELP {name} {help}");
        }
    }
}

impl Sheet for PromSheet<'_> {
    fn begin(&mut self, _: &mut Vec<u8>) -> Result<(), ExportError> {
        Ok(())
    }

    fn series(&mut self, labels: &Labels, out: &mut Vec<u8>) -> Result<(), &'static str> {
        let metric = labels.metric_name().ok_or("it has no metric's name")?;
        self.describe(metric, out);
        self.series.clear();
        write_series(&mut self.series, metric, labels.iter().filter(|(name, _)| *name != METRIC_NAME));
        Ok(())
    }

    fn samples(&mut self, columns: &Columns, out: &mut Vec<u8>) -> Result<(), ExportError> {
        for (&at, &value) in columns.timestamps.iter().zip(&columns.values) {
            out.extend_from_slice(self.series.as_bytes());
            out.push(b' ');
            put_value(out, value);
            out.push(b' ');
            put_seconds(out, at);
            out.push(b'\n');
        }
        Ok(())
    }

    fn end(&mut self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"# EOF\n");
    }
}
