//! Salvage: what comes back of a damaged segment was there, what does not is told, and one flipped bit costs nothing.

mod checksums;
mod damage;
mod salvaged;

use std::convert::Infallible;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use checksums::{SECTIONS, SEGMENT_FOOTER, SEGMENT_HEADER, index_start, u32_at, u64_at};
use damage::{Noise, campaign};
use salvaged::{DIR, STORE, Samples, read_series, section, whole};
use tidegauge_storage::chunk::CHUNK_SAMPLES_MAX;
use tidegauge_storage::fs::{Fs, OsFs, sim::SimFs};
use tidegauge_storage::model::{LabelLimits, Labels, SeqNo, SeqRange, TimeRange, Timestamp};
use tidegauge_storage::segment::{Expected, Salvage, Segment, SegmentHeader, SegmentWriter, file_name};
use tidegauge_storage::source::{Columns, ReadError, SampleSource};

/// What came back.
struct Saved {
    samples: usize,
    /// As it is told; `None` if the size of a place is not known.
    lost: Option<u64>,
    /// Places that were put right: offset and bit.
    mended: Vec<(u64, Option<u8>)>,
}

/// Salvages a file, and checks that each sample that comes back is one that was there. `None` if nothing does.
fn salvage(bytes: &[u8], expected: Option<&Expected>) -> Option<Saved> {
    let fs = SimFs::new();
    fs.create_dir_all(Path::new(DIR)).unwrap();
    let path = Path::new(DIR).join(file_name(1));
    fs.create(&path).unwrap().write_all_at(0, bytes).unwrap();
    let opened = Salvage::open(&fs, &path, expected);
    assert!(fs.map(&path).unwrap()[..] == *bytes, "the file stays as it is");
    match opened {
        Ok(salvage) => Some(read(salvage)),
        Err(ReadError::Corrupt { .. }) => None,
        Err(e) => panic!("{e}"),
    }
}

fn read(mut salvage: Salvage) -> Saved {
    let whole = whole();
    let info = salvage.info().clone();
    assert_eq!((info.store_id, info.id, info.seq_range), (STORE, 1, whole.expected.seq_range));
    assert_eq!((info.late, info.level, info.samples), (true, 3, whole.expected.samples));
    let mut saved = Saved { samples: 0, lost: Some(0), mended: Vec::new() };
    let mut tell = |samples: Option<u64>| saved.lost = saved.lost.zip(samples).map(|(sum, more)| sum + more);
    let mut seen = std::collections::BTreeSet::new();
    for ordinal in 0..salvage.series_count() {
        let Ok(labels) = salvage.labels(ordinal) else {
            tell(salvage.samples_of(ordinal));
            continue;
        };
        let was = whole.samples.get(&labels).unwrap_or_else(|| panic!("{labels} was not there"));
        let (mut out, mut lost) = (Columns::default(), Vec::new());
        read_series(&mut salvage, ordinal, &mut out, &mut lost);
        for (at, value) in out.timestamps.iter().zip(&out.values) {
            assert_eq!(was.get(at), Some(&value.to_bits()), "{labels} at {at}");
        }
        assert!(out.timestamps.is_sorted_by(|a, b| a < b));
        let told: Option<u64> = lost.iter().map(|chunk| chunk.time_range.map(|_| chunk.samples)).sum();
        tell(told);
        if let Some(told) = told {
            assert_eq!(out.len() as u64 + told, was.len() as u64, "{labels}: {lost:?}");
        }
        saved.samples += out.len();
        assert!(seen.insert(labels));
    }
    if let Some(lost) = saved.lost {
        assert_eq!(saved.samples as u64 + lost, whole.expected.samples, "what is missing is told");
    }
    saved.mended = salvage.mended().map(|mended| (mended.offset, mended.bit)).collect();
    saved
}

#[test]
fn a_whole_segment_comes_back_whole() {
    let whole = whole();
    let saved = salvage(&whole.bytes, None).unwrap();
    assert_eq!((saved.samples, saved.lost, &saved.mended[..]), (whole.total(), Some(0), &[][..]));
    for i in [0, 1, 3, 4, 6, 7] {
        let (start, end) = section(&whole.bytes, i);
        println!("section {i}: {} bytes", end - start);
    }
    assert!(whole.bytes.len() - index_start(&whole.bytes) > 12 * (16 << 10), "many blocks");
}

