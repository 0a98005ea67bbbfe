//! Undoing the chunks of an application that frames its body itself.
//!
//! Under Rack 2, `Rack::Chunked` and Rails' streaming set `transfer-encoding: chunked` and yield
//! chunks with their sizes. Sending those as they are would trust the application with the framing
//! of the connection; sending them as plain data would show the sizes to the client. So they are
//! decoded, and the server frames what is left. A body that says it is chunked and is not, from its
//! first bytes on, is plain data.

use bytes::{Buf, Bytes, BytesMut};

use super::failure::Refusal;

/// Longest size line, in hexadecimal digits.
const SIZE_DIGITS_MAX: usize = 16;

/// Longest trailer section; more is not a trailer.
const TRAILER_BYTES_MAX: usize = 8 * 1024;

/// The decoder of one body.
#[derive(Debug, Default)]
pub(super) struct AppChunks {
    state: State,
    /// Bytes of an unfinished line.
    line: BytesMut,
    /// Whether a size line was seen: before it, the body may turn out to be plain.
    has_chunks: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Size,
    Data {
        left: u64,
    },
    DataEnd,
    Trailer,
    Done,
    Plain,
}

impl AppChunks {
    /// The data in `piece`.
    pub(super) fn decode(&mut self, mut piece: Bytes) -> Result<Bytes, Refusal> {
        if self.state == State::Plain {
            return Ok(piece);
        }
        let mut data = BytesMut::new();
        while !piece.is_empty() {
            match self.state {
                State::Plain => {
                    data.extend_from_slice(&piece);
                    piece.clear();
                }
                State::Data { left } => {
                    let taken = piece.len().min(usize::try_from(left).unwrap_or(usize::MAX));
                    data.extend_from_slice(&piece.split_to(taken));
                    let left = left - taken as u64;
                    self.state = if left == 0 { State::DataEnd } else { State::Data { left } };
                }
                State::Size | State::DataEnd | State::Trailer => {
                    self.line.extend_from_slice(&piece[..1]);
                    piece.advance(1);
                    self.on_line(&mut data)?;
                }
                State::Done => return Err(Refusal::Chunks),
            }
        }
        Ok(data.freeze())
    }

    /// What is left at the end of the body.
    pub(super) fn finish(&mut self) -> Result<Bytes, Refusal> {
        match self.state {
            State::Plain | State::Done => Ok(Bytes::new()),
            State::Size if !self.has_chunks => Ok(self.line.split().freeze()),
            State::Size | State::Data { .. } | State::DataEnd | State::Trailer => {
                Err(Refusal::Chunks)
            }
        }
    }

    fn on_line(&mut self, data: &mut BytesMut) -> Result<(), Refusal> {
        match (self.state, &self.line[..]) {
            (State::Size, [digits @ .., b'\r', b'\n']) => match size(digits) {
                Some(size) => {
                    self.has_chunks = true;
                    self.line.clear();
                    self.state =
                        if size == 0 { State::Trailer } else { State::Data { left: size } };
                }
                None => return self.on_wrong(data),
            },
            (State::Size, line) if !may_become_size(line) => return self.on_wrong(data),
            (State::DataEnd, b"\r\n") => {
                self.line.clear();
                self.state = State::Size;
            }
            (State::DataEnd, line) if line != b"\r" => return self.on_wrong(data),
            (State::Trailer, b"\r\n") => self.state = State::Done,
            (State::Trailer, line) if line.len() > TRAILER_BYTES_MAX => {
                return Err(Refusal::Chunks);
            }
            (State::Trailer, [.., b'\r', b'\n']) => self.line.clear(),
            _ => {}
        }
        Ok(())
    }

    fn on_wrong(&mut self, data: &mut BytesMut) -> Result<(), Refusal> {
        if self.has_chunks {
            return Err(Refusal::Chunks);
        }
        self.state = State::Plain;
        data.extend_from_slice(&self.line.split());
        Ok(())
    }
}

fn size(digits: &[u8]) -> Option<u64> {
    let digits = std::str::from_utf8(digits).ok()?;
    let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    if is_number { u64::from_str_radix(digits, 16).ok() } else { None }
}

fn may_become_size(line: &[u8]) -> bool {
    let digits = line.strip_suffix(b"\r").unwrap_or(line);
    digits.len() <= SIZE_DIGITS_MAX && digits.iter().all(u8::is_ascii_hexdigit)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(body: &[u8], step: usize) -> Result<Vec<u8>, Refusal> {
        let mut chunks = AppChunks::default();
        let mut data = Vec::new();
        for piece in body.chunks(step) {
            data.extend_from_slice(&chunks.decode(Bytes::copy_from_slice(piece))?);
        }
        data.extend_from_slice(&chunks.finish()?);
        Ok(data)
    }

    #[test]
    fn bodies_decode_the_same_in_any_pieces() {
        type Row<'a> = (&'a [u8], Result<&'a [u8], Refusal>);
        let table: [Row<'_>; 12] = [
            (b"5\r\nhello\r\n0\r\n\r\n", Ok(b"hello")),
            (b"5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n", Ok(b"hello world")),
            (b"0\r\n\r\n", Ok(b"")),
            (b"1\r\na\r\n0\r\nx-t: 1\r\n\r\n", Ok(b"a")),
            (b"hello", Ok(b"hello")),
            (b"abc", Ok(b"abc")),
            (b"abc\ndef", Ok(b"abc\ndef")),
            (b"", Ok(b"")),
            (b"5\r\nhel", Err(Refusal::Chunks)),
            (b"5\r\nhello", Err(Refusal::Chunks)),
            (b"5\r\nhelloXX0\r\n\r\n", Err(Refusal::Chunks)),
            (b"0\r\n\r\nHTTP/1.1 200 OK", Err(Refusal::Chunks)),
        ];
        for (body, expected) in table {
            for step in 1..=body.len().max(1) {
                let expected = expected.clone().map(<[u8]>::to_vec);
                assert_eq!(decoded(body, step), expected, "{} by {step}", body.escape_ascii());
            }
        }
    }
}
