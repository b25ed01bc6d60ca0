//! How long and how much is kept, as flags and configuration files say it.

use std::fmt::{self, Write as _};
use std::str::FromStr;
use std::time::Duration;

use tidegauge::query::promql::{matchers_text, parse_matchers};
use tidegauge::{Retention, RetentionRule};

use crate::units::{parse_bytes, parse_duration, show_bytes, show_duration};

/// A shorter age would hide what was hardly pushed.
const AGE_MIN: Duration = Duration::from_secs(1);
/// A text that is longer is shortened where an error shows it.
const SHOWN_MAX: usize = 80;

/// What the agent was told of a bound: the store remembers it, so to say nothing and to lift it are two things.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bound<T> {
    /// There is none.
    Lifted,
    /// Up to this.
    At(T),
}

impl<T> Bound<T> {
    fn at(self) -> Option<T> {
        match self {
            Self::Lifted => None,
            Self::At(most) => Some(most),
        }
    }

    /// As flags and configuration files take it; `lifted` is the word for none.
    pub(crate) fn show(self, lifted: &str, show: impl FnOnce(T) -> String) -> String {
        self.at().map_or_else(|| lifted.to_owned(), show)
    }
}

/// An age that is none.
pub(crate) const FOREVER: &str = "forever";
/// A size that is none.
pub(crate) const NONE: &str = "none";

/// An age: `30d`, or `forever`.
pub(super) fn parse_age(text: &str) -> Result<Bound<Duration>, String> {
    if text.trim() == FOREVER {
        return Ok(Bound::Lifted);
    }
    if text.trim_start().starts_with('-') {
        return Err(format!("{text:?}: an age must be positive, such as 30d"));
    }
    let age = parse_duration(text).map_err(|e| e.to_string())?;
    match age {
        Duration::ZERO => Err(format!("0 would drop all data at once; write {FOREVER} to keep data for ever")),
        age if age < AGE_MIN => Err(format!("{text:?}: an age must be at least 1s")),
        age => Ok(Bound::At(age)),
    }
}

/// The size of all segments together: `50GiB`, or `none`.
pub(super) fn parse_size(text: &str) -> Result<Bound<u64>, String> {
    if text.trim() == NONE {
        return Ok(Bound::Lifted);
    }
    if text.trim_start().starts_with('-') {
        return Err(format!("{text:?}: a size must be positive, such as 50GiB"));
    }
    match parse_bytes(text).map_err(|e| e.to_string())? {
        0 => Err(format!("0 would drop nearly all data at once; write {NONE} to keep as much as fits")),
        bytes => Ok(Bound::At(bytes)),
    }
}

/// How long some series are kept: `{job="debug"}=7d`, or `{job="audit"}=forever`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct KeepRule {
    text: String,
    rule: RetentionRule,
}

impl FromStr for KeepRule {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let shown: String = text.chars().take(SHOWN_MAX).collect();
        // Matchers have = in them, ages have not.
        let ends = |selector: &str| selector.trim_end().ends_with('}') || !selector.contains(['{', '"', '\'', '`']);
        let parts = text.rsplit_once('=').filter(|(selector, _)| ends(selector));
        let (selector, age) = parts.ok_or_else(|| {
            format!("{shown:?} is no rule; write it like {{job=\"debug\"}}=7d or {{job=\"audit\"}}=forever")
        })?;
        let matchers = parse_matchers(selector).map_err(|e| format!("{shown:?}: which series? {e}"))?;
        if matchers.is_empty() {
            return Err(format!("{shown:?}: that is every series: give --retention for these"));
        }
        let max_age = parse_age(age.trim()).map_err(|e| format!("{shown:?}: {e}"))?.at();
        Ok(Self { text: text.trim().to_owned(), rule: RetentionRule { matchers, max_age } })
    }
}

impl fmt::Display for KeepRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// What the agent was told to keep. What it was not told of stays as the store has it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Kept {
    /// How long the series are kept that pass no rule.
    pub(crate) age: Option<Bound<Duration>>,
    /// Bytes of all segments at most.
    pub(crate) size: Option<Bound<u64>>,
    /// Of which the first that a series passes counts.
    pub(crate) rules: Vec<KeepRule>,
}

impl Kept {
    /// What holds from now on in a store that was told `before`. Ages and rules are one thing: where any is given, all
    /// that the store has of them is replaced. The size is another.
    pub(crate) fn with(&self, before: Retention) -> Retention {
        let for_all =
            self.age.and_then(Bound::at).map(|age| RetentionRule { matchers: Vec::new(), max_age: Some(age) });
        let rules: Vec<_> = self.rules.iter().map(|rule| rule.rule.clone()).chain(for_all).collect();
        Retention {
            rules: if self.rules.is_empty() && self.age.is_none() { before.rules } else { rules },
            max_bytes: self.size.map_or(before.max_bytes, Bound::at),
        }
    }
}

