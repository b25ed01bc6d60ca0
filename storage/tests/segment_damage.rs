//! Damaged segments answer with a typed error or with the right data: never a panic, a hang, a large allocation.

mod checksums;
mod damage;

use std::convert::Infallible;
use std::path::Path;
use std::sync::Arc;

use checksums::{SECTIONS, SEGMENT_FOOTER, fix_segment, put_u32, u64_at};
use damage::{Noise, campaign};
use tidegauge_storage::fs::{Fs, sim::SimFs};
use tidegauge_storage::model::{LabelLimits, Labels, MatchOp, Matcher, SeqNo, TimeRange};
use tidegauge_storage::segment::{DamagedPlaces, Salvage, Segment, SegmentHeader, SegmentWriter, file_name};
use tidegauge_storage::source::{Columns, ReadError, SampleSource};

const DIR: &str = "/s";

/// A small segment with all kinds of columns, some timestamps shared, some chunks with statistics.
fn segment() -> Vec<u8> {
    let fs = SimFs::new();
    fs.create_dir_all(Path::new(DIR)).unwrap();
    let mut writer = SegmentWriter::create(Arc::new(fs.clone()), Path::new(DIR), 1, SegmentHeader::default()).unwrap();
    for i in 0..12i64 {
        let zone = ["", "a", "b"][i as usize % 3];
        let (name, host) = (["cpu", "mem"][i as usize / 6], format!("h{}", i % 6));
        let labels = Labels::new([("__name__", name), ("host", &host), ("zone", zone)], &LabelLimits::DEFAULT).unwrap();
        let count = [3, 260, 20, 5][i as usize % 4];
        let jitter = |at: i64| if i % 2 == 0 { 0 } else { at * 7919 % 13 };
        let timestamps = (0..count).map(|at| at * 1000 + jitter(at)).collect();
        let values = (0..count).map(|at| [7.5, at as f64, (at as f64).sqrt()][i as usize % 3]).collect();
        writer.push_series(&labels, &Columns { timestamps, values }, SeqNo(i as u64)).unwrap();
    }
    writer.finish().unwrap();
    fs.map(&Path::new(DIR).join(file_name(1))).unwrap().to_vec()
}

fn open(bytes: &[u8]) -> Result<Segment, ReadError> {
    let fs = SimFs::new();
    fs.create_dir_all(Path::new(DIR)).unwrap();
    let path = Path::new(DIR).join(file_name(1));
    fs.create(&path).unwrap().write_all_at(0, bytes).unwrap();
    Segment::open(&fs, &path)
}

/// Asks everything there is to ask. Returns a fingerprint of all samples, if all could be read.
fn ask(segment: &Segment) -> Result<u64, ReadError> {
    let mut result = Ok(0u64);
    let mut note = |error: ReadError| result = Err(error);
    let matchers = [
        Matcher::equal("host", "h3"),
        Matcher::new("zone", MatchOp::Regex, "a|").unwrap(),
        Matcher::new("__name__", MatchOp::NotEqual, "cpu").unwrap(),
    ];
    segment.label_names(&mut |_| true).unwrap_or_else(&mut note);
    segment.label_values("host", &mut |_| true).unwrap_or_else(&mut note);
    for matcher in &matchers {
        segment.select(std::slice::from_ref(matcher)).map(drop).unwrap_or_else(&mut note);
    }
    segment.chunks().for_each(|chunk| chunk.map(drop).unwrap_or_else(&mut note));
    segment.verify().map(drop).unwrap_or_else(&mut note);
    let mut sum = 0u64;
    for hit in segment.select(&[]).unwrap_or_default() {
        match segment.labels(hit.ordinal) {
            Ok(labels) => {
                segment.find(&labels).map(drop).unwrap_or_else(&mut note);
                sum = sum.rotate_left(7) ^ labels.key().0 as u64;
            }
            Err(error) => note(error),
        }
        segment.stats_of(hit.ordinal).map(drop).unwrap_or_else(&mut note);
        let mut out = Columns::default();
        let read = segment.read(hit.ordinal, TimeRange::ALL).and_then(|mut cursor| {
            while cursor.next(&mut out)? {}
            Ok(())
        });
        read.unwrap_or_else(&mut note);
        assert_eq!(out.timestamps.len(), out.values.len());
        assert!(out.timestamps.is_sorted_by(|a, b| a < b), "what comes back ascends");
        for (at, value) in out.timestamps.iter().zip(&out.values) {
            sum = sum.rotate_left(7).wrapping_add(*at as u64 ^ value.to_bits());
        }
    }
    result.map(|_| sum)
}

