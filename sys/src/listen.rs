//! Listening sockets: TCP, Unix socket files and Linux's abstract names.

mod adopt;
mod error;
mod resolve;
mod tcp;
mod unix;

use std::{
    fmt, io,
    net::SocketAddr,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::PathBuf,
};

use socket2::{Domain, Protocol, Socket, Type};

use crate::file_id::FileId;

pub use adopt::{AdoptError, FileNumbers};
pub use error::BindError;
pub use resolve::{ResolveError, loopback_addresses, resolve};
pub use tcp::bind_tcp;
pub use unix::{UNIX_PATH_BYTES_MAX, bind_abstract, bind_unix, unlink_unix};

/// A socket that listens; non-blocking and CLOEXEC.
#[derive(Debug)]
pub struct Listener {
    /// The socket.
    pub fd: OwnedFd,
    /// Where it listens; for TCP with the port that the kernel chose.
    pub address: Address,
    /// The socket file that is ours to unlink, as a name may come to mean another one.
    file: Option<FileId>,
}

/// Where a server listens. `Display` is Puma's form, as its log and pumactl show it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Address {
    /// `http://HOST:PORT`, IPv6 in brackets.
    Tcp(SocketAddr),
    /// `unix:///path`.
    Unix(PathBuf),
    /// `unix://@name`; without the `@` here.
    Abstract(String),
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => write!(f, "http://{address}"),
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
            Self::Abstract(name) => write!(f, "unix://@{name}"),
        }
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// A stream socket, non-blocking and CLOEXEC.
fn stream_socket(domain: Domain, protocol: Option<Protocol>) -> io::Result<Socket> {
    Socket::new(domain, Type::STREAM.nonblocking().cloexec(), protocol)
}

/// `listen(2)` takes a signed number; the kernel cuts it to `net.core.somaxconn`.
fn listen(socket: &Socket, backlog: u32) -> io::Result<()> {
    socket.listen(i32::try_from(backlog).unwrap_or(i32::MAX))
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::Address;

    #[test]
    fn addresses_are_shown_as_puma_shows_them() {
        let tcp = |text: &str| Address::Tcp(text.parse().unwrap()).to_string();
        assert_eq!(tcp("127.0.0.1:9292"), "http://127.0.0.1:9292");
        assert_eq!(tcp("[::1]:80"), "http://[::1]:80");
        assert_eq!(Address::Unix(PathBuf::from("/tmp/x.sock")).to_string(), "unix:///tmp/x.sock");
        assert_eq!(Address::Abstract("x".to_owned()).to_string(), "unix://@x");
    }
}
