//! Deletes and rules of retention that the audit log names, for a manifest that lost them.
//!
//! - AD1: A delete is taken if its line is whole, by its own checksum, and of this store: then it was acknowledged, and
//!   nothing takes a delete back but a restore, which has a line of its own. It has the number that it had, and so hides
//!   what it hid.
//! - AD2: Lines of other stores, damaged ones, and those of builds that wrote no checksum are not acted upon. They are
//!   counted, if they are deletes.
//! - AD3: A rule of retention is told and not taken: a later change may have found no room in the audit log.
//! - AD4: A file that the device cannot read, asked twice, is set aside, and told: as long as it lies there, nothing could be
//!   repaired. That is the last step of a repair, so that one which ends before finds it again. What may be read later (no
//!   more files may be open, no memory) is refused, and stays.
//! - AD5: A salvage reads it before it changes anything, and again when it knows of which store it is: one that it may not
//!   read, or that is no file, ends it while all is as it was.
//! - AD6: A salvage that ends behind its commit and before its report leaves a store that is whole, and nobody knows what was
//!   lost. So the next one tells the lines of salvages that no line says were told: one of those is written where who
//!   salvaged closes the engine himself, as he does once he has the report. Who only lets go of it has told nobody, an
//!   opening that did not salvage has not either, and what cannot be written is told twice. The audit log is bounded: a repair of so many segments that its lines turn
//!   the file over four times has turned its own first ones away, and those nobody tells.
//! - AD7: Of lines of salvages those count that are whole, and of this store; damaged ones are told by their number.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use tidegauge_query::promql;
use tidegauge_storage::fs::{Fs, is_unreadable, read_up_to};
use tidegauge_storage::model::{SeqNo, TimeRange, Timestamp, Tombstone};

use super::{Act, Entry, FILE_BYTES, FILE_NAME, FILES_KEPT};
use crate::error::OpenError;
use crate::recovery::{RecoveryReport, quarantine};

/// What the audit log says of deletes and retention.
#[derive(Debug, Default)]
pub(crate) struct Audited {
    /// Deletes of this store, oldest first.
    pub(crate) deletes: Vec<Tombstone>,
    /// Lines of deletes that cannot be acted upon.
    pub(crate) unsure: u64,
    /// The last rules of retention, and bytes at most.
    pub(crate) retention: Option<String>,
    /// Lines of salvages that nobody may have been told of, with how they name their store. Those of earlier builds do not.
    salvages: Vec<(String, String)>,
    /// Such lines that are damaged.
    damaged_salvages: u64,
    /// Files that the device cannot read, and what it says.
    unread: Vec<(PathBuf, String)>,
}

impl Audited {
    /// The key of the number of the opening that a salvage was.
    pub(crate) const OPENING: &str = "opening";

    /// Of a line that was written before anything told which store it is: of the one that lies there. No store has that number.
    pub(crate) const ANY_STORE: u128 = 0;

    /// Reads what there is in the directory of a store. A file that is not there says nothing, nor does one that the device
    /// cannot read (AD4).
    ///
    /// # Errors
    /// [`OpenError::Io`]: what cannot be read now may name deletes that nobody else knows.
    pub(crate) fn read(fs: &dyn Fs, dir: &Path, store_id: u128) -> Result<Self, OpenError> {
        let mut audited = Self::default();
        let older = (1..=FILES_KEPT).rev().map(|n| format!("{FILE_NAME}.{n}"));
        for name in older.chain([FILE_NAME.to_owned()]) {
            let path = dir.join(name);
            match read(fs, &path).or_else(|_| read(fs, &path)) {
                Ok(text) => text.lines().for_each(|line| audited.take(line, store_id)),
                Err(e) if is_unreadable(&e) => audited.unread.push((path, e.to_string())),
                Err(source) => return Err(OpenError::Io { path, source }),
            }
        }
        Ok(audited)
    }

