//! Regular expressions with Prometheus' meaning: those of RE2 as Go writes them, compiled by
//! a crate whose language differs in places.
//!
//! Go's `\d \w \s \b` know ASCII only, a brace that repeats nothing stands for itself, so
//! does a bracket within a class, `\Q..\E` quotes, and groups may share a name.

use std::collections::HashMap;
use std::iter::Peekable;
use std::str::Chars;
use std::sync::Arc;

use regex::{Regex, RegexBuilder};
use regex_syntax::hir::{Hir, HirKind};

use super::lately::Lately;
use super::prefixes::prefixes;
use super::states::states;

/// Compiled regexes above this size are refused.
const REGEX_BYTES_MAX: usize = 32 << 20;
/// The greatest count of a repetition, and of all that lie within one another together.
const REPEAT_MAX: u32 = 1000;
/// Bytes of a state of an automaton, and of what is kept beside it to run it.
pub(super) const STATE_BYTES: u64 = 64;
/// The names that `[:name:]` knows.
const NAMED: [&str; 14] = [
    "alnum", "alpha", "ascii", "blank", "cntrl", "digit", "graph", "lower", "print", "punct", "space", "upper", "word",
    "xdigit",
];

/// Compiles an expression that must match a whole text; `.` matches line ends too.
///
/// Matching takes time linear in the text's length, whatever the expression.
///
/// # Errors
/// In one line, what is wrong with it, or that it is too large when compiled.
///
/// # Concurrency
/// Small ones that were asked for lately are kept for all threads: to ask again takes about a microsecond.
pub fn compile_anchored(pattern: &str) -> Result<Pattern, String> {
    static LATELY: Lately = Lately::new();
    LATELY.get_or(pattern, || compile(pattern))
}

pub(super) fn compile(pattern: &str) -> Result<Pattern, String> {
    let translated = Translator::new(pattern).translate()?;
    // Alone first: `a)|(b` must not become legal by being wrapped.
    let parsed = regex_syntax::parse(&translated).map_err(|e| one_line(&e.to_string()))?;
    if !repeats_at_most(&parsed, REPEAT_MAX) {
        return Err("error parsing regexp: invalid repeat count: the counts of repetitions within one another multiply to more than 1000".to_owned());
    }
    let whole = RegexBuilder::new(&format!("^(?s:{translated})$")).size_limit(REGEX_BYTES_MAX).build();
    let regex = whole.map_err(|e| one_line(&e.to_string()))?;
    Ok(Pattern { regex, states: states(&parsed), prefixes: prefixes(&parsed).map(Arc::from) })
}

/// An expression that is compiled, and what it takes. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Pattern {
    regex: Regex,
    states: u64,
    prefixes: Option<Arc<[Box<[u8]>]>>,
}

impl Pattern {
    /// The expression, which matches whole texts only.
    #[must_use]
    pub fn regex(&self) -> &Regex {
        &self.regex
    }

    /// What any text that it matches begins with: one of these, ascending, none the beginning of another. `None` if
    /// that may be anything.
    #[must_use]
    pub fn prefixes(&self) -> Option<&[Box<[u8]>]> {
        self.prefixes.as_deref()
    }

    /// Steps that it takes to match a text, at most: one for each byte and state, a few nanoseconds each. Most texts
    /// take a step a byte.
    #[must_use]
    pub fn steps(&self, text: &str) -> u64 {
        self.states.saturating_mul(text.len() as u64)
    }

    /// Bytes of memory that it takes, about, or fewer.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.states.saturating_mul(STATE_BYTES)
    }
}

/// Whether nothing is repeated more than `most` times by counts, one within another.
fn repeats_at_most(hir: &Hir, most: u32) -> bool {
    match hir.kind() {
        HirKind::Repetition(repetition) => {
            // A star has no count.
            let count = repetition.max.unwrap_or(repetition.min).max(1);
            count <= most && repeats_at_most(&repetition.sub, most / count)
        }
        HirKind::Capture(capture) => repeats_at_most(&capture.sub, most),
        HirKind::Concat(all) | HirKind::Alternation(all) => all.iter().all(|hir| repeats_at_most(hir, most)),
        HirKind::Empty | HirKind::Literal(_) | HirKind::Class(_) | HirKind::Look(_) => true,
    }
}

/// The parser draws the place over several lines; its last one has the words.
fn one_line(text: &str) -> String {
    let words = text.lines().last().unwrap_or_default();
    format!("error parsing regexp: {}", words.strip_prefix("error: ").unwrap_or(words))
}

