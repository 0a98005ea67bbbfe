//! One request to the application before there are clients.
//!
//! It goes through a socket pair, so that everything between accept and close takes part.

use std::{io, rc::Rc, sync::Arc, time::Duration};

use http::StatusCode;
use rackrs_ruby::{
    exchange::{Peer, Scheme},
    fork::Private,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
    task::JoinSet,
    time::timeout,
};

use super::{
    application::Application, connection, counters::Counters, socket::Stream, worker::Worker,
};

/// Longest head of an answer, in bytes, with the interim ones before it.
const HEAD_BYTES_MAX: usize = 64 * 1024;
/// Longest body of an answer, in bytes.
const BODY_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// Bytes per read.
const BUFFER_BYTES: usize = 16 * 1024;
/// How a chunked body ends when it is whole; we send no trailers.
const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

/// sysexits(3): a bug, of the application or ours.
const EX_SOFTWARE: u8 = 70;
/// sysexits(3): the operating system failed us.
const EX_OSERR: u8 = 71;
/// sysexits(3): the configuration.
const EX_CONFIG: u8 = 78;

/// What a warm-up was answered with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WarmUp {
    /// The status, below 500.
    pub status: StatusCode,
    /// Bytes of the body as sent, with chunked framing if there was any.
    pub body_bytes: u64,
}

/// Why there is no good answer to a warm-up.
#[derive(Debug, thiserror::Error)]
pub enum WarmUpError {
    /// It cannot be asked for.
    #[error(
        "cannot warm up with GET {}: it is no path of a URL; begin it with / and write spaces and \
         other letters than those of ASCII with %",
        path.escape_debug()
    )]
    Path {
        /// The path as it was given.
        path: String,
    },
    /// There is no connection to ask on.
    #[error("cannot warm up with GET {path}: there are no sockets; raise the limit of open files")]
    NoSocket {
        /// The path.
        path: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The answer was a 5xx.
    #[error(
        "cannot warm up with GET {path}: it was answered with {}; see what the application has \
         logged, or choose another path",
        status.as_u16()
    )]
    Failed {
        /// The path.
        path: String,
        /// The status, 500 or above.
        status: StatusCode,
    },
    /// The request did not reach the application.
    #[error(
        "cannot warm up with GET {path}: it was refused with {}; choose a path that clients can \
         ask for",
        status.as_u16()
    )]
    Refused {
        /// The path.
        path: String,
        /// The status, a 4xx.
        status: StatusCode,
    },
    /// The connection ended without an answer, or within one.
    #[error(
        "cannot warm up with GET {path}: it was not answered to the end; see what the application \
         has logged, or choose another path"
    )]
    Cut {
        /// The path.
        path: String,
    },
    /// The answer took too long.
    #[error(
        "cannot warm up with GET {path}: it was not answered within {} s; give it more time, or \
         choose another path",
        limit.as_secs_f64()
    )]
    Late {
        /// The path.
        path: String,
        /// The time it had.
        limit: Duration,
    },
    /// The answer goes on and on.
    #[error(
        "cannot warm up with GET {path}: its head is longer than 64 KiB or its body than 64 MiB; \
         choose another path"
    )]
    TooLong {
        /// The path.
        path: String,
    },
}

impl WarmUpError {
    /// sysexits(3): 78 (configuration) for a path that cannot be asked for, 71 (system) without
    /// sockets, 70 (software) for everything else.
    #[must_use]
    pub const fn exit_code(&self) -> u8 {
        match self {
            Self::Path { .. } | Self::Refused { .. } => EX_CONFIG,
            Self::NoSocket { .. } => EX_OSERR,
            Self::Failed { .. } | Self::Cut { .. } | Self::Late { .. } | Self::TooLong { .. } => {
                EX_SOFTWARE
            }
        }
    }
}

/// Why an answer was not read to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unread {
    Cut,
    TooLong,
}

impl From<io::Error> for Unread {
    /// The other end is ours: an error means that it has gone.
    fn from(_: io::Error) -> Self {
        Self::Cut
    }
}

/// Asks for `path` and reads the whole answer.
pub(super) async fn run<A: Application>(
    worker: &Rc<Worker<A>>,
    path: &str,
    limit: Duration,
) -> Result<WarmUp, WarmUpError> {
    let given = || path.to_owned();
    if !is_path(path) {
        return Err(WarmUpError::Path { path: given() });
    }
    let (client, served) =
        UnixStream::pair().map_err(|source| WarmUpError::NoSocket { path: given(), source })?;
    let refused_before = refused(&worker.settings.counters);
    // Ends the connection when this future is dropped.
    let mut connection = JoinSet::new();
    connection.spawn_local(serve(Rc::clone(worker), served));
    let answer = timeout(limit, ask(client, path)).await;
    connection.shutdown().await;
    let warm_up = match answer {
        Ok(Ok(warm_up)) => warm_up,
        Ok(Err(Unread::Cut)) => return Err(WarmUpError::Cut { path: given() }),
        Ok(Err(Unread::TooLong)) => return Err(WarmUpError::TooLong { path: given() }),
        Err(_elapsed) => return Err(WarmUpError::Late { path: given(), limit }),
    };
    let status = warm_up.status;
    if status.is_server_error() {
        return Err(WarmUpError::Failed { path: given(), status });
    }
    // Nobody else is served yet.
    if refused(&worker.settings.counters) > refused_before {
        return Err(WarmUpError::Refused { path: given(), status });
    }
    Ok(warm_up)
}

