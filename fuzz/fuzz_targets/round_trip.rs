//! Values of any bits come back, fresh and cold, and take no more bytes than they have.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tidegauge_storage::chunk::{CHUNK_SAMPLES_MAX, Effort, ValueColumn, ValueEncoder};

/// The first byte says how the others become values: bit patterns, or integers in some unit.
fn values(bytes: &[u8]) -> Vec<f64> {
    let Some((&shape, bytes)) = bytes.split_first() else { return Vec::new() };
    let unit = [1.0, 0.1, 1e-3, 1.0 / 3.0][usize::from(shape >> 2) % 4];
    let mut values: Vec<f64> = match shape & 3 {
        0 => bytes.as_chunks::<8>().0.iter().map(|b| f64::from_le_bytes(*b)).collect(),
        1 => bytes.as_chunks::<2>().0.iter().map(|b| f64::from(i16::from_le_bytes(*b)) * unit).collect(),
        2 => bytes.iter().map(|b| f64::from(*b) * unit).collect(),
        _ => bytes
            .iter()
            .scan(0.0, |level, b| {
                *level += f64::from(*b as i8);
                Some(*level * unit)
            })
            .collect(),
    };
    // A full vector and some, seldom more than two: what follows costs pco most of the time, and shows nothing new.
    let most = if shape & 0x70 == 0x70 { 2200 } else { 1100 };
    values.truncate(most);
    // So that short inputs reach full vectors, too.
    if shape & 0x80 != 0 && !values.is_empty() {
        values = values.iter().copied().cycle().take(most).collect();
    }
    values
}

fuzz_target!(|bytes: &[u8]| {
    let values = values(bytes);
    let mut encoder = ValueEncoder::new();
    for chunk in values.chunks(CHUNK_SAMPLES_MAX) {
        let mut lengths = [0; 2];
        for (effort, len) in [Effort::Fresh, Effort::Cold].into_iter().zip(&mut lengths) {
            encoder.set_effort(effort);
            let mut column = Vec::new();
            encoder.encode(chunk, &mut column);
            *len = column.len();
            let read = ValueColumn::parse(&column, chunk.len()).expect("just encoded");
            let mut at = 0;
            let visited = read.for_each_vector(|_, values| {
                let want = &chunk[at..at + values.len()];
                assert!(values.iter().zip(want).all(|(got, want)| got.to_bits() == want.to_bits()));
                at += values.len();
            });
            visited.expect("just encoded");
            assert_eq!(at, chunk.len());
        }
        assert!(lengths[0] <= chunk.len() * 8 + 10 && lengths[1] <= lengths[0]);
    }
});
