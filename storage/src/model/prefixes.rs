//! How texts begin that an expression matches, so that a dictionary is searched and not looked through.

use regex_syntax::hir::Hir;
use regex_syntax::hir::literal::{ExtractKind, Extractor};

/// Characters of a class that count as ways to begin: letters of either case, but not ten digits, which stand together.
const CLASS_MOST: usize = 4;

/// What any text that the whole expression matches begins with: one of these, ascending, none the beginning of another.
/// `None` if that is no help: it may begin with anything, or with too many things to tell.
pub(super) fn prefixes(hir: &Hir) -> Option<Vec<Box<[u8]>>> {
    let found = Extractor::new().kind(ExtractKind::Prefix).limit_class(CLASS_MOST).extract(hir);
    let mut all: Vec<Box<[u8]>> = found.literals()?.iter().map(|literal| literal.as_bytes().into()).collect();
    all.sort_unstable();
    all.dedup_by(|next, before| next.starts_with(before));
    let tells = all.iter().all(|prefix| !prefix.is_empty());
    tells.then_some(all)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use crate::model::compile_anchored;

    fn prefixes(pattern: &str) -> Option<Vec<String>> {
        let pattern = compile_anchored(pattern).unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        pattern.prefixes().map(|all| all.iter().map(|prefix| text(prefix)).collect())
    }

    #[test]
    fn an_expression_tells_how_its_texts_begin() {
        for (pattern, expected) in [
            ("host-1.*", &["host-1"][..]),
            ("web|db|dbx", &["db", "web"]),
            ("(eu|us)-(west|east)-[0-9]+", &["eu-east-", "eu-west-", "us-east-", "us-west-"]),
            ("a{2}b+", &["aab"]),
            ("(?i)ab", &["AB", "Ab", "aB", "ab"]),
            ("[ab]c?", &["a", "b"]),
        ] {
            assert_eq!(prefixes(pattern).unwrap(), expected, "{pattern}");
        }
        for pattern in [".*", ".+x", "", "a|", "a*", "[^a]b", "\\pL+"] {
            assert_eq!(prefixes(pattern), None, "{pattern}");
        }
    }

    proptest! {
        #[test]
        fn what_matches_begins_so(
            pattern in "(\\(\\?[is]\\))?[abé.^$]{0,3}([ab]\\|(b|é[ab]?|\\.)){0,2}[ab*+?]{0,2}",
            texts in prop::collection::vec("[abABé\n]{0,5}", 20),
        ) {
            let Ok(pattern) = compile_anchored(&pattern) else { return Ok(()) };
            let Some(prefixes) = pattern.prefixes() else { return Ok(()) };
            prop_assert!(prefixes.is_sorted_by(|a, b| a < b && !b.starts_with(a)));
            for text in texts.iter().filter(|text| pattern.regex().is_match(text)) {
                prop_assert!(prefixes.iter().any(|prefix| text.as_bytes().starts_with(prefix)), "{text:?}: {prefixes:?}");
            }
        }
    }
}