/// Salvage holds a chunk at a time: each is handed over alone, whatever came before it, and who has no more use for them
/// gets no other one. A chunk that cannot be read costs itself.
#[test]
fn a_series_is_read_chunk_by_chunk_and_a_damaged_chunk_costs_itself() {
    const SAMPLES: usize = 5 * CHUNK_SAMPLES_MAX + 7;
    let fs = SimFs::new();
    fs.create_dir_all(Path::new(DIR)).unwrap();
    let header = SegmentHeader {
        store_id: STORE,
        seq_range: SeqRange { start: SeqNo(1), end: SeqNo(1 + SAMPLES as u64) },
        opening: 9,
        ..SegmentHeader::default()
    };
    let mut writer = SegmentWriter::create(Arc::new(fs.clone()), Path::new(DIR), 1, header).unwrap();
    let mut noise = Noise::new(3);
    let values: Vec<f64> = (0..SAMPLES).map(|_| f64::from(noise.below(1 << 30) as u32).sqrt()).collect();
    let timestamps: Vec<i64> = (0..SAMPLES as i64).map(|at| at * 1000).collect();
    let columns = Columns { timestamps, values };
    writer.push_series(&Labels::from_sorted(&[("__name__", "a")]), &columns, SeqNo(SAMPLES as u64)).unwrap();
    writer.finish().unwrap();
    let path = Path::new(DIR).join(file_name(1));
    let read = || {
        let (mut salvage, mut lost, mut chunks) = (Salvage::open(&fs, &path, None).unwrap(), Vec::new(), Vec::new());
        let Ok(()) = salvage.read(0, &mut lost, |chunk| {
            chunks.push(chunk.clone());
            Ok::<_, Infallible>(())
        });
        (chunks, lost)
    };
    let (chunks, lost) = read();
    assert!(lost.is_empty() && chunks.len() > 5, "{lost:?}");
    assert!(chunks.iter().all(|chunk| (1..=CHUNK_SAMPLES_MAX).contains(&chunk.len())), "one at a time");
    assert_eq!(chunks.iter().flat_map(|chunk| chunk.timestamps.clone()).collect::<Vec<_>>(), columns.timestamps);
    assert_eq!(chunks.iter().flat_map(|chunk| chunk.values.clone()).collect::<Vec<_>>(), columns.values);
    let mut taken = 0;
    let stopped = Salvage::open(&fs, &path, None).unwrap().read(0, &mut Vec::new(), |_| {
        taken += 1;
        if taken == 2 { Err("no room") } else { Ok(()) }
    });
    assert_eq!((stopped, taken), (Err("no room"), 2), "nothing comes behind a refusal");

    // Values of noise are most of the file: its middle is amid the third chunk of six or so.
    let middle = fs.map(&path).unwrap().len() as u64 / 2;
    for at in [middle, middle + 1, middle + 9] {
        let byte = fs.map(&path).unwrap()[at as usize];
        fs.open(&path).unwrap().write_all_at(at, &[byte ^ 4]).unwrap();
    }
    let (left, lost) = read();
    let [hole] = &lost[..] else { panic!("{lost:?}") };
    let gone: Vec<&Columns> = chunks.iter().filter(|chunk| !left.contains(chunk)).collect();
    let [gone] = gone[..] else { panic!("{} chunks are gone", gone.len()) };
    assert_eq!((left.len(), hole.samples), (chunks.len() - 1, gone.len() as u64));
    let at = |of: Option<&i64>| Timestamp::from_nanos(*of.unwrap());
    let times = TimeRange::covering(at(gone.timestamps.first()), at(gone.timestamps.last()));
    assert_eq!(hole.time_range, Some(times));
}

/// Wherever the bit lies, the manifest is not even needed.
#[test]
fn one_flipped_bit_anywhere_loses_nothing() {
    let whole = whole();
    let index = index_start(&whole.bytes);
    let table = u64_at(&whole.bytes, whole.bytes.len() - SEGMENT_FOOTER + 248) as usize;
    let parts = [0..SEGMENT_HEADER, SEGMENT_HEADER..index, index..table, table..whole.bytes.len()];
    let trial = |noise: &mut Noise| {
        let part = parts[noise.below(parts.len())].clone();
        let (at, bit) = (part.start + noise.below(part.len()), noise.below(8) as u8);
        let mut bytes = whole.bytes.clone();
        bytes[at] ^= 1 << bit;
        let saved = salvage(&bytes, None).unwrap_or_else(|| panic!("byte {at}"));
        assert_eq!((saved.samples, saved.lost), (whole.total(), Some(0)), "byte {at}");
        assert_eq!(saved.mended, [(at as u64, Some(bit))]);
        true
    };
    campaign("one bit", 400, trial);
}

