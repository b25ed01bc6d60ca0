//! Cuts a query's text into tokens.

use super::token::{Kind, Token};
use super::{ParseError, Span};

/// Cuts all of `text`. O(length); the last token is [`Kind::End`].
///
/// On a bad character the tokens before it are returned beside the error, so that the
/// parser may report an earlier mistake first.
pub(super) fn tokens(text: &str) -> (Vec<Token<'_>>, Option<ParseError>) {
    let mut lexer = Lexer { text, at: 0, mode: Mode::Expression, parens: 0, tokens: Vec::new() };
    let error = lexer.run().err().map(|(span, message)| ParseError::new(text, span, message));
    let end = text.len();
    lexer.tokens.push(Token { kind: Kind::End, text: "", span: Span::new(end, end) });
    (lexer.tokens, error)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    Expression,
    /// Inside `{...}`: no keyword, no number.
    Braces,
    /// Inside `[...]`: arithmetic on durations only.
    Brackets {
        colon: bool,
        /// Behind the first number, comments may stand too.
        number: bool,
    },
}

struct Lexer<'a> {
    text: &'a str,
    at: usize,
    mode: Mode,
    parens: usize,
    tokens: Vec<Token<'a>>,
}

type Fault = (Span, String);

impl<'a> Lexer<'a> {
    fn peek(&self) -> Option<char> {
        self.text[self.at..].chars().next()
    }

    fn bump(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.at += c.len_utf8();
        Some(c)
    }

    fn take(&mut self, wanted: char) -> bool {
        let found = self.peek() == Some(wanted);
        if found {
            self.at += wanted.len_utf8();
        }
        found
    }

    fn take_while(&mut self, passes: impl Fn(u8) -> bool) {
        self.at += self.text.as_bytes()[self.at..].iter().take_while(|&&b| passes(b)).count();
    }

    fn fault<T>(&self, start: usize, message: String) -> Result<T, Fault> {
        Err((Span::new(start, self.text.len().max(start)), message))
    }

    fn emit(&mut self, start: usize, kind: Kind) {
        self.tokens.push(Token { kind, text: &self.text[start..self.at], span: Span::new(start, self.at) });
    }

    fn run(&mut self) -> Result<(), Fault> {
        loop {
            self.take_while(|b| matches!(b, b' ' | b'\t' | b'\n' | b'\r'));
            let start = self.at;
            let Some(c) = self.peek() else { return self.finish(start) };
            if c == '#' && !matches!(self.mode, Mode::Brackets { number: false, .. }) {
                self.take_while(|b| !matches!(b, b'\n' | b'\r'));
                continue;
            }
            match self.mode {
                Mode::Expression => self.expression(start)?,
                Mode::Braces => self.braces(start)?,
                Mode::Brackets { colon, number } => self.brackets(start, colon, number)?,
            }
        }
    }

    fn finish(&self, start: usize) -> Result<(), Fault> {
        match self.mode {
            Mode::Braces => self.fault(start, "unexpected end of input inside braces".to_owned()),
            Mode::Brackets { number: false, .. } => {
                self.fault(start, "unexpected end of input in duration expression".to_owned())
            }
            _ if self.parens > 0 => self.fault(start, "unclosed left parenthesis".to_owned()),
            Mode::Brackets { .. } => self.fault(start, "unclosed left bracket".to_owned()),
            Mode::Expression => Ok(()),
        }
    }