struct Translator<'a> {
    rest: Peekable<Chars<'a>>,
    out: String,
    /// How often each name of a group was given.
    names: HashMap<String, usize>,
}

impl<'a> Translator<'a> {
    fn new(pattern: &'a str) -> Self {
        Self { rest: pattern.chars().peekable(), out: String::with_capacity(pattern.len() + 16), names: HashMap::new() }
    }

    fn translate(mut self) -> Result<String, String> {
        // Whether what stands before is a repetition, which must not be repeated.
        let mut repeated = false;
        while let Some(c) = self.rest.next() {
            let mut repeats = false;
            match c {
                '\\' => self.escape()?,
                '[' => self.class()?,
                '(' => self.group()?,
                '*' | '+' | '?' => {
                    self.out.push(c);
                    repeats = true;
                }
                '{' => match self.count()? {
                    Some(count) => {
                        self.out.push_str(&count);
                        repeats = true;
                    }
                    None => self.out.push_str(r"\{"),
                },
                c => self.out.push(c),
            }
            if repeats {
                if repeated {
                    return Err(format!("error parsing regexp: invalid nested repetition operator: `{c}`"));
                }
                if self.rest.next_if_eq(&'?').is_some() {
                    self.out.push('?');
                }
            }
            repeated = repeats;
        }
        Ok(self.out)
    }

    /// Behind a backslash, outside of a class.
    fn escape(&mut self) -> Result<(), String> {
        let Some(c) = self.rest.next() else {
            return Err(r"error parsing regexp: trailing backslash at end of expression: ``".to_owned());
        };
        match c {
            'd' | 'w' | 's' => self.out.push_str(&format!("[{}]", ascii(c))),
            'D' | 'W' | 'S' => self.out.push_str(&format!("[^{}]", ascii(c.to_ascii_lowercase()))),
            'b' => self.out.push_str(r"(?-u:\b)"),
            'Q' => self.quoted()?,
            c => self.plain_escape(c)?,
        }
        Ok(())
    }

    /// Escapes that mean the same in and outside of classes.
    fn plain_escape(&mut self, c: char) -> Result<(), String> {
        match c {
            '0'..='7' => {
                let mut code = c.to_digit(8).unwrap_or(0);
                let more = |rest: &mut Peekable<Chars<'_>>| rest.next_if(|d| d.is_digit(8)).and_then(|d| d.to_digit(8));
                let Some(second) = more(&mut self.rest) else {
                    return if c == '0' {
                        self.out.push_str(r"\x{0}");
                        Ok(())
                    } else {
                        Err(invalid_escape(c))
                    };
                };
                code = code * 8 + second;
                if let Some(third) = more(&mut self.rest) {
                    code = code * 8 + third;
                }
                self.out.push_str(&format!(r"\x{{{code:x}}}"));
            }
            'p' | 'P' => self.unicode_class(c == 'P')?,
            'x' => self.hexadecimal()?,
            // Of these the other language has more, with meanings of its own.
            'A' | 'B' | 'a' | 'f' | 'n' | 'r' | 't' | 'v' | 'z' => {
                self.out.push('\\');
                self.out.push(c);
            }
            c if c.is_ascii_punctuation() => {
                // `\<` is no letter's edge here.
                match c {
                    '<' | '>' => self.out.push(c),
                    c => self.out.extend(['\\', c]),
                }
            }
            c => return Err(invalid_escape(c)),
        }
        Ok(())
    }

    /// Behind `\p` or `\P`: a letter, or a name in braces.
    fn unicode_class(&mut self, mut negated: bool) -> Result<(), String> {
        let name = match self.rest.next() {
            Some('{') => self.braced(|c| c.is_ascii_alphabetic() || matches!(c, '_' | '^')),
            Some(c) if c.is_ascii_alphabetic() => Some(c.to_string()),
            _ => None,
        };
        let name = name.ok_or("error parsing regexp: invalid character class range")?;
        let plain = name.strip_prefix('^').inspect(|_| negated = !negated).unwrap_or(&name);
        if plain.is_empty() || plain.contains('^') {
            return Err(format!("error parsing regexp: invalid character class range: `\\p{{{name}}}`"));
        }
        let letter = if negated { 'P' } else { 'p' };
        self.out.push_str(&format!("\\{letter}{{{plain}}}"));
        Ok(())
    }