/// Each bit of header and footer, whose checksums are flipped, too.
#[test]
fn each_bit_of_header_and_footer_is_put_right() {
    let whole = whole();
    let footer = whole.bytes.len() - SEGMENT_FOOTER;
    for at in (0..SEGMENT_HEADER).chain(footer..whole.bytes.len()) {
        for bit in 0..8 {
            let fs = SimFs::new();
            let mut bytes = whole.bytes.clone();
            bytes[at] ^= 1 << bit;
            fs.create(Path::new("1.seg")).unwrap().write_all_at(0, &bytes).unwrap();
            let opened = Salvage::open(&fs, Path::new("1.seg"), None).unwrap_or_else(|e| panic!("byte {at}: {e}"));
            let mended: Vec<(u64, Option<u8>)> = opened.mended().map(|m| (m.offset, m.bit)).collect();
            assert_eq!(mended, [(at as u64, Some(bit))]);
            assert_eq!(opened.info(), Segment::open(&sound(), Path::new("1.seg")).unwrap().info());
        }
    }
}

fn sound() -> SimFs {
    static SOUND: OnceLock<SimFs> = OnceLock::new();
    let make = || {
        let fs = SimFs::new();
        fs.create(Path::new("1.seg")).unwrap().write_all_at(0, &whole().bytes).unwrap();
        fs
    };
    SOUND.get_or_init(make).clone()
}

/// Runs of 1 to 8 KiB, bits here and there, cut and grown files: nothing wrong comes back, and what is missing is told.
#[test]
fn whatever_the_damage_what_comes_back_was_there() {
    let whole = whole();
    let index = index_start(&whole.bytes);
    let (mut lost, mut unopened) = (0, 0);
    let trial = |noise: &mut Noise| {
        let mut bytes = whole.bytes.clone();
        let from = if noise.once_in(2) { index } else { 0 };
        match noise.below(8) {
            0 => bytes.truncate(bytes.len() - 1 - noise.below(400)),
            1 => bytes.truncate(noise.below(bytes.len())),
            2 => bytes.extend((0..=noise.below(5_000)).map(|i| i as u8)),
            3 => {
                for _ in 0..2 + noise.below(30) {
                    let at = from + noise.below(bytes.len() - from);
                    bytes[at] ^= 1 << noise.below(8);
                }
            }
            how => {
                let at = from + noise.below(bytes.len() - from);
                let len = (1 + noise.below(8)) << 10;
                let zeros = how == 4;
                for byte in bytes.iter_mut().skip(at).take(len) {
                    *byte = if zeros { 0 } else { noise.below(256) as u8 };
                }
            }
        }
        match salvage(&bytes, Some(&whole.expected)) {
            Some(saved) => {
                lost += usize::from(saved.lost != Some(0));
                assert_eq!(saved.samples == whole.total(), saved.lost == Some(0));
                true
            }
            None => {
                unopened += 1;
                false
            }
        }
    };
    let (errors, answers) = campaign("damage", 400, trial);
    assert!(answers > errors && lost > 50, "{errors} errors, {answers} answers, {lost} with losses");
    println!("{unopened} could not be opened");
}

/// A header beyond one bit is known from the manifest; without that nothing is.
#[test]
fn a_header_that_is_gone_loses_nothing() {
    let whole = whole();
    let mut bytes = whole.bytes.clone();
    bytes[..SEGMENT_HEADER].fill(0);
    let saved = salvage(&bytes, Some(&whole.expected)).unwrap();
    assert_eq!((saved.samples, saved.lost, &saved.mended[..]), (whole.total(), Some(0), &[(0, None)][..]));
    assert!(salvage(&bytes, None).is_none());
}

