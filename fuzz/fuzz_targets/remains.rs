//! A damaged manifest, what the store said of it when it closed, and a log of several files beside it, behind right
//! checksums: what salvage takes of them is a typed error or an answer, and what it says of the log can be read back.
#![no_main]

use std::path::Path;
use std::sync::Arc;

use libfuzzer_sys::fuzz_target;
use tidegauge_fuzz::{DIR, EPOCHS, STORE, fix_manifest, fix_wal, pieces};
use tidegauge_storage::fs::{Fs, MemFs};
use tidegauge_storage::manifest::{Manifest, Remains};
use tidegauge_storage::model::SeqNo;
use tidegauge_storage::wal::{RecoverMode, Replay, WalError, holds_anything, later_than, recover, stores_of, survey};

fuzz_target!(|input: &[u8]| {
    let [manifest, closed, files @ ..]: [&[u8]; 5] = pieces(input);
    let (fs, dir) = (MemFs::new(), Path::new(DIR));
    fs.create_dir_all(dir).expect("memory");
    let write = |name: &str, bytes: &[u8]| {
        fs.create(&dir.join(name)).and_then(|file| file.write_all_at(0, bytes)).expect("memory");
    };
    // Both begin with a header of the same form.
    for (name, piece) in [("MANIFEST", manifest), ("MANIFEST.closed", closed)] {
        let mut bytes = piece.to_vec();
        fix_manifest(&mut bytes);
        write(name, &bytes);
    }
    let known = Remains::read(&fs, dir).map(|remains| remains.state.wal).unwrap_or_default();
    let _ = Manifest::open_read_only(Arc::new(fs.clone()), DIR);
    for (epoch, file) in EPOCHS.iter().zip(files) {
        let mut bytes = file.to_vec();
        fix_wal(&mut bytes);
        write(&epoch.file_name(), &bytes);
        let _ = holds_anything(&fs, dir, STORE, *epoch);
    }
    assert!(stores_of(&fs, dir).is_ok_and(|stores| stores.values().sum::<usize>() <= EPOCHS.len()));
    assert_eq!(later_than(&fs, dir, 1).ok(), Some(vec![EPOCHS[2]]));
    for newest in [SeqNo(0)..SeqNo(0), SeqNo(300)..SeqNo(1700)] {
        let Ok(found) = survey(&fs, dir, STORE, newest, &known) else { continue };
        for mode in [RecoverMode::Strict, RecoverMode::Salvage, RecoverMode::Follow] {
            let mut count = 0;
            let recovered = recover(&fs, dir, STORE, &found.wal, mode, &mut |piece| {
                if let Replay::Samples { samples, .. } = piece {
                    count += samples.len() as u64;
                }
                Ok(())
            });
            match recovered {
                Ok(recovered) => assert_eq!(recovered.samples, count),
                Err(WalError::TooNew { .. }) => {}
                Err(error) => assert!(mode == RecoverMode::Strict, "{mode:?}: {error}"),
            }
        }
    }
});