#[test]
fn with_checksums_any_flipped_bit_and_any_cut_is_found_or_harmless() {
    let whole = segment();
    let want = ask(&open(&whole).unwrap()).unwrap();
    let (errors, answers) = campaign("segment", 3_000, |noise| {
        let mut bytes = whole.clone();
        let at = noise.below(bytes.len());
        if noise.once_in(8) {
            bytes.truncate(at);
        } else {
            bytes[at] ^= 1 << noise.below(8);
        }
        match open(&bytes).and_then(|segment| ask(&segment)) {
            Ok(sum) => assert_eq!(sum, want, "byte {at} changed the data unnoticed"),
            Err(ReadError::Corrupt { offset, .. }) => {
                assert!(offset <= bytes.len() as u64);
                return false;
            }
            Err(other) => panic!("byte {at}: {other}"),
        }
        true
    });
    assert!(answers * 30 <= errors, "{errors} errors, {answers} answers");
}

/// A bit of the padding before the index was seen by nobody, neither by who verifies nor by who repairs. All bytes of a file
/// belong to something, or are zero: verifying tells of each bit of each of them, and salvage puts it right.
#[test]
fn each_bit_of_each_byte_is_told_and_put_right() {
    let whole = segment();
    let (mut untold, mut not_put_right) = (Vec::new(), Vec::new());
    for at in 0..whole.len() {
        for bit in 0..8 {
            let mut bytes = whole.clone();
            bytes[at] ^= 1 << bit;
            let told = open(&bytes).and_then(|segment| segment.verify());
            if !matches!(told, Err(ReadError::Corrupt { .. })) {
                untold.push((at, bit));
            }
            if mended(&bytes) != [(at as u64, Some(bit))] {
                not_put_right.push((at, bit));
            }
        }
    }
    assert!(untold.is_empty(), "of {} bytes: {untold:?}", whole.len());
    assert!(not_put_right.is_empty(), "of {} bytes: {not_put_right:?}", whole.len());
    // More than a bit of it is told as well.
    let padding = u64_at(&whole, whole.len() - SEGMENT_FOOTER) as usize - 1;
    let mut bytes = whole;
    bytes[padding] = 0xff;
    let error = open(&bytes).and_then(|segment| segment.verify()).unwrap_err();
    assert!(error.to_string().contains("padding is not zero"), "{error}");
    assert_eq!(mended(&bytes), [(padding as u64, None)]);
}

/// Where salvage puts something right of a file of which nothing is lost.
fn mended(bytes: &[u8]) -> Vec<(u64, Option<u8>)> {
    let fs = SimFs::new();
    let path = Path::new("1.seg");
    fs.create(path).unwrap().write_all_at(0, bytes).unwrap();
    let mut salvage = Salvage::open(&fs, path, None).unwrap();
    for ordinal in 0..salvage.series_count() {
        let mut lost = Vec::new();
        salvage.labels(ordinal).unwrap();
        let Ok(()) = salvage.read(ordinal, &mut lost, |_| Ok::<_, Infallible>(()));
        assert!(lost.is_empty(), "{lost:?}");
    }
    salvage.mended().map(|mended| (mended.offset, mended.bit)).collect()
}