    fn expression(&mut self, start: usize) -> Result<(), Fault> {
        let next = self.text.as_bytes().get(start + 1).copied();
        let Some(c) = self.bump() else { return Ok(()) };
        let kind = match c {
            '0'..='9' => return self.number_or_duration(start),
            '.' if next.is_some_and(|b| b.is_ascii_digit()) => return self.number_or_duration(start),
            '"' | '\'' | '`' => return self.string(start, c),
            'a'..='z' | 'A'..='Z' | '_' | ':' => {
                self.word(start);
                return Ok(());
            }
            '=' if self.take('=') => Kind::EqualEqual,
            '=' if next == Some(b'~') => {
                return self.fault(start, "unexpected character after '=': '~'".to_owned());
            }
            '=' => Kind::Assign,
            '!' if self.take('=') => Kind::NotEqual,
            '!' => return self.fault(start, format!("unexpected character after '!': {}", shown(self.peek()))),
            '<' if self.take('=') => Kind::LessEqual,
            '<' if self.take('/') => Kind::TrimUpper,
            '<' => Kind::Less,
            '>' if self.take('=') => Kind::GreaterEqual,
            '>' if self.take('/') => Kind::TrimLower,
            '>' => Kind::Greater,
            '{' => {
                self.mode = Mode::Braces;
                Kind::LeftBrace
            }
            '[' => {
                self.mode = Mode::Brackets { colon: false, number: false };
                Kind::LeftBracket
            }
            ']' => return self.fault(start, "unexpected right bracket ']'".to_owned()),
            '@' => Kind::At,
            c => self
                .arithmetic(c)?
                .map_or_else(|| self.fault(start, format!("unexpected character: {}", quoted(c))), Ok)?,
        };
        self.emit(start, kind);
        Ok(())
    }

    /// What expressions and duration expressions have in common.
    fn arithmetic(&mut self, c: char) -> Result<Option<Kind>, Fault> {
        Ok(Some(match c {
            ',' => Kind::Comma,
            '*' => Kind::Mul,
            '/' => Kind::Div,
            '%' => Kind::Mod,
            '+' => Kind::Add,
            '-' => Kind::Sub,
            '^' => Kind::Pow,
            '(' => {
                self.parens += 1;
                Kind::LeftParen
            }
            ')' => {
                if self.parens == 0 {
                    return self.fault(self.at, "unexpected right parenthesis ')'".to_owned());
                }
                self.parens -= 1;
                Kind::RightParen
            }
            _ => return Ok(None),
        }))
    }

    fn brackets(&mut self, start: usize, colon: bool, number: bool) -> Result<(), Fault> {
        let next = self.text.as_bytes().get(start + 1).copied();
        let Some(c) = self.bump() else { return Ok(()) };
        let unexpected = || match number {
            true if c.is_ascii_alphabetic() || c == '_' => {
                format!("unexpected character: {}, expected ':'", quoted(c))
            }
            true => format!("unexpected character: {}", quoted(c)),
            false => format!("unexpected character in duration expression: {}", quoted(c)),
        };
        let kind = match c {
            '0'..='9' => return self.number_in_brackets(start, colon),
            '.' if next.is_some_and(|b| b.is_ascii_digit()) => return self.number_in_brackets(start, colon),
            ']' => {
                self.mode = Mode::Expression;
                Kind::RightBracket
            }
            ':' if colon && number => return self.fault(start, "unexpected colon ':'".to_owned()),
            ':' if colon => {
                return self.fault(self.at, "unexpected repeated colon in duration expression".to_owned());
            }
            ':' if self.tokens.last().is_some_and(|t| t.kind == Kind::LeftBracket) => {
                return self.fault(self.at, "unexpected colon before duration in duration expression".to_owned());
            }
            ':' => {
                self.mode = Mode::Brackets { colon: true, number };
                Kind::Colon
            }
            'a'..='z' | 'A'..='Z' | '_' => {
                self.take_while(|b| b.is_ascii_alphabetic() || b == b'_');
                match Kind::keyword(&self.text[start..self.at]) {
                    Some(kind) if kind.is_duration_function() => kind,
                    _ => return self.fault(start, unexpected()),
                }
            }
            c => self.arithmetic(c)?.map_or_else(|| self.fault(start, unexpected()), Ok)?,
        };
        self.emit(start, kind);
        Ok(())
    }

    fn number_in_brackets(&mut self, start: usize, colon: bool) -> Result<(), Fault> {
        self.mode = Mode::Brackets { colon, number: true };
        self.number_or_duration(start)
    }

