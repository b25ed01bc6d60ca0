//! What was replayed, and what was lost.

use std::collections::BTreeSet;
use std::fmt;
use std::path::PathBuf;

use tidegauge_storage::model::{SeqRange, TimeRange};
use tidegauge_storage::segment::Mended;
use tidegauge_storage::wal::TornTail;

use crate::audit::{Act, AuditLog, Audited, Entry};

/// Holes, files and notes that a line of the audit log names one by one.
const AUDITED_MAX: usize = 20;
/// Of each of them. A segment may have series of many KiB of labels.
const TEXT_BYTES: usize = 1 << 10;
/// A line that is as long names no more: of lines beyond all that a file may have, none is read back.
const LINE_BYTES: usize = 56 << 10;

/// How the opening of an engine went.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RecoveryReport {
    /// Samples that came back from the log.
    pub samples: u64,
    /// Where the log was cut: frames that were begun and are not known to have been durable. Salvage keeps what it
    /// cuts, all of the file that is written, in quarantine.
    pub torn_tail: Option<TornTail>,
    /// What salvage could not save; empty unless it was asked for.
    pub lost: Vec<Lost>,
    /// What salvage put right in segments, so that nothing of it is lost: a bit that was turned over, a header that the
    /// manifest knows. The first 10,000 places of each file.
    pub mended: Vec<Mended>,
    /// How many places it put right in all.
    pub mended_places: u64,
    /// Damaged files, copies of those that were cut, and files of the log that may hold what is missing, where they lie
    /// now.
    pub quarantined: Vec<PathBuf>,
    /// Whether salvage made a manifest anew; the notes tell what the one before may have known alone.
    pub manifest_made_anew: bool,
    /// Samples at most that are missing of a flush that was being written when that manifest was lost: there is one
    /// segment of it that does not hold all of its numbers, and neither does the log. 0 where no flush can have been
    /// under way.
    pub unfinished_flush_samples: u64,
    /// What went wrong besides, such as an audit log that could not be written.
    pub notes: Vec<String>,
    /// What salvages before this one noted in `audit.log` and may have told nobody: they were killed, failed, or their engine
    /// was dropped. Told by each salvage until one [closes](crate::Engine::close) its engine.
    pub untold: Vec<String>,
    /// How many of those say that something was lost, or are damaged, so that nobody knows.
    pub untold_losses: usize,
    /// Whether a line of `audit.log` could not be written: of what it had, no later salvage can tell.
    pub unnoted: bool,
}

/// Samples that were durable and cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Lost {
    /// The damaged file, under the name it had.
    pub file: PathBuf,
    /// Where in it.
    pub offset: u64,
    /// What is wrong there.
    pub what: String,
    /// The series, where it is known to be one.
    pub series: Option<String>,
    /// Holds the numbers of what is lost. The end is that of the order if nothing lies behind.
    pub seq_range: SeqRange,
    /// When. In a segment it holds every timestamp lost; in the log it reaches from the last timestamp of the frame before
    /// the hole to the first one of the frame behind, and late samples, and other series of a batch that goes series by
    /// series, may lie outside. `None` if nothing is known.
    pub time_range: Option<TimeRange>,
    /// How many, if that is known. Neighbouring holes of the log with nothing between them are counted together, with the
    /// first one.
    pub samples: Option<u64>,
    /// As many at least. (A delete that is lost with samples of the log counts as one.)
    pub samples_at_least: u64,
}

impl RecoveryReport {
    /// Writes the line of the audit log, with the number of the opening, if salvage changed anything. Whether that can be
    /// written or not, what was saved counts: then the report says so.
    pub(crate) fn note_in(&mut self, audit: &AuditLog, (store_id, opening): (u128, u32)) {
        if let Some(entry) = self.audit_entry()
            && let Err(e) = audit.record(entry.number(Audited::OPENING, opening).of_store(store_id))
        {
            self.unnoted = true;
            self.notes.push(format!("the audit log was not written: {e}"));
        }
    }

    /// The line of the audit log that says that this was told, with those before it (AD6), where there was anything.
    pub(crate) fn told_entry(&self, opening: u32, store_id: u128) -> Option<Entry> {
        let is_any = self.changed_anything() || !self.untold.is_empty();
        is_any.then(|| Entry::new(Act::Told).number(Audited::OPENING, opening).of_store(store_id))
    }

