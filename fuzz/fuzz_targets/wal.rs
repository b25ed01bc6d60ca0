//! A WAL file of any bytes behind right checksums, read back in each mode: a typed error or samples.
#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use tidegauge_fuzz::{DIR, STORE, fix_wal};
use tidegauge_storage::fs::{Fs, MemFs};
use tidegauge_storage::wal::{Epoch, RecoverMode, Replay, WalState, recover};

fuzz_target!(|bytes: &[u8]| {
    let mut bytes = bytes.to_vec();
    fix_wal(&mut bytes);
    let fs = MemFs::new();
    fs.create_dir_all(Path::new(DIR)).expect("memory");
    let path = Path::new(DIR).join(Epoch::new(1, 0).file_name());
    fs.create(&path).and_then(|file| file.write_all_at(0, &bytes)).expect("memory");
    for mode in [RecoverMode::Strict, RecoverMode::Salvage, RecoverMode::Follow] {
        let mut count = 0;
        let recovered = recover(&fs, Path::new(DIR), STORE, &WalState::default(), mode, &mut |piece| {
            if let Replay::Samples { samples, .. } = piece {
                count += samples.len() as u64;
            }
            Ok(())
        });
        if let Ok(recovered) = recovered {
            assert_eq!(recovered.samples, count);
        }
    }
});