/// A block is a column, or 16 KiB of the index: what is read of a sound one is right, whatever happened to others.
#[test]
fn with_checksums_what_is_read_of_one_series_is_right_or_an_error_that_names_its_block() {
    let whole = broad();
    let sound = open(&whole).unwrap();
    let (errors, answers) = campaign("block", 3_000, |noise| {
        let mut bytes = whole.clone();
        let n = noise.below(4000) as u32;
        let at = noise.below(bytes.len());
        let reach = if noise.once_in(2) { 1 } else { 64 << 10 };
        for byte in bytes.iter_mut().skip(at).take(reach).step_by(997) {
            *byte ^= 1 << noise.below(8);
        }
        match open(&bytes).and_then(|segment| read_one(&segment, n)) {
            Ok(columns) => assert_eq!(columns, read_one(&sound, n).unwrap(), "series {n}, byte {at}"),
            Err(ReadError::Corrupt { offset, .. }) => {
                assert!(offset <= bytes.len() as u64);
                return false;
            }
            Err(other) => panic!("series {n}, byte {at}: {other}"),
        }
        true
    });
    let tenth = (errors + answers) / 10;
    assert!(errors >= tenth && answers >= tenth, "both happen: {errors} errors, {answers} answers");
}

/// Overwrites up to three bytes from `from` on, makes the checksums right again, and asks everything.
fn ask_behind_right_checksums(whole: &[u8], noise: &mut Noise, from: usize) -> bool {
    let mut bytes = whole.to_vec();
    for _ in 0..=noise.below(3) {
        let at = from + noise.below(bytes.len() - from);
        noise.overwrite(&mut bytes[at]);
    }
    fix_segment(&mut bytes);
    open(&bytes).and_then(|segment| ask(&segment)).is_ok()
}

#[test]
fn behind_right_checksums_damage_still_gives_an_error_or_samples() {
    let mut whole = segment();
    fix_segment(&mut whole);
    assert_eq!(whole, segment(), "the checksums are those that the format describes");
    let index = u64_at(&whole, whole.len() - SEGMENT_FOOTER) as usize;
    let anywhere =
        campaign("segment behind right checksums", 2_000, |noise| ask_behind_right_checksums(&whole, noise, 0));
    let inside = campaign("index", 6_000, |noise| ask_behind_right_checksums(&whole, noise, index));
    let older = include_bytes!("fixtures/segment-v1.seg").to_vec();
    let older_index = u64_at(&older, older.len() - SEGMENT_FOOTER) as usize;
    let older = campaign("index of version 1", 500, |noise| ask_behind_right_checksums(&older, noise, older_index));
    for (errors, answers) in [anywhere, inside, older] {
        let some = (errors + answers) / 20;
        assert!(errors >= some && answers >= some, "both happen: {errors} errors, {answers} answers");
    }
}

#[test]
fn a_segment_cut_short_or_grown_is_corrupt() {
    let whole = segment();
    let mut cuts: Vec<usize> = (0..whole.len()).step_by(37).collect();
    cuts.extend(whole.len() - 20..whole.len());
    for cut in cuts {
        let error = open(&whole[..cut]).expect_err("a part is no segment");
        assert!(matches!(error, ReadError::Corrupt { .. }), "cut at {cut}: {error}");
    }
    let mut longer = whole.clone();
    longer.extend_from_slice(&[0; 8]);
    assert!(matches!(open(&longer), Err(ReadError::Corrupt { .. })));
    assert!(matches!(open(&[0; 4096]), Err(ReadError::Corrupt { .. })));
}

#[test]
fn a_segment_of_a_newer_release_says_so_and_a_flipped_version_does_not() {
    let mut bytes = segment();
    bytes[8] = 3;
    let error = open(&bytes).unwrap_err();
    assert!(matches!(error, ReadError::Corrupt { .. }), "one of the two versions is damage: {error}");
    let footer_version = bytes.len() - 16;
    bytes[footer_version] = 3;
    let error = open(&bytes).unwrap_err();
    assert!(matches!(error, ReadError::TooNew { found: 3, supported: 2, .. }), "{error}");
}

#[test]
fn a_missing_file_is_an_error_of_the_system() {
    let error = Segment::open(&SimFs::new(), Path::new("/none.seg")).unwrap_err();
    assert!(matches!(error, ReadError::Io { .. }), "{error}");
}

/// So many series that the index has many blocks.
fn broad() -> Vec<u8> {
    let fs = SimFs::new();
    fs.create_dir_all(Path::new(DIR)).unwrap();
    let mut writer = SegmentWriter::create(Arc::new(fs.clone()), Path::new(DIR), 1, SegmentHeader::default()).unwrap();
    for i in 0..4000u64 {
        let labels = Labels::new([("__name__", "cpu"), ("n", &format!("{i:05}"))], &LabelLimits::DEFAULT).unwrap();
        let values = vec![(i * 2654435761 % 1000) as f64 / 7.0; 2];
        writer.push_series(&labels, &Columns { timestamps: vec![0, 1000 + i as i64], values }, SeqNo(i)).unwrap();
    }
    writer.finish().unwrap();
    fs.map(&Path::new(DIR).join(file_name(1))).unwrap().to_vec()
}