    /// Keeps in quarantine what could not be read, and tells it. Answers whether there was any.
    ///
    /// # Errors
    /// [`OpenError::Io`]: it is where it was, or at both places.
    pub(crate) fn set_unread_aside(
        &self,
        fs: &dyn Fs,
        dir: &Path,
        report: &mut RecoveryReport,
    ) -> Result<bool, OpenError> {
        for (path, why) in &self.unread {
            let kept = quarantine::keep_unread(fs, dir, path);
            let kept = kept.map_err(|source| OpenError::Io { path: path.clone(), source })?;
            report.notes.push(format!(
                "{} cannot be read ({why}), and is kept as {}: deletes and rules of retention named there are not known, nor is what earlier repairs noted there and told nobody",
                path.display(),
                kept.display()
            ));
            report.quarantined.push(kept);
        }
        Ok(!self.unread.is_empty())
    }

    /// What salvages of a store have noted, and may have told nobody (AD6).
    pub(crate) fn untold(&self, store_id: u128) -> Vec<String> {
        let lines = self.salvages_of(store_id).map(|line| {
            format!("an earlier repair may have ended before it told its report; it noted in audit.log: {line}")
        });
        let damaged = match self.damaged_salvages {
            0 => None,
            1 => Some("a damaged line of an earlier repair".to_owned()),
            lines => Some(format!("{lines} damaged lines of earlier repairs")),
        };
        let damaged = damaged.map(|lines| format!("audit.log has {lines}: look there for what was lost"));
        lines.chain(damaged).collect()
    }

    /// How many of those say that something was lost, or cannot be read.
    pub(crate) fn untold_losses(&self, store_id: u128) -> usize {
        let is_loss = |line: &&str| {
            let counts = ["samples_lost", "holes_of_unknown_size"];
            counts.iter().any(|key| number_of(line, key).unwrap_or(0u64) > 0) || text_of(line, "manifest").is_some()
        };
        self.salvages_of(store_id).filter(is_loss).count() + usize::from(self.damaged_salvages > 0)
    }

    fn salvages_of(&self, store_id: u128) -> impl Iterator<Item = &str> {
        let stores = [store_text(store_id), store_text(Self::ANY_STORE)];
        self.salvages.iter().filter(move |(of, _)| stores.contains(of)).map(|(_, line)| line.as_str())
    }

    /// What to do about lines that are not acted upon.
    pub(crate) fn tell_unsure(&self) -> String {
        let unsure = match self.unsure {
            1 => "a line of a delete that is damaged, or of an earlier build".to_owned(),
            unsure => format!("{unsure} lines of deletes that are damaged, or of an earlier build"),
        };
        format!("audit.log has {unsure}: look there for what to delete again")
    }

    fn take(&mut self, line: &str, store_id: u128) {
        match text_of(line, "act").as_deref() {
            Some(act) if act == Act::Delete.word() => match delete_of(line, store_id) {
                Found::Delete(tombstone) => self.deletes.push(tombstone),
                Found::Strange => {}
                Found::Unsure => self.unsure += 1,
            },
            Some(act) if act == Act::Salvage.word() => match Entry::is_whole(line) {
                true => self.salvages.extend(text_of(line, "store").map(|store| (store, line.to_owned()))),
                false => self.damaged_salvages += u64::from(Entry::has_checksum(line)),
            },
            Some(act) if act == Act::Told.word() && Entry::is_whole(line) => {
                let stores = [text_of(line, "store"), Some(store_text(Self::ANY_STORE))];
                self.salvages.retain(|(of, _)| stores.iter().flatten().all(|store| store != of));
                self.damaged_salvages = 0;
            }
            // What was put back, these did not hide.
            Some(act) if act == Act::Restore.word() => {
                *self = Self { unread: std::mem::take(&mut self.unread), ..Self::default() }
            }
            Some(act) if act == Act::Retention.word() => {
                let bytes = number_of(line, "max_bytes").filter(|bytes| *bytes >= 0);
                let bytes = bytes.map_or_else(|| "any number of".to_owned(), |bytes: i64| bytes.to_string());
                // Lines of earlier builds have the ages alone.
                let rules = match text_of(line, "rules") {
                    Some(rules) if rules.is_empty() => "no ages".to_owned(),
                    Some(rules) => rules,
                    None => format!("ages {}", text_of(line, "ages").unwrap_or_default()),
                };
                self.retention = Some(format!("{rules}, {bytes} bytes"));
            }
            _ => {}
        }
    }
}

