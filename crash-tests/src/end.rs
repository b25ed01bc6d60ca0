//! What was durable at the end of the log, and is damaged now: it must be refused, and not cut as if nobody had been
//! told of it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tidegauge::Durability;
use tidegauge_storage::fs::Fs;
use tidegauge_storage::fs::sim::SimFs;
use tidegauge_storage::manifest::{Manifest, State};
use tidegauge_storage::wal::Epoch;

use crate::examine::Must;
use crate::manifest::Commits;
use crate::script::Rng;
use crate::store;

const DIR: &str = "memory";
/// Of a frame's fields, as `docs/format/wal.md` has them.
const HEADER: usize = 96;
/// Behind it and zeros lie the frames of a file.
const FILE_HEADER: u64 = 4096;
const WITNESS: u8 = 3;

struct Frame {
    path: PathBuf,
    /// Its payload is as it was written.
    sound: bool,
    at: u64,
    len: u64,
    number: u64,
    synced_through: u64,
    witness: bool,
}

/// The log of the opening that was running, as far as it is needed.
struct End {
    state: State,
    files: Vec<(Epoch, PathBuf)>,
    frames: Vec<Frame>,
}

impl End {
    /// `None` if there is no manifest that can be read.
    fn of(fs: &SimFs) -> Option<Self> {
        let manifest = Manifest::open_read_only(Arc::new(fs.clone()), DIR).ok()?;
        let state = manifest.state().clone();
        let folder = Path::new(DIR).join("wal");
        let epochs = fs.list(&folder).unwrap_or_default();
        let epochs = epochs.iter().filter_map(|name| Epoch::from_file_name(name));
        let needed = state.wal.oldest_epoch.max(state.wal.live_epoch);
        let files: Vec<_> = epochs.filter(|e| *e >= needed).map(|e| (e, folder.join(e.file_name()))).collect();
        let frames = files.iter().flat_map(|(epoch, path)| frames(fs, *epoch, path)).collect();
        Some(Self { state, files, frames })
    }

    /// Of those that the manifest says are durable, and needs.
    fn noted(&self) -> Vec<&Frame> {
        let wal = &self.state.wal;
        let needed = wal.next_frame.0..=wal.synced_through.0;
        self.frames.iter().filter(|f| !f.witness && needed.contains(&f.number)).collect()
    }

    /// The frame that a witness says was durable.
    fn witnessed(&self) -> Option<&Frame> {
        let witness = self.frames.iter().filter(|f| f.witness).max_by_key(|f| f.synced_through)?;
        self.frames.iter().find(|f| !f.witness && f.number == witness.synced_through)
    }
}

/// Everything that looks like a frame of this file's present life.
fn frames(fs: &SimFs, epoch: Epoch, path: &Path) -> Vec<Frame> {
    let Ok(bytes) = fs.map(path) else { return Vec::new() };
    let u64_at = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"));
    let mut found = Vec::new();
    let mut at = 4096;
    while at + HEADER <= bytes.len() {
        let len = u64_at(at + 8) >> 32;
        let is_frame = bytes[at..].starts_with(b"TGFR")
            && u64_at(at + 32) == epoch.0
            && (HEADER as u64..=(bytes.len() - at) as u64).contains(&len)
            && crc32c::crc32c(&bytes[at + 8..at + HEADER]).to_le_bytes() == bytes[at + 4..at + 8];
        if !is_frame {
            at += 8;
            continue;
        }
        let (number, synced_through) = (u64_at(at + 40), u64_at(at + 48));
        let witness = bytes[at + 90] == WITNESS;
        let sound = crc32c::crc32c(&bytes[at + HEADER..at + len as usize]).to_le_bytes() == bytes[at + 8..at + 12];
        found.push(Frame { path: path.to_owned(), sound, at: at as u64, len, number, synced_through, witness });
        at += len as usize;
    }
    found
}

/// Whether nothing is left for an idle engine to write: the last frame is witnessed, and the manifest was told of it,
/// or there is none; and the manifest calls its last commit durable.
#[must_use]
pub fn is_at_rest(fs: &SimFs) -> bool {
    let Some(end) = End::of(fs) else { return false };
    if Commits::of(fs).is_none_or(|commits| commits.witnessed().is_none()) {
        return false;
    }
    let last = end.frames.iter().filter(|f| !f.witness).map(|f| f.number).max();
    let known = |last: u64| last < end.state.wal.next_frame.0 || last <= end.state.wal.synced_through.0;
    last.is_none_or(|last| known(last) && end.frames.iter().any(|f| f.witness && f.synced_through == last))
}

