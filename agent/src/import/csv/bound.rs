//! Bounds for what one CSV record may hold.

use std::cell::Cell;
use std::io::{self, Read};
use std::rc::Rc;

/// Bytes of the longest record: a quote that is never closed must not read the whole file
/// into memory.
const RECORD_BYTES_MAX: u64 = 16 << 20;

/// Refuses to read on when too much was read since the last record ended, and to end within quotes: what was to follow is
/// not there, and the cell would pass for whole.
pub(super) struct Bounded<R> {
    input: R,
    read: u64,
    done: Rc<Cell<u64>>,
    place: Place,
    /// Where the last quoted cell began.
    quote: u64,
}

/// Where in a record the next byte is, as the reader of CSV takes it.
#[derive(Clone, Copy, PartialEq)]
enum Place {
    /// At the begin of a cell.
    Begin,
    /// In a cell, where a quote means nothing.
    Plain,
    Quoted,
    /// Behind a quote within quotes: another one stands for a quote.
    Closing,
}

/// Where the reader says how far its last record reached.
pub(super) struct Mark(Rc<Cell<u64>>);

impl Mark {
    pub(super) fn done(&self, bytes: u64) {
        self.0.set(bytes);
    }
}

impl<R: Read> Bounded<R> {
    pub(super) fn new(input: R) -> (Self, Mark) {
        let done = Rc::new(Cell::new(0));
        (Self { input, read: 0, done: Rc::clone(&done), place: Place::Begin, quote: 0 }, Mark(done))
    }

    fn follow(&mut self, bytes: &[u8]) {
        for (at, byte) in (self.read..).zip(bytes) {
            self.place = match (self.place, byte) {
                (Place::Begin, b'"') => {
                    self.quote = at;
                    Place::Quoted
                }
                (Place::Quoted, b'"') => Place::Closing,
                (Place::Quoted, _) | (Place::Closing, b'"') => Place::Quoted,
                (_, b',' | b'\n' | b'\r') => Place::Begin,
                // The mark that some programs begin a file with is in no cell.
                (Place::Begin, 0xef | 0xbb | 0xbf) if at < 3 => Place::Begin,
                _ => Place::Plain,
            };
        }
    }
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let wrong = |what: String| Err(io::Error::new(io::ErrorKind::InvalidData, what));
        if self.read.saturating_sub(self.done.get()) > RECORD_BYTES_MAX {
            return wrong(format!(
                "the record at byte {} is longer than {RECORD_BYTES_MAX} bytes; does a quote there stay open?",
                self.done.get()
            ));
        }
        let read = self.input.read(buffer)?;
        if read == 0 && !buffer.is_empty() && self.place == Place::Quoted {
            return wrong(format!("the quote at byte {} is never closed; is the file cut off?", self.quote));
        }
        self.follow(&buffer[..read]);
        self.read += read as u64;
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_that_end_are_read_without_bound_and_an_endless_one_is_refused() {
        let (mut bounded, mark) = Bounded::new(io::repeat(b'x'));
        let mut buffer = vec![0; 1 << 20];
        let mut read = 0;
        for _ in 0..40 {
            read += bounded.read(&mut buffer).unwrap() as u64;
            mark.done(read);
        }
        let reads = (0..40).take_while(|_| bounded.read(&mut buffer).is_ok()).count();
        assert_eq!(reads, 17);
        assert!(bounded.read(&mut buffer).unwrap_err().to_string().contains("quote"));
    }

    #[test]
    fn a_quote_that_is_never_closed_is_refused_where_it_is() {
        let end = |text: &str| {
            let (mut bounded, _mark) = Bounded::new(text.as_bytes());
            // One byte at a time: what is between two reads is the same file.
            let mut byte = [0];
            loop {
                match bounded.read(&mut byte) {
                    Ok(0) => return None,
                    Ok(_) => {}
                    Err(error) => return Some(error.to_string()),
                }
            }
        };
        for sound in
            ["", "a,b\n1,2\n", "\"a\",\"b \"\" c\"\n", "5\" pipe,1", "\"two\nlines\",\"\"", "\u{feff}\"a,b\",1", "\"\""]
        {
            assert_eq!(end(sound), None, "{sound}");
        }
        for (open, at) in
            [("a,\"b", 2), ("a\n\"", 2), ("\"\"\"", 0), ("\u{feff}\"a", 3), ("\"a\",\"b \"\" c,\n1,2\n", 4)]
        {
            assert!(
                end(open).is_some_and(|why| why.contains(&format!("the quote at byte {at} is never closed"))),
                "{open}"
            );
        }
    }
}
