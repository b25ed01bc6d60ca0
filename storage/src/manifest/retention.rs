//! How long and how much is kept.

use std::time::Duration;

use crate::model::{Labels, Matcher, decode_matchers, encode_matchers, i64_of, u32_of};

/// Rules that a store may have.
pub const RETENTION_RULES_MAX: usize = 256;
const RULES_BYTES_MAX: usize = 1 << 20;

/// How long samples of some series are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RetentionRule {
    /// Which series: those that pass all of these; all series if there is none.
    pub matchers: Vec<Matcher>,
    /// How long; `None` keeps them for ever.
    pub max_age: Option<Duration>,
}

/// What is kept: for each series the first rule that it passes decides how long; without one it
/// is kept for ever. The default keeps everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Retention {
    /// Of which the first that a series passes counts.
    pub rules: Vec<RetentionRule>,
    /// Bytes of all segments at most: beyond it the oldest ones go. Each goes as a whole, so compaction keeps them to an
    /// eighth of this.
    pub max_bytes: Option<u64>,
}

impl Retention {
    /// Whether it is within the limits.
    #[must_use]
    pub fn fits(&self) -> bool {
        let mut bytes = Vec::new();
        self.encode(&mut bytes);
        let matchers = |rule: &RetentionRule| rule.matchers.len() <= crate::model::TOMBSTONE_MATCHERS_MAX;
        self.rules.len() <= RETENTION_RULES_MAX && bytes.len() <= RULES_BYTES_MAX && self.rules.iter().all(matchers)
    }

    /// The rule that decides about a series with these labels.
    #[must_use]
    pub fn rule_of(&self, labels: &Labels) -> Option<&RetentionRule> {
        self.rules.iter().find(|rule| rule.matchers.iter().all(|m| m.matches_labels(labels)))
    }

    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&(self.max_bytes.map_or(-1, |bytes| bytes as i64)).to_le_bytes());
        out.extend_from_slice(&(self.rules.len() as u32).to_le_bytes());
        for rule in &self.rules {
            let age = rule.max_age.map_or(-1, |age| i64::try_from(age.as_nanos()).unwrap_or(i64::MAX));
            out.extend_from_slice(&age.to_le_bytes());
            encode_matchers(&rule.matchers, out);
        }
    }

    pub(super) fn decode(bytes: &mut &[u8]) -> Result<Self, &'static str> {
        let max_bytes = u64::try_from(i64_of(bytes)?).ok();
        let count = u32_of(bytes)?;
        if count as usize > RETENTION_RULES_MAX {
            return Err("too many retention rules");
        }
        let mut rules = Vec::new();
        for _ in 0..count {
            let max_age = u64::try_from(i64_of(bytes)?).ok().map(Duration::from_nanos);
            rules.push(RetentionRule { max_age, matchers: decode_matchers(bytes)? });
        }
        Ok(Self { rules, max_bytes })
    }
}
