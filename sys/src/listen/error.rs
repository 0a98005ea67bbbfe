//! Why a listener cannot be opened.

use std::{io, path::PathBuf};

use nix::{libc, unistd::Pid};

use super::Address;
use crate::sysexits;

/// Why a listener could not be opened, or its file not be unlinked.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Somebody listens there.
    #[error("cannot listen on {address}: already listening, {owner}; stop it or bind another address", owner = process(*owner))]
    InUse {
        /// The address.
        address: Address,
        /// Who called `listen(2)`; `None` if its queue is full, it is in another pid namespace,
        /// or the address is TCP, where the kernel does not tell.
        owner: Option<Pid>,
    },
    /// The path is longer than [`super::UNIX_PATH_BYTES_MAX`].
    #[error(
        "cannot listen on {address}: the name has {bytes} bytes and a Unix socket's holds at most 107; bind a shorter one"
    )]
    NameTooLong {
        /// The address.
        address: Address,
        /// Its length.
        bytes: usize,
    },
    /// The path or name is empty or has a NUL byte.
    #[error("cannot listen on {address}: the name is empty or has a NUL byte; bind another one")]
    BadName {
        /// The address.
        address: Address,
    },
    /// Something stands at the path that is no socket.
    #[error("cannot listen on {path}: {kind} is there, which is not replaced; remove it or bind another path", path = path.display())]
    NotASocket {
        /// The path.
        path: PathBuf,
        /// What it is.
        kind: &'static str,
    },
    /// A dead socket of another user stands there.
    #[error("cannot replace the dead socket {path}: it belongs to user {owner}; remove it or bind another path", path = path.display())]
    OtherOwner {
        /// The path.
        path: PathBuf,
        /// The other user's number.
        owner: u32,
    },
    /// It cannot be told whether somebody listens on the socket that stands there.
    #[error("cannot tell whether somebody listens on {path}; check its permissions", path = path.display())]
    Probe {
        /// The path.
        path: PathBuf,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
    /// A socket file cannot be unlinked.
    #[error("cannot remove the socket {path}; check who owns the directory", path = path.display())]
    Unlink {
        /// The path.
        path: PathBuf,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
    /// The permissions asked for with `mode=` cannot be set.
    #[error("cannot set the mode of the socket {path}", path = path.display())]
    Mode {
        /// The path.
        path: PathBuf,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
    /// Anything else.
    #[error("cannot listen on {address}: {reason}", reason = reason(source))]
    System {
        /// The address.
        address: Address,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
}

impl BindError {
    /// The exit status, from sysexits(3): 69 when the address is taken, 78 when it can never
    /// work, else 71.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::InUse { .. } => sysexits::UNAVAILABLE,
            Self::NameTooLong { .. } | Self::BadName { .. } => sysexits::CONFIG,
            Self::NotASocket { .. } => sysexits::CONFIG,
            Self::OtherOwner { .. } | Self::Probe { .. } | Self::Unlink { .. } => sysexits::OSERR,
            Self::Mode { .. } | Self::System { .. } => sysexits::OSERR,
        }
    }

    /// Sorts out the one error that has a variant of its own.
    pub(super) fn from_system(address: Address, source: io::Error) -> Self {
        if source.kind() == io::ErrorKind::AddrInUse {
            Self::InUse { address, owner: None }
        } else {
            Self::System { address, source }
        }
    }
}

fn process(owner: Option<Pid>) -> String {
    owner.map_or_else(|| "process unknown".to_owned(), |pid| format!("process {pid}"))
}

/// What the operator can do about it, for the reasons that are known.
fn reason(error: &io::Error) -> &'static str {
    match error.raw_os_error() {
        Some(libc::EADDRNOTAVAIL) => "no interface has this address; bind one that ip addr shows",
        Some(libc::EAFNOSUPPORT) => "this machine has no IPv6; bind an IPv4 address",
        Some(libc::EACCES | libc::EPERM) => {
            "no permission; bind a port above 1023, or a path in a directory that is yours"
        }
        Some(libc::ENOENT) => "the directory does not exist; create it or bind another path",
        Some(libc::ENOTDIR) => "part of the path is not a directory; bind another path",
        Some(libc::EROFS) => "the file system is read-only; bind another path",
        Some(libc::ENOSPC | libc::EDQUOT) => "the disk is full; free some space",
        _ => "the system refused",
    }
}
