//! The one message a daemon sends its launcher, through a pipe that nobody else holds.

use std::{
    fs::File,
    io::{self, Read},
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use nix::{errno::Errno, unistd};

/// Longest text of [`ReadyNotifier::failed`]; more is cut. With its head it fits in `PIPE_BUF`,
/// so it is written whole or not at all, pipe(7).
pub const MESSAGE_BYTES_MAX: usize = 4000;

const READY: u8 = b'R';
const FAILED: u8 = b'F';

/// What became of the daemon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It serves; the launcher may exit with 0.
    Ready,
    /// It could not start.
    Failed {
        /// The launcher's exit status.
        status: u8,
        /// For the user, without a newline at the end.
        message: String,
    },
    /// It ended without a word: killed, or crashed.
    Died,
}

/// The daemon's end. Dropping it without a word means [`Verdict::Died`].
#[derive(Debug)]
#[must_use = "the launcher waits for the verdict"]
pub struct ReadyNotifier {
    pipe: OwnedFd,
}

/// The launcher's end.
#[derive(Debug)]
#[must_use = "the launcher exits with the verdict"]
pub struct VerdictWaiter {
    pipe: File,
}

impl ReadyNotifier {
    pub(super) fn new(pipe: OwnedFd) -> Self {
        Self { pipe }
    }

    /// Says that the daemon serves. A launcher that the user has interrupted is no error.
    ///
    /// # Errors
    ///
    /// Those of `write(2)` on a pipe, other than `EPIPE`.
    pub fn ready(self) -> Result<(), Errno> {
        self.send(&[READY])
    }

    /// Says that the daemon will end, with the status and text for the launcher.
    ///
    /// # Errors
    ///
    /// Those of `write(2)` on a pipe, other than `EPIPE`.
    pub fn failed(self, status: u8, message: &str) -> Result<(), Errno> {
        let message = &message.as_bytes()[..message.len().min(MESSAGE_BYTES_MAX)];
        let length = u16::try_from(message.len()).expect("MESSAGE_BYTES_MAX fits in 16 bits");
        let mut bytes = vec![FAILED, status];
        bytes.extend_from_slice(&length.to_be_bytes());
        bytes.extend_from_slice(message);
        self.send(&bytes)
    }

    fn send(self, bytes: &[u8]) -> Result<(), Errno> {
        loop {
            match unistd::write(&self.pipe, bytes) {
                Ok(_) | Err(Errno::EPIPE) => return Ok(()),
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno),
            }
        }
    }
}

impl VerdictWaiter {
    pub(super) fn new(pipe: OwnedFd) -> Self {
        Self { pipe: File::from(pipe) }
    }

    /// Waits until the daemon serves, has failed or is gone.
    ///
    /// It has no limit of its own: the daemon has one for its boot, and its end, however it
    /// comes, ends the wait. To wait beside something else, poll [`AsFd`] for reading first.
    #[must_use]
    pub fn wait(mut self) -> Verdict {
        // A pipe that ends in the middle, or cannot be read, has no daemon behind it.
        self.read().unwrap_or(Verdict::Died)
    }

    fn read(&mut self) -> io::Result<Verdict> {
        match self.byte()? {
            READY => Ok(Verdict::Ready),
            FAILED => {
                let status = self.byte()?;
                let length = u16::from_be_bytes([self.byte()?, self.byte()?]);
                let mut message = vec![0; usize::from(length)];
                self.pipe.read_exact(&mut message)?;
                let message = String::from_utf8_lossy(&message).into_owned();
                Ok(Verdict::Failed { status, message })
            }
            _ => Ok(Verdict::Died),
        }
    }

    fn byte(&mut self) -> io::Result<u8> {
        let mut byte = [0];
        self.pipe.read_exact(&mut byte)?;
        Ok(byte[0])
    }
}

impl AsFd for VerdictWaiter {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pipe.as_fd()
    }
}
