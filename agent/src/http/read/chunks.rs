//! The answer as a stream: frames of `prometheus.ChunkedReadResponse`.
//!
//! A frame is its length, the CRC32C of what follows (big-endian), and the message. Series
//! go out in the order of their labels; none is held as a whole.

use tidegauge::query::{Budget, Selection};
use tidegauge::{ColumnCursor, Columns, Snapshot};

use super::super::outlet::Answer;
use super::super::query::api_error;
use super::super::reply::ApiError;
use super::encode::{put_bytes, put_labels, put_number, put_varint};
use super::request::Request;
use super::samples::each_millisecond;
use super::xor::XorChunk;
use crate::ask::Outlet;

/// Samples of a chunk, as many as Prometheus itself puts into one.
const CHUNK_SAMPLES: u16 = 120;
/// A frame is closed once it holds this much. Readers refuse frames above 50 MiB.
const FRAME_BYTES: usize = 1 << 20;
/// `prometheus.Chunk.Encoding.XOR`
const XOR: u64 = 1;

pub(super) fn answer(
    snapshot: &Snapshot,
    request: &Request,
    budget: &Budget,
    out: &mut Answer,
) -> Result<(), ApiError> {
    for (index, query) in (0u64..).zip(&request.queries) {
        let selection = snapshot
            .install(|sources| Selection::within(sources, &query.matchers, query.range, budget))
            .map_err(api_error)?;
        let mut frame = Frame { index, labels: Vec::new(), chunks: Vec::new(), message: Vec::new() };
        let mut columns = Columns::default();
        for series in selection.iter() {
            frame.labels.clear();
            put_labels(&mut frame.labels, series.labels());
            let mut cursor = series.cursor();
            let mut chunk = XorChunk::default();
            // The last sample waits: the next batch may go on within its millisecond.
            columns.clear();
            loop {
                let before = columns.len();
                let more = cursor.next(&mut columns).map_err(|e| api_error(e.into()))?;
                budget.count_samples((columns.len() - before) as u64).map_err(api_error)?;
                let waiting = if more { keep_last(&mut columns) } else { None };
                each_millisecond(&columns, |at, value| {
                    if chunk.len() == CHUNK_SAMPLES {
                        frame.close_chunk(&mut chunk);
                    }
                    chunk.push(at, value);
                });
                if frame.chunks.len() >= FRAME_BYTES {
                    frame.send(out)?;
                }
                columns.clear();
                if !more {
                    break;
                }
                if let Some((at, value)) = waiting {
                    columns.push(at, value);
                }
            }
            frame.close_chunk(&mut chunk);
            frame.send(out)?;
        }
    }
    Ok(())
}

fn keep_last(columns: &mut Columns) -> Option<(i64, f64)> {
    Some((columns.timestamps.pop()?, columns.values.pop()?))
}

/// One series, or a part of it, on its way.
struct Frame {
    index: u64,
    labels: Vec<u8>,
    chunks: Vec<u8>,
    message: Vec<u8>,
}

impl Frame {
    fn close_chunk(&mut self, chunk: &mut XorChunk) {
        let Some((first, last)) = chunk.time_range() else { return };
        let mut one = Vec::with_capacity(chunk.bytes().len() + 32);
        put_number(&mut one, 1, first as u64);
        put_number(&mut one, 2, last as u64);
        put_number(&mut one, 3, XOR);
        put_bytes(&mut one, 4, chunk.bytes());
        put_bytes(&mut self.chunks, 2, &one);
        chunk.clear();
    }

    fn send(&mut self, out: &mut Answer) -> Result<(), ApiError> {
        if self.chunks.is_empty() {
            return Ok(());
        }
        self.message.clear();
        self.message.push(1 << 3 | 2);
        put_varint(&mut self.message, (self.labels.len() + self.chunks.len()) as u64);
        self.message.extend_from_slice(&self.labels);
        self.message.extend_from_slice(&self.chunks);
        put_number(&mut self.message, 2, self.index);
        self.chunks.clear();
        let buffer = out.buffer();
        put_varint(buffer, self.message.len() as u64);
        buffer.extend_from_slice(&crc32c::crc32c(&self.message).to_be_bytes());
        buffer.extend_from_slice(&self.message);
        Ok(out.spill()?)
    }
}
