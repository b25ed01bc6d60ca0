//! Writes what fuzzing starts from: `seeds FOLDER` makes FOLDER/<target>/*.

use std::path::Path;

use tidegauge_fuzz::{chunks, manifest, segment, shapes, wal};
use tidegauge_storage::chunk::Effort;

fn main() -> std::io::Result<()> {
    let folder = std::env::args().nth(1).unwrap_or_else(|| "corpus".to_owned());
    let write = |target: &str, seeds: Vec<Vec<u8>>| {
        let dir = Path::new(&folder).join(target);
        std::fs::create_dir_all(&dir)?;
        (0..).zip(&seeds).try_for_each(|(i, seed)| std::fs::write(dir.join(format!("seed-{i:03}")), seed))
    };
    let round_trip = shapes().into_iter().map(|samples| {
        let bits = samples.values.iter().flat_map(|value| value.to_le_bytes());
        std::iter::once(0).chain(bits).collect()
    });
    write("chunk", chunks())?;
    write("round_trip", round_trip.collect())?;
    write("segment", vec![segment(Effort::Fresh), segment(Effort::Cold)])?;
    write("index", vec![vec![0; 3], vec![7; 30]])?;
    write("manifest", vec![manifest()])?;
    write("wal", vec![wal()])
}
