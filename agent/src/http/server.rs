//! Connections: how many, how patient we are with each, and how they end.

use std::convert::Infallible;
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::body::Incoming;
use hyper::service::Service;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::held::Held;
use super::idle::{Busy, Idle, Place};
use super::patience::{Patience, Patient};
use super::raw::Raw;
use crate::own::Counters;

/// Connections at a time. For the next one, one without a request makes room.
const CONNECTIONS_MAX: usize = 1024;
/// How long a request's head may take, and a connection may idle.
const HEAD_TIME_MAX: Duration = Duration::from_secs(30);
/// How long requests under way may go on once the agent stops.
const GRACE: Duration = Duration::from_secs(2);
/// A full table of open files is waited out instead of spun on.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Serves until `stop` is done; then finishes what is under way, for a short while.
pub(crate) async fn serve(
    listener: TcpListener,
    router: Router,
    counters: Arc<Counters>,
    stop: impl Future<Output = ()>,
) {
    let server = Server::new(router, counters, CONNECTIONS_MAX);
    let mut stop = pin!(stop);
    loop {
        tokio::select! {
            () = &mut stop => break,
            () = server.next(&listener) => {}
        }
    }
    drop(listener);
    let _ = tokio::time::timeout(GRACE, server.under_way.shutdown()).await;
}

struct Server {
    router: Router,
    counters: Arc<Counters>,
    room: Arc<Semaphore>,
    idle: Arc<Idle>,
    under_way: GracefulShutdown,
}

impl Server {
    fn new(router: Router, counters: Arc<Counters>, connections: usize) -> Self {
        let room = Arc::new(Semaphore::new(connections));
        Self { router, counters, room, idle: Arc::default(), under_way: GracefulShutdown::new() }
    }

    /// Takes the next connection, and makes room for it.
    async fn next(&self, listener: &TcpListener) {
        match listener.accept().await {
            Ok((stream, _)) => {
                // Answers are written whole; waiting for more to send only delays them.
                let _ = stream.set_nodelay(true);
                let room = self.room().await;
                self.spawn(stream, room);
            }
            Err(_) => {
                self.end_oldest();
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }

    async fn room(&self) -> Option<OwnedSemaphorePermit> {
        let room = Arc::clone(&self.room);
        match Arc::clone(&room).try_acquire_owned() {
            Ok(free) => Some(free),
            Err(_) => {
                self.end_oldest();
                room.acquire_owned().await.ok()
            }
        }
    }

    fn end_oldest(&self) {
        if self.idle.end_oldest() {
            self.counters.made_room();
        }
    }

    fn spawn(&self, stream: TcpStream, room: Option<OwnedSemaphorePermit>) {
        let place = self.idle.place();
        let service = Counted { inner: TowerToHyperService::new(self.router.clone()), place: Arc::clone(&place) };
        let stream = Raw::new(Patient::new(stream, Patience::STORE, Arc::clone(&self.counters)));
        let connection = hyper::server::conn::http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_TIME_MAX)
            .max_buf_size(64 << 10)
            .serve_connection(TokioIo::new(stream), service);
        let connection = self.under_way.watch(connection);
        tokio::spawn(async move {
            // How a client ended its connection is its own affair.
            tokio::select! {
                _ = connection => {}
                () = place.ended() => {}
            }
            drop(room);
        });
    }
}

/// Says of a connection whether it waits for a request: until an answer's last byte is handed over it does not.
struct Counted {
    inner: TowerToHyperService<Router>,
    place: Arc<Place>,
}

impl Service<Request<Incoming>> for Counted {
    type Response = Response<Held<Busy>>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let busy = self.place.busy();
        let answer = self.inner.call(request);
        Box::pin(async move { answer.await.map(|answer| answer.map(|body| Held::new(body, busy))) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};

    /// More clients than there is room for, none of which finishes its request's head.
    #[test]
    fn half_open_connections_make_room_for_a_request() {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let counters = Arc::new(Counters::new());
        let router = Router::new().route("/", axum::routing::get(|| async { "here" }));
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let at = listener.local_addr().unwrap();
        let server = Server::new(router, Arc::clone(&counters), 3);
        runtime.spawn(async move {
            loop {
                server.next(&listener).await;
            }
        });
        let mut half_open: Vec<std::net::TcpStream> = (0..20)
            .map(|_| {
                let mut client = std::net::TcpStream::connect(at).unwrap();
                client.write_all(b"GET / HT").unwrap();
                client
            })
            .collect();
        // Each waits for longer than the test may take.
        let mut client = std::net::TcpStream::connect(at).unwrap();
        client.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let ask = |client: &mut std::net::TcpStream| {
            client.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
            let mut answer = Vec::new();
            while !answer.ends_with(b"here") {
                let mut byte = [0];
                client.read_exact(&mut byte).unwrap();
                answer.extend(byte);
            }
        };
        ask(&mut client);
        ask(&mut client);
        let oldest = &mut half_open[0];
        oldest.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        assert!(matches!(oldest.read(&mut [0]), Ok(0) | Err(_)), "it was ended");
        assert_eq!(counters.rooms_made(), 18, "21 connections, room for three");
    }
}
