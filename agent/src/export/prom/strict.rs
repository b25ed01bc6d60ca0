//! A reader that takes what OpenMetrics' own reader takes, in its words, and no more.

use std::collections::{BTreeMap, BTreeSet};

use crate::exposition::{Dialect, Entry, Parser, SampleLine};

fn suffixes(kind: &str) -> &'static [&'static str] {
    match kind {
        "counter" => &["_total", "_created"],
        "summary" => &["", "_count", "_sum", "_created"],
        "histogram" => &["_count", "_sum", "_bucket", "_created"],
        "gaugehistogram" => &["_gcount", "_gsum", "_bucket"],
        "info" => &["_info"],
        _ => &[""],
    }
}

/// Families, their names, groups and times; values of counters and histograms.
pub(super) fn read_strictly(text: &str) -> Result<(), String> {
    let mut reader = Reader::default();
    for entry in Parser::new(text.as_bytes(), Dialect::OpenMetrics) {
        match entry.map_err(|e| e.to_string())? {
            Entry::Type { metric, kind } => {
                reader.announce(&metric)?;
                kind.clone_into(&mut reader.kind);
            }
            Entry::Help { metric, .. } | Entry::Unit { metric, .. } => reader.announce(&metric)?,
            Entry::Sample(sample) => reader.sample(&sample)?,
            Entry::Nothing | Entry::End => {}
        }
    }
    reader.end()
}

type Group = Vec<(String, String)>;

#[derive(Default)]
struct Reader {
    family: String,
    kind: String,
    /// Whether the family has had a sample.
    sampled: bool,
    /// Of all families and their samples.
    names: BTreeSet<String>,
    groups: BTreeSet<Group>,
    group: Option<Group>,
    at: i64,
    /// The bound and the value of the last bucket of this time.
    bucket: (f64, f64),
}

impl Reader {
    fn announce(&mut self, metric: &str) -> Result<(), String> {
        if metric == self.family && !self.sampled { Ok(()) } else { self.begin(metric) }
    }

    fn begin(&mut self, family: &str) -> Result<(), String> {
        self.end()?;
        let names = std::mem::take(&mut self.names);
        *self = Self { family: family.to_owned(), kind: "unknown".to_owned(), names, ..Self::default() };
        Ok(())
    }

    fn end(&mut self) -> Result<(), String> {
        if self.family.is_empty() {
            return Ok(());
        }
        let ends: BTreeSet<&str> = suffixes(&self.kind).iter().copied().chain([""]).collect();
        for end in ends {
            let name = format!("{}{end}", self.family);
            if !self.names.insert(name.clone()) {
                return Err(format!("clash: {name}"));
            }
        }
        Ok(())
    }

    fn sample(&mut self, sample: &SampleLine<'_>) -> Result<(), String> {
        let labels = sample.series.labels().map_err(|e| e.to_string())?;
        let labels: BTreeMap<String, String> =
            labels.into_iter().map(|(name, value)| (name.into_owned(), value.into_owned())).collect();
        let name = &labels["__name__"];
        if !suffixes(&self.kind).iter().any(|end| format!("{}{end}", self.family) == *name) {
            self.begin(name)?;
        }
        self.sampled = true;
        let end = &name[self.family.len()..];
        let own = match (self.kind.as_str(), end) {
            (_, "_bucket") => "le",
            ("summary", "") => "quantile",
            ("stateset", "") => &self.family,
            _ => "",
        };
        if !own.is_empty() && !labels.contains_key(own) {
            return Err(format!("{name}: no label {own}"));
        }
        // Nobody can tell the groups of an info.
        let in_group = |of: &str| of != own && of != "__name__" && self.kind != "info";
        let group: Group =
            labels.iter().filter(|(of, _)| in_group(of)).map(|(of, value)| (of.clone(), value.clone())).collect();
        let at = sample.timestamp.ok_or("no time")?.nanos();
        let is_new = self.group.as_ref() != Some(&group);
        if is_new && !self.groups.insert(group.clone()) {
            return Err(format!("{name}: its group comes twice"));
        }
        if !is_new && at < self.at && self.kind != "info" {
            return Err(format!("{name}: times go backwards"));
        }
        if is_new || at != self.at {
            self.bucket = (f64::NEG_INFINITY, 0.0);
        }
        if end == "_bucket" {
            let le: f64 = labels["le"].parse().map_err(|_| "le")?;
            if le <= self.bucket.0 || sample.value < self.bucket.1 {
                return Err(format!("{name}: buckets out of order"));
            }
            self.bucket = (le, sample.value);
        }
        if self.kind == "histogram" && end == "_count" && self.bucket != (f64::INFINITY, sample.value) {
            return Err(format!("{name}: not as many as in +Inf"));
        }
        if !["", "_created", "_info", "_gsum"].contains(&end) && (sample.value.is_nan() || sample.value < 0.0) {
            return Err(format!("{name}: {} of a counter", sample.value));
        }
        (self.group, self.at) = (Some(group), at);
        Ok(())
    }
}
