//! What is written is OpenMetrics, as a reader of another make sees it, and reads back.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use tidegauge::{Engine, Level, Metadata, TimeRange, Timestamp};

use super::strict::read_strictly;
use crate::collect::STALE_MARKER_BITS;
use crate::export::{ExportOptions, ExportSummary, run};
use crate::exposition::{Dialect, Entry, Parser};
use crate::import::{Format, ImportOptions, run as import};
use crate::test_engine::samples;

/// The one that has no message.
const NAN: f64 = f64::from_bits(0x7ff8_0000_0000_0001);
const STALE: f64 = f64::from_bits(STALE_MARKER_BITS);

/// A store of series, written as they are in the text format, each with (seconds, value).
pub(super) fn store(all: &[(&str, &[(i64, f64)])], metadata: &[(&str, &str)]) -> Engine {
    let engine = Engine::in_memory().unwrap();
    let mut last = None;
    for (series, samples) in all {
        let line = format!("{series} 0");
        let Some(Ok(Entry::Sample(found))) = Parser::new(line.as_bytes(), Dialect::Text).next() else {
            panic!("{line}")
        };
        let labels = found.series.labels().unwrap();
        let pairs: Vec<(&str, &str)> = labels.iter().map(|(name, value)| (&**name, &**value)).collect();
        let id = engine.series(&pairs).unwrap();
        for &(at, value) in *samples {
            last = Some(engine.push(id, Timestamp::from_nanos(at * 1_000_000_000), value).unwrap());
        }
    }
    if let Some(ack) = last {
        engine.wait(ack, Level::Visible, std::time::Duration::from_secs(30)).unwrap();
    }
    for (metric, kind) in metadata {
        let (kind, help) = ((*kind).to_owned(), format!("Of {metric}."));
        engine.set_metadata(metric, Metadata { kind, help, unit: String::new() }).unwrap();
    }
    engine
}

pub(super) fn export(engine: &Engine, matches: &[&str], without_stale: bool) -> (String, ExportSummary) {
    let selectors = matches.iter().map(|text| tidegauge::query::promql::parse_selector(text).unwrap()).collect();
    let options = ExportOptions { format: Format::Prom, selectors, range: TimeRange::ALL, without_stale };
    let mut out = Vec::new();
    let summary = run(&engine.snapshot(), &engine.metadata(), &options, &mut out, |_, _| {}).unwrap();
    let text = String::from_utf8(out).unwrap();
    // For a reader of another make, too, if somebody wants to see.
    if let Some(folder) = std::env::var_os("TIDEGAUGE_OPENMETRICS") {
        let name = std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), &text);
        std::fs::write(std::path::Path::new(&folder).join(format!("{name:x}.om")), &text).unwrap();
    }
    (text, summary)
}

pub(super) fn imported(text: &str) -> Engine {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("file");
    std::fs::write(&path, text).unwrap();
    let engine = Engine::in_memory().unwrap();
    let options = ImportOptions { progress: false, ..ImportOptions::new(Format::Prom, vec![path]) };
    import(&options, &engine).unwrap_or_else(|e| panic!("{e}\n{text}"));
    engine
}

