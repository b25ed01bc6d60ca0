//! What the segments of a store weigh, and what the bytes go to. For people who wonder why their store is so large.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Debug;
use std::sync::Arc;

use rayon::prelude::*;
use tidegauge_storage::model::METRIC_NAME;
use tidegauge_storage::segment::{DamagedPlaces, Segment, SegmentInfo, VectorInfo};
use tidegauge_storage::source::{ReadError, SampleSource};

use crate::engine::Engine;
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::verify::Damage;

/// How much of a store's segments one encoding holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct EncodingUse {
    /// Its name, such as `decimal-delta`.
    pub encoding: String,
    /// Samples stored that way. A timestamp column that several series share counts for each of them.
    pub samples: u64,
    /// Bytes of their vectors, each once.
    pub bytes: u64,
}

/// How much of a store's segments the series of one name hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct MetricUse {
    /// The name; empty for series without one.
    pub metric: String,
    /// Samples stored, overwritten and deleted ones included as long as they are.
    pub samples: u64,
    /// Bytes of their columns; of timestamps that others share, their part. The index is not counted.
    pub bytes: u64,
}

/// One segment of a store.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SegmentUse {
    /// What the file says of itself.
    pub info: SegmentInfo,
    /// How its values are stored, the heaviest first.
    pub values: Vec<EncodingUse>,
}

/// What the segments of a store weigh.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Inspection {
    /// Each segment, by its number.
    pub each_segment: Vec<SegmentUse>,
    /// Segments.
    pub segments: u64,
    /// Chunks in them.
    pub chunks: u64,
    /// Samples in them.
    pub samples: u64,
    /// Bytes of their files.
    pub bytes: u64,
    /// Bytes of timestamp columns.
    pub timestamp_bytes: u64,
    /// Bytes of value columns.
    pub value_bytes: u64,
    /// How timestamps are stored, the heaviest first.
    pub timestamps: Vec<EncodingUse>,
    /// How values are stored, the heaviest first.
    pub values: Vec<EncodingUse>,
    /// Every metric, the heaviest first.
    pub metrics: Vec<MetricUse>,
    /// What could not be looked at. The chunks it belongs to are in none of the other figures but `bytes`. Of a segment the
    /// first 1,000 places.
    pub damage: Vec<Damage>,
    /// How many places more there are.
    pub further_damage: u64,
}

impl Inspection {
    /// Bytes of everything but columns: labels, directories, checksums, headers; damaged columns too.
    #[must_use]
    pub fn index_bytes(&self) -> u64 {
        self.bytes.saturating_sub(self.timestamp_bytes + self.value_bytes)
    }
}

/// Looks at every chunk of the segments that count now; decodes none. What is still in memory is left out, and what is
/// damaged is named and left out; `verify` finds more, since it decodes.
///
/// Reads the segments once, on the engine's query threads: the time that takes. `progress` is told how many bytes of
/// how many are done, by several threads.
pub fn inspect(engine: &Engine, progress: impl Fn(u64, u64) + Sync) -> Inspection {
    // Files that compaction lets go of meanwhile stay mapped as long as this is held.
    let version = engine.life().core.versions.load();
    let total = version.segments.iter().map(|s| s.info().file_bytes).sum();
    let done = AtomicU64::new(0);
    progress(0, total);
    let tell = |bytes| progress(done.fetch_add(bytes, Ordering::Relaxed) + bytes, total);
    let sums = engine.life().reads.threads.install(|| {
        version.segments.par_iter().map(|segment| Sums::of(segment, &tell)).reduce(Sums::default, Sums::and)
    });
    let mut all = sums.finish();
    all.segments = version.segments.len() as u64;
    all.bytes = total;
    all
}

/// Samples and bytes, by name.
type Table = BTreeMap<String, (u64, u64)>;

#[derive(Default)]
struct Sums {
    each_segment: Vec<SegmentUse>,
    chunks: u64,
    samples: u64,
    timestamp_bytes: u64,
    value_bytes: u64,
    timestamps: Table,
    values: Table,
    metrics: Table,
    damage: Vec<Damage>,
    further_damage: u64,
}

