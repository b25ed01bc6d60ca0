//! A crash point that broke a promise, written to a real disk: to be looked at, and opened again.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::{fs, io};

use tidegauge::Durability;
use tidegauge_storage::fs::Fs;
use tidegauge_storage::fs::sim::SimFs;

use crate::end::{OF_LOG, OF_MANIFEST, refuses};
use crate::examine::{Must, Violation, is_kept};
use crate::mends::settle;
use crate::numbers::{self, Numbers};
use crate::oracle::{Allowed, Copy, Expected, Found};
use crate::script::Rng;
use crate::{store, twice};

/// Where in a case its verdict lies.
const EXPECTED: &str = "expected.txt";
/// Ends of the first opening, each with a second one behind it.
const TWICE: u64 = 16;

/// What was wrong, and what is found now.
#[derive(Debug)]
pub struct Replayed {
    /// What was wrong.
    pub then: String,
    /// What is right now, or else what is wrong.
    pub now: Result<String, String>,
}

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
    let line = |text: &str| text.replace('\n', " ");
    let Violation { what, trail, must, expected, durability, .. } = violation;
    let must = match must {
        Must::Open => "open".to_owned(),
        Must::Refuse(word) => format!("refuse {word}"),
        Must::Either => "either".to_owned(),
    };
    let mut text = format!("{durability}\n{}\n{}\n{must}\n", line(what), line(trail));
    let mut add = |key: &str, words: &mut dyn Iterator<Item = String>| {
        let _ = writeln!(text, "{key} {}", words.collect::<Vec<_>>().join(" "));
    };
    let states = |allowed: &Allowed| {
        let hashes = allowed.hashes.iter().map(|hash| format!("{hash:016x}"));
        std::iter::once(allowed.floor.to_string()).chain(hashes).collect::<Vec<_>>()
    };
    expected.lanes.iter().for_each(|lane| add("lane", &mut states(lane).into_iter()));
    add("metadata", &mut states(&expected.metadata).into_iter());
    add("acts", &mut std::iter::once(expected.acts.to_string()));
    add("witnessed", &mut std::iter::once(expected.witnessed.to_string()));
    for (key, all) in [("barrier", &expected.barriers), ("atomic", &expected.atomics)] {
        all.iter().for_each(|lanes| add(key, &mut lanes.iter().map(usize::to_string)));
    }
    for (nth, Numbers { lasts, marks }) in expected.numbers.iter().enumerate() {
        for (n, series, seq) in lasts {
            // No sample has number 0.
            let words = [nth as u64, *n as u64, (*series).into(), seq.unwrap_or(0)];
            add("number", &mut words.iter().map(u64::to_string));
        }
        for (seq, n) in marks {
            add("mark", &mut [nth as u64, *seq, *n as u64].iter().map(u64::to_string));
        }
    }
    for (finished, Copy { dir, found }) in &expected.copies {
        let hashes = std::iter::once(&found.metadata).chain(&found.lanes).map(|hash| format!("{hash:016x}"));
        let key = if *finished { "copy" } else { "begun" };
        add(key, &mut std::iter::once(dir.display().to_string()).chain(hashes));
    }
    fs::write(dir.join(EXPECTED), text)
}

/// Opens a saved disk again.
///
/// # Errors
/// If the case cannot be read.
pub fn replay(dir: &Path) -> io::Result<Replayed> {
    let case = read(&fs::read_to_string(dir.join(EXPECTED))?).ok_or(io::ErrorKind::InvalidData)?;
    let disk = SimFs::new();
    load(&disk, dir, Path::new(""))?;
    settle(&disk).map_err(|e| io::Error::other(e.0))?;
    let case = Violation { disk, ..case };
    Ok(Replayed { now: judge(&case), then: case.what })
}

fn judge(case: &Violation) -> Result<String, String> {
    let Violation { disk, expected, durability, .. } = case;
    if let Must::Refuse(word) = case.must {
        let refused = refuses(disk, *durability, word, "it is damaged");
        return refused.map(|()| "it is refused".to_owned()).map_err(|passed| passed.what);
    }
    let look = || {
        let disk = disk.kill();
        let engine = store::open(&disk, *durability).map_err(|e| format!("it does not open: {e}"))?;
        let read = store::read(&engine, expected.lanes.len()).map_err(|e| format!("it cannot be read: {e}"))?;
        Ok::<_, String>((disk, engine, read))
    };
    let seen = look();
    if let (Must::Either, Err(refused)) = (case.must, &seen) {
        return Ok(refused.clone());
    }
    let (disk, engine, read) = seen?;
    let _next = disk.next_process();
    let _ = engine.close();
    let found = format!("there are {}", read.summary());
    let prefix = expected.check(&read.found).map_err(|e| format!("{e}; {found}"))?;
    if case.must == Must::Open {
        is_kept(&case.disk, expected)?;
        let known = expected.known(&prefix);
        for mut rng in (0..TWICE).map(Rng) {
            let (disk, engine, read) = look()?;
            numbers::judge(&engine, &known, &mut rng)?;
            twice::open_again(&disk, engine, (read, &known), *durability, &mut rng)?;
        }
    }
    Ok(format!("{prefix:?}; {found}"))
}

