//! `ratios`.

use std::process::Stdio;

use serde_json::Value;

use super::{folders, page_of};

#[test]
fn runs_in_turn_are_told_as_the_median_of_their_ratios() {
    let dir = tempfile::tempdir().unwrap();
    let ratios = |line: &[&str]| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_tidegauge-bench"));
        command.arg("ratios").args(line).current_dir(dir.path()).output().unwrap()
    };
    let output =
        ratios(&["--pairs", "2", "--both", "--durability memory", "--samples 8000", "--samples 4000", "--json"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let object: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&object["verb"], &object["pairs"], &object["verified"]), (&"ratios".into(), &2.into(), &true.into()));
    assert_eq!((&object["against"], folders(dir.path())), (&"--durability memory --samples 4000".into(), Vec::new()));
    let figure = |name: &str| object["figures"].as_array().unwrap().iter().find(|one| one["figure"] == name);
    assert!(figure("samples_per_s_durable").is_none(), "memory makes nothing durable");
    for always in ["bytes_per_sample_fresh", "bytes_per_sample", "scan_one_core_samples_per_s", "push_ns/p50"] {
        assert!(figure(always).is_some(), "{always} in {object}");
    }
    // Of so few samples all are in memory when the clock stops, and a share of nought makes no ratio.
    assert_eq!(object["left_out"], serde_json::json!(["flushed_share"]), "{object}");
    let figure = figure("samples_per_s_visible").unwrap();
    let [least, ratio, greatest] = ["least", "ratio", "greatest"].map(|key| figure[key].as_f64().unwrap());
    assert!(0.0 < least && least <= ratio && ratio <= greatest, "{figure}");
    let page = page_of(dir.path(), &String::from_utf8(output.stdout).unwrap());
    assert!(page.contains("over run --durability memory --samples 4000"), "{page}");

    let refused = ratios(&["--workload w9", "--batch 1"]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("w9"));
}

/// Who builds while it runs replaces the program that the later runs are.
#[test]
fn runs_in_turn_are_runs_of_the_program_that_was_started_whatever_became_of_its_file() {
    let dir = tempfile::tempdir().unwrap();
    let program = dir.path().join("program");
    std::fs::copy(env!("CARGO_BIN_EXE_tidegauge-bench"), &program).unwrap();
    let mut command = std::process::Command::new(&program);
    command.args(["ratios", "--pairs", "1", "--both", "--durability memory", "--samples 8000", "--samples 4000"]);
    let running = command.current_dir(dir.path()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    std::fs::remove_file(&program).unwrap();
    let output = running.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
