//! One line of the audit log.

use std::fmt::Write;

use tidegauge_storage::model::{Timestamp, Tombstone};

use super::deletes::store_text;
use crate::clock;
use crate::lock::host;

/// The last key of a line that has one.
const CHECKSUM: &str = "crc";

/// What was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Act {
    Backup,
    Delete,
    Restore,
    Retention,
    Salvage,
    /// Whoever salvaged was told what was lost, in this opening and in those before.
    Told,
    Unlock,
}

impl Act {
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Backup => "backup",
            Self::Delete => "delete",
            Self::Restore => "restore",
            Self::Retention => "retention",
            Self::Salvage => "salvage",
            Self::Told => "told",
            Self::Unlock => "unlock",
        }
    }
}

/// An act, when and by whom; then what belongs to it, as JSON.
pub(crate) struct Entry(String);

impl Entry {
    pub(crate) fn new(act: Act) -> Self {
        let entry = Self(format!("{{\"time\":\"{}\"", rfc3339(clock::now())));
        let entry = entry.text("act", act.word()).number("pid", std::process::id());
        entry.text("host", &host()).text("version", env!("CARGO_PKG_VERSION"))
    }

    pub(crate) fn text(mut self, key: &str, value: &str) -> Self {
        self.key(key);
        put_string(&mut self.0, value);
        self
    }

    pub(crate) fn number(mut self, key: &str, value: impl Into<i128>) -> Self {
        self.key(key);
        let _ = write!(self.0, "{}", value.into());
        self
    }

    /// A delete, with all that is needed to carry it out once more, and a checksum: `deletes.rs` beside this.
    pub(crate) fn of_delete(delete: &Tombstone, selector: &str, store_id: u128) -> Self {
        let entry = Self::new(Act::Delete).text("matchers", selector).number("seq", delete.seq.0);
        let entry = entry.number("from", delete.range.start.nanos()).number("to", delete.range.end.nanos());
        entry.number("created", delete.created).of_store(store_id)
    }

    /// Ends an entry that is acted upon, by whom it is read, with the store and a checksum.
    pub(crate) fn of_store(self, store_id: u128) -> Self {
        let entry = self.text("store", &store_text(store_id));
        let crc = format!("{:08x}", crc32c::crc32c(entry.0.as_bytes()));
        entry.text(CHECKSUM, &crc)
    }

    /// Whether a line ends as if it had a checksum. Lines of earlier builds have none, but for deletes.
    pub(super) fn has_checksum(line: &str) -> bool {
        line.contains(&format!(",\"{CHECKSUM}\":"))
    }

    /// Whether a line ends with the checksum of what stands before it.
    pub(super) fn is_whole(line: &str) -> bool {
        let Some(at) = line.rfind(&format!(",\"{CHECKSUM}\":")) else { return false };
        line[at..] == format!(",\"{CHECKSUM}\":\"{:08x}\"}}", crc32c::crc32c(&line.as_bytes()[..at]))
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    fn key(&mut self, key: &str) {
        self.0.push(',');
        put_string(&mut self.0, key);
        self.0.push(':');
    }

    pub(crate) fn into_line(mut self) -> String {
        self.0.push_str("}\n");
        self.0
    }
}

fn put_string(out: &mut String, text: &str) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            c if c < ' ' => {
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
}

/// `2026-01-31T12:00:00Z`
fn rfc3339(at: Timestamp) -> String {
    let seconds = at.nanos().div_euclid(1_000_000_000);
    let (mut days, rest) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let mut year = 1970;
    // A few hundred rounds at most: a timestamp holds the years 1677 to 2262.
    loop {
        let length = 365 + i64::from(is_leap(year));
        match days {
            d if d < 0 => {
                year -= 1;
                days += 365 + i64::from(is_leap(year));
            }
            d if d >= length => {
                days -= length;
                year += 1;
            }
            _ => break,
        }
    }
    let mut month = 1;
    for length in [31, 28 + i64::from(is_leap(year)), 31, 30, 31, 30, 31, 31, 30, 31, 30] {
        if days < length {
            break;
        }
        days -= length;
        month += 1;
    }
    format!("{year:04}-{month:02}-{:02}T{:02}:{:02}:{:02}Z", days + 1, rest / 3600, rest / 60 % 60, rest % 60)
}

fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_one_json_object_whatever_is_put_in() {
        let line = Entry::new(Act::Delete).text("matchers", "{a=\"\\\n\u{1}é\"}").number("from", -5i64).into_line();
        assert!(line.ends_with("}\n") && line.matches('\n').count() == 1, "{line}");
        assert!(line.contains(r#""matchers":"{a=\"\\\u000a\u0001é\"}","from":-5"#), "{line}");
        assert!(line.contains(r#""act":"delete","pid":"#), "{line}");
    }

    #[test]
    fn dates_are_those_of_the_calendar() {
        let at = |seconds: i64| rfc3339(Timestamp::from_nanos(seconds * 1_000_000_000));
        assert_eq!(at(0), "1970-01-01T00:00:00Z");
        assert_eq!(at(-1), "1969-12-31T23:59:59Z");
        assert_eq!(at(951_782_399), "2000-02-28T23:59:59Z");
        assert_eq!(at(951_782_400), "2000-02-29T00:00:00Z");
        assert_eq!(at(1_769_860_800), "2026-01-31T12:00:00Z");
        assert_eq!(at(4_107_542_400), "2100-03-01T00:00:00Z");
        assert_eq!(rfc3339(Timestamp::MAX), "2262-04-11T23:47:16Z");
        assert_eq!(rfc3339(Timestamp::MIN), "1677-09-21T00:12:43Z");
    }
}
