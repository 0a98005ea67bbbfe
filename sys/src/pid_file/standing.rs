//! What stands at a pid file's path, judged without trusting or touching it.

use std::{
    ffi::OsStr,
    fs::{File, TryLockError},
    io::Read,
    os::fd::OwnedFd,
};

use nix::{
    errno::Errno,
    fcntl::{AtFlags, OFlag, openat},
    sys::stat::{FileStat, Mode, fstat, fstatat},
    unistd::{Pid, geteuid},
};

use crate::{
    file_id::FileKind,
    process::{Identity, IdentityError},
};

/// A pid has at most 10 digits; whatever is longer than this is not a pid file.
const CONTENT_BYTES_MAX: u64 = 64;

/// The answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// Nothing is there.
    Free,
    /// Something is there that names no live master.
    Replaceable {
        /// Whose it is.
        owner: u32,
    },
    /// A directory.
    Directory,
    /// A live master's pid file.
    Running(Pid),
}

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum LookError {
    File(Errno),
    Process(IdentityError),
}

/// Looks at `name` in `directory`. Waits for nothing, follows no link, reads only regular files.
pub(super) fn look(directory: &OwnedFd, name: &OsStr) -> Result<Standing, LookError> {
    let status = match fstatat(directory, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
        Ok(status) => status,
        Err(Errno::ENOENT) => return Ok(Standing::Free),
        Err(errno) => return Err(LookError::File(errno)),
    };
    let replaceable = Standing::Replaceable { owner: status.st_uid };
    match FileKind::of(&status) {
        FileKind::Directory => Ok(Standing::Directory),
        FileKind::Regular if is_trusted(status.st_uid) => {
            Ok(running(directory, name)?.map_or(replaceable, Standing::Running))
        }
        FileKind::Regular | FileKind::SymbolicLink | FileKind::Fifo => Ok(replaceable),
        FileKind::Socket | FileKind::CharacterDevice | FileKind::BlockDevice => Ok(replaceable),
    }
}

/// The live master that a regular file names, if it does.
fn running(directory: &OwnedFd, name: &OsStr) -> Result<Option<Pid>, LookError> {
    // The file may have become something else since it was looked at: O_NOFOLLOW and O_NONBLOCK
    // make the opening harmless then, and the opened file is looked at again.
    let flags = OFlag::O_RDONLY
        | OFlag::O_NOFOLLOW
        | OFlag::O_NONBLOCK
        | OFlag::O_NOCTTY
        | OFlag::O_CLOEXEC;
    let Ok(descriptor) = openat(directory, name, flags, Mode::empty()) else {
        // Gone, replaced, or a file of ours that we may not read: none is how a master leaves it.
        return Ok(None);
    };
    let status = fstat(&descriptor).map_err(LookError::File)?;
    if FileKind::of(&status) != FileKind::Regular {
        return Ok(None);
    }
    let mut file = File::from(descriptor);
    match (is_locked(&file)?, content_pid(&mut file)) {
        (true, Some(pid)) => alive(pid, &status),
        (true | false, None) | (false, Some(_)) => Ok(None),
    }
}

/// A shared lock is only refused when another process holds the exclusive one, so that two
/// servers that look at the same time do not take each other for a master.
fn is_locked(file: &File) -> Result<bool, LookError> {
    match file.try_lock_shared() {
        Ok(()) => Ok(false),
        Err(TryLockError::WouldBlock) => Ok(true),
        Err(TryLockError::Error(error)) => {
            Err(LookError::File(Errno::try_from(error).unwrap_or(Errno::EIO)))
        }
    }
}

fn content_pid(file: &mut File) -> Option<Pid> {
    let mut content = Vec::new();
    file.take(CONTENT_BYTES_MAX).read_to_end(&mut content).ok()?;
    parse(&content)
}

/// The pid of a process other than init, alone but for white space around it.
fn parse(content: &[u8]) -> Option<Pid> {
    let text = content.trim_ascii();
    let is_number = !text.is_empty() && text.iter().all(u8::is_ascii_digit);
    let number: i32 = str::from_utf8(text).ok().filter(|_| is_number)?.parse().ok()?;
    (number > 1).then(|| Pid::from_raw(number))
}

fn alive(pid: Pid, status: &FileStat) -> Result<Option<Pid>, LookError> {
    let identity = Identity::of(pid).map_err(LookError::Process)?;
    let is_ours = |identity: Identity| is_trusted(identity.uid) && is_trusted(status.st_uid);
    Ok(identity.is_some_and(is_ours).then_some(pid))
}

/// Any other user could hold up our start with a file of his own.
fn is_trusted(user: u32) -> bool {
    user == 0 || user == geteuid().as_raw()
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn only_a_plain_number_above_one_is_a_pid() {
        let number = |content: &[u8]| parse(content).map(nix::unistd::Pid::as_raw);
        assert_eq!(number(b"1234\n"), Some(1234));
        assert_eq!(number(b" 2 \r\n"), Some(2));
        for garbage in
            [&b""[..], b"\n", b"0", b"1", b"-1", b"-1234", b"+5", b"12 34", b"1e3", b"99999999999"]
        {
            assert_eq!(number(garbage), None, "{garbage:?}");
        }
        assert_eq!(number(b"12\x0034"), None);
        assert_eq!(number(b"\xff\xfe12"), None);
    }
}
