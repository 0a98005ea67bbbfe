//! A client's connection that tells in which way it was let down, and never panics.

use std::{
    fmt,
    io::{self, ErrorKind, Read, Write},
    net::TcpStream,
    os::unix::net::UnixStream,
};

use crate::response::find;

/// Bytes asked for in one read.
const READ_BYTES: usize = 16 * 1024;
/// The longest response head that is believed.
const HEAD_BYTES_MAX: usize = 64 * 1024;

/// A socket that can be looked at without waiting.
pub(super) trait Stream: Read + Write + Send + fmt::Debug {
    /// Whether reads and writes wait.
    fn set_waiting(&self, wait: bool) -> io::Result<()>;
}

impl Stream for UnixStream {
    fn set_waiting(&self, wait: bool) -> io::Result<()> {
        self.set_nonblocking(!wait)
    }
}

impl Stream for TcpStream {
    fn set_waiting(&self, wait: bool) -> io::Result<()> {
        self.set_nonblocking(!wait)
    }
}

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum Cut {
    /// The kernel took no byte of the request: the server had closed before.
    Unwritten(io::Error),
    /// The server closed, or the limit was over, after part of the request was written.
    Broken(io::Error),
    /// The connection ended where more of the answer was due.
    Ended {
        /// Bytes of the answer that did come and are not a whole one.
        after: usize,
    },
    /// What came is no HTTP answer.
    Malformed(&'static str),
}

impl fmt::Display for Cut {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unwritten(error) => write!(to, "nothing of the request was taken: {error}"),
            // What a socket with a time limit says at its end.
            Self::Broken(error) if error.kind() == ErrorKind::WouldBlock => {
                write!(to, "no answer in time")
            }
            Self::Broken(error) => write!(to, "the connection broke: {error}"),
            Self::Ended { after: 0 } => write!(to, "the connection ended without an answer"),
            Self::Ended { after } => write!(to, "the answer was cut after {after} unused bytes"),
            Self::Malformed(what) => write!(to, "not an answer: {what}"),
        }
    }
}

/// One whole answer.
#[derive(Debug)]
pub(super) struct Answer {
    /// The status code.
    pub(super) status: u16,
    /// The body, decoded.
    pub(super) body: Vec<u8>,
    /// Whether the connection is of no more use.
    pub(super) closes: bool,
}

/// How a body is delimited.
enum Framing {
    Length(usize),
    Chunked,
    UntilClose,
}

/// A connection.
#[derive(Debug)]
pub(super) struct Wire {
    stream: Box<dyn Stream>,
    buffer: Vec<u8>,
}

impl Wire {
    pub(super) fn new(stream: impl Stream + 'static) -> Self {
        Self { stream: Box::new(stream), buffer: Vec::new() }
    }

    /// Whether the server has neither closed nor said anything: a request may be written.
    pub(super) fn is_open(&mut self) -> bool {
        if !self.buffer.is_empty() || self.stream.set_waiting(false).is_err() {
            return false;
        }
        let silent = match self.stream.read(&mut [0]) {
            Ok(_) => false,
            Err(error) => error.kind() == ErrorKind::WouldBlock,
        };
        self.stream.set_waiting(true).is_ok() && silent
    }

    /// Writes the start of a request, or all of it.
    pub(super) fn begin(&mut self, bytes: &[u8]) -> Result<(), Cut> {
        let taken = self.stream.write(bytes).map_err(Cut::Unwritten)?;
        self.go_on(&bytes[taken..])
    }

    /// Writes more of a request.
    pub(super) fn go_on(&mut self, bytes: &[u8]) -> Result<(), Cut> {
        self.stream.write_all(bytes).map_err(Cut::Broken)
    }

