//! A raw client connection over a Unix or TCP socket.

use std::{
    fmt,
    io::{ErrorKind, Read, Write},
    net::{Shutdown, SocketAddr, TcpStream},
    os::{linux::net::SocketAddrExt, unix::net::UnixStream},
    path::Path,
};

use crate::{
    PATIENCE,
    response::{Framing, Head, Response, find, parse_field},
};

/// Bytes asked for in one read.
const READ_BYTES: usize = 64 * 1024;

trait Stream: Read + Write + Send + fmt::Debug {
    fn shut(&self, how: Shutdown);

    /// Whether reads and writes wait.
    fn set_waiting(&self, wait: bool);
}

impl Stream for UnixStream {
    fn shut(&self, how: Shutdown) {
        // A peer that has gone already makes this an error, which is no news to the test.
        let _gone = self.shutdown(how);
    }

    fn set_waiting(&self, wait: bool) {
        self.set_nonblocking(!wait).expect("a socket takes options");
    }
}

impl Stream for TcpStream {
    fn shut(&self, how: Shutdown) {
        let _gone = self.shutdown(how);
    }

    fn set_waiting(&self, wait: bool) {
        self.set_nonblocking(!wait).expect("a socket takes options");
    }
}

/// A client's side of a connection. Dropping it closes the socket.
#[derive(Debug)]
pub struct Connection {
    stream: Box<dyn Stream>,
    /// Read but not yet part of a response.
    buffer: Vec<u8>,
    ended: bool,
}

impl Connection {
    /// Connects to a socket file, if somebody listens.
    #[must_use]
    pub fn try_unix(path: &Path) -> Option<Self> {
        UnixStream::connect(path).ok().map(Self::over_unix)
    }

    /// Connects to a socket file.
    #[must_use]
    pub fn unix(path: &Path) -> Self {
        match UnixStream::connect(path) {
            Ok(stream) => Self::over_unix(stream),
            Err(error) => panic!("cannot connect to {}: {error}", path.display()),
        }
    }

    /// Connects to a socket of the abstract namespace, if somebody listens.
    #[must_use]
    pub fn try_abstract(name: &str) -> Option<Self> {
        let address = std::os::unix::net::SocketAddr::from_abstract_name(name)
            .expect("a name of a few letters is a valid address");
        UnixStream::connect_addr(&address).ok().map(Self::over_unix)
    }

