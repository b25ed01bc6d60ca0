//! How large a regular expression gets when it is compiled, before it is.

use regex_syntax::hir::{Class, Hir, HirKind};

/// Of a set of characters that are not all ASCII: what their first bytes have in common.
const CLASS_STATES: u64 = 12;
/// Of each of its ranges: most are a few bytes long, and share some.
const RANGE_STATES: u64 = 2;

/// About so many states has the automaton that matches `hir`: a text is matched in at most a few nanoseconds for each of
/// them and each of its bytes.
pub(super) fn states(hir: &Hir) -> u64 {
    let all = |subs: &[Hir]| subs.iter().map(states).fold(1, u64::saturating_add);
    match hir.kind() {
        HirKind::Empty | HirKind::Look(_) => 1,
        HirKind::Literal(literal) => literal.0.len() as u64,
        HirKind::Class(class) if class.is_utf8() && class.maximum_len() == Some(1) => 1,
        HirKind::Class(Class::Unicode(class)) => CLASS_STATES + RANGE_STATES * class.ranges().len() as u64,
        HirKind::Class(Class::Bytes(_)) => 1,
        HirKind::Repetition(repetition) => {
            let times = repetition.max.unwrap_or(repetition.min.saturating_add(1)).max(1);
            states(&repetition.sub).saturating_add(1).saturating_mul(u64::from(times))
        }
        HirKind::Capture(capture) => states(&capture.sub).saturating_add(2),
        HirKind::Concat(subs) => all(subs),
        HirKind::Alternation(subs) => all(subs).saturating_add(subs.len() as u64),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use regex::RegexBuilder;

    fn of(pattern: &str) -> u64 {
        states(&regex_syntax::parse(pattern).unwrap())
    }

    #[test]
    fn repetitions_multiply_and_sequences_add() {
        assert_eq!(of("abc"), 3);
        assert_eq!(of("[ab]{900}"), 900 * 2);
        assert!((17..30).contains(&of("web-.*")), "{}", of("web-.*"));
        assert!(of(r"\pL{500}") > 500_000);
        assert!(of("((a{10}){10}){10}") > 1000);
    }

    proptest! {
        /// What is compiled fits into the bytes that a pattern is charged for, or is smaller than a page.
        #[test]
        fn no_automaton_is_larger_than_said(pattern in r"([a-z]{1,6}|\[a-f\]|\.|\\pL|\\d|é|(\((a|b|\.)\|[a-z]{1,9}\)))(\*|\+|\?|\{1,40\}|\{7\}){0,1}(x|\||y\.\*){0,2}[a-z.]{0,9}") {
            let bytes = of(&pattern) * super::super::pattern::STATE_BYTES + 4096;
            let compiled = RegexBuilder::new(&pattern).size_limit(bytes as usize).build();
            prop_assert!(compiled.is_ok(), "{pattern}: {bytes} bytes, {compiled:?}");
        }
    }
}
