//! Answers that are made while they are sent: what is long never lies in memory as a whole.

use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::{Body, Bytes};
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use hyper::body::{Body as HttpBody, Frame};
use tokio::sync::{mpsc, oneshot};

use super::reply::ApiError;
use crate::ask::{Gone, Outlet};

/// Bytes that make a piece.
const PIECE_BYTES: usize = 64 << 10;
/// Bytes of an answer that waits for nobody.
const WHOLE_BYTES: usize = 1 << 20;
/// Pieces made before the first of them is taken.
const PIECES_AHEAD: usize = 4;

/// Where a handler that works off the connection's thread writes its answer. What is
/// shorter than a piece is sent whole, with its length; what is longer leaves piece by
/// piece, and whoever writes waits for whoever reads.
pub(super) struct Answer {
    kind: HeaderValue,
    /// Whether it waits for nobody who reads: what is longer than [`WHOLE_BYTES`] is an error then.
    is_whole: bool,
    buffer: Vec<u8>,
    begun: Option<mpsc::Sender<Result<Bytes, Broken>>>,
    head: Option<oneshot::Sender<Result<Response, ApiError>>>,
}

/// The end of an answer that cannot be finished: the connection breaks off.
#[derive(Debug, thiserror::Error)]
#[error("the answer broke off: {0}")]
pub(super) struct Broken(pub(super) String);

impl Answer {
    pub(super) fn new(kind: HeaderValue, head: oneshot::Sender<Result<Response, ApiError>>) -> Self {
        Self { kind, is_whole: false, buffer: Vec::with_capacity(1024), begun: None, head: Some(head) }
    }

    /// An answer of at most a mebibyte, which whoever makes it has made before anybody reads it. One that is longer is
    /// [out of bounds](ApiError::Execution), and none of it is sent.
    pub(super) fn whole(self) -> Self {
        Self { is_whole: true, ..self }
    }

    fn is_too_long(&self) -> bool {
        self.is_whole && self.buffer.len() > WHOLE_BYTES
    }

    /// The answer's end. An error becomes the answer if nothing was sent yet.
    pub(super) fn finish(mut self, done: Result<(), ApiError>) {
        let too_long = || ApiError::Execution(format!("the answer has more than {WHOLE_BYTES} bytes"));
        let done = if self.is_too_long() { Err(too_long()) } else { done };
        match (done, self.begun.take()) {
            (Ok(()), None) => {
                let whole = std::mem::take(&mut self.buffer);
                self.begin(Ok(([(header::CONTENT_TYPE, self.kind.clone())], whole).into_response()));
            }
            (Ok(()), Some(pieces)) => {
                if !self.buffer.is_empty() {
                    let _ = pieces.blocking_send(Ok(std::mem::take(&mut self.buffer).into()));
                }
            }
            (Err(why), None) => self.begin(Err(why)),
            (Err(why), Some(pieces)) => {
                let _ = pieces.blocking_send(Err(Broken(why.message().to_owned())));
            }
        }
    }

    /// Where the client is gone, nobody listens.
    fn begin(&mut self, answer: Result<Response, ApiError>) {
        if let Some(head) = self.head.take() {
            let _ = head.send(answer);
        }
    }

    fn send_piece(&mut self) -> Result<(), Gone> {
        let piece = std::mem::replace(&mut self.buffer, Vec::with_capacity(PIECE_BYTES + PIECE_BYTES / 4));
        if self.begun.is_none() {
            let (sender, receiver) = mpsc::channel(PIECES_AHEAD);
            let body = Body::new(Pieces(receiver));
            self.begin(Ok(([(header::CONTENT_TYPE, self.kind.clone())], body).into_response()));
            self.begun = Some(sender);
        }
        let sent = self.begun.as_ref().map(|pieces| pieces.blocking_send(Ok(piece.into())));
        match sent {
            Some(Ok(())) => Ok(()),
            _ => Err(Gone),
        }
    }
}

