//! Making a [`Listener`] of a socket that listens already: of our own past, or a service manager's.

#[cfg(test)]
mod tests;

use std::{
    io,
    os::fd::{AsRawFd, OwnedFd, RawFd},
};

use socket2::{SockAddr, Socket, Type};

use super::{Address, Listener};
use crate::{file_id::FileId, sysexits};

/// Which file a socket file is, in numbers that can be handed to another program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileNumbers {
    /// `st_dev` of stat(2).
    pub device: u64,
    /// `st_ino` of stat(2).
    pub inode: u64,
}

/// Why a descriptor is not served. It is closed.
#[derive(Debug, thiserror::Error)]
pub enum AdoptError {
    /// It is no stream socket.
    #[error("cannot serve descriptor {number}: it is no stream socket; pass a listening one")]
    NotAStream {
        /// Its number.
        number: RawFd,
    },
    /// Nobody called `listen(2)`.
    #[error("cannot serve descriptor {number}: it does not listen; pass a listening socket")]
    NotListening {
        /// Its number.
        number: RawFd,
    },
    /// It is neither TCP nor a Unix socket, or its abstract name is not UTF-8.
    #[error("cannot serve descriptor {number}: its address is neither TCP's nor a Unix socket's")]
    Address {
        /// Its number.
        number: RawFd,
    },
    /// The system refused something.
    #[error("cannot serve descriptor {number}: {doing} failed")]
    System {
        /// Its number.
        number: RawFd,
        /// The step.
        doing: &'static str,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
}

impl AdoptError {
    /// The exit status, from sysexits(3): 78 for a descriptor that can never be served, else 71.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::NotAStream { .. } | Self::NotListening { .. } => sysexits::CONFIG,
            Self::Address { .. } => sysexits::CONFIG,
            Self::System { .. } => sysexits::OSERR,
        }
    }
}

impl Listener {
    /// Takes a stream socket that listens, and makes it non-blocking and CLOEXEC. Connections that
    /// wait in it are not lost.
    ///
    /// `file` are the numbers of the socket file that is ours to unlink, from
    /// [`Listener::file_numbers`] before the handover. `None` is for a file that is somebody
    /// else's, such as a service manager's: [`super::unlink_unix`] leaves it.
    ///
    /// # Errors
    ///
    /// When it is something else than a listening TCP or Unix stream socket.
    pub fn adopt(descriptor: OwnedFd, file: Option<FileNumbers>) -> Result<Self, AdoptError> {
        let number = descriptor.as_raw_fd();
        let system = |doing| move |source| AdoptError::System { number, doing, source };
        let socket = Socket::from(descriptor);
        match socket.r#type() {
            Ok(Type::STREAM) => {}
            Err(error) if error.raw_os_error() != Some(nix::libc::ENOTSOCK) => {
                return Err(system("asking for its type")(error));
            }
            _ => return Err(AdoptError::NotAStream { number }),
        }
        if !socket.is_listener().map_err(system("asking whether it listens"))? {
            return Err(AdoptError::NotListening { number });
        }
        let name = socket.local_addr().map_err(system("asking for its address"))?;
        let address = address(&name).ok_or(AdoptError::Address { number })?;
        socket.set_cloexec(true).map_err(system("making it close on exec"))?;
        socket.set_nonblocking(true).map_err(system("making it non-blocking"))?;
        let file = match address {
            Address::Unix(_) => file.map(|file| FileId::of_numbers(file.device, file.inode)),
            Address::Tcp(_) | Address::Abstract(_) => None,
        };
        Ok(Self { fd: socket.into(), address, file })
    }

    /// The socket file that is ours to unlink, for the program that this listener is handed to.
    #[must_use]
    pub fn file_numbers(&self) -> Option<FileNumbers> {
        self.file.map(|file| {
            let (device, inode) = file.numbers();
            FileNumbers { device, inode }
        })
    }
}

fn address(name: &SockAddr) -> Option<Address> {
    if let Some(address) = name.as_socket() {
        Some(Address::Tcp(address))
    } else if let Some(path) = name.as_pathname() {
        Some(Address::Unix(path.to_owned()))
    } else {
        let name = std::str::from_utf8(name.as_abstract_namespace()?).ok()?;
        Some(Address::Abstract(name.to_owned()))
    }
}