    /// Reads the final answer to the request that was written.
    pub(super) fn receive(&mut self) -> Result<Answer, Cut> {
        loop {
            let head = self.head()?;
            let mut lines = head.split("\r\n");
            let status = status(lines.next().unwrap_or_default())?;
            if status < 200 {
                continue;
            }
            let (framing, closes) = framing(lines)?;
            let (body, closes) = match framing {
                Framing::Length(length) => (self.take(length)?, closes),
                Framing::Chunked => (self.chunks()?, closes),
                Framing::UntilClose => (self.rest()?, true),
            };
            return Ok(Answer { status, body, closes });
        }
    }

    fn head(&mut self) -> Result<String, Cut> {
        let bytes = self.until(b"\r\n\r\n")?;
        String::from_utf8(bytes).map_err(|_| Cut::Malformed("a head that is not text"))
    }

    fn chunks(&mut self) -> Result<Vec<u8>, Cut> {
        let mut body = Vec::new();
        loop {
            let line = self.until(b"\r\n")?;
            let size = str::from_utf8(&line)
                .ok()
                .and_then(|line| usize::from_str_radix(line.split(';').next()?.trim(), 16).ok());
            let size = size.ok_or(Cut::Malformed("a chunk without its size"))?;
            if size == 0 {
                break;
            }
            body.extend(self.take(size)?);
            if !self.until(b"\r\n")?.is_empty() {
                return Err(Cut::Malformed("a chunk longer than its size"));
            }
        }
        // The trailer ends with an empty line.
        while !self.until(b"\r\n")?.is_empty() {}
        Ok(body)
    }

    fn rest(&mut self) -> Result<Vec<u8>, Cut> {
        loop {
            match self.more() {
                Ok(()) => {}
                Err(Cut::Ended { .. }) => return Ok(std::mem::take(&mut self.buffer)),
                Err(cut) => return Err(cut),
            }
        }
    }

    fn take(&mut self, length: usize) -> Result<Vec<u8>, Cut> {
        while self.buffer.len() < length {
            self.more()?;
        }
        Ok(self.buffer.drain(..length).collect())
    }

    /// The bytes before `end`, which is taken too.
    fn until(&mut self, end: &[u8]) -> Result<Vec<u8>, Cut> {
        loop {
            if let Some(at) = find(&self.buffer, end) {
                return Ok(self.buffer.drain(..at + end.len()).take(at).collect());
            }
            if self.buffer.len() > HEAD_BYTES_MAX {
                return Err(Cut::Malformed("a head or line without an end"));
            }
            self.more()?;
        }
    }

    fn more(&mut self) -> Result<(), Cut> {
        let mut bytes = [0; READ_BYTES];
        loop {
            match self.stream.read(&mut bytes) {
                Ok(0) => return Err(Cut::Ended { after: self.buffer.len() }),
                Ok(count) => {
                    self.buffer.extend_from_slice(&bytes[..count]);
                    return Ok(());
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(Cut::Broken(error)),
            }
        }
    }
}

fn status(line: &str) -> Result<u16, Cut> {
    let mut words = line.split(' ');
    let version = words.next().is_some_and(|word| word.starts_with("HTTP/1."));
    let status = words.next().and_then(|word| word.parse().ok());
    status.filter(|_| version).ok_or(Cut::Malformed("no status line"))
}

/// How the body is delimited, and whether the server closes after it.
fn framing<'a>(lines: impl Iterator<Item = &'a str>) -> Result<(Framing, bool), Cut> {
    let (mut framing, mut closes) = (Framing::UntilClose, false);
    for line in lines {
        let (name, value) = line.split_once(':').ok_or(Cut::Malformed("a header without name"))?;
        let value = value.trim();
        match name.to_ascii_lowercase().as_str() {
            "content-length" => {
                let length = value.parse().map_err(|_| Cut::Malformed("a length"))?;
                framing = Framing::Length(length);
            }
            "transfer-encoding" if value == "chunked" => framing = Framing::Chunked,
            "connection" => closes = value.eq_ignore_ascii_case("close"),
            _ => {}
        }
    }
    Ok((framing, closes))
}