impl Outlet for Answer {
    fn buffer(&mut self) -> &mut Vec<u8> {
        &mut self.buffer
    }

    fn spill(&mut self) -> Result<(), Gone> {
        match self.is_whole {
            true if self.is_too_long() => Err(Gone),
            false if self.buffer.len() >= PIECE_BYTES => self.send_piece(),
            _ => Ok(()),
        }
    }
}

/// The body of a long answer.
struct Pieces(mpsc::Receiver<Result<Bytes, Broken>>);

impl HttpBody for Pieces {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        self.0.poll_recv(cx).map(|piece| piece.map(|piece| piece.map(Frame::data)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt;

    const TEXT: HeaderValue = HeaderValue::from_static("text/plain");

    fn make(work: impl FnOnce(&mut Answer) -> Result<(), ApiError> + Send + 'static) -> Result<Response, ApiError> {
        let (head, answer) = oneshot::channel();
        let maker = std::thread::spawn(move || {
            let mut out = Answer::new(TEXT, head);
            let done = work(&mut out);
            out.finish(done);
        });
        let answer = answer.blocking_recv().unwrap();
        if answer.as_ref().is_ok_and(|a| a.headers().contains_key("content-length")) || answer.is_err() {
            maker.join().unwrap();
        }
        answer
    }

    fn read(answer: Response) -> Result<Bytes, axum::Error> {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(answer.into_body().collect()).map(http_body_util::Collected::to_bytes)
    }

    #[test]
    fn short_answers_are_whole_and_long_ones_come_in_pieces() {
        let short = make(|out| {
            out.buffer().extend_from_slice(b"abc");
            out.spill().map_err(ApiError::from)
        });
        assert_eq!(read(short.unwrap()).unwrap(), &b"abc"[..]);
        let long = make(|out| {
            for byte in 0..=9 {
                out.buffer().extend(std::iter::repeat_n(b'0' + byte, PIECE_BYTES / 2));
                out.spill()?;
            }
            Ok(())
        });
        let body = read(long.unwrap()).unwrap();
        let expected: Vec<u8> = (0..=9).flat_map(|byte| std::iter::repeat_n(b'0' + byte, PIECE_BYTES / 2)).collect();
        assert_eq!(body, expected);
    }

    #[test]
    fn an_answer_that_waits_for_nobody_is_made_before_it_is_read_or_is_an_error() {
        let answer = |bytes: usize| {
            let (head, answer) = oneshot::channel();
            let mut out = Answer::new(TEXT, head).whole();
            let done = (0..bytes / 1000).try_for_each(|_| {
                out.buffer().extend([b'x'; 1000]);
                out.spill()
            });
            out.finish(done.map_err(ApiError::from));
            answer.blocking_recv().unwrap()
        };
        assert_eq!(read(answer(1_000_000).unwrap()).unwrap().len(), 1_000_000);
        for bytes in [1_049_000, 3_000_000] {
            assert!(matches!(answer(bytes), Err(ApiError::Execution(_))), "{bytes}");
        }
    }

    #[test]
    fn an_error_is_the_answer_or_breaks_it_off() {
        let wrong = || ApiError::Internal("no".to_owned());
        let early = make(move |out| {
            out.buffer().extend_from_slice(b"abc");
            Err(wrong())
        });
        assert_eq!(early.unwrap_err(), wrong());
        let late = make(move |out| {
            out.buffer().resize(PIECE_BYTES, 0);
            out.spill()?;
            Err(wrong())
        });
        assert!(read(late.unwrap()).is_err());
    }

    #[test]
    fn who_writes_learns_that_nobody_reads() {
        let (told, tells) = std::sync::mpsc::channel();
        let answer = make(move |out| {
            let mut gone = Ok(());
            while gone.is_ok() {
                out.buffer().resize(PIECE_BYTES, 0);
                gone = out.spill();
            }
            told.send(()).unwrap();
            Ok(())
        });
        drop(answer);
        tells.recv_timeout(std::time::Duration::from_secs(20)).unwrap();
    }
}
