//! What is known of a family comes under several names, by how it was told.

use tidegauge::{Engine, Metadata};

use super::strict::read_strictly;
use super::tests::{export, imported, store};
use crate::import::{Format, ImportOptions, run as import};
use crate::test_engine::samples;

fn know(engine: &Engine, metric: &str, [kind, help, unit]: [&str; 3]) {
    engine.set_metadata(metric, Metadata { kind: kind.into(), help: help.into(), unit: unit.into() }).unwrap();
}

fn import_into(engine: &Engine, text: &str) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("file");
    std::fs::write(&path, text).unwrap();
    let options = ImportOptions { progress: false, ..ImportOptions::new(Format::Prom, vec![path]) };
    import(&options, engine).unwrap();
}

fn type_lines(text: &str) -> Vec<&str> {
    text.lines().filter_map(|line| line.strip_prefix("# TYPE ")).collect()
}

/// They were `unknown`: a histogram has no sample of its own name, and `s_count` was a summary beside `s`.
#[test]
fn what_remote_write_tells_of_each_series_is_of_the_family() {
    let one = [(1, 1.0)];
    let engine = store(
        &[
            ("h_bucket{le=\"+Inf\"}", &one),
            ("h_count", &one),
            ("h_sum", &one),
            ("s{quantile=\"0.5\"}", &one),
            ("s_count", &one),
            ("s_created", &one),
            ("s_sum", &one),
            ("x_count{quantile=\"0.5\"}", &one),
            ("x_count_count", &one),
            ("x_count_sum", &one),
        ],
        &[],
    );
    for (metric, kind) in [
        ("h_bucket", "histogram"),
        ("h_count", "histogram"),
        ("h_sum", "histogram"),
        ("s", "summary"),
        ("s_count", "summary"),
        ("s_sum", "summary"),
        ("s_created", "gauge"),
        ("x_count", "summary"),
    ] {
        know(&engine, metric, [kind, "Of all.", ""]);
    }
    let (text, summary) = export(&engine, &[], false);
    assert_eq!(type_lines(&text), ["h histogram", "s summary", "x_count summary"], "{summary}\n{text}");
    assert!(summary.weakened == 0 && !summary.lacks_something(), "{summary}\n{text}");
    assert_eq!((text.matches("# HELP").count(), read_strictly(&text)), (3, Ok(())), "{text}");
    assert_eq!(samples(&imported(&text), &[]), samples(&engine, &[]));
}

/// An export of a part is all `unknown`; brought back it took the histogram's type for ever.
#[test]
fn unknown_replaces_no_type_that_is_known() {
    let one = [(1, 1.0)];
    let engine = store(&[("c_total", &one), ("u", &one)], &[("c_total", "counter"), ("u", "gauge")]);
    import_into(
        &engine,
        "# TYPE c_total unknown\nc_total 1 1\n# TYPE u unknown\nu 1 1\n# TYPE v unknown\nv 1 1\n# EOF\n",
    );
    let kinds: Vec<String> = engine.metadata().into_values().map(|known| known.kind).collect();
    assert_eq!(kinds, ["counter", "gauge", "unknown"]);
    // And what says so under the name of a part says nothing.
    let engine = store(&[("d_total", &one)], &[("d", "counter"), ("d_total", "untyped")]);
    let (text, _) = export(&engine, &[], false);
    assert_eq!(type_lines(&text), ["d counter"], "{text}");
}

/// Python's text format tells it so, and the counter was `unknown` for it.
#[test]
fn created_may_be_told_as_a_gauge() {
    let one = [(1, 1.0)];
    for kind in ["gauge", "unknown", "counter", ""] {
        for told in ["c", "c_total"] {
            let engine = store(&[("c_created", &one), ("c_total", &one)], &[(told, "counter"), ("c_created", kind)]);
            let (text, summary) = export(&engine, &[], false);
            assert!(type_lines(&text) == ["c counter"] && summary.weakened == 0, "{kind} {told}: {summary}\n{text}");
            assert_eq!(read_strictly(&text), Ok(()), "{text}");
        }
    }
}

/// What earlier builds exported, and text files with seconds.
#[test]
fn what_is_known_of_a_counter_is_put_to_total_only_where_its_samples_are() {
    let text =
        "# TYPE a counter\na 1 1\n# TYPE b counter\nb_total 1 1\n# TYPE d counter\n# TYPE e info\ne_info 1 1\n# EOF\n";
    let names: Vec<String> = imported(text).metadata().into_keys().collect();
    assert_eq!(names, ["a", "b_total", "d_total", "e_info"]);
}

/// Each of these made others refuse the whole file: most programs make no NaN but these.
#[test]
fn ordinary_nans_are_words() {
    let (quiet, default) = (f64::from_bits(0x7ff8 << 48), f64::from_bits(0xfff8 << 48));
    let engine = store(&[("g", &[(1, quiet), (2, default)])], &[]);
    let (text, _) = export(&engine, &[], false);
    assert_eq!(text, "g NAN 1\ng naN 2\n# EOF\n");
    assert_eq!(samples(&imported(&text), &[]), samples(&engine, &[]));
    let milliseconds = text.replace(" 1\n", " 1000\n").replace(" 2\n", " 2000\n").replace("# EOF\n", "");
    assert_eq!(samples(&imported(&milliseconds), &[]), samples(&engine, &[]));
}

/// Every export of a store that was told of a counter by both formats ended with 1.
#[test]
fn two_descriptions_of_a_counter_are_told_and_no_failure() {
    let engine = store(&[("c_total", &[(1, 1.0)])], &[]);
    know(&engine, "c", ["counter", "Older.", ""]);
    know(&engine, "c_total", ["counter", "Newer.", ""]);
    let (text, summary) = export(&engine, &[], false);
    assert!(text.contains("# HELP c Newer.\n") && !text.contains("Older"), "{text}");
    assert!(!summary.lacks_something() && summary.to_string().contains("second description"), "{summary}");
    // What only the other name has is used.
    know(&engine, "c", ["", "Older.", ""]);
    know(&engine, "c_total", ["counter", "", ""]);
    let (text, summary) = export(&engine, &[], false);
    assert_eq!(text, "# TYPE c counter\n# HELP c Older.\nc_total 1 1\n# EOF\n");
    assert!(!summary.to_string().contains("second"), "{summary}");
}

#[test]
fn the_unit_of_a_weak_family_is_counted_and_a_way_out_is_told() {
    let engine = store(&[("h_seconds_count", &[(1, 1.0)]), ("h_seconds_sum", &[(1, 1.0)])], &[]);
    know(&engine, "h_seconds", ["histogram", "", "seconds"]);
    let (_, summary) = export(&engine, &[], false);
    assert_eq!(summary.metadata_example.as_deref(), Some("the unit of h_seconds"), "{summary}");
    assert!(summary.metadata_left_out == 1 && summary.to_string().contains("--to -1m"), "{summary}");
}
