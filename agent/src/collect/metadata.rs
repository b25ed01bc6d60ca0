//! HELP, TYPE and UNIT: told to the engine when they are new or have changed.

use std::collections::HashMap;

use tidegauge::{Engine, Metadata, MetadataError};

/// Metrics of one target that are remembered; further ones go without metadata.
const METRICS_MAX: usize = 100_000;

/// What a store keeps of all metrics together: what is known beyond that is refused.
const BYTES_MAX: usize = 16 << 20;

/// What a target last said of each metric.
#[derive(Debug, Default)]
pub(crate) struct Descriptions {
    known: HashMap<String, Metadata>,
    changed: Vec<String>,
    /// Of the texts that have come since the engine was told.
    bytes: usize,
}

impl Descriptions {
    /// Starts from what the engine knows, so that a restart writes nothing anew.
    pub(crate) fn of(engine: &Engine) -> Self {
        Self { known: engine.metadata().into_iter().collect(), ..Self::default() }
    }

    pub(crate) fn kind(&mut self, metric: &str, kind: &str) {
        self.set(metric, kind, |metadata| &mut metadata.kind);
    }

    /// What is known of its type.
    pub(crate) fn kind_of(&self, metric: &str) -> Option<&str> {
        self.known.get(metric).map(|known| known.kind.as_str())
    }

    pub(crate) fn help(&mut self, metric: &str, help: &str) {
        self.set(metric, help, |metadata| &mut metadata.help);
    }

    pub(crate) fn unit(&mut self, metric: &str, unit: &str) {
        self.set(metric, unit, |metadata| &mut metadata.unit);
    }

    fn set(&mut self, metric: &str, text: &str, field: impl Fn(&mut Metadata) -> &mut String) {
        if let Some(metadata) = self.known.get_mut(metric) {
            let field = field(metadata);
            if field == text {
                return;
            }
            text.clone_into(field);
        } else {
            if self.known.len() == METRICS_MAX {
                return;
            }
            let mut metadata = Metadata::default();
            text.clone_into(field(&mut metadata));
            self.known.insert(metric.to_owned(), metadata);
        }
        self.bytes += metric.len() + text.len();
        // The lines of one metric follow each other.
        if self.changed.last().is_none_or(|last| last != metric) {
            self.changed.push(metric.to_owned());
        }
    }

    /// Whether so much has come that the engine is to be told, lest a file of such lines is held as a whole.
    pub(crate) fn is_full(&self) -> bool {
        self.bytes > BYTES_MAX
    }

    /// Tells the engine what has changed.
    pub(crate) fn store(&mut self, engine: &Engine) -> Result<(), MetadataError> {
        let known = |metric: &String| Some((metric.clone(), self.known.get(metric)?.clone()));
        let changed = self.changed.iter().filter_map(known).collect();
        self.changed.clear();
        self.bytes = 0;
        describe(engine, changed).1.map_or(Ok(()), Err)
    }
}

/// Tells the engine, in one write to disk. Where something is refused, each metric is told by itself, so that one
/// costs no other. Answers with how many were refused, and why the first was.
pub(crate) fn describe(engine: &Engine, all: Vec<(String, Metadata)>) -> (u64, Option<MetadataError>) {
    if all.is_empty() || engine.set_metadata_all(all.clone()).is_ok() {
        return (0, None);
    }
    let mut refused = (0, None);
    for (metric, metadata) in all {
        if let Err(why) = engine.set_metadata(&metric, metadata) {
            refused.0 += 1;
            refused.1.get_or_insert(why);
        }
    }
    refused
}

/// How many commits the manifest of a store holds, by the layout in docs/format/manifest.md.
#[cfg(test)]
pub(crate) fn commits(dir: &std::path::Path) -> u64 {
    let bytes = std::fs::read(dir.join("MANIFEST")).unwrap();
    let (mut at, mut commits) = (64, 0);
    while let Some(head) = bytes.get(at..at + 16)
        && head[8..] != [0; 8]
    {
        let length = u32::from_le_bytes(head[4..8].try_into().unwrap()) as usize;
        at += (16 + length).next_multiple_of(8);
        commits += 1;
    }
    commits
}
