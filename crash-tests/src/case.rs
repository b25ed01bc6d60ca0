//! A crash point that broke a promise, written to a real disk: to be looked at, and opened again.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::{fs, io};

use tidegauge::Durability;
use tidegauge_storage::fs::Fs;
use tidegauge_storage::fs::sim::SimFs;

use crate::end::{OF_LOG, OF_MANIFEST, refuses};
use crate::examine::{Counts, Depth, Later, Must, Violation, go_on, is_kept};
use crate::faults::Rule;
use crate::flips::Kept;
use crate::mends::settle;
use crate::numbers::{self, Numbers};
use crate::oracle::{Allowed, Contents, Copy, Expected, Found, Key};
use crate::script::Rng;
use crate::{store, twice};

/// Where in a case its verdict lies.
const EXPECTED: &str = "expected.txt";
/// What may come back where the end of log or manifest may be cut, and the samples that a salvage is judged by.
const CUT: &str = "cut.txt";
const SAMPLES: &str = "samples.txt";
const WAS: &str = "was";
/// What is damaged: anything, or the manifest alone, beside a log that has all that segments lack; and there behind deletes.
const RULES: [(&str, Rule); 3] = [("turned", Rule::Told), ("logged", Rule::Logged), ("exact", Rule::Exact)];
const PUSHED: &str = "pushed";
/// Second openings, and engines that go on.
const TIMES: u64 = 16;
/// Crashes of each of those.
const POINTS: u64 = 4;

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
    let Violation { what, trail, must, again, expected, durability, .. } = violation;
    let (must, kept) = match must {
        Must::Open => ("open".to_owned(), None),
        Must::Refuse(word) => (format!("refuse {word}"), None),
        Must::Turned(kept) => {
            let (word, _) = RULES.into_iter().find(|(_, rule)| *rule == kept.rule).expect("each has a word");
            (format!("{word} {} {} {}", kept.bit, kept.seed, kept.path.display()), Some(kept))
        }
    };
    let again = again.map_or_else(|| "-".to_owned(), |again| again.to_string());
    let head = format!("{durability}\n{}\n{}\n{must}\n{again}\n", line(what), line(trail));
    fs::write(dir.join(EXPECTED), head + &write_expected(expected))?;
    if let Some(kept) = kept {
        if let Some(cut) = &kept.cut {
            fs::write(dir.join(CUT), write_expected(cut))?;
        }
        let was = kept.was.iter().flat_map(|lane| &lane.samples).map(|(key, bits)| (WAS, key, bits));
        let pushed = kept.pushed.iter().map(|(key, bits)| (PUSHED, key, bits));
        let line =
            |(which, (lane, series, at), bits): (&str, &Key, &u64)| format!("{which} {lane} {series} {at} {bits}\n");
        fs::write(dir.join(SAMPLES), was.chain(pushed).map(line).collect::<String>())?;
    }
    Ok(())
}

fn write_expected(expected: &Expected) -> String {
    let mut text = String::new();
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
    text
}

/// Opens a saved disk again.
///
/// # Errors
/// If the case cannot be read.
pub fn replay(dir: &Path) -> io::Result<Replayed> {
    let case = read(dir, &fs::read_to_string(dir.join(EXPECTED))?)?.ok_or(io::ErrorKind::InvalidData)?;
    let disk = SimFs::new();
    load(&disk, dir, Path::new(""))?;
    settle(&disk).map_err(|e| io::Error::other(e.0))?;
    let case = Violation { disk, ..case };
    Ok(Replayed { now: judge(&case), then: case.what })
}

