//! `compare`, and what stands in for cargo.

/// Stands in for cargo: builds an agent at once, tells how it was called, and ends as `ending` says.
fn comparing(dir: &std::path::Path, ending: &str, line: &str) -> std::process::Output {
    use std::os::unix::fs::PermissionsExt;
    let cargo = dir.join("cargo");
    let script = format!(
        "#!/bin/sh\nif [ $1 = build ]; then\n  echo \"$*\" >>{0}/built\n  test ! -e {0}/broken || exit 101\n  \
         echo '{{\"reason\":\"compiler-artifact\",\"executable\":null}}'\n  \
         echo '{{\"reason\":\"compiler-artifact\",\"executable\":\"/elsewhere/release/tidegauge\"}}'\n  \
         echo '{{\"reason\":\"build-finished\",\"success\":true}}'\n  exit 0\nfi\n\
         echo \"$*\"\necho '{{\"verb\":\"compare\"}}'\n{ending}\n",
        dir.display()
    );
    std::fs::write(&cargo, script).unwrap();
    std::fs::set_permissions(&cargo, std::fs::Permissions::from_mode(0o755)).unwrap();
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_tidegauge-bench"));
    command.arg("compare").args(line.split_whitespace()).env("CARGO", cargo).output().unwrap()
}

/// From a clean clone, and whatever folder cargo builds in.
#[test]
fn the_agent_that_servers_stand_beside_is_built_first_and_the_comparison_is_told_where() {
    let dir = tempfile::tempdir().unwrap();
    let built = || std::fs::read_to_string(dir.path().join("built")).unwrap_or_default();
    let output = comparing(dir.path(), "", "-- --only fjall,prometheus");
    let called = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success() && !called.contains("--agent") && built().is_empty(), "{called}");

    let output = comparing(dir.path(), "", "-- --only tidegauge-server,prometheus");
    let called = String::from_utf8(output.stdout).unwrap();
    let told = " -- --only tidegauge-server,prometheus --agent /elsewhere/release/tidegauge\n";
    assert!(output.status.success() && called.contains(told), "{called}");
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/compare/../../Cargo.toml");
    assert!(
        built().starts_with("build --release --locked -p tidegauge-agent ") && built().contains(root),
        "{}",
        built()
    );

    std::fs::write(dir.path().join("broken"), "").unwrap();
    let output = comparing(dir.path(), "", "-- --only tidegauge-server,prometheus");
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{told}");
    assert!(told.contains("could not be built") && output.stdout.is_empty(), "{told}");
    // Nobody has named it: the others are measured, and it is missed.
    let output = comparing(dir.path(), "", "");
    let (told, called) = [&output.stderr, &output.stdout].map(|text| String::from_utf8_lossy(text)).into();
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(
        told.contains("tidegauge-server is left out: the agent of ") && told.contains("could not be built"),
        "{told}"
    );
    assert!(called.contains(" -- --without tidegauge-server\n"), "{called}");
}

#[test]
fn outside_of_a_tree_the_comparison_is_run_without_the_agent() {
    let dir = tempfile::tempdir().unwrap();
    let workspace = dir.path().join("some/compare");
    std::fs::create_dir_all(&workspace).unwrap();
    std::fs::write(workspace.join("Cargo.toml"), "").unwrap();
    let line = format!("--workspace {} -- --samples 5", workspace.display());
    let output = comparing(dir.path(), "", &line);
    let (told, called) = [&output.stderr, &output.stdout].map(|text| String::from_utf8_lossy(text)).into();
    assert!(output.status.success(), "{told}");
    assert!(
        told.contains("tidegauge-server is left out: ") && told.contains("name one with -- --agent FILE"),
        "{told}"
    );
    assert!(
        called.contains(" -- --samples 5 --without tidegauge-server\n") && !dir.path().join("built").exists(),
        "{called}"
    );
    let output = comparing(dir.path(), "", &format!("{line} --only tidegauge-server"));
    assert_eq!(output.status.code(), Some(2), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn a_comparison_is_built_and_run_where_it_is_and_its_ending_is_passed_on() {
    let dir = tempfile::tempdir().unwrap();
    let line = "--features a,b -- --samples 5 --json";
    let output = comparing(dir.path(), "", line);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/compare/Cargo.toml");
    let agent = "--agent /elsewhere/release/tidegauge";
    let called =
        format!("run --release --locked --manifest-path {manifest} --features a,b -- --samples 5 --json {agent}");
    assert_eq!(String::from_utf8(output.stdout).unwrap(), format!("{called}\n{{\"verb\":\"compare\"}}\n"));

    let output = comparing(dir.path(), "exit 1", line);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        String::from_utf8(output.stdout).unwrap().ends_with("{\"verb\":\"compare\"}\n"),
        "the table is told even so"
    );
    assert_eq!(comparing(dir.path(), "exit 2", line).status.code(), Some(2));

    let output = comparing(dir.path(), "", "--workspace /nowhere");
    assert_eq!(output.status.code(), Some(2));
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(told.contains("cd benches/compare && cargo run --release") && output.stdout.is_empty(), "{told}");
}

#[test]
fn an_interrupt_of_a_comparison_is_passed_on_and_waited_for() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    // Stands in for cargo, which becomes the comparison: clears away what it has when it is asked to.
    let script = format!(
        "#!/bin/sh\ntrap 'rm {0}; exit 143' TERM\ntouch {0}\nwhile :; do sleep 0.05; done\n",
        path("running").display()
    );
    std::fs::write(path("cargo"), script).unwrap();
    std::fs::set_permissions(path("cargo"), std::fs::Permissions::from_mode(0o755)).unwrap();
    for (signal, code) in [("-INT", 130), ("-TERM", 143)] {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_tidegauge-bench"));
        let mut child = command.arg("compare").env("CARGO", path("cargo")).spawn().unwrap();
        while !path("running").exists() {
            assert!(child.try_wait().unwrap().is_none(), "ended before it began");
            std::thread::yield_now();
        }
        assert!(std::process::Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap().success());
        assert_eq!(child.wait().unwrap().code(), Some(code), "{signal}");
        assert!(!path("running").exists(), "{signal}: it was not waited for");
    }
}
