//! Predicates on one label, with Prometheus' meaning.

use std::fmt;
use std::sync::Arc;

use super::{Labels, Pattern, compile_anchored};

/// How a matcher compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MatchOp {
    /// `=`
    Equal,
    /// `!=`
    NotEqual,
    /// `=~`, anchored at both ends
    Regex,
    /// `!~`, anchored at both ends
    NotRegex,
}

/// A predicate on one label. A label that a series lacks counts as empty.
#[derive(Clone, Debug)]
pub struct Matcher {
    name: String,
    op: MatchOp,
    value: String,
    pattern: Option<Pattern>,
    watch: Option<Watch>,
}

/// Who is asked before each text that a regex is matched with: told the steps that it may take, whether to go on.
#[derive(Clone)]
struct Watch(Arc<dyn Fn(u64) -> bool + Send + Sync>);

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Watch")
    }
}

/// A matcher that cannot be built. Mend the expression and try again.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MatcherError {
    /// The regular expression does not parse, or is too large when compiled.
    #[error("matcher on label {name:?}: {why}")]
    BadRegex {
        /// The label.
        name: String,
        /// What the regex parser says.
        why: String,
    },
}

impl Matcher {
    /// Builds a matcher; compiles `value` for the regex operators.
    ///
    /// # Errors
    /// [`MatcherError::BadRegex`] if `value` is not a regular expression of RE2's kind.
    pub fn new(name: impl Into<String>, op: MatchOp, value: impl Into<String>) -> Result<Self, MatcherError> {
        let (name, value) = (name.into(), value.into());
        let pattern = match op {
            MatchOp::Equal | MatchOp::NotEqual => None,
            MatchOp::Regex | MatchOp::NotRegex => {
                let anchored = compile_anchored(&value);
                Some(anchored.map_err(|why| MatcherError::BadRegex { name: name.clone(), why })?)
            }
        };
        Ok(Self { name, op, value, pattern, watch: None })
    }

    /// `name="value"`.
    #[must_use]
    pub fn equal(name: impl Into<String>, value: impl Into<String>) -> Self {
        Self { name: name.into(), op: MatchOp::Equal, value: value.into(), pattern: None, watch: None }
    }

    /// The label looked at.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How it compares.
    #[must_use]
    pub fn op(&self) -> MatchOp {
        self.op
    }

    /// What it compares with: a value, or the regex as written.
    #[must_use]
    pub fn value(&self) -> &str {
        &self.value
    }

    /// What values that pass begin with: one of these, ascending, none the beginning of another. `None` if that may be
    /// anything, or the operator is another than `=~`.
    #[must_use]
    pub fn prefixes(&self) -> Option<&[Box<[u8]>]> {
        self.pattern.as_ref().filter(|_| self.op == MatchOp::Regex).and_then(Pattern::prefixes)
    }

    /// Bytes that its regex takes, about; nothing for the other operators.
    #[must_use]
    pub fn pattern_bytes(&self) -> u64 {
        self.pattern.as_ref().map_or(0, Pattern::bytes)
    }

    /// The same, but `goes_on` is asked before each text that the regex is matched with: it is told the steps that
    /// this takes at most (see [`Pattern::steps`]). From its first no on nothing passes, and whoever selects must
    /// throw away what was selected. An index may match thousands of long values in one call, and knows no clock.
    #[must_use]
    pub fn watched(self, goes_on: Arc<dyn Fn(u64) -> bool + Send + Sync>) -> Self {
        Self { watch: self.pattern.is_some().then_some(Watch(goes_on)), ..self }
    }

    /// Whether a label of this value passes; pass `""` for a label that is absent.
    #[must_use]
    pub fn matches(&self, value: &str) -> bool {
        let found = match &self.pattern {
            Some(pattern) => {
                if self.watch.as_ref().is_some_and(|watch| !(watch.0)(pattern.steps(value))) {
                    return false;
                }
                pattern.regex().is_match(value)
            }
            None => self.value == value,
        };
        match self.op {
            MatchOp::Equal | MatchOp::Regex => found,
            MatchOp::NotEqual | MatchOp::NotRegex => !found,
        }
    }

    /// Whether a series with these labels passes.
    #[must_use]
    pub fn matches_labels(&self, labels: &Labels) -> bool {
        self.matches(labels.get(&self.name).unwrap_or(""))
    }

    /// Whether a series that lacks the label passes.
    #[must_use]
    pub fn matches_empty(&self) -> bool {
        self.matches("")
    }
}

impl PartialEq for Matcher {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name && self.op == other.op && self.value == other.value
    }
}

impl Eq for Matcher {}

impl fmt::Display for MatchOp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Equal => "=",
            Self::NotEqual => "!=",
            Self::Regex => "=~",
            Self::NotRegex => "!~",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn regexes_are_anchored_and_an_absent_label_is_empty() {
        let m = Matcher::new("host", MatchOp::Regex, "web|db").unwrap();
        assert!(m.matches("web") && m.matches("db") && !m.matches("web1") && !m.matches_empty());
        let m = Matcher::new("host", MatchOp::NotRegex, "web.*").unwrap();
        assert!(m.matches_empty() && !m.matches("web1\nx"));
    }

    #[test]
    fn who_watches_is_told_the_steps_and_can_end_it() {
        let m = Matcher::new("host", MatchOp::NotRegex, "abc").unwrap();
        assert_eq!(m.pattern_bytes(), 3 * 64);
        let refuse = |steps: u64| Arc::new(move |n| n < steps);
        assert!(m.clone().watched(refuse(13)).matches("wxyz"), "four bytes, three states");
        assert!(!m.watched(refuse(12)).matches("wxyz"));
        let m = Matcher::equal("host", "web").watched(refuse(0));
        assert!(m.matches("web"), "only regexes are watched");
    }

    #[test]
    fn a_broken_or_huge_regex_is_refused_by_name() {
        let e = Matcher::new("host", MatchOp::Regex, "(").unwrap_err();
        assert_eq!(e.to_string(), "matcher on label \"host\": error parsing regexp: unclosed group");
        assert!(Matcher::new("host", MatchOp::Regex, "(a{1000}){1000}").is_err());
        assert!(Matcher::new("host", MatchOp::Regex, "a)|(b").is_err());
    }
}