    /// Connects over TCP.
    #[must_use]
    pub fn tcp(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address)
            .unwrap_or_else(|error| panic!("cannot connect to {address}: {error}"));
        stream.set_nodelay(true).expect("a socket takes options");
        stream.set_read_timeout(Some(PATIENCE)).expect("a socket takes options");
        stream.set_write_timeout(Some(PATIENCE)).expect("a socket takes options");
        Self { stream: Box::new(stream), buffer: Vec::new(), ended: false }
    }

    fn over_unix(stream: UnixStream) -> Self {
        stream.set_read_timeout(Some(PATIENCE)).expect("a socket takes options");
        stream.set_write_timeout(Some(PATIENCE)).expect("a socket takes options");
        Self { stream: Box::new(stream), buffer: Vec::new(), ended: false }
    }

    /// Sends all of `bytes`; panics when the server does not take them.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).expect("the server takes what is sent");
    }

    /// Sends all of `bytes`, unless the server has closed already.
    #[must_use]
    pub(crate) fn send_if_open(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        match self.stream.write_all(bytes.as_ref()) {
            Ok(()) => true,
            Err(error) if error.kind() == ErrorKind::BrokenPipe => false,
            Err(error) => panic!("the server takes what is sent: {error}"),
        }
    }

    /// Sends what the server takes of `bytes`; it may close before the end.
    pub fn offer(&mut self, bytes: impl AsRef<[u8]>) {
        // The server may have answered and closed; the test looks at the answer.
        let _refused = self.stream.write_all(bytes.as_ref());
    }

    /// Tells the server that nothing more comes, and goes on reading.
    pub fn finish_sending(&mut self) {
        self.stream.shut(Shutdown::Write);
    }

    /// `GET path` with a Host header, then the response.
    pub fn get(&mut self, path: &str) -> Response {
        self.send(format!("GET {path} HTTP/1.1\r\nHost: example.org\r\n\r\n"));
        self.receive()
    }

    /// Sends `request` and reads one response to it.
    pub fn ask(&mut self, request: impl AsRef<[u8]>) -> Response {
        self.send(request);
        self.receive()
    }

    /// The next response to a request that is not HEAD, with the interim ones before it.
    pub fn receive(&mut self) -> Response {
        self.receive_for("GET")
    }

    /// The next response to a request with this method; panics when the connection ends instead.
    pub fn receive_for(&mut self, method: &str) -> Response {
        self.try_receive_for(method).unwrap_or_else(|| {
            panic!("the connection ended instead of a response, after {:?}", self.shown())
        })
    }

    /// The next response, or `None` when the connection ends before its head is complete.
    pub fn try_receive(&mut self) -> Option<Response> {
        self.try_receive_for("GET")
    }

    fn try_receive_for(&mut self, method: &str) -> Option<Response> {
        let mut interim = Vec::new();
        loop {
            let mut response = self.receive_one(method)?;
            if response.status >= 200 || response.status == 101 {
                response.interim = interim;
                return Some(response);
            }
            interim.push(response);
        }
    }

    /// The next response, even if it is an interim one.
    pub fn receive_one(&mut self, method: &str) -> Option<Response> {
        let head = self.receive_head()?;
        let framing = head.framing(method);
        let mut trailers = Vec::new();
        let (body, complete) = match framing {
            Framing::None => (Vec::new(), true),
            Framing::Length => {
                let length = head.value("content-length").and_then(|value| value.parse().ok());
                self.take(length.expect("content-length is a number"))
            }
            Framing::UntilClose => (self.read_to_end(), true),
            Framing::Chunked => self.receive_chunks(&mut trailers),
        };
        let Head { version, status, headers, .. } = head;
        let interim = Vec::new();
        Some(Response { version, status, headers, body, framing, complete, trailers, interim })
    }

    /// The next head alone; its body stays to be read by [`Connection::take`] and the like.
    pub(crate) fn receive_head(&mut self) -> Option<Head> {
        loop {
            if let Some(head) = Head::parse(&self.buffer) {
                self.buffer.drain(..head.len);
                return Some(head);
            }
            if !self.read_more() {
                return None;
            }
        }
    }

    /// The status of the next head, whose body is left unread.
    pub fn receive_status(&mut self) -> u16 {
        self.receive_head().expect("the connection ended instead of a response").status
    }

    fn receive_chunks(&mut self, trailers: &mut Vec<(String, Vec<u8>)>) -> (Vec<u8>, bool) {
        let mut body = Vec::new();
        loop {
            let Some(line) = self.take_line() else { return (body, false) };
            let text = String::from_utf8_lossy(&line).into_owned();
            let size = usize::from_str_radix(&text, 16)
                .unwrap_or_else(|_| panic!("not a chunk size: {text:?}"));
            if size == 0 {
                break;
            }
            let (bytes, complete) = self.take(size);
            body.extend_from_slice(&bytes);
            if !complete {
                return (body, false);
            }
            match self.take_line() {
                Some(line) => assert!(line.is_empty(), "no line end after a chunk"),
                None => return (body, false),
            }
        }
        loop {
            match self.take_line() {
                None => return (body, false),
                Some(line) if line.is_empty() => return (body, true),
                Some(line) => trailers.push(parse_field(&line)),
            }
        }
    }

    /// The next chunk of a chunked body, `None` at its end; panics when it is cut.
    pub fn receive_chunk(&mut self) -> Option<Vec<u8>> {
        let line = self.take_line().expect("a chunk size");
        let size = usize::from_str_radix(&String::from_utf8_lossy(&line), 16).expect("a hex size");
        let (bytes, complete) = self.take(size);
        assert!(complete, "the connection ended inside a chunk");
        assert_eq!(self.take_line().as_deref(), Some(&b""[..]), "a chunk ends with CRLF");
        (size > 0).then_some(bytes)
    }

    /// The next `len` bytes, or fewer with `false` when the connection ends before.
    pub fn take(&mut self, len: usize) -> (Vec<u8>, bool) {
        while self.buffer.len() < len && self.read_more() {}
        let complete = self.buffer.len() >= len;
        let bytes = self.buffer.drain(..len.min(self.buffer.len())).collect();
        (bytes, complete)
    }

    /// The bytes up to the next CRLF, without it; `None` when the connection ends before.
    pub fn take_line(&mut self) -> Option<Vec<u8>> {
        self.take_until(b"\r\n")
    }

    /// The bytes up to the next line feed, without it, for what is not HTTP.
    pub fn take_plain_line(&mut self) -> Option<Vec<u8>> {
        self.take_until(b"\n")
    }

    fn take_until(&mut self, end: &[u8]) -> Option<Vec<u8>> {
        loop {
            if let Some(at) = find(&self.buffer, end) {
                let line = self.buffer.drain(..at + end.len()).take(at).collect();
                return Some(line);
            }
            if !self.read_more() {
                return None;
            }
        }
    }

    /// Everything up to the end of the connection.
    pub fn read_to_end(&mut self) -> Vec<u8> {
        while self.read_more() {}
        std::mem::take(&mut self.buffer)
    }

    /// Whether the server has closed by now; reads what is there without waiting for more.
    pub fn poll_end(&mut self) -> bool {
        self.stream.set_waiting(false);
        let mut bytes = vec![0; READ_BYTES];
        while !self.ended {
            match self.stream.read(&mut bytes) {
                Ok(0) => self.ended = true,
                Ok(count) => self.buffer.extend_from_slice(&bytes[..count]),
                Err(error) => {
                    self.ended = error.kind() != ErrorKind::WouldBlock;
                    break;
                }
            }
        }
        self.stream.set_waiting(true);
        self.ended
    }

    /// Panics unless the server closes without another byte.
    pub fn assert_closed(&mut self) {
        let rest = self.read_to_end();
        assert!(rest.is_empty(), "bytes before the end: {:?}", String::from_utf8_lossy(&rest));
    }

    /// Reads once; `false` at the end of the connection, a reset included.
    fn read_more(&mut self) -> bool {
        if self.ended {
            return false;
        }
        let mut bytes = vec![0; READ_BYTES];
        match self.stream.read(&mut bytes) {
            Ok(0) => self.ended = true,
            Ok(count) => self.buffer.extend_from_slice(&bytes[..count]),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error)
                if matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe) =>
            {
                self.ended = true;
            }
            Err(error) => panic!("no byte came from the server: {error}; had {:?}", self.shown()),
        }
        !self.ended
    }

    fn shown(&self) -> String {
        String::from_utf8_lossy(&self.buffer[..self.buffer.len().min(2000)]).into_owned()
    }
}
