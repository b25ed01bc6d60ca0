//! What stands for `$1` and `${name}`: as Go's `Regexp.Expand` has it.

use regex::{Captures, Regex};

use super::pattern::written_name;

/// Appends `template` to `out`, each reference to a group replaced by what the group has matched.
///
/// `$$` is a dollar, and so is one that begins no reference. A name is as long as it can be: `$1x` is `${1x}`. Of
/// several groups of one name the first that has matched counts; a group that has not, or that is not there, is empty.
pub fn expand(regex: &Regex, captures: &Captures<'_>, template: &str, out: &mut String) {
    let mut rest = template;
    while let Some((before, behind)) = rest.split_once('$') {
        out.push_str(before);
        rest = behind;
        if let Some(behind) = rest.strip_prefix('$') {
            out.push('$');
            rest = behind;
        } else if let Some((name, behind)) = reference(rest) {
            out.push_str(group(regex, captures, name));
            rest = behind;
        } else {
            out.push('$');
        }
    }
    out.push_str(rest);
}

/// A name behind a dollar, and what follows it.
fn reference(text: &str) -> Option<(&str, &str)> {
    let braced = text.strip_prefix('{');
    let text = braced.unwrap_or(text);
    let end = text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len());
    let (name, behind) = text.split_at(end);
    if name.is_empty() {
        return None;
    }
    Some((name, if braced.is_some() { behind.strip_prefix('}')? } else { behind }))
}

fn group<'t>(regex: &Regex, captures: &Captures<'t>, name: &str) -> &'t str {
    let is_number = name.bytes().all(|b| b.is_ascii_digit()) && (name == "0" || !name.starts_with('0'));
    let found = match name.parse::<usize>() {
        Ok(number) if is_number => captures.get(number),
        _ => {
            let named = regex.capture_names().enumerate();
            let named = named.filter(|(_, own)| own.is_some_and(|own| written_name(own) == name));
            named.into_iter().find_map(|(number, _)| captures.get(number))
        }
    };
    found.map_or("", |found| found.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::compile_anchored;

    fn made(pattern: &str, template: &str, value: &str) -> String {
        let compiled = compile_anchored(pattern).unwrap_or_else(|e| panic!("{pattern}: {e}"));
        let regex = compiled.regex();
        let mut out = String::new();
        expand(regex, &regex.captures(value).unwrap(), template, &mut out);
        out
    }

    #[test]
    fn references_are_as_long_as_they_can_be() {
        let pair = "(?P<a>.)(.)";
        for (template, expected) in [
            ("$1-$2-$a-${a}", "x-y-x-x"),
            ("$0", "xy"),
            ("$1x", ""),
            ("${1}x", "xx"),
            ("$1é!", "!"),
            ("$01 ${00}", " "),
            ("$3 ${nobody}", " "),
            ("$$1 $", "$1 $"),
            ("${1 ${} $-", "${1 ${} $-"),
            ("$99999999999999999999", ""),
        ] {
            assert_eq!(made(pair, template, "xy"), expected, "{template}");
        }
    }

    #[test]
    fn names_may_begin_with_digits_and_be_given_twice() {
        assert_eq!(made("(?P<1a>.)(?P<_>.)", "$1a ${_} $1", "xy"), "x y x");
        assert_eq!(made("(?P<n>a)|(?P<n>b)", "<$n>", "b"), "<b>");
        assert_eq!(made("(?P<n>.)(?<n>.)", "<$n>", "xy"), "<x>");
    }
}
