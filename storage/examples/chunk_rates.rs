//! What chunks weigh and how fast they are, against the goals and against this machine's memory.
//!
//! `TIDEGAUGE_DATA=folder cargo run --release -p tidegauge-storage --example chunk_rates [--features cold] [-- SET..]`
//!
//! Only the sets that are named, if any are: for a profiler.
//!
//! The folder holds `.tsb` files (see `tests/real_series.rs`); without it only the made-up sets are measured. Encoded
//! columns are copied until they take four times the last-level cache (as `/sys` tells it, 1 GiB at most), decoded vector
//! by vector into a buffer that stays in L1, and summed there: what a scan does. Each copy has its values anew, so that a
//! set of few bits a value stands for very many of them; where a thousand million are not enough, as of constants, the
//! copies stay in the cache, and the set is named. The *roof* is the sum of plain `f64` that are read from memory instead.
//!
//! Memory: the sets, the copies (at most 1 GiB) and, before them, the doubles of the roof (as much, at least 384 MiB).

use std::hint::black_box;
use std::path::Path;
use std::time::Instant;

use tidegauge_storage::chunk::{CHUNK_SAMPLES_MAX, Effort, ValueColumn, ValueEncoder, ValueEncoding, prefetch};
use tidegauge_storage::lanes::{self, LANES};

/// Encoded bytes of a set that decoding runs over, in sizes of the last-level cache: what is read again was forgotten.
const CACHES: usize = 4;

/// ... but never more than this: what the copies may take of memory.
const ENCODED_BYTES_MAX: usize = 1 << 30;

/// Values that decoding runs over, if that comes first: a second or so a round.
const DECODED_VALUES: usize = 1 << 30;

/// The last-level cache where `/sys` does not tell.
const CACHE_UNKNOWN: usize = 64 << 20;

/// Values that encoding runs over.
const ENCODED_VALUES: usize = 2 << 20;

/// Runs over everything.
const ROUNDS: usize = 7;

fn main() {
    let mut sets = made_up();
    match std::env::var_os("TIDEGAUGE_DATA") {
        Some(folder) => sets.extend(real(Path::new(&folder))),
        None => println!("TIDEGAUGE_DATA names no folder: made-up sets only\n"),
    }
    let named: Vec<String> = std::env::args().skip(1).collect();
    sets.retain(|set| named.is_empty() || named.contains(&set.name));
    let told = last_level_cache();
    let cache = told.unwrap_or(CACHE_UNKNOWN);
    let decoded = (cache * CACHES).min(ENCODED_BYTES_MAX);
    let from = if told.is_some() { "as /sys tells" } else { "taken for that, since /sys does not tell" };
    println!("last-level cache: {} MiB, {from}; each set is copied to {} MiB\n", cache >> 20, decoded >> 20);
    let roof = roof(decoded);
    println!(
        "{:20} {:>10} {:>8} {:>8} {:>12} {:>14}  vectors by encoding",
        "set", "values", "fresh", "cold", "encode M/s", "decode+sum M/s"
    );
    let rows: Vec<Row> = sets.iter().map(|set| measure(set, roof, decoded)).collect();
    let small = |row: &&Row| row.decoded_bytes < cache * CACHES;
    for Row { name, decoded_bytes, .. } in rows.iter().filter(small) {
        let what = if *decoded_bytes < cache { "in the cache" } else { "in part in the cache" };
        println!("decoded {what}: {name}, {:.1} MiB encoded", *decoded_bytes as f64 / f64::from(1 << 20));
    }
    let real: Vec<&Row> = rows.iter().filter(|row| row.real).collect();
    if real.is_empty() {
        return;
    }
    println!("\nroof: {roof:.0} M/s, plain f64 summed from memory\n");
    let mean = |of: fn(&Row) -> f64, rows: &[&Row]| {
        (rows.iter().map(|row| of(row).ln()).sum::<f64>() / rows.len() as f64).exp()
    };
    let varying: Vec<&Row> = real.iter().copied().filter(|row| row.bits > 1.0).collect();
    let decimal: Vec<&Row> = real.iter().copied().filter(|row| row.decimal).collect();
    let least = decimal.iter().map(|row| row.decode).fold(f64::INFINITY, f64::min);
    println!("{:58} {:>8} {:>8}", "geometric means over the real sets", "is", "goal");
    println!("{:58} {:8.2} {:>8}", "bits a value, fresh", mean(|r| r.bits, &real), "<= 14.2");
    println!("{:58} {:8.2}", "bits a value, fresh, without the sets of constants", mean(|r| r.bits, &varying));
    println!("{:58} {:8.2} {:>8}", "bits a value, cold", mean(|r| r.cold, &real), "<= 11.2");
    println!("{:58} {:8.2}", "bits a value, cold, without the sets of constants", mean(|r| r.cold, &varying));
    println!("{:58} {:8.0} {:>8}", "encode, M values/s", mean(|r| r.encode, &real), ">= 150");
    println!("{:58} {:8.0}", "encode, M values/s, without the sets of constants", mean(|r| r.encode, &varying));
    println!("{:58} {:8.0} {:>8}", "decode + sum, M values/s", mean(|r| r.decode, &real), ">= 1700");
    println!("{:58} {:8.0}", "decode + sum, M values/s, without the sets of constants", mean(|r| r.decode, &varying));
    println!(
        "{:58} {:8.2} {:>8}",
        "decode + sum of mostly decimal sets / roof, mean",
        mean(|r| r.decode, &decimal) / roof,
        ">= 1"
    );
    println!("{:58} {:8.2} {:>8}", "decode + sum of mostly decimal sets / roof, least", least / roof, ">= 1");
}

