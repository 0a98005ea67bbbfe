//! Taking over a channel's end that the parent process left open at a known number.

use std::os::fd::{OwnedFd, RawFd};

use nix::sys::socket::{SockType, getsockopt, sockopt};

use crate::{inherited, sysexits};

/// Why a number cannot be taken over as a channel. The descriptor, if there is one, is as it was.
#[derive(Debug, thiserror::Error)]
pub enum InheritError {
    /// There is no descriptor to take over.
    #[error(transparent)]
    Descriptor(#[from] inherited::InheritError),
    /// Something else than a `SOCK_SEQPACKET` socket is open there.
    #[error(
        "cannot take over descriptor {number}: it is not a channel; this command is for internal use"
    )]
    NotAChannel {
        /// The number.
        number: RawFd,
    },
}

impl InheritError {
    /// The exit status, from sysexits(3): 70, because only a mistake of ours, or a person who
    /// starts an internal command by hand, can cause it.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Descriptor(error) => error.exit_code(),
            Self::NotAChannel { .. } => sysexits::SOFTWARE,
        }
    }
}

/// Takes over the channel's end at `number`, and makes it CLOEXEC; see [`inherited::take`].
///
/// # Errors
///
/// When nothing that came through an exec is open there, or it is no `SOCK_SEQPACKET` socket.
pub fn inherited(number: RawFd) -> Result<OwnedFd, InheritError> {
    inherited::take_if(number, |descriptor| match getsockopt(&descriptor, sockopt::SockType) {
        Ok(SockType::SeqPacket) => Ok(()),
        _ => Err(InheritError::NotAChannel { number }),
    })
}
