//! Undoes the chunked coding of an application that codes its bodies itself.
//!
//! Rack 2 has middleware for it (`Rack::Chunked`, and Rails' `render stream: true`): it sets
//! `transfer-encoding: chunked` and yields the coded bytes. Puma passes them on as they are, and a
//! mistake in them would derange the connection. Here they are decoded and coded again by hyper.

use bytes::{Buf, Bytes, BytesMut};

/// Longest line with a chunk's size, in bytes.
const SIZE_LINE_BYTES_MAX: usize = 64;
/// Longest trailer section, in bytes; trailers are discarded.
const TRAILER_BYTES_MAX: usize = 16 * 1024;

/// The body is not what its `transfer-encoding: chunked` promised.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("cannot decode the response body: it is not chunked as its transfer-encoding says")]
pub(super) struct Malformed;

/// An incremental decoder.
///
/// A body that does not even begin with a chunk's size is taken for one that was never coded.
#[derive(Debug, Default)]
pub(super) struct Dechunker {
    state: State,
    /// The bytes of an unfinished line.
    line: BytesMut,
    /// A size line was seen.
    coded: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Size,
    Data {
        left: u64,
    },
    DataEnd,
    Trailer {
        left: usize,
    },
    Done,
    /// Never coded.
    Plain,
}

impl Dechunker {
    /// Decodes `bytes`, giving each piece of data to `emit`.
    ///
    /// # Errors
    ///
    /// [`Malformed`] after at least one good chunk; what was emitted before stands.
    pub(super) fn push(
        &mut self,
        mut bytes: Bytes,
        emit: &mut impl FnMut(Bytes),
    ) -> Result<(), Malformed> {
        while !bytes.is_empty() {
            match self.state {
                State::Plain => {
                    emit(std::mem::take(&mut bytes));
                }
                State::Data { left } => {
                    let count = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
                    emit(bytes.split_to(count));
                    let left = left - count as u64;
                    self.state = if left == 0 { State::DataEnd } else { State::Data { left } };
                }
                State::Done => return Err(Malformed),
                State::Size => self.size(&mut bytes, emit)?,
                State::DataEnd => {
                    if let Some(line) = self.line(&mut bytes, 0)? {
                        if !line.is_empty() {
                            return Err(Malformed);
                        }
                        self.state = State::Size;
                    }
                }
                State::Trailer { left } => {
                    if let Some(line) = self.line(&mut bytes, left)? {
                        self.state = match line.len() {
                            0 => State::Done,
                            len => State::Trailer { left: left - len },
                        };
                    }
                }
            }
        }
        Ok(())
    }

    /// To be called at the end of the body.
    ///
    /// # Errors
    ///
    /// [`Malformed`] when a coded body ends before its last chunk.
    pub(super) fn finish(&mut self, emit: &mut impl FnMut(Bytes)) -> Result<(), Malformed> {
        match self.state {
            State::Done | State::Plain => Ok(()),
            State::Size if !self.coded => {
                if !self.line.is_empty() {
                    emit(self.line.split().freeze());
                }
                Ok(())
            }
            State::Size | State::Data { .. } | State::DataEnd | State::Trailer { .. } => {
                Err(Malformed)
            }
        }
    }

    fn size(&mut self, bytes: &mut Bytes, emit: &mut impl FnMut(Bytes)) -> Result<(), Malformed> {
        let before = self.line.clone();
        let rest = bytes.clone();
        let line = self.line(bytes, SIZE_LINE_BYTES_MAX);
        let size = match &line {
            Ok(Some(line)) => parse_size(line).ok_or(Malformed),
            Ok(None) => return Ok(()),
            Err(Malformed) => Err(Malformed),
        };
        match size {
            Ok(size) => {
                self.coded = true;
                self.state = match size {
                    0 => State::Trailer { left: TRAILER_BYTES_MAX },
                    left => State::Data { left },
                };
                Ok(())
            }
            Err(Malformed) if self.coded => Err(Malformed),
            Err(Malformed) => {
                self.state = State::Plain;
                self.line.clear();
                if !before.is_empty() {
                    emit(before.freeze());
                }
                *bytes = rest;
                Ok(())
            }
        }
    }

    /// A whole line without its CRLF, at most `len_max` bytes long; `None` when more is needed.
    fn line(&mut self, bytes: &mut Bytes, len_max: usize) -> Result<Option<Bytes>, Malformed> {
        let end = bytes.iter().position(|byte| *byte == b'\n');
        let count = end.map_or(bytes.len(), |end| end + 1);
        if self.line.len() + count > len_max + 2 {
            return Err(Malformed);
        }
        self.line.extend_from_slice(&bytes[..count]);
        bytes.advance(count);
        if end.is_none() {
            return Ok(None);
        }
        let line = self.line.split().freeze();
        match line.strip_suffix(b"\r\n") {
            Some(text) => Ok(Some(line.slice_ref(text))),
            None => Err(Malformed),
        }
    }
}

/// `chunk-size [ chunk-ext ]` (RFC 9112 section 7.1).
fn parse_size(line: &[u8]) -> Option<u64> {
    let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
    if digits == 0 || digits > 16 || !(digits == line.len() || line[digits] == b';') {
        return None;
    }
    u64::from_str_radix(std::str::from_utf8(&line[..digits]).ok()?, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Decodes `body` in pieces of `step` bytes.
    fn decode(body: &str, step: usize) -> Result<String, Malformed> {
        let mut decoder = Dechunker::default();
        let mut data = Vec::new();
        let mut emit = |bytes: Bytes| data.extend_from_slice(&bytes);
        for piece in body.as_bytes().chunks(step) {
            decoder.push(Bytes::copy_from_slice(piece), &mut emit)?;
        }
        decoder.finish(&mut emit)?;
        Ok(String::from_utf8(data).unwrap())
    }

    #[test]
    fn chunks_are_decoded_however_they_arrive() {
        let body = "5\r\nhello\r\n7;a=b\r\n, world\r\n0\r\nx-trailer: 1\r\n\r\n";
        for step in 1..=body.len() {
            assert_eq!(decode(body, step).as_deref(), Ok("hello, world"), "step {step}");
        }
        assert_eq!(decode("0\r\n\r\n", 1).as_deref(), Ok(""));
    }

    #[test]
    fn a_body_that_was_never_coded_passes() {
        for body in ["hello", "<html>\r\n</html>", "5", "", "abcdef0123456789 and so on\r\n"] {
            for step in [1, 3, 100] {
                assert_eq!(decode(body, step).as_deref(), Ok(body), "step {step}");
            }
        }
        let long = "a".repeat(SIZE_LINE_BYTES_MAX * 3);
        assert_eq!(decode(&long, 7).as_deref(), Ok(&*long));
    }

    #[test]
    fn a_broken_coding_is_an_error() {
        for body in [
            "5\r\nhello",
            "5\r\nhelloXX0\r\n\r\n",
            "5\r\nhello\r\n",
            "5\r\nhello\r\nzz\r\n",
            "0\r\n\r\nmore",
            "0\r\n",
            "5\r\nhello\n0\r\n\r\n",
        ] {
            for step in [1, 100] {
                assert_eq!(decode(body, step), Err(Malformed), "{body:?} step {step}");
            }
        }
    }
}
