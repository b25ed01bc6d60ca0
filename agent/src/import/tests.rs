//! Files into an engine in memory.

use std::fs;
use std::path::Path;

use tempfile::TempDir;
use tidegauge::{Matcher, Timestamp};

use super::*;
use crate::test_engine::{at, samples, samples_of};

struct Case {
    dir: TempDir,
    engine: Engine,
}

impl Case {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap(), engine: Engine::in_memory().unwrap() }
    }

    fn options(&self, format: Format, name: &str, text: &str) -> ImportOptions {
        let path = self.dir.path().join(name);
        fs::write(&path, text).unwrap();
        ImportOptions { progress: false, ..ImportOptions::new(format, vec![path]) }
    }

    fn import(&self, format: Format, text: &str) -> Result<ImportSummary, ImportError> {
        run(&self.options(format, "file.txt", text), &self.engine)
    }

    fn of(&self, metric: &str) -> Vec<(i64, f64)> {
        samples_of(&self.engine, metric)
            .into_iter()
            .map(|(t, bits)| (t / 1_000_000_000, f64::from_bits(bits)))
            .collect()
    }

    fn series(&self) -> Vec<String> {
        samples(&self.engine, &[]).into_keys().collect()
    }
}

#[test]
fn a_csv_file_with_labels_comes_in_any_order() {
    let case = Case::new();
    let text = "timestamp,metric,host,value\n1700000002000,cpu,a,2\n1700000001000,cpu,a,1\n1700000001000,mem,,5\n";
    let summary = case.import(Format::Csv, text).unwrap();
    assert_eq!((summary.samples, summary.series, summary.skipped, summary.bad_lines), (3, 2, 0, 0));
    assert_eq!(summary.bytes, text.len() as u64);
    assert_eq!(case.series(), [r#"cpu{host="a"}"#, "mem"]);
    assert_eq!(case.of("cpu"), [(1_700_000_001, 1.0), (1_700_000_002, 2.0)]);
}

#[test]
fn a_wide_csv_file_makes_a_series_of_each_value_column() {
    let case = Case::new();
    let text = "host,ts,cpu,mem\n\"a, b\",2023-11-14T22:13:20Z,1.5,\nc,2023-11-14T22:13:21Z,2.5,7\n";
    let summary = case.import(Format::Csv, text).unwrap();
    assert_eq!((summary.samples, summary.series, summary.skipped), (3, 3, 1));
    assert_eq!(case.series(), [r#"cpu{host="a, b"}"#, r#"cpu{host="c"}"#, r#"mem{host="c"}"#]);
    assert_eq!(case.of("mem"), [(1_700_000_001, 7.0)]);
}

/// A sensor that was added later made a label of each number that it told, and so a series of each of its lines.
#[test]
fn a_csv_column_that_begins_behind_the_lines_looked_at_is_of_values() {
    let case = Case::new();
    let first: String = (0..100).map(|i| format!("{},{i},,\n", 1_700_000_000 + i)).collect();
    let then: String = (100..150).map(|i| format!("{},{i},2{i}.37,\n", 1_700_000_000 + i)).collect();
    let text = format!("ts,cpu,temp2,note\n{first}{then}");
    let summary = case.import(Format::Csv, &text).unwrap();
    assert_eq!((summary.samples, summary.series), (200, 2));
    assert_eq!(case.series(), ["cpu", "temp2"]);
    assert_eq!(case.of("temp2")[0], (1_700_000_100, 2100.37));
    // A text there is no value, and nobody has said that it is a label.
    let texts = format!("{text}1700000150,1,1,\"low battery\"\n1700000151,2,2,\n");
    let Err(ImportError::BadLines { bad, summary }) = case.import(Format::Csv, &texts) else { panic!("no error") };
    assert_eq!((bad.count, bad.first[0].line, summary.samples), (1, 152, 202));
    assert!(
        ["\"note\"", "--value-column", "--label-column"].iter().all(|part| bad.first[0].why.contains(part)),
        "{bad}"
    );
    // As the message says.
    let mut options = case.options(Format::Csv, "file.csv", &texts);
    options.value_columns = vec!["cpu".into(), "temp2".into()];
    assert_eq!(run(&options, &case.engine).unwrap().bad_lines, 0);
    assert!(case.series().contains(&r#"temp2{note="low battery"}"#.to_owned()));
}

#[test]
fn bad_csv_lines_are_named_and_the_others_stay() {
    let case = Case::new();
    let mut text =
        "ts,value\n1700000000,1\nyesterday,2\n1700000001,two\n1700000002\n4102444800,4\n1700000003,5\n".to_owned();
    for _ in 0..20 {
        text.push_str("x,x\n");
    }
    let Err(ImportError::BadLines { bad, summary }) = case.import(Format::Csv, &text) else { panic!("no error") };
    assert_eq!((bad.count, bad.first.len()), (24, 10));
    let lines: Vec<u64> = bad.first.iter().map(|bad| bad.line).collect();
    // A timestamp from the future is only found at the push.
    assert!([3, 4, 5].iter().all(|line| lines.contains(line)), "{lines:?}");
    assert!(bad.to_string().contains("file.txt:4: \"two\" in column \"value\" is not a number"), "{bad}");
    assert!(bad.to_string().ends_with("and 14 more"), "{bad}");
    assert_eq!(summary.samples, 2);
    assert_eq!(case.of("file"), [(1_700_000_000, 1.0), (1_700_000_003, 5.0)]);
    let mut options = case.options(Format::Csv, "file.txt", &text);
    options.skip_bad = true;
    let summary = run(&options, &case.engine).unwrap();
    assert_eq!((summary.samples, summary.bad_lines), (2, 24));
    assert!(summary.to_string().ends_with("24 bad lines skipped"), "{summary}");
}

/// The same few words for each: whoever had dates among numbers was not told what the others are.
#[test]
fn a_time_that_is_none_of_its_column_s_kind_says_which_kind_that_is() {
    let said = |text: &str, unit: TimeUnit| {
        let case = Case::new();
        let options = ImportOptions { time_unit: unit, ..case.options(Format::Csv, "file.csv", text) };
        match run(&options, &case.engine) {
            Err(ImportError::BadLines { bad, .. }) => bad.to_string(),
            other => panic!("{other:?}"),
        }
    };
    let mixed = said("ts,value\n1700000000,1\n2026-01-31T12:00:00Z,2\n", TimeUnit::Auto);
    assert!(
        mixed.starts_with("1 bad line; ")
            && mixed.contains("is no number of seconds (s), which the first time of the file is")
            && mixed.contains("--time-unit"),
        "{mixed}"
    );
    let mixed = said("ts,value\n2026-01-31T12:00:00Z,1\n1700000000,2\n", TimeUnit::Auto);
    assert!(mixed.contains("is no date (rfc3339), which the first time of the file is"), "{mixed}");
    let none = said("ts,value\nyesterday,1\n1700000000,2\n", TimeUnit::Auto);
    assert!(none.contains("is no time: neither a number nor a date"), "{none}");
    let asked = said("ts,value\n1700000000,1\n", TimeUnit::Rfc3339);
    assert!(asked.contains("is no date (rfc3339): --time-unit says"), "{asked}");
}

/// Ten million samples were a row of digits, and one of them "are".
#[test]
fn a_summary_is_in_groups_of_digits_and_in_the_singular() {
    let summary = ImportSummary {
        samples: 1_234_567,
        series: 1_000,
        replaced: Some(12_345),
        over_age: 1,
        skipped: 2_000,
        bad_lines: 1,
        elapsed: std::time::Duration::from_secs(1),
        ..ImportSummary::default()
    };
    assert_eq!(
        summary.to_string(),
        "1,234,567 samples of 1,000 series accepted in 1.00 s (1,234,567 samples/s), 12,345 of which replaced an earlier \
         value of the same series and time, 1 of which is older than the store's retention keeps, and is not shown, \
         2,000 cells or fields without a number skipped, 1 bad line skipped"
    );
}

/// They became infinities, and nobody was told. An infinity that is written as one is a value.
#[test]
fn numbers_out_of_range_are_refused_and_named() {
    for (format, text, place) in [
        (Format::Csv, "ts,value\n1700000000,+Inf\n1700000001,1e400\n", "file.txt:3: \"1e400\" in column \"value\""),
        (Format::Prom, "file +Inf 1700000000000\nfile -1e400 1700000001000\n", "file.txt:2: the value \"-1e400\""),
        (
            Format::Influx,
            "file value=+Inf 1700000000000000000\nfile value=1e400 1700000001000000000\n",
            "file.txt:2: \"1e400\"",
        ),
    ] {
        let case = Case::new();
        let Err(ImportError::BadLines { bad, summary }) = case.import(format, text) else { panic!("{text}: no error") };
        assert_eq!((bad.count, summary.samples), (1, 1), "{bad}");
        assert!(bad.to_string().contains(&format!("{place} is out of range")), "{bad}");
        let metric = if format == Format::Influx { "file_value" } else { "file" };
        assert_eq!(case.of(metric), [(1_700_000_000, f64::INFINITY)]);
    }
}

#[test]
fn csv_files_that_cannot_be_read_at_all_say_why() {
    let case = Case::new();
    assert!(matches!(case.import(Format::Csv, ""), Err(ImportError::NoHeader { .. })));
    assert!(matches!(case.import(Format::Csv, "a,b\n1,2\n"), Err(ImportError::Columns { .. })));
    let missing = ImportOptions::new(Format::Csv, vec!["/nowhere/file.csv".into()]);
    assert!(matches!(run(&missing, &case.engine), Err(ImportError::Read { .. })));
    let folder = ImportOptions::new(Format::Csv, vec![case.dir.path().into()]);
    assert!(matches!(run(&folder, &case.engine), Err(ImportError::Read { .. })));
}

/// The last line of a file that was cut off passed for whole if a quote was open: what follows was in its cell.
#[test]
fn a_csv_file_that_ends_within_quotes_is_refused_and_says_where() {
    let case = Case::new();
    let text = "timestamp,host,value\n1700000000,a,1\n1700000001,a,\"2";
    let refused = case.import(Format::Csv, text).unwrap_err().to_string();
    assert!(refused.contains("the quote at byte 49 is never closed"), "{refused}");
    assert_eq!(text.as_bytes()[49], b'"');
}

#[test]
fn a_compressed_file_is_refused_and_says_how_to_unpack_it() {
    let case = Case::new();
    let kinds: [(&str, &[u8]); 4] =
        [("gzip", b"\x1f\x8b\x08\0"), ("zstd", b"\x28\xb5\x2f\xfd\0"), ("xz", b"\xfd7zXZ\0"), ("bzip2", b"BZh91AY&SY")];
    for (program, begin) in kinds {
        let path = case.dir.path().join("packed");
        fs::write(&path, begin).unwrap();
        for format in [Format::Csv, Format::Prom, Format::Influx] {
            let options = ImportOptions { progress: false, ..ImportOptions::new(format, vec![path.clone()]) };
            let refused = check(&options).unwrap_err().to_string();
            assert!(refused.contains(&format!("pass `{program} -dc FILE |`")), "{refused}");
        }
    }
    let summary = case.import(Format::Prom, "BZhost_temp 1 1700000000000\n").unwrap();
    assert_eq!((summary.samples, case.of("BZhost_temp").len()), (1, 1), "a metric is no bzip2");
}

#[test]
fn exposition_text_keeps_its_timestamps_and_metadata() {
    let case = Case::new();
    let text = "# TYPE a counter\na{x=\"1\"} 1 1700000000000\na{x=\"1\"} 2 1700000001000\nb NaN 1700000000000\n";
    let summary = case.import(Format::Prom, text).unwrap();
    assert_eq!((summary.samples, summary.series), (3, 2));
    assert_eq!(case.of("a"), [(1_700_000_000, 1.0), (1_700_000_001, 2.0)]);
    assert_eq!(case.engine.metadata()["a"].kind, "counter");
    let open_metrics = "c 3 1700000000.5\n# EOF\n";
    assert_eq!(case.import(Format::Prom, open_metrics).unwrap().samples, 1);
    assert_eq!(samples_of(&case.engine, "c")[0].0, 1_700_000_000_500_000_000);
}

#[test]
fn samples_without_a_timestamp_need_one_from_the_options() {
    let case = Case::new();
    for (format, text) in [(Format::Prom, "a 1\n"), (Format::Influx, "m f=1\n")] {
        let Err(ImportError::BadLines { bad, .. }) = case.import(format, text) else { panic!("no error") };
        assert_eq!((bad.count, bad.first[0].line), (1, 1));
        assert!(bad.to_string().contains("--at TIME"), "{bad}");
        let mut options = case.options(format, "file.txt", text);
        options.at = Some(at(1_700_000_000));
        assert_eq!(run(&options, &case.engine).unwrap().samples, 1);
    }
    assert_eq!(case.of("a"), [(1_700_000_000, 1.0)]);
    assert_eq!(case.of("m_f"), [(1_700_000_000, 1.0)]);
}

#[test]
fn bad_exposition_lines_are_named() {
    let case = Case::new();
    let text = "a 1 1700000000000\na{ 1 1\nb{x=\"1\",x=\"2\"} 1 1700000000000\nc 1 1700000000000\n";
    let Err(ImportError::BadLines { bad, summary }) = case.import(Format::Prom, text) else { panic!("no error") };
    assert_eq!(bad.first.iter().map(|bad| bad.line).collect::<Vec<_>>(), [2, 3]);
    assert_eq!(summary.samples, 2);
}

/// A stream that broke off was taken for whole, and half a timestamp for one of 1970.
#[test]
fn open_metrics_that_break_off_are_told_and_half_a_line_is_no_sample() {
    let whole = "a 1 1700000000\na 2 1700000001\n# EOF";
    for cut in 0..=whole.len() {
        let case = Case::new();
        let mut options = case.options(Format::Prom, "a.prom", &whole[..cut]);
        options.time_unit = TimeUnit::Seconds;
        let stored = whole[..cut].matches('\n').count();
        match run(&options, &case.engine) {
            Ok(summary) => assert_eq!((cut, summary.samples), (whole.len(), 2)),
            Err(ImportError::BadLines { bad, summary }) => {
                assert!(bad.first.iter().any(|bad| bad.why.contains("EOF")), "{cut}: {bad:?}");
                assert_eq!(summary.samples, stored as u64, "{cut}: {bad:?}");
            }
            Err(other) => panic!("{cut}: {other}"),
        }
        if stored > 0 {
            let all = [(1_700_000_000, 1.0), (1_700_000_001, 2.0)];
            assert_eq!(case.of("a"), all[..stored], "{cut}");
        }
    }
}

#[test]
fn what_stands_behind_the_end_of_open_metrics_is_looked_at() {
    for (text, is_whole) in [
        ("a 1 1700000000\n# EOF\n\n", true),
        ("a 1 1700000000\n# EOF\n\n \n", true),
        ("a 1 1700000000\n# EOF\nb 2 17000", false),
        ("a 1 1700000000\n# EOF\nb 2 1700000000\n", false),
    ] {
        let case = Case::new();
        let mut options = case.options(Format::Prom, "a.prom", text);
        options.time_unit = TimeUnit::Seconds;
        let said = run(&options, &case.engine);
        assert_eq!(said.is_ok(), is_whole, "{text:?}: {said:?}");
        assert_eq!(case.of("a"), [(1_700_000_000, 1.0)]);
    }
}

/// A cut-off export came in 56 years too early, and so did one through a pipe, whose end cannot be seen.
#[test]
fn open_metrics_without_its_end_is_not_taken_for_milliseconds() {
    let case = Case::new();
    let cut = "a 1 1700000000\na 2 1700000001\n";
    let Err(ImportError::BadLines { bad, summary }) = case.import(Format::Prom, cut) else { panic!("no error") };
    assert!(bad.first.len() == 2 && bad.first[0].why.contains("--time-unit s"), "{bad:?}");
    assert_eq!(summary.samples, 0);
    for (unit, first) in [(TimeUnit::Seconds, 1_700_000_000), (TimeUnit::Millis, 1_700_000)] {
        let case = Case::new();
        let mut options = case.options(Format::Prom, "a.prom", cut);
        options.time_unit = unit;
        // Nothing says that it is whole where seconds are meant.
        options.skip_bad = unit == TimeUnit::Seconds;
        run(&options, &case.engine).unwrap();
        assert_eq!(case.of("a")[0], (first, 1.0));
    }
    let mut options = case.options(Format::Prom, "a.prom", cut);
    options.time_unit = TimeUnit::Nanos;
    assert!(run(&options, &case.engine).unwrap_err().to_string().contains("seconds (OpenMetrics)"));
    #[cfg(target_os = "linux")]
    {
        let options = ImportOptions { files: vec!["/dev/null".into()], ..options };
        let options = ImportOptions { time_unit: TimeUnit::Auto, ..options };
        assert!(run(&options, &case.engine).unwrap_err().to_string().contains("no file"));
    }
}

#[test]
fn line_protocol_makes_a_series_of_each_field() {
    let case = Case::new();
    let text = "# comment\ncpu,host=a\\ b,dc=eu user=1.5,n=2i,up=true,name=\"x\" 1700000000000000000\n\
        cpu,host=a\\ b,dc=eu user=2.5 1700000001000000000\nbroken\n";
    let Err(ImportError::BadLines { bad, summary }) = case.import(Format::Influx, text) else { panic!("no error") };
    assert_eq!(bad.first[0].line, 4);
    assert_eq!((summary.samples, summary.series, summary.skipped), (4, 3, 1));
    assert_eq!(case.series()[2], r#"cpu_user{dc="eu", host="a b"}"#);
    assert_eq!(case.of("cpu_user"), [(1_700_000_000, 1.5), (1_700_000_001, 2.5)]);
    assert_eq!(case.of("cpu_up"), [(1_700_000_000, 1.0)]);
    let mut options = case.options(Format::Influx, "ms.lp", "m f=1 1700000000000\n");
    options.time_unit = TimeUnit::Millis;
    run(&options, &case.engine).unwrap();
    assert_eq!(case.of("m_f"), [(1_700_000_000, 1.0)]);
}

#[test]
fn a_real_file_comes_in_without_options() {
    let Some(folder) = std::env::var_os("TIDEGAUGE_DATA") else {
        return eprintln!("skipped: TIDEGAUGE_DATA names no folder with cloudwatch.csv");
    };
    let path = Path::new(&folder).join("cloudwatch.csv");
    let text = fs::read_to_string(&path).expect("TIDEGAUGE_DATA holds cloudwatch.csv");
    let engine = Engine::in_memory().unwrap();
    let options = ImportOptions { progress: false, ..ImportOptions::new(Format::Csv, vec![path]) };
    let summary = run(&options, &engine).unwrap();
    // The same file, read in the simplest way: the last value of an instance and time wins.
    let mut expected = std::collections::BTreeMap::new();
    for line in text.lines().skip(1) {
        let cells: Vec<&str> = line.split(',').collect();
        let (millis, value): (i64, f64) = (cells[0].parse().unwrap(), cells[3].parse().unwrap());
        assert_eq!(cells[1], "aws_cloudwatch");
        expected.insert((cells[2].to_owned(), millis * 1_000_000), value.to_bits());
    }
    assert_eq!(summary.samples, text.lines().count() as u64 - 1);
    let mut found = std::collections::BTreeMap::new();
    let all = samples(&engine, &[Matcher::equal("__name__", "aws_cloudwatch")]);
    assert_eq!(summary.series, all.len() as u64);
    for (series, samples) in all {
        let instance = series.split('"').nth(1).unwrap().to_owned();
        found.extend(samples.into_iter().map(|(t, bits)| ((instance.clone(), t), bits)));
    }
    assert_eq!(found, expected);
}

#[test]
fn a_timestamp_of_any_age_is_taken() {
    let case = Case::new();
    case.import(Format::Csv, "ts,value\n-1000000000,1\n0,2\n").unwrap();
    assert_eq!(case.of("file"), [(-1_000_000_000, 1.0), (0, 2.0)]);
    assert_eq!(Timestamp::from_nanos(0), at(0));
}

proptest::proptest! {
    #![proptest_config(proptest::test_runner::Config::with_cases(48))]

    #[test]
    fn every_line_is_either_stored_or_named(good in proptest::collection::vec(proptest::bool::ANY, 0..60), nth in 0usize..3) {
        let (format, head, line, bad): (_, _, fn(usize) -> String, [&str; 4]) = [
            (Format::Csv, "ts,host,value\n", (|i| format!("{},h{},{i}", 1_700_000_000 + i, i % 3)) as fn(usize) -> String,
                ["x,h,1", "1700000000,h", "1700000000,h,x", "1700000000,h,1,2"]),
            (Format::Prom, "", |i| format!("m{{host=\"h{}\"}} {i} {}", i % 3, (1_700_000_000 + i) * 1000),
                ["m{", "m 1", "9m 1 1700000000000", "m{a=\"1\",a=\"2\"} 1 1700000000000"]),
            (Format::Influx, "", |i| format!("m,host=h{} f={i} {}000000000", i % 3, 1_700_000_000 + i),
                ["m", "m f=x 1", "m,host f=1 1", "m f=1"]),
        ][nth];
        let mut text = head.to_owned();
        for (i, &good) in good.iter().enumerate() {
            text.push_str(&if good { line(i) } else { bad[i % 4].to_owned() });
            text.push('\n');
        }
        let case = Case::new();
        let mut options = case.options(format, "file.txt", &text);
        options.skip_bad = true;
        let summary = run(&options, &case.engine).unwrap();
        let stored = good.iter().filter(|&&good| good).count() as u64;
        proptest::prop_assert_eq!((summary.samples, summary.bad_lines), (stored, good.len() as u64 - stored));
        let found: usize = samples(&case.engine, &[]).values().map(Vec::len).sum();
        proptest::prop_assert_eq!(found as u64, stored);
    }

    #[test]
    fn no_file_makes_it_panic(bytes: Vec<u8>, nth in 0usize..3) {
        let format = [Format::Csv, Format::Prom, Format::Influx][nth];
        let case = Case::new();
        let mut options = case.options(format, "file.txt", "");
        fs::write(&options.files[0], [b"ts,value\n\"", &bytes[..]].concat()).unwrap();
        options.at = Some(at(0));
        let _ = run(&options, &case.engine);
    }
}

/// What was accepted beyond what can be read: of the same file, of another one, of an earlier import.
#[test]
fn replaced_samples_are_counted_wherever_the_earlier_value_came_from() {
    let case = Case::new();
    let import = |text: &str| case.import(Format::Csv, text).unwrap();
    let first = import("ts,metric,host,value\n10,m,a,1\n20,m,a,2\n10,m,a,3\n10,m,b,4\n10,n,a,5\n");
    assert_eq!((first.samples, first.replaced), (5, Some(1)));
    let said = first.to_string();
    assert!(said.ends_with("), 1 of which replaced an earlier value of the same series and time"), "{said}");
    // Late, in order, and the same once more; other metrics and times do not count.
    let second = import("ts,metric,host,value\n20,m,a,6\n30,m,a,7\n5,m,a,8\n20,m,a,9\n10,m,c,1\n");
    assert_eq!((second.samples, second.replaced), (5, Some(2)));
    case.engine.flush().unwrap();
    assert_eq!(import("ts,metric,host,value\n5,m,a,1\n6,m,a,1\n10,n,a,1\n10,n,b,1\n").replaced, Some(2));
    let none = import("ts,metric,host,value\n7,m,a,1\n");
    assert_eq!(none.replaced, Some(0));
    assert!(none.to_string().ends_with(" samples/s)"), "{none}");
    // What was deleted is not replaced.
    case.engine.delete("m", at(5)..at(11)).unwrap();
    assert_eq!(import("ts,metric,host,value\n10,m,a,1\n20,m,a,1\n").replaced, Some(1));
    // Where samples may be hidden for their age, it is not known.
    let rule = tidegauge::RetentionRule { matchers: Vec::new(), max_age: Some(Duration::from_secs(86_400)) };
    let rules = tidegauge::Retention { rules: vec![rule], max_bytes: None };
    case.engine.set_retention(rules).unwrap();
    let hidden = import("ts,metric,host,value\n10,m,a,1\n11,m,a,1\n");
    assert_eq!((hidden.replaced, hidden.over_age), (None, 2));
    let said = hidden.to_string();
    assert!(said.ends_with(", 2 of which are older than the store's retention keeps, and are not shown"), "{said}");
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(30))]
    /// Each import against a map of series and time.
    #[test]
    fn replaced_samples_are_counted_as_a_naive_twin_does(
        imports in proptest::collection::vec(proptest::collection::vec((0..3u8, 0..3u8, 0..40u8), 1..60), 1..5),
        flush in proptest::bool::ANY,
    ) {
        let case = Case::new();
        let mut twin = std::collections::BTreeSet::new();
        for samples in imports {
            let mut text = "ts,metric,host,value\n".to_owned();
            let mut replaced = 0;
            for (metric, host, at) in samples {
                text.push_str(&format!("{},m{metric},{host},{at}\n", 1_000_000 + u64::from(at)));
                replaced += u64::from(!twin.insert((metric, host, at)));
            }
            proptest::prop_assert_eq!(case.import(Format::Csv, &text).unwrap().replaced, Some(replaced));
            if flush {
                case.engine.flush().unwrap();
            }
        }
    }
}

/// All that a file says of its metrics was held, however long, and refused at its end.
#[test]
fn a_file_of_more_help_than_a_store_keeps_is_refused_where_it_is_too_much() {
    let case = Case::new();
    let help = "h".repeat(500_000);
    let mut text: String = (0..40).map(|i| format!("# HELP m{i} {help}\n")).collect();
    for i in 0..20_000 {
        text.push_str(&format!("late 1 {}\n", 1_700_000_000_000i64 + i));
    }
    let error = case.import(Format::Prom, &text).unwrap_err();
    assert!(matches!(error, ImportError::Metadata(_)), "{error}");
    assert_eq!(case.of("late"), [], "nothing behind it was read");
    assert!(case.engine.metadata().len() > 30, "what has room is kept");
}
