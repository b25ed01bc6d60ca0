//! Power losses, kills and failing disks, at every operation of a workload.
//!
//! A small store (manifest and WAL, no segments) is driven over a simulated disk. The
//! samples are numbered; after each crash it is opened again, and what comes back must
//! be a contiguous run of those numbers that begins where the manifest says, holds
//! every sample whose sync had returned, and nothing that was never written. After a
//! mere kill it must hold everything written. To show that this test can fail, the
//! harness itself is broken in several ways, and each must be caught.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use tidegauge_storage::fs::Fs;
use tidegauge_storage::fs::sim::{Fault, SimFs};
use tidegauge_storage::manifest::{Edit, Manifest};
use tidegauge_storage::model::{LabelLimits, Labels, SeqNo};
use tidegauge_storage::wal::{
    Epoch, FrameEncoder, GenerationId, RecoverMode, Recovered, Refused, Replay, SyncJob, WalError, WalSample,
    WalWriter, WriterOptions, recover,
};

const DIR: &str = "data";
const WAL: &str = "data/wal";

/// How the harness cheats, to prove that cheating is seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cheat {
    None,
    /// Calls frames durable without syncing.
    Sync,
    /// Does not write anew what it replayed.
    Secure,
    /// Reuses files before the manifest says that they are free.
    Release,
}

struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % n
    }
}

fn sample(index: u64) -> WalSample {
    WalSample {
        series: (index % 7) as u32,
        tag: 0,
        timestamp: index as i64,
        value: (index.wrapping_mul(2_654_435_761) % 100_000) as f64 / 7.0,
    }
}

fn labels(series: u32) -> Labels {
    Labels::new([("__name__", format!("m{series}"))], &LabelLimits::DEFAULT).unwrap()
}

/// What a correct store must hold, by sample numbers.
#[derive(Clone, Debug, Default)]
struct Truth {
    /// All below were handed to `append` and accepted.
    written: u64,
    /// At most this many more may have reached the disk by an append that failed.
    attempted: u64,
    /// All below were reported durable.
    durable: u64,
    /// The first sample needed, by the manifest's oldest epoch.
    starts: BTreeMap<Epoch, u64>,
}

struct Store {
    manifest: Manifest,
    writer: WalWriter,
    encoder: FrameEncoder,
    /// Series are defined in each generation before their first use.
    defined: bool,
    jobs: Vec<(SyncJob, u64)>,
    newest: GenerationId,
}

fn arc(fs: &SimFs) -> Arc<dyn Fs> {
    Arc::new(fs.clone())
}

/// Reads everything back; answers the first sample number and one behind the last.
fn replay(fs: &SimFs, manifest: &Manifest, mode: RecoverMode) -> Result<(Recovered, Option<(u64, u64)>), WalError> {
    let mut run: Option<(u64, u64)> = None;
    let mut defined = BTreeMap::new();
    let state = manifest.state();
    let recovered = recover(fs, Path::new(WAL), state.store_id, &state.wal, mode, &mut |piece| {
        match piece {
            Replay::Define { generation, series, labels } => {
                defined.insert((generation, series), labels.clone());
            }
            Replay::Samples { generation, samples, .. } => {
                for got in samples {
                    let index = got.timestamp as u64;
                    let known = defined.get(&(generation, got.series)).ok_or(Refused("undefined series"))?;
                    let (_, end) = run.get_or_insert((index, index));
                    if *known != labels(got.series) || *got != sample(index) || *end != index {
                        return Err(Refused("a sample came back changed or out of order"));
                    }
                    *end += 1;
                }
            }
            _ => {}
        }
        Ok(())
    })?;
    Ok((recovered, run))
}

