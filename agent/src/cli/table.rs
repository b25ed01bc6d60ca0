//! Answers as tables and as CSV.

use std::collections::BTreeSet;
use std::io::Write;

use tidegauge::query::promql::Value;
use tidegauge::{Labels, METRIC_NAME, Timestamp};

use crate::ask::put_float;
use crate::units::show_time;

/// For eyes: a line a sample, aligned; a range has a heading a series.
pub(super) fn put_table(out: &mut Vec<u8>, value: &Value, at: Timestamp) {
    match value {
        Value::Scalar(number) => line(out, &[&float(*number)]),
        Value::String(text) => line(out, &[text]),
        Value::Vector(samples) if samples.is_empty() => line(out, &["(no series)"]),
        Value::Matrix(series) if series.is_empty() => line(out, &["(no series)"]),
        Value::Vector(samples) => {
            let values: Vec<String> = samples.iter().map(|s| float(s.value)).collect();
            let width = values.iter().map(String::len).max().unwrap_or(0);
            line(out, &["at ", &show_time(at)]);
            for (sample, value) in samples.iter().zip(&values) {
                line(out, &[&format!("{value:>width$}"), "  ", &sample.labels.to_string()]);
            }
        }
        Value::Matrix(all) => {
            for series in all {
                line(out, &[&series.labels.to_string()]);
                for (&at, &value) in series.timestamps.iter().zip(&series.values) {
                    line(out, &["  ", &show_time(Timestamp::from_nanos(at)), "  ", &float(value)]);
                }
            }
        }
        _ => line(out, &["(a kind of answer that this release cannot print)"]),
    }
}

/// For programs: `time,value`, then a column for each label that occurs.
pub(super) fn put_csv(out: &mut Vec<u8>, value: &Value, at: Timestamp) -> Result<(), csv::Error> {
    let mut csv = csv::Writer::from_writer(out);
    match value {
        Value::Scalar(number) => {
            csv.write_record(["time", "value"])?;
            csv.write_record([show_time(at), float(*number)])?;
        }
        Value::String(text) => {
            csv.write_record(["time", "value"])?;
            csv.write_record([show_time(at), text.clone()])?;
        }
        Value::Vector(samples) => {
            let names = label_names(samples.iter().map(|s| &s.labels));
            csv.write_record(header(&names))?;
            for sample in samples {
                csv.write_record(record(&names, &sample.labels, sample.timestamp, sample.value))?;
            }
        }
        Value::Matrix(all) => {
            let names = label_names(all.iter().map(|s| &s.labels));
            csv.write_record(header(&names))?;
            for series in all {
                for (&at, &value) in series.timestamps.iter().zip(&series.values) {
                    csv.write_record(record(&names, &series.labels, Timestamp::from_nanos(at), value))?;
                }
            }
        }
        _ => {}
    }
    csv.flush()?;
    Ok(())
}

/// The metric's name first, then the others in their order.
fn label_names<'a>(all: impl Iterator<Item = &'a Labels>) -> Vec<String> {
    let mut names = BTreeSet::new();
    for labels in all {
        for (name, _) in labels.iter() {
            if !names.contains(name) {
                names.insert(name.to_owned());
            }
        }
    }
    let metric = names.take(METRIC_NAME);
    metric.into_iter().chain(names).collect()
}

fn header(names: &[String]) -> impl Iterator<Item = &str> {
    ["time", "value"].into_iter().chain(names.iter().map(String::as_str))
}

fn record(names: &[String], labels: &Labels, at: Timestamp, value: f64) -> Vec<String> {
    let mut record = vec![show_time(at), float(value)];
    record.extend(names.iter().map(|name| labels.get(name).unwrap_or_default().to_owned()));
    record
}

fn float(value: f64) -> String {
    let mut text = Vec::new();
    put_float(&mut text, value);
    String::from_utf8_lossy(&text).into_owned()
}

fn line(out: &mut Vec<u8>, parts: &[&str]) {
    for part in parts {
        let _ = out.write_all(part.as_bytes());
    }
    out.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_column_for_each_label_with_the_metric_first() {
        let a = Labels::from_sorted(&[("__name__", "up"), ("job", "x")]);
        let b = Labels::from_sorted(&[("A", "1"), ("__name__", "up")]);
        let names = label_names([&a, &b].into_iter());
        assert_eq!(names, ["__name__", "A", "job"]);
        assert_eq!(record(&names, &a, Timestamp::from_nanos(0), 1.5), ["1970-01-01T00:00:00Z", "1.5", "up", "", "x"]);
    }
}
