//! Addresses as people type them: `"`, `<` and `>` in the first line of a request are escaped before they are parsed.
//!
//! `curl -g 'http://…/api/v1/query?query=up{job="x"}>0'` sends them as they are. Strictly that is no address, and the
//! parser refuses it; Go's servers take it, and so people do.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Where in a request the next byte lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// The first line; so many of its bytes were seen.
    First(usize),
    /// A header line; so many of its bytes were seen.
    Header(usize),
    /// Behind a request that may have a body: where the next one begins is not known here.
    Unknown,
}

/// Longest name of a header that tells of a body.
const NAME_MAX: usize = "transfer-encoding".len();
const GET: &[u8] = b"GET ";

/// Follows the bytes of a connection from request to request, as long as these have no bodies.
#[derive(Debug)]
struct Escaper {
    place: Place,
    /// Beginning of the line, in small letters but for the first line's.
    line: [u8; NAME_MAX],
    has_body: bool,
}

impl Escaper {
    fn new() -> Self {
        Self { place: Place::First(0), line: [0; NAME_MAX], has_body: false }
    }

    /// What stands for the next byte, if not itself.
    fn next(&mut self, byte: u8) -> Option<&'static [u8]> {
        match self.place {
            Place::First(0) if matches!(byte, b'\r' | b'\n') => {}
            Place::First(seen) => {
                if let Some(kept) = self.line.get_mut(seen) {
                    *kept = byte;
                }
                if byte == b'\n' {
                    self.has_body = !self.line.starts_with(GET);
                    self.place = Place::Header(0);
                } else {
                    self.place = Place::First(seen + 1);
                }
                return match byte {
                    b'"' => Some(b"%22"),
                    b'<' => Some(b"%3C"),
                    b'>' => Some(b"%3E"),
                    _ => None,
                };
            }
            Place::Header(0) if byte == b'\r' => {}
            Place::Header(0) if byte == b'\n' => {
                self.place = if self.has_body { Place::Unknown } else { Place::First(0) };
            }
            Place::Header(_) if byte == b'\n' => self.place = Place::Header(0),
            Place::Header(seen) => {
                if let Some(kept) = self.line.get_mut(seen) {
                    *kept = byte.to_ascii_lowercase();
                }
                if byte == b':' {
                    let name = &self.line[..seen.min(NAME_MAX)];
                    self.has_body |= matches!(name, b"content-length" | b"transfer-encoding");
                }
                self.place = Place::Header(seen + 1);
            }
            Place::Unknown => {}
        }
        None
    }

    /// Goes over `bytes`; answers where the first one is that is not itself, and what stands for that and all behind it.
    fn escape(&mut self, bytes: &[u8]) -> Option<(usize, Vec<u8>)> {
        let mut escaped: Option<(usize, Vec<u8>)> = None;
        for (at, &byte) in bytes.iter().enumerate() {
            if self.place == Place::Unknown && escaped.is_none() {
                return None;
            }
            match (self.next(byte), &mut escaped) {
                (Some(instead), Some((_, out))) => out.extend_from_slice(instead),
                (Some(instead), None) => escaped = Some((at, instead.to_vec())),
                (None, Some((_, out))) => out.push(byte),
                (None, None) => {}
            }
        }
        escaped
    }
}

/// A connection whose reader gets addresses escaped.
pub(super) struct Raw<S> {
    stream: S,
    escaper: Escaper,
    /// Escaped, and not read yet from `read` on.
    left: Vec<u8>,
    read: usize,
}

impl<S> Raw<S> {
    pub(super) fn new(stream: S) -> Self {
        Self { stream, escaper: Escaper::new(), left: Vec::new(), read: 0 }
    }

