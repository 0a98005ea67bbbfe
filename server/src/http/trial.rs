//! A test kit: applications without Ruby, and clients that speak raw bytes over socket pairs.

use std::{cell::Cell, fs::File, future::Future, rc::Rc, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use rackrs_ruby::{
    exchange::{Answer, Full, Peer, Request, Response, ResponseBody, Scheme},
    fork::Private,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
    task::{LocalSet, spawn_local},
    time::{Instant, timeout},
};

use super::{
    Application, Counters, Settings,
    access::{AccessLog, Entry},
    connection,
    socket::Stream,
    worker::Worker,
};
use crate::config::Limits;

mod drain;
mod early;
mod gentle_drain;
mod hijack;
mod requests;
mod responses;
mod timeouts;
mod uploads;
mod warm_up;

/// Longest that a client waits for anything. Paused time jumps over it only if nothing else can
/// happen any more.
const PATIENCE: Duration = Duration::from_hours(1);

/// An application made of a closure.
pub(super) struct Fake<F>(pub(super) F);

impl<F: Fn(Box<Request>) -> Result<(), Full> + 'static> Application for Fake<F> {
    fn call(&self, request: Box<Request>) -> Result<(), Full> {
        (self.0)(request)
    }
}

/// Runs `test` with paused time: it jumps to the next timer when nothing else can happen.
pub(super) fn run(test: impl Future<Output = ()>) {
    run_in(true, test);
}

/// Runs `test` with real time, for applications that answer from a thread.
pub(super) fn run_with_threads(test: impl Future<Output = ()>) {
    run_in(false, test);
}

fn run_in(paused: bool, test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(paused)
        .build()
        .unwrap();
    LocalSet::new().block_on(&runtime, test);
}

pub(super) fn settings() -> Settings {
    Settings {
        limits: Limits::default(),
        open_temp_file: temp_file,
        yield_when_busy: None,
        counters: Arc::new(Counters::default()),
        access_log: None,
    }
}

fn temp_file() -> std::io::Result<File> {
    tempfile::tempfile()
}

/// A worker without listeners.
pub(super) struct Trial<A> {
    pub(super) worker: Rc<Worker<A>>,
}

/// A worker whose application answers by `answer`, on the I/O thread.
pub(super) fn serving<F>(answer: F) -> Trial<impl Application>
where
    F: Fn(Request) + 'static,
{
    with_settings(settings(), answer)
}

pub(super) fn with_settings<F>(settings: Settings, answer: F) -> Trial<impl Application>
where
    F: Fn(Request) + 'static,
{
    let application = Fake(move |request: Box<Request>| {
        answer(*request);
        Ok(())
    });
    Trial { worker: Worker::new(application, settings) }
}

impl<A: Application> Trial<A> {
    /// A new connection.
    pub(super) fn connect(&self) -> Client {
        let (stream, served) = UnixStream::pair().unwrap();
        let peer = Peer { remote: None, local: None, scheme: Scheme::Http };
        let served = Private::new(Stream::Unix(served));
        spawn_local(connection::run(Rc::clone(&self.worker), served, peer));
        Client { stream, seen: Vec::new() }
    }

    pub(super) fn counters(&self) -> super::Snapshot {
        self.worker.settings.counters.snapshot()
    }
}

/// The client's end.
pub(super) struct Client {
    pub(super) stream: UnixStream,
    seen: Vec<u8>,
}