impl Store {
    /// Opens, checks what comes back against `truth`, and brings `truth` to what that is.
    /// `Err` holds what is wrong; an error of the disk is `Ok(None)`.
    fn open(fs: &SimFs, truth: &mut Truth, killed: bool, cheat: Cheat) -> Result<Option<Self>, String> {
        let mut manifest = match Manifest::open_or_create(arc(fs), DIR) {
            Ok(manifest) => manifest,
            Err(e) if fs.list(Path::new("")).is_err() => return Ok(disk(&e)),
            Err(e) => return Err(format!("manifest: {e}")),
        };
        let oldest = manifest.state().wal.oldest_epoch;
        let start = if oldest == Epoch(0) { 0 } else { *truth.starts.get(&oldest).ok_or("an unknown start")? };
        let (recovered, run) = match replay(fs, &manifest, RecoverMode::Strict) {
            Ok(replayed) => replayed,
            Err(e) if fs.list(Path::new("")).is_err() => return Ok(disk(&e)),
            Err(e) => return Err(format!("recovery: {e}")),
        };
        if let Ok((again, same)) = replay(fs, &manifest, RecoverMode::Strict) {
            assert_eq!((&again, same), (&recovered, run), "recovering twice");
        }
        let (from, to) = run.unwrap_or((start, start));
        let least = if killed { truth.written } else { truth.durable }.max(start);
        let most = truth.written + truth.attempted;
        if from != start || to < least || to > most.max(start) {
            return Err(format!("{from}..{to} came back, not {start}..{least} to {most}, {truth:?}"));
        }
        if recovered.next_seq.0 < to && to > start {
            return Err("the greatest sequence number is forgotten".to_owned());
        }
        let new_life = |manifest: &mut Manifest| -> Result<WalWriter, Box<dyn std::error::Error>> {
            if cheat != Cheat::Secure {
                recovered.secure(fs)?;
            }
            let life = recovered.life(manifest.state().open_number);
            let mut options =
                WriterOptions::new(manifest.state().store_id, manifest.state().open_number, life.first_frame);
            (options.file_bytes, options.spare_files) = (12 << 10, 2);
            manifest.commit(&[Edit::WalLife(life)])?;
            Ok(WalWriter::open(arc(fs), WAL, manifest.state().wal.oldest_epoch, options)?)
        };
        let writer = match new_life(&mut manifest) {
            Ok(writer) => writer,
            Err(e) if fs.list(Path::new("")).is_err() => return Ok(disk(&*e)),
            Err(e) => return Err(format!("new life: {e}")),
        };
        // What came back is durable now; what did not never will be.
        (truth.written, truth.attempted, truth.durable) = (to, 0, to);
        let newest = writer.generation();
        truth.starts.insert(writer.generation().0, to);
        let encoder = FrameEncoder::new();
        Ok(Some(Self { manifest, writer, encoder, defined: false, jobs: Vec::new(), newest }))
    }

    /// Runs `steps` steps; stops early when the disk fails for good.
    fn run(&mut self, truth: &mut Truth, random: &mut Random, steps: u64, cheat: Cheat) {
        for _ in 0..steps {
            let going_on = match random.below(10) {
                0..=4 => self.append(truth, 1 + random.below(40)),
                5 => self.append(truth, 300),
                6 => {
                    if let Some(job) = self.writer.sync_point() {
                        self.jobs.push((job, truth.written));
                    }
                    true
                }
                7 => self.sync(truth, cheat),
                8 => self.rotate(truth),
                _ => self.release(cheat),
            };
            if !going_on {
                return;
            }
        }
    }

    fn append(&mut self, truth: &mut Truth, n: u64) -> bool {
        let first = truth.written;
        self.encoder.begin(SeqNo(first));
        if !self.defined {
            (0..7).for_each(|series| self.encoder.define(series, &labels(series)).unwrap());
        }
        let samples: Vec<_> = (first..first + n).map(sample).collect();
        assert_eq!(self.encoder.samples(&samples), samples.len());
        for _ in 0..2 {
            match self.writer.append(&mut self.encoder) {
                Ok(_) => {
                    truth.written += n;
                    self.defined = true;
                    return true;
                }
                // Nothing was written: the second try is the caller's right.
                Err(WalError::NoSpace { .. }) => {}
                Err(_) => {
                    truth.attempted = n;
                    let mut frame = FrameEncoder::new();
                    assert!(matches!(self.writer.append(&mut frame), Err(WalError::Poisoned)));
                    return false;
                }
            }
        }
        true
    }

    fn sync(&mut self, truth: &mut Truth, cheat: Cheat) -> bool {
        for (job, written) in self.jobs.drain(..) {
            let result = if cheat == Cheat::Sync { Ok(job.through()) } else { job.run() };
            match result {
                Ok(through) => self.writer.note_synced(through),
                Err(_) => {
                    self.writer.poison();
                    return false;
                }
            }
            truth.durable = written;
        }
        true
    }

    fn rotate(&mut self, truth: &mut Truth) -> bool {
        let generation = self.writer.rotate();
        self.newest = generation;
        truth.starts.insert(generation.0, truth.written);
        self.defined = false;
        true
    }

