//! Lets one starting server at a time look at, and then replace, a file in a shared directory.

use std::{
    fs::{File, OpenOptions, TryLockError},
    os::unix::fs::OpenOptionsExt,
    path::Path,
    time::Duration,
};

use nix::{libc, poll};

/// Longest wait for another holder, in steps of [`STEP`]: 1 s.
const STEPS_MAX: u32 = 200;
/// `flock(2)` has no wait with a limit, so it is asked again after this time.
const STEP: Duration = Duration::from_millis(5);

/// Holds `flock` on the directory until dropped.
///
/// It only arbitrates between two servers that start in the same instant: "is it stale?" and
/// "replace it" must not interleave. It guards against mistakes, not against attackers: every user
/// may lock `/tmp`, so a lock that cannot be had within the limit, or a directory that cannot be
/// opened, does not stop the caller. Each replacement is atomic and checked on its own.
#[derive(Debug)]
pub(crate) struct DirectoryLock {
    #[cfg_attr(not(test), expect(dead_code, reason = "closing the descriptor unlocks"))]
    file: Option<File>,
}

impl DirectoryLock {
    /// Waits for the lock for at most 1 s.
    pub(crate) fn acquire(directory: &Path) -> Self {
        let opened = OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_DIRECTORY | libc::O_CLOEXEC)
            .open(directory);
        let Ok(file) = opened else { return Self { file: None } };
        for _ in 0..STEPS_MAX {
            match file.try_lock() {
                Ok(()) => return Self { file: Some(file) },
                Err(TryLockError::Error(_)) => break,
                Err(TryLockError::WouldBlock) => pause(),
            }
        }
        Self { file: None }
    }
}

/// One step. A signal may shorten it, which costs one try of the many.
fn pause() {
    let step = poll::PollTimeout::try_from(STEP).unwrap_or(poll::PollTimeout::ZERO);
    // Only the passing of time is wanted; no descriptor can make this fail.
    let _ = poll::poll(&mut [], step);
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::DirectoryLock;
    use crate::forked::in_child;

    #[test]
    fn excludes_until_dropped() {
        in_child(|_| {
            let folder = tempfile::tempdir().unwrap();
            let lock = DirectoryLock::acquire(folder.path());
            let other = File::open(folder.path()).unwrap();
            other.try_lock().unwrap_err();
            drop(lock);
            other.try_lock().unwrap();
        });
    }

    #[test]
    fn a_lock_held_for_ever_does_not_stop_us() {
        in_child(|_| {
            let folder = tempfile::tempdir().unwrap();
            let other = File::open(folder.path()).unwrap();
            other.try_lock().unwrap();
            assert!(DirectoryLock::acquire(folder.path()).file.is_none());
        });
    }
}
