//! Reads HTTP/1.1 responses from bytes as they come, and counts what it cannot trust.
//!
//! No input or output here: [`Reader::feed`] takes what has arrived and says how much of it was
//! this response's.

use std::str;

/// Longest head, or chunk-size line, that is read; longer ones are [`Malformed`].
const LINE_BYTES_MAX: usize = 64 * 1024;

/// The bytes are not an HTTP/1.1 response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed(pub &'static str);

/// One finished response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// Bytes of the body, without chunk framing.
    pub body_bytes: u64,
    /// The server will close the connection, or ended the body by doing so.
    pub closes: bool,
}

/// The reader of one response; make a new one for the next.
#[derive(Debug, Default)]
pub struct Reader {
    state: State,
    status: u16,
    body_bytes: u64,
    closes: bool,
}

#[derive(Debug)]
enum State {
    /// Collecting the head.
    Head(Vec<u8>),
    /// So many bytes of a body with a length are to come.
    Sized(u64),
    /// Collecting a chunk-size line.
    ChunkSize(Vec<u8>),
    /// So many bytes of a chunk and its line end are to come.
    Chunk(u64),
    /// Collecting a trailer line; an empty one ends the response.
    Trailer(Vec<u8>),
    /// The body ends with the connection.
    UntilClose,
    Done,
}

impl Default for State {
    fn default() -> Self {
        Self::Head(Vec::new())
    }
}

impl Reader {
    /// Takes bytes; says how many belonged to this response. Fewer than given means it is done.
    ///
    /// # Errors
    ///
    /// [`Malformed`], after which neither reader nor connection is of use.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<usize, Malformed> {
        let mut used = 0;
        while used < bytes.len() && !matches!(self.state, State::Done) {
            used += self.step(&bytes[used..])?;
        }
        Ok(used)
    }

    /// The response, when all of it has been read.
    #[must_use]
    pub fn finished(&self) -> Option<Response> {
        matches!(self.state, State::Done).then_some(self.response())
    }

    /// The response, when the end of the connection was the end it had to have.
    #[must_use]
    pub fn at_close(&self) -> Option<Response> {
        matches!(self.state, State::Done | State::UntilClose).then_some(self.response())
    }

    fn response(&self) -> Response {
        Response { status: self.status, body_bytes: self.body_bytes, closes: self.closes }
    }

    /// Takes a prefix of `bytes`, at least one byte.
    fn step(&mut self, bytes: &[u8]) -> Result<usize, Malformed> {
        match &mut self.state {
            State::Head(head) => {
                let (used, whole) = collect(head, bytes, b"\r\n\r\n")?;
                if whole {
                    let head = std::mem::take(head);
                    self.read_head(&head)?;
                }
                Ok(used)
            }
            State::Sized(left) => {
                let used = take(left, bytes);
                self.body_bytes += used as u64;
                if *left == 0 {
                    self.state = State::Done;
                }
                Ok(used)
            }
            State::ChunkSize(line) => {
                let (used, whole) = collect(line, bytes, b"\r\n")?;
                if whole {
                    let size = chunk_size(line)?;
                    self.body_bytes += size;
                    self.state = match size {
                        0 => State::Trailer(Vec::new()),
                        _ => State::Chunk(size + 2),
                    };
                }
                Ok(used)
            }
            State::Chunk(left) => {
                let used = take(left, bytes);
                if *left == 0 {
                    self.state = State::ChunkSize(Vec::new());
                }
                Ok(used)
            }
            State::Trailer(line) => {
                let (used, whole) = collect(line, bytes, b"\r\n")?;
                if whole {
                    let last = line.len() == 2;
                    line.clear();
                    if last {
                        self.state = State::Done;
                    }
                }
                Ok(used)
            }
            State::UntilClose => {
                self.body_bytes += bytes.len() as u64;
                Ok(bytes.len())
            }
            State::Done => Ok(0),
        }
    }

    fn read_head(&mut self, head: &[u8]) -> Result<(), Malformed> {
        let head = str::from_utf8(head).map_err(|_| Malformed("the head is not UTF-8"))?;
        let mut lines = head.split("\r\n");
        self.status = status_of(lines.next().unwrap_or_default())?;
        if (100..200).contains(&self.status) && self.status != 101 {
            self.state = State::default();
            return Ok(());
        }
        let (mut length, mut chunked) = (None, false);
        for (name, value) in lines.filter_map(|line| line.split_once(':')) {
            let value = value.trim();
            if name.eq_ignore_ascii_case("content-length") {
                length = Some(value.parse().map_err(|_| Malformed("content-length"))?);
            } else if name.eq_ignore_ascii_case("transfer-encoding") {
                chunked = value.eq_ignore_ascii_case("chunked");
            } else if name.eq_ignore_ascii_case("connection") {
                self.closes = value.eq_ignore_ascii_case("close");
            }
        }
        self.state = match (chunked, length) {
            _ if matches!(self.status, 204 | 304) => State::Done,
            (true, _) => State::ChunkSize(Vec::new()),
            (false, Some(0)) => State::Done,
            (false, Some(length)) => State::Sized(length),
            (false, None) => {
                self.closes = true;
                State::UntilClose
            }
        };
        Ok(())
    }
}