    fn braces(&mut self, start: usize) -> Result<(), Fault> {
        let Some(c) = self.bump() else { return Ok(()) };
        let kind = match c {
            'a'..='z' | 'A'..='Z' | '_' => {
                self.take_while(|b| b.is_ascii_alphanumeric() || b == b'_');
                Kind::Identifier
            }
            ',' => Kind::Comma,
            '"' | '\'' | '`' => return self.string(start, c),
            '=' if self.take('~') => Kind::RegexMatch,
            '=' => Kind::Assign,
            '!' if self.take('~') => Kind::RegexNotMatch,
            '!' if self.take('=') => Kind::NotEqual,
            '!' => {
                let message = format!("unexpected character after '!' inside braces: {}", shown(self.peek()));
                return self.fault(start, message);
            }
            '{' => return self.fault(start, "unexpected left brace '{'".to_owned()),
            '}' => {
                self.mode = Mode::Expression;
                Kind::RightBrace
            }
            c => return self.fault(start, format!("unexpected character inside braces: {}", quoted(c))),
        };
        self.emit(start, kind);
        Ok(())
    }

    fn word(&mut self, start: usize) {
        self.take_while(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b':'));
        let word = &self.text[start..self.at];
        let kind = match Kind::keyword(word) {
            // These are young: a metric may have had the name before.
            Some(Kind::Fill | Kind::FillLeft | Kind::FillRight)
                if !self.text[self.at..].trim_start_matches([' ', '\t', '\n', '\r']).starts_with('(') =>
            {
                Kind::Identifier
            }
            Some(kind) => kind,
            None if word.contains(':') => Kind::MetricIdentifier,
            None => Kind::Identifier,
        };
        self.emit(start, kind);
    }

    fn string(&mut self, start: usize, quote: char) -> Result<(), Fault> {
        loop {
            match self.bump() {
                None if quote == '`' => return self.fault(start, "unterminated raw string".to_owned()),
                None => return self.fault(start, "unterminated quoted string".to_owned()),
                Some('\n') if quote != '`' => return self.fault(start, "unterminated quoted string".to_owned()),
                Some('\\') if quote != '`' => self.escape(start, quote)?,
                Some(c) if c == quote => break,
                Some(_) => {}
            }
        }
        self.emit(start, Kind::String);
        Ok(())
    }

    /// What follows a backslash.
    fn escape(&mut self, start: usize, quote: char) -> Result<(), Fault> {
        let ended = || "escape sequence not terminated".to_owned();
        let (digits, radix, code_max) = match self.bump() {
            None => return self.fault(start, ended()),
            Some('a' | 'b' | 'f' | 'n' | 'r' | 't' | 'v' | '\\') => return Ok(()),
            Some(c) if c == quote => return Ok(()),
            Some('0'..='7') => {
                self.at -= 1;
                (3, 8, 255)
            }
            Some('x') => (2, 16, 255),
            Some('u') => (4, 16, u32::from(char::MAX)),
            Some('U') => (8, 16, u32::from(char::MAX)),
            Some(c) => return self.fault(start, format!("unknown escape sequence {}", code_point(c))),
        };
        let mut code = 0u32;
        for _ in 0..digits {
            let Some(c) = self.bump() else { return self.fault(start, ended()) };
            let Some(digit) = c.to_digit(radix) else {
                return self.fault(start, format!("illegal character {} in escape sequence", code_point(c)));
            };
            // Eight digits of four bits fit.
            code = code.wrapping_mul(radix).wrapping_add(digit);
        }
        if code > code_max || (0xd800..0xe000).contains(&code) {
            return self.fault(start, "escape sequence is an invalid Unicode code point".to_owned());
        }
        Ok(())
    }

    fn number_or_duration(&mut self, start: usize) -> Result<(), Fault> {
        self.at = start;
        if self.scan_number() {
            self.emit(start, Kind::Number);
            return Ok(());
        }
        if self.scan_duration_rest() {
            self.emit(start, Kind::Duration);
            return Ok(());
        }
        let read = self.at;
        self.fault(start, format!("bad number or duration syntax: {:?}", &self.text[start..read]))
    }

    fn byte(&self) -> u8 {
        self.text.as_bytes().get(self.at).copied().unwrap_or(0)
    }

    /// Takes one byte if it is one of these.
    fn take_one(&mut self, of: &[u8]) -> bool {
        let found = of.contains(&self.byte()) && self.at < self.text.len();
        self.at += usize::from(found);
        found
    }

    /// Takes a number; stops where it can be none, or is followed by a unit. What looks like one
    /// and is none is the parser's to refuse.
    fn scan_number(&mut self) -> bool {
        let start = self.at;
        let hex = self.take_one(b"0") && self.take_one(b"xX");
        if hex {
            self.take_one(b"_");
        }
        let digit = |b: u8| if hex { b.is_ascii_hexdigit() } else { b.is_ascii_digit() };
        // A first point does not count as one; upstream has it so.
        self.take_one(b".");
        if digit(self.byte()) {
            self.at += 1;
        }
        let (mut dot, mut exponent) = (false, false);
        loop {
            match self.byte() {
                b'.' => {
                    self.at += 1;
                    if dot || self.take_one(b"_.") || hex {
                        return false;
                    }
                    dot = true;
                }
                b'e' | b'E' if !hex => {
                    self.at += 1;
                    if exponent {
                        return false;
                    }
                    exponent = true;
                    self.take_one(b"+-");
                    if self.take_one(b"._eE") || self.at == self.text.len() {
                        return false;
                    }
                }
                b'_' => {
                    self.at += 1;
                    if self.take_one(b"._eE") || self.at == self.text.len() {
                        return false;
                    }
                }
                b if digit(b) => self.at += 1,
                _ => break,
            }
        }
        self.at > start && !(self.byte().is_ascii_alphanumeric() || self.byte() == b'_')
    }

    /// Takes the unit behind a number, and further numbers with units.
    fn scan_duration_rest(&mut self) -> bool {
        if !self.take_one(b"smhdwy") {
            return false;
        }
        self.take_one(b"s");
        while self.byte().is_ascii_digit() {
            self.take_while(|b| b.is_ascii_digit());
            if !self.take_one(b"smhdw") {
                return false;
            }
            self.take_one(b"s");
        }
        if self.byte().is_ascii_alphanumeric() || self.byte() == b'_' {
            self.at += 1;
            return false;
        }
        true
    }
}

