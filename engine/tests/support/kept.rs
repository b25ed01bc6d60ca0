//! Stores that are kept in `fixtures`.

use std::path::Path;

use tidegauge::admin::verify;
use tidegauge::{Engine, Recovery};

use super::{Contents, contents};

/// Such a store is read beside nobody, opened strictly and to save the rest, and compacted: it holds `expected` all the time,
/// and nothing of it is damaged.
pub(crate) fn opens_reads_and_compacts(dir: &Path, expected: &Contents) {
    let reader = Engine::builder(dir).read_only(true).open().unwrap();
    assert_eq!(contents(&reader.snapshot()), *expected);
    drop(reader);
    for recovery in [Recovery::Strict, Recovery::Salvage] {
        let engine = Engine::builder(dir).recovery(recovery).open().unwrap();
        assert_eq!(contents(&engine.snapshot()), *expected);
        engine.compact().unwrap();
        assert_eq!(contents(&engine.snapshot()), *expected);
        engine.close().unwrap();
        assert!(verify(dir, |_, _| {}).unwrap().is_sound());
        assert!(!dir.join("quarantine").exists(), "nothing of it is damaged");
    }
}
