//! Prometheus' remote write, version 1: protobuf, compressed by snappy.

use crate::store::{Error, Row};

/// Label sets as the bytes of their messages, by series.
pub(super) struct Encoder {
    labels: Vec<Vec<u8>>,
    message: Vec<u8>,
    series: Vec<u8>,
}

impl Encoder {
    pub(super) fn new(labels: impl Iterator<Item = Vec<(String, String)>>) -> Self {
        let encode = |pairs: Vec<(String, String)>| {
            let mut out = Vec::new();
            for (name, value) in pairs {
                let mut label = Vec::new();
                bytes_field(&mut label, 1, name.as_bytes());
                bytes_field(&mut label, 2, value.as_bytes());
                bytes_field(&mut out, 1, &label);
            }
            out
        };
        Self { labels: labels.map(encode).collect(), message: Vec::new(), series: Vec::new() }
    }

    /// The body of a request; samples of one series that follow each other share its labels.
    pub(super) fn body(&mut self, rows: &[Row]) -> Result<Vec<u8>, Error> {
        self.message.clear();
        for run in rows.chunk_by(|a, b| a.series == b.series) {
            self.series.clear();
            self.series.extend_from_slice(&self.labels[run[0].series as usize]);
            for row in run {
                let mut sample = vec![1 << 3 | 1];
                sample.extend_from_slice(&row.value.to_le_bytes());
                sample.push(2 << 3);
                varint(&mut sample, (row.timestamp_ns / 1_000_000) as u64);
                bytes_field(&mut self.series, 2, &sample);
            }
            bytes_field(&mut self.message, 1, &self.series);
        }
        Ok(snap::raw::Encoder::new().compress_vec(&self.message)?)
    }
}

fn bytes_field(out: &mut Vec<u8>, number: u8, bytes: &[u8]) {
    out.push(number << 3 | 2);
    varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

fn varint(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_what_the_protocol_says() {
        let labels = vec![("a".to_owned(), "b".to_owned())];
        let mut encoder = Encoder::new([labels].into_iter());
        let body = encoder.body(&[Row { series: 0, timestamp_ns: 300_000_000, value: 1.0 }]).unwrap();
        let message = snap::raw::Decoder::new().decompress_vec(&body).unwrap();
        let sample = [1 << 3 | 1, 0, 0, 0, 0, 0, 0, 0xf0, 0x3f, 2 << 3, 0xac, 0x02];
        let mut expected = vec![0x0a, 22, 0x0a, 6, 0x0a, 1, b'a', 0x12, 1, b'b', 0x12, 12];
        expected.extend_from_slice(&sample);
        assert_eq!(message, expected);
    }
}
