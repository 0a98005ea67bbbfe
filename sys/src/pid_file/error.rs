//! Why a pid file cannot be had.

use std::{io, path::PathBuf};

use nix::{libc, unistd::Pid};

use crate::{process::IdentityError, sysexits};

/// Why a pid file could not be claimed, written or removed.
#[derive(Debug, thiserror::Error)]
pub enum PidFileError {
    /// A live master holds it.
    #[error("cannot start: process {pid} is running and holds {path}; stop it or pass another --pidfile", path = path.display())]
    Running {
        /// The pid file.
        path: PathBuf,
        /// The live master.
        pid: Pid,
    },
    /// A directory stands there.
    #[error("cannot write the pid file {path}: it is a directory; pass another --pidfile", path = path.display())]
    IsDirectory {
        /// The pid file.
        path: PathBuf,
    },
    /// What stands there cannot be examined.
    #[error("cannot look at the pid file {path}; check its permissions", path = path.display())]
    Look {
        /// The pid file.
        path: PathBuf,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
    /// The process it names cannot be examined.
    #[error("cannot tell whether the pid file {path} is of a live process", path = path.display())]
    Process {
        /// The pid file.
        path: PathBuf,
        /// The reason.
        #[source]
        source: IdentityError,
    },
    /// The file could not be made, filled or put in its place.
    #[error("cannot write the pid file {path}: {reason}", path = path.display(), reason = reason(source))]
    Write {
        /// The pid file.
        path: PathBuf,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
    /// What stands there belongs to another user and may not be replaced.
    #[error("cannot replace the pid file {path}: it belongs to user {owner}; remove it or pass another --pidfile", path = path.display())]
    OtherOwner {
        /// The pid file.
        path: PathBuf,
        /// The other user's number.
        owner: u32,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
    /// Another process put its file there after ours.
    #[error("cannot keep the pid file {path}: another process has replaced it; is a second server starting?", path = path.display())]
    Lost {
        /// The pid file.
        path: PathBuf,
    },
    /// Our own file could not be unlinked.
    #[error("cannot remove the pid file {path}; remove it by hand", path = path.display())]
    Remove {
        /// The pid file.
        path: PathBuf,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
}

impl PidFileError {
    /// The exit status, from sysexits(3): 69 when another server is the reason, else 73.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Running { .. } | Self::Lost { .. } => sysexits::UNAVAILABLE,
            Self::IsDirectory { .. } | Self::Look { .. } | Self::Process { .. } => {
                sysexits::CANTCREAT
            }
            Self::Write { .. } | Self::OtherOwner { .. } | Self::Remove { .. } => {
                sysexits::CANTCREAT
            }
        }
    }
}

/// What the operator can do about it, for the reasons that are known.
fn reason(error: &io::Error) -> &'static str {
    match error.raw_os_error() {
        Some(libc::ENOENT) => "the directory does not exist; create it or pass another --pidfile",
        Some(libc::ENOTDIR) => "part of the path is not a directory; pass another --pidfile",
        Some(libc::EACCES | libc::EPERM) => {
            "no permission to write in the directory; change its owner or pass another --pidfile"
        }
        Some(libc::EROFS) => "the file system is read-only; pass another --pidfile",
        Some(libc::ENOSPC | libc::EDQUOT) => "the disk is full; free some space",
        _ => "the system refused; check the directory or pass another --pidfile",
    }
}

#[cfg(test)]
mod tests {
    use std::{io, path::PathBuf};

    use nix::libc;

    use super::PidFileError;

    #[test]
    fn each_reason_says_what_to_do() {
        let text = |number| {
            let source = io::Error::from_raw_os_error(number);
            PidFileError::Write { path: PathBuf::from("/x/y.pid"), source }.to_string()
        };
        for (number, words) in [
            (libc::ENOENT, "the directory does not exist; create it or pass another --pidfile"),
            (libc::EROFS, "the file system is read-only; pass another --pidfile"),
            (libc::ENOSPC, "the disk is full; free some space"),
        ] {
            assert_eq!(text(number), format!("cannot write the pid file /x/y.pid: {words}"));
        }
        assert!(text(libc::EACCES).contains("no permission"));
        assert!(text(libc::EIO).contains("the system refused"));
    }
}
