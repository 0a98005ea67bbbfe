//! The first bytes of a file as a response body, read off the I/O thread.

use std::{
    fs::File,
    future::Future,
    io::{self, Read},
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use tokio::task::JoinHandle;

/// Bytes per read. hyper asks for the next while it writes the last, so that up to two are held.
const READ_BYTES: u64 = 128 * 1024;

/// A file that is sent.
#[derive(Debug)]
pub(super) struct FileBody {
    left: u64,
    state: State,
}

#[derive(Debug)]
enum State {
    Resting(File),
    Reading(JoinHandle<io::Result<(File, Bytes)>>),
    Over,
}

impl FileBody {
    /// The first `len` bytes of `file`, which stands at offset 0.
    pub(super) fn new(file: File, len: u64) -> Self {
        Self { left: len, state: State::Resting(file) }
    }

    /// Whether all has been given.
    pub(super) fn is_over(&self) -> bool {
        self.left == 0
    }

    /// The next chunk; an error when the file is shorter than it was, or unreadable.
    pub(super) fn poll_chunk(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Bytes>>> {
        loop {
            match std::mem::replace(&mut self.state, State::Over) {
                State::Over => return Poll::Ready(None),
                State::Resting(_) if self.left == 0 => return Poll::Ready(None),
                State::Resting(file) => {
                    let count = self.left.min(READ_BYTES);
                    self.state =
                        State::Reading(tokio::task::spawn_blocking(move || read(file, count)));
                }
                State::Reading(mut reading) => {
                    let Poll::Ready(result) = Pin::new(&mut reading).poll(context) else {
                        self.state = State::Reading(reading);
                        return Poll::Pending;
                    };
                    return Poll::Ready(Some(result.map_err(io::Error::other).flatten().map(
                        |(file, chunk)| {
                            self.left -= chunk.len() as u64;
                            self.state = State::Resting(file);
                            chunk
                        },
                    )));
                }
            }
        }
    }
}

fn read(file: File, count: u64) -> io::Result<(File, Bytes)> {
    let mut chunk = Vec::with_capacity(usize::try_from(count).unwrap_or_default());
    let mut part = file.take(count);
    if (part.read_to_end(&mut chunk)? as u64) < count {
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the file became shorter"));
    }
    Ok((part.into_inner(), Bytes::from(chunk)))
}