/// The last ones of these, each once, as many as there is room for; a note tells of others.
pub(crate) fn newest<'a>(
    deletes: impl Iterator<Item = &'a Tombstone>,
    room: usize,
    notes: &mut Vec<String>,
) -> Vec<Tombstone> {
    let deletes: BTreeMap<SeqNo, &Tombstone> = deletes.map(|delete| (delete.seq, delete)).collect();
    let left_out = deletes.len().saturating_sub(room);
    if left_out > 0 {
        let too_many = match left_out {
            1 => "one delete that audit.log names is".to_owned(),
            _ => format!("{left_out} deletes that audit.log names are"),
        };
        notes.push(format!("{too_many} too many at a time: delete that again"));
    }
    deletes.into_values().skip(left_out).cloned().collect()
}

enum Found {
    Delete(Tombstone),
    /// Of another store.
    Strange,
    Unsure,
}

fn delete_of(line: &str, store_id: u128) -> Found {
    if !Entry::is_whole(line) {
        return Found::Unsure;
    }
    if text_of(line, "store").is_some_and(|store| store != store_text(store_id)) {
        return Found::Strange;
    }
    let tombstone = || {
        let at = |key| number_of(line, key).map(Timestamp::from_nanos);
        Some(Tombstone {
            seq: SeqNo(number_of(line, "seq")?),
            matchers: promql::parse_selector(&text_of(line, "matchers")?).ok()?,
            range: TimeRange::new(at("from")?, at("to")?),
            created: number_of(line, "created")?,
        })
    };
    // No store comes so far, and numbers must be left behind it.
    let sane = |t: &Tombstone| t.fits() && t.seq.0 < 1 << 63 && !t.range.is_empty();
    tombstone().filter(sane).map_or(Found::Unsure, Found::Delete)
}

/// How a line names a store.
pub(crate) fn store_text(store_id: u128) -> String {
    format!("{store_id:032x}")
}

fn read(fs: &dyn Fs, path: &Path) -> io::Result<String> {
    let bytes = match fs.open_read(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(String::new()),
        opened => read_up_to(&*opened?, 2 * FILE_BYTES)?,
    };
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Behind the key. In a text no quote stands without a backslash before it, so this is no part of one.
fn value<'a>(line: &'a str, key: &str) -> Option<&'a str> {
    let key = format!(",\"{key}\":");
    line.find(&key).map(|at| &line[at + key.len()..])
}

fn number_of<T: std::str::FromStr>(line: &str, key: &str) -> Option<T> {
    let value = value(line, key)?;
    value[..value.find([',', '}'])?].parse().ok()
}