/// A character in quotes; what cannot be shown is escaped as in a query's strings.
fn quoted(c: char) -> String {
    let rust = format!("{c:?}");
    match (rust.starts_with("'\\u{"), u32::from(c)) {
        (false, _) => rust,
        (true, code @ ..=0x7f) => format!("'\\x{code:02x}'"),
        (true, code @ ..=0xffff) => format!("'\\u{code:04x}'"),
        (true, code) => format!("'\\U{code:08x}'"),
    }
}

/// `U+005A 'Z'`
fn code_point(c: char) -> String {
    let code = u32::from(c);
    if c.is_control() { format!("U+{code:04X}") } else { format!("U+{code:04X} '{c}'") }
}

fn shown(c: Option<char>) -> String {
    c.map_or_else(|| "end of input".to_owned(), quoted)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(text: &str) -> Vec<Kind> {
        let (tokens, error) = tokens(text);
        assert_eq!(error, None, "{text}");
        tokens.iter().map(|t| t.kind).collect()
    }

    #[test]
    fn a_colon_is_part_of_a_name_outside_brackets_only() {
        assert_eq!(kinds("a:b"), [Kind::MetricIdentifier, Kind::End]);
        let inside = [Kind::Identifier, Kind::LeftBracket, Kind::Duration, Kind::Colon, Kind::Step, Kind::LeftParen];
        assert_eq!(kinds("a[5m:step()]")[..6], inside);
    }

    #[test]
    fn keywords_are_labels_inside_braces_and_fill_needs_a_parenthesis() {
        assert_eq!(kinds("{sum=''}")[1], Kind::Identifier);
        assert_eq!(kinds("fill + fill (0)")[..3], [Kind::Identifier, Kind::Add, Kind::Fill]);
    }

    #[test]
    fn numbers_and_durations_are_told_apart() {
        assert_eq!(kinds("1 1.5e3 0x1f 1_000 .5 1h30m 5ms").len(), 8);
        assert_eq!(kinds("1e3")[0], Kind::Number);
        assert_eq!(kinds("5m")[0], Kind::Duration);
        for bad in ["1.2.3", "5mm", "1__0", "5z", "1e+"] {
            assert!(tokens(bad).1.is_some(), "{bad}");
        }
    }
}
