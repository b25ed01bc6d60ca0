//! How long a client may take over its answers.
//!
//! A turn of a request for data lasts until its answer was taken, so whoever takes a byte now and then must not hold
//! one for ever. Waiting for a client costs its patience, what it takes earns some back: who takes
//! [`RATE_MIN`](Patience::RATE_MIN) bytes a second is never cut off, and an answer of n bytes is over after
//! [`STORE`](Patience::STORE) and n / `RATE_MIN` seconds of waiting.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

use crate::own::Counters;

/// What is left of the patience with one client.
#[derive(Debug)]
pub(super) struct Patience {
    store: Duration,
    left: Duration,
    waiting_since: Option<Instant>,
}

impl Patience {
    /// With a client that takes nothing at all.
    pub(super) const STORE: Duration = Duration::from_secs(30);
    /// Bytes a second that cost none: two megabits.
    const RATE_MIN: u64 = 256 << 10;

    fn new(store: Duration) -> Self {
        Self { store, left: store, waiting_since: None }
    }

    /// The client takes no more for now. Answers when it is to be given up.
    fn waits(&mut self, now: Instant) -> Instant {
        *self.waiting_since.get_or_insert(now) + self.left
    }

    /// The client took so many bytes; false if it took too long over them.
    fn took(&mut self, bytes: usize, now: Instant) -> bool {
        let waited = self.waiting_since.take().map_or(Duration::ZERO, |since| now.saturating_duration_since(since));
        let earned = Duration::from_nanos((bytes as u64).saturating_mul(1_000_000_000) / Self::RATE_MIN);
        let Some(left) = self.left.checked_sub(waited) else { return false };
        self.left = left.saturating_add(earned).min(self.store);
        true
    }
}

/// A stream whose writes fail once patience is over. Slow reading is bounded by hyper and by the handlers.
pub(super) struct Patient<S> {
    stream: S,
    patience: Patience,
    given_up: Option<Pin<Box<Sleep>>>,
    counters: Arc<Counters>,
}

impl<S> Patient<S> {
    pub(super) fn new(stream: S, store: Duration, counters: Arc<Counters>) -> Self {
        Self { stream, patience: Patience::new(store), given_up: None, counters }
    }

    /// Passes progress on, and turns too long a lack of it into an error.
    fn bounded<T>(
        &mut self,
        cx: &mut Context<'_>,
        progress: Poll<io::Result<T>>,
        bytes: impl FnOnce(&T) -> usize,
    ) -> Poll<io::Result<T>> {
        match progress {
            Poll::Ready(Ok(done)) => {
                // Most writes are taken at once: no look at the clock then.
                if self.patience.waiting_since.is_some() {
                    self.given_up = None;
                    if !self.patience.took(bytes(&done), Instant::now()) {
                        return self.give_up();
                    }
                }
                Poll::Ready(Ok(done))
            }
            Poll::Ready(failed) => Poll::Ready(failed),
            Poll::Pending => {
                let until = self.patience.waits(Instant::now());
                let sleep = self.given_up.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(until.into())));
                match sleep.as_mut().poll(cx) {
                    Poll::Ready(()) => self.give_up(),
                    Poll::Pending => Poll::Pending,
                }
            }
        }
    }

    fn give_up<T>(&self) -> Poll<io::Result<T>> {
        self.counters.slow_client();
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Patient<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Patient<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let progress = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.bounded(cx, progress, |&taken| taken)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let progress = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.bounded(cx, progress, |&taken| taken)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let progress = Pin::new(&mut self.stream).poll_flush(cx);
        self.bounded(cx, progress, |()| 0)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;

    /// A client that takes `bytes` at the end of each second: after how many it is given up, of an hour at most.
    fn seconds_of(bytes: usize) -> Option<u64> {
        let (mut patience, began) = (Patience::new(Patience::STORE), Instant::now());
        (0..3_600).find(|&second| {
            let now = began + Duration::from_secs(second);
            patience.waits(now) <= now + Duration::from_secs(1) || !patience.took(bytes, now + Duration::from_secs(1))
        })
    }

    #[test]
    fn who_takes_little_is_given_up_and_who_takes_enough_never() {
        assert_eq!(seconds_of(0), Some(29));
        assert_eq!(seconds_of(1), Some(30), "thirty bytes earn a tenth of a millisecond");
        assert_eq!(seconds_of(Patience::RATE_MIN as usize / 2), Some(58));
        assert_eq!(seconds_of(Patience::RATE_MIN as usize), None);
        assert_eq!(seconds_of(usize::MAX), None);
    }

    #[test]
    fn patience_is_never_more_than_at_the_beginning() {
        let (mut patience, now) = (Patience::new(Patience::STORE), Instant::now());
        patience.waits(now);
        assert!(patience.took(1 << 40, now + Duration::from_secs(29)));
        assert_eq!(patience.waits(now), now + Patience::STORE);
    }

    /// Over a real connection, whose client reads nothing.
    #[test]
    fn a_write_that_nobody_takes_fails_and_is_counted() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let counters = Arc::new(Counters::new());
        runtime.block_on(async {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            let _client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let stream = listener.accept().await.unwrap().0;
            let mut patient = Patient::new(stream, Duration::from_millis(20), Arc::clone(&counters));
            // More than the kernel keeps for the two of them.
            let piece = vec![0; 1 << 20];
            let refused = loop {
                if let Err(why) = poll_fn(|cx| Pin::new(&mut patient).poll_write(cx, &piece)).await {
                    break why;
                }
            };
            assert_eq!(refused.kind(), io::ErrorKind::TimedOut);
        });
        assert_eq!(counters.slow_clients(), 1);
    }
}
