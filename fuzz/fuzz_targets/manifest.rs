//! A manifest of any bytes behind right checksums: a typed error or a state.
#![no_main]

use std::path::Path;
use std::sync::Arc;

use libfuzzer_sys::fuzz_target;
use tidegauge_fuzz::{DIR, fix_manifest};
use tidegauge_storage::fs::{Fs, MemFs};
use tidegauge_storage::manifest::Manifest;

fuzz_target!(|bytes: &[u8]| {
    let mut bytes = bytes.to_vec();
    fix_manifest(&mut bytes);
    let fs = MemFs::new();
    fs.create_dir_all(Path::new(DIR)).expect("memory");
    let path = Path::new(DIR).join("MANIFEST");
    fs.create(&path).and_then(|file| file.write_all_at(0, &bytes)).expect("memory");
    let _ = Manifest::open_read_only(Arc::new(fs), DIR);
});
