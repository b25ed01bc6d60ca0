//! From a remote-write message into the engine.

use axum::http::StatusCode;
use tidegauge::{
    Ack, Engine, LabelLimits, Labels, METRIC_NAME, Metadata, PushError, SeriesId, SeriesSample, Timestamp,
};

use super::super::wire::WireError;
use super::request::{self, Item, Protocol, Series, kind_name};

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
    let mut writer = Writer { engine, batch: Vec::with_capacity(BATCH), done: Stored::default(), refused: None };
    request::read(protocol, message, &mut |item| writer.item(&item))?;
    writer.send();
    Ok(writer.finish())
}

struct Writer<'a> {
    engine: &'a Engine,
    batch: Vec<SeriesSample>,
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

    /// Descriptions are a service to readers: one that is refused costs no sample.
    fn metadata(&mut self, metric: &str, kind: u64, help: &str, unit: &str) {
        if metric.is_empty() || (kind == 0 && help.is_empty() && unit.is_empty()) {
            return;
        }
        let metadata = Metadata { kind: kind_name(kind).to_owned(), help: help.to_owned(), unit: unit.to_owned() };
        if let Err(why) = self.engine.set_metadata(metric, metadata) {
            self.refuse(1, || why.to_string());
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