/// Whether `path` can stand in a request line, with its query.
fn is_path(path: &str) -> bool {
    path.starts_with('/') && path.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#')
}

fn refused(counters: &Counters) -> u64 {
    let counts = counters.snapshot();
    counts.refused + counts.malformed
}

/// The part of the accept loop.
async fn serve<A: Application>(worker: Rc<Worker<A>>, stream: UnixStream) {
    let _permit = Arc::clone(&worker.connections)
        .acquire_owned()
        .await
        .expect("the semaphore is never closed");
    let peer = Peer { remote: None, local: None, scheme: Scheme::Http };
    connection::run(worker, Private::new(Stream::Unix(stream)), peer).await;
}

/// The part of the client.
async fn ask(mut stream: UnixStream, path: &str) -> Result<WarmUp, Unread> {
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: localhost\r\nUser-Agent: rackrs warm-up\r\n\
         Connection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await?;
    let mut seen = Vec::new();
    let mut before = 0;
    loop {
        let length = read_head(&mut stream, &mut seen, HEAD_BYTES_MAX - before).await?;
        let head = Head::parse(&seen[..length]).ok_or(Unread::Cut)?;
        seen.drain(..length);
        if head.is_final() {
            let body_bytes = read_body(&mut stream, &head, seen).await?;
            return Ok(WarmUp { status: head.status, body_bytes });
        }
        before += length;
    }
}

/// Reads on until `seen` begins with a whole head, and gives its length.
async fn read_head(
    stream: &mut UnixStream,
    seen: &mut Vec<u8>,
    bytes_max: usize,
) -> Result<usize, Unread> {
    const END: &[u8] = b"\r\n\r\n";
    loop {
        let end = seen.windows(END.len()).position(|window| window == END);
        match end.map(|at| at + END.len()) {
            Some(length) if length <= bytes_max => return Ok(length),
            None if seen.len() < bytes_max => {}
            Some(_) | None => return Err(Unread::TooLong),
        }
        seen.reserve(BUFFER_BYTES);
        if stream.read_buf(seen).await? == 0 {
            return Err(Unread::Cut);
        }
    }
}

/// Reads the body, of which `tail` has come, to the end of the connection, and gives its length.
async fn read_body(stream: &mut UnixStream, head: &Head, mut tail: Vec<u8>) -> Result<u64, Unread> {
    if head.status == StatusCode::SWITCHING_PROTOCOLS {
        // The application has the socket, and may keep it.
        return Ok(0);
    }
    let mut body_bytes = tail.len() as u64;
    while body_bytes <= BODY_BYTES_MAX {
        // Only the last bytes are of interest.
        tail.drain(..tail.len().saturating_sub(LAST_CHUNK.len()));
        tail.reserve(BUFFER_BYTES);
        match stream.read_buf(&mut tail).await? {
            0 if head.framing.is_whole(body_bytes, &tail) => return Ok(body_bytes),
            0 => return Err(Unread::Cut),
            count => body_bytes += count as u64,
        }
    }
    Err(Unread::TooLong)
}

/// What matters of a head that this server wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Head {
    status: StatusCode,
    framing: Framing,
}

/// How it can be seen that a body is whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Framing {
    Chunked,
    Length(u64),
    /// The connection's end is the body's end.
    ToEnd,
}

impl Head {
    /// `None` when it is not HTTP: an application that takes the socket writes what it likes.
    fn parse(bytes: &[u8]) -> Option<Self> {
        let text = String::from_utf8_lossy(bytes);
        let mut lines = text.split("\r\n");
        let status = lines.next()?.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok()?;
        let mut framing = Framing::ToEnd;
        for (name, value) in lines.filter_map(|line| line.split_once(": ")) {
            match name {
                "transfer-encoding" => framing = Framing::Chunked,
                "content-length" => framing = Framing::Length(value.parse().ok()?),
                _ => {}
            }
        }
        if matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED) {
            framing = Framing::Length(0);
        }
        Some(Self { status, framing })
    }

    fn is_final(self) -> bool {
        !self.status.is_informational() || self.status == StatusCode::SWITCHING_PROTOCOLS
    }
}

impl Framing {
    /// Whether a body of `length` bytes that ends with `tail` is whole.
    fn is_whole(self, length: u64, tail: &[u8]) -> bool {
        match self {
            Self::Chunked => tail.ends_with(LAST_CHUNK),
            Self::Length(declared) => length == declared,
            Self::ToEnd => true,
        }
    }
}
