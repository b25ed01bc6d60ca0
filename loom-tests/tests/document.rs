//! `docs/concurrency.md` says of each invariant what shows it. What it names is there, and nothing is left out.
#![cfg(not(loom))]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
}

/// The names of all tests below a folder: of functions with `#[test]` a few lines above.
fn tests_below(folder: &Path, names: &mut BTreeSet<String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            tests_below(&path, names);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let mut is_test = false;
            for line in fs::read_to_string(&path).unwrap().lines() {
                let line = line.trim_start();
                if let Some((name, _)) = line.strip_prefix("fn ").and_then(|rest| rest.split_once('(')) {
                    if is_test {
                        names.insert(name.to_owned());
                    }
                    is_test = false;
                }
                is_test |= line == "#[test]";
            }
        }
    }
}

fn tests() -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for package in ["storage", "engine", "crash-tests", "loom-tests"] {
        for part in ["src", "tests"] {
            tests_below(&root().join(package).join(part), &mut names);
        }
    }
    names
}

/// What stands in backticks.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

/// A letter and a number, as invariants are called, or two letters.
fn is_invariant(word: &str) -> bool {
    let digits = word.trim_start_matches(|c: char| c.is_ascii_uppercase());
    let letters = word.len() - digits.len();
    (1..=2).contains(&letters) && !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit())
}

/// The files below a folder whose name ends so.
fn files_below(folder: &Path, endings: &[&str], files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files_below(&path, endings, files);
        } else if path.extension().is_some_and(|extension| endings.iter().any(|ending| extension == *ending)) {
            files.push(path);
        }
    }
}

/// What a line states: `- **T1 …**` in a document, `//! - M1: …` in a file's own.
fn stated(line: &str) -> Option<&str> {
    let of_document = line.strip_prefix("- **").and_then(|rest| rest.split_once(' '));
    let of_file = line.strip_prefix("//! - ").and_then(|rest| rest.split_once(": "));
    of_document.or(of_file).map(|(name, _)| name).filter(|name| is_invariant(name))
}

/// A row of one of the tables: its invariants, what shows them, and the weakenings that it notices.
struct Row<'a> {
    invariants: Vec<&'a str>,
    shown_by: &'a str,
    weakenings: &'a str,
}

fn rows(page: &str) -> Vec<Row<'_>> {
    let cells = page.lines().filter_map(|line| line.strip_prefix("| ")?.strip_suffix(" |"));
    let rows = cells.map(|line| {
        let mut cells = line.split(" | ");
        let invariants = cells.next().unwrap().split(", ").collect();
        Row { invariants, shown_by: cells.next().unwrap_or(""), weakenings: cells.next().unwrap_or("") }
    });
    rows.filter(|row| row.invariants.iter().all(|name| is_invariant(name))).collect()
}

#[test]
fn every_invariant_is_shown_by_something_that_exists() {
    let page = read("docs/concurrency.md");
    let mut stated = BTreeSet::new();
    for line in page.lines() {
        let name = line.strip_prefix("- **").and_then(|rest| rest.split_once(' ')).map(|(name, _)| name);
        if let Some(name) = name.filter(|name| is_invariant(name)) {
            assert!(stated.insert(name), "{name} is stated twice");
        }
    }
    let rows = rows(&page);
    let shown: BTreeSet<&str> = rows.iter().flat_map(|row| row.invariants.iter().copied()).collect();
    assert!(stated.len() > 90, "the page is not read as it is written: {stated:?}");
    assert_eq!(stated, shown, "stated, and in a table");

    let tests = tests();
    let mut wrong = Vec::new();
    for row in &rows {
        let mut named = 0;
        for name in quoted(row.shown_by) {
            let is_file = root().join(name).is_file() || root().join(format!("loom-tests/tests/{name}.rs")).is_file();
            named += usize::from(!is_file);
            if !is_file && !tests.contains(name) {
                wrong.push(format!("{:?}: there is no test {name}", row.invariants));
            }
        }
        let needs_none = ["types", "by construction", "the same"];
        if named == 0 && !needs_none.iter().any(|reason| row.shown_by.starts_with(reason)) {
            wrong.push(format!("{:?}: shown by nothing", row.invariants));
        }
    }
    // Elsewhere on the page a name of so many words is that of a test, too.
    let long = quoted(&page).filter(|name| {
        name.matches('_').count() >= 4
            && name.bytes().all(|b| b == b'_' || b.is_ascii_lowercase() || b.is_ascii_digit())
    });
    wrong.extend(long.filter(|name| !tests.contains(*name)).map(|name| format!("there is no test {name}")));
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// C4 was three things, and so were R1, V1 and Q1. What the benches ask (Q1) and what they push (W1) are none of these.
/// The lists of files have two letters, which leaves those of one to the documents.
#[test]
fn each_name_of_an_invariant_means_one_thing() {
    let mut files = Vec::new();
    for folder in ["docs", "engine", "storage", "query", "agent", "crash-tests", "loom-tests"] {
        files_below(&root().join(folder), &["rs", "md"], &mut files);
    }
    let mut places: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for path in files {
        let is_code = path.extension().is_some_and(|extension| extension == "rs");
        for name in fs::read_to_string(&path).unwrap().lines().filter_map(stated) {
            let has_two_letters = name.as_bytes()[1].is_ascii_uppercase();
            assert!(has_two_letters || !is_code, "{}: {name} has one letter", path.display());
            places.entry(name.to_owned()).or_default().push(path.display().to_string());
        }
    }
    assert!(places.len() > 140, "not all are found: {places:?}");
    places.retain(|_, places| places.len() > 1);
    assert!(places.is_empty(), "{places:#?}");
}

#[test]
fn every_weakening_stands_beside_the_invariant_it_breaks() {
    let script = read("ci/weaken.sh");
    let (_, table) = script.split_once("\ntable='\n").unwrap();
    let (table, _) = table.split_once("\n'").unwrap();
    // Each with the models that notice it.
    let known: BTreeMap<&str, &str> =
        table.lines().map(|line| line.split_once(' ').unwrap()).map(|(name, file)| (name, file.trim())).collect();
    let page = read("docs/concurrency.md");
    let named: BTreeSet<&str> =
        rows(&page).iter().flat_map(|row| quoted(row.weakenings)).filter(|name| !name.contains('/')).collect();
    assert_eq!(known.keys().copied().collect::<BTreeSet<_>>(), named, "in ci/weaken.sh, and in docs/concurrency.md");
    for (name, file) in known {
        let is_there = file == "asan" || root().join(format!("loom-tests/tests/{file}.rs")).is_file();
        assert!(is_there, "{name}: there are no models {file}");
    }
}
