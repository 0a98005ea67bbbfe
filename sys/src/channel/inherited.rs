//! Taking over a channel's end that the parent process left open at a known number.

use std::os::fd::{BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::{
    errno::Errno,
    fcntl::{FcntlArg, FdFlag, fcntl},
    libc,
    sys::socket::{SockType, getsockopt, sockopt},
};

use crate::sysexits;

/// Why a number cannot be taken over. The descriptor, if there is one, is as it was.
#[derive(Debug, thiserror::Error)]
pub enum InheritError {
    /// Nothing is open there.
    #[error(
        "cannot take over descriptor {number}: it is not open; this command is for internal use"
    )]
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
    /// Something else than a `SOCK_SEQPACKET` socket is open there.
    #[error(
        "cannot take over descriptor {number}: it is not a channel; this command is for internal use"
    )]
    NotAChannel {
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
    /// The exit status, from sysexits(3): 70, because only a mistake of ours, or a person who
    /// starts an internal command by hand, can cause it.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::NotOpen { .. } | Self::NotInherited { .. } => sysexits::SOFTWARE,
            Self::NotAChannel { .. } | Self::System { .. } => sysexits::SOFTWARE,
        }
    }
}

/// Takes over the channel's end at `number`, and makes it CLOEXEC.
///
/// What tells an inherited descriptor from one that this process has opened, and that some value
/// in it owns, is that it lacks CLOEXEC: it came through an `execve`. For the same reason it
/// can be taken over only once.
///
/// # Errors
///
/// When nothing that came through an exec is open there, or it is no `SOCK_SEQPACKET` socket.
pub fn inherited(number: RawFd) -> Result<OwnedFd, InheritError> {
    // SAFETY: asks for the flags of a number; no memory is involved, and a number that is not
    // open is an error.
    let flags = unsafe { libc::fcntl(number, libc::F_GETFD) };
    if flags < 0 {
        return Err(InheritError::NotOpen { number });
    }
    if FdFlag::from_bits_retain(flags).contains(FdFlag::FD_CLOEXEC) {
        return Err(InheritError::NotInherited { number });
    }
    // SAFETY: the number is open, and nothing in this process knows of it, so nothing closes it
    // while it is borrowed here.
    let borrowed = unsafe { BorrowedFd::borrow_raw(number) };
    if getsockopt(&borrowed, sockopt::SockType) != Ok(SockType::SeqPacket) {
        return Err(InheritError::NotAChannel { number });
    }
    fcntl(borrowed, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC))
        .map_err(|source| InheritError::System { number, source })?;
    // SAFETY: without CLOEXEC it was not opened by this process, where every descriptor is
    // opened CLOEXEC; so nobody owned it. From now on it has the flag and cannot be taken again.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}