/// `{job="debug"}=7d, else 30d; all series together at most 50.0 GiB`: what is in force, in the order in which it counts.
/// Without rules `30d or 50.0 GiB`, as Prometheus has it.
pub(crate) fn in_force(retention: &Retention) -> String {
    let age = |rule: &RetentionRule| rule.max_age.map_or_else(|| FOREVER.to_owned(), show_duration);
    let mut out: String =
        rules_for_some(retention).map(|rule| format!("{}={}, ", matchers_text(&rule.matchers), age(rule))).collect();
    let for_all = retention.rules.iter().find(|rule| rule.matchers.is_empty()).and_then(|rule| rule.max_age);
    let (for_all, size) = (for_all.map(show_duration), retention.max_bytes.map(show_bytes));
    if out.is_empty() {
        let parts: Vec<String> = for_all.into_iter().chain(size).collect();
        return if parts.is_empty() { "for ever".to_owned() } else { parts.join(" or ") };
    }
    let _ = write!(out, "else {}", for_all.as_deref().unwrap_or("for ever"));
    if let Some(size) = size {
        // It holds for the series of the rules, too.
        let _ = write!(out, "; all series together at most {size}");
    }
    out
}

/// Behind one for all series no rule counts.
fn rules_for_some(retention: &Retention) -> impl Iterator<Item = &RetentionRule> {
    retention.rules.iter().take_while(|rule| !rule.matchers.is_empty())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tidegauge::{MatchOp, Matcher};

    use super::*;

    /// Plain names, those that need quotes, and words of the language.
    const NAMES: &str = "[a-z_][a-z0-9_]{0,5}|\\PC{1,8}|on|by|offset|inf|nan|bool|group_left|__name__";

    fn rule(text: &str) -> RetentionRule {
        text.parse::<KeepRule>().unwrap_or_else(|e| panic!("{text}: {e}")).rule
    }

    #[test]
    fn a_rule_is_a_selector_and_an_age() {
        let found = rule(r#" {job="debug", host!~"a=.*"} = 1d12h "#);
        assert_eq!(found.max_age, Some(Duration::from_secs(36 * 3_600)));
        assert_eq!((found.matchers.len(), found.matchers[1].value()), (2, "a=.*"));
        assert_eq!(rule("up=7d").matchers[0].value(), "up");
        assert_eq!(rule("up{a='b'}=7d").matchers.len(), 2);
        assert_eq!(rule("{a=`}=1s`}=forever").max_age, None);
        assert_eq!(r#"{a="b"}=7d"#.parse::<KeepRule>().unwrap().to_string(), r#"{a="b"}=7d"#);
    }

    proptest! {
        /// The audit log had values as Rust escapes them, and names without the quotes that some need.
        #[test]
        fn a_rule_in_the_audit_log_reads_back_as_the_rule(
            matchers in prop::collection::vec((NAMES, 0..4usize, any::<String>()), 1..4),
            age in prop::option::of((1..1_000_000_000u64, 0..1_000_000_000u32)),
        ) {
            let ops = [MatchOp::Equal, MatchOp::NotEqual, MatchOp::Regex, MatchOp::NotRegex];
            let matcher = |(name, op, value): (String, usize, String)| {
                let value = if op > 1 { value.replace(|c: char| !c.is_alphanumeric(), ".") } else { value };
                Matcher::new(name, ops[op], value).unwrap()
            };
            let matchers: Vec<Matcher> = matchers.into_iter().map(matcher).collect();
            let max_age = age.map(|(seconds, nanos)| Duration::new(seconds, nanos));
            let before = RetentionRule { matchers, max_age };
            let text = tidegauge::internals::rule_text(&before);
            prop_assert_eq!(rule(&text), before, "{}", text);
        }
    }

    #[test]
    fn rules_in_the_audit_log_are_short_and_plain() {
        for text in [
            r#"{job="debug",host!~"a.*"}=604800s"#,
            r#"{__name__="up"}=forever"#,
            r#"{"a.b"="\"\\\n\x1b"}=1s500000000ns"#,
        ] {
            assert_eq!(tidegauge::internals::rule_text(&rule(text)), text);
        }
    }

    #[test]
    fn a_mistake_in_a_rule_is_named() {
        for (text, word) in [
            ("", "no rule"),
            ("7d", "no rule"),
            (r#"{job="debug"}"#, "no rule"),
            (r#"{job="debug"} 7d"#, "no rule"),
            (r#"{job="debug"}=7 parsecs"#, "parsecs"),
            (r#"{job="debug"}="#, "duration"),
            (r#"{job="debug"}=-5d"#, "positive"),
            (r#"{job="debug"}=0"#, "0 would drop"),
            (r#"{job="debug"}=10ms"#, "at least 1s"),
            (r#"{job=~"("}=7d"#, "which series?"),
            (r#"{job}=7d"#, "which series?"),
            ("sum(up)=7d", "which series?"),
            ("{}=7d", "--retention"),
        ] {
            let refused = text.parse::<KeepRule>().expect_err(text);
            assert!(refused.contains(word), "{text}: {refused}");
        }
        let long = format!("{{a=\"{}\"}}=x", "b".repeat(10_000));
        assert!(long.parse::<KeepRule>().unwrap_err().len() < 300);
    }

    #[test]
    fn ages_and_sizes_are_positive() {
        assert_eq!(parse_age("30d"), Ok(Bound::At(Duration::from_secs(30 * 86_400))));
        assert_eq!(parse_size("50GiB"), Ok(Bound::At(50 << 30)));
        assert_eq!((parse_age(" forever"), parse_size("none")), (Ok(Bound::Lifted), Ok(Bound::Lifted)));
        assert!(parse_age("-5d").unwrap_err().contains("must be positive"));
        assert!(parse_size("-5GiB").unwrap_err().contains("must be positive"));
        assert!(parse_age("0").unwrap_err().contains("for ever") && parse_age("999ms").unwrap_err().contains("1s"));
        assert!(parse_size("0B").unwrap_err().contains("write none") && parse_size("50").is_err());
    }

    #[test]
    fn what_is_not_told_stays_as_the_store_has_it() {
        let before = Retention { rules: vec![rule("{a='b'}=1d")], max_bytes: Some(7) };
        assert_eq!(Kept::default().with(before.clone()), before);
        let size = Kept { size: Some(Bound::At(9)), ..Kept::default() }.with(before.clone());
        assert_eq!(size, Retention { max_bytes: Some(9), ..before.clone() });
        let five = Some(Bound::At(Duration::from_secs(5)));
        let age = Kept { age: five, ..Kept::default() }.with(before.clone());
        let for_all = RetentionRule { matchers: Vec::new(), max_age: Some(Duration::from_secs(5)) };
        assert_eq!(age, Retention { rules: vec![for_all.clone()], max_bytes: Some(7) });
        let rules = vec!["{c='d'}=forever".parse().unwrap(), "{e='f'}=2d".parse().unwrap()];
        let both = Kept { age: five, rules, size: None }.with(before);
        assert_eq!(both.rules, [rule("{c='d'}=forever"), rule("{e='f'}=2d"), for_all], "the one for all comes last");
    }

    #[test]
    fn what_is_in_force_is_told_in_the_order_in_which_it_counts() {
        let for_all = |age| RetentionRule { matchers: Vec::new(), max_age: age };
        let month = Some(Duration::from_secs(30 * 86_400));
        for (rules, max_bytes, told) in [
            (vec![], None, "for ever"),
            (vec![for_all(None)], None, "for ever"),
            (vec![for_all(month)], None, "30d"),
            (vec![], Some(50 << 30), "50.0 GiB"),
            (vec![for_all(month), rule("{a='b'}=1d")], Some(50 << 30), "30d or 50.0 GiB"),
            (
                vec![rule("{a='b'}=1d"), rule("{c=~'d'}=forever")],
                None,
                r#"{a="b"}=1d, {c=~"d"}=forever, else for ever"#,
            ),
            (
                vec![rule("{a='b'}=1d"), for_all(month)],
                Some(1),
                r#"{a="b"}=1d, else 30d; all series together at most 1 B"#,
            ),
            (vec![rule("{a='b'}=1d")], Some(1), r#"{a="b"}=1d, else for ever; all series together at most 1 B"#),
        ] {
            assert_eq!(in_force(&Retention { rules, max_bytes }), told);
        }
    }

    /// A size could be set and never be lifted again.
    #[test]
    fn what_was_told_before_can_be_lifted() {
        let for_all = RetentionRule { matchers: Vec::new(), max_age: Some(Duration::from_secs(5)) };
        let before = Retention { rules: vec![rule("{a='b'}=1d"), for_all], max_bytes: Some(7) };
        let size = Kept { size: Some(Bound::Lifted), ..Kept::default() }.with(before.clone());
        assert_eq!(size, Retention { max_bytes: None, ..before.clone() });
        let age = Kept { age: Some(Bound::Lifted), ..Kept::default() };
        assert_eq!(age.with(before.clone()), Retention { rules: Vec::new(), max_bytes: Some(7) });
        let rules = vec!["{c='d'}=2d".parse().unwrap()];
        assert_eq!(Kept { rules, ..age }.with(before).rules, [rule("{c='d'}=2d")], "all others for ever");
    }
}
