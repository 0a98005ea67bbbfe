//! What a pid file says about its server, when nobody answers at the control socket.

use std::{fs::TryLockError, io::Read, path::Path};

use super::trust::{self, TrustError, Trusted};

/// A pid has at most 10 digits; whatever is longer than this is not a pid file.
const CONTENT_BYTES_MAX: u64 = 64;

/// What stands at a pid file's path.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum PidFile {
    /// Nothing.
    Missing,
    /// A file that no living master holds.
    Stale {
        /// Whose it is.
        owner: u32,
        /// The process that it names.
        pid: Option<i32>,
    },
    /// A file that a living master holds.
    Held {
        /// Whose it is.
        owner: u32,
        /// The process that it names.
        pid: Option<i32>,
    },
}

impl PidFile {
    /// Looks. A lock tells that a master lives; the number is only for the user to read.
    pub(super) fn look(path: &Path) -> Result<Self, TrustError> {
        let Some(Trusted { mut file, owner }) = trust::open(path)? else {
            return Ok(Self::Missing);
        };
        let mut content = Vec::new();
        file.by_ref()
            .take(CONTENT_BYTES_MAX)
            .read_to_end(&mut content)
            .map_err(|error| TrustError::read(path, error))?;
        let pid = parse(&content);
        // Shared, so that two that look do not take each other for a master.
        match file.try_lock_shared() {
            Ok(()) => Ok(Self::Stale { owner, pid }),
            Err(TryLockError::WouldBlock) => Ok(Self::Held { owner, pid }),
            Err(TryLockError::Error(error)) => Err(TrustError::read(path, error)),
        }
    }

    /// Whose it is.
    pub(super) fn owner(&self) -> Option<u32> {
        match self {
            Self::Missing => None,
            Self::Stale { owner, .. } | Self::Held { owner, .. } => Some(*owner),
        }
    }
}

fn parse(content: &[u8]) -> Option<i32> {
    let text = str::from_utf8(content.trim_ascii()).ok()?;
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|number| is_number && *number > 1)
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};

    use super::*;

    #[test]
    fn a_lock_tells_that_a_master_lives() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("web_server.pid");
        assert_eq!(PidFile::look(&path).unwrap(), PidFile::Missing);
        fs::write(&path, "1234\n").unwrap();
        let owner = nix::unistd::geteuid().as_raw();
        let stale = PidFile::Stale { owner, pid: Some(1234) };
        assert_eq!(PidFile::look(&path).unwrap(), stale);
        let master = File::open(&path).unwrap();
        master.lock().unwrap();
        let held = PidFile::Held { owner, pid: Some(1234) };
        assert_eq!(PidFile::look(&path).unwrap(), held);
        assert_eq!(held.owner(), Some(owner));
        drop(master);
        assert_eq!(PidFile::look(&path).unwrap(), stale);
    }

    #[test]
    fn only_a_plain_number_above_one_is_a_pid() {
        assert_eq!(parse(b" 12\n"), Some(12));
        for wrong in [&b""[..], b"0", b"1", b"-5", b"+5", b"1 2", b"x", b"\xff", b"99999999999"] {
            assert_eq!(parse(wrong), None, "{wrong:?}");
        }
    }
}
