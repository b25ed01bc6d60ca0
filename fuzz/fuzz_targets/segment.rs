//! A segment of any bytes behind right checksums, and most often in a right outline: everything that can be asked has a
//! typed error or an answer.
#![no_main]

use std::convert::Infallible;
use std::path::Path;

use libfuzzer_sys::fuzz_target;
use tidegauge_fuzz::segments::{CHUNKS_MOST, SERIES_MOST, ask, mend_outline};
use tidegauge_fuzz::{DIR, fix_segment};
use tidegauge_storage::fs::{Fs, MemFs};
use tidegauge_storage::segment::{Salvage, Segment, file_name};
use tidegauge_storage::source::Columns;

fuzz_target!(|bytes: &[u8]| {
    let mut bytes = bytes.to_vec();
    // The outline of one in eight stays as it is.
    if crc32c::crc32c(&bytes) & 7 != 0 {
        mend_outline(&mut bytes);
    }
    fix_segment(&mut bytes);
    let fs = MemFs::new();
    let path = Path::new(DIR).join(file_name(1));
    fs.create_dir_all(Path::new(DIR)).expect("memory");
    fs.create(&path).and_then(|file| file.write_all_at(0, &bytes)).expect("memory");
    if let Ok(mut salvage) = Salvage::open(&fs, &path, None) {
        for ordinal in 0..salvage.series_count().min(SERIES_MOST as u32) {
            let _ = salvage.labels(ordinal);
            let mut out = Columns::default();
            let told = salvage.read(ordinal, &mut Vec::new(), |samples| {
                out.timestamps.extend_from_slice(&samples.timestamps);
                Ok::<(), Infallible>(())
            });
            told.expect("nobody refuses");
            assert!(out.timestamps.is_sorted_by(|a, b| a < b), "what is saved ascends");
        }
    }
    let Ok(segment) = Segment::open(&fs, &path) else { return };
    segment.chunks().take(SERIES_MOST * CHUNKS_MOST).for_each(drop);
    let _ = segment.verify();
    ask(&segment);
});