/// Moves bytes to `line` up to and with `end`; says how many, and whether the end was reached.
fn collect(line: &mut Vec<u8>, bytes: &[u8], end: &[u8]) -> Result<(usize, bool), Malformed> {
    let before = line.len();
    let from = before.saturating_sub(end.len() - 1);
    line.extend_from_slice(bytes);
    let found = line[from..].windows(end.len()).position(|window| window == end);
    if let Some(position) = found {
        line.truncate(from + position + end.len());
        return Ok((line.len() - before, true));
    }
    if line.len() > LINE_BYTES_MAX {
        return Err(Malformed("a line is too long"));
    }
    Ok((bytes.len(), false))
}

fn take(left: &mut u64, bytes: &[u8]) -> usize {
    let used = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
    *left -= used as u64;
    used
}

fn status_of(line: &str) -> Result<u16, Malformed> {
    let code = line.strip_prefix("HTTP/1.").and_then(|rest| rest.get(2..5));
    code.and_then(|code| code.parse().ok()).ok_or(Malformed("the status line"))
}

fn chunk_size(line: &[u8]) -> Result<u64, Malformed> {
    let line = str::from_utf8(line).map_err(|_| Malformed("a chunk size"))?;
    let digits = line.split(';').next().unwrap_or_default().trim();
    u64::from_str_radix(digits, 16).map_err(|_| Malformed("a chunk size"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEXT: &[u8] = b"HTTP/1.1 200 OK\r\n";

    /// Reads `wire` in two pieces, cut at every place, with the next response behind it.
    fn read(wire: &[u8]) -> Response {
        let all = [wire, NEXT].concat();
        let mut responses = (0..=wire.len()).map(|cut| {
            let mut reader = Reader::default();
            assert_eq!(reader.feed(&all[..cut]), Ok(cut), "cut at {cut}");
            assert_eq!(reader.feed(&all[cut..]), Ok(wire.len() - cut), "cut at {cut}");
            reader.finished().unwrap()
        });
        let first = responses.next().unwrap();
        assert!(responses.all(|response| response == first));
        first
    }

    #[test]
    fn a_body_with_a_length() {
        let response = read(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello");
        assert_eq!(response, Response { status: 200, body_bytes: 5, closes: false });
    }

    #[test]
    fn a_chunked_body_with_extension_and_trailer() {
        let response = read(
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n\
              A;x=1\r\n0123456789\r\n1\r\na\r\n0\r\nx: y\r\n\r\n",
        );
        assert_eq!(response, Response { status: 200, body_bytes: 11, closes: true });
    }

    #[test]
    fn no_body_and_an_interim_response() {
        let response = read(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n");
        assert_eq!(response, Response { status: 204, body_bytes: 0, closes: false });
    }

    #[test]
    fn a_body_that_ends_with_the_connection() {
        let mut reader = Reader::default();
        let wire = b"HTTP/1.1 500 Internal Server Error\r\n\r\noops";
        assert_eq!(reader.feed(wire), Ok(wire.len()));
        assert_eq!(reader.finished(), None);
        assert_eq!(reader.at_close().map(|response| response.body_bytes), Some(4));
    }

    #[test]
    fn a_body_cut_short_is_no_response() {
        let mut reader = Reader::default();
        let wire = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhell";
        assert_eq!(reader.feed(wire), Ok(wire.len()));
        assert_eq!((reader.finished(), reader.at_close()), (None, None));
    }

    #[test]
    fn nonsense_is_refused() {
        for wire in [
            &b"SSH-2.0-x\r\n\r\n"[..],
            b"HTTP/1.1 2x0 OK\r\n\r\n",
            b"HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n",
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nxyz\r\n",
        ] {
            assert!(Reader::default().feed(wire).is_err());
        }
        assert!(Reader::default().feed(&vec![b'a'; LINE_BYTES_MAX + 1]).is_err());
    }
}