/// A type was announced of each name of a sample, none was found of `h_bucket`, `h_sum` and `c_total`, and `untyped` is no word.
#[test]
fn a_family_is_announced_once_before_all_that_is_its_own() {
    let engine = store(
        &[
            ("h_bucket{le=\"+Inf\"}", &[(1, 2.0), (2, 4.0)]),
            ("h_bucket{le=\"0.5\"}", &[(1, 1.0), (2, 1.0)]),
            ("h_bucket_x", &[(1, 7.0)]),
            ("h_count", &[(1, 2.0), (2, 4.0)]),
            ("h_sum", &[(1, 3.5), (2, 9.0)]),
            ("s{quantile=\"0.5\"}", &[(1, 1.0)]),
            ("s_count", &[(1, 2.0)]),
            ("s_count_y", &[(1, 2.0)]),
            ("s_sum", &[(1, 3.0)]),
            ("c_total", &[(1, 1.0)]),
            ("d_total{A=\"x\"}", &[(1, 1.0)]),
            ("d_total", &[(1, 2.0)]),
            ("d_created", &[(1, 0.5)]),
            ("u", &[(1, 1.0)]),
        ],
        &[("h", "histogram"), ("s", "summary"), ("c_total", "counter"), ("d", "counter"), ("u", "untyped")],
    );
    let (text, summary) = export(&engine, &[], false);
    let expected = "\
# TYPE c counter
# HELP c Of c_total.
c_total 1 1
# TYPE d counter
# HELP d Of d.
d_total 2 1
d_created 0.5 1
d_total{A=\"x\"} 1 1
# TYPE h histogram
# HELP h Of h.
h_bucket{le=\"0.5\"} 1 1
h_bucket{le=\"+Inf\"} 2 1
h_count 2 1
h_sum 3.5 1
h_bucket{le=\"0.5\"} 1 2
h_bucket{le=\"+Inf\"} 4 2
h_count 4 2
h_sum 9 2
h_bucket_x 7 1
# TYPE s summary
# HELP s Of s.
s{quantile=\"0.5\"} 1 1
s_count 2 1
s_sum 3 1
s_count_y 2 1
# TYPE u unknown
# HELP u Of u.
u 1 1
# EOF
";
    assert_eq!(text, expected);
    assert!(!summary.lacks_something() && summary.weakened == 0, "{summary}");
    assert_eq!((summary.samples, summary.series), (18, 14));
    assert_eq!(read_strictly(&text), Ok(()));
    let back = imported(&text);
    assert_eq!(samples(&back, &[]), samples(&engine, &[]));
    let kinds: Vec<(String, String)> = back.metadata().into_iter().map(|(name, known)| (name, known.kind)).collect();
    let pair = |(name, kind): (&str, &str)| (name.to_owned(), kind.to_owned());
    let there =
        [("c_total", "counter"), ("d_total", "counter"), ("h", "histogram"), ("s", "summary"), ("u", "unknown")];
    assert_eq!(kinds, there.map(pair), "what is known of a counter is looked for under the name of its samples");
}

/// Such texts are refused by whoever reads strictly.
#[test]
fn what_is_no_sound_family_of_its_type_is_unknown_and_told() {
    type Case = (&'static [(&'static str, f64)], (&'static str, &'static str), &'static [&'static str], &'static str);
    let histogram = ("h", "histogram");
    let cases: [Case; 16] = [
        (&[("c", 1.0)], ("c", "counter"), &[], "are called _total"),
        (&[("c_total", -1.0)], ("c", "counter"), &[], "below zero"),
        (&[("c_total", NAN)], ("c_total", "counter"), &[], "no number"),
        (&[("c", 1.0), ("c_total", 1.0)], ("c_total", "counter"), &[], "another family has the name c"),
        (&[("h", 1.0), ("h_count", 1.0)], histogram, &[], "no sample of its own name"),
        (&[("h_count", 1.0), ("h_sum", 1.0)], histogram, &[], "no bucket +Inf"),
        (&[("h_bucket{le=\"1\"}", 1.0), ("h_count", 1.0), ("h_sum", 1.0)], histogram, &[], "no bucket +Inf"),
        (&[("h_bucket{le=\"+Inf\"}", 1.0), ("h_count", 2.0), ("h_sum", 1.0)], histogram, &[], "not that of"),
        (&[("h_bucket{le=\"+Inf\"}", 1.0), ("h_count", 1.0)], histogram, &[], "no sum"),
        (&[("h_bucket{le=\"+Inf\"}", 1.5), ("h_count", 1.5), ("h_sum", 1.0)], histogram, &[], "no whole number"),
        (&[("h_bucket{le=\"x\"}", 1.0)], histogram, &[], "`le` is no number"),
        (&[("h_bucket", 1.0)], histogram, &[], "`le` is no number"),
        (
            &[("h_bucket{le=\"+Inf\"}", 1.0), ("h_count", 1.0), ("h_sum", 1.0)],
            histogram,
            &["h_count"],
            "no bucket +Inf",
        ),
        (&[("h_bucket{le=\"1\"}", 2.0), ("h_bucket{le=\"+Inf\"}", 1.0)], histogram, &[], "add up"),
        (&[("s{quantile=\"2\"}", 1.0)], ("s", "summary"), &[], "`quantile` is no number"),
        (&[("x_info", 2.0)], ("x", "info"), &[], "another value than 1"),
    ];
    for (series, known, matches, why) in cases {
        let values: Vec<[(i64, f64); 1]> = series.iter().map(|(_, value)| [(1, *value)]).collect();
        let all: Vec<(&str, &[(i64, f64)])> =
            series.iter().zip(&values).map(|((name, _), value)| (*name, &value[..])).collect();
        let engine = store(&all, &[known]);
        let (text, summary) = export(&engine, matches, false);
        let told = summary.weakened_example.clone().unwrap_or_default();
        assert!(summary.weakened == 1 && told.contains(why), "{summary}\n{text}");
        assert!(text.contains(" unknown\n") && !text.contains(&format!(" {}\n", known.1)), "{text}");
        assert!(text.contains(&format!("Of {}.", known.0)), "help is not lost with the type: {text}");
        assert_eq!(read_strictly(&text), Ok(()), "{text}");
        assert!(!summary.lacks_something(), "{summary}");
        if matches.is_empty() {
            assert_eq!(samples(&imported(&text), &[]), samples(&engine, &[]), "{text}");
        }
    }
}

/// A reader that is not ours refused the bits of a NaN.
#[test]
fn a_staleness_marker_is_a_nan_for_others_and_comes_back_and_can_be_left_out() {
    let both = [(1, 1.0), (2, STALE)];
    let engine = store(
        &[
            ("c_total", &both),
            ("g", &both),
            ("h_bucket{le=\"1\"}", &both),
            ("h_bucket{le=\"+Inf\"}", &[(1, 1.0), (2, 2.0), (3, STALE)]),
            ("h_count", &[(1, 1.0), (2, 2.0), (3, STALE)]),
            ("h_sum", &[(1, 1.0), (2, 2.0), (3, STALE)]),
            ("gone", &[(2, STALE)]),
        ],
        &[("c", "counter"), ("g", "gauge"), ("h", "histogram")],
    );
    let (text, summary) = export(&engine, &[], false);
    assert!(text.contains("\ng nAn 2\n") && !text.contains("0x") && summary.weakened == 0, "{summary}\n{text}");
    assert!("nAn".parse::<f64>().unwrap().is_nan(), "as in other languages");
    assert_eq!(samples(&imported(&text), &[]), samples(&engine, &[]));
    let (text, summary) = export(&engine, &[], true);
    assert!(!text.contains("nAn") && !text.contains("gone"), "{text}");
    assert_eq!((summary.samples, summary.series, read_strictly(&text)), (9, 6, Ok(())), "{text}");
}

/// A unit that the name does not end with makes others refuse the text.
#[test]
fn a_unit_is_written_where_the_name_ends_with_it() {
    for (metric, kind, line) in [
        ("a_seconds", "gauge", Some("# UNIT a_seconds seconds")),
        ("a_seconds_total", "counter", Some("# UNIT a_seconds seconds")),
        ("a", "gauge", None),
        ("aseconds", "gauge", None),
        ("seconds", "gauge", None),
    ] {
        let engine = store(&[(metric, &[(1, 1.0)])], &[]);
        let known = Metadata { kind: kind.into(), help: String::new(), unit: "seconds".into() };
        engine.set_metadata(metric, known.clone()).unwrap();
        let (text, summary) = export(&engine, &[], false);
        assert_eq!(text.lines().find(|line| line.contains("UNIT")), line, "{text}");
        assert_eq!(summary.lacks_something(), line.is_none());
        assert_eq!(imported(&text).metadata().get(metric) == Some(&known), line.is_some());
    }
}

#[test]
fn a_histogram_of_too_many_parts_is_unknown() {
    let mut names: Vec<String> = (0..super::PARTS_MAX).map(|n| format!("h_bucket{{le=\"{n}\"}}")).collect();
    names.extend(["h_bucket{le=\"+Inf\"}", "h_count", "h_sum"].map(str::to_owned));
    let all: Vec<(&str, &[(i64, f64)])> = names.iter().map(|name| (name.as_str(), &[(1, 1.0)][..])).collect();
    let (text, summary) = export(&store(&all, &[("h", "histogram")]), &[], false);
    assert!(summary.to_string().contains("more than 512 parts"), "{summary}");
    assert_eq!((summary.series, read_strictly(&text)), (515, Ok(())));
}

type Stored = Vec<(String, Vec<(i64, f64)>)>;

/// In the first bucket, in the others, and their sum, by time.
type Counts = BTreeMap<i64, (u8, u8, u8)>;

/// Metrics whose names are parts of each other's, with types that fit and do not.
fn anything() -> impl Strategy<Value = (Stored, Vec<(String, String)>)> {
    let name = "(a|h)(_h)?(_bucket|_count|_sum|_total|_created|_info|_gcount|_gsum)?(_total|_count)?";
    let label = prop::sample::select(vec![
        "",
        "{le=\"1\"}",
        "{le=\"+Inf\"}",
        "{quantile=\"0.5\"}",
        "{A=\"x\"}",
        "{x=\"é\"}",
        "{a=\"1\"}",
    ]);
    let value = prop::sample::select(vec![0.0, 1.0, 1.0, 2.0, 0.5, -1.0, f64::INFINITY, STALE]);
    let series = ((name, label).prop_map(|(name, label)| name + label), prop::collection::vec((1..5i64, value), 1..4));
    let kind = prop::sample::select(vec![
        "counter",
        "histogram",
        "summary",
        "gauge",
        "info",
        "stateset",
        "gaugehistogram",
        "untyped",
        "",
    ]);
    let metadata = (name, kind.prop_map(str::to_owned));
    (prop::collection::vec(series, 1..12), prop::collection::vec(metadata, 0..6))
}

/// Sound histograms, with whatever else there is.
fn histograms() -> impl Strategy<Value = Stored> {
    let points = prop::collection::btree_map(1..6i64, (0..3u8, 0..3u8, 0..3u8), 1..4);
    let one = ("(h|a)", prop::sample::select(vec!["", "x=\"1\"", "B=\"2\""]), points);
    let parts = |(name, label, points): (String, &'static str, Counts)| {
        let of = |value: &dyn Fn(&(u8, u8, u8)) -> u8| {
            points.iter().map(|(at, point)| (*at, f64::from(value(point)))).collect::<Vec<_>>()
        };
        let comma = if label.is_empty() { "" } else { "," };
        let bare = if label.is_empty() { String::new() } else { format!("{{{label}}}") };
        vec![
            (format!("{name}_bucket{{{label}{comma}le=\"0.1\"}}"), of(&|p| p.0)),
            (format!("{name}_bucket{{{label}{comma}le=\"+Inf\"}}"), of(&|p| p.0 + p.1)),
            (format!("{name}_count{bare}"), of(&|p| p.0 + p.1)),
            (format!("{name}_sum{bare}"), of(&|p| p.2)),
        ]
    };
    prop::collection::vec(one, 0..4).prop_map(move |all| {
        let mut seen = BTreeSet::new();
        let is_new = |(name, label, _): &(String, &'static str, _)| seen.insert((name.clone(), *label));
        let all: Vec<_> = all
            .into_iter()
            .filter({
                let mut is_new = is_new;
                move |one| is_new(one)
            })
            .collect();
        all.into_iter().flat_map(parts).collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn every_store_is_written_so_that_a_strict_reader_takes_it_and_an_import_brings_it_back(
        (mut all, mut metadata) in anything(), sound in histograms(), is_sound in any::<bool>(), is_alone in any::<bool>(),
    ) {
        let names: BTreeSet<String> =
            sound.iter().filter_map(|(name, _)| Some(name.split_once("_bucket")?.0.to_owned())).collect();
        if is_sound && is_alone {
            all.clear();
            metadata.clear();
        }
        if is_sound {
            // With little beside them that would clash.
            all.truncate(2);
            all.retain(|(name, _)| !sound.iter().any(|(other, _)| other == name));
            metadata.truncate(1);
            metadata.extend(["h", "a"].map(|name| (name.to_owned(), "histogram".to_owned())));
        }
        all.extend(sound);
        let all: Vec<(&str, &[(i64, f64)])> = all.iter().map(|(name, samples)| (name.as_str(), &samples[..])).collect();
        let metadata: BTreeMap<&str, &str> = metadata.iter().map(|(name, kind)| (name.as_str(), kind.as_str())).collect();
        let engine = store(&all, &metadata.into_iter().collect::<Vec<_>>());
        let (text, summary) = export(&engine, &[], false);
        let back = imported(&text);
        prop_assert_eq!(samples(&back, &[]), samples(&engine, &[]), "{}", text);
        if is_sound && is_alone {
            prop_assert_eq!(summary.weakened, 0, "{}", text);
            for name in names {
                let line = format!("# TYPE {name} histogram\n");
                prop_assert!(text.contains(&line), "{}", text);
            }
        }
        let (clean, _) = export(&engine, &[], true);
        prop_assert_eq!(read_strictly(&clean), Ok(()), "{}", clean);
        if summary.weakened == 0 && !summary.lacks_something() {
            // Whatever comes back was there, under this name or the family's.
            let known = engine.metadata();
            for (name, found) in back.metadata() {
                let family = name.strip_suffix("_total").or(name.strip_suffix("_info"));
                let of = |name: &str| {
                    let mut known = known.get(name)?.clone();
                    known.kind = if known.kind == "untyped" { "unknown".into() } else { known.kind };
                    Some(known)
                };
                let mut was = vec![of(&name), family.and_then(of)];
                // Or was told of a part.
                was.extend(["_bucket", "_count", "_sum", "_gcount", "_gsum"].map(|part| of(&format!("{name}{part}"))));
                prop_assert!(was.contains(&Some(found)), "{} {:?}\n{}", name, was, text);
            }
        }
    }
}
