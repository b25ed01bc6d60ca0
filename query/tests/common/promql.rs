//! A few samples, and what an expression says of them.

use std::sync::Arc;
use std::time::Duration;

use tidegauge_query::promql::{Matrix, PromqlError, Query, Value};
use tidegauge_storage::model::{Labels, Sample, SeqNo, Timestamp};
use tidegauge_storage::source::{Snapshot, VecSource};

pub(crate) const STALE: f64 = f64::from_bits(0x7ff0_0000_0000_0002);
pub(crate) const SECOND: i64 = 1_000_000_000;

pub(crate) fn labels(pairs: &[(&str, &str)]) -> Labels {
    let mut pairs = pairs.to_vec();
    pairs.sort_unstable();
    Labels::from_sorted(&pairs)
}

pub(crate) type Pairs<'a> = &'a [(&'a str, &'a str)];

pub(crate) fn snapshot(series: &[(Pairs<'_>, &[(i64, f64)])]) -> Snapshot {
    let mut source = VecSource::new();
    for (pairs, samples) in series {
        let samples = samples.iter().map(|&(at, value)| Sample { timestamp: Timestamp::from_nanos(at), value });
        source.insert(&labels(pairs), samples);
    }
    Snapshot::new(vec![Arc::new(source)], SeqNo(0))
}

pub(crate) fn at(snapshot: &Snapshot, text: &str, nanos: i64) -> Result<Value, PromqlError> {
    Query::new(snapshot, text).at(Timestamp::from_nanos(nanos)).map(|(value, _)| value)
}

/// The values of an instant vector, in its order.
pub(crate) fn values(snapshot: &Snapshot, text: &str, nanos: i64) -> Vec<f64> {
    match at(snapshot, text, nanos) {
        Ok(Value::Vector(samples)) => samples.iter().map(|s| s.value).collect(),
        other => panic!("{text}: {other:?}"),
    }
}

pub(crate) fn range(snapshot: &Snapshot, text: &str, start: i64, end: i64, step: i64) -> Matrix {
    let [start, end] = [start, end].map(Timestamp::from_nanos);
    let answer = Query::new(snapshot, text).range(start, end, Duration::from_nanos(step as u64));
    answer.unwrap_or_else(|e| panic!("{text}: {e}")).0
}
