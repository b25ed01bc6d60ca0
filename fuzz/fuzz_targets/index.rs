//! A sound segment, its index overwritten with any bytes, behind right checksums: the input's first byte chooses the
//! segment, each three behind it are a place in the index and what stands there. Reaches further into the index than
//! whole files of any bytes do.
#![no_main]

use std::path::Path;
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use tidegauge_fuzz::segments::ask;
use tidegauge_fuzz::{DIR, fix_segment, index_start, segment, small_segments};
use tidegauge_storage::chunk::Effort;
use tidegauge_storage::fs::{Fs, MemFs};
use tidegauge_storage::segment::{Segment, file_name};

/// Six of seven are small ones, which take a third of the time.
static SOUND: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
    let mut all = small_segments(Effort::Fresh);
    all.push(segment(Effort::Fresh));
    all
});

fuzz_target!(|input: &[u8]| {
    let Some((choice, edits)) = input.split_first() else { return };
    let mut bytes = SOUND[usize::from(*choice) % SOUND.len()].clone();
    let start = index_start(&bytes);
    let len = bytes.len() - start;
    for [low, high, byte] in edits.as_chunks::<3>().0 {
        bytes[start + usize::from(u16::from_le_bytes([*low, *high])) % len] = *byte;
    }
    fix_segment(&mut bytes);
    let fs = MemFs::new();
    let path = Path::new(DIR).join(file_name(1));
    fs.create_dir_all(Path::new(DIR)).expect("memory");
    fs.create(&path).and_then(|file| file.write_all_at(0, &bytes)).expect("memory");
    let Ok(segment) = Segment::open(&fs, &path) else { return };
    ask(&segment);
});
