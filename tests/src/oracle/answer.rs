//! What is asked of `tests/apps/release.ru`, and what must come back.

use std::time::Duration;

use super::{
    stop::Stop,
    wire::{Answer, Cut, Wire},
};

/// Pieces that an upload is sent in.
const UPLOAD_PIECES: usize = 10;
/// Bytes of one piece.
const UPLOAD_PIECE_BYTES: usize = 20_000;
/// Between two pieces.
const UPLOAD_PAUSE: Duration = Duration::from_millis(30);
/// How long the application takes for a slow request.
const SLOW_MILLISECONDS: u32 = 200;
/// Parts of a stream, `Parts::COUNT` of the application.
const STREAM_PARTS: usize = 20;

/// What a client asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Question {
    /// A GET that is answered at once.
    Get,
    /// A GET that takes the application some time.
    Slow,
    /// A body that the application sends part by part.
    Stream,
    /// A body that the client sends piece by piece.
    Upload(Coding),
}

/// How a client says where its body ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Coding {
    /// `content-length`.
    Length,
    /// `transfer-encoding: chunked`.
    Chunked,
}

impl Question {
    /// Its name, for a table.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Slow => "slow GET",
            Self::Stream => "stream",
            Self::Upload(Coding::Length) => "upload, length",
            Self::Upload(Coding::Chunked) => "upload, chunked",
        }
    }

    /// Asks, with this id; an upload's pauses end early when all is stopped.
    pub(super) fn ask(
        self,
        wire: &mut Wire,
        id: &str,
        keep: bool,
        stop: &Stop,
    ) -> Result<Answer, Cut> {
        let connection = if keep { "" } else { "Connection: close\r\n" };
        let head = |method: &str, path: &str, more: &str| {
            format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\n{connection}{more}\r\n")
        };
        match self {
            Self::Get => wire.begin(head("GET", &format!("/id/{id}"), "").as_bytes())?,
            Self::Slow => {
                let path = format!("/slow/{id}?ms={SLOW_MILLISECONDS}");
                wire.begin(head("GET", &path, "").as_bytes())?;
            }
            Self::Stream => wire.begin(head("GET", &format!("/stream/{id}"), "").as_bytes())?,
            Self::Upload(coding) => {
                let length = format!("Content-Length: {}\r\n", UPLOAD_PIECES * UPLOAD_PIECE_BYTES);
                let framing = match coding {
                    Coding::Length => length.as_str(),
                    Coding::Chunked => "Transfer-Encoding: chunked\r\n",
                };
                wire.begin(head("POST", &format!("/upload/{id}"), framing).as_bytes())?;
                if let Err(cut) = upload(wire, id, coding, stop) {
                    // The server may have said why before it closed.
                    return wire.receive().map_err(|_| cut);
                }
            }
        }
        wire.receive()
    }

    /// The release that answered, or what is wrong with the answer.
    pub(super) fn judge(self, answer: &Answer, id: &str) -> Result<u32, String> {
        let body = String::from_utf8_lossy(&answer.body);
        if answer.status != 200 {
            return Err(format!("answered {}: {}", answer.status, shortened(&body)));
        }
        let (first, rest) = body.split_once('\n').unwrap_or((&body, ""));
        let words: Vec<_> = first.split(' ').collect();
        let marker = words.first().and_then(|word| word.parse().ok());
        let marker = marker.ok_or_else(|| format!("no marker: {}", shortened(&body)))?;
        if words.get(1) != Some(&id) {
            return Err(format!("somebody else's answer: {}", shortened(&body)));
        }
        let whole = match self {
            Self::Get | Self::Slow => words.len() == 3 && rest.is_empty(),
            Self::Stream => rest == streamed(id),
            Self::Upload(_) => words[3..] == [uploaded_bytes().as_str(), &adler(&body_of(id))],
        };
        if whole { Ok(marker) } else { Err(format!("not the whole: {}", shortened(&body))) }
    }
}

fn upload(wire: &mut Wire, id: &str, coding: Coding, stop: &Stop) -> Result<(), Cut> {
    for piece in body_of(id).chunks(UPLOAD_PIECE_BYTES) {
        // Only the pause is cut short at the end of a load; the request is made whole.
        stop.pause(UPLOAD_PAUSE);
        match coding {
            Coding::Length => wire.go_on(piece)?,
            Coding::Chunked => {
                wire.go_on(format!("{:x}\r\n", piece.len()).as_bytes())?;
                wire.go_on(piece)?;
                wire.go_on(b"\r\n")?;
            }
        }
    }
    match coding {
        Coding::Length => Ok(()),
        Coding::Chunked => wire.go_on(b"0\r\n\r\n"),
    }
}

/// A body that is no other request's.
fn body_of(id: &str) -> Vec<u8> {
    let line = format!("{id} ");
    line.bytes().cycle().take(UPLOAD_PIECES * UPLOAD_PIECE_BYTES).collect()
}

fn uploaded_bytes() -> String {
    (UPLOAD_PIECES * UPLOAD_PIECE_BYTES).to_string()
}

/// Adler-32 (RFC 1950 section 8), as Ruby's `Zlib.adler32` gives it.
fn adler(bytes: &[u8]) -> String {
    const BASE: u32 = 65_521;
    let (low, high) = bytes.iter().fold((1, 0), |(low, high), &byte| {
        let low = (low + u32::from(byte)) % BASE;
        (low, (high + low) % BASE)
    });
    (high << 16 | low).to_string()
}

/// What follows the first line of a stream.
fn streamed(id: &str) -> String {
    let parts = (0..STREAM_PARTS).map(|number| format!("part {number} {id}\n"));
    parts.chain([format!("end {id}\n")]).collect()
}

fn shortened(text: &str) -> String {
    const CHARS: usize = 80;
    format!("{:?}", text.chars().take(CHARS).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(question: Question, status: u16, body: &str) -> Result<u32, String> {
        let answer = Answer { status, body: body.as_bytes().to_vec(), closes: false };
        question.judge(&answer, "1-1")
    }

    #[test]
    fn the_sum_is_that_of_the_rfc() {
        assert_eq!(adler(b""), "1");
        assert_eq!(adler(b"Wikipedia"), 0x11E6_0398_u32.to_string());
    }

    #[test]
    fn an_answer_is_judged_by_marker_id_and_length() {
        assert_eq!(judged(Question::Get, 200, "7 1-1 99"), Ok(7));
        for (status, body) in [
            (503, "7 1-1 99"),
            (200, "7 1-2 99"),
            (200, "7 1-1"),
            (200, ""),
            (200, "x 1-1 99"),
            (200, "7 1-1 99\nmore"),
        ] {
            assert!(judged(Question::Get, status, body).is_err(), "{status} {body:?}");
        }
    }

    #[test]
    fn a_cut_stream_is_not_the_whole() {
        let whole = format!("7 1-1 99\n{}", streamed("1-1"));
        assert_eq!(judged(Question::Stream, 200, &whole), Ok(7));
        assert!(judged(Question::Stream, 200, &whole[..whole.len() - 8]).is_err());
    }
}