impl Client {
    pub(super) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).await.unwrap();
    }

    /// Reads until `end` was seen, and gives all up to its end.
    pub(super) async fn read_until(&mut self, end: &str) -> String {
        let mut searched: usize = 0;
        loop {
            // The end may straddle two reads.
            let from = searched.saturating_sub(end.len());
            searched = self.seen.len();
            if let Some(at) = find(&self.seen[from..], end.as_bytes()) {
                let at = from + at;
                let rest = self.seen.split_off(at + end.len());
                let read = std::mem::replace(&mut self.seen, rest);
                return String::from_utf8(read).unwrap();
            }
            let seen = String::from_utf8_lossy(&self.seen).into_owned();
            assert!(self.read_more().await, "the connection ended before {end:?}; seen: {seen:?}");
        }
    }

    /// Reads all to the end of the connection.
    pub(super) async fn read_to_end(&mut self) -> String {
        String::from_utf8(self.read_bytes_to_end().await).unwrap()
    }

    pub(super) async fn read_bytes_to_end(&mut self) -> Vec<u8> {
        while self.read_more().await {}
        std::mem::take(&mut self.seen)
    }

    /// A head and a body of the declared length.
    pub(super) async fn read_response(&mut self) -> (String, String) {
        let head = self.read_until("\r\n\r\n").await;
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "))
            .map_or(0, |length| length.parse().unwrap());
        while self.seen.len() < length {
            assert!(self.read_more().await, "the connection ended in a body after {head}");
        }
        let rest = self.seen.split_off(length);
        (head, String::from_utf8(std::mem::replace(&mut self.seen, rest)).unwrap())
    }

    async fn read_more(&mut self) -> bool {
        let read = timeout(PATIENCE, self.stream.read_buf(&mut self.seen)).await;
        match read.expect("nothing came in the longest time") {
            Ok(count) => count > 0,
            // Closed by us with something unread.
            Err(_) => false,
        }
    }
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}

/// A GET of `path`.
pub(super) fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nhost: a\r\n\r\n")
}

pub(super) fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
    let pair = |(name, value): &(&'static str, &'static str)| {
        (HeaderName::from_static(name), HeaderValue::from_static(value))
    };
    pairs.iter().map(pair).collect()
}

pub(super) fn respond(
    answer: &Answer,
    status: u16,
    pairs: &[(&'static str, &'static str)],
    body: ResponseBody,
) {
    let status = StatusCode::from_u16(status).unwrap();
    answer.respond(Response { status, headers: headers(pairs), body }).unwrap();
}

/// Answers 200 with the method, the path and the body.
pub(super) fn echo(request: Request) {
    use std::io::Read;
    let Request { head, body, answer, .. } = request;
    let mut text = format!("{} {} ", head.method, head.uri.path());
    match body {
        rackrs_ruby::exchange::Body::Empty => {}
        rackrs_ruby::exchange::Body::Memory(bytes) => {
            text.push_str(std::str::from_utf8(&bytes).unwrap());
        }
        rackrs_ruby::exchange::Body::File { mut file, len } => {
            assert_eq!(file.read_to_string(&mut text).unwrap() as u64, len);
        }
    }
    respond(&answer, 200, &[], ResponseBody::Whole(Bytes::from(text)));
}

/// Seconds of paused time since `start`, rounded.
pub(super) fn seconds_since(start: Instant) -> u64 {
    (start.elapsed() + Duration::from_millis(500)).as_secs()
}

/// Lets other tasks run until `done`, at most a few thousand turns.
pub(super) async fn eventually(what: &str, done: impl Fn() -> bool) {
    for _ in 0..5000 {
        if done() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    panic!("{what} did not come about");
}

/// Keeps what the access log is told.
#[derive(Default)]
pub(super) struct Lines {
    lines: std::cell::RefCell<Vec<String>>,
    pub(super) count: Cell<usize>,
}

impl Lines {
    pub(super) fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.lines.borrow_mut())
    }
}

impl AccessLog for Lines {
    fn record(&self, entry: &Entry<'_>) {
        self.count.set(self.count.get() + 1);
        self.lines.borrow_mut().push(format!(
            "{} {} {:?} {} {} {}{}",
            entry.method,
            entry.target,
            entry.version,
            entry.status.map_or_else(|| "HIJACKED".to_owned(), |status| status.as_str().to_owned()),
            entry.body_bytes,
            entry.forwarded_for.map_or("-", |value| value.to_str().unwrap()),
            if entry.cut { " cut" } else { "" },
        ));
    }
}