/// What one series answers, found by its label.
fn read_one(segment: &Segment, n: u32) -> Result<Columns, ReadError> {
    let hits = segment.select(&[Matcher::equal("n", format!("{n:05}"))])?;
    let mut out = Columns::default();
    for hit in &hits {
        segment.labels(hit.ordinal)?;
        let mut cursor = segment.read(hit.ordinal, TimeRange::ALL)?;
        while cursor.next(&mut out)? {}
    }
    Ok(out)
}

#[test]
fn the_index_is_checked_where_it_is_looked_at_and_not_before() {
    let whole = broad();
    let index = u64_at(&whole, whole.len() - SEGMENT_FOOTER) as usize;
    let table = u64_at(&whole, whole.len() - SEGMENT_FOOTER + 248) as usize;
    let blocks = (table - index).div_ceil(16 << 10);
    assert!(blocks > 20, "{blocks} blocks");
    let (mut first_found, mut last_found) = (0, 0);
    for block in 0..blocks {
        let mut bytes = whole.clone();
        bytes[index + block * (16 << 10) + 5] ^= 4;
        let segment = open(&bytes).expect("opening looks at no block");
        let is_damage = |e: &ReadError| matches!(e, ReadError::Corrupt { .. });
        let (first, last) = (read_one(&segment, 0), read_one(&segment, 3999));
        for (answer, found) in [(first, &mut first_found), (last, &mut last_found)] {
            match answer {
                Ok(columns) => assert_eq!(columns.len(), 2, "block {block}"),
                Err(e) => *found += usize::from(is_damage(&e)),
            }
        }
        assert!(segment.verify().is_err_and(|e| is_damage(&e)), "block {block} is looked at by verify");
        // Asked again, it is still damaged.
        assert!(segment.verify().is_err(), "block {block}");
    }
    assert!((1..blocks).contains(&first_found), "{first_found} of {blocks} blocks matter to the first series");
    assert!((1..blocks).contains(&last_found), "{last_found} of {blocks} blocks matter to the last series");
}

#[test]
fn a_file_without_checksums_of_blocks_is_checked_section_by_section() {
    let mut whole = broad();
    let footer = whole.len() - SEGMENT_FOOTER;
    let crc_of_footer = |bytes: &mut [u8]| {
        let crc = crc32c::crc32c(&bytes[footer..footer + SEGMENT_FOOTER - 12]);
        put_u32(bytes, footer + SEGMENT_FOOTER - 12, crc);
    };
    whole[footer + 248..footer + 264].fill(0);
    crc_of_footer(&mut whole);
    let segment = open(&whole).unwrap();
    assert_eq!((read_one(&segment, 17).unwrap().len(), segment.verify().unwrap().series), (2, 4000));
    for section in 0..SECTIONS {
        let (start, len) = (u64_at(&whole, footer + section * 24) as usize, u64_at(&whole, footer + section * 24 + 8));
        if len == 0 {
            continue;
        }
        let mut bytes = whole.clone();
        bytes[start + len as usize / 2] ^= 1;
        let segment = open(&bytes).expect("opening looks at no section");
        assert!(segment.verify().is_err(), "section {section}");
        assert!(read_one(&segment, 17).is_err(), "section {section} matters to every series");
    }
}

/// Where things lie, as the format says: begin of a section, offset and length of the value column of a chunk.
fn section(bytes: &[u8], i: usize) -> (usize, usize) {
    let footer = bytes.len() - SEGMENT_FOOTER;
    (u64_at(bytes, footer + i * 24) as usize, u64_at(bytes, footer + i * 24 + 8) as usize)
}

fn value_column(bytes: &[u8], chunk: usize) -> usize {
    u64_at(bytes, section(bytes, 1).0 + chunk * 20) as u32 as usize
}

