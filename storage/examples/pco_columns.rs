//! What `pco` makes of the columns of a CSV file alone, without labels, index and checksums: of each series the
//! timestamps as whole numbers, as the file has them, and the values, each compressed by itself at the default level:
//! `cargo run --release -p tidegauge-storage --features cold --example pco_columns cloudwatch.csv`.
//!
//! The first column is the time, the last one the value, those between say which series it is. No cell may be quoted.

use std::collections::BTreeMap;
use std::error::Error;

use pco::ChunkConfig;
use pco::standalone::simple_compress;

fn main() -> Result<(), Box<dyn Error>> {
    let path = std::env::args().nth(1).ok_or("name a CSV file")?;
    let text = std::fs::read_to_string(path)?;
    let mut series = BTreeMap::<&str, (Vec<i64>, Vec<f64>)>::new();
    for line in text.lines().skip(1) {
        let (at, rest) = line.split_once(',').ok_or("a line of one column")?;
        let (labels, value) = rest.rsplit_once(',').unwrap_or(("", rest));
        let (times, values) = series.entry(labels).or_default();
        times.push(at.parse()?);
        values.push(value.parse()?);
    }
    let config = ChunkConfig::default();
    let (mut samples, mut times_bytes, mut values_bytes) = (0, 0, 0);
    for (times, values) in series.values() {
        samples += values.len();
        times_bytes += simple_compress(times, &config)?.len();
        values_bytes += simple_compress(values, &config)?.len();
    }
    println!(
        "{samples} samples of {} series: {} bytes, {times_bytes} of timestamps and {values_bytes} of values",
        series.len(),
        times_bytes + values_bytes
    );
    Ok(())
}
