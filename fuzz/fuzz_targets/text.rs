//! Any text as each format that is scraped or imported: samples, or errors that name their lines.
#![no_main]

use std::cell::RefCell;
use std::path::PathBuf;

use libfuzzer_sys::fuzz_target;
use tidegauge::Engine;
use tidegauge_agent::exposition::{Dialect, Entry, Parser};
use tidegauge_agent::import::{Format, ImportOptions, run};
use tidegauge_fuzz::engines::Renewed;

thread_local! {
    static ENGINE: RefCell<Renewed<Engine>> = RefCell::new(Renewed::new(|engine| engine));
}

fuzz_target!(|input: &[u8]| {
    let Some((&first, text)) = input.split_first() else { return };
    let format = match first % 5 {
        0 => return scrape(text, Dialect::Text),
        1 => return scrape(text, Dialect::OpenMetrics),
        2 => Format::Csv,
        3 => Format::Prom,
        _ => Format::Influx,
    };
    let path: PathBuf = std::env::temp_dir().join(format!("tidegauge-fuzz-text-{}", std::process::id()));
    std::fs::write(&path, text).expect("a file");
    let mut options = ImportOptions::new(format, vec![path]);
    (options.progress, options.skip_bad) = (false, first & 0x80 == 0);
    ENGINE.with_borrow_mut(|engine| {
        if let Ok(summary) = run(&options, engine.get()) {
            let lines = text.iter().filter(|byte| matches!(byte, b'\n' | b'\r')).count() as u64 + 1;
            assert!(summary.bad_lines <= lines, "{summary:?}");
            // A line of no use may name a series, too.
            assert!(summary.samples.max(summary.series) <= text.len() as u64, "{summary:?}");
        }
    });
});

fn scrape(text: &[u8], dialect: Dialect) {
    let lines = text.iter().filter(|byte| **byte == b'\n').count() as u64 + 1;
    let mut parser = Parser::new(text, dialect);
    for entry in parser.by_ref() {
        match entry {
            Ok(Entry::Sample(sample)) => drop(sample.series.labels()),
            Ok(_) => {}
            Err(error) => assert!(error.line <= lines, "{error}"),
        }
    }
    assert!(parser.line() <= lines);
}
