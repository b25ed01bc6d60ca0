//! The answer as one message: `prometheus.ReadResponse`.

use tidegauge::query::{Budget, Selection};
use tidegauge::{Columns, Snapshot, Timestamp};

use super::super::query::api_error;
use super::super::reply::ApiError;
use super::encode::{put_bytes, put_labels, put_varint, varint_len};
use super::request::Request;

/// The whole message, packed. Memory is bounded by the budget.
pub(super) fn answer(snapshot: &Snapshot, request: &Request, budget: &Budget) -> Result<Vec<u8>, ApiError> {
    let mut message = Vec::new();
    let mut held = budget.hold(0).map_err(api_error)?;
    let (mut columns, mut one) = (Columns::default(), Vec::new());
    for query in &request.queries {
        let mut result = Vec::new();
        let selection = snapshot
            .install(|sources| Selection::within(sources, &query.matchers, query.range, budget))
            .map_err(api_error)?;
        for series in selection.iter() {
            columns.clear();
            series.read_into(&mut columns, budget).map_err(api_error)?;
            if columns.is_empty() {
                continue;
            }
            one.clear();
            put_labels(&mut one, series.labels());
            each_millisecond(&columns, |at, value| put_sample(&mut one, at, value));
            put_bytes(&mut result, 1, &one);
            // Once more when it is joined to the message, and once when that is packed.
            held.resize((message.len() + result.capacity() * 3 + one.capacity()) as u64).map_err(api_error)?;
        }
        put_bytes(&mut message, 1, &result);
    }
    snap::raw::Encoder::new()
        .compress_vec(&message)
        .map_err(|e| ApiError::Execution(format!("too much for one message: {e}")))
}

/// Calls `each` with milliseconds and values. Of samples within the same millisecond the
/// last one stands for them.
pub(super) fn each_millisecond(columns: &Columns, mut each: impl FnMut(i64, f64)) {
    let millis = |nanos: i64| Timestamp::from_nanos(nanos).millis();
    for (i, (&at, &value)) in columns.timestamps.iter().zip(&columns.values).enumerate() {
        let at = millis(at);
        if columns.timestamps.get(i + 1).is_none_or(|&next| millis(next) != at) {
            each(at, value);
        }
    }
}

fn put_sample(out: &mut Vec<u8>, at: i64, value: f64) {
    out.push(2 << 3 | 2);
    put_varint(out, (1 + 8 + 1 + varint_len(at as u64)) as u64);
    out.push(1 << 3 | 1);
    out.extend_from_slice(&value.to_bits().to_le_bytes());
    out.push(2 << 3);
    // A negative int64 travels as the same 64 bits.
    put_varint(out, at as u64);
}