fn text_of(line: &str, key: &str) -> Option<String> {
    let mut chars = value(line, key)?.strip_prefix('"')?.chars();
    let mut text = String::new();
    loop {
        match chars.next()? {
            '"' => return Some(text),
            '\\' => match chars.next()? {
                'u' => {
                    let digits: String = chars.by_ref().take(4).collect();
                    text.push(char::from_u32(u32::from_str_radix(&digits, 16).ok()?)?);
                }
                c => text.push(c),
            },
            c => text.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use tidegauge_storage::fs::sim::SimFs;

    use super::*;

    const STORE: u128 = 0xabc;

    fn line(selector: &str, seq: u64) -> String {
        let range = TimeRange::new(Timestamp::from_nanos(-5), Timestamp::from_nanos(7));
        let matchers = promql::parse_selector(selector).unwrap();
        let tombstone = Tombstone { seq: SeqNo(seq), matchers, range, created: 9 };
        Entry::of_delete(&tombstone, selector, STORE).into_line()
    }

    fn audited(text: &str) -> Audited {
        let fs = SimFs::new();
        fs.create(Path::new(FILE_NAME)).unwrap().write_all_at(0, text.as_bytes()).unwrap();
        Audited::read(&fs, Path::new(""), STORE).unwrap()
    }

    #[test]
    fn a_delete_is_read_as_it_was_written() {
        let selector = "{a=\"\\\\ \\\" é\",b=~\"x,\\\"act\\\":\\\"y\"}";
        let found = audited(&(line(selector, 3) + &line("cpu", (1 << 63) - 1)));
        assert_eq!(found.deletes.len(), 2, "{found:?}");
        let first = &found.deletes[0];
        assert_eq!((first.seq, first.created), (SeqNo(3), 9));
        assert_eq!((first.range.start.nanos(), first.range.end.nanos()), (-5, 7));
        assert_eq!(first.matchers, promql::parse_selector(selector).unwrap());
        assert_eq!((found.deletes[1].seq.0, found.unsure), ((1 << 63) - 1, 0));
    }

    /// AD2, whatever is turned over, cut off or missing.
    #[test]
    fn a_line_that_is_not_whole_deletes_nothing() {
        let whole = line("{host=\"a\"}", 3);
        for at in 0..whole.len() - 1 {
            for bit in 0..7 {
                let mut bytes = whole.clone().into_bytes();
                bytes[at] ^= 1 << bit;
                let found = audited(&String::from_utf8_lossy(&bytes));
                assert!(found.deletes.is_empty(), "{at}: {found:?}");
            }
            assert!(audited(&whole[..at]).deletes.is_empty(), "{at}");
        }
        let crc = whole.find(",\"crc\"").unwrap();
        let found = audited(&format!("{}}}\n{whole}", &whole[..crc]));
        assert_eq!((found.deletes.len(), found.unsure), (1, 1), "as an earlier build wrote it");
        let restored = whole.clone() + &Entry::new(Act::Restore).into_line();
        assert!(audited(&restored).deletes.is_empty());
        assert_eq!(audited(&(restored + &whole)).deletes.len(), 1);
        let fs = SimFs::new();
        fs.create(Path::new(FILE_NAME)).unwrap().write_all_at(0, whole.as_bytes()).unwrap();
        let strange = Audited::read(&fs, Path::new(""), STORE + 1).unwrap();
        assert_eq!((strange.deletes.len(), strange.unsure), (0, 0));
    }

    /// AD6, AD7: a bit that was turned over in such a line was told as it stood, and lines of other stores were.
    #[test]
    fn lines_of_salvages_are_told_that_are_whole_and_of_this_store_until_they_were_told() {
        let entry = |act, store| Entry::new(act).number(Audited::OPENING, 7u32).of_store(store).into_line();
        let salvage = entry(Act::Salvage, STORE);
        let told = |text: &str| audited(text).untold(STORE);
        let told_once = told(&salvage);
        assert!(matches!(&told_once[..], [one] if one.ends_with(salvage.trim_end())), "{told_once:?}");
        assert_eq!(told(&(entry(Act::Salvage, STORE + 1) + "\n" + &Entry::new(Act::Salvage).into_line())), [""; 0]);
        let (act, crc) = (salvage.find("\"host\"").unwrap(), salvage.find(",\"crc\"").unwrap());
        for at in (act..crc).chain(crc + 8..salvage.len() - 3) {
            let mut bytes = salvage.clone().into_bytes();
            bytes[at] ^= 1;
            let damaged = String::from_utf8_lossy(&bytes).into_owned();
            let untold = told(&damaged);
            assert!(matches!(&untold[..], [one] if one.contains("a damaged line")), "{at}: {untold:?}");
            assert_eq!(told(&(damaged + &entry(Act::Told, STORE))), [""; 0]);
        }
        let of_told = entry(Act::Told, STORE);
        assert_eq!(told(&(salvage.clone() + &of_told)), [""; 0]);
        assert_eq!(told(&(of_told.clone() + &salvage)), told_once);
        assert_eq!(told(&(salvage.clone() + &of_told[..of_told.len() - 3])), told_once, "torn");
        assert_eq!(told(&(salvage.clone() + &entry(Act::Told, STORE + 1))), told_once);
        assert_eq!(told(&(salvage + &Entry::new(Act::Restore).into_line())), [""; 0]);
    }

    /// It told of "1 lines of deletes".
    #[test]
    fn one_line_is_told_as_one() {
        let told = |unsure| Audited { unsure, ..Audited::default() }.tell_unsure();
        assert!(told(1).starts_with("audit.log has a line of a delete that is damaged"), "{}", told(1));
        assert!(told(2).starts_with("audit.log has 2 lines of deletes that are damaged"), "{}", told(2));
    }
}