impl Sums {
    fn of(segment: &Segment, tell: &(dyn Fn(u64) + Sync)) -> Self {
        let mut sums = Self::default();
        let mut damage = DamagedPlaces::default();
        let mut names = Names::new(segment);
        let mut shared = Shared::default();
        for chunk in segment.chunks() {
            let (chunk, metric) = match chunk.and_then(|chunk| Ok((names.of(chunk.series)?, chunk))) {
                Ok((metric, chunk)) => (chunk, metric),
                Err(e) => {
                    damage.note(e);
                    continue;
                }
            };
            let (samples, value_bytes) = (u64::from(chunk.count), u64::from(chunk.value_bytes));
            let is_new = shared.used(chunk.timestamp_column, chunk.timestamp_bytes, metric);
            sums.chunks += 1;
            sums.samples += samples;
            sums.value_bytes += value_bytes;
            note(&mut sums.metrics, names.get(metric), samples, value_bytes);
            add(&mut sums.timestamps, &chunk.timestamp_vectors, is_new);
            add(&mut sums.values, &chunk.value_vectors, true);
            if is_new {
                sums.timestamp_bytes += u64::from(chunk.timestamp_bytes);
            }
            tell(value_bytes + if is_new { u64::from(chunk.timestamp_bytes) } else { 0 });
        }
        shared.share_out(|metric, bytes| note(&mut sums.metrics, names.get(metric), 0, bytes));
        tell(segment.info().file_bytes.saturating_sub(sums.timestamp_bytes + sums.value_bytes));
        let values = encodings(sums.values.clone());
        sums.each_segment.push(SegmentUse { info: segment.info().clone(), values });
        let (places, further) = damage.into_parts();
        sums.damage = places.iter().map(|e| Damage::of(segment.path(), e)).collect();
        sums.further_damage = further;
        sums
    }

    fn and(mut self, other: Self) -> Self {
        self.each_segment.extend(other.each_segment);
        self.damage.extend(other.damage);
        self.further_damage += other.further_damage;
        self.chunks += other.chunks;
        self.samples += other.samples;
        self.timestamp_bytes += other.timestamp_bytes;
        self.value_bytes += other.value_bytes;
        let tables = [(&mut self.timestamps, other.timestamps), (&mut self.values, other.values)];
        for (into, from) in tables.into_iter().chain([(&mut self.metrics, other.metrics)]) {
            from.iter().for_each(|(name, &(samples, bytes))| note(into, name, samples, bytes));
        }
        self
    }

    fn finish(mut self) -> Inspection {
        self.each_segment.sort_by_key(|segment| segment.info.id);
        Inspection {
            each_segment: self.each_segment,
            chunks: self.chunks,
            samples: self.samples,
            timestamp_bytes: self.timestamp_bytes,
            value_bytes: self.value_bytes,
            timestamps: encodings(self.timestamps),
            values: encodings(self.values),
            metrics: heaviest(self.metrics, |metric, samples, bytes| MetricUse { metric, samples, bytes }),
            damage: self.damage,
            further_damage: self.further_damage,
            ..Inspection::default()
        }
    }
}

fn encodings(table: Table) -> Vec<EncodingUse> {
    heaviest(table, |encoding, samples, bytes| EncodingUse { encoding, samples, bytes })
}

/// Which metrics use a segment's columns of timestamps, how often. Who holds a shared one is known at the end: until then a
/// column takes some 20 bytes, and 12 more for each further metric that uses it.
#[derive(Default)]
struct Shared {
    columns: HashMap<u32, Column>,
    /// Column, metric, and how many of its chunks use it.
    uses: Vec<(u32, u32, u32)>,
}

/// A column, and how often the metric uses it that came last: series come by their labels, so by metric.
struct Column {
    bytes: u32,
    metric: u32,
    uses: u32,
}

impl Shared {
    /// A chunk of a metric uses a column. Answers whether it is the first.
    fn used(&mut self, column: u32, bytes: u32, metric: u32) -> bool {
        let mut is_new = false;
        let known = self.columns.entry(column).or_insert_with(|| {
            is_new = true;
            Column { bytes, metric, uses: 0 }
        });
        if known.metric != metric {
            self.uses.push((column, known.metric, known.uses));
            (known.metric, known.uses) = (metric, 0);
        }
        known.bytes = bytes;
        known.uses += 1;
        is_new
    }

    /// Gives each metric its part of each column.
    fn share_out(mut self, mut give: impl FnMut(u32, u64)) {
        self.uses.sort_by_key(|(column, ..)| *column);
        let mut before = &self.uses[..];
        let mut columns: Vec<(u32, Column)> = self.columns.into_iter().collect();
        columns.sort_unstable_by_key(|(number, _)| *number);
        for (number, column) in columns {
            let (own, others) = before.split_at(before.partition_point(|(other, ..)| *other <= number));
            before = others;
            let users = || own.iter().map(|&(_, metric, n)| (metric, n)).chain([(column.metric, column.uses)]);
            let all: u64 = users().map(|(_, n)| u64::from(n)).sum();
            let (mut given, mut uses) = (0, 0);
            for (metric, n) in users() {
                uses += u64::from(n);
                // So that the parts add up to the whole.
                let upto = u64::from(column.bytes) * uses / all;
                give(metric, upto - given);
                given = upto;
            }
        }
    }
}

