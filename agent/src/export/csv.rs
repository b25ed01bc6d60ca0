//! CSV: `timestamp,value,__name__`, then a column for each label that occurs.

use std::collections::BTreeSet;

use csv::{ByteRecord, WriterBuilder};
use tidegauge::query::Selection;
use tidegauge::{Columns, Labels, METRIC_NAME, Timestamp};

use super::value::put_value;
use super::{ExportError, Sheet};
use crate::units::show_time;

/// What an import takes for the time; in any case.
const TIME_NAMES: [&str; 6] = ["timestamp", "time", "ts", "Timestamp", "Time", "TS"];
const VALUE_NAMES: [&str; 4] = ["value", "Value", "VALUE", "vALUE"];

pub(super) struct CsvSheet {
    /// All labels but the metric's name, ascending.
    names: Vec<String>,
    /// The cells of the series, behind time and value.
    cells: Vec<Vec<u8>>,
    value: Vec<u8>,
}

impl CsvSheet {
    pub(super) fn of(selections: &[Selection]) -> Self {
        let mut names = BTreeSet::new();
        for selection in selections {
            for i in 0..selection.len() {
                for (name, _) in selection.labels(i).iter() {
                    if !names.contains(name) {
                        names.insert(name.to_owned());
                    }
                }
            }
        }
        names.remove(METRIC_NAME);
        Self { names: names.into_iter().collect(), cells: Vec::new(), value: Vec::new() }
    }

    /// A heading that no label has, found by an import all the same.
    fn free(&self, of: &[&'static str]) -> Option<&'static str> {
        of.iter().copied().find(|heading| !self.names.iter().any(|name| name == heading))
    }
}

impl Sheet for CsvSheet {
    fn begin(&mut self, out: &mut Vec<u8>) -> Result<(), ExportError> {
        let taken = || std::io::Error::other("labels are called like all headings of time and value");
        let (time, value) = self.free(&TIME_NAMES).zip(self.free(&VALUE_NAMES)).ok_or_else(taken)?;
        let names = self.names.iter().map(String::as_str);
        let mut writer = WriterBuilder::new().from_writer(out);
        writer.write_record([time, value, METRIC_NAME].into_iter().chain(names))?;
        Ok(writer.flush()?)
    }

    fn series(&mut self, labels: &Labels, _: &mut Vec<u8>) -> Result<(), &'static str> {
        let metric = labels.metric_name().ok_or("it has no metric's name")?;
        if labels.iter().any(|(name, _)| name.trim() != name) {
            return Err("headings lose the blanks around them");
        }
        self.cells.clear();
        self.cells.push(metric.as_bytes().to_vec());
        self.cells.extend(self.names.iter().map(|name| labels.get(name).unwrap_or_default().as_bytes().to_vec()));
        Ok(())
    }

    fn samples(&mut self, columns: &Columns, out: &mut Vec<u8>) -> Result<(), ExportError> {
        let mut writer = WriterBuilder::new().from_writer(out);
        let mut record = ByteRecord::new();
        for (&at, &value) in columns.timestamps.iter().zip(&columns.values) {
            self.value.clear();
            put_value(&mut self.value, value);
            record.clear();
            record.push_field(show_time(Timestamp::from_nanos(at)).as_bytes());
            record.push_field(&self.value);
            self.cells.iter().for_each(|cell| record.push_field(cell));
            writer.write_byte_record(&record)?;
        }
        Ok(writer.flush()?)
    }
}