/// Of the footer the places of the sections are proved by their checksums, so that the rest of it may be gone: also what
/// a file lost that was cut off there. Beyond that nobody can tell where the index is.
#[test]
fn a_footer_is_missed_as_far_as_it_says_where_things_are() {
    let whole = whole();
    let footer = whole.bytes.len() - SEGMENT_FOOTER;
    // Totals, checksum and mark; statistics and postings.
    for gone in [216..280, 48..72, 192..280, 240..256] {
        let mut bytes = whole.bytes.clone();
        bytes[footer + gone.start..footer + gone.end].fill(0xa5);
        let saved = salvage(&bytes, Some(&whole.expected)).unwrap_or_else(|| panic!("{gone:?}"));
        assert_eq!((saved.samples, saved.lost), (whole.total(), Some(0)), "{gone:?}");
        assert_eq!(saved.mended, [(footer as u64, None)], "{gone:?}");
    }
    for cut in [1, 7, 8, 9, 60, 88] {
        let saved = salvage(&whole.bytes[..whole.bytes.len() - cut], Some(&whole.expected));
        let saved = saved.unwrap_or_else(|| panic!("{cut} bytes"));
        assert_eq!((saved.samples, saved.lost), (whole.total(), Some(0)), "{cut} bytes");
    }
    for needed in [0, 1, 3, 4, 5, 6, 7] {
        let mut bytes = whole.bytes.clone();
        bytes[footer + needed * 24..][..8].fill(0xa5);
        assert!(salvage(&bytes, Some(&whole.expected)).is_none(), "section {needed}");
        // Also where it is a place, and not the one.
        let mut bytes = whole.bytes.clone();
        let at = footer + needed * 24;
        let moved = u64_at(&bytes, at) - 8;
        bytes[at..at + 8].copy_from_slice(&moved.to_le_bytes());
        bytes[footer + 216..footer + 224].fill(0xa5);
        assert!(salvage(&bytes, Some(&whole.expected)).is_none(), "section {needed} moved");
    }
    assert!(salvage(&whole.bytes[..footer], Some(&whole.expected)).is_none());
}

/// A block of each section whole: what it costs, and what another part of the index makes good.
#[test]
fn a_damaged_block_costs_what_cannot_be_told_without_it() {
    let whole = whole();
    let index = index_start(&whole.bytes);
    let total = whole.total();
    // Labels and names fit into a block or two with others; of each section a few bytes in its middle.
    let saved: Vec<usize> = (0..SECTIONS)
        .map(|i| {
            let (start, end) = section(&whole.bytes, i);
            let mut bytes = whole.bytes.clone();
            let at = start + (end - start) / 2;
            bytes[at..at + 4].iter_mut().for_each(|byte| *byte ^= 0x55);
            let saved = salvage(&bytes, Some(&whole.expected)).unwrap();
            println!("section {i}, block {}: {} of {total}", (at - index) / (16 << 10), saved.samples);
            assert_eq!(saved.samples == total, saved.lost == Some(0), "section {i}");
            saved.samples
        })
        .collect();
    for (i, &saved) in saved.iter().enumerate() {
        match i {
            2..=5 | 8 => assert_eq!(saved, total, "section {i} can be done without"),
            0 | 6 | 7 => assert!(saved > total - total / 50, "section {i} costs what was hit"),
            _ => assert!(saved > total / 2, "section {i}: {saved} of {total}"),
        }
    }
}

/// Part of a section over another part of it, as a write to the wrong place leaves it: each record is whole, and most are
/// of other columns.
#[test]
fn records_in_the_place_of_others_bring_no_times_of_others() {
    let whole = whole();
    let mut lost = 0;
    let trial = |noise: &mut Noise| {
        let mut bytes = whole.bytes.clone();
        // Mostly the timestamps, and places that records of a section begin at.
        let (i, record) = [(0, 32), (0, 32), (0, 32), (1, 20), (3, 36)][noise.below(5)];
        let (start, end) = section(&bytes, i);
        let records = (end - start) / record;
        let len = 1 + noise.below(512).min(records / 2);
        let from = noise.below(records - len);
        let to = match noise.below(3) {
            // By one record.
            0 => (from + 1).min(records - len),
            _ => noise.below(records - len),
        };
        bytes.copy_within(start + from * record..start + (from + len) * record, start + to * record);
        let saved = salvage(&bytes, Some(&whole.expected)).unwrap();
        lost += usize::from(saved.lost != Some(0));
        assert_eq!(saved.samples == whole.total(), saved.lost == Some(0));
        true
    };
    let (_, answers) = campaign("moved records", 200, trial);
    assert!(answers == 200 && lost > 50, "{answers} answers, {lost} with losses");
}

