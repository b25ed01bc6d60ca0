//! What was durable at the end of the manifest, and is damaged now: it must be refused, and not taken for a torn commit.

use std::path::{Path, PathBuf};

use tidegauge::Durability;
use tidegauge_storage::fs::Fs;
use tidegauge_storage::fs::sim::SimFs;

use crate::end::{OF_MANIFEST, Passed, refuses};
use crate::script::Rng;

/// As `docs/format/manifest.md` has it: where the witness and the first commit lie, and what a commit begins with.
const WITNESS: usize = 48;
const COMMITS: usize = 64;
const HEADER: usize = 16;

/// What is done to a disk, in words and in deed.
type Damage<'a> = (String, &'a dyn Fn(&SimFs));

/// The manifest's commits, and what it says itself of them.
pub struct Commits {
    pub(crate) path: PathBuf,
    /// The number that the witness has, if it is sound.
    witnessed: Option<u64>,
    last: u64,
    /// Where the last one lies, without padding.
    pub(crate) at: u64,
    pub(crate) end: u64,
}

impl Commits {
    /// `None` if there is none that can be read.
    #[must_use]
    pub fn of(fs: &SimFs) -> Option<Self> {
        let path = Path::new("memory/MANIFEST").to_owned();
        let bytes = fs.map(&path).ok().filter(|bytes| bytes.len() >= COMMITS)?;
        let u32_at = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"));
        let u64_at = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"));
        let seed = crc32c::crc32c(&bytes[16..48]);
        let is_sound = |at: usize, end: usize| {
            bytes.get(at + 4..end).is_some_and(|behind| crc32c::crc32c_append(seed, behind) == u32_at(at))
        };
        let witnessed = is_sound(WITNESS, COMMITS).then(|| u64_at(WITNESS + 8));
        let (mut at, mut found) = (COMMITS, None);
        while at + HEADER <= bytes.len() {
            let end = at + HEADER + u32_at(at + 4) as usize;
            if u64_at(at + 8) == 0 || !is_sound(at, end) {
                break;
            }
            let last = u64_at(at + 8);
            found = Some(Self { path: path.clone(), witnessed, last, at: at as u64, end: end as u64 });
            at = end.next_multiple_of(8);
        }
        found
    }

    /// The last commit, if the manifest itself calls it durable.
    #[must_use]
    pub fn witnessed(&self) -> Option<u64> {
        self.witnessed.filter(|number| *number == self.last)
    }
}

/// Whether the manifest on this disk calls commit `number`, or one behind it, durable itself.
///
/// # Errors
/// Says that it does not.
pub fn check(disk: &SimFs, number: u64) -> Result<(), String> {
    match Commits::of(disk) {
        // It was never closed; a witness may be torn then.
        _ if number == 0 => Ok(()),
        // Whoever opens the store says what is wrong then.
        None => Ok(()),
        Some(found) if found.witnessed.is_some_and(|witnessed| witnessed >= number) => Ok(()),
        Some(found) => Err(format!(
            "the manifest was closed with commit {number}, and the witness says {:?} of {} commits",
            found.witnessed, found.last
        )),
    }
}

/// Where the manifest calls its last commit durable: turns a bit of it over, cuts the file off, or wipes its end. The
/// store must refuse each. Answers how often it did.
///
/// # Errors
/// Says what was taken for a torn commit.
pub fn damage(disk: &SimFs, durability: Durability, rng: &mut Rng) -> Result<u64, Passed> {
    let Some((commits, last)) = Commits::of(disk).and_then(|found| found.witnessed().map(|last| (found, last))) else {
        return Ok(0);
    };
    let Commits { path, at, end, .. } = &commits;
    let bit = at * 8 + rng.below((end - at) * 8);
    let cut = COMMITS as u64 + rng.below(end - COMMITS as u64);
    let wiped = COMMITS as u64 + rng.below(at + 1 - COMMITS as u64);
    let change: [Damage<'_>; 3] = [
        (format!("bit {bit} is turned over"), &|disk| disk.flip(path, bit).expect("it is there")),
        (format!("it is cut to {cut} bytes"), &|disk| {
            disk.open(path).and_then(|file| file.set_len(cut)).expect("it is there");
        }),
        (format!("it is wiped from {wiped} on"), &|disk| {
            let zeros = vec![0; (end - wiped) as usize];
            disk.open(path).and_then(|file| file.write_all_at(wiped, &zeros)).expect("it is there");
        }),
    ];
    for (what, change) in &change {
        let disk = disk.kill();
        change(&disk);
        refuses(&disk, durability, OF_MANIFEST, &format!("commit {last} of the manifest was durable, {what}"))?;
    }
    Ok(change.len() as u64)
}
