//! From a remote-write message into the engine.

use std::collections::BTreeMap;

use axum::http::StatusCode;
use tidegauge::{
    Ack, Engine, LabelLimits, Labels, METRIC_NAME, Metadata, PushError, SeriesId, SeriesSample, Timestamp,
};

use super::super::wire::WireError;
use super::request::{self, Item, Protocol, Series, kind_name};
use crate::collect::describe;

/// Samples handed to the engine at a time.
const BATCH: usize = 4096;

/// Why a request, or a part of it, was not stored.
#[derive(Debug, thiserror::Error)]
pub(super) enum StoreError {
    /// The body cannot be read. Nothing of it was stored.
    #[error("{0}")]
    Malformed(String),
    /// The same, at a known place.
    #[error(transparent)]
    Wire(#[from] WireError),
    /// Some series or samples are not acceptable; what else the request held was stored.
    #[error("{refused} samples or series refused, the first because {first}")]
    Refused { refused: u64, first: String },
    /// The engine takes nothing just now. Send again later.
    #[error("{0}")]
    NotNow(PushError),
}

impl StoreError {
    /// 4xx tells the sender not to try again, 5xx to do so.
    pub(super) fn status(&self) -> StatusCode {
        match self {
            Self::Malformed(_) | Self::Wire(_) | Self::Refused { .. } => StatusCode::BAD_REQUEST,
            Self::NotNow(_) => StatusCode::SERVICE_UNAVAILABLE,
        }
    }
}

/// What became of a request.
#[derive(Debug, Default)]
pub(super) struct Stored {
    /// Samples that the engine took.
    pub(super) samples: u64,
    /// The last of them; absent if none was taken.
    pub(super) ack: Option<Ack>,
    /// What was not taken, and why.
    pub(super) failed: Option<StoreError>,
}

/// Reads the whole message first, then stores it: a corrupt one leaves nothing behind.
pub(super) fn store(engine: &Engine, protocol: Protocol, message: &[u8]) -> Result<Stored, StoreError> {
    request::read(protocol, message, &mut |_| ())?;
    let mut writer = Writer {
        engine,
        batch: Vec::with_capacity(BATCH),
        described: BTreeMap::new(),
        done: Stored::default(),
        refused: None,
    };
    request::read(protocol, message, &mut |item| writer.item(&item))?;
    writer.send();
    writer.describe();
    Ok(writer.finish())
}

struct Writer<'a> {
    engine: &'a Engine,
    batch: Vec<SeriesSample>,
    /// What the request says of each metric: its last word.
    described: BTreeMap<String, Metadata>,
    done: Stored,
    refused: Option<(u64, String)>,
}

