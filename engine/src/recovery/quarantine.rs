//! Where damaged files go: set aside under `quarantine/`, never deleted.

use std::io;
use std::path::{Path, PathBuf};

use tidegauge_storage::fs::{Fs, FsFile, is_exhausted, is_unreadable};

/// The folder inside the data directory.
pub(crate) const FOLDER: &str = "quarantine";

/// Bytes that are read at once.
const COPIED: usize = 1 << 20;

/// Gives a damaged file a name in quarantine that survives a power loss; only then may its old name go. One of the same
/// name that is there already is this very file, or another: a leftover's number is given again.
pub(crate) fn keep(fs: &dyn Fs, dir: &Path, file: &Path) -> io::Result<PathBuf> {
    let len = fs.open_read(file)?.len()?;
    keep_as(fs, dir, file, len, |kept| give_name(fs, file, kept))
}

/// Folders of a store; who puts something back by hand may put a file there.
const FOLDERS: [&str; 2] = ["segments", "wal"];

/// The files that have the name of a folder of the store in `dir`.
pub(crate) fn misplaced(fs: &dyn Fs, dir: &Path) -> Vec<PathBuf> {
    let is_file = |path: &PathBuf| fs.list(path).is_err_and(|e| e.kind() == io::ErrorKind::NotADirectory);
    FOLDERS.iter().map(|name| dir.join(name)).filter(is_file).collect()
}

/// As [`keep`], for a file of the log of which the end is cut: a copy of what is written of it, without the space that
/// is allocated behind. Where there is no room for one, or a page cannot be read, the file itself.
pub(crate) fn keep_written(fs: &dyn Fs, dir: &Path, file: &Path) -> io::Result<PathBuf> {
    let copy = |written| keep_as(fs, dir, file, written, |kept| copy_beginning(fs, file, kept, written).map(drop));
    match fs.open_read(file).and_then(|file| written(&*file)).and_then(copy) {
        Err(e) if is_exhausted(&e) || is_unreadable(&e) => keep(fs, dir, file),
        kept => kept,
    }
}

/// Bytes of a file up to the last that is not zero.
fn written(file: &dyn FsFile) -> io::Result<u64> {
    let mut end = file.len()?;
    let mut buffer = vec![0; COPIED];
    while end > 0 {
        let begin = end.saturating_sub(COPIED as u64);
        let block = &mut buffer[..(end - begin) as usize];
        read(file, begin, block)?;
        if let Some(last) = block.iter().rposition(|&byte| byte != 0) {
            return Ok(begin + last as u64 + 1);
        }
        end = begin;
    }
    Ok(0)
}

/// Keeps the first `len` bytes of a file, which `give` puts under a name.
fn keep_as(
    fs: &dyn Fs,
    dir: &Path,
    file: &Path,
    len: u64,
    give: impl Fn(&Path) -> io::Result<()>,
) -> io::Result<PathBuf> {
    let name = file.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    let folder = make_folder(fs, dir)?;
    let mut kept = folder.join(name);
    let mut others = 0;
    loop {
        match fs.open_read(&kept) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => break give(&kept)?,
            Err(e) => return Err(e),
            // Who gave it the name may have failed to make that durable, and no later sync does: it gets it anew.
            Ok(there) if is_same(&*there, &*fs.open_read(file)?, len) => {
                fs.remove(&kept)?;
                break give(&kept)?;
            }
            Ok(_) => {
                others += 1;
                kept = folder.join(format!("{}.{others}", name.display()));
            }
        }
    }
    fs.sync_dir(&folder)?;
    Ok(kept)
}

/// Makes the folder, with a name that lasts before anything is in it: where that cannot be made durable, the next try is
/// to make it anew.
pub(crate) fn make_folder(fs: &dyn Fs, dir: &Path) -> io::Result<PathBuf> {
    let folder = dir.join(FOLDER);
    fs.create_dir_all(&folder)?;
    fs.sync_dir(dir).inspect_err(|_| drop(fs.remove_dir(&folder)))?;
    Ok(folder)
}

