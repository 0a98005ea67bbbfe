//! A closed-loop load generator: so many connections, each with one request at a time.

use std::{
    cell::RefCell,
    io,
    path::PathBuf,
    rc::Rc,
    time::{Duration, Instant},
};

use serde::Serialize;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpStream, UnixStream},
    task::JoinSet,
    time::{sleep, timeout},
};

use crate::{
    latency::Latencies,
    response::{Reader, Response},
};

/// A response that takes longer counts as an error, and its connection is given up.
pub const RESPONSE_TIMEOUT: Duration = Duration::from_secs(30);
/// After a failure a connection waits this long, so that a dead server is not hammered.
const PAUSE_AFTER_ERROR: Duration = Duration::from_millis(10);
const READ_BUFFER_BYTES: usize = 64 * 1024;

/// Where the server listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// `HOST:PORT`.
    Tcp(String),
    /// A Unix socket.
    Unix(PathBuf),
}

impl Target {
    /// Reads `unix:PATH` or `HOST:PORT`.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        match text.strip_prefix("unix:") {
            Some(path) => Self::Unix(PathBuf::from(path)),
            None => Self::Tcp(text.to_owned()),
        }
    }

    async fn connect(&self) -> io::Result<Box<dyn Transport>> {
        Ok(match self {
            Self::Tcp(address) => {
                let stream = TcpStream::connect(address).await?;
                stream.set_nodelay(true)?;
                Box::new(stream)
            }
            Self::Unix(path) => Box::new(UnixStream::connect(path).await?),
        })
    }
}

trait Transport: AsyncRead + AsyncWrite + Unpin {}
impl<T: AsyncRead + AsyncWrite + Unpin> Transport for T {}

/// When a run ends; requests under way are finished.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// After this long.
    After(Duration),
    /// After so many requests.
    Count(u64),
}

/// What a connection is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reuse {
    /// Request after request, as long as the server keeps it open.
    KeepAlive,
    /// One request, sent with `Connection: close`.
    OneRequest,
}

/// What is sent again and again, and what must come back.
#[derive(Clone, Debug)]
pub struct Exchange {
    /// The request method.
    pub method: String,
    /// The request target.
    pub path: String,
    /// Length of the request body; 0 for none.
    pub request_body_bytes: usize,
    /// The status that counts as success.
    pub status: u16,
    /// The body length that counts as success; `None` for any.
    pub response_body_bytes: Option<u64>,
}

impl Exchange {
    fn wire(&self, reuse: Reuse) -> Vec<u8> {
        let mut head = format!("{} {} HTTP/1.1\r\nHost: localhost\r\n", self.method, self.path);
        head.push_str("User-Agent: rackrs-load\r\nAccept: */*\r\n");
        if self.request_body_bytes > 0 {
            head.push_str("Content-Type: application/octet-stream\r\nContent-Length: ");
            head.push_str(&self.request_body_bytes.to_string());
            head.push_str("\r\n");
        }
        if reuse == Reuse::OneRequest {
            head.push_str("Connection: close\r\n");
        }
        head.push_str("\r\n");
        let mut wire = head.into_bytes();
        wire.resize(wire.len() + self.request_body_bytes, b'x');
        wire
    }

    fn accepts(&self, response: &Response) -> bool {
        response.status == self.status
            && self.response_body_bytes.is_none_or(|bytes| bytes == response.body_bytes)
    }
}

/// One run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The server.
    pub target: Target,
    /// Connections at the same time.
    pub connections: u16,
    /// When it ends.
    pub stop: Stop,
    /// What a connection is used for.
    pub reuse: Reuse,
    /// What is sent.
    pub exchange: Exchange,
}

/// What came of a run.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// Of good responses.
    pub latencies: Latencies,
    /// Connections refused or broken, responses malformed, late, or not those expected.
    pub errors: u64,
    /// Bytes of good bodies.
    pub body_bytes: u64,
    /// From the first request to the last response.
    pub elapsed: Duration,
    /// What the first error was, for a person.
    pub first_error: Option<String>,
}

/// An [`Outcome`] in numbers, as it is printed.
#[derive(Clone, Debug, Serialize)]
pub struct Summary {
    /// Good responses.
    pub requests: u64,
    /// See [`Outcome::errors`].
    pub errors: u64,
    /// Bytes of good bodies.
    pub body_bytes: u64,
    /// Length of the run.
    pub seconds: f64,
    /// Good responses per second.
    pub requests_per_second: f64,
    /// Median, in microseconds.
    pub p50_us: u64,
    /// 99th percentile, in microseconds.
    pub p99_us: u64,
    /// Longest, in microseconds.
    pub max_us: u64,
    /// See [`Outcome::first_error`].
    pub first_error: Option<String>,
}

