//! Files that lead to a server: which of them may be believed.
//!
//! In a directory that everybody may write to, such as `/tmp`, anybody can put a pid file that leads
//! to a server of his own. There a file counts only when it is root's or ours. Symbolic links are
//! followed nowhere.

use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use nix::{libc, unistd::geteuid};

use super::error::{FAILED, NOT_PERMITTED};

/// The permission bit by which everybody may put files into a directory.
const WRITABLE_BY_ALL: u32 = 0o002;

/// Why a file is not believed.
#[derive(Debug, thiserror::Error)]
pub(super) enum TrustError {
    /// Something else stands there.
    #[error("cannot trust {}: {kind} is there; name the file itself", path.display())]
    Kind {
        /// The path.
        path: PathBuf,
        /// What it is.
        kind: &'static str,
    },
    /// Anybody may have put it there.
    #[error(
        "cannot trust {}: it is user {owner}'s, in a directory where everybody may put files; run \
         rackrsctl as that user, or remove the file",
        path.display()
    )]
    OtherOwner {
        /// The path.
        path: PathBuf,
        /// Whose it is.
        owner: u32,
    },
    /// It cannot be read.
    #[error("cannot read {}; check its permissions", path.display())]
    Read {
        /// The path.
        path: PathBuf,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
}

impl TrustError {
    pub(super) fn read(path: &Path, source: io::Error) -> Self {
        Self::Read { path: path.to_owned(), source }
    }

    pub(super) const fn exit_code(&self) -> u8 {
        match self {
            Self::OtherOwner { .. } => NOT_PERMITTED,
            Self::Kind { .. } | Self::Read { .. } => FAILED,
        }
    }
}

/// A regular file that may be believed.
#[derive(Debug)]
pub(super) struct Trusted {
    pub(super) file: File,
    /// Whose it is.
    pub(super) owner: u32,
}

/// Opens a regular file that may be believed; `None` when nothing is there.
pub(super) fn open(path: &Path) -> Result<Option<Trusted>, TrustError> {
    let opened = OpenOptions::new()
        .read(true)
        // A FIFO must not make us wait.
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_NOCTTY)
        .open(path);
    let file = match opened {
        Ok(file) => file,
        Err(error) if is_absence(&error) => return Ok(None),
        Err(error) => return Err(unopened(path, error)),
    };
    let metadata = file.metadata().map_err(|error| TrustError::read(path, error))?;
    if !metadata.is_file() {
        return Err(TrustError::Kind { path: path.to_owned(), kind: kind(metadata.file_type()) });
    }
    let owner = believed(path, metadata.uid())?;
    Ok(Some(Trusted { file, owner }))
}

/// The owner of a socket file that may be believed; `None` when nothing is there.
pub(super) fn socket_owner(path: &Path) -> Result<Option<u32>, TrustError> {
    let metadata = match fs::symlink_metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if is_absence(&error) => return Ok(None),
        Err(error) => return Err(TrustError::read(path, error)),
    };
    if !metadata.file_type().is_socket() {
        return Err(TrustError::Kind { path: path.to_owned(), kind: kind(metadata.file_type()) });
    }
    believed(path, metadata.uid()).map(Some)
}

fn believed(path: &Path, owner: u32) -> Result<u32, TrustError> {
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        Some(_) | None => Path::new("."),
    };
    let mode = fs::metadata(directory).map_err(|error| TrustError::read(path, error))?.mode();
    if judge(owner, mode, geteuid().as_raw()) {
        Ok(owner)
    } else {
        Err(TrustError::OtherOwner { path: path.to_owned(), owner })
    }
}

/// Whether the file of `owner` in a directory with `mode` may be believed by user `own`.
fn judge(owner: u32, mode: u32, own: u32) -> bool {
    owner == 0 || owner == own || mode & WRITABLE_BY_ALL == 0
}

fn unopened(path: &Path, error: io::Error) -> TrustError {
    // ELOOP: a symbolic link. ENXIO: a socket. Whatever it was, it may be another thing by now.
    match fs::symlink_metadata(path) {
        Ok(metadata) if !metadata.is_file() => {
            TrustError::Kind { path: path.to_owned(), kind: kind(metadata.file_type()) }
        }
        Ok(_) | Err(_) => TrustError::read(path, error),
    }
}

fn is_absence(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

fn kind(kind: fs::FileType) -> &'static str {
    if kind.is_symlink() {
        "a symbolic link"
    } else if kind.is_dir() {
        "a directory"
    } else if kind.is_socket() {
        "a socket"
    } else if kind.is_file() {
        "a regular file"
    } else {
        "no plain file"
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink, os::unix::net::UnixListener};

    use super::*;

    #[test]
    fn in_a_shared_directory_only_our_files_and_roots_count() {
        for (owner, mode, own, believed) in [
            (1000, 0o41777, 1000, true),
            (0, 0o41777, 1000, true),
            (1001, 0o41777, 1000, false),
            (1001, 0o41777, 0, false),
            (1001, 0o40777, 0, false),
            (1001, 0o40755, 0, true),
            (1001, 0o40755, 1000, true),
            (1001, 0o40775, 1000, true),
        ] {
            assert_eq!(judge(owner, mode, own), believed, "{owner} {mode:o} {own}");
        }
    }

    #[test]
    fn only_regular_files_are_opened_and_only_sockets_are_sockets() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::write(at("file"), "1\n").unwrap();
        symlink("file", at("link")).unwrap();
        fs::create_dir(at("directory")).unwrap();
        let _socket = UnixListener::bind(at("socket")).unwrap();
        nix::unistd::mkfifo(&at("fifo"), nix::sys::stat::Mode::S_IRWXU).unwrap();

        assert!(open(&at("file")).unwrap().is_some());
        assert!(open(&at("nothing")).unwrap().is_none());
        assert!(open(&at("file/beneath")).unwrap().is_none());
        assert!(socket_owner(&at("socket")).unwrap().is_some());
        assert!(socket_owner(&at("nothing")).unwrap().is_none());
        for (name, what) in [
            ("link", "a symbolic link"),
            ("directory", "a directory"),
            ("socket", "a socket"),
            ("fifo", "no plain file"),
        ] {
            let error = open(&at(name)).unwrap_err();
            assert!(matches!(error, TrustError::Kind { kind, .. } if kind == what), "{error}");
            assert_eq!(error.exit_code(), 1);
        }
        for name in ["link", "file"] {
            assert!(matches!(socket_owner(&at(name)), Err(TrustError::Kind { .. })), "{name}");
        }
    }
}