/// As [`keep`], for a file whose name is used again: it gets a number behind it. What a try before has kept of this very
/// file keeps its number.
pub(crate) fn keep_numbered(fs: &dyn Fs, dir: &Path, file: &Path) -> io::Result<PathBuf> {
    let now = fs.open_read(file)?;
    let len = now.len()?;
    let is_it = |kept: &Path| fs.open_read(kept).is_ok_and(|there| is_same(&*there, &*now, len));
    keep_numbered_as(fs, dir, file, is_it, |kept| give_name(fs, file, kept))
}

/// The same of one that cannot be read; it loses the name that it had.
pub(crate) fn keep_unread(fs: &dyn Fs, dir: &Path, file: &Path) -> io::Result<PathBuf> {
    let kept = keep_numbered_as(
        fs,
        dir,
        file,
        |_| false,
        |kept| match fs.hard_link(file, kept) {
            Err(e) if has_no_links(&e) => fs.rename(file, kept),
            linked => linked,
        },
    )?;
    match fs.remove(file) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        _ => Ok(kept),
    }
}

fn keep_numbered_as(
    fs: &dyn Fs,
    dir: &Path,
    file: &Path,
    is_it: impl Fn(&Path) -> bool,
    give: impl Fn(&Path) -> io::Result<()>,
) -> io::Result<PathBuf> {
    let name = file.file_name().ok_or(io::ErrorKind::InvalidInput)?.to_string_lossy();
    let folder = make_folder(fs, dir)?;
    let taken = fs.list(&folder)?;
    let is_taken = |name: &String| taken.contains(name);
    let usable = |name: &String| !is_taken(name) || is_it(&folder.join(name));
    let name = (1..).map(|n: u64| format!("{name}.{n}")).find(usable).ok_or(io::ErrorKind::AlreadyExists)?;
    let kept = folder.join(&name);
    if is_taken(&name) {
        // As in [`keep_as`].
        fs.remove(&kept)?;
    }
    give(&kept)?;
    fs.sync_dir(&folder)?;
    Ok(kept)
}

fn has_no_links(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::Unsupported | io::ErrorKind::PermissionDenied)
}

fn give_name(fs: &dyn Fs, file: &Path, name: &Path) -> io::Result<()> {
    match fs.hard_link(file, name) {
        // No such thing on this file system.
        Err(e) if has_no_links(&e) => copy(fs, file, name).map(drop),
        linked => linked,
    }
}

/// Whether a file is known to hold the first `len` bytes of another. Where one cannot be read, both are worth keeping.
fn is_same(kept: &dyn FsFile, file: &dyn FsFile, len: u64) -> bool {
    let (mut left, mut right) = (vec![0; COPIED], vec![0; COPIED]);
    kept.len().is_ok_and(|kept| kept == len)
        && (0..len).step_by(COPIED).all(|at| {
            let n = COPIED.min((len - at) as usize);
            let both = read(kept, at, &mut left[..n]).and_then(|()| read(file, at, &mut right[..n]));
            both.is_ok() && left[..n] == right[..n]
        })
}

fn read(file: &dyn FsFile, mut at: u64, mut into: &mut [u8]) -> io::Result<()> {
    while !into.is_empty() {
        match file.read_at(at, into)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            n => (at, into) = (at + n as u64, &mut into[n..]),
        }
    }
    Ok(())
}

/// Copies a file under another name, whole or not at all. The caller syncs the folder.
pub(crate) fn copy(fs: &dyn Fs, from: &Path, to: &Path) -> io::Result<u64> {
    copy_beginning(fs, from, to, u64::MAX)
}

/// The same of its first bytes, at most `most`.
fn copy_beginning(fs: &dyn Fs, from: &Path, to: &Path, most: u64) -> io::Result<u64> {
    let mut temp = to.as_os_str().to_owned();
    temp.push(".tmp");
    let temp = PathBuf::from(temp);
    match fs.remove(&temp) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    let copied = copy_bytes(fs, from, &temp, most);
    if copied.is_err() {
        let _ = fs.remove(&temp);
    }
    let bytes = copied?;
    fs.rename(&temp, to)?;
    Ok(bytes)
}

