//! A bound for what one CSV record may hold.

use std::cell::Cell;
use std::io::{self, Read};
use std::rc::Rc;

/// Bytes of the longest record: a quote that is never closed must not read the whole file
/// into memory.
const RECORD_BYTES_MAX: u64 = 16 << 20;

/// Refuses to read on when too much was read since the last record ended.
pub(super) struct Bounded<R> {
    input: R,
    read: u64,
    done: Rc<Cell<u64>>,
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
        (Self { input, read: 0, done: Rc::clone(&done) }, Mark(done))
    }
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.read.saturating_sub(self.done.get()) > RECORD_BYTES_MAX {
            let what = format!(
                "the record at byte {} is longer than {RECORD_BYTES_MAX} bytes; does a quote there stay open?",
                self.done.get()
            );
            return Err(io::Error::new(io::ErrorKind::InvalidData, what));
        }
        let read = self.input.read(buffer)?;
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
}
