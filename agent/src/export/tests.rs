//! What is exported and imported again is the same, to the bit.

use std::collections::BTreeMap;

use proptest::prelude::*;
use tidegauge::{Engine, Level, Timestamp};

use super::*;
use crate::import::{ImportOptions, run as import};
use crate::test_engine::samples;

const FORMATS: [Format; 3] = [Format::Csv, Format::Prom, Format::Influx];
const SOON: std::time::Duration = std::time::Duration::from_secs(30);

fn options(format: Format) -> ExportOptions {
    ExportOptions { format, selectors: Vec::new(), range: TimeRange::ALL, without_stale: false }
}

fn export(engine: &Engine, options: &ExportOptions) -> (String, ExportSummary) {
    let mut out = Vec::new();
    let summary = run(&engine.snapshot(), &engine.metadata(), options, &mut out, |_, _| {}).unwrap();
    assert_eq!(summary.bytes, out.len() as u64);
    (String::from_utf8(out).unwrap(), summary)
}

fn imported(format: Format, text: &str) -> Engine {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("file");
    std::fs::write(&path, text).unwrap();
    let engine = Engine::in_memory().unwrap();
    let options = ImportOptions { progress: false, ..ImportOptions::new(format, vec![path]) };
    import(&options, &engine).unwrap_or_else(|e| panic!("{e}\n{text}"));
    engine
}

type Stored = Vec<(BTreeMap<String, String>, Vec<(i64, u64)>)>;

fn store(all: &Stored) -> Engine {
    let engine = Engine::in_memory().unwrap();
    let mut last = None;
    for (labels, samples) in all {
        let pairs: Vec<_> = labels.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
        let id = engine.series(&pairs).unwrap();
        for &(at, bits) in samples {
            last = Some(engine.push(id, Timestamp::from_nanos(at), f64::from_bits(bits)).unwrap());
        }
    }
    if let Some(ack) = last {
        engine.wait(ack, Level::Visible, SOON).unwrap();
    }
    engine
}

fn value() -> impl Strategy<Value = u64> {
    const SPECIAL: [u64; 8] = [
        0x7ff0_0000_0000_0002,
        0x7ff8_0000_0000_0001,
        0xfff8_0000_0000_0000,
        0x8000_0000_0000_0000,
        0x7ff0_0000_0000_0000,
        0xfff0_0000_0000_0000,
        1,
        0x7fef_ffff_ffff_ffff,
    ];
    prop_oneof![
        any::<u64>(),
        (-1000i32..1000).prop_map(|n| (f64::from(n) / 100.0).to_bits()),
        prop::sample::select(&SPECIAL[..])
    ]
}

/// From 1677 to today: later ones may lie ahead of the clock.
fn timestamp() -> impl Strategy<Value = i64> {
    prop_oneof![i64::MIN..1_760_000_000_000_000_000, 1_700_000_000_000_000_000..1_700_000_000_000_001_000i64, Just(0)]
}

/// `plain`: what line protocol can hold.
fn series(plain: bool) -> impl Strategy<Value = BTreeMap<String, String>> {
    let (name, text) = if plain {
        ("[a-zA-Zü_][a-z ,=.\"_]{0,8}", "[a-zé ,=\"{}#]{1,6}")
    } else {
        ("[a-zA-Zü_#][a-z \\\\\n.\"_]{0,8}", "[a-zé\\\\ ,=\"\n\r{}#]{1,6}")
    };
    let labels =
        prop::collection::btree_map("(timestamp|value|time|metric|[a-z]{1,3}|[A-Zé.][b. ]{0,2}[a-z])", text, 0..4);
    (name, labels).prop_map(|(name, mut labels)| {
        labels.insert("__name__".to_owned(), name);
        labels
    })
}

