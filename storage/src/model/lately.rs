//! Small expressions that were compiled lately: dashboards ask the same again and again, and to compile one takes
//! longer than the rest of a small question.
//!
//! What matching takes beside is not kept: a clone of a [`Regex`](regex::Regex) begins with caches of its own, and they
//! go with it. So what is kept has a bound, whatever texts are matched.

use std::sync::{Mutex, PoisonError};

use super::Pattern;

/// So many are kept.
const KEPT: usize = 32;
/// Of at most so many bytes, as text.
const TEXT_BYTES_MAX: usize = 256;
/// And of so many by [`Pattern::bytes`]: 256 states. What runs it takes more, with groups up to a MiB.
const BYTES_MAX: u64 = 16 << 10;

/// The last used stands at the end.
pub(super) struct Lately(Mutex<Vec<(Box<str>, Pattern)>>);

impl Lately {
    pub(super) const fn new() -> Self {
        Self(Mutex::new(Vec::new()))
    }

    /// What was made of `text`, or what `compile` makes of it. Failures are not kept. Nobody waits for another's
    /// `compile`.
    pub(super) fn get_or(
        &self,
        text: &str,
        compile: impl FnOnce() -> Result<Pattern, String>,
    ) -> Result<Pattern, String> {
        if text.len() > TEXT_BYTES_MAX {
            return compile();
        }
        if let Some(pattern) = self.find(text) {
            return Ok(pattern);
        }
        let pattern = compile()?;
        if pattern.bytes() <= BYTES_MAX {
            self.keep(text, pattern.clone());
        }
        Ok(pattern)
    }

    fn find(&self, text: &str) -> Option<Pattern> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let at = kept.iter().rposition(|(known, _)| **known == *text)?;
        kept[at..].rotate_left(1);
        kept.last().map(|(_, pattern)| pattern.clone())
    }

    fn keep(&self, text: &str, pattern: Pattern) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Another may have compiled it too.
        kept.retain(|(known, _)| **known != *text);
        if kept.len() == KEPT {
            kept.remove(0);
        }
        kept.push((text.into(), pattern));
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::super::pattern::compile;
    use super::*;

    /// Whether `text` has to be compiled.
    fn compiles(lately: &Lately, text: &str) -> bool {
        let compiled = Cell::new(false);
        let pattern = lately.get_or(text, || {
            compiled.set(true);
            compile(text)
        });
        assert_eq!(pattern.is_ok(), compile(text).is_ok());
        if let Ok(pattern) = pattern {
            assert_eq!(pattern.regex().as_str(), compile(text).unwrap().regex().as_str());
        }
        compiled.get()
    }

    #[test]
    fn what_was_used_last_is_kept_and_what_was_not_goes() {
        let lately = Lately::new();
        let text = |i: usize| format!("host-{i}(.*)");
        for i in 0..KEPT {
            assert!(compiles(&lately, &text(i)));
        }
        assert!(!compiles(&lately, &text(0)));
        assert!(compiles(&lately, "one more"));
        assert!(!compiles(&lately, &text(0)));
        assert!(compiles(&lately, &text(1)));
    }

    #[test]
    fn neither_what_is_large_nor_what_is_wrong_is_kept() {
        let lately = Lately::new();
        for text in ["(", "[0-9a-f]{900}", &format!("[{}]", "a".repeat(TEXT_BYTES_MAX))] {
            assert!(compiles(&lately, text) && compiles(&lately, text), "{text}");
        }
    }
}
