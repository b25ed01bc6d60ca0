//! One line for a failure, not one a second.

use std::collections::HashMap;
use std::fmt::Display;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Takes a line for the log.
pub type Report = Arc<dyn Fn(&str) + Send + Sync>;

/// The same kind of failure is told again after this long.
const QUIET: Duration = Duration::from_secs(60);

/// Longest text that is told whole.
const LINE_BYTES_MAX: usize = 500;

pub(super) struct Notices {
    report: Report,
    subject: String,
    told: HashMap<&'static str, Told>,
}

struct Told {
    at: Instant,
    kept_back: u64,
}

impl Notices {
    /// `subject` stands before each line: which target it is about.
    pub(super) fn new(report: Report, subject: String) -> Self {
        Self { report, subject, told: HashMap::new() }
    }

    /// Tells `what`, unless the same kind was told within the last minute.
    pub(super) fn tell(&mut self, kind: &'static str, what: impl Display) {
        self.tell_at(Instant::now(), kind, what);
    }

    fn tell_at(&mut self, now: Instant, kind: &'static str, what: impl Display) {
        let mut more = String::new();
        if let Some(told) = self.told.get_mut(kind) {
            if now.duration_since(told.at) < QUIET {
                told.kept_back += 1;
                return;
            }
            if told.kept_back > 0 {
                more = format!(" (and {} times since it was last told)", told.kept_back);
            }
        }
        self.told.insert(kind, Told { at: now, kept_back: 0 });
        // What a target sends may be a megabyte long.
        let what = clipped(what.to_string(), LINE_BYTES_MAX);
        (self.report)(&format!("{}: {what}{more}", self.subject));
    }
}

/// At most `most` bytes of a text, and how many more it has.
pub(super) fn clipped(mut text: String, most: usize) -> String {
    if text.len() > most {
        let cut = text.floor_char_boundary(most);
        let left_out = text.len() - cut;
        text.truncate(cut);
        text.push_str(&format!("… ({left_out} bytes more)"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    #[test]
    fn a_long_text_is_cut_between_two_characters() {
        let lines = Arc::new(Mutex::new(Vec::new()));
        let sink = Arc::clone(&lines);
        let mut notices =
            Notices::new(Arc::new(move |line: &str| sink.lock().unwrap().push(line.to_owned())), "x".into());
        notices.tell("long", format_args!("a{}", "é".repeat(10_000)));
        assert_eq!(*lines.lock().unwrap(), [format!("x: a{}… (19502 bytes more)", "é".repeat(249))]);
    }

    #[test]
    fn the_same_kind_is_told_once_a_minute_with_a_count() {
        let lines = Arc::new(Mutex::new(Vec::new()));
        let sink = Arc::clone(&lines);
        let mut notices =
            Notices::new(Arc::new(move |line: &str| sink.lock().unwrap().push(line.to_owned())), "x".into());
        let start = Instant::now();
        for second in 0..=60 {
            notices.tell_at(start + Duration::from_secs(second), "down", "no answer");
        }
        notices.tell_at(start, "push", "full");
        assert_eq!(
            *lines.lock().unwrap(),
            ["x: no answer", "x: no answer (and 59 times since it was last told)", "x: full",]
        );
    }
}