    fn changed_anything(&self) -> bool {
        !self.lost.is_empty() || !self.quarantined.is_empty() || self.manifest_made_anew
    }

    /// Adds a file that is kept, once: one that was set aside by a try before has the same name there.
    pub(crate) fn add_quarantined(&mut self, kept: PathBuf) {
        if !self.quarantined.contains(&kept) {
            self.quarantined.push(kept);
        }
    }

    /// Adds what was found elsewhere.
    pub(crate) fn append(&mut self, of: Self) {
        self.samples += of.samples;
        self.torn_tail = self.torn_tail.take().or(of.torn_tail);
        self.manifest_made_anew |= of.manifest_made_anew;
        self.unfinished_flush_samples += of.unfinished_flush_samples;
        self.lost.extend(of.lost);
        self.mended.extend(of.mended);
        self.mended_places += of.mended_places;
        if !of.quarantined.is_empty() {
            // What a manifest made anew does not name has been set aside twice.
            let known: BTreeSet<PathBuf> = self.quarantined.iter().cloned().collect();
            self.quarantined.extend(of.quarantined.into_iter().filter(|kept| !known.contains(kept)));
        }
        self.notes.extend(of.notes);
        self.untold.extend(of.untold);
        self.untold_losses += of.untold_losses;
        self.unnoted |= of.unnoted;
    }

    /// What the audit log says of it, if salvage changed anything.
    fn audit_entry(&self) -> Option<Entry> {
        if !self.changed_anything() {
            return None;
        }
        let known = self.lost.iter().map(|lost| lost.samples_at_least).sum::<u64>();
        let unknown = self.lost.iter().filter(|lost| lost.samples.is_none()).count() as u64;
        let mut entry = Entry::new(Act::Salvage).number("samples_lost", known).number("holes_of_unknown_size", unknown);
        if self.manifest_made_anew {
            entry = entry.text("manifest", "made anew");
        }
        if let Some(torn) = &self.torn_tail {
            entry = entry.text("torn_tail_cut", &format!("{}, byte {}", torn.file.display(), torn.offset));
        }
        // How many there are of each: not all are named.
        let counts = [
            ("lost_places", self.lost.len() as u64),
            ("put_right", self.mended_places),
            ("files", self.quarantined.len() as u64),
            ("notes", self.notes.len() as u64),
        ];
        for (key, count) in counts {
            if count > 0 {
                entry = entry.number(key, count);
            }
        }
        let lost = self.lost.iter().map(Lost::to_string);
        entry = named(entry, "lost", lost);
        entry = named(entry, "note", self.notes.iter().cloned());
        entry = named(entry, "put_right", self.mended.iter().map(Mended::to_string));
        Some(named(entry, "quarantined", self.quarantined.iter().map(|file| file.display().to_string())))
    }

    /// Whether everything that was durable came back, as far as is known: of what this opening found. What earlier ones lost
    /// and told nobody is in [`untold`](Self::untold).
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.lost.is_empty() && !self.manifest_made_anew
    }
}

/// The first of these, each under a key of its own, as far as a line may grow.
fn named(mut entry: Entry, key: &str, texts: impl Iterator<Item = String>) -> Entry {
    for (nth, mut text) in texts.take(AUDITED_MAX).enumerate() {
        if text.len() > TEXT_BYTES {
            text.truncate(text.floor_char_boundary(TEXT_BYTES));
            text.push('…');
        }
        if entry.len() > LINE_BYTES {
            break;
        }
        entry = entry.text(&format!("{key}_{nth}"), &text);
    }
    entry
}

/// `data/segments/0000000000000001.seg, byte 72: checksum of a value column is wrong; cpu{host="a"}, 4096 samples`
impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, byte {}: {}", self.file.display(), self.offset, self.what)?;
        if let Some(series) = &self.series {
            write!(f, "; {series}")?;
        }
        match self.samples {
            Some(samples) => write!(f, "; {samples} samples lost")?,
            None if self.samples_at_least > 0 => write!(f, "; at least {} samples lost", self.samples_at_least)?,
            None => write!(f, "; an unknown number of samples lost")?,
        }
        write!(f, ", numbers {} to {}", self.seq_range.start.0, self.seq_range.end.0)?;
        if let Some(range) = self.time_range {
            write!(f, ", timestamps {} to {} ns", range.start.nanos(), range.end.nanos())?;
        }
        Ok(())
    }
}
