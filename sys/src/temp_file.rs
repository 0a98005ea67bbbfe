//! Temporary files without a name: nobody can open them, and they vanish with their descriptor.

use std::{
    env,
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use nix::libc;

use crate::{sysexits, unpredictable};

/// Readable and writable for the owner only.
const MODE: u32 = 0o600;

/// Why there is no temporary file.
#[derive(Debug, thiserror::Error)]
#[error("cannot make a temporary file in {directory}; check its permissions and space, or set TMPDIR", directory = directory.display())]
pub struct TempFileError {
    /// Where it was to be made.
    pub directory: PathBuf,
    /// The system's reason.
    #[source]
    pub source: io::Error,
}

impl TempFileError {
    /// The exit status, from sysexits(3): 73.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        sysexits::CANTCREAT
    }
}

/// An empty file in `$TMPDIR`, or `/tmp` where that is not set or empty: mode 0600, CLOEXEC,
/// readable and writable.
///
/// # Errors
///
/// When the directory is missing, full or not writable, or the limit of descriptors is reached.
pub fn anonymous() -> Result<File, TempFileError> {
    let named = env::var_os("TMPDIR").filter(|directory| !directory.is_empty());
    anonymous_in(&named.map_or_else(|| PathBuf::from("/tmp"), PathBuf::from))
}

/// An empty file in `directory`, see [`anonymous`].
///
/// # Errors
///
/// When the directory is missing, full or not writable, or the limit of descriptors is reached.
pub fn anonymous_in(directory: &Path) -> Result<File, TempFileError> {
    let failed = |source| TempFileError { directory: directory.to_owned(), source };
    match unnamed(directory) {
        Err(error) if is_unsupported(&error) => unlinked(directory).map_err(failed),
        outcome => outcome.map_err(failed),
    }
}

/// `O_TMPFILE`, open(2); with `O_EXCL` it can never be given a name.
fn unnamed(directory: &Path) -> io::Result<File> {
    let flags = libc::O_TMPFILE | libc::O_EXCL | libc::O_CLOEXEC;
    OpenOptions::new().read(true).write(true).mode(MODE).custom_flags(flags).open(directory)
}

/// File systems such as NFS lack it (`EOPNOTSUPP`), and old kernels take it for opening a
/// directory for writing (`EISDIR`).
fn is_unsupported(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EOPNOTSUPP | libc::EISDIR | libc::EINVAL))
}

/// For file systems without `O_TMPFILE`: made under a name that cannot be guessed, and unlinked.
fn unlinked(directory: &Path) -> io::Result<File> {
    let mut attempts = 0;
    loop {
        attempts += 1;
        let path = directory.join(unpredictable::file_name());
        let mut options = OpenOptions::new();
        options.read(true).write(true).create_new(true).mode(MODE);
        match options.custom_flags(libc::O_NOFOLLOW | libc::O_CLOEXEC).open(&path) {
            Ok(file) => return fs::remove_file(&path).map(|()| file),
            Err(error)
                if error.kind() == io::ErrorKind::AlreadyExists
                    && attempts < unpredictable::ATTEMPTS_MAX => {}
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        fs::{self, File},
        io::{Read, Seek, SeekFrom, Write},
        os::unix::fs::MetadataExt,
        path::Path,
    };

    use nix::fcntl::{FcntlArg, FdFlag, fcntl};

    use super::{anonymous, anonymous_in, unlinked};

    fn assert_private(mut file: File, folder: &Path) {
        let status = file.metadata().unwrap();
        assert_eq!((status.nlink(), status.mode() & 0o777), (0, 0o600));
        assert_eq!(fs::read_dir(folder).unwrap().count(), 0);
        let flags = fcntl(&file, FcntlArg::F_GETFD).unwrap();
        assert_eq!(flags, FdFlag::FD_CLOEXEC.bits());
        file.write_all(b"body").unwrap();
        file.seek(SeekFrom::Start(0)).unwrap();
        let mut text = String::new();
        file.read_to_string(&mut text).unwrap();
        assert_eq!(text, "body");
    }

    #[test]
    fn files_have_no_name_by_either_way() {
        let folder = tempfile::tempdir().unwrap();
        assert_private(anonymous_in(folder.path()).unwrap(), folder.path());
        assert_private(unlinked(folder.path()).unwrap(), folder.path());
        anonymous().unwrap();
    }

    #[test]
    fn a_missing_directory_is_named() {
        let error = anonymous_in(Path::new("/nonexistent")).unwrap_err();
        assert!(error.to_string().starts_with("cannot make a temporary file in /nonexistent;"));
        assert_eq!(error.exit_code(), 73);
    }
}