impl Writer<'_> {
    fn item(&mut self, item: &Item<'_, '_>) {
        match *item {
            Item::Series(series) => self.series(series),
            Item::Metadata { metric, kind, help, unit } => self.metadata(metric, kind, help, unit),
        }
    }

    fn series(&mut self, series: &Series<'_>) {
        let id = match self.resolve(series) {
            Ok(id) => id,
            Err(why) => return self.refuse(series.samples.len().max(1) as u64, || why),
        };
        if series.histograms > 0 {
            let why = || "native histograms are not available in this release".to_owned();
            self.refuse(series.histograms as u64, why);
        }
        for &(millis, value) in &series.samples {
            match Timestamp::from_millis(millis) {
                Ok(at) => self.batch.push(SeriesSample::new(id, at, value)),
                Err(why) => self.refuse(1, || why.to_string()),
            }
            if self.batch.len() == BATCH {
                self.send();
            }
        }
        if let Some((kind, help, unit)) = series.metadata
            && let Some(&(_, metric)) = series.labels.iter().find(|(name, _)| *name == METRIC_NAME)
        {
            self.metadata(metric, kind, help, unit);
        }
    }

    fn resolve(&self, series: &Series<'_>) -> Result<SeriesId, String> {
        let labels = Labels::new(series.labels.iter().copied(), &LabelLimits::DEFAULT).map_err(|e| e.to_string())?;
        if labels.metric_name().is_none() {
            return Err(format!("the series {labels} has no __name__"));
        }
        self.engine.series_labels(&labels).map_err(|e| e.to_string())
    }

    fn metadata(&mut self, metric: &str, kind: u64, help: &str, unit: &str) {
        if metric.is_empty() || (kind == 0 && help.is_empty() && unit.is_empty()) {
            return;
        }
        let kind = kind_name(kind);
        match self.described.get(metric) {
            // Each series of a metric says the same.
            Some(said) if said.kind == kind && said.help == help && said.unit == unit => (),
            _ => {
                let metadata = Metadata { kind: kind.to_owned(), help: help.to_owned(), unit: unit.to_owned() };
                self.described.insert(metric.to_owned(), metadata);
            }
        }
    }

    /// Descriptions are a service to readers: one that is refused costs no sample.
    fn describe(&mut self) {
        let described = std::mem::take(&mut self.described).into_iter().collect();
        let (count, first) = describe(self.engine, described);
        if let Some(why) = first {
            self.refuse(count, || why.to_string());
        }
    }

    /// Hands the batch over. Where the engine refuses it for one sample's sake, the others
    /// are handed over one by one.
    fn send(&mut self) {
        if self.batch.is_empty() || matches!(self.done.failed, Some(StoreError::NotNow(_))) {
            self.batch.clear();
            return;
        }
        let batch = std::mem::take(&mut self.batch);
        match self.engine.push_batch(&batch) {
            Ok(ack) => self.took(ack, batch.len() as u64),
            Err(PushError::TooFarAhead { .. } | PushError::StaleSeries) if batch.len() > 1 => {
                batch.iter().for_each(|sample| self.send_one(sample));
            }
            Err(why) => self.not_taken(why, batch.len() as u64),
        }
        self.batch = batch;
        self.batch.clear();
    }

    fn send_one(&mut self, sample: &SeriesSample) {
        match self.engine.push_batch(std::slice::from_ref(sample)) {
            Ok(ack) => self.took(ack, 1),
            Err(why) => self.not_taken(why, 1),
        }
    }

    fn took(&mut self, ack: Ack, samples: u64) {
        self.done.ack = Some(ack);
        self.done.samples += samples;
    }

    fn not_taken(&mut self, why: PushError, samples: u64) {
        match why {
            PushError::TooFarAhead { .. } => self.refuse(samples, || why.to_string()),
            _ => self.done.failed = Some(StoreError::NotNow(why)),
        }
    }

    fn refuse(&mut self, count: u64, why: impl FnOnce() -> String) {
        let refused = self.refused.get_or_insert_with(|| (0, why()));
        refused.0 += count;
    }

    fn finish(self) -> Stored {
        let mut done = self.done;
        if done.failed.is_none() {
            done.failed = self.refused.map(|(refused, first)| StoreError::Refused { refused, first });
        }
        done
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::collect::commits;

    /// A field of protobuf's wire format.
    fn field(number: u8, payload: &[u8]) -> Vec<u8> {
        [&[number << 3 | 2, payload.len() as u8], payload].concat()
    }

    #[test]
    fn a_request_that_describes_many_metrics_costs_one_commit() {
        let dir = tempfile::tempdir().unwrap();
        let engine = Engine::open(dir.path()).unwrap();
        let described = |metric: &str| field(3, &[&[8, 1], &field(2, metric.as_bytes())[..], &field(4, b"?")].concat());
        let message: Vec<u8> = (0..1000).flat_map(|i| described(&format!("m{i}"))).collect();
        let before = commits(dir.path());
        for _ in 0..2 {
            let stored = store(&engine, Protocol::V1, &message).unwrap();
            assert!(stored.failed.is_none(), "{:?}", stored.failed);
            assert_eq!(commits(dir.path()), before + 1, "and what is known is no news");
        }
        let known = engine.metadata();
        assert_eq!((known.len(), known["m999"].kind.as_str(), known["m999"].help.as_str()), (1000, "counter", "?"));
    }

    #[test]
    fn a_sender_notices_nothing_when_its_series_have_left_memory() {
        let engine = Engine::in_memory().unwrap();
        let label = field(1, &[field(1, b"__name__"), field(2, b"up")].concat());
        for round in 1..=3u8 {
            // The value as a fixed double, the time as a number.
            let sample = field(2, &[&[9][..], &f64::from(round).to_le_bytes(), &[16, round]].concat());
            let stored = store(&engine, Protocol::V1, &field(1, &[label.clone(), sample].concat())).unwrap();
            assert!(stored.failed.is_none() && stored.samples == 1, "{:?}", stored.failed);
            engine.wait(stored.ack.unwrap(), tidegauge::Level::Visible, std::time::Duration::from_secs(20)).unwrap();
            engine.flush().unwrap();
            assert_eq!(tidegauge::internals::evict_idle(&engine), 1);
        }
        let up: Vec<(i64, u64)> = (1..=3u8).map(|n| (i64::from(n) * 1_000_000, f64::from(n).to_bits())).collect();
        assert_eq!(crate::test_engine::samples_of(&engine, "up"), up);
    }

    #[test]
    fn a_description_that_is_refused_costs_no_other() {
        let engine = Engine::in_memory().unwrap();
        let huge = "x".repeat(64 << 20);
        let mut all: Vec<(String, Metadata)> = ["a", "b", "c"].map(|m| (m.to_owned(), Metadata::default())).into();
        all[0].1.kind = "counter".to_owned();
        all[1].1.help = huge;
        all[2].1.kind = "gauge".to_owned();
        let (refused, why) = describe(&engine, all);
        assert_eq!(refused, 1);
        assert!(why.unwrap().to_string().contains("\"b\""));
        assert_eq!(engine.metadata().into_keys().collect::<Vec<_>>(), ["a", "c"]);
    }
}
