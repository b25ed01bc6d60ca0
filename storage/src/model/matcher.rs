//! Predicates on one label, with Prometheus' meaning.

use std::fmt;

use regex::Regex;

use super::{Labels, compile_anchored};

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
    regex: Option<Regex>,
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
        let regex = match op {
            MatchOp::Equal | MatchOp::NotEqual => None,
            MatchOp::Regex | MatchOp::NotRegex => {
                let anchored = compile_anchored(&value);
                Some(anchored.map_err(|why| MatcherError::BadRegex { name: name.clone(), why })?)
            }
        };
        Ok(Self { name, op, value, regex })
    }

    /// `name="value"`.
    #[must_use]
    pub fn equal(name: impl Into<String>, value: impl Into<String>) -> Self {
        Self { name: name.into(), op: MatchOp::Equal, value: value.into(), regex: None }
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

    /// Whether a label of this value passes; pass `""` for a label that is absent.
    #[must_use]
    pub fn matches(&self, value: &str) -> bool {
        let found = match &self.regex {
            Some(regex) => regex.is_match(value),
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
    fn a_broken_or_huge_regex_is_refused_by_name() {
        let e = Matcher::new("host", MatchOp::Regex, "(").unwrap_err();
        assert_eq!(e.to_string(), "matcher on label \"host\": error parsing regexp: unclosed group");
        assert!(Matcher::new("host", MatchOp::Regex, "(a{1000}){1000}").is_err());
        assert!(Matcher::new("host", MatchOp::Regex, "a)|(b").is_err());
    }
}
