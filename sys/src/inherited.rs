//! Taking over a descriptor that came through an exec at a known number.

use std::os::fd::{BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::{
    errno::Errno,
    fcntl::{FcntlArg, FdFlag, fcntl},
    libc,
};

use crate::sysexits;

/// Why a number cannot be taken over. The descriptor, if there is one, is as it was.
#[derive(Debug, thiserror::Error)]
pub enum InheritError {
    /// 0, 1 and 2 belong to the standard library.
    #[error("cannot take over descriptor {number}: it is a standard stream")]
    StandardStream {
        /// The number.
        number: RawFd,
    },
    /// Nothing is open there.
    #[error("cannot take over descriptor {number}: it is not open")]
    NotOpen {
        /// The number.
        number: RawFd,
    },
    /// It was opened by this process, or taken over before.
    #[error("cannot take over descriptor {number}: it was not inherited")]
    NotInherited {
        /// The number.
        number: RawFd,
    },
    /// The flags cannot be changed.
    #[error("cannot take over descriptor {number}")]
    System {
        /// The number.
        number: RawFd,
        /// The kernel's reason.
        #[source]
        source: Errno,
    },
}

impl InheritError {
    /// The exit status, from sysexits(3): 70, because only a mistake of ours, or of whoever
    /// started this process, can cause it.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::StandardStream { .. } | Self::NotOpen { .. } => sysexits::SOFTWARE,
            Self::NotInherited { .. } | Self::System { .. } => sysexits::SOFTWARE,
        }
    }
}

/// Takes over the descriptor at `number`, and makes it CLOEXEC.
///
/// What tells an inherited descriptor from one that this process has opened, and that some value
/// in it owns, is that it lacks CLOEXEC: it came through an `execve`. For the same reason it
/// can be taken over only once.
///
/// # Errors
///
/// When nothing that came through an exec is open there, or it is a standard stream.
pub fn take(number: RawFd) -> Result<OwnedFd, InheritError> {
    take_if(number, |_| Ok(()))
}

/// [`take`], of a descriptor that `check` says is the right one; if not, it is as it was.
pub(crate) fn take_if<E: From<InheritError>>(
    number: RawFd,
    check: impl FnOnce(BorrowedFd<'_>) -> Result<(), E>,
) -> Result<OwnedFd, E> {
    if (0..=2).contains(&number) {
        return Err(InheritError::StandardStream { number }.into());
    }
    // SAFETY: asks for the flags of a number; no memory is involved, and a number that is not
    // open is an error.
    let flags = unsafe { libc::fcntl(number, libc::F_GETFD) };
    if flags < 0 {
        return Err(InheritError::NotOpen { number }.into());
    }
    if FdFlag::from_bits_retain(flags).contains(FdFlag::FD_CLOEXEC) {
        return Err(InheritError::NotInherited { number }.into());
    }
    // SAFETY: the number is open, and nothing in this process knows of it, so nothing closes it
    // while it is borrowed here.
    let borrowed = unsafe { BorrowedFd::borrow_raw(number) };
    check(borrowed)?;
    fcntl(borrowed, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC))
        .map_err(|source| InheritError::System { number, source })?;
    // SAFETY: without CLOEXEC it was not opened by this process, where every descriptor is
    // opened CLOEXEC; so nobody owned it. From now on it has the flag and cannot be taken again.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read, Seek, SeekFrom, Write},
        os::fd::{AsFd, AsRawFd, IntoRawFd},
    };

    use nix::fcntl::{FcntlArg, FdFlag, fcntl};

    use super::{InheritError, take};
    use crate::forked::in_child;

    fn is_cloexec(descriptor: impl AsFd) -> bool {
        let flags = fcntl(descriptor, FcntlArg::F_GETFD).unwrap();
        FdFlag::from_bits_retain(flags).contains(FdFlag::FD_CLOEXEC)
    }

    #[test]
    fn what_came_through_an_exec_is_taken_over_once() {
        in_child(|_| {
            let mut file = tempfile::tempfile().unwrap();
            file.write_all(b"content").unwrap();
            file.seek(SeekFrom::Start(0)).unwrap();
            let number = file.as_raw_fd();
            let ours = take(number).unwrap_err();
            assert!(matches!(ours, InheritError::NotInherited { .. }));
            assert_eq!(ours.exit_code(), 70);
            // As execve leaves it: open, without the flag, and owned by nobody.
            fcntl(&file, FcntlArg::F_SETFD(FdFlag::empty())).unwrap();
            assert_eq!(file.into_raw_fd(), number);
            let taken = take(number).unwrap();
            assert!(is_cloexec(&taken));
            assert!(matches!(take(number), Err(InheritError::NotInherited { .. })));
            let mut text = String::new();
            std::fs::File::from(taken).read_to_string(&mut text).unwrap();
            assert_eq!(text, "content");
        });
    }

    #[test]
    fn what_is_not_there_or_not_ours_to_take_is_refused() {
        for number in [-1, 9999] {
            assert!(matches!(take(number), Err(InheritError::NotOpen { .. })), "{number}");
        }
        for number in 0..=2 {
            assert!(matches!(take(number), Err(InheritError::StandardStream { .. })), "{number}");
        }
    }
}
