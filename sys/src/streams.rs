//! Standard input, output and error: made valid at the start, redirected later.

#[cfg(test)]
mod tests;

use std::{
    fmt,
    fs::{File, OpenOptions},
    io,
    os::{
        fd::{AsFd, AsRawFd, IntoRawFd, RawFd},
        unix::fs::{FileTypeExt, OpenOptionsExt},
    },
    path::{Path, PathBuf},
};

use nix::{
    errno::Errno,
    fcntl::{FcntlArg, OFlag, fcntl},
    libc, unistd,
};

use crate::sysexits;

/// What a log file is made with, less the umask.
const LOG_MODE: u32 = 0o644;

/// One of the descriptors 0, 1 and 2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// 0.
    Input,
    /// 1.
    Output,
    /// 2.
    Error,
}

impl Stream {
    /// All three, in the order of their numbers.
    pub const ALL: [Self; 3] = [Self::Input, Self::Output, Self::Error];

    fn number(self) -> RawFd {
        match self {
            Self::Input => 0,
            Self::Output => 1,
            Self::Error => 2,
        }
    }
}

impl fmt::Display for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Input => "standard input",
            Self::Output => "standard output",
            Self::Error => "standard error",
        })
    }
}

/// What happens to a file that exists already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Existing {
    /// Puma's `--redirect-append`: its content stays.
    Append,
    /// Its content is thrown away.
    Truncate,
}

/// Why a stream could not be changed; it is as it was.
#[derive(Debug, thiserror::Error)]
pub enum StreamError {
    /// The file could not be opened or made.
    #[error("cannot redirect {stream} to {path}; check the directory and its permissions", path = path.display())]
    Open {
        /// Which stream.
        stream: Stream,
        /// The file.
        path: PathBuf,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
    /// A directory, FIFO, socket or block device is there.
    #[error("cannot redirect {stream} to {path}: it is neither a regular file nor a character device; pass another path", path = path.display())]
    NotAFile {
        /// Which stream.
        stream: Stream,
        /// The file.
        path: PathBuf,
    },
    /// The descriptor could not be put in its place.
    #[error("cannot replace {stream}")]
    Replace {
        /// Which stream.
        stream: Stream,
        /// The kernel's reason.
        #[source]
        source: Errno,
    },
}

impl StreamError {
    /// The exit status, from sysexits(3): 73 when the file is the reason, else 71.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Open { .. } | Self::NotAFile { .. } => sysexits::CANTCREAT,
            Self::Replace { .. } => sysexits::OSERR,
        }
    }
}

/// Opens `/dev/null` on each of the descriptors 0, 1 and 2 that is closed.
///
/// Call it before anything else is opened: a socket that got the number 2 would receive the
/// error messages of every library. (Rust's runtime does the same before `main`; this says so
/// and also serves a process that Ruby or a test has forked.)
///
/// # Errors
///
/// When `/dev/null` cannot be opened.
pub fn ensure_open() -> Result<(), StreamError> {
    for stream in Stream::ALL {
        // SAFETY: asks for the flags of a number; no memory is involved, and a number that is
        // not open is an error.
        let flags = unsafe { libc::fcntl(stream.number(), libc::F_GETFD) };
        if flags < 0 {
            to_null(stream)?;
        }
    }
    Ok(())
}

/// Connects a stream to `/dev/null`: input reads as ended, output is thrown away.
///
/// # Errors
///
/// When `/dev/null` cannot be opened.
pub fn to_null(stream: Stream) -> Result<(), StreamError> {
    let path = Path::new("/dev/null");
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(libc::O_CLOEXEC)
        .open(path)
        .map_err(|source| StreamError::Open { stream, path: path.to_owned(), source })?;
    put(file, stream)
}

/// Connects a stream, which is [`Stream::Output`] or [`Stream::Error`], to a log file.
///
/// The file is made with mode 0644 less the umask. Writing always appends, so that two streams,
/// or several processes, may share it, and a log rotator may truncate it. A symbolic link is
/// followed: logs are often kept elsewhere. A FIFO is refused and never waited for.
///
/// # After a log was rotated
///
/// With [`Existing::Append`] and the same path this opens the file that has the name now; one that
/// the rotator has made keeps its owner and mode. Other threads may write meanwhile: `dup2(2)`
/// replaces the descriptor in one step, so that each write goes whole to the old file or to the
/// new one, and none fails. Descriptors 1 and 2 are each process's own: every process must do it,
/// and with a user that may write to the file.
///
/// # Errors
///
/// When the file cannot be opened, or is something else than a regular file or character device.
pub fn redirect(stream: Stream, path: &Path, existing: Existing) -> Result<(), StreamError> {
    let failed = |source| StreamError::Open { stream, path: path.to_owned(), source };
    let not_a_file = || StreamError::NotAFile { stream, path: path.to_owned() };
    // Without O_NONBLOCK a FIFO without a reader would be waited for; with it, ENXIO says that it
    // is one, or a socket.
    let flags = libc::O_CLOEXEC | libc::O_NOCTTY | libc::O_NONBLOCK;
    let opened =
        OpenOptions::new().append(true).create(true).mode(LOG_MODE).custom_flags(flags).open(path);
    let file = match opened {
        Ok(file) => file,
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENXIO | libc::EISDIR)) => {
            return Err(not_a_file());
        }
        Err(error) => return Err(failed(error)),
    };
    let kind = file.metadata().map_err(failed)?.file_type();
    if !kind.is_file() && !kind.is_char_device() {
        return Err(not_a_file());
    }
    // Only now, when it is known to be a log file.
    if kind.is_file() && existing == Existing::Truncate {
        file.set_len(0).map_err(failed)?;
    }
    fcntl(&file, FcntlArg::F_SETFL(OFlag::O_APPEND))
        .map_err(|source| StreamError::Replace { stream, source })?;
    put(file, stream)
}

/// Puts an open file at the stream's number, where it is inherited by every child.
fn put(file: File, stream: Stream) -> Result<(), StreamError> {
    let replaced = |source| StreamError::Replace { stream, source };
    if file.as_raw_fd() == stream.number() {
        // The stream was closed, and the kernel gave the file its number; dup2 onto itself
        // would leave CLOEXEC on.
        fcntl(&file, FcntlArg::F_SETFD(nix::fcntl::FdFlag::empty())).map_err(replaced)?;
        // It stays open on purpose: the standard library owns the number from now on.
        let _ = file.into_raw_fd();
        return Ok(());
    }
    loop {
        let outcome = match stream {
            Stream::Input => unistd::dup2_stdin(file.as_fd()),
            Stream::Output => unistd::dup2_stdout(file.as_fd()),
            Stream::Error => unistd::dup2_stderr(file.as_fd()),
        };
        match outcome {
            // dup2(2): EBUSY and EINTR are to be tried again.
            Err(Errno::EINTR | Errno::EBUSY) => {}
            outcome => return outcome.map_err(replaced),
        }
    }
}