/// Whether damage to this bit may pass for the end of log or manifest, which a crash may leave so: nothing on the disk
/// says that what lies there was durable but that itself.
#[must_use]
pub fn may_be_cut(disk: &SimFs, path: &Path, bit: u64) -> bool {
    let byte = bit / 8;
    let last = Commits::of(disk).filter(|commits| commits.path == path && (commits.at..commits.end).contains(&byte));
    if let Some(commits) = last {
        return commits.witnessed().is_none();
    }
    let Some(end) = End::of(disk) else { return false };
    // A bad header takes all frames of its file; with a witness nothing else is lost.
    let hit = |f: &&Frame| !f.witness && f.path == path && (byte < FILE_HEADER || (f.at..f.at + f.len).contains(&byte));
    let Some(first) = end.frames.iter().filter(hit).map(|f| f.number).min() else { return false };
    let others = end.frames.iter().filter(|f| f.sound && !hit(f)).map(|f| f.synced_through);
    let begun = end.files.iter().filter(|(_, file)| file != path || byte >= FILE_HEADER);
    let begun =
        begun.filter_map(|(_, file)| Some(u64::from_le_bytes(disk.map(file).ok()?.get(56..64)?.try_into().ok()?)));
    others.chain(begun).chain([end.state.wal.synced_through.0]).max() < Some(first)
}

/// Writes zeros over a file from a place on. What never had other bytes stays as it is.
fn wipe(disk: &SimFs, path: &Path, from: u64) {
    let written = disk.map(path).expect("it is there");
    let end = written.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    let zeros = vec![0; end.saturating_sub(from as usize)];
    disk.open(path).and_then(|file| file.write_all_at(from, &zeros)).expect("it is there");
}

/// Damage that was not refused as it should be.
#[derive(Debug)]
pub struct Passed {
    /// In words.
    pub what: String,
    /// The damaged disk.
    pub disk: SimFs,
    /// What it should do.
    pub must: Must,
}

/// What an opening says of damage to the log, and to the manifest.
pub const OF_LOG: &str = "WAL file";
/// As above.
pub const OF_MANIFEST: &str = "MANIFEST";

/// Opens a damaged disk, which must be refused with a word.
///
/// # Errors
/// [`Passed`] where it is not: `what` was done to it.
pub fn refuses(disk: &SimFs, durability: Durability, word: &'static str, what: &str) -> Result<(), Passed> {
    let opened = disk.kill();
    let said = match store::open(&opened, durability) {
        Err(e) if e.to_string().contains(word) => return Ok(()),
        Err(e) => format!("the refusal does not name it: {e}"),
        Ok(engine) => {
            let _next = opened.next_process();
            let _ = engine.close();
            "it was cut without a word".to_owned()
        }
    };
    Err(Passed { what: format!("{what}, and {said}"), disk: disk.kill(), must: Must::Refuse(word) })
}

/// Damages what is known to have been durable at the end of the log: a bit of the frame that a witness calls durable;
/// the last file that the manifest knows, cut short or gone; everything from a frame on that the manifest calls durable,
/// with what says so behind it. The store must refuse each. Answers how often it did.
///
/// # Errors
/// Says what was cut without a word.
pub fn damage(disk: &SimFs, durability: Durability, rng: &mut Rng) -> Result<u64, Passed> {
    // Between two renames the last file has another name, and the one before would be taken for it.
    let disk = &disk.kill();
    tidegauge_storage::wal::finish_renaming(disk, Path::new("memory/wal")).expect("nothing fails here");
    let Some(end) = End::of(disk) else { return Ok(0) };
    let mut refused = 0;
    let mut check = |what: String, change: &mut dyn FnMut(&SimFs)| {
        let disk = disk.kill();
        change(&disk);
        refuses(&disk, durability, OF_LOG, &what)?;
        refused += 1;
        Ok(())
    };
    if let Some(frame) = end.witnessed() {
        let bit = frame.at * 8 + rng.below(frame.len * 8);
        let what = format!("frame {} of {} was witnessed", frame.number, frame.path.display());
        check(what, &mut |disk| disk.flip(&frame.path, bit).expect("it is there"))?;
    }
    let noted = end.noted();
    if !noted.is_empty() {
        let frame = noted[rng.below(noted.len() as u64) as usize];
        let what =
            format!("frame {} of {} was durable and is wiped with all behind", frame.number, frame.path.display());
        check(what, &mut |disk| {
            wipe(disk, &frame.path, frame.at);
            end.files.iter().filter(|(_, path)| *path > frame.path).for_each(|(_, path)| wipe(disk, path, 4096));
        })?;
    }
    let known = end.state.wal.files.last_key_value();
    if let Some((epoch, bytes)) = known.filter(|(epoch, _)| end.files.last().is_some_and(|(last, _)| last == *epoch)) {
        let path = Path::new(DIR).join("wal").join(epoch.file_name());
        let what = |how: &str| format!("{} was durable and is {how}", path.display());
        check(what("gone"), &mut |disk| disk.remove(&path).expect("it is there"))?;
        if *bytes > 0 {
            let len = rng.below(*bytes);
            let cut = |disk: &SimFs| disk.open(&path).and_then(|file| file.set_len(len));
            check(what("cut short"), &mut |disk| cut(disk).expect("it is there"))?;
        }
    }
    Ok(refused)
}