    /// Behind `\x`: two digits, or up to eight in braces.
    fn hexadecimal(&mut self) -> Result<(), String> {
        let digits = match self.rest.next_if_eq(&'{') {
            Some(_) => self.braced(|c| c.is_ascii_hexdigit()).filter(|digits| (1..=8).contains(&digits.len())),
            None => {
                let digits: String =
                    std::iter::from_fn(|| self.rest.next_if(char::is_ascii_hexdigit)).take(2).collect();
                Some(digits).filter(|digits| digits.len() == 2)
            }
        };
        self.out.push_str(&format!(r"\x{{{}}}", digits.ok_or_else(|| invalid_escape('x'))?));
        Ok(())
    }

    /// Behind `{`: what stands before the `}`, if all of it is fit for it.
    fn braced(&mut self, fit: fn(char) -> bool) -> Option<String> {
        let inner: String = std::iter::from_fn(|| self.rest.next_if(|&c| fit(c))).collect();
        self.rest.next_if_eq(&'}').map(|_| inner)
    }

    /// Text until `\E` stands for itself. Without one, Prometheus' own closing parenthesis would be text too.
    fn quoted(&mut self) -> Result<(), String> {
        let mut text = String::new();
        loop {
            match self.rest.next() {
                Some('\\') if self.rest.next_if_eq(&'E').is_some() => break,
                Some(c) => text.push(c),
                None => return Err("error parsing regexp: missing closing ): a `\\Q` has no `\\E`".to_owned()),
            }
        }
        self.out.push_str(&regex::escape(&text));
        Ok(())
    }

    /// Behind `[`.
    fn class(&mut self) -> Result<(), String> {
        self.out.push('[');
        if self.rest.next_if_eq(&'^').is_some() {
            self.out.push('^');
        }
        let mut first = true;
        loop {
            let c = self.rest.next().ok_or("error parsing regexp: missing closing ]")?;
            match c {
                ']' if !first => break,
                // First, both stand for themselves.
                ']' | '-' if first => self.out.extend(['\\', c]),
                '-' if self.rest.next_if_eq(&'-').is_some() => self.out.push_str(r"-\-"),
                '[' if self.rest.peek() == Some(&':') => self.named_class()?,
                '[' | '&' | '~' => self.out.extend(['\\', c]),
                '\\' => match self.rest.next() {
                    Some(c @ ('d' | 'w' | 's')) => self.out.push_str(ascii(c)),
                    Some(c @ ('D' | 'W' | 'S')) => {
                        self.out.push_str(&format!("[^{}]", ascii(c.to_ascii_lowercase())));
                    }
                    Some(c) => self.plain_escape(c)?,
                    None => return Err("error parsing regexp: missing closing ]".to_owned()),
                },
                c => self.out.push(c),
            }
            first = false;
        }
        self.out.push(']');
        Ok(())
    }

    /// `[:alpha:]` within a class; a bracket that no `:]` follows stands for itself.
    fn named_class(&mut self) -> Result<(), String> {
        // Behind the colon that was seen: in `[[:]` it does not end what it begins.
        let ahead = self.rest.clone().skip(1);
        let ends = ahead.clone().zip(ahead.skip(1)).position(|pair| pair == (':', ']'));
        let Some(end) = ends else {
            self.out.push_str(r"\[");
            return Ok(());
        };
        let name: String = self.rest.by_ref().skip(1).take(end).collect();
        self.rest.by_ref().take(2).for_each(drop);
        if !NAMED.contains(&name.strip_prefix('^').unwrap_or(&name)) {
            return Err(format!("error parsing regexp: invalid character class range: `[:{name}:]`"));
        }
        self.out.push_str(&format!("[:{name}:]"));
        Ok(())
    }

    /// Behind `(`: a name, or flags of which the other language has more.
    fn group(&mut self) -> Result<(), String> {
        self.out.push('(');
        if self.rest.next_if_eq(&'?').is_none() {
            return Ok(());
        }
        let mut ahead = self.rest.clone();
        let begin = if ahead.next_if_eq(&'P').is_some() { "(?P<" } else { "(?<" };
        if ahead.next_if_eq(&'<').is_some() {
            self.rest = ahead;
            return self.name(begin);
        }
        self.out.push('?');
        while let Some(c) = self.rest.next_if(|c| c.is_ascii_lowercase() || matches!(c, 'R' | 'U' | '-')) {
            if !matches!(c, 'i' | 'm' | 's' | 'U' | '-') {
                return Err(format!("error parsing regexp: invalid or unsupported Perl syntax: `(?{c}`"));
            }
            self.out.push(c);
        }
        Ok(())
    }