/// The bytes of a file, at most so many, into one that is new, durably but for its name.
pub(crate) fn copy_bytes(fs: &dyn Fs, from: &Path, to: &Path, most: u64) -> io::Result<u64> {
    let (from, to) = (fs.open_read(from)?, fs.create(to)?);
    let mut buffer = vec![0; COPIED];
    let mut at = 0;
    while at < most {
        let wanted = (most - at).min(COPIED as u64) as usize;
        let n = from.read_at(at, &mut buffer[..wanted])?;
        if n == 0 {
            break;
        }
        to.write_all_at(at, &buffer[..n])?;
        at += n as u64;
    }
    to.sync_data()?;
    Ok(at)
}

#[cfg(test)]
mod tests {
    use tidegauge_storage::fs::sim::SimFs;

    use super::*;

    /// Each repair that ended behind it kept the same manifest once more.
    #[test]
    fn a_file_that_is_kept_again_with_a_number_keeps_that_and_another_one_gets_the_next() {
        let (fs, dir, file) = (SimFs::new(), Path::new("d"), Path::new("d/MANIFEST"));
        fs.create_dir_all(dir).unwrap();
        let damaged = fs.create(file).unwrap();
        for (bytes, name) in
            [(b"one", "MANIFEST.1"), (b"one", "MANIFEST.1"), (b"two", "MANIFEST.2"), (b"two", "MANIFEST.2")]
        {
            fs.remove(file).unwrap();
            fs.create(file).unwrap().write_all_at(0, bytes).unwrap();
            assert_eq!(keep_numbered(&fs, dir, file).unwrap(), dir.join(FOLDER).join(name));
        }
        drop(damaged);
        let kept = |name| fs.map(&dir.join(FOLDER).join(name)).unwrap().to_vec();
        assert_eq!((kept("MANIFEST.1"), kept("MANIFEST.2")), (b"one".to_vec(), b"two".to_vec()));
        // What is set aside because it cannot be read is never taken for another.
        assert!(keep_unread(&fs, dir, file).unwrap().ends_with("MANIFEST.3"));
    }

    /// The second try found the file kept already, and its sync had nothing left to write: the original went, and with the
    /// next power loss what was kept.
    #[test]
    fn p5_what_is_kept_again_behind_a_sync_that_failed_is_never_gone() {
        let (dir, file) = (Path::new("d"), Path::new("d/damaged"));
        let ways: [fn(&SimFs) -> io::Result<PathBuf>; 3] = [
            |fs| keep(fs, Path::new("d"), Path::new("d/damaged")),
            |fs| keep_written(fs, Path::new("d"), Path::new("d/damaged")),
            |fs| keep_numbered(fs, Path::new("d"), Path::new("d/damaged")),
        ];
        for (way, keep) in ways.into_iter().enumerate() {
            let mut failed = 0;
            for sync in 1.. {
                let fs = SimFs::new();
                fs.create_dir_all(dir).unwrap();
                let damaged = fs.create(file).unwrap();
                damaged.write_all_at(0, b"damaged").unwrap();
                damaged.sync_data().unwrap();
                fs.sync_dir(dir).unwrap();
                fs.sync_dir(Path::new("")).unwrap();
                let fails = fs.syncs() + sync;
                fs.fail_sync_at(fails);
                let kept = keep(&fs);
                if fs.syncs() < fails {
                    break;
                }
                failed += 1;
                // Or it was kept in another way.
                kept.or_else(|_| keep(&fs)).unwrap();
                fs.remove(file).unwrap();
                for seed in 0..24 {
                    let left = fs.crash(seed);
                    let mut names = left.files().into_iter().map(|(path, _)| path);
                    let has = |path: PathBuf| left.map(&path).is_ok_and(|bytes| bytes[..] == *b"damaged");
                    assert!(names.any(has), "way {way}, sync {sync}, {seed}: {left:?}");
                }
            }
            assert!(failed > 1, "way {way}: {failed}");
        }
    }
}