/// A record in a damaged block that says fewer samples than its column has: none is left out without a word.
#[test]
fn a_damaged_count_cuts_no_chunk_short() {
    let whole = whole();
    let (start, end) = section(&whole.bytes, 0);
    let mut bytes = whole.bytes.clone();
    for count in (start + 30..end).step_by(32) {
        // Two bits off.
        if bytes[count..count + 2] == 300u16.to_le_bytes() {
            bytes[count..count + 2].copy_from_slice(&260u16.to_le_bytes());
        }
    }
    assert_ne!(bytes, whole.bytes);
    let saved = salvage(&bytes, Some(&whole.expected)).unwrap();
    assert!(saved.lost.is_none() && saved.samples < whole.total());
}

/// The checksums of the index beyond one bit: those of the sections say that the index is sound.
#[test]
fn checksums_of_the_index_that_are_gone_lose_nothing() {
    let whole = whole();
    let table = u64_at(&whole.bytes, whole.bytes.len() - SEGMENT_FOOTER + 248) as usize;
    let mut bytes = whole.bytes.clone();
    bytes[table..table + 20].fill(0);
    assert_ne!(u32_at(&bytes, table + 20), 0);
    let saved = salvage(&bytes, Some(&whole.expected)).unwrap();
    assert_eq!((saved.samples, saved.lost), (whole.total(), Some(0)));
}

/// Files of version 1 are put right, too.
#[test]
fn one_flipped_bit_of_a_file_of_version_1_loses_nothing() {
    let older = include_bytes!("fixtures/segment-v1.seg");
    let fs = SimFs::new();
    let path = Path::new("old.seg");
    let contents = |salvage: &mut Salvage| -> Samples {
        let mut all = Samples::new();
        for ordinal in 0..salvage.series_count() {
            let (mut out, mut lost) = (Columns::default(), Vec::new());
            let labels = salvage.labels(ordinal).unwrap();
            read_series(salvage, ordinal, &mut out, &mut lost);
            assert!(lost.is_empty(), "{lost:?}");
            all.insert(labels, out.timestamps.iter().copied().zip(out.values.iter().map(|v| v.to_bits())).collect());
        }
        all
    };
    fs.create(path).unwrap().write_all_at(0, older).unwrap();
    let want = contents(&mut Salvage::open(&fs, path, None).unwrap());
    assert!(want.len() > 2);
    campaign("one bit of version 1", 500, |noise| {
        let mut bytes = older.to_vec();
        bytes[noise.below(older.len())] ^= 1 << noise.below(8);
        let fs = SimFs::new();
        fs.create(path).unwrap().write_all_at(0, &bytes).unwrap();
        assert_eq!(contents(&mut Salvage::open(&fs, path, None).unwrap()), want);
        true
    });
}

/// On real files the map is private: nothing of what is put right reaches the disk.
#[test]
fn a_real_file_stays_as_it_is_while_its_copy_is_put_right() {
    let whole = whole();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(file_name(1));
    let mut bytes = whole.bytes.clone();
    bytes[index_start(&whole.bytes) + 99] ^= 16;
    std::fs::write(&path, &bytes).unwrap();
    let saved = read(Salvage::open(&OsFs, &path, Some(&whole.expected)).unwrap());
    assert_eq!((saved.samples, saved.mended.len()), (whole.total(), 1));
    assert!(std::fs::read(&path).unwrap() == bytes);
}

/// A range that holds all there is, as the manifest names it.
#[test]
fn what_the_manifest_says_is_what_the_segment_says() {
    let whole = whole();
    let fs = sound();
    let segment = Segment::open(&fs, Path::new("1.seg")).unwrap();
    let all = TimeRange::covering(Timestamp::from_nanos(i64::MIN), Timestamp::from_nanos(i64::MAX));
    assert!(segment.time_range().unwrap().overlaps(&all));
    assert_eq!(segment.time_range(), Some(whole.expected.time_range));
}