/// A set of series' values.
struct Set {
    name: String,
    real: bool,
    series: Vec<Vec<f64>>,
}

struct Row {
    name: String,
    /// Encoded bytes that decoding ran over.
    decoded_bytes: usize,
    real: bool,
    /// Whether most vectors are decimals.
    decimal: bool,
    bits: f64,
    cold: f64,
    encode: f64,
    decode: f64,
}

/// The columns of a set, one behind the other.
#[derive(Default)]
struct Encoded {
    bytes: Vec<u8>,
    /// End in `bytes` and values of each column.
    columns: Vec<(usize, usize)>,
}

/// Decodes `decoded` bytes of copies, or [`DECODED_VALUES`].
fn measure(set: &Set, roof: f64, decoded: usize) -> Row {
    let chunks: Vec<&[f64]> = set.series.iter().flat_map(|values| values.chunks(CHUNK_SAMPLES_MAX)).collect();
    let values: usize = chunks.iter().map(|chunk| chunk.len()).sum();
    let mut encoder = ValueEncoder::new();
    let encoded = encode(&chunks, &mut encoder);
    let bits = encoded.bytes.len() as f64 * 8.0 / values as f64;

    let mut bytes = Vec::with_capacity(encoded.bytes.len() + 64);
    let passes = (ENCODED_VALUES / values).max(1);
    let encode_rate = rate(values * passes, passes, |_| {
        bytes.clear();
        chunks.iter().for_each(|chunk| encoder.encode(chunk, &mut bytes));
        black_box(&bytes);
    });

    encoder.set_effort(Effort::Cold);
    let cold = encode(&chunks, &mut encoder).bytes.len() as f64 * 8.0 / values as f64;

    let copies = decoded.div_ceil(encoded.bytes.len()).min(DECODED_VALUES / values).max(1);
    let copied = encoded.bytes.repeat(copies);
    let (mut total, mut want) = (0.0, 0.0);
    let decode_rate = rate(values * copies, copies, |copy| {
        total = 0.0;
        let bytes = &copied[copy * encoded.bytes.len()..][..encoded.bytes.len()];
        each_vector(bytes, &encoded.columns, |vector| total += sum(vector));
    });
    chunks.iter().flat_map(|chunk| chunk.chunks(1024)).for_each(|vector| want += sum(vector));
    assert!(f64::to_bits(total) == f64::to_bits(want) || total.is_nan(), "{}: {total} is not {want}", set.name);

    let names = encodings(&encoded);
    let decimal = names
        .first()
        .is_some_and(|(encoding, _)| matches!(encoding, ValueEncoding::Decimal | ValueEncoding::DecimalDelta));
    let listed: Vec<String> = names.iter().map(|(encoding, count)| format!("{encoding:?} {count}")).collect();
    println!(
        "{:20} {values:10} {bits:8.2} {cold:8.2} {encode_rate:12.0} {decode_rate:8.0} ({:4.2})  {}",
        set.name,
        decode_rate / roof,
        listed.join(", ")
    );
    Row {
        name: set.name.clone(),
        decoded_bytes: copied.len(),
        real: set.real,
        decimal,
        bits,
        cold,
        encode: encode_rate,
        decode: decode_rate,
    }
}

fn encode(chunks: &[&[f64]], encoder: &mut ValueEncoder) -> Encoded {
    let mut encoded = Encoded::default();
    for chunk in chunks {
        encoder.encode(chunk, &mut encoded.bytes);
        encoded.columns.push((encoded.bytes.len(), chunk.len()));
    }
    encoded
}

fn each_vector(bytes: &[u8], columns: &[(usize, usize)], mut visit: impl FnMut(&[f64])) {
    let mut start = 0;
    for &(end, count) in columns {
        // As a scan does with the column of the next chunk.
        prefetch(&bytes[end..]);
        let column = ValueColumn::parse(&bytes[start..end], count).expect("just encoded");
        column.for_each_vector(|_, values| visit(values)).expect("just encoded");
        start = end;
    }
}

/// How many vectors are stored how, most frequent first.
fn encodings(encoded: &Encoded) -> Vec<(ValueEncoding, usize)> {
    let mut counts: Vec<(ValueEncoding, usize)> = Vec::new();
    let mut start = 0;
    for &(end, count) in &encoded.columns {
        let column = ValueColumn::parse(&encoded.bytes[start..end], count).expect("just encoded");
        for vector in 0..column.vectors() {
            let encoding = column.encoding(vector).expect("just encoded");
            match counts.iter_mut().find(|(known, _)| *known == encoding) {
                Some((_, count)) => *count += 1,
                None => counts.push((encoding, 1)),
            }
        }
        start = end;
    }
    counts.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    counts
}