/// It stopped at the first of them, and counted nothing of the file as sound.
#[test]
fn three_damaged_columns_are_three_places_and_the_rest_is_sound() {
    let whole = segment();
    let sound = open(&whole).unwrap().verify().unwrap();
    let mut bytes = whole.clone();
    let columns = [1, 5, 9].map(|chunk| value_column(&whole, chunk));
    columns.iter().for_each(|&at| bytes[at] ^= 3);
    let (report, damage) = open(&bytes).unwrap().survey();
    let found: Vec<_> = damage.places().iter().map(offset_of).collect();
    assert_eq!((found, damage.further()), (columns.map(|at| at as u64).to_vec(), 0));
    // Each fourth series has 260 samples, and the second is one of these.
    assert_eq!((report.series, report.chunks), (sound.series, sound.chunks - 3));
    assert_eq!(report.samples, sound.samples - 3 * 260);
}

/// A timestamp column that is shared is one place, and hides no value column behind it.
#[test]
fn a_damaged_timestamp_column_is_one_place_and_value_columns_beside_it_are_named() {
    let whole = broad();
    let mut bytes = segment();
    let first = u64_at(&bytes, section(&bytes, 0).0 + 16) as usize;
    let value = value_column(&bytes, 0);
    bytes[first] ^= 3;
    bytes[value] ^= 3;
    let (_, damage) = open(&bytes).unwrap().survey();
    let mut found: Vec<_> = damage.places().iter().map(offset_of).collect();
    found.sort_unstable();
    let mut expected = vec![first as u64, value as u64];
    expected.sort_unstable();
    assert_eq!(found, expected);
    // All value columns of a broad one: named up to the bound, counted beyond it.
    let mut bytes = whole.clone();
    (0..4000).for_each(|chunk| bytes[value_column(&whole, chunk)] ^= 3);
    let (report, damage) = open(&bytes).unwrap().survey();
    assert_eq!((report.series, report.chunks), (4000, 0));
    assert_eq!((damage.places().len(), damage.further()), (DamagedPlaces::MOST, 4000 - DamagedPlaces::MOST as u64));
}

/// Its block is one place, whatever cannot be told without it; what lies elsewhere is read, and named if it is damaged.
#[test]
fn a_damaged_block_of_the_index_is_one_place_and_other_damage_is_named_beside_it() {
    let whole = broad();
    let series = section(&whole, 3).0;
    let index = section(&whole, 0).0;
    let block = index + (series + 40_000 - index) / (16 << 10) * (16 << 10);
    let mut bytes = whole.clone();
    bytes[block + 100] ^= 3;
    let columns = [0, 3999].map(|chunk| value_column(&whole, chunk));
    columns.iter().for_each(|&at| bytes[at] ^= 3);
    let (report, damage) = open(&bytes).unwrap().survey();
    let found: Vec<_> = damage.places().iter().map(offset_of).collect();
    assert_eq!(found, [block as u64, columns[0] as u64, columns[1] as u64]);
    assert!((2_000..3_900).contains(&report.series), "{report:?}");
    assert_eq!(report.samples, report.chunks * 2);
}

fn offset_of(error: &ReadError) -> u64 {
    match error {
        ReadError::Corrupt { offset, .. } => *offset,
        other => panic!("{other}"),
    }
}

/// Whoever answers from them would answer wrong: no checksum tells.
#[test]
fn statistics_that_contradict_the_samples_are_found() {
    let whole = segment();
    let (start, len) = section(&whole, 2);
    assert!(len > 0 && open(&whole).unwrap().verify().is_ok());
    let (mut found, mut records) = (0, 0);
    // A record starts with a kind that is no matter of this; of each unit of eight bytes, one byte.
    for at in (start..start + len).step_by(8) {
        let mut bytes = whole.clone();
        bytes[at] ^= 1;
        fix_segment(&mut bytes);
        let (report, damage) = open(&bytes).unwrap().survey();
        records += 1;
        if let [ReadError::Corrupt { what, .. }] = damage.places() {
            assert!(what.contains("its statistics are wrong"), "byte {at}: {what}");
            assert_eq!(report.series, 12, "the rest is read");
            found += 1;
        }
    }
    assert_eq!(found, records, "each word of a record counts");
}