/// A series of one sample may follow on one that ends before it: where one of them ends, nothing tells, so that neither
/// gets what may be the other's.
#[test]
fn without_a_record_only_chunks_that_tell_their_series_come_back() {
    let fs = SimFs::new();
    let path = Path::new(DIR).join(file_name(1));
    fs.create_dir_all(Path::new(DIR)).unwrap();
    let header = SegmentHeader { store_id: STORE, ..SegmentHeader::default() };
    let mut writer = SegmentWriter::create(Arc::new(fs.clone()), Path::new(DIR), 1, header).unwrap();
    let labels = |i: usize| Labels::new([("n", format!("{i:04}"))], &LabelLimits::DEFAULT).unwrap();
    // Most begin before the one before has ended. Number 700 does not, and numbers 600 and 800 have two chunks.
    let samples = |i: usize| -> Vec<i64> {
        match i {
            600 | 800 => (0..5_000).collect(),
            699 => vec![3, 4],
            700 => vec![900],
            _ => vec![i as i64 % 7, 1_000],
        }
    };
    for i in 0..1_000 {
        let timestamps = samples(i);
        let values = timestamps.iter().map(|at| (*at + i as i64) as f64).collect();
        writer.push_series(&labels(i), &Columns { timestamps, values }, SeqNo(1)).unwrap();
    }
    writer.finish().unwrap();
    let whole = fs.map(&path).unwrap().to_vec();
    let (start, end) = section(&whole, 3);
    for (gone, ambiguous) in [(start..end, true), (start + 50 * 36..start + 60 * 36, false)] {
        let mut bytes = whole.clone();
        bytes[gone].iter_mut().for_each(|byte| *byte = !*byte);
        let disk = SimFs::new();
        disk.create(Path::new("1.seg")).unwrap().write_all_at(0, &bytes).unwrap();
        let mut salvage = Salvage::open(&disk, Path::new("1.seg"), None).unwrap();
        let mut whole_ones = 0;
        for ordinal in 0..salvage.series_count() {
            let (mut out, mut lost) = (Columns::default(), Vec::new());
            if salvage.labels(ordinal).is_ok() {
                read_series(&mut salvage, ordinal, &mut out, &mut lost);
            }
            let want = samples(ordinal as usize);
            assert!(want.starts_with(&out.timestamps), "{ordinal}");
            let right = out.timestamps.iter().zip(&out.values).all(|(at, v)| *v == (*at + i64::from(ordinal)) as f64);
            assert!(right, "{ordinal}");
            assert_eq!(out.len() == want.len(), lost.is_empty() && !out.is_empty(), "{ordinal}: {lost:?}");
            whole_ones += usize::from(out.len() == want.len());
        }
        // Before 600 and behind 800, and not itself told: whether one begins amid it.
        assert_eq!(whole_ones, if ambiguous { 600 + 199 } else { 1_000 });
    }
}

/// Damage whose checksums were made right: there may be anything in it, and salvage comes to an end with what it can read.
#[test]
fn behind_right_checksums_salvage_comes_to_an_end() {
    let older = include_bytes!("fixtures/segment-v2.seg");
    let trial = |noise: &mut Noise| {
        let mut bytes = older.to_vec();
        let from = if noise.once_in(4) { 0 } else { index_start(older) };
        for _ in 0..=noise.below(6) {
            let at = from + noise.below(bytes.len() - from);
            noise.overwrite(&mut bytes[at]);
        }
        checksums::fix_segment(&mut bytes);
        if noise.once_in(2) {
            let at = noise.below(bytes.len());
            noise.overwrite(&mut bytes[at]);
        }
        let fs = SimFs::new();
        fs.create(Path::new("1.seg")).unwrap().write_all_at(0, &bytes).unwrap();
        let Ok(mut salvage) = Salvage::open(&fs, Path::new("1.seg"), None) else { return false };
        for ordinal in 0..salvage.series_count() {
            let (mut out, mut lost) = (Columns::default(), Vec::new());
            let _ = (salvage.labels(ordinal), salvage.samples_of(ordinal), salvage.max_seq(ordinal));
            read_series(&mut salvage, ordinal, &mut out, &mut lost);
            assert!(out.timestamps.is_sorted_by(|a, b| a < b) && out.timestamps.len() == out.values.len());
        }
        true
    };
    let (errors, answers) = campaign("salvage behind right checksums", 3_000, trial);
    assert!(errors > 100 && answers > 1_000, "{errors} errors, {answers} answers");
}
