//! Influx line protocol, with timestamps in nanoseconds.
//!
//! `cpu_usage` becomes the field `usage` of `cpu`: that is how an import puts them together. A name that cannot be
//! taken apart is told by the label `__name__`.

use std::io::Write;

use tidegauge::{Columns, Labels, METRIC_NAME};

use super::value::put_value;
use super::{ExportError, Sheet};

#[derive(Default)]
pub(super) struct InfluxSheet {
    /// Measurement, labels, field and `=`.
    head: Vec<u8>,
}

impl Sheet for InfluxSheet {
    fn begin(&mut self, _: &mut Vec<u8>) -> Result<(), ExportError> {
        Ok(())
    }

    fn series(&mut self, labels: &Labels, _: &mut Vec<u8>) -> Result<(), &'static str> {
        let metric = labels.metric_name().ok_or("it has no metric's name")?;
        // A backslash only escapes, and cannot be escaped itself.
        let unfit = |text: &str| text.bytes().any(|b| b == b'\\' || b.is_ascii_control());
        if labels.iter().any(|(name, value)| unfit(name) || unfit(value)) {
            return Err("line protocol has no backslashes and control characters in names and labels");
        }
        let parts = metric.rsplit_once('_').filter(|(measurement, field)| !measurement.is_empty() && !field.is_empty());
        let (measurement, field) = parts.unwrap_or((metric, "value"));
        if measurement.starts_with('#') {
            return Err("a line that begins with # is a comment");
        }
        self.head.clear();
        put_escaped(&mut self.head, measurement);
        for (name, value) in labels.iter().filter(|(name, _)| *name != METRIC_NAME || parts.is_none()) {
            self.head.push(b',');
            put_escaped(&mut self.head, name);
            self.head.push(b'=');
            put_escaped(&mut self.head, value);
        }
        self.head.push(b' ');
        put_escaped(&mut self.head, field);
        self.head.push(b'=');
        Ok(())
    }

    fn samples(&mut self, columns: &Columns, out: &mut Vec<u8>) -> Result<(), ExportError> {
        for (&at, &value) in columns.timestamps.iter().zip(&columns.values) {
            out.extend_from_slice(&self.head);
            put_value(out, value);
            writeln!(out, " {at}")?;
        }
        Ok(())
    }
}

fn put_escaped(out: &mut Vec<u8>, text: &str) {
    for byte in text.bytes() {
        if matches!(byte, b',' | b'=' | b' ') {
            out.push(b'\\');
        }
        out.push(byte);
    }
}
