//! A measurement with its name, and the text format.

use std::borrow::Cow;
use std::fmt::Write;

use crate::exposition::write_series;

/// One sample about ourselves.
#[derive(Debug)]
pub(crate) struct Metric {
    /// What the description belongs to; the sample's name begins with it.
    pub(super) family: &'static str,
    pub(super) suffix: &'static str,
    pub(super) kind: &'static str,
    pub(super) help: &'static str,
    pub(super) labels: Vec<(&'static str, Cow<'static, str>)>,
    pub(super) value: f64,
}

impl Metric {
    /// The sample's whole name.
    pub(super) fn name(&self) -> String {
        [self.family, self.suffix].concat()
    }
}

/// Collects samples; those of one family must follow each other.
#[derive(Debug, Default)]
pub(super) struct List(Vec<Metric>);

impl List {
    pub(super) fn put(&mut self, family: &'static str, kind: &'static str, help: &'static str, value: f64) {
        self.0.push(Metric { family, suffix: "", kind, help, labels: Vec::new(), value });
    }

    pub(super) fn gauge(&mut self, family: &'static str, help: &'static str, value: f64) {
        self.put(family, "gauge", help, value);
    }

    pub(super) fn counter(&mut self, family: &'static str, help: &'static str, value: u64) {
        self.put(family, "counter", help, value as f64);
    }

    pub(super) fn labelled(
        &mut self,
        family: &'static str,
        kind: &'static str,
        help: &'static str,
        name: &'static str,
        of: impl Into<Cow<'static, str>>,
        value: f64,
    ) {
        self.0.push(Metric { family, suffix: "", kind, help, labels: vec![(name, of.into())], value });
    }

    pub(super) fn part_of(
        &mut self,
        family: &'static str,
        suffix: &'static str,
        kind: &'static str,
        help: &'static str,
        labels: Vec<(&'static str, Cow<'static, str>)>,
        value: f64,
    ) {
        self.0.push(Metric { family, suffix, kind, help, labels, value });
    }

    pub(super) fn finish(self) -> Vec<Metric> {
        self.0
    }
}

/// Prometheus' text format, version 0.0.4.
pub(super) fn text(metrics: &[Metric]) -> String {
    let mut out = String::with_capacity(metrics.len() * 128);
    let mut described = "";
    for metric in metrics {
        let Metric { family, kind, help, labels, value, .. } = metric;
        if described != *family {
            described = family;
            let _ = writeln!(out, "# HELP {family} {help}\n# TYPE {family} {kind}");
        }
        write_series(&mut out, &metric.name(), labels.iter().map(|(name, of)| (*name, of.as_ref())));
        let _ = writeln!(out, " {value}");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exposition::{Dialect, Parser};

    #[test]
    fn the_text_is_what_our_own_parser_reads() {
        let mut list = List::default();
        list.counter("a_total", "Of a.", 3);
        list.labelled("b_seconds", "summary", "Of b.", "quantile", "0.5", 0.25);
        list.part_of("b_seconds", "_count", "summary", "Of b.", Vec::new(), 7.0);
        list.labelled("c", "gauge", "Of c.", "series", "m{a=\"x\\y\"}".to_owned(), 1.0);
        let both = || vec![("handler", "/x".into()), ("le", "0.1".into())];
        list.part_of("d_seconds", "_bucket", "histogram", "Of d.", both(), 2.0);
        list.part_of("d_seconds", "_count", "histogram", "Of d.", both()[..1].to_vec(), 2.0);
        let text = text(&list.finish());
        assert!(
            text.ends_with("d_seconds_bucket{handler=\"/x\",le=\"0.1\"} 2\nd_seconds_count{handler=\"/x\"} 2\n"),
            "{text}"
        );
        assert_eq!(text.matches("# TYPE b_seconds summary").count(), 1);
        let samples = text.lines().filter(|line| !line.starts_with('#')).count();
        assert_eq!(samples, 6);
        assert!(Parser::new(text.as_bytes(), Dialect::Text).all(|line| line.is_ok()), "{text}");
    }
}