fn stored(plain: bool) -> impl Strategy<Value = Stored> {
    let samples = prop::collection::vec((timestamp(), value()), 1..20);
    prop::collection::vec((series(plain), samples), 1..5)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn an_export_reads_back_to_the_bit(all in stored(false)) {
        let engine = store(&all);
        let want = samples(&engine, &[]);
        for format in [Format::Csv, Format::Prom] {
            let (text, summary) = export(&engine, &options(format));
            prop_assert_eq!(summary.left_out, 0, "{:?}", summary.example);
            prop_assert_eq!(summary.samples, want.values().map(|s| s.len() as u64).sum::<u64>());
            prop_assert_eq!(&samples(&imported(format, &text), &[]), &want, "{}", text);
        }
    }

    #[test]
    fn line_protocol_reads_back_to_the_bit(all in stored(true)) {
        let engine = store(&all);
        let want = samples(&engine, &[]);
        let (text, summary) = export(&engine, &options(Format::Influx));
        prop_assert_eq!(summary.left_out, 0, "{:?}", summary.example);
        prop_assert_eq!(&samples(&imported(Format::Influx, &text), &[]), &want, "{}", text);
    }
}

fn described(metadata: Metadata) -> (String, BTreeMap<String, Metadata>) {
    let engine = small();
    engine.set_metadata("up", metadata).unwrap();
    let (text, summary) = export(&engine, &options(Format::Prom));
    let back = imported(Format::Prom, &text);
    assert_eq!(samples(&back, &[]), samples(&engine, &[]), "{text}");
    assert_eq!(summary.lacks_something(), back.metadata() != engine.metadata(), "{summary}\n{text}");
    (text, back.metadata())
}

/// A line feed in a unit, which remote write may bring, made a bad line of what followed.
#[test]
fn metadata_that_open_metrics_has_no_room_for_is_left_out_and_spoils_no_line() {
    let of = |kind: &str, help: &str, unit: &str| Metadata { kind: kind.into(), help: help.into(), unit: unit.into() };
    for (stored, back) in [
        (of("gauge", " \tof\n\\a\r\n b\r", "seconds"), of("gauge", "of\n\\a\r\n b", "")),
        (of("gauge", "help", "sec\nonds"), of("gauge", "help", "")),
        (of("gauge", "help", " s\r"), of("gauge", "help", "")),
        (of("gau\nge", "help", "a b"), of("", "help", "")),
        (of("a kind of our own", "help", "s"), of("", "help", "")),
    ] {
        let (text, found) = described(stored);
        assert_eq!(found.get("up"), Some(&back), "{text}");
    }
}