    /// Behind `(?P<` or `(?<`: letters, digits and `_`, in any order and even where another group has the name.
    fn name(&mut self, begin: &str) -> Result<(), String> {
        let name: String = std::iter::from_fn(|| self.rest.next_if(|&c| c != '>')).collect();
        let fit = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        let end = if self.rest.next().is_some() { ">" } else { "" };
        if !fit || end.is_empty() {
            return Err(format!("error parsing regexp: invalid named capture: `{begin}{name}{end}`"));
        }
        let given = self.names.entry(name.clone()).or_insert(0);
        *given += 1;
        // No name that is given has a dot.
        let first = if name.starts_with(|c: char| c.is_ascii_digit()) { "_." } else { "" };
        let again = if *given > 1 { format!(".{given}") } else { String::new() };
        self.out.push_str(&format!("?P<{first}{name}{again}>"));
        Ok(())
    }

    /// Behind `{`: `n}`, `n,}` or `n,m}`, if that stands there.
    fn count(&mut self) -> Result<Option<String>, String> {
        let ahead: String = self.rest.clone().take(24).take_while(|&c| c != '}').collect();
        let whole = self.rest.clone().nth(ahead.chars().count()) == Some('}');
        let number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        let (low, high) = ahead.split_once(',').map_or((ahead.as_str(), None), |(low, high)| (low, Some(high)));
        if !whole || !number(low) || !high.is_none_or(|high| high.is_empty() || number(high)) {
            return Ok(None);
        }
        let value = |text: &str| text.parse::<u32>().ok().filter(|&n| n <= REPEAT_MAX);
        let ends = high.filter(|high| !high.is_empty()).map_or(Some(REPEAT_MAX), value);
        match (value(low), ends) {
            (Some(low), Some(high)) if low <= high => {}
            _ => return Err(format!("error parsing regexp: invalid repeat count: `{{{ahead}}}`")),
        }
        self.rest.by_ref().take(ahead.len() + 1).for_each(drop);
        Ok(Some(format!("{{{ahead}}}")))
    }
}

/// The name of a group as it was given.
pub(super) fn written_name(own: &str) -> &str {
    let name = own.strip_prefix("_.").unwrap_or(own);
    name.split_once('.').map_or(name, |(name, _)| name)
}

/// What `\d`, `\w` and `\s` stand for within a class.
fn ascii(class: char) -> &'static str {
    match class {
        'd' => "0-9",
        'w' => "0-9A-Za-z_",
        _ => r"\t\n\x0c\r ",
    }
}

