//! `beside` and `soak`.

use clap::Parser;
use serde_json::Value;
use tidegauge_bench::cli::{Cli, Command};
use tidegauge_bench::progress::Progress;

#[test]
fn pushing_beside_questions_is_compared_with_pushing_alone() {
    for rate in ["", "--rate 100k"] {
        let line = format!("tidegauge-bench beside --pairs 2 --for 100ms --samples 1600000 --readers 2 {rate}");
        let Command::Beside(mut options) = Cli::try_parse_from(line.split_whitespace()).unwrap().command else {
            panic!("beside expected")
        };
        let dir = tempfile::tempdir().unwrap();
        options.data_dir = Some(dir.path().join("bench"));
        let beside = tidegauge_bench::live::beside(&options, &Progress::hidden()).unwrap();
        assert!(beside.verified, "{beside}");
        assert_eq!(beside.pairs.len(), 2);
        let mut ratios: Vec<f64> =
            beside.pairs.iter().map(|pair| pair.beside.samples_per_s / pair.alone.samples_per_s).collect();
        ratios.sort_by(f64::total_cmp);
        let middle = f64::midpoint(ratios[0], ratios[1]);
        assert_eq!(beside.ratio, middle, "of an even number, the mean of the two in the middle");
        let object: Value = serde_json::from_str(&beside.to_json()).unwrap();
        assert_eq!((&object["verb"], &object["seed"]), (&"beside".into(), &1.into()), "{object}");
        assert_eq!(object["for_s"], 0.1, "{object}");
        assert!(object["samples"].as_u64() > Some(1_600_000), "more than were there before: {object}");
        assert!(beside.pairs.iter().all(|pair| pair.alone.questions_per_s == 0.0), "{beside}");
        assert!(beside.questions_per_s > 0.0, "{beside}");
    }
}

/// A batch is due every quarter of an hour: nobody waits for the next one.
#[test]
fn a_soak_at_a_low_rate_lasts_as_long_as_it_is_told_or_until_it_is_interrupted() {
    let dir = tempfile::tempdir().unwrap();
    let soak = |lasting: &str, folder: &str| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_tidegauge-bench"));
        command.args(["soak", "--rate", "1", "--samples", "40000", "--every", "100ms", "--json", "--for", lasting]);
        command.arg("--data-dir").arg(dir.path().join(folder)).stdout(std::process::Stdio::piped()).spawn().unwrap()
    };
    let summary = |printed: &[u8]| -> Value {
        let printed = std::str::from_utf8(printed).unwrap();
        let summary: Value = serde_json::from_str(printed.lines().last().unwrap()).unwrap();
        assert_eq!((&summary["verified"], &summary["samples"]), (&true.into(), &1_000.into()), "{summary}");
        summary
    };
    let output = soak("400ms", "whole").wait_with_output().unwrap();
    let told = summary(&output.stdout);
    assert!(told["elapsed_s"].as_f64() >= Some(0.4) && told["interrupted"] == false, "{told}");

    let mut child = soak("10m", "stopped");
    let mut first = String::new();
    let mut stdout = std::io::BufReader::new(child.stdout.take().unwrap());
    std::io::BufRead::read_line(&mut stdout, &mut first).unwrap();
    let sent = std::process::Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap();
    assert!(sent.success());
    let mut printed = Vec::new();
    std::io::Read::read_to_end(&mut stdout, &mut printed).unwrap();
    assert!(child.wait().unwrap().success());
    assert_eq!(summary(&printed)["interrupted"], true);
}

#[test]
fn a_soak_tells_its_windows_and_ends_with_a_summary_when_interrupted() {
    let dir = tempfile::tempdir().unwrap();
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_tidegauge-bench"));
    command.args(["soak", "--rate", "200k", "--samples", "40000", "--for", "10m", "--every", "200ms", "--json"]);
    command.arg("--data-dir").arg(dir.path().join("bench"));
    let mut child = command.stdout(std::process::Stdio::piped()).spawn().unwrap();
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(child.stdout.take().unwrap()));
    let windows: Vec<Value> = (0..3).map(|_| serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap()).collect();
    let interrupted = std::process::Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(interrupted.success());
    let summary: Value = serde_json::from_str(&lines.map_while(Result::ok).last().unwrap()).unwrap();
    assert!(child.wait().unwrap().success());
    assert_eq!((&summary["verified"], &summary["interrupted"]), (&true.into(), &true.into()), "{summary}");
    for window in &windows {
        let [all, no_file] = ["rss_bytes", "anonymous_bytes"].map(|name| window[name].as_u64().unwrap());
        assert!(0 < no_file && no_file < all, "{window}");
    }
    assert_eq!(summary["seed"], 1, "{summary}");
    let (told, all) = (windows[0].as_object().unwrap(), summary["windows"].as_array().unwrap());
    assert!(all.len() >= 3 && all[0].as_object() == Some(told), "the summary has the windows that were told");
    let samples = summary["samples"].as_u64().unwrap();
    let due = 200_000.0 * summary["elapsed_s"].as_f64().unwrap();
    assert!(samples as f64 <= due + 5_000.0, "no more than were due: {samples} of {due}");
}
