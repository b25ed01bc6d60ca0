//! OpenMetrics: seconds as timestamps, which hold nanoseconds, and `# EOF` at the end.
//!
//! Help is escaped. A type that OpenMetrics does not know, a unit that is not in one line, and blanks that help begins with
//! have no room there.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashSet};

use tidegauge::{Columns, Labels, METRIC_NAME, Metadata};

use super::value::{put_seconds, put_value};
use super::{ExportError, Sheet};
use crate::exposition::{Dialect, Entry, LINE_BYTES_MAX, parse_line, write_series};

pub(super) struct PromSheet<'a> {
    metadata: &'a BTreeMap<String, Metadata>,
    described: HashSet<String>,
    series: String,
}

impl<'a> PromSheet<'a> {
    pub(super) fn new(metadata: &'a BTreeMap<String, Metadata>) -> Self {
        Self { metadata, described: HashSet::new(), series: String::new() }
    }

    /// What is known of a metric, where it comes first, as far as the format has room for it.
    fn describe(&mut self, metric: &str, out: &mut Vec<u8>) {
        let Some(known) = self.metadata.get(metric) else { return };
        if !self.described.insert(metric.to_owned()) {
            return;
        }
        let mut name = String::new();
        write_series(&mut name, metric, []);
        // A name that needs quotes comes in braces as a series, and without them here.
        let name = name.trim_start_matches('{').trim_end_matches('}');
        let metric = Cow::Borrowed(metric);
        if !known.kind.is_empty() {
            let entry = Entry::Type { metric: metric.clone(), kind: &known.kind };
            put_if_it_reads_back(out, &format!("# TYPE {name} {}", known.kind), &entry);
        }
        if !known.unit.is_empty() {
            let entry = Entry::Unit { metric: metric.clone(), unit: &known.unit };
            put_if_it_reads_back(out, &format!("# UNIT {name} {}", known.unit), &entry);
        }
        // The one is taken for what parts it from the name, the other for a part of the line's end.
        let help = known.help.trim_start_matches([' ', '\t']).trim_end_matches('\r');
        if !help.is_empty() {
            let escaped = help.replace('\\', "\\\\").replace('\n', "\\n");
            let entry = Entry::Help { metric, text: Cow::Borrowed(help) };
            put_if_it_reads_back(out, &format!("# HELP {name} {escaped}"), &entry);
        }
    }
}

/// What these lines cannot hold is left out, such as a unit with a line feed: it would spoil the lines of others.
fn put_if_it_reads_back(out: &mut Vec<u8>, line: &str, entry: &Entry<'_>) {
    let is_one_line = line.len() <= LINE_BYTES_MAX && !line.contains('\n');
    if is_one_line && parse_line(line.as_bytes(), Dialect::OpenMetrics).as_ref() == Ok(entry) {
        out.extend_from_slice(line.as_bytes());
        out.push(b'\n');
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
