//! Messages and descriptors between our own processes: `SOCK_SEQPACKET`, one datagram one message.

mod ancillary;
mod inherited;
#[cfg(test)]
mod tests;

use std::{
    io::IoSlice,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd},
};

use nix::{
    errno::Errno,
    fcntl::{FcntlArg, OFlag, fcntl},
    sys::socket::{
        self, AddressFamily, ControlMessage, MsgFlags, SockFlag, SockType, setsockopt, sockopt,
    },
};

use crate::sysexits;

pub use inherited::{InheritError, inherited};

/// Longest message: 128 KiB, well below what one Unix datagram may hold by default (208 KiB).
pub const MESSAGE_BYTES_MAX: usize = 128 * 1024;

/// Most descriptors with one message. The kernel's own limit is 253 (`SCM_MAX_FD`, unix(7)).
pub const DESCRIPTORS_MAX: usize = 64;

/// Asked for as the send buffer, so that a host with a small `net.core.wmem_default` still takes
/// the longest message.
const SEND_BUFFER_BYTES: usize = 2 * MESSAGE_BYTES_MAX;

/// One end of a connected pair; CLOEXEC. When the other end's last copy closes, this one reads
/// [`Received::Closed`].
#[derive(Debug)]
pub struct Channel {
    socket: OwnedFd,
}

/// What [`Channel::receive`] found.
#[derive(Debug)]
pub enum Received {
    /// A whole message.
    Message {
        /// How many bytes of the buffer it fills.
        bytes: usize,
        /// The descriptors that came with it, CLOEXEC, in the sender's order.
        descriptors: Vec<OwnedFd>,
    },
    /// The other side is gone, and everything it sent was read.
    Closed,
    /// Nothing is there yet, and the channel is non-blocking.
    NotYet,
    /// A signal came before a message; look at what it wants, then call again.
    Interrupted,
}

/// Why a message was not sent. Nothing of it was.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// An empty datagram would read as the end.
    #[error("cannot send an empty message")]
    Empty,
    /// More than [`MESSAGE_BYTES_MAX`].
    #[error("cannot send a message of {bytes} bytes; the limit is {MESSAGE_BYTES_MAX}")]
    TooLong {
        /// Its length.
        bytes: usize,
    },
    /// More than [`DESCRIPTORS_MAX`].
    #[error("cannot send {count} descriptors with a message; the limit is {DESCRIPTORS_MAX}")]
    TooManyDescriptors {
        /// How many.
        count: usize,
    },
    /// The other side is behind and the channel is non-blocking: send again when it is writable.
    #[error("cannot send now: the other side has not read enough")]
    Full,
    /// A signal came first; look at what it wants, then send again.
    #[error("cannot send now: interrupted by a signal")]
    Interrupted,
    /// The other side is gone.
    #[error("cannot send: the other side has closed the channel")]
    Closed,
    /// Anything else.
    #[error("cannot send a message")]
    System(#[source] Errno),
}

/// Why a message could not be received. Descriptors that came with it are closed.
#[derive(Debug, thiserror::Error)]
pub enum ReceiveError {
    /// The buffer was too small, and the rest of the message is lost.
    #[error("cannot receive: the message is longer than the buffer of {buffer_bytes} bytes")]
    Truncated {
        /// The buffer's length.
        buffer_bytes: usize,
    },
    /// Descriptors were lost: this process has too many open.
    #[error("cannot receive: descriptors of the message were lost; raise the limit of open files")]
    DescriptorsLost,
    /// More than [`DESCRIPTORS_MAX`].
    #[error("cannot receive: the message has {count} descriptors; the limit is {DESCRIPTORS_MAX}")]
    TooManyDescriptors {
        /// How many.
        count: usize,
    },
    /// Anything else.
    #[error("cannot receive a message")]
    System(#[source] Errno),
}

/// Why there is no pair, or its mode cannot be changed.
#[derive(Debug, thiserror::Error)]
pub enum ChannelError {
    /// `socketpair(2)` failed or the buffer cannot be set.
    #[error("cannot make a channel; check the limit of open files")]
    Pair(#[source] Errno),
    /// `fcntl(2)` failed.
    #[error("cannot change the blocking mode of a channel")]
    Mode(#[source] Errno),
}

impl SendError {
    /// The exit status, from sysexits(3): 70 for what only a mistake of ours can cause, else 71.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Empty | Self::TooLong { .. } | Self::TooManyDescriptors { .. } => {
                sysexits::SOFTWARE
            }
            Self::Full | Self::Interrupted | Self::Closed | Self::System(_) => sysexits::OSERR,
        }
    }
}

impl ReceiveError {
    /// The exit status, from sysexits(3): 70 for what only a mistake of ours can cause, else 71.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Truncated { .. } | Self::TooManyDescriptors { .. } => sysexits::SOFTWARE,
            Self::DescriptorsLost | Self::System(_) => sysexits::OSERR,
        }
    }
}