/// It was left out, and the summary and the exit code said that all was there.
#[test]
fn metadata_that_is_left_out_is_counted_and_named() {
    let engine = small();
    let of = |kind: &str, help: &str, unit: &str| Metadata { kind: kind.into(), help: help.into(), unit: unit.into() };
    engine.set_metadata("cpu_usage", of("a kind of our own", " begins with a blank", "s\n")).unwrap();
    engine.set_metadata("up", of("gauge", "whole", "")).unwrap();
    // Nothing is said of a metric that is not exported.
    engine.set_metadata("other", of("gau\nge", "", "")).unwrap();
    let summary = export(&engine, &options(Format::Prom)).1;
    assert_eq!((summary.metadata_left_out, summary.left_out, summary.lacks_something()), (3, 0, true));
    let said = summary.to_string();
    assert!(
        said.ends_with("3 of metadata left out, which this format has no room for (such as the type of cpu_usage)"),
        "{said}"
    );
    engine.set_metadata("cpu_usage", of("gauge", "", "")).unwrap();
    for format in FORMATS {
        let summary = export(&engine, &options(format)).1;
        assert!(!summary.lacks_something() && summary.metadata_example.is_none(), "{format:?}: {summary}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Beginning with no blank, help comes back as it was; nothing makes a line that is refused.
    #[test]
    fn no_metadata_makes_an_export_that_cannot_be_read(
        kind in "(gauge|[a-z \r\n]{0,3})",
        help in "[a-zé\\\\\"#\r\n][a-zé \t\\\\\"#\r\n]{0,8}[a-z\n]",
        unit in "[a-z \t\\\\\"#\r\n]{0,4}",
    ) {
        let (text, found) = described(Metadata { kind, help: help.clone(), unit });
        prop_assert_eq!(&found["up"].help, &help, "{}", text);
    }
}

fn small() -> Engine {
    let labels = |pairs: &[(&str, &str)]| pairs.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
    store(&vec![
        (
            labels(&[("__name__", "cpu_usage"), ("host", "a b")]),
            vec![(1_000_000_000, 1.5f64.to_bits()), (2_500_000_000, 2f64.to_bits())],
        ),
        (labels(&[("__name__", "up"), ("host", "c")]), vec![(-1, 0x7ff0_0000_0000_0002)]),
    ])
}

#[test]
fn each_format_looks_as_documented() {
    let engine = small();
    let csv = export(&engine, &options(Format::Csv)).0;
    assert_eq!(
        csv,
        "timestamp,value,__name__,host\n1970-01-01T00:00:01Z,1.5,cpu_usage,a b\n1970-01-01T00:00:02.5Z,2,cpu_usage,a b\n\
         1969-12-31T23:59:59.999999999Z,NaN(0x7ff0000000000002),up,c\n"
    );
    let metadata = Metadata { kind: "gauge".into(), help: "of a \\ cpu\nin use".into(), unit: String::new() };
    engine.set_metadata("cpu_usage", metadata.clone()).unwrap();
    let prom = export(&engine, &options(Format::Prom)).0;
    assert_eq!(
        prom,
        "# TYPE cpu_usage gauge\n# HELP cpu_usage of a \\\\ cpu\\nin use\n\
         cpu_usage{host=\"a b\"} 1.5 1\ncpu_usage{host=\"a b\"} 2 2.5\n\
         up{host=\"c\"} nAn -0.000000001\n# EOF\n"
    );
    assert_eq!(imported(Format::Prom, &prom).metadata().get("cpu_usage"), Some(&metadata));
    let influx = export(&engine, &options(Format::Influx)).0;
    assert_eq!(
        influx,
        "cpu,host=a\\ b usage=1.5 1000000000\ncpu,host=a\\ b usage=2 2500000000\n\
         up,__name__=up,host=c value=NaN(0x7ff0000000000002) -1\n"
    );
}

#[test]
fn selectors_and_range_choose_and_a_series_comes_once() {
    let engine = small();
    let chosen = |selectors: &[&str], from: i64, to: i64| {
        let selectors = selectors.iter().map(|s| tidegauge::query::promql::parse_selector(s).unwrap()).collect();
        let range = TimeRange::new(Timestamp::from_nanos(from), Timestamp::from_nanos(to));
        export(&engine, &ExportOptions { format: Format::Influx, selectors, range, without_stale: false }).1
    };
    let counts = |summary: ExportSummary| (summary.series, summary.samples);
    assert_eq!(counts(chosen(&["cpu_usage", r#"{host=~".+"}"#, r#"{host="a b"}"#], i64::MIN, i64::MAX)), (2, 3));
    assert_eq!(counts(chosen(&["cpu_usage"], 0, 2_500_000_000)), (1, 1), "the end is excluded");
    assert_eq!(counts(chosen(&["up"], 0, i64::MAX)), (0, 0));
}

#[test]
fn what_a_format_cannot_name_is_counted_and_told() {
    let labels = |pairs: &[(&str, &str)]| pairs.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
    let engine = store(&vec![
        (labels(&[("host", "a")]), vec![(1, 0)]),
        (labels(&[("__name__", "a\\b")]), vec![(1, 0)]),
        (labels(&[("__name__", "fine")]), vec![(1, 0)]),
    ]);
    for (format, left_out) in FORMATS.into_iter().zip([1, 1, 2]) {
        let summary = export(&engine, &options(format)).1;
        assert_eq!((summary.left_out, summary.series), (left_out, 3 - left_out), "{format:?}");
        assert!(summary.to_string().contains("left out") && summary.example.is_some());
    }
}