    /// As after a flush: what lies before the newest generation is in segments.
    fn release(&mut self, cheat: Cheat) -> bool {
        let generation = self.newest;
        if cheat == Cheat::Release {
            self.writer.release_before(generation);
            return true;
        }
        if self.manifest.commit(&[Edit::WalRelease(self.writer.release_edit(generation))]).is_err() {
            // Nobody knows whether it is durable, so nothing may be reused; and no more is written.
            return false;
        }
        self.writer.release_before(generation);
        true
    }
}

fn disk<E: std::fmt::Display + ?Sized>(_: &E) -> Option<Store> {
    None
}

/// One life, then for each way of dying a second life and a third.
fn lives(seed: u64, steps: u64, prepare: impl Fn(&SimFs), cheat: Cheat) -> Result<Operations, String> {
    let fs = SimFs::new();
    prepare(&fs);
    let mut truth = Truth::default();
    let mut opening = 0;
    if let Some(mut store) = Store::open(&fs, &mut truth, false, cheat)? {
        opening = fs.operations();
        store.run(&mut truth, &mut Random(seed), steps, cheat);
    }
    let operations = fs.operations();
    for death in 0..4 {
        let mut truth = truth.clone();
        let killed = death == 0;
        let left = if killed { fs.kill() } else { fs.crash(seed.wrapping_mul(31).wrapping_add(death)) };
        let second = second_life(&left, &mut truth, killed, seed + death, cheat);
        second.map_err(|e| format!("seed {seed}, death {death}: {e}"))?;
    }
    Ok(Operations { opening, all: operations })
}

/// How many there were in the first life.
struct Operations {
    opening: u64,
    all: u64,
}

fn second_life(fs: &SimFs, truth: &mut Truth, killed: bool, seed: u64, cheat: Cheat) -> Result<(), String> {
    let Some(mut store) = Store::open(fs, truth, killed, cheat)? else { return Ok(()) };
    let mut random = Random(seed ^ 0xabcdef);
    let steps = random.below(8);
    store.run(truth, &mut random, steps, cheat);
    let fs = fs.crash(seed ^ 0x5555);
    Store::open(&fs, truth, false, cheat).map(|_| ()).map_err(|e| format!("third life: {e}"))
}

#[test]
fn every_crash_point_of_short_workloads_gives_an_exact_prefix_with_every_durable_sample() {
    let mut points = 0;
    for seed in 0..14 {
        let operations = lives(seed, 40, |_| {}, Cheat::None).unwrap();
        for stop in 1..=operations.all {
            lives(seed, 40, |fs| fs.stop_at(stop), Cheat::None).unwrap_or_else(|e| panic!("stop at {stop}: {e}"));
            points += 4;
        }
    }
    assert!(points > 3_000, "{points} crash points");
}

#[test]
fn every_failing_operation_loses_nothing_that_was_durable() {
    for seed in 100..104 {
        let operations = lives(seed, 40, |_| {}, Cheat::None).unwrap();
        for fault in [Fault::Io, Fault::Full] {
            for at in operations.opening + 1..=operations.all {
                lives(seed, 40, |fs| fs.fail_at(at, fault), Cheat::None)
                    .unwrap_or_else(|e| panic!("{fault:?} at {at}: {e}"));
            }
        }
    }
}

#[test]
fn long_workloads_with_crashes_anywhere_keep_the_promise() {
    for seed in 1000..1060 {
        let stop = 20 + seed * 7919 % 400;
        lives(seed, 300, |fs| fs.stop_at(stop), Cheat::None).unwrap_or_else(|e| panic!("stop at {stop}: {e}"));
    }
}

/// Looks for a workload and a crash point that shows the cheat.
fn is_caught(cheat: Cheat) -> bool {
    (0..60).any(|seed| (40..140).step_by(3).any(|stop| lives(seed, 60, |fs| fs.stop_at(stop), cheat).is_err()))
}

#[test]
fn a_missing_sync_is_seen() {
    assert!(is_caught(Cheat::Sync));
}

#[test]
fn replayed_frames_that_are_not_written_anew_are_seen() {
    assert!(is_caught(Cheat::Secure));
}

#[test]
fn reusing_a_file_before_the_manifest_frees_it_is_seen() {
    assert!(is_caught(Cheat::Release));
}
