//! P6: what an opening with salvage shows is what was accepted last, whatever segments lie beside one another.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tidegauge_storage::fs::Fs;
use tidegauge_storage::fs::sim::SimFs;
use tidegauge_storage::model::{LabelLimits, Labels, SeqNo, SeqRange, Timestamp};
use tidegauge_storage::segment::{SegmentHeader, SegmentWriter};
use tidegauge_storage::source::Columns;

use super::Recovery;
use super::tests::{contents, try_open};
use crate::engine::Engine;
use crate::options::{Builder, Durability, Level};

const MANIFEST: &str = "memory/MANIFEST";

/// A segment to lie in a store: number, range of numbers, whether late, level, and (timestamp, value) of its series.
#[derive(Clone)]
struct Made {
    id: u64,
    seq: (u64, u64),
    late: bool,
    level: u32,
    samples: Vec<(i64, f64)>,
}

fn made(id: u64, seq: (u64, u64), level: u32, times: std::ops::Range<i64>, value: f64) -> Made {
    Made { id, seq, late: false, level, samples: times.map(|at| (at, value)).collect() }
}

/// A store of these segments, and nothing else.
fn store(segments: &[&Made]) -> SimFs {
    let fs = SimFs::new();
    let dir = Path::new("memory/segments");
    fs.create_dir_all(dir).unwrap();
    let labels = Labels::new([("__name__", "cpu")], &LabelLimits::DEFAULT).unwrap();
    for made in segments {
        let range = SeqRange { start: SeqNo(made.seq.0), end: SeqNo(made.seq.1) };
        let (store_id, seq_range, late, level) = (7, range, made.late, made.level);
        let header = SegmentHeader { store_id, seq_range, late, level, ..SegmentHeader::default() };
        let mut writer = SegmentWriter::create(Arc::new(fs.clone()), dir, made.id, header).unwrap();
        let mut columns = Columns::default();
        made.samples.iter().for_each(|&(at, value)| columns.push(at, value));
        writer.push_series(&labels, &columns, SeqNo(made.seq.1 - 1)).unwrap();
        writer.finish().unwrap();
    }
    fs
}

fn values(engine: &Engine) -> Vec<(i64, f64)> {
    contents(engine).into_iter().map(|((_, at), bits)| (at, f64::from_bits(bits))).collect()
}

/// Each salvage, and what compaction makes of it, shows `expected`.
fn check(fs: &SimFs, expected: &[(i64, f64)], what: &str) {
    let engine = try_open(fs, Recovery::Salvage).unwrap_or_else(|e| panic!("{what}: {e}"));
    assert_eq!(values(&engine), expected, "{what}");
    drop(engine);
    // With a sound manifest, too.
    let engine = try_open(fs, Recovery::Salvage).unwrap();
    assert_eq!(values(&engine), expected, "{what}, salvaged again");
    engine.compact().unwrap();
    assert_eq!(values(&engine), expected, "{what}, compacted");
    engine.close().unwrap();
    assert_eq!(values(&try_open(fs, Recovery::Strict).unwrap()), expected, "{what}, opened again");
}

/// A compaction that ended after a flush has the greater file number, and holds what was accepted before.
#[test]
fn p6_a_salvage_reads_segments_in_the_order_of_acceptance() {
    let compacted = made(6, (1, 30), 1, 0..10, 1.0);
    let flushed = made(5, (30, 40), 0, 3..6, 2.0);
    let expected: Vec<_> = (0..10).map(|at| (at, if (3..6).contains(&at) { 2.0 } else { 1.0 })).collect();
    check(&store(&[&compacted, &flushed]), &expected, "compacted later");
}

/// Three flushes, the last one with a late half, that overwrite one another; what a job made of them is cut in two.
/// Any of the inputs beside both outputs, and any of the outputs beside all inputs, show what was accepted last.
#[test]
fn p6_a_manifest_made_anew_shows_nothing_overwritten_whatever_compaction_left() {
    let late = Made { late: true, ..made(3, (20, 30), 0, 2..7, 4.0) };
    let inputs =
        [made(0, (1, 10), 0, 0..20, 1.0), made(1, (10, 20), 0, 4..16, 2.0), made(2, (20, 30), 0, 6..12, 3.0), late];
    let mut all = std::collections::BTreeMap::new();
    inputs.iter().for_each(|input| all.extend(input.samples.iter().copied()));
    let expected: Vec<(i64, f64)> = all.into_iter().collect();
    let (first, second) = expected.split_at(9);
    let out = |id, part: &[(i64, f64)]| Made { samples: part.to_vec(), ..made(id, (1, 30), 1, 0..0, 0.0) };
    let outputs = [out(4, first), out(5, second)];
    for left in 0..1 << inputs.len() {
        let chosen = inputs.iter().enumerate().filter(|(i, _)| left >> i & 1 == 1).map(|(_, input)| input);
        let segments: Vec<&Made> = chosen.chain(&outputs).collect();
        check(&store(&segments), &expected, &format!("inputs {left:b} are left"));
    }
    for written in 0..1 << outputs.len() {
        let chosen = outputs.iter().enumerate().filter(|(i, _)| written >> i & 1 == 1).map(|(_, output)| output);
        let segments: Vec<&Made> = inputs.iter().chain(chosen).collect();
        check(&store(&segments), &expected, &format!("outputs {written:b} are written"));
    }
}

/// Halves of one flush that were merged: the in-order one is left beside what was made of both.
#[test]
fn p6_a_half_of_a_flush_does_not_come_over_what_was_made_of_both() {
    let in_order = made(0, (1, 10), 0, 0..10, 1.0);
    let late = Made { late: true, ..made(1, (1, 10), 0, 0..4, 2.0) };
    let merged: Vec<_> = (0..10).map(|at| (at, if at < 4 { 2.0 } else { 1.0 })).collect();
    let both = Made { samples: merged.clone(), ..made(2, (1, 10), 1, 0..0, 0.0) };
    for left in [vec![&in_order, &both], vec![&late, &both], vec![&both, &late, &in_order]] {
        check(&store(&left), &merged, &format!("{} are left", left.len()));
    }
}

/// The same on a live engine: a snapshot pins the inputs that were there when it was taken, and the process is killed.
#[test]
fn p6_what_a_snapshot_pins_does_not_come_over_what_was_compacted() {
    let fs = SimFs::new();
    let mut builder = Builder::new(None).durability(Durability::Memory).background_compaction(false);
    builder.fs = Some(Arc::new(fs.clone()) as Arc<dyn Fs>);
    let engine = builder.open().unwrap();
    let series = engine.series(&[("__name__", "cpu")]).unwrap();
    let mut held = None;
    for round in 0..3 {
        for at in 0..10 {
            let ack = engine.push(series, Timestamp::from_nanos(at), f64::from(round)).unwrap();
            engine.wait(ack, Level::Visible, Duration::from_secs(30)).unwrap();
        }
        engine.flush().unwrap();
        if round == 1 {
            held = Some(engine.snapshot());
        }
    }
    engine.compact().unwrap();
    let disk = fs.kill();
    assert_eq!(disk.list(Path::new("memory/segments")).unwrap().len(), 3, "two are pinned");
    drop(held);
    disk.remove(Path::new(MANIFEST)).unwrap();
    check(&disk, &(0..10).map(|at| (at, 2.0)).collect::<Vec<_>>(), "pinned");
}
