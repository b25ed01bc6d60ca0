//! Lines of a file, one at a time, none longer than a bound.

use std::io::{self, BufRead, BufReader};

use super::input::Input;
use crate::exposition::LINE_BYTES_MAX;

/// Bytes that are read from the file at a time.
const BUFFER_BYTES: usize = 256 << 10;

/// Reads lines into one buffer.
pub(super) struct Lines<R> {
    input: R,
    line: Vec<u8>,
    number: u64,
    bytes: u64,
}

/// A line, or the news that it was too long to be kept.
#[derive(Debug, PartialEq)]
pub(super) enum Line<'a> {
    Whole(&'a [u8]),
    /// The last line, which no line feed ends: it may have been cut off.
    Unended(&'a [u8]),
    TooLong,
}

impl<'e> Lines<BufReader<Input<'e>>> {
    pub(super) fn of(input: Input<'e>) -> Self {
        Self::new(BufReader::with_capacity(BUFFER_BYTES, input))
    }
}

impl<R: BufRead> Lines<R> {
    pub(super) fn new(input: R) -> Self {
        Self { input, line: Vec::new(), number: 0, bytes: 0 }
    }

    /// The number of the line last read, counted from 1.
    pub(super) fn number(&self) -> u64 {
        self.number
    }

    /// Bytes read so far.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The next line without its line feed; `None` at the end.
    pub(super) fn next(&mut self) -> io::Result<Option<Line<'_>>> {
        self.line.clear();
        let (mut too_long, mut any, mut is_ended) = (false, false, false);
        loop {
            let piece = self.input.fill_buf()?;
            if piece.is_empty() {
                break;
            }
            any = true;
            let end = piece.iter().position(|&b| b == b'\n');
            let kept = &piece[..end.unwrap_or(piece.len())];
            too_long |= self.line.len() + kept.len() > LINE_BYTES_MAX;
            if !too_long {
                self.line.extend_from_slice(kept);
            }
            let used = kept.len() + usize::from(end.is_some());
            self.input.consume(used);
            self.bytes += used as u64;
            if end.is_some() {
                is_ended = true;
                break;
            }
        }
        if !any {
            return Ok(None);
        }
        self.number += 1;
        let line = self.line.strip_suffix(b"\r").unwrap_or(&self.line);
        Ok(Some(match (too_long, is_ended) {
            (true, _) => Line::TooLong,
            (false, true) => Line::Whole(line),
            (false, false) => Line::Unended(line),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_counted_and_a_long_one_is_passed_over() {
        let long = "x".repeat(LINE_BYTES_MAX + 1);
        let text = format!("a\r\n\n{long}\nb");
        let mut lines = Lines::new(BufReader::with_capacity(7, text.as_bytes()));
        assert_eq!(lines.next().unwrap(), Some(Line::Whole(b"a")));
        assert_eq!(lines.next().unwrap(), Some(Line::Whole(b"")));
        assert_eq!(lines.next().unwrap(), Some(Line::TooLong));
        assert_eq!(lines.next().unwrap(), Some(Line::Unended(b"b")));
        assert_eq!(lines.number(), 4);
        assert_eq!(lines.next().unwrap(), None);
        assert_eq!(lines.bytes(), text.len() as u64);
    }
}
