//! The table of figures in the README, and the script that takes them anew: a row without a command that the script takes,
//! or says that it leaves out, is a figure that nobody can take again.

use std::collections::BTreeSet;
use std::process::Command;

use clap::ValueEnum;
use tidegauge_bench::concurrency::Mode;

/// What a command of the table begins with; other code in its cells names figures.
const COMMANDS: [&str; 6] = ["B ", "cargo ", "tests/", "tidegauge ", "TIDEGAUGE_DATA=", "GLIBC_TUNABLES="];

/// What the script takes, and what it says it leaves out.
fn taken_and_left_out() -> (BTreeSet<String>, BTreeSet<String>) {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/reproduce.sh");
    let output = Command::new("bash").args([script, "--list"]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let (mut taken, mut left_out) = (BTreeSet::new(), BTreeSet::new());
    for line in String::from_utf8(output.stdout).unwrap().lines() {
        match line.strip_prefix("left out: ") {
            Some(command) => left_out.insert(command.to_owned()),
            None => taken.insert(line.to_owned()),
        };
    }
    (taken, left_out)
}

/// Each row of the table: what is measured, and its commands.
fn rows(readme: &str) -> Vec<(&str, Vec<&str>)> {
    let table = readme.lines().skip_while(|line| *line != "| figure | command | goal | measured |").skip(2);
    table
        .take_while(|line| line.starts_with('|'))
        .map(|line| {
            let cells: Vec<&str> = line.split('|').map(str::trim).collect();
            assert_eq!(cells.len(), 6, "four cells, and nothing before and behind them: {line}");
            let code = cells[2].split('`').skip(1).step_by(2);
            (cells[1], code.filter(|code| COMMANDS.iter().any(|begin| code.starts_with(begin))).collect())
        })
        .collect()
}

/// What the script must take for a command of the table: without `--mode`, `concurrency` takes all that the driver knows.
fn covering(command: &str) -> &str {
    let known = |modes: &str| modes.split(',').all(|mode| Mode::from_str(mode, false).is_ok());
    if command.strip_prefix("B concurrency --mode ").is_some_and(known) { "B concurrency" } else { command }
}

/// The rows and commands that do not go together.
fn gaps(rows: &[(&str, Vec<&str>)], taken: &BTreeSet<String>, left_out: &BTreeSet<String>) -> Vec<String> {
    let mut gaps = Vec::new();
    let mut named = BTreeSet::new();
    for (figure, commands) in rows {
        if commands.is_empty() {
            gaps.push(format!("no command: {figure}"));
        }
        for command in commands.iter().map(|command| covering(command)) {
            named.insert(command);
            if !taken.contains(command) && !left_out.contains(command) {
                gaps.push(format!("neither taken nor left out: {command}"));
            }
        }
    }
    gaps.extend(taken.intersection(left_out).map(|command| format!("taken, and said to be left out: {command}")));
    let idle = taken.union(left_out).filter(|command| !named.contains(command.as_str()));
    gaps.extend(idle.map(|command| format!("of no row: {command}")));
    gaps
}

#[test]
fn each_row_of_the_table_has_commands_that_the_script_takes_or_says_it_leaves_out() {
    let readme = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md")).unwrap();
    let (rows, (taken, left_out)) = (rows(&readme), taken_and_left_out());
    assert!(rows.len() > 40 && taken.len() > 20, "{} rows, {} commands", rows.len(), taken.len());
    assert_eq!(gaps(&rows, &taken, &left_out), Vec::<String>::new());
}

#[test]
fn a_row_without_a_command_or_with_one_that_nobody_takes_is_named() {
    let of = |commands: &[&str]| commands.iter().map(|&command| command.to_owned()).collect::<BTreeSet<_>>();
    let readme = "| figure | command | goal | measured |\n|---|---|---|---|\n\
                  | a | `x` of `B run`, `B concurrency --mode write` | | 1 |\n| b | `y` | | |\n| c | `B soak` | | |\n\n| d | | | |";
    let rows = rows(readme);
    assert_eq!(gaps(&rows[..1], &of(&["B run", "B concurrency"]), &of(&[])), Vec::<String>::new());
    assert_eq!(
        gaps(&rows, &of(&["B run", "B roofs"]), &of(&["B soak", "B run"])),
        [
            "neither taken nor left out: B concurrency",
            "no command: b",
            "taken, and said to be left out: B run",
            "of no row: B roofs"
        ]
    );
}

#[test]
fn a_mode_that_the_driver_does_not_know_is_covered_by_nothing() {
    for mode in Mode::ALL {
        assert_eq!(covering(&format!("B concurrency --mode {mode}")), "B concurrency");
    }
    assert_eq!(covering("B concurrency --mode mixed,hot-key"), "B concurrency");
    for unknown in ["writes", "mixed,writes", "", "write --for 5s", "Write"] {
        let command = format!("B concurrency --mode {unknown}");
        assert_eq!(covering(&command), command);
    }
}