/// `None` if that is no case.
fn read(text: &str) -> Option<Violation> {
    let mut lines = text.lines();
    let durability: Durability = lines.next()?.parse().ok()?;
    let (what, trail) = (lines.next()?.to_owned(), lines.next()?.to_owned());
    let must = match lines.next()? {
        "open" => Must::Open,
        "either" => Must::Either,
        other => {
            let word = other.strip_prefix("refuse ")?;
            Must::Refuse([OF_LOG, OF_MANIFEST].into_iter().find(|known| *known == word)?)
        }
    };
    let mut expected = Expected::default();
    let (mut barriers, mut atomics, mut of_lanes) = (Vec::new(), Vec::new(), Vec::<Numbers>::new());
    for line in lines {
        let (key, rest) = line.split_once(' ')?;
        let words = || rest.split_whitespace();
        let numbers = || words().map(|word| word.parse().ok()).collect::<Option<Vec<usize>>>();
        let hashes = || words().skip(1).map(|word| u64::from_str_radix(word, 16).ok()).collect::<Option<Vec<u64>>>();
        let states = || Some(Allowed { floor: words().next()?.parse().ok()?, hashes: hashes()? });
        match key {
            "lane" => {
                expected.lanes.push(states()?);
                of_lanes.push(Numbers::default());
            }
            "number" => match numbers()?[..] {
                [nth, n, series, seq] => {
                    let seq = (seq > 0).then_some(seq as u64);
                    of_lanes.get_mut(nth)?.lasts.push((n, series as u8, seq));
                }
                _ => return None,
            },
            "mark" => match numbers()?[..] {
                [nth, seq, n] => of_lanes.get_mut(nth)?.marks.push((seq as u64, n)),
                _ => return None,
            },
            "metadata" => expected.metadata = states()?,
            "acts" => expected.acts = rest.parse().ok()?,
            "witnessed" => expected.witnessed = rest.parse().ok()?,
            "barrier" => barriers.push(numbers()?),
            "atomic" => atomics.push(numbers()?),
            "copy" | "begun" => {
                let mut lanes = hashes()?;
                let found = Found { metadata: lanes.remove(0), lanes };
                let copy = Copy { dir: PathBuf::from(words().next()?), found };
                expected.copies.push((key == "copy", copy));
            }
            _ => return None,
        }
    }
    (expected.barriers, expected.atomics, expected.numbers) =
        (Arc::new(barriers), Arc::new(atomics), Arc::new(of_lanes));
    Some(Violation { what, trail, disk: SimFs::new(), must, expected, durability })
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::campaign::{anyone, record};
    use crate::oracle::Death;
    use crate::script::{Script, Step};

    /// A finished workload of two lanes with an atomic batch and a copy, and what is expected of it.
    fn case() -> Violation {
        let (count, push) = (Step::Increment(2), Step::Push(3));
        let steps = vec![Step::Push(9), Step::Batch(4), count, Step::Flush, Step::Backup, push, Step::Rest];
        let durability = Durability::Sync;
        let recorded = record(&Script { seed: 5, lanes: 2, durability, steps }, anyone).unwrap();
        let mut timeline = recorded.timeline;
        while !timeline.is_over() {
            timeline.advance();
        }
        let expected = recorded.history.expected(timeline.at(), Death::PowerLoss);
        let (what, trail) = ("what\nwas wrong".to_owned(), String::new());
        Violation { what, trail, disk: timeline.kill(), must: Must::Open, expected, durability }
    }

    fn again(case: &Violation) -> Result<String, String> {
        let dir = tempfile::tempdir().unwrap();
        save(case, dir.path()).unwrap();
        let saved = read(&fs::read_to_string(dir.path().join(EXPECTED)).unwrap()).unwrap();
        assert_eq!(format!("{:?}", saved.expected), format!("{:?}", case.expected), "all of it is saved");
        let Replayed { then, now } = replay(dir.path()).unwrap();
        assert_eq!(then, "what was wrong");
        now
    }

    #[test]
    fn a_case_that_is_mended_replays_as_right_and_one_that_is_not_as_broken() {
        let case = case();
        again(&case).unwrap();
        let change = |change: &dyn Fn(&mut Expected)| {
            let mut expected = case.expected.clone();
            change(&mut expected);
            again(&Violation {
                disk: case.disk.kill(),
                expected,
                what: case.what.clone(),
                trail: String::new(),
                ..case
            })
        };
        for broken in [
            change(&|e| e.lanes[0].hashes.iter_mut().for_each(|hash| *hash ^= 1)),
            change(&|e| e.acts += 1000),
            change(&|e| e.witnessed += 1000),
            change(&|e| e.copies[0].1.found.metadata ^= 1),
            change(&|e| e.barriers = Arc::new(vec![vec![0, usize::MAX]])),
            change(&|e| e.atomics = Arc::new(vec![vec![0, usize::MAX]])),
            change(&|e| {
                let numbers = Arc::make_mut(&mut e.numbers);
                (numbers[0].marks, numbers[1].marks) = (vec![(2, 0)], vec![(1, usize::MAX)]);
            }),
            change(&|e| {
                for last in &mut Arc::make_mut(&mut e.numbers)[0].lasts {
                    last.2 = last.2.map(|seq| seq + 1);
                }
            }),
        ] {
            broken.unwrap_err();
        }
    }

    #[test]
    fn damage_that_is_to_be_refused_replays_as_broken_until_it_is() {
        let mut case = case();
        case.must = Must::Refuse(OF_MANIFEST);
        again(&case).unwrap_err();
        case.disk.flip(Path::new("memory/MANIFEST"), 70 * 8).unwrap();
        again(&case).unwrap();
        case.must = Must::Either;
        again(&case).unwrap();
        case.must = Must::Open;
        again(&case).unwrap_err();
    }
}