    fn give(&mut self, buf: &mut ReadBuf<'_>) {
        let left = &self.left[self.read..];
        let given = left.len().min(buf.remaining());
        buf.put_slice(&left[..given]);
        self.read += given;
        if self.read == self.left.len() {
            (self.left, self.read) = (Vec::new(), 0);
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Raw<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.left.is_empty() {
            let before = buf.filled().len();
            ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
            if let Some((at, escaped)) = self.escaper.escape(&buf.filled()[before..]) {
                buf.set_filled(before + at);
                self.left = escaped;
            }
        }
        self.give(buf);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Raw<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::task::Waker;

    use proptest::prelude::*;

    use super::*;

    /// Gives one piece a read, or as much of it as there is room for.
    struct Pieces(VecDeque<Vec<u8>>);

    impl AsyncRead for Pieces {
        fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
            if let Some(mut piece) = self.0.pop_front() {
                let rest = piece.split_off(piece.len().min(buf.remaining()));
                buf.put_slice(&piece);
                if !rest.is_empty() {
                    self.0.push_front(rest);
                }
            }
            Poll::Ready(Ok(()))
        }
    }

    /// What arrives of `sent` if it comes in pieces of these lengths and is read `room` bytes at a time.
    fn arrives(sent: &[u8], pieces: &[usize], room: usize) -> String {
        let (mut all, mut rest, mut lengths) = (VecDeque::new(), sent, pieces.iter().cycle());
        while !rest.is_empty() {
            let (piece, behind) = rest.split_at(rest.len().min(*lengths.next().unwrap()));
            all.push_back(piece.to_vec());
            rest = behind;
        }
        let (mut raw, mut cx) = (Raw::new(Pieces(all)), Context::from_waker(Waker::noop()));
        let (mut arrived, mut buffer) = (Vec::new(), vec![0; room]);
        loop {
            let mut buf = ReadBuf::new(&mut buffer);
            assert!(Pin::new(&mut raw).poll_read(&mut cx, &mut buf).is_ready());
            match buf.filled() {
                [] => return String::from_utf8(arrived).unwrap(),
                read => arrived.extend_from_slice(read),
            }
        }
    }

    const SENT: &str = "GET /q?query=up{job=\"x\"}>0 HTTP/1.1\r\nHost: \"a\"\r\n\r\n\r\nGET /<b> HTTP/1.1\nX: <\n\n\
                        POST /\"c\" HTTP/1.1\r\nA: b\r\n\r\n<body> GET \"\r\n\r\nGET /\"d\" HTTP/1.1\r\n\r\n";
    const ARRIVED: &str = "GET /q?query=up{job=%22x%22}%3E0 HTTP/1.1\r\nHost: \"a\"\r\n\r\n\r\nGET /%3Cb%3E HTTP/1.1\nX: <\n\n\
                           POST /%22c%22 HTTP/1.1\r\nA: b\r\n\r\n<body> GET \"\r\n\r\nGET /\"d\" HTTP/1.1\r\n\r\n";

    #[test]
    fn only_first_lines_are_escaped_and_only_up_to_a_body() {
        assert_eq!(arrives(SENT.as_bytes(), &[1 << 20], 1 << 16), ARRIVED);
        for header in ["Content-Length: 3", "content-length:3", "TRANSFER-ENCODING: chunked"] {
            let with_body = format!("GET / HTTP/1.1\r\n{header}\r\n\r\n\"<>");
            assert_eq!(arrives(with_body.as_bytes(), &[1 << 20], 1 << 16), with_body);
        }
        let without = "GET / HTTP/1.1\r\nX-Content-Length: 3\r\n\r\n\"<>";
        assert_eq!(arrives(without.as_bytes(), &[1 << 20], 1 << 16), without.replace("\"<>", "%22%3C%3E"));
    }

    proptest! {
        #[test]
        fn however_it_comes_in_pieces_the_same_arrives(
            pieces in prop::collection::vec(1usize..40, 1..8),
            room in 1usize..50,
        ) {
            prop_assert_eq!(arrives(SENT.as_bytes(), &pieces, room), ARRIVED);
        }
    }
}
