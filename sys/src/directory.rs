//! The working directory as the user named it: through symbolic links, not resolved.

use std::{
    env,
    ffi::OsStr,
    io,
    path::{Component, Path, PathBuf},
};

use crate::{file_id::FileId, sysexits};

/// Why the working directory has no name.
#[derive(Debug, thiserror::Error)]
pub enum DirectoryError {
    /// It was removed after this process, or the one that started it, entered it.
    #[error(
        "cannot tell the working directory: it has been removed; change to it again with cd, or pass --dir"
    )]
    Gone(#[source] io::Error),
    /// Any other reason, for example a parent directory that may not be read.
    #[error("cannot tell the working directory; pass --dir")]
    Unknown(#[source] io::Error),
}

impl DirectoryError {
    /// The exit status, from sysexits(3): 71.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Gone(_) | Self::Unknown(_) => sysexits::OSERR,
        }
    }
}

/// The working directory of this process, by [`logical`] and the variable `PWD`.
///
/// # Errors
///
/// When the directory is gone or cannot be named.
pub fn current() -> Result<PathBuf, DirectoryError> {
    logical(env::var_os("PWD").as_deref())
}

/// `pwd` (the value of `$PWD`) if it is an absolute path without `.` and `..` that leads to the
/// working directory; else `getcwd(3)`.
///
/// This is POSIX's rule for pwd(1) `-L`. It matters after a deploy: `/app/current` still leads
/// to a release when the directory it led to at the start, `/app/releases/1`, has been removed.
///
/// # Errors
///
/// When the directory is gone or cannot be named.
pub fn logical(pwd: Option<&OsStr>) -> Result<PathBuf, DirectoryError> {
    let here = FileId::of_target(Path::new(".")).map_err(|errno| refused(errno.into()))?;
    if let Some(named) = pwd.map(Path::new) {
        let leads_here = || FileId::of_target(named) == Ok(here);
        if is_plain(named) && leads_here() {
            return Ok(named.to_owned());
        }
    }
    env::current_dir().map_err(refused)
}

fn refused(error: io::Error) -> DirectoryError {
    if error.kind() == io::ErrorKind::NotFound {
        DirectoryError::Gone(error)
    } else {
        DirectoryError::Unknown(error)
    }
}

/// Absolute and without dots. [`Path::components`] hides `.`, so the text is looked at too.
fn is_plain(path: &Path) -> bool {
    let text = path.as_os_str().as_encoded_bytes();
    let has_dot = text.split(|&byte| byte == b'/').any(|part| part == b".");
    let mut components = path.components();
    path.is_absolute() && !has_dot && !components.any(|part| part == Component::ParentDir)
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink, path::Path};

    use nix::unistd::chdir;

    use super::{DirectoryError, is_plain, logical};
    use crate::forked::in_child;

    #[test]
    fn the_users_name_is_kept_while_it_leads_here() {
        in_child(|_| {
            let folder = tempfile::tempdir().unwrap();
            let root = folder.path().canonicalize().unwrap();
            let (release, current, other) =
                (root.join("release"), root.join("current"), root.join("other"));
            fs::create_dir(&release).unwrap();
            fs::create_dir(&other).unwrap();
            symlink("release", &current).unwrap();
            chdir(&current).unwrap();
            assert_eq!(logical(Some(current.as_os_str())).unwrap(), current);
            for wrong in [other.as_os_str(), "current".as_ref(), ".".as_ref(), "".as_ref()] {
                assert_eq!(logical(Some(wrong)).unwrap(), release);
            }
            assert_eq!(logical(None).unwrap(), release);
            let dotted = root.join("other/../current");
            assert_eq!(logical(Some(dotted.as_os_str())).unwrap(), release);
        });
    }

    #[test]
    fn a_removed_directory_is_told() {
        in_child(|_| {
            let folder = tempfile::tempdir().unwrap();
            let gone = folder.path().join("gone");
            fs::create_dir(&gone).unwrap();
            chdir(&gone).unwrap();
            fs::remove_dir(&gone).unwrap();
            let error = logical(Some(gone.as_os_str())).unwrap_err();
            assert!(matches!(error, DirectoryError::Gone(_)));
            assert!(error.to_string().contains("has been removed"));
        });
    }

    #[test]
    fn plain_paths_have_no_dots() {
        for (path, plain) in
            [("/a/b", true), ("/", true), ("/a/./b", false), ("/a/../b", false), ("/a..b", true)]
        {
            assert_eq!(is_plain(Path::new(path)), plain, "{path}");
        }
    }
}
