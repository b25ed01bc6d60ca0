//! Writes what fuzzing starts from: `seeds FOLDER` makes FOLDER/<target>/*.

use std::path::Path;

use tidegauge_fuzz::queries::{BEGIN, EXPRESSIONS};
use tidegauge_fuzz::segments::mend_outline;
use tidegauge_fuzz::{
    chunks, closed_beside, joined, manifests, segment, segment_of_full_vectors, segment_of_version_1, shapes,
    small_segments, wal, wal_files,
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
        segments.extend(small_segments(effort));
    }
    for sound in &segments {
        let mut mended = sound.clone();
        mend_outline(&mut mended);
        assert!(mended == *sound, "there is nothing to mend in a sound outline");
    }
    write("chunk", chunks())?;
    write("round_trip", round_trip.collect())?;
    write("segment", segments)?;
    write("index", (0..7).flat_map(|kind| [vec![kind; 4], vec![kind; 31]]).collect())?;
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
    write("http", forms())?;
    write("text", texts())?;
    write("remote", messages())
}

/// A byte that chooses the format, and a text in it.
fn texts() -> Vec<Vec<u8>> {
    let exposition = "# HELP a what\\nit is\n# TYPE a counter\na{b=\"x\\\"\\n\",c=\"é\"} 1.5e3 1700000000000\n{\"d.e\",f=\"g\"} NaN\nh +Inf\n";
    let open_metrics = "# TYPE a counter\n# UNIT a seconds\na_total{b=\"x\"} 1 1700000000.125 # {t=\"1\"} 0.5 1.0\na_created 1\n# EOF\n";
    let long = "timestamp,metric,host,value\n1700000000,cpu,a,1.5\n2023-11-14T22:13:21Z,\"c,p\"\"u\",b,-Inf\n1700000002123,cpu,,\n";
    let wide = "Time;x\ntime,one,two,name\n1,1,2,a\n2,,3,b\n3,4e400,x,c\n";
    let prom = "a{b=\"c\"} 1 1700000000000\na 2\n# EOF\n";
    let lines = "cpu,host=a\\ b,zone=c use=0.5,idle=3i,up=t,what=\"a \\\"b\\\", c\" 1700000000000000000\n# no\nm v=1\nm,__name__=n v=NaN 5\n";
    let kinds = [
        (0u8, exposition),
        (1, open_metrics),
        (2, long),
        (2, wide),
        (3, prom),
        (3, exposition),
        (4, lines),
        (0x84, lines),
    ];
    kinds.map(|(kind, text)| [&[kind][..], text.as_bytes()].concat()).to_vec()
}

/// A byte that chooses the path, and a message of remote write or remote read.
fn messages() -> Vec<Vec<u8>> {
    let field = |number: u8, bytes: &[u8]| [&[number << 3 | 2, bytes.len() as u8][..], bytes].concat();
    let number = |number: u8, value: u8| vec![number << 3, value];
    let double = |number: u8, value: f64| [&[number << 3 | 1][..], &value.to_le_bytes()].concat();
    let label = |name: &str, value: &str| field(1, &[field(1, name.as_bytes()), field(2, value.as_bytes())].concat());
    let sample = field(2, &[double(1, 0.5), number(2, 9)].concat());
    let series = [label("__name__", "up"), label("host", "a"), sample.clone()].concat();
    let metadata = field(3, &[number(1, 2), field(2, b"up"), field(4, b"whether"), field(5, b"bool")].concat());
    let write_1 = [field(1, &series), metadata].concat();
    let symbols = ["", "__name__", "up", "host", "a"].map(|text| field(4, text.as_bytes())).concat();
    let write_2 = [symbols, field(5, &[field(1, &[1, 2, 3, 4]), sample, field(5, &[8, 2])].concat())].concat();
    let matcher = |kind, name: &str, value: &str| {
        field(3, &[number(1, kind), field(2, name.as_bytes()), field(3, value.as_bytes())].concat())
    };
    let query = [number(1, 1), number(2, 100), matcher(0, "__name__", "up"), matcher(2, "host", "a|b.*")].concat();
    let read = field(1, &query);
    let chunks = [read.clone(), number(2, 1)].concat();
    // Literals: how long all is, and one piece of it.
    let packed = |message: &[u8]| [&[message.len() as u8, (message.len() as u8 - 1) << 2][..], message].concat();
    let small = packed(&field(1, &label("__name__", "up")));
    let kinds = [(0u8, write_1), (1, write_2), (2, read), (2, chunks), (0x81, small)];
    kinds.map(|(kind, message)| [vec![kind], message].concat()).to_vec()
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