impl ChannelError {
    /// The exit status, from sysexits(3): 71.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Pair(_) | Self::Mode(_) => sysexits::OSERR,
        }
    }
}

impl Channel {
    /// Two connected ends, blocking and CLOEXEC.
    ///
    /// # Errors
    ///
    /// When the limit of descriptors is reached, or memory is.
    pub fn pair() -> Result<(Self, Self), ChannelError> {
        let family = AddressFamily::Unix;
        let (one, other) =
            socket::socketpair(family, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)
                .map_err(ChannelError::Pair)?;
        for socket in [&one, &other] {
            setsockopt(socket, sockopt::SndBuf, &SEND_BUFFER_BYTES).map_err(ChannelError::Pair)?;
        }
        Ok((Self { socket: one }, Self { socket: other }))
    }

    /// Takes a socket that is known to be one end; see [`inherited()`].
    #[must_use]
    pub fn from_fd(socket: OwnedFd) -> Self {
        Self { socket }
    }

    /// Gives the socket away, for example to an asynchronous reader.
    #[must_use]
    pub fn into_fd(self) -> OwnedFd {
        self.socket
    }

    /// Chooses whether an empty or full channel blocks. The mode belongs to this end and is
    /// shared with its copies in other processes.
    ///
    /// # Errors
    ///
    /// `fcntl(2)` has none for an open socket; what it says is passed on.
    pub fn set_nonblocking(&self, nonblocking: bool) -> Result<(), ChannelError> {
        let flags = fcntl(&self.socket, FcntlArg::F_GETFL).map_err(ChannelError::Mode)?;
        let mut flags = OFlag::from_bits_retain(flags);
        flags.set(OFlag::O_NONBLOCK, nonblocking);
        fcntl(&self.socket, FcntlArg::F_SETFL(flags)).map(drop).map_err(ChannelError::Mode)
    }

    /// Sends one message of 1 to [`MESSAGE_BYTES_MAX`] bytes, with up to [`DESCRIPTORS_MAX`]
    /// descriptors; the receiver gets copies of them.
    ///
    /// # Errors
    ///
    /// A message is sent whole or not at all. Never raises SIGPIPE.
    pub fn send(&self, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) -> Result<(), SendError> {
        if bytes.is_empty() {
            return Err(SendError::Empty);
        }
        if bytes.len() > MESSAGE_BYTES_MAX {
            return Err(SendError::TooLong { bytes: bytes.len() });
        }
        if descriptors.len() > DESCRIPTORS_MAX {
            return Err(SendError::TooManyDescriptors { count: descriptors.len() });
        }
        let numbers: Vec<RawFd> = descriptors.iter().map(AsRawFd::as_raw_fd).collect();
        let rights = [ControlMessage::ScmRights(&numbers)];
        let control = if numbers.is_empty() { &rights[..0] } else { &rights[..] };
        let parts = [IoSlice::new(bytes)];
        let socket = self.socket.as_raw_fd();
        match socket::sendmsg::<()>(socket, &parts, control, MsgFlags::MSG_NOSIGNAL, None) {
            // A SEQPACKET socket takes a datagram whole.
            Ok(_) => Ok(()),
            Err(Errno::EAGAIN) => Err(SendError::Full),
            Err(Errno::EINTR) => Err(SendError::Interrupted),
            Err(Errno::EPIPE | Errno::ECONNRESET) => Err(SendError::Closed),
            Err(errno) => Err(SendError::System(errno)),
        }
    }

    /// Receives one message into `buffer`, which should have [`MESSAGE_BYTES_MAX`] bytes.
    ///
    /// # Errors
    ///
    /// When the message or its descriptors did not fit; the message is lost then.
    pub fn receive(&self, buffer: &mut [u8]) -> Result<Received, ReceiveError> {
        let buffer_bytes = buffer.len();
        let datagram = match ancillary::receive(self.socket.as_fd(), buffer) {
            Ok(datagram) => datagram,
            Err(Errno::EAGAIN) => return Ok(Received::NotYet),
            Err(Errno::EINTR) => return Ok(Received::Interrupted),
            // The other side closed with messages of ours unread.
            Err(Errno::ECONNRESET) => return Ok(Received::Closed),
            Err(errno) => return Err(ReceiveError::System(errno)),
        };
        let descriptors = datagram.descriptors;
        if datagram.flags.contains(MsgFlags::MSG_CTRUNC) {
            return Err(ReceiveError::DescriptorsLost);
        }
        if datagram.flags.contains(MsgFlags::MSG_TRUNC) {
            return Err(ReceiveError::Truncated { buffer_bytes });
        }
        if descriptors.len() > DESCRIPTORS_MAX {
            return Err(ReceiveError::TooManyDescriptors { count: descriptors.len() });
        }
        match datagram.bytes {
            0 => Ok(Received::Closed),
            bytes => Ok(Received::Message { bytes, descriptors }),
        }
    }
}

impl AsRawFd for Channel {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
