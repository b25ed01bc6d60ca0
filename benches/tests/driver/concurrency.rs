//! `concurrency`.

use clap::Parser;
use serde_json::Value;
use tidegauge_bench::cli::{Cli, Command};
use tidegauge_bench::progress::Progress;

#[test]
fn every_mode_of_the_concurrency_table_is_verified() {
    let line = "tidegauge-bench concurrency --workers 1,3 --for 50ms --rounds 2";
    let Command::Concurrency(mut options) = Cli::try_parse_from(line.split_whitespace()).unwrap().command else {
        panic!("concurrency expected")
    };
    let dir = tempfile::tempdir().unwrap();
    options.data_dir = Some(dir.path().join("bench"));
    let table = tidegauge_bench::concurrency::measure(&options, &Progress::hidden()).unwrap();
    assert!(table.verified, "{table}");
    let object: Value = serde_json::from_str(&table.to_json()).unwrap();
    let cells = object["cells"].as_array().unwrap();
    assert_eq!(cells.len(), 10 * 2);
    for cell in cells {
        let rounds: Vec<f64> =
            cell["ops_per_s_of_rounds"].as_array().unwrap().iter().map(|one| one.as_f64().unwrap()).collect();
        assert!(rounds.len() == 2 && rounds.iter().all(|&round| round > 0.0), "{cell}");
        let median = f64::midpoint(rounds[0], rounds[1]);
        assert!((cell["ops_per_s"].as_f64().unwrap() / median - 1.0).abs() < 1e-9, "{cell}");
        let times = [&cell["read_us"], &cell["write_us"]].into_iter().filter(|times| !times.is_null());
        let mut any = false;
        for times in times {
            let [p50, p95, p99] = ["p50", "p95", "p99"].map(|key| times[key].as_f64().unwrap());
            assert!(0.0 < p50 && p50 <= p95 && p95 <= p99, "{cell}");
            any = true;
        }
        assert!(any, "{cell}");
        if let Some(published) = cell["published_ops_per_s"].as_f64() {
            let ratio = cell["ops_per_s"].as_f64().unwrap() / published;
            assert!((cell["ratio"].as_f64().unwrap() / ratio - 1.0).abs() < 1e-9, "{cell}");
        }
    }
    let mut published: Vec<_> = cells.iter().filter(|cell| !cell["published_ops_per_s"].is_null()).collect();
    published.sort_by_key(|cell| cell["mode"].to_string());
    let of_one: Vec<_> = published.iter().map(|cell| (cell["mode"].as_str(), cell["workers"].as_u64())).collect();
    // What was published are reads from a fresh snapshot: others do not stand beside it.
    assert_eq!(of_one, [(Some("mixed-snapshot"), Some(1)), (Some("read-snapshot"), Some(1)), (Some("write"), Some(1))]);
}

#[test]
fn a_table_without_workers_makes_no_sense() {
    for workers in ["0,2", "1,1000"] {
        let line = format!("tidegauge-bench concurrency --workers {workers}");
        let Command::Concurrency(options) = Cli::try_parse_from(line.split_whitespace()).unwrap().command else {
            panic!("concurrency expected")
        };
        let error = tidegauge_bench::concurrency::measure(&options, &Progress::hidden()).unwrap_err();
        assert_eq!(error.exit_code(), 2, "{error}");
    }
}
