//! One question to a server over its control socket, and the answer.

use std::{
    io::{self, Read, Write},
    os::{fd::AsRawFd, unix::net::UnixStream},
    path::{Path, PathBuf},
    time::Duration,
};

use nix::{
    errno::Errno,
    sys::{
        socket::{
            AddressFamily, SockFlag, SockType, UnixAddr, connect, getsockopt, setsockopt, socket,
            sockopt,
        },
        time::{TimeVal, TimeValLike},
    },
    unistd::{Pid, geteuid},
};

use super::{
    deadline::Deadline,
    error::{FAILED, NOT_PERMITTED, TIME_LIMIT},
};
use crate::control::{self, ANSWER_LIMIT, READ_LIMIT, Reply, Request};

/// For a place in the socket's backlog, and for the server to take the request.
const SEND_SECONDS_MAX: i64 = 10;
/// For the whole answer: the server's own limits, and some time in its backlog.
const REPLY_LIMIT: Duration = ANSWER_LIMIT.saturating_add(READ_LIMIT).saturating_mul(2);
/// Longest answer, 64 MiB: the backtraces of many workers.
const REPLY_BYTES_MAX: usize = 64 << 20;

/// Why there is no connection to a server.
#[derive(Debug, thiserror::Error)]
pub(super) enum ConnectError {
    /// There is no socket, or it is a dead one.
    #[error("nobody listens on {}", socket.display())]
    Nobody {
        /// The socket.
        socket: PathBuf,
        /// The system's reason.
        #[source]
        source: Errno,
    },
    /// The socket is another user's.
    #[error(
        "cannot control the server at {}: not permitted; run rackrsctl as the server's user or as \
         root",
        socket.display()
    )]
    NotPermitted {
        /// The socket.
        socket: PathBuf,
        /// The system's reason.
        #[source]
        source: Errno,
    },
    /// Whoever listens is not to be trusted.
    #[error(
        "cannot trust the server at {}: it runs as user {user}; run rackrsctl as that user, or \
         remove the socket",
        socket.display()
    )]
    Stranger {
        /// The socket.
        socket: PathBuf,
        /// Who listens.
        user: u32,
    },
    /// There are too many clients, or the master is stuck.
    #[error(
        "cannot connect to {} within {SEND_SECONDS_MAX} s: its queue is full; look whether the \
         master is stuck",
        socket.display()
    )]
    Busy {
        /// The socket.
        socket: PathBuf,
    },
    /// Anything else.
    #[error("cannot connect to {}; check the path", socket.display())]
    System {
        /// The socket.
        socket: PathBuf,
        /// The system's reason.
        #[source]
        source: Errno,
    },
}

impl ConnectError {
    pub(super) const fn exit_code(&self) -> u8 {
        match self {
            Self::NotPermitted { .. } | Self::Stranger { .. } => NOT_PERMITTED,
            Self::Busy { .. } => TIME_LIMIT,
            Self::Nobody { .. } | Self::System { .. } => FAILED,
        }
    }

    fn of(socket: &Path, source: Errno) -> Self {
        let socket = socket.to_owned();
        if matches!(source, Errno::ENOENT | Errno::ENOTDIR | Errno::ECONNREFUSED) {
            Self::Nobody { socket, source }
        } else if matches!(source, Errno::EACCES | Errno::EPERM) {
            Self::NotPermitted { socket, source }
        } else if source == Errno::EAGAIN {
            Self::Busy { socket }
        } else {
            Self::System { socket, source }
        }
    }
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum AskError {
    /// The request cannot be written as JSON.
    #[error("cannot write the request as JSON")]
    Encode(#[source] serde_json::Error),
    /// The server has gone away in the middle.
    #[error(
        "cannot tell whether it was done: the server ended the connection without an answer; see \
         rackrsctl status"
    )]
    NoAnswer,
    /// The server says nothing.
    #[error("cannot tell whether it was done: no answer within {REPLY_LIMIT:?}; look at its log")]
    TimeLimit,
    /// The answer has no end.
    #[error("cannot read the answer: it is longer than {REPLY_BYTES_MAX} bytes")]
    TooLong,
    /// The server said something else.
    #[error("cannot understand the server's answer; use its own rackrsctl")]
    Garbled(#[source] serde_json::Error),
    /// Anything else.
    #[error("cannot read the server's answer")]
    System(#[source] io::Error),
}

impl AskError {
    pub(super) const fn exit_code(&self) -> u8 {
        match self {
            Self::TimeLimit => TIME_LIMIT,
            Self::Encode(_)
            | Self::NoAnswer
            | Self::TooLong
            | Self::Garbled(_)
            | Self::System(_) => FAILED,
        }
    }
}

/// A connection to a server that may be trusted.
#[derive(Debug)]
pub(super) struct Connection {
    stream: UnixStream,
    /// Who listens, where that can be seen.
    pub(super) server: Option<Pid>,
}

impl Connection {
    /// Connects. The server must run as root, as this user, or as `owner`.
    pub(super) fn open(path: &Path, owner: Option<u32>) -> Result<Self, ConnectError> {
        let failed = |errno| ConnectError::of(path, errno);
        let address = UnixAddr::new(path).map_err(failed)?;
        let (family, flags) = (AddressFamily::Unix, SockFlag::SOCK_CLOEXEC);
        let socket = socket(family, SockType::Stream, flags, None).map_err(failed)?;
        // On a Unix socket this limits connect(2) too, unix(7) notwithstanding.
        setsockopt(&socket, sockopt::SendTimeout, &TimeVal::seconds(SEND_SECONDS_MAX))
            .map_err(failed)?;
        connect(socket.as_raw_fd(), &address).map_err(failed)?;
        // Of whoever called listen(2); 0 for a process that our pid namespace does not show.
        let peer = getsockopt(&socket, sockopt::PeerCredentials).map_err(failed)?;
        let trusted = [Some(0), Some(geteuid().as_raw()), owner];
        if !trusted.contains(&Some(peer.uid())) {
            return Err(ConnectError::Stranger { socket: path.to_owned(), user: peer.uid() });
        }
        let server = (peer.pid() > 0).then(|| Pid::from_raw(peer.pid()));
        Ok(Self { stream: socket.into(), server })
    }

    /// Asks, and waits for the answer.
    pub(super) fn ask(mut self, request: &Request) -> Result<Reply, AskError> {
        let line = control::encode(request).map_err(AskError::Encode)?;
        // A server that refuses us may be gone already, and its reason is still to be read.
        let _ = self.stream.write_all(&line);
        let line = self.read_line(&Deadline::after(REPLY_LIMIT))?;
        serde_json::from_slice(&line).map_err(AskError::Garbled)
    }

    fn read_line(&mut self, deadline: &Deadline) -> Result<Vec<u8>, AskError> {
        let mut line = Vec::new();
        let mut buffer = vec![0; 64 << 10];
        while !line.ends_with(b"\n") {
            if deadline.is_over() {
                return Err(AskError::TimeLimit);
            }
            self.stream.set_read_timeout(Some(deadline.left())).map_err(AskError::System)?;
            match self.stream.read(&mut buffer) {
                Ok(0) => return Err(AskError::NoAnswer),
                Ok(count) => line.extend_from_slice(&buffer[..count]),
                Err(error) if is_passing(&error) => {}
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {
                    return Err(AskError::NoAnswer);
                }
                Err(error) => return Err(AskError::System(error)),
            }
            if line.len() > REPLY_BYTES_MAX {
                return Err(AskError::TooLong);
            }
        }
        Ok(line)
    }
}

/// A signal, or the end of the time that was set for reading.
fn is_passing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock)
}
