//! The pid file: it names one live master, and never does harm in a directory shared with others.

mod claim;
mod error;
mod standing;
#[cfg(test)]
mod tests;

use std::{
    fs::{self, File, TryLockError},
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::{Path, PathBuf},
};

use nix::errno::Errno;

use crate::{directory_lock::DirectoryLock, file_id::FileId};

pub use claim::Claim;
pub use error::PidFileError;

/// A pid file that is ours.
///
/// `flock(2)` is held on it while the descriptor, or a copy of it in a later program of the same
/// process, is open. Another master trusts the file only with that lock: the pid alone says
/// nothing, because after a crash it passes to a stranger, and in a container often to ourselves.
/// Dropping the value gives up the lock and leaves the file; see [`PidFile::remove`].
#[derive(Debug)]
pub struct PidFile {
    path: PathBuf,
    file: File,
    id: FileId,
}

impl PidFile {
    /// Looks at what stands at `path` and prepares to replace it; nothing is visible there yet.
    ///
    /// Whatever is not a live master is replaced by [`Claim::write`]: nothing, an empty or
    /// garbled file, the pid of a dead process or of a stranger (no lock), a symbolic link, a
    /// FIFO, a socket. A file counts as a live master only if all of this holds: it is a regular
    /// file of ours or root's; another process has its lock; and its first 64 bytes are the pid,
    /// above 1, of a process of ours or root's that is no zombie. No process is ever signalled.
    ///
    /// # Errors
    ///
    /// When another master runs, a directory stands at `path`, or no file can be made beside it.
    pub fn claim(path: &Path) -> Result<Claim, PidFileError> {
        Claim::new(path)
    }

    /// Where it is; absolute.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Gives away the locked descriptor. The file stays.
    ///
    /// To carry the file over an exec that may fail, keep the value and pass its `as_fd` to
    /// [`crate::exec::Exec::keep`] instead.
    #[must_use]
    pub fn into_fd(self) -> OwnedFd {
        self.file.into()
    }

    /// Takes the file back after an exec, from its descriptor; see [`crate::inherited::take`].
    ///
    /// # Errors
    ///
    /// When `path` names another file by now, or the lock is another process's.
    pub fn from_fd(descriptor: OwnedFd, path: &Path) -> Result<Self, PidFileError> {
        let path = std::path::absolute(path)
            .map_err(|source| PidFileError::Look { path: path.to_owned(), source })?;
        let file = File::from(descriptor);
        let id = FileId::of_descriptor(&file)
            .map_err(|errno| PidFileError::Look { path: path.clone(), source: errno.into() })?;
        let locked = match file.try_lock() {
            Ok(()) => true,
            Err(TryLockError::WouldBlock) => false,
            Err(TryLockError::Error(source)) => return Err(PidFileError::Look { path, source }),
        };
        if locked && FileId::of_name(&path) == Ok(id) {
            Ok(Self { path, file, id })
        } else {
            Err(PidFileError::Lost { path })
        }
    }

    /// Whether `path` still names our file; somebody may have removed or replaced it.
    #[must_use]
    pub fn is_in_place(&self) -> bool {
        FileId::of_name(&self.path) == Ok(self.id)
    }

    /// Unlinks the file if `path` still names ours, and gives up the lock. A file that another
    /// master has put there meanwhile stays.
    ///
    /// # Errors
    ///
    /// When our own file cannot be unlinked.
    pub fn remove(self) -> Result<(), PidFileError> {
        let _lock = DirectoryLock::acquire(self.path.parent().unwrap_or(Path::new("/")));
        let failed = |source| PidFileError::Remove { path: self.path.clone(), source };
        match FileId::of_name(&self.path) {
            Ok(id) if id == self.id => match fs::remove_file(&self.path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed(error)),
                _ => Ok(()),
            },
            Ok(_) | Err(Errno::ENOENT | Errno::ENOTDIR) => Ok(()),
            Err(errno) => Err(failed(errno.into())),
        }
    }
}

impl AsFd for PidFile {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}