impl Outcome {
    /// Adds another run's numbers to this one's.
    pub fn merge(&mut self, other: &Self) {
        self.latencies.merge(&other.latencies);
        self.errors += other.errors;
        self.body_bytes += other.body_bytes;
        self.elapsed += other.elapsed;
        if self.first_error.is_none() {
            self.first_error.clone_from(&other.first_error);
        }
    }

    /// The numbers.
    #[must_use]
    pub fn summary(&self) -> Summary {
        let seconds = self.elapsed.as_secs_f64();
        let requests = self.latencies.count();
        #[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^52")]
        let requests_per_second = if seconds > 0.0 { requests as f64 / seconds } else { 0.0 };
        Summary {
            requests,
            errors: self.errors,
            body_bytes: self.body_bytes,
            seconds,
            requests_per_second,
            p50_us: self.latencies.quantile_us(500),
            p99_us: self.latencies.quantile_us(990),
            max_us: self.latencies.max_us(),
            first_error: self.first_error.clone(),
        }
    }
}

/// What the connections of a run share; they all live on one thread.
struct Run {
    plan: Plan,
    wire: Vec<u8>,
    began: Instant,
    started: RefCell<u64>,
    outcome: RefCell<Outcome>,
}

/// Carries out `plan` on the current thread, which must be in a `tokio::task::LocalSet`.
pub async fn run(plan: Plan) -> Outcome {
    let run = Rc::new(Run {
        wire: plan.exchange.wire(plan.reuse),
        began: Instant::now(),
        started: RefCell::new(0),
        outcome: RefCell::default(),
        plan,
    });
    let mut connections = JoinSet::new();
    for _ in 0..run.plan.connections {
        let run = Rc::clone(&run);
        connections.spawn_local(async move { run.drive_one_at_a_time().await });
    }
    connections.join_all().await;
    let mut outcome = run.outcome.take();
    outcome.elapsed = run.began.elapsed();
    outcome
}

impl Run {
    fn may_start_another(&self) -> bool {
        let mut started = self.started.borrow_mut();
        let go = match self.plan.stop {
            Stop::After(limit) => self.began.elapsed() < limit,
            Stop::Count(count) => *started < count,
        };
        *started += u64::from(go);
        go
    }

    async fn drive_one_at_a_time(&self) {
        let mut connection = None;
        let mut buffer = vec![0; READ_BUFFER_BYTES];
        while self.may_start_another() {
            let sent = Instant::now();
            match timeout(RESPONSE_TIMEOUT, self.exchange_once(&mut connection, &mut buffer)).await
            {
                Ok(Ok(response)) if self.plan.exchange.accepts(&response) => {
                    let mut outcome = self.outcome.borrow_mut();
                    outcome.latencies.record(sent.elapsed());
                    outcome.body_bytes += response.body_bytes;
                }
                Ok(Ok(response)) => {
                    self.note_error(format!(
                        "status {} with {} bytes",
                        response.status, response.body_bytes
                    ));
                }
                Ok(Err(error)) => {
                    connection = None;
                    self.note_error(error.to_string());
                    sleep(PAUSE_AFTER_ERROR).await;
                }
                Err(_) => {
                    connection = None;
                    self.note_error("no response in time".to_owned());
                }
            }
        }
    }

    fn note_error(&self, what: String) {
        let mut outcome = self.outcome.borrow_mut();
        outcome.errors += 1;
        outcome.first_error.get_or_insert(what);
    }

    /// Sends the request, over a new connection if there is none, and reads the response.
    async fn exchange_once(
        &self,
        connection: &mut Option<Box<dyn Transport>>,
        buffer: &mut [u8],
    ) -> io::Result<Response> {
        let stream = match connection {
            Some(stream) => stream,
            None => connection.insert(self.plan.target.connect().await?),
        };
        stream.write_all(&self.wire).await?;
        let response = read_response(stream, buffer).await?;
        if response.closes || self.plan.reuse == Reuse::OneRequest {
            *connection = None;
        }
        Ok(response)
    }
}

async fn read_response(stream: &mut Box<dyn Transport>, buffer: &mut [u8]) -> io::Result<Response> {
    let mut reader = Reader::default();
    loop {
        if let Some(response) = reader.finished() {
            return Ok(response);
        }
        let arrived = stream.read(buffer).await?;
        if arrived == 0 {
            return reader.at_close().ok_or_else(|| io::ErrorKind::UnexpectedEof.into());
        }
        let used = reader
            .feed(&buffer[..arrived])
            .map_err(|malformed| io::Error::other(format!("malformed: {}", malformed.0)))?;
        if used < arrived {
            return Err(io::Error::other("bytes after the end of the response"));
        }
    }
}

#[cfg(test)]
mod tests;
