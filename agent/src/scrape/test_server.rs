//! A small HTTP server on a free port of the loopback interface, for tests.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

/// What the server answers.
#[derive(Clone)]
pub(crate) struct Reply {
    status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    raw: bool,
    ending: Ending,
}

#[derive(Clone, Copy, PartialEq)]
enum Ending {
    Whole,
    HangAtOnce,
    HangInBody,
    Cut,
}

impl Reply {
    pub(crate) fn text(body: &str) -> Self {
        let headers = vec![("Content-Type".to_owned(), "text/plain".to_owned())];
        Self { status: 200, headers, body: body.into(), raw: false, ending: Ending::Whole }
    }

    pub(crate) fn raw(bytes: &[u8]) -> Self {
        Self { body: bytes.into(), raw: true, ..Self::text("") }
    }

    pub(crate) fn gzip(body: &str) -> Self {
        let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        packer.write_all(body.as_bytes()).unwrap();
        let mut reply = Self { body: packer.finish().unwrap(), ..Self::text("") };
        reply.headers.push(("Content-Encoding".to_owned(), "gzip".to_owned()));
        reply
    }

    pub(crate) fn redirect(to: &str) -> Self {
        let mut reply = Self::text("").status(302);
        reply.headers.push(("Location".to_owned(), to.to_owned()));
        reply
    }

    pub(crate) fn hang() -> Self {
        Self { ending: Ending::HangAtOnce, ..Self::text("") }
    }

    pub(crate) fn hang_in_body(self) -> Self {
        Self { ending: Ending::HangInBody, ..self }
    }

    pub(crate) fn cut_body(self) -> Self {
        Self { ending: Ending::Cut, ..self }
    }

    pub(crate) fn status(self, status: u16) -> Self {
        Self { status, ..self }
    }

    pub(crate) fn content_type(mut self, content_type: Option<&str>) -> Self {
        self.headers.retain(|(name, _)| name != "Content-Type");
        self.headers.extend(content_type.map(|value| ("Content-Type".to_owned(), value.to_owned())));
        self
    }

    fn bytes(&self) -> Vec<u8> {
        if self.raw {
            return self.body.clone();
        }
        let extra = usize::from(matches!(self.ending, Ending::HangInBody | Ending::Cut)) * 10;
        let mut head = format!("HTTP/1.1 {} Status\r\nContent-Length: {}\r\n", self.status, self.body.len() + extra);
        for (name, value) in &self.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str("Connection: close\r\n\r\n");
        [head.as_bytes(), &self.body].concat()
    }
}

/// Answers every request alike until told to answer otherwise.
pub(crate) struct Server {
    address: SocketAddr,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    reply: Mutex<Reply>,
    request: Mutex<String>,
    stop: AtomicBool,
}

impl Server {
    pub(crate) fn answering(reply: Reply) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let shared =
            Arc::new(Shared { reply: Mutex::new(reply), request: Mutex::default(), stop: AtomicBool::new(false) });
        let inside = Arc::clone(&shared);
        let thread = std::thread::spawn(move || {
            // Those that hang are kept open until the server goes.
            let mut hanging = Vec::new();
            for stream in listener.incoming() {
                if inside.stop.load(Ordering::SeqCst) {
                    return;
                }
                hanging.extend(stream.ok().and_then(|stream| serve(stream, &inside)));
            }
        });
        Self { address, shared, thread: Some(thread) }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/metrics", self.address)
    }

    pub(crate) fn answer(&self, reply: Reply) {
        *self.shared.reply.lock().unwrap() = reply;
    }

    pub(crate) fn last_request(&self) -> String {
        self.shared.request.lock().unwrap().clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        // Wakes the thread, which then sees that it should end.
        let _ = TcpStream::connect(self.address);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn serve(mut stream: TcpStream, shared: &Shared) -> Option<TcpStream> {
    let mut request = Vec::new();
    let mut piece = [0; 1024];
    while !request.windows(4).any(|end| end == b"\r\n\r\n") {
        match stream.read(&mut piece) {
            Ok(0) | Err(_) => return None,
            Ok(n) => request.extend_from_slice(&piece[..n]),
        }
    }
    *shared.request.lock().unwrap() = String::from_utf8_lossy(&request).into_owned();
    let reply = shared.reply.lock().unwrap().clone();
    if reply.ending != Ending::HangAtOnce {
        let _ = stream.write_all(&reply.bytes());
    }
    matches!(reply.ending, Ending::HangAtOnce | Ending::HangInBody).then_some(stream)
}