fn judge(case: &Violation) -> Result<String, String> {
    let Violation { expected, durability, .. } = case;
    match &case.must {
        Must::Open => {}
        Must::Refuse(word) => {
            let refused = refuses(&case.disk, *durability, word, "it is damaged");
            return refused.map(|()| "it is refused".to_owned()).map_err(|passed| passed.what);
        }
        Must::Turned(kept) => {
            return kept.again(&case.disk, expected, *durability).map(|rot| format!("it is {rot:?}"));
        }
    }
    let look = |goes_on: bool| {
        let disk = case.disk.kill();
        if goes_on {
            disk.record();
        }
        let engine = store::open(&disk, *durability).map_err(|e| format!("it does not open: {e}"))?;
        if goes_on {
            store::settle(&engine)?;
        }
        let read = store::read(&engine, expected.lanes.len()).map_err(|e| format!("it cannot be read: {e}"))?;
        let found = format!("there are {}", read.summary());
        let prefix = expected.check(&read.found).map_err(|e| format!("{e}; {found}"))?;
        Ok::<_, String>((disk, engine, read, prefix))
    };
    is_kept(&case.disk, expected)?;
    for mut rng in (0..TIMES).map(Rng) {
        let (disk, engine, read, prefix) = look(false)?;
        let known = expected.known(&prefix);
        numbers::judge(&engine, &known, &mut rng)?;
        twice::open_again(&disk, engine, (read, &known), *durability, &mut rng)?;
    }
    // As it went then, as often as anything else: threads race.
    let (depth, counts) =
        (Depth { levels: 1, one_in: 1, points: POINTS, twice_one_in: 1, audit: true }, Counts::default());
    let again = case.again.into_iter().cycle().take(TIMES as usize);
    for mut rng in again.chain(0..TIMES).map(Rng) {
        let (disk, engine, read, prefix) = look(true)?;
        let left = expected.exactly(&prefix).left(&prefix);
        go_on((disk, engine, read), left, *durability, &mut rng, depth, &counts).map_err(|later| match later {
            Later::Here(what) => what,
            Later::Then(violation) => format!("{} ({})", violation.what, violation.trail),
        })?;
    }
    let (disk, engine, read, prefix) = look(false)?;
    let _next = disk.next_process();
    let _ = engine.close();
    Ok(format!("{prefix:?}; there are {}", read.summary()))
}

/// `None` if that is no case.
fn read(dir: &Path, text: &str) -> io::Result<Option<Violation>> {
    let mut lines = text.lines();
    let mut head = || lines.next().unwrap_or_default();
    let (durability, what, trail, must, again) = (head(), head().to_owned(), head().to_owned(), head(), head());
    let (Ok(durability), Some(expected)) = (durability.parse::<Durability>(), read_expected(lines)) else {
        return Ok(None);
    };
    let must = match must.split_once(' ') {
        None if must == "open" => Some(Must::Open),
        Some(("refuse", word)) => [OF_LOG, OF_MANIFEST].into_iter().find(|known| *known == word).map(Must::Refuse),
        Some((word, rest)) => match RULES.into_iter().find(|(known, _)| *known == word) {
            Some((_, rule)) => {
                let kept = read_turned(dir, rest, expected.lanes.len())?;
                kept.map(|kept| Must::Turned(Box::new(Kept { rule, ..kept })))
            }
            None => None,
        },
        None => None,
    };
    let (disk, again) = (SimFs::new(), again.parse().ok());
    Ok(must.map(|must| Violation { what, trail, disk, must, again, expected, durability }))
}

fn read_turned(dir: &Path, text: &str, lanes: usize) -> io::Result<Option<Kept>> {
    let cut = match fs::read_to_string(dir.join(CUT)) {
        Ok(text) => read_expected(text.lines()),
        Err(_) => None,
    };
    let samples = fs::read_to_string(dir.join(SAMPLES))?;
    let read = || {
        let mut words = text.splitn(3, ' ');
        let (bit, seed) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
        let path = PathBuf::from(words.next()?);
        let (mut was, mut pushed) = (vec![Contents::default(); lanes], HashSet::new());
        for line in samples.lines() {
            let mut words = line.split(' ');
            let which = words.next()?;
            let (lane, series): (u8, u8) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
            let (key, bits) = ((lane, series, words.next()?.parse().ok()?), words.next()?.parse().ok()?);
            match which {
                WAS => was.get_mut(usize::from(lane))?.put(key, bits),
                PUSHED => drop(pushed.insert((key, bits))),
                _ => return None,
            }
        }
        Some(Kept { path, bit, seed, cut, was, pushed, rule: Rule::Told })
    };
    Ok(read())
}

fn read_expected<'a>(lines: impl Iterator<Item = &'a str>) -> Option<Expected> {
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
    Some(expected)
}

