//! `recovery`.

use serde_json::Value;

#[test]
fn a_killed_process_comes_back_and_is_verified() {
    let dir = tempfile::tempdir().unwrap();
    for durability in ["interval:20ms", "sync"] {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_tidegauge-bench"));
        command.args(["recovery", "--workload", "w3", "--for", "300ms", "--json", "--durability", durability]);
        command.env("GLIBC_TUNABLES", "glibc.malloc.hugetlb=0");
        let output = command.arg("--data-dir").arg(dir.path().join(durability)).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let figures: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(figures["verified"], true, "{figures}");
        let how = [&figures["verb"], &figures["batch"], &figures["seed"]];
        assert_eq!(how, [&Value::from("recovery"), &1_000.into(), &1.into()], "{figures}");
        assert_eq!(figures["machine"]["glibc_tunables"], "glibc.malloc.hugetlb=0", "{figures}");
        assert!(figures["visible_before"].as_u64() <= figures["samples"].as_u64(), "{figures}");
    }
}

#[test]
fn a_push_that_is_too_short_to_be_seen_makes_no_sense_and_is_no_wrong_answer() {
    let dir = tempfile::tempdir().unwrap();
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_tidegauge-bench"));
    // It tells how far it is after millions of samples.
    command.args(["recovery", "--workload", "w3", "--for", "1ms", "--batch", "200k", "--data-dir"]);
    let output = command.arg(dir.path().join("data")).output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{told}");
    assert!(told.contains("--for 1ms") && told.contains("longer") && !told.contains("wrong"), "{told}");
}
