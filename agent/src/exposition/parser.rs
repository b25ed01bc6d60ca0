//! A whole text, line by line.

use super::{Entry, LineError, ParseError, parse_line};

/// Bytes of the longest line that is read.
pub const LINE_BYTES_MAX: usize = 1 << 20;

/// Which of the two formats a text is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// Prometheus' text format 0.0.4: timestamps in whole milliseconds.
    Text,
    /// OpenMetrics 1.0: timestamps in seconds, `# EOF` at the end.
    OpenMetrics,
}

/// Walks over the entries of a text; stops behind the first error.
///
/// Blank lines and comments are passed over. Holds no copy of the text.
#[derive(Debug)]
pub struct Parser<'a> {
    rest: &'a [u8],
    dialect: Dialect,
    line: u64,
    state: State,
}

#[derive(Debug, PartialEq)]
enum State {
    Reading,
    Ended,
    Stopped,
}

impl<'a> Parser<'a> {
    /// A parser for `text`.
    #[must_use]
    pub fn new(text: &'a [u8], dialect: Dialect) -> Self {
        Self { rest: text, dialect, line: 0, state: State::Reading }
    }

    /// The number of the line last read, counted from 1; 0 before the first.
    #[must_use]
    pub fn line(&self) -> u64 {
        self.line
    }

    fn step(&mut self) -> Result<Option<Entry<'a>>, LineError> {
        while !self.rest.is_empty() {
            self.line += 1;
            let end = self.rest.iter().position(|&b| b == b'\n').unwrap_or(self.rest.len());
            let line = &self.rest[..end];
            self.rest = self.rest.get(end + 1..).unwrap_or(&[]);
            if line.len() > LINE_BYTES_MAX {
                return Err(LineError::TooLong { limit: LINE_BYTES_MAX });
            }
            match parse_line(line, self.dialect)? {
                Entry::Nothing => {}
                _ if self.state == State::Ended => return Err(LineError::AfterEof),
                Entry::End => self.state = State::Ended,
                entry => return Ok(Some(entry)),
            }
        }
        match (self.dialect, &self.state) {
            (Dialect::OpenMetrics, State::Reading) => Err(LineError::MissingEof),
            _ => Ok(None),
        }
    }
}

impl<'a> Iterator for Parser<'a> {
    type Item = Result<Entry<'a>, ParseError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.state == State::Stopped {
            return None;
        }
        let step = self.step();
        if !matches!(step, Ok(Some(_))) {
            self.state = State::Stopped;
        }
        step.map_err(|error| ParseError { line: self.line, error }).transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(text: &str, dialect: Dialect) -> Result<usize, ParseError> {
        let mut samples = 0;
        for entry in Parser::new(text.as_bytes(), dialect) {
            if let Entry::Sample(sample) = entry? {
                sample.series.labels().expect("labels");
                samples += 1;
            }
        }
        Ok(samples)
    }

    #[test]
    fn an_error_names_its_line_and_ends_the_walk() {
        let text = "# HELP a x\n\na 1\na{ 2\na 3\n";
        let error = parse(text, Dialect::Text).unwrap_err();
        assert_eq!(error.line, 4);
        let mut parser = Parser::new(text.as_bytes(), Dialect::Text);
        assert_eq!(parser.by_ref().filter(|e| e.is_err()).count(), 1);
        assert!(parser.next().is_none());
    }

    #[test]
    fn open_metrics_must_end_with_eof_and_text_need_not() {
        assert_eq!(parse("a 1", Dialect::Text), Ok(1));
        assert_eq!(parse("a 1\n# EOF\n", Dialect::OpenMetrics), Ok(1));
        let error = |text| parse(text, Dialect::OpenMetrics).unwrap_err();
        assert_eq!(error("a 1\n"), ParseError { line: 1, error: LineError::MissingEof });
        assert_eq!(error("# EOF\na 1\n"), ParseError { line: 2, error: LineError::AfterEof });
    }

    #[test]
    fn a_line_without_end_is_refused() {
        let long = "a".repeat(LINE_BYTES_MAX + 1);
        assert_eq!(parse(&long, Dialect::Text).unwrap_err().error, LineError::TooLong { limit: LINE_BYTES_MAX });
    }

    #[test]
    fn real_scrapes_are_read_to_the_last_sample() {
        let Some(folder) = std::env::var_os("TIDEGAUGE_DATA") else {
            return eprintln!("skipped: TIDEGAUGE_DATA names no folder with node_exporter_*.prom");
        };
        for n in 1..=3 {
            let path = std::path::Path::new(&folder).join(format!("node_exporter_{n}.prom"));
            let text = std::fs::read_to_string(path).expect("TIDEGAUGE_DATA holds the scrapes");
            let lines = text.lines().filter(|l| !l.is_empty() && !l.starts_with('#')).count();
            assert!(lines > 500, "{lines}");
            assert_eq!(parse(&text, Dialect::Text), Ok(lines));
            // A sum that another way of reading the lines must agree with.
            let naive: f64 =
                text.lines().filter(|l| !l.starts_with('#')).map(last_word).filter(|v| v.is_finite()).sum();
            let sum: f64 = Parser::new(text.as_bytes(), Dialect::Text)
                .filter_map(|entry| match entry.unwrap() {
                    Entry::Sample(sample) => Some(sample.value),
                    _ => None,
                })
                .filter(|v| v.is_finite())
                .sum();
            assert_eq!(naive, sum);
        }
    }

    fn last_word(line: &str) -> f64 {
        line.rsplit(' ').next().unwrap().parse().unwrap()
    }

    fn walk(bytes: &[u8], dialect: Dialect) {
        for entry in Parser::new(bytes, dialect).flatten() {
            if let Entry::Sample(sample) = entry {
                let _ = sample.series.labels();
            }
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>) {
            walk(&bytes, Dialect::Text);
            walk(&bytes, Dialect::OpenMetrics);
        }

        #[test]
        fn no_text_of_its_own_alphabet_makes_it_panic(text in "([a-c{}\",=\\\\ #\n0-9.+é-]|# TYPE |# HELP |# EOF\n|0x|p-){0,80}") {
            walk(text.as_bytes(), Dialect::Text);
            walk(text.as_bytes(), Dialect::OpenMetrics);
        }

        #[test]
        fn what_is_written_is_read_back(
            name in "[a-zA-Z_:][a-zA-Z0-9_:]{0,8}|[ -~é\n]{1,8}",
            labels in proptest::collection::vec(("[a-z_]{1,4}|[ -~ü\n]{1,6}", "[ -~\\PC\n]{0,12}"), 0..5),
        ) {
            let mut out = String::new();
            super::super::write_series(&mut out, &name, labels.iter().map(|(n, v)| (n.as_str(), v.as_str())));
            out.push_str(" 1");
            prop_assert!(!out.contains('\n'));
            let Ok(Entry::Sample(sample)) = parse_line(out.as_bytes(), Dialect::Text) else {
                return Err(TestCaseError::fail(out));
            };
            let mut expected = vec![(tidegauge::METRIC_NAME.to_owned(), name)];
            expected.extend(labels);
            let found: Vec<_> =
                sample.series.labels().unwrap().into_iter().map(|(n, v)| (n.into_owned(), v.into_owned())).collect();
            prop_assert_eq!(found, expected);
        }
    }
}
