//! Writes what fuzzing starts from: `seeds FOLDER` makes FOLDER/<target>/*.

use std::path::Path;

use tidegauge_fuzz::queries::{BEGIN, EXPRESSIONS};
use tidegauge_fuzz::{
    chunks, closed_beside, joined, manifests, segment, segment_of_full_vectors, segment_of_version_1, shapes, wal,
    wal_files,
};
use tidegauge_storage::chunk::Effort;

/// As ci/fuzz.sh says.
const INPUT_BYTES_MAX: usize = 65_536;

fn main() -> std::io::Result<()> {
    let folder = std::env::args().nth(1).unwrap_or_else(|| "corpus".to_owned());
    let write = |target: &str, seeds: Vec<Vec<u8>>| {
        let dir = Path::new(&folder).join(target);
        std::fs::create_dir_all(&dir)?;
        // libFuzzer would leave the end out.
        assert!(
            seeds.iter().all(|seed| seed.len() <= INPUT_BYTES_MAX),
            "{target}: a seed is longer than an input may be"
        );
        (0..).zip(&seeds).try_for_each(|(i, seed)| std::fs::write(dir.join(format!("seed-{i:03}")), seed))
    };
    let round_trip = shapes().into_iter().map(|samples| {
        let bits = samples.values.iter().flat_map(|value| value.to_le_bytes());
        std::iter::once(0).chain(bits).collect()
    });
    let mut segments = vec![segment_of_version_1()];
    for effort in [Effort::Fresh, Effort::Cold] {
        segments.extend([segment(effort), segment_of_full_vectors(effort)]);
    }
    write("chunk", chunks())?;
    write("round_trip", round_trip.collect())?;
    write("segment", segments)?;
    write("index", vec![vec![0; 3], vec![7; 30]])?;
    write("wal", vec![wal()])?;
    let log = wal_files();
    let missing =
        |i: usize| log.iter().enumerate().map(|(at, file)| if at == i { vec![] } else { file.clone() }).collect();
    let logs: Vec<Vec<Vec<u8>>> = (0..4).map(missing).collect();
    let manifests = manifests();
    write("manifest", manifests.to_vec())?;
    let beside = logs.into_iter().zip(manifests.iter().cycle());
    write(
        "remains",
        beside
            .map(|(log, manifest)| joined(&[vec![manifest.clone(), closed_beside(manifest)], log].concat()))
            .collect(),
    )?;
    write("promql", EXPRESSIONS.iter().map(|text| text.as_bytes().to_vec()).collect())?;
    write("http", forms())
}

/// A byte that chooses the path, and what is sent there.
fn forms() -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    for (i, text) in EXPRESSIONS.iter().enumerate() {
        let text: String = text.bytes().map(|b| format!("%{b:02X}")).collect();
        let (now, end) = (BEGIN + 300, BEGIN + 600);
        let form = match i % 4 {
            0 => format!("\u{1}query={text}&time={now}.5&timeout=5s&limit=2&stats=all"),
            1 => format!("\u{3}query={text}&start={now}&end={end}&step=15s&lookback_delta=1m&stats=true"),
            2 => format!("\u{2}query={text}&start=2023-11-14T22:13:20.5Z&end={end}&step=0.5"),
            _ => format!("{}query={text}", char::from(12 + (i % 8) as u8)),
        };
        all.push(form.into_bytes());
    }
    for path in [4u8, 5, 6, 7, 8, 16, 17, 22] {
        let form = format!("match[]=g&match[]=%7Bhost%3D~%22a%7Cb%22%7D&start={BEGIN}&end=1.8e9&limit=3&query=g");
        all.push([&[path][..], form.as_bytes()].concat());
    }
    all.push(b"\x0alimit=1&limit_per_metric=0&metric=g".to_vec());
    all.push(b"\x12limit=5".to_vec());
    all.push(b"\x14topN=3&maxLifetime=5m".to_vec());
    all
}