fn load(disk: &SimFs, dir: &Path, inside: &Path) -> io::Result<()> {
    for entry in fs::read_dir(dir.join(inside))? {
        let entry = entry?;
        let path: PathBuf = inside.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            disk.create_dir_all(&path)?;
            load(disk, dir, &path)?;
        } else if [EXPECTED, CUT, SAMPLES].iter().all(|ours| path != Path::new(ours)) {
            disk.create(&path)?.write_all_at(0, &fs::read(entry.path())?)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use tidegauge_storage::manifest::Manifest;
    use tidegauge_storage::segment::{file_name, first_id};

    use super::*;
    use crate::campaign::{anyone, record};
    use crate::oracle::Death;
    use crate::script::{Script, Step};

    /// A finished workload of two lanes with an atomic batch, an increment and a copy, what is expected of it, and all
    /// that it pushed.
    fn case() -> (Violation, HashSet<(Key, u64)>) {
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
        let disk = timeline.kill();
        (Violation { what, trail, disk, must: Must::Open, again: Some(7), expected, durability }, recorded.pushed)
    }

    fn again(case: &Violation) -> Result<String, String> {
        let dir = tempfile::tempdir().unwrap();
        save(case, dir.path()).unwrap();
        let saved = read(dir.path(), &fs::read_to_string(dir.path().join(EXPECTED)).unwrap()).unwrap().unwrap();
        assert_eq!(format!("{:?}", saved.expected), format!("{:?}", case.expected), "all of it is saved");
        let Replayed { then, now } = replay(dir.path()).unwrap();
        assert_eq!(then, "what was wrong");
        now
    }

    #[test]
    fn a_case_that_is_mended_replays_as_right_and_one_that_is_not_as_broken() {
        let (case, _) = case();
        again(&case).unwrap();
        let change = |change: &dyn Fn(&mut Expected)| {
            let mut expected = case.expected.clone();
            change(&mut expected);
            let (what, trail, disk) = (case.what.clone(), String::new(), case.disk.kill());
            let (must, durability) = (Must::Open, case.durability);
            again(&Violation { what, trail, disk, must, again: None, expected, durability })
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
        let (mut case, pushed) = case();
        case.must = Must::Refuse(OF_MANIFEST);
        again(&case).unwrap_err();
        let engine = store::open(&case.disk.kill(), case.durability).unwrap();
        let was = store::read(&engine, 2).unwrap().lanes;
        engine.close().unwrap();
        let (path, bit) = (PathBuf::from("memory/MANIFEST"), 70 * 8);
        case.disk.flip(&path, bit).unwrap();
        again(&case).unwrap();
        case.must = Must::Open;
        again(&case).unwrap_err();
        let kept =
            |pushed| Kept { path: path.clone(), bit, seed: 1, cut: None, was: was.clone(), pushed, rule: Rule::Logged };
        case.must = Must::Turned(Box::new(kept(pushed)));
        again(&case).unwrap();
        // What a salvage saves is judged again, too.
        case.must = Must::Turned(Box::new(kept(HashSet::new())));
        assert!(again(&case).unwrap_err().contains("never pushed"));
    }

    /// Such a case was opened, found right, and passed for mended.
    #[test]
    fn a_recovered_engine_that_cannot_go_on_replays_as_broken() {
        let (durability, steps) = (Durability::Sync, vec![Step::Push(9), Step::Flush, Step::Rest]);
        let recorded = record(&Script { seed: 5, lanes: 1, durability, steps }, anyone).unwrap();
        let mut timeline = recorded.timeline;
        while !timeline.is_over() {
            timeline.advance();
        }
        let expected = recorded.history.expected(timeline.at(), Death::PowerLoss);
        let (what, disk, must) = ("what was wrong".to_owned(), timeline.kill(), Must::Open);
        let writes = |seed: &u64| {
            matches!(Script::again(&mut Rng(*seed), durability).steps[..], [Step::Push(_), Step::Flush, ..])
        };
        let again_from = (0..).find(writes);
        let mut case = Violation { what, trail: String::new(), disk, must, again: again_from, expected, durability };
        again(&case).unwrap();
        // The next segment cannot be made.
        let disk = case.disk.kill();
        let manifest = Manifest::open_read_only(Arc::new(disk.clone()), "memory").unwrap();
        // An opening steps over names of the lower half that are taken: it begins with the first one of the upper half.
        let upper = first_id(manifest.state().open_number + 1) + (1 << 31);
        for name in [upper - 1, upper].map(file_name) {
            disk.create_dir_all(&Path::new("memory/segments").join(&name)).unwrap();
            disk.create(&Path::new("memory/segments").join(name).join("in the way")).unwrap();
        }
        case.disk = disk;
        let now = again(&case).unwrap_err();
        assert!(now.contains("recovered engine"), "{now}");
    }
}