/// The names of a segment's metrics, each kept once.
struct Names<'a> {
    segment: &'a Segment,
    /// The series that was looked up last, and its name's number.
    last: Option<(u32, u32)>,
    known: HashMap<Arc<str>, u32>,
    list: Vec<Arc<str>>,
    /// Bytes that others may have: a file may say that they share theirs.
    left: u64,
}

impl<'a> Names<'a> {
    fn new(segment: &'a Segment) -> Self {
        Self { segment, last: None, known: HashMap::new(), list: Vec::new(), left: segment.info().file_bytes }
    }

    /// The name with this number; empty if the series has none.
    fn get(&self, number: u32) -> &str {
        &self.list[number as usize]
    }

    /// The number of the name of a series.
    fn of(&mut self, series: u32) -> Result<u32, ReadError> {
        if let Some((_, number)) = self.last.filter(|(last, _)| *last == series) {
            return Ok(number);
        }
        let labels = self.segment.labels(series)?;
        let name = labels.get(METRIC_NAME).unwrap_or_default();
        let number = match self.known.get(name) {
            Some(&known) => known,
            None => {
                let damaged = || ReadError::Corrupt {
                    file: self.segment.path().to_owned(),
                    offset: 0,
                    what: "names of metrics are longer than the file".to_owned(),
                };
                self.left = self.left.checked_sub(name.len() as u64).ok_or_else(damaged)?;
                // No more than there are series.
                let number = self.list.len() as u32;
                let name: Arc<str> = name.into();
                self.list.push(Arc::clone(&name));
                self.known.insert(name, number);
                number
            }
        };
        self.last = Some((series, number));
        Ok(number)
    }
}

fn note(table: &mut Table, name: &str, samples: u64, bytes: u64) {
    // Looked up before it is copied: there are far fewer names than chunks.
    let entry = match table.get_mut(name) {
        Some(entry) => entry,
        None => table.entry(name.to_owned()).or_default(),
    };
    entry.0 += samples;
    entry.1 += bytes;
}

fn add<E: Debug>(table: &mut Table, vectors: &[VectorInfo<E>], with_bytes: bool) {
    for vector in vectors {
        let bytes = if with_bytes { u64::from(vector.bytes) } else { 0 };
        note(table, &kebab(&format!("{:?}", vector.encoding)), u64::from(vector.samples), bytes);
    }
}

/// `DecimalDelta` is `decimal-delta` to people.
fn kebab(name: &str) -> String {
    let mut out = String::with_capacity(name.len() + 2);
    for c in name.chars() {
        if c.is_ascii_uppercase() && !out.is_empty() {
            out.push('-');
        }
        out.push(c.to_ascii_lowercase());
    }
    out
}

/// The most bytes first; of equal ones, by name.
fn heaviest<T>(table: Table, entry: impl Fn(String, u64, u64) -> T) -> Vec<T> {
    let mut all: Vec<(String, (u64, u64))> = table.into_iter().collect();
    all.sort_by(|a, b| b.1.1.cmp(&a.1.1).then_with(|| a.0.cmp(&b.0)));
    all.into_iter().map(|(name, (samples, bytes))| entry(name, samples, bytes)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A column was remembered as a map of names: some 400 bytes of each, for all segments that are looked at side by side.
    #[test]
    fn what_is_remembered_of_a_column_is_small_and_its_parts_add_up() {
        assert!(size_of::<(u32, Column)>() <= 16 && size_of::<(u32, u32, u32)>() <= 12);
        let mut shared = Shared::default();
        let chunks = [(7, 0), (9, 0), (7, 0), (7, 1), (8, 1), (7, 2), (7, 1)];
        let new = chunks.map(|(column, metric)| shared.used(column, 10 * (column - 6), metric));
        assert_eq!(new, [true, true, false, false, true, false, false]);
        let mut given = [0; 3];
        shared.share_out(|metric, bytes| given[metric as usize] += bytes);
        // Of 10 bytes of the first column 4, 4 and 2; all of the other two.
        assert_eq!(given, [4 + 30, 4 + 20, 2]);
    }
}