/// The sum in lanes: additions that do not wait for each other.
fn sum(values: &[f64]) -> f64 {
    let (rows, rest) = values.as_chunks::<LANES>();
    let mut sums = [0.0; LANES];
    lanes::add(&mut sums, rows);
    sums.iter().chain(rest).sum()
}

/// The largest cache of the first processor, in bytes; `None` where `/sys` does not tell.
fn last_level_cache() -> Option<usize> {
    let caches = std::fs::read_dir("/sys/devices/system/cpu/cpu0/cache").ok()?;
    let size = |cache: std::fs::DirEntry| {
        // As in 32768K.
        let text = std::fs::read_to_string(cache.path().join("size")).ok()?;
        let (number, unit) = text.trim().split_at_checked(text.trim().len().checked_sub(1)?)?;
        let shift = match unit {
            "K" => 10,
            "M" => 20,
            "G" => 30,
            _ => return None,
        };
        number.parse::<usize>().ok()?.checked_mul(1 << shift)
    };
    caches.flatten().filter_map(size).max()
}

/// Plain values summed from memory, `bytes` of them or 384 MiB, in millions a second.
fn roof(bytes: usize) -> f64 {
    let plain: Vec<f64> = (0..(bytes / 8).max(48 << 20)).map(|i| (i % 1000) as f64).collect();
    let slices: Vec<&[f64]> = plain.chunks(1 << 17).collect();
    rate(plain.len(), slices.len(), |slice| {
        black_box(sum(black_box(slices[slice])));
    })
}

/// Millions of values a second over all slices, each slice the median of the rounds: a slice is short, so that most rounds
/// of it are not disturbed by whatever else the machine does, and a round is long, so that caches forget the slice.
fn rate(values: usize, slices: usize, mut work: impl FnMut(usize)) -> f64 {
    let mut taken = vec![[0.0; ROUNDS]; slices];
    for round in 0..ROUNDS {
        for (slice, taken) in taken.iter_mut().enumerate() {
            let start = Instant::now();
            work(slice);
            taken[round] = start.elapsed().as_secs_f64();
        }
    }
    let median = |taken: &mut [f64; ROUNDS]| *taken.select_nth_unstable_by(ROUNDS / 2, f64::total_cmp).1;
    values as f64 / taken.iter_mut().map(median).sum::<f64>() / 1e6
}

/// All series of the `.tsb` files in `folder`, but for those made for their timestamps.
fn real(folder: &Path) -> Vec<Set> {
    let mut paths: Vec<_> =
        std::fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("a file").path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "tsb"));
    paths.sort();
    let sets = paths.iter().map(|path| {
        let bytes = std::fs::read(path).expect("a readable file");
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let word = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().expect("4 bytes"));
        let mut at = 8;
        let series = (0..word(4))
            .map(|_| {
                let (count, flag) = (word(at) as usize, word(at + 4));
                at += 8 + if flag == 1 { 8 * count } else { 0 };
                let values =
                    bytes[at..at + 8 * count].as_chunks::<8>().0.iter().map(|v| f64::from_le_bytes(*v)).collect();
                at += 8 * count;
                values
            })
            .collect();
        Set { name, real: true, series }
    });
    sets.filter(|set| !set.name.starts_with("tssyn")).collect()
}

/// A few shapes that anybody can make.
fn made_up() -> Vec<Set> {
    const SAMPLES: usize = 16 * CHUNK_SAMPLES_MAX;
    let mut noise = Noise(7);
    let mut level = 50.0;
    let walk = (0..SAMPLES).map(|_| {
        level = f64::clamp(level + noise.normal(), 0.0, 100.0);
        (level * 100.0).round() / 100.0
    });
    let walk = walk.collect();
    let mut count = 0.0;
    let counter = (0..SAMPLES).map(|_| {
        count += noise.below(1500) as f64;
        count
    });
    let counter = counter.collect();
    let gauge = (0..SAMPLES).map(|_| noise.below(256) as f64).collect();
    let doubles = (0..SAMPLES).map(|_| noise.normal().exp()).collect();
    let signed = (0..SAMPLES).map(|_| noise.normal()).collect();
    let set = |name: &str, values| Set { name: name.to_owned(), real: false, series: vec![values] };
    vec![
        set("2-decimal walk", walk),
        set("counter", counter),
        set("byte gauge", gauge),
        set("log-normal", doubles),
        set("normal", signed),
        set("constant", vec![4.0; SAMPLES]),
    ]
}

struct Noise(u64);

impl Noise {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % n
    }

    /// Nearly N(0,1): the sum of twelve uniform numbers.
    fn normal(&mut self) -> f64 {
        (0..12).map(|_| self.below(1 << 20) as f64 / (1 << 20) as f64).sum::<f64>() - 6.0
    }
}
