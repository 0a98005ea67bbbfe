//! Putting a pid file in its place: a locked temporary file beside it, then rename(2) over it.

use std::{
    ffi::{OsStr, OsString},
    fs::File,
    io::{self, Write},
    os::fd::OwnedFd,
    path::{Path, PathBuf},
};

use nix::{
    errno::Errno,
    fcntl::{OFlag, openat, renameat},
    sys::stat::{Mode, fchmod},
    unistd::{Pid, UnlinkatFlags, unlinkat},
};

use super::{
    PidFile, PidFileError,
    standing::{self, LookError, Standing},
};
use crate::{directory_lock::DirectoryLock, file_id::FileId, unpredictable};

/// Readable for everybody: supervisors and restart scripts of other users read it.
const MODE: Mode = Mode::from_bits_retain(0o644);

/// A pid file about to be written. Dropping it leaves no trace.
#[derive(Debug)]
pub struct Claim {
    path: PathBuf,
    name: OsString,
    directory: OwnedFd,
    replaces: bool,
}

impl Claim {
    pub(super) fn new(path: &Path) -> Result<Self, PidFileError> {
        let path = std::path::absolute(path)
            .map_err(|source| PidFileError::Look { path: path.to_owned(), source })?;
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(PidFileError::IsDirectory { path });
        };
        let failed =
            |errno: Errno| PidFileError::Write { path: path.clone(), source: errno.into() };
        let directory = open_directory(parent).map_err(failed)?;
        let standing = refuse_running(&path, &directory, name)?;
        try_out(&directory).map_err(|source| PidFileError::Write { path: path.clone(), source })?;
        let name = name.to_owned();
        let replaces = matches!(standing, Standing::Replaceable { .. });
        Ok(Self { path, name, directory, replaces })
    }

    /// Whether something stood there that names no live master, as one that was killed leaves it.
    #[must_use]
    pub fn replaces(&self) -> bool {
        self.replaces
    }

    /// Writes `pid` and puts the file in its place, in one step for whoever reads it.
    ///
    /// `pid` is the process that keeps the [`PidFile`]. Claim and write in that process, after it
    /// has left the terminal: a launcher that drops its copy of a claim unlinks the file.
    ///
    /// # Errors
    ///
    /// When another master was faster, the disk is full, or what stands there may not be
    /// replaced. Nothing is left behind.
    pub fn write(self, pid: Pid) -> Result<PidFile, PidFileError> {
        let Self { path, name, directory, replaces: _ } = self;
        let write_failed = |source| PidFileError::Write { path: path.clone(), source };
        let (mut temporary, mut file) =
            Temporary::create(&directory).map_err(|errno| write_failed(errno.into()))?;
        // The file is new and has an unpredictable name: nobody else has its lock.
        file.try_lock().map_err(|error| write_failed(error.into()))?;
        fill(&mut file, pid).map_err(write_failed)?;
        let look_failed =
            |errno: Errno| PidFileError::Look { path: path.clone(), source: errno.into() };
        let id = FileId::of_descriptor(&file).map_err(look_failed)?;
        // Looking and replacing must not interleave with another server that starts now.
        let _lock = DirectoryLock::acquire(path.parent().unwrap_or(Path::new("/")));
        let standing = refuse_running(&path, &directory, &name)?;
        temporary.rename(&name).map_err(|errno| refused(&path, standing, errno.into()))?;
        if FileId::of_name(&path) != Ok(id) {
            return Err(PidFileError::Lost { path });
        }
        Ok(PidFile { path, file, id })
    }
}

/// Makes and fills a file that is gone at once: a directory that is full or not ours to write in is
/// told now, not after the boot, and a server that is killed while it boots leaves nothing behind.
fn try_out(directory: &OwnedFd) -> io::Result<()> {
    let (_temporary, mut file) = Temporary::create(directory)?;
    fill(&mut file, Pid::this())
}

fn fill(file: &mut File, pid: Pid) -> io::Result<()> {
    file.write_all(format!("{pid}\n").as_bytes())
}

fn open_directory(path: &Path) -> Result<OwnedFd, Errno> {
    // O_PATH asks only for search permission, which is all that is needed.
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    nix::fcntl::open(path, flags, Mode::empty())
}

fn refuse_running(
    path: &Path,
    directory: &OwnedFd,
    name: &OsStr,
) -> Result<Standing, PidFileError> {
    let path = path.to_owned();
    match standing::look(directory, name) {
        Ok(Standing::Running(pid)) => Err(PidFileError::Running { path, pid }),
        Ok(Standing::Directory) => Err(PidFileError::IsDirectory { path }),
        Ok(standing @ (Standing::Free | Standing::Replaceable { .. })) => Ok(standing),
        Err(LookError::File(errno)) => Err(PidFileError::Look { path, source: errno.into() }),
        Err(LookError::Process(source)) => Err(PidFileError::Process { path, source }),
    }
}

/// In a sticky directory such as /tmp only the owner, and root, may replace a file.
fn refused(path: &Path, standing: Standing, source: io::Error) -> PidFileError {
    let path = path.to_owned();
    let is_permission = source.kind() == io::ErrorKind::PermissionDenied;
    match standing {
        Standing::Replaceable { owner } if is_permission => {
            PidFileError::OtherOwner { path, owner, source }
        }
        Standing::Replaceable { .. } | Standing::Free => PidFileError::Write { path, source },
        Standing::Directory | Standing::Running(_) => PidFileError::Write { path, source },
    }
}

/// The name that the file has until it is in its place.
#[derive(Debug)]
struct Temporary<'a> {
    directory: &'a OwnedFd,
    /// `None` once it was renamed.
    name: Option<String>,
}

impl<'a> Temporary<'a> {
    fn create(directory: &'a OwnedFd) -> Result<(Self, File), Errno> {
        let flags =
            OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let mut attempts = 0;
        loop {
            attempts += 1;
            let name = unpredictable::file_name();
            match openat(directory, name.as_str(), flags, MODE) {
                Ok(descriptor) => {
                    let temporary = Self { directory, name: Some(name) };
                    // Whatever the umask is.
                    fchmod(&descriptor, MODE)?;
                    return Ok((temporary, File::from(descriptor)));
                }
                Err(Errno::EEXIST) if attempts < unpredictable::ATTEMPTS_MAX => {}
                Err(errno) => return Err(errno),
            }
        }
    }

    fn rename(&mut self, to: &OsStr) -> Result<(), Errno> {
        if let Some(name) = &self.name {
            renameat(self.directory, name.as_str(), self.directory, to)?;
        }
        self.name = None;
        Ok(())
    }
}

impl Drop for Temporary<'_> {
    fn drop(&mut self) {
        if let Some(name) = &self.name {
            // Somebody else may have removed it; there is nobody to tell.
            let _ = unlinkat(self.directory, name.as_str(), UnlinkatFlags::NoRemoveDir);
        }
    }
}
