//! Why `rackrsctl` could not do what it was asked for.

use std::{path::PathBuf, time::Duration};

use nix::errno::Errno;

use super::{
    connection::{AskError, ConnectError},
    state_file::StateFileError,
    trust::TrustError,
};
use crate::control::Reply;

/// The server refused, or something failed.
pub(super) const FAILED: u8 = 1;
/// There is no server; as init scripts and systemctl have it.
pub(super) const NOT_RUNNING: u8 = 3;
/// The state cannot be told, or is not one that serves; as init scripts have it.
pub(super) const UNKNOWN: u8 = 4;
/// sysexits(3): the words cannot be obeyed.
pub(super) const USAGE: u8 = 64;
/// sysexits(3): a time limit.
pub(super) const TIME_LIMIT: u8 = 75;
/// sysexits(3): not permitted.
pub(super) const NOT_PERMITTED: u8 = 77;

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum CtlError {
    /// The words cannot be obeyed.
    #[error("cannot read the command line: {reason}; see rackrsctl --help")]
    Usage {
        /// What is wrong with them.
        reason: String,
    },
    /// The control URL cannot be one, wherever it comes from.
    #[error("cannot use the control URL {url}: {reason}")]
    Url {
        /// As it was given.
        url: String,
        /// What is wrong with it, and what to write.
        reason: String,
    },
    /// A file that should lead to the server.
    #[error(transparent)]
    Trust(#[from] TrustError),
    /// The state file.
    #[error(transparent)]
    StateFile(#[from] StateFileError),
    /// There is no server.
    #[error("rackrs is not running ({why})")]
    NotRunning {
        /// How that is known.
        why: String,
    },
    /// There is a server without a control socket.
    #[error(
        "cannot reach rackrs ({process}): nobody answers at {}; look at its log, or signal the \
         process",
        socket.display()
    )]
    Unreachable {
        /// What is known of its process.
        process: String,
        /// Where the socket should be.
        socket: PathBuf,
        /// The system's reason.
        #[source]
        source: Errno,
    },
    /// No connection.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// No answer.
    #[error(transparent)]
    Ask(#[from] AskError),
    /// The server will not.
    #[error("{reason}")]
    Refused {
        /// Its words.
        reason: String,
    },
    /// The server will not for us.
    #[error("{reason}")]
    NotPermitted {
        /// Its words.
        reason: String,
    },
    /// An answer to another question.
    #[error("cannot understand the server: it answered something else; use its own rackrsctl")]
    OtherAnswer,
    /// The server ended while a restart was waited for.
    #[error("cannot tell how restart {ticket} ended: rackrs has ended; look at its log")]
    Ended {
        /// The restart.
        ticket: u64,
    },
    /// The server did not answer for too long while a restart was waited for.
    #[error(
        "cannot tell how restart {ticket} ended: no answer for {limit:?}; try rackrsctl status"
    )]
    Silent {
        /// The restart.
        ticket: u64,
        /// How long it was tried.
        limit: Duration,
    },
    /// A restart takes longer than the user would wait.
    #[error(
        "restart {ticket} has not ended after {limit:?}{stage}; rackrsctl status shows how it goes"
    )]
    RestartLimit {
        /// The restart.
        ticket: u64,
        /// The user's limit.
        limit: Duration,
        /// How far it was, in brackets; may be empty.
        stage: String,
    },
    /// A stop takes longer than the user would wait.
    #[error(
        "rackrs (process {pid}) still runs after {limit:?}; see rackrsctl status, or end it with \
         rackrsctl halt"
    )]
    StopLimit {
        /// Its process.
        pid: i32,
        /// The user's limit.
        limit: Duration,
    },
    /// An answer cannot be shown as JSON.
    #[error("cannot write the answer as JSON")]
    Json(#[from] serde_json::Error),
}

impl CtlError {
    /// From an answer that is not the one that was wanted.
    pub(super) fn of_reply(reply: &Reply) -> Self {
        match reply {
            Reply::Refused { reason } => Self::Refused { reason: reason.clone() },
            Reply::NotPermitted { reason } => Self::NotPermitted { reason: reason.clone() },
            Reply::Done { .. }
            | Reply::Restarting { .. }
            | Reply::Stats(_)
            | Reply::Backtraces { .. } => Self::OtherAnswer,
        }
    }

    /// The exit status of every command but `status`.
    pub(super) const fn exit_code(&self) -> u8 {
        match self {
            Self::Usage { .. } | Self::Url { .. } => USAGE,
            Self::Trust(error) => error.exit_code(),
            Self::Connect(error) => error.exit_code(),
            Self::Ask(error) => error.exit_code(),
            Self::NotRunning { .. } => NOT_RUNNING,
            Self::NotPermitted { .. } => NOT_PERMITTED,
            Self::RestartLimit { .. } | Self::StopLimit { .. } | Self::Silent { .. } => TIME_LIMIT,
            Self::StateFile(error) => error.exit_code(),
            Self::Unreachable { .. }
            | Self::Refused { .. }
            | Self::OtherAnswer
            | Self::Ended { .. }
            | Self::Json(_) => FAILED,
        }
    }

    /// The exit status of `status`: that which could not be told is unknown.
    pub(super) const fn status_exit_code(&self) -> u8 {
        match self.exit_code() {
            known @ (NOT_RUNNING | USAGE | NOT_PERMITTED) => known,
            _ => UNKNOWN,
        }
    }
}
