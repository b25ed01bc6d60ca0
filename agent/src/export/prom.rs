//! OpenMetrics: seconds as timestamps, which hold nanoseconds, and `# EOF` at the end.
//!
//! Help is escaped. A type that OpenMetrics does not know, a unit that is not in one line, and blanks that help begins with
//! have no room there, and are counted.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashSet};

use tidegauge::{Columns, Labels, METRIC_NAME, Metadata};

use super::value::{put_seconds, put_value};
use super::{ExportError, ExportSummary, Sheet};
use crate::exposition::{Dialect, Entry, LINE_BYTES_MAX, parse_line, write_series};

pub(super) struct PromSheet<'a> {
    metadata: &'a BTreeMap<String, Metadata>,
    described: HashSet<String>,
    series: String,
    /// What there was no room for, and the first of it.
    left_out: u64,
    example: Option<String>,
}

impl<'a> PromSheet<'a> {
    pub(super) fn new(metadata: &'a BTreeMap<String, Metadata>) -> Self {
        Self { metadata, described: HashSet::new(), series: String::new(), left_out: 0, example: None }
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
        let told = Cow::Borrowed(metric);
        let mut put = |what: &str, entry: &Entry<'_>, line: &str, is_whole: bool| {
            if !put_if_it_reads_back(out, line, entry) || !is_whole {
                self.left_out += 1;
                self.example.get_or_insert_with(|| format!("the {what} of {metric}"));
            }
        };
        if !known.kind.is_empty() {
            let entry = Entry::Type { metric: told.clone(), kind: &known.kind };
            put("type", &entry, &format!("# TYPE {name} {}", known.kind), true);
        }
        if !known.unit.is_empty() {
            let entry = Entry::Unit { metric: told.clone(), unit: &known.unit };
            put("unit", &entry, &format!("# UNIT {name} {}", known.unit), true);
        }
        if !known.help.is_empty() {
            // The one is taken for what parts it from the name, the other for a part of the line's end.
            let help = known.help.trim_start_matches([' ', '\t']).trim_end_matches('\r');
            let escaped = help.replace('\\', "\\\\").replace('\n', "\\n");
            let entry = Entry::Help { metric: told, text: Cow::Borrowed(help) };
            put("help", &entry, &format!("# HELP {name} {escaped}"), help == known.help);
        }
    }
}

/// What these lines cannot hold is left out, such as a unit with a line feed: it would spoil the lines of others. Answers
/// whether it was written.
fn put_if_it_reads_back(out: &mut Vec<u8>, line: &str, entry: &Entry<'_>) -> bool {
    let is_one_line = line.len() <= LINE_BYTES_MAX && !line.contains('\n');
    let reads_back = is_one_line && parse_line(line.as_bytes(), Dialect::OpenMetrics).as_ref() == Ok(entry);
    if reads_back {
        out.extend_from_slice(line.as_bytes());
        out.push(b'\n');
    }
    reads_back
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

    fn end(&mut self, out: &mut Vec<u8>, summary: &mut ExportSummary) {
        out.extend_from_slice(b"# EOF\n");
        (summary.metadata_left_out, summary.metadata_example) = (self.left_out, self.example.take());
    }
}