fn invalid_escape(c: char) -> String {
    format!("error parsing regexp: invalid escape sequence: `\\{c}`")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn matches(pattern: &str, text: &str) -> bool {
        compile_anchored(pattern).unwrap_or_else(|e| panic!("{pattern}: {e}")).regex().is_match(text)
    }

    #[test]
    fn a_colon_that_begins_no_name_stands_for_itself() {
        for (pattern, yes, no) in [("[[:]", ":", "]"), ("[[:]+", "[:", "a"), ("[[:a]", "a", "b"), ("[a[:]x", ":x", "x")]
        {
            assert!(matches(pattern, yes) && !matches(pattern, no), "{pattern}");
        }
        assert!(matches("[[:digit:]:]+", "1:2"));
    }

    proptest! {
        /// A pattern comes from outside: it is compiled or refused, and nothing else.
        #[test]
        fn patterns_of_odd_brackets_do_not_panic(pattern in "[\\[\\]:^a\\-\\\\(){},?*é1]{0,24}") {
            let _ = compile_anchored(&pattern);
        }
    }

    #[test]
    fn classes_by_letter_know_ascii_only() {
        for (pattern, yes, no) in [
            (r"\d+", "0189", "١"),
            (r"\D", "١", "1"),
            (r"\w+", "aZ_9", "é"),
            (r"\W", "é", "a"),
            (r"\s", " ", "\u{a0}"),
            (r"\S", "\u{a0}", "\t"),
            (r"[\d.]+", "1.2", "١"),
            (r"[^\w]", "é", "e"),
            (r"[\D]", "é", "1"),
            (r"[[:alpha:]_]+", "a_b", "é"),
            (r"\pL", "é", "1"),
            (r"é\b.*", "éa", "éé"),
        ] {
            assert!(matches(pattern, yes), "{pattern} {yes}");
            assert!(!matches(pattern, no), "{pattern} {no}");
        }
    }

    #[test]
    fn what_stands_for_itself_in_go_does_so_here() {
        for (pattern, text) in [
            ("/api/{id}/x", "/api/{id}/x"),
            ("a{,5}", "a{,5}"),
            ("a{b", "a{b"),
            ("x{2}", "xx"),
            ("x{1,}y{0,2}", "xxxy"),
            ("[[a]", "["),
            ("[a&&b]", "&"),
            ("[~~a]", "~"),
            ("[]a]", "]"),
            ("[^]a]", "b"),
            ("[--/]", "."),
            ("[+--]", ","),
            (r"\Qa.b*\E+", "a.b**"),
            (r"\Q(\E", "("),
            (r"\p{Lu}\p{L}+", "Ab"),
            (r"\p{^Greek}\P{^Greek}", "aα"),
            (r"[\p{Lu}\x{e9}]+", "Aé"),
            (r"\x{e9}\x{1F600}\x{3000}", "é😀\u{3000}"),
            (r"\x{65}*\x41{2}", "eeeAA"),
            (r"(a{10}){10}", &"a".repeat(100)),
            (".{0,1000}.{0,1000}", &"é".repeat(1500)),
            (r"\pL{200}", &"é".repeat(200)),
            (r"\<a\>", "<a>"),
            (r"[\<]", "<"),
            (r"\101\x42\x{43}", "ABC"),
            (r"\0", "\0"),
            ("(?i)abc", "ABC"),
            ("(?i:a)b", "Ab"),
            ("(?P<n>a)(?<m>b)", "ab"),
            ("(?P<1n>a)(?P<n>b)(?<n>c)(?P<1n>d)", "abcd"),
            ("a.b", "a\nb"),
            ("a*?b+?c??", "aab"),
            ("", ""),
            ("a|", ""),
        ] {
            assert!(matches(pattern, text), "{pattern} {text}");
        }
    }

    #[test]
    fn what_go_refuses_is_refused_in_one_line() {
        for pattern in [
            "(",
            ")",
            "a)|(b",
            "[",
            "[a",
            r"[\",
            r"\",
            "*",
            "a**",
            "a+*",
            "x{2}{3}",
            "x{1001}",
            "x{2,1}",
            r"\1",
            r"\8",
            r"\u{61}",
            r"\y",
            "(?x)a",
            "(?u:a)",
            "(?R)a",
            r"\pX",
            "[b-a]",
            "((x{100}){100}){100}",
            "(x{100}){11}",
            "(?:(x{40})*){30}",
            r"\p{",
            r"\p{}",
            r"\p{^}",
            r"\p{Lu",
            r"\p1",
            r"\x",
            r"\x4",
            r"\x{}",
            r"\x{110000}",
            r"\x{4g}",
            r"\Qa",
            "[[:foo:]]",
            "[[:a]b[c:]",
            "(?=a)",
            "(?P<>a)",
            "(?P<a-b>a)",
            "(?P<é>a)",
            "(?P<a.b>a)",
            "(?P<a",
            "(?<=a)b>",
        ] {
            let why = compile_anchored(pattern).expect_err(pattern);
            assert!(!why.is_empty() && !why.contains('\n'), "{pattern}: {why}");
        }
    }

    /// What a dashboard asks when all of many hosts are chosen; each dot is any character.
    #[test]
    fn thousands_of_alternatives_are_compiled() {
        let host = |n: usize| format!("ip-10-0-{n}.eu-west-1.compute.internal:9100");
        let all = |count: usize| (0..count).map(host).collect::<Vec<_>>().join("|");
        let many = compile_anchored(&all(3000)).unwrap();
        assert!(many.regex().is_match(&host(2999)) && !many.regex().is_match(&host(3000)));
        let why = compile_anchored(&all(30_000)).unwrap_err();
        assert!(why.contains("size limit"), "{why}");
    }

    proptest! {
        #[test]
        fn no_pattern_makes_it_panic(pattern in "(\\PC|[\\[\\](){}*+?|\\\\^$.,:&~<>-]|[dwsQEpxP0-9]){0,24}", text in any::<String>()) {
            if let Ok(compiled) = compile_anchored(&pattern) {
                let _ = compiled.regex().is_match(&text);
            }
        }

        #[test]
        fn quoted_text_matches_itself(text in "[^\\\\]*") {
            let pattern = format!(r"\Q{text}\E");
            prop_assert!(matches(&pattern, &text));
        }
    }
}
