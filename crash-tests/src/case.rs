//! A crash point that broke a promise, written to a real disk: to be looked at, and opened again.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{fs, io};

use tidegauge::Durability;
use tidegauge_storage::fs::Fs;
use tidegauge_storage::fs::sim::SimFs;

use crate::examine::Violation;
use crate::store;

/// Where in a case its verdict lies.
const EXPECTED: &str = "expected.txt";

/// Writes the disk and what was allowed on it to the folder `dir`.
///
/// # Errors
/// What the operating system says.
pub fn save(violation: &Violation, dir: &Path) -> io::Result<()> {
    for (path, _) in violation.disk.files() {
        let target = dir.join(&path);
        fs::create_dir_all(target.parent().unwrap_or(dir))?;
        fs::write(&target, &*violation.disk.map(&path)?)?;
    }
    let mut text = format!("{}\n{}\n{}\n", violation.durability, violation.what, violation.trail);
    for allowed in violation.expected.lanes.iter().chain([&violation.expected.metadata]) {
        let _ = write!(text, "{}", allowed.floor);
        for hash in &allowed.hashes {
            let _ = write!(text, " {hash:016x}");
        }
        text.push('\n');
    }
    fs::write(dir.join(EXPECTED), text)
}

/// Opens a saved disk again. Answers what was wrong with it, and what is found now.
///
/// # Errors
/// If the case cannot be read.
pub fn replay(dir: &Path) -> io::Result<(String, String)> {
    let text = fs::read_to_string(dir.join(EXPECTED))?;
    let mut lines = text.lines();
    let durability: Durability = lines.next().and_then(|d| d.parse().ok()).ok_or(io::ErrorKind::InvalidData)?;
    let what = lines.next().unwrap_or_default().to_owned();
    let allowed: Vec<(usize, Vec<u64>)> = lines.skip(1).filter_map(allowed_of).collect();
    let disk = SimFs::new();
    load(&disk, dir, Path::new(""))?;
    let lanes = allowed.len().saturating_sub(1);
    let found = match store::open(&disk, durability) {
        Err(e) => format!("it does not open: {e}"),
        Ok(engine) => match store::read(&engine, lanes) {
            Err(e) => format!("it cannot be read: {e}"),
            Ok(read) => {
                let hashes = read.found.lanes.iter().chain([&read.found.metadata]);
                let one =
                    |(hash, (floor, hashes)): (&u64, &(usize, Vec<u64>))| match hashes.iter().position(|h| h == hash) {
                        Some(i) => format!("{} operations", floor + i),
                        None => format!("none of the {} states from {floor} operations on", hashes.len()),
                    };
                let judged = hashes.zip(&allowed).map(one).collect::<Vec<_>>().join("; ");
                format!("{judged}; there are {}", read.summary())
            }
        },
    };
    Ok((what, found))
}

fn allowed_of(line: &str) -> Option<(usize, Vec<u64>)> {
    let mut words = line.split(' ');
    let floor = words.next()?.parse().ok()?;
    Some((floor, words.filter_map(|word| u64::from_str_radix(word, 16).ok()).collect()))
}

fn load(disk: &SimFs, dir: &Path, inside: &Path) -> io::Result<()> {
    for entry in fs::read_dir(dir.join(inside))? {
        let entry = entry?;
        let path: PathBuf = inside.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            disk.create_dir_all(&path)?;
            load(disk, dir, &path)?;
        } else if path != Path::new(EXPECTED) {
            disk.create(&path)?.write_all_at(0, &fs::read(entry.path())?)?;
        }
    }
    Ok(())
}
