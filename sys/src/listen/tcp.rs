//! TCP listeners.

use std::{io, net::SocketAddr};

use socket2::{Domain, Protocol, SockAddr, Socket};

use super::{Address, BindError, Listener};

/// Listens on an address; port 0 lets the kernel choose one.
///
/// `SO_REUSEADDR` is set, so that connections of an earlier server that still close do not stand
/// in the way. `[::]` takes IPv4 too, as Puma's default bind does; every other IPv6 address takes
/// only IPv6. `TCP_NODELAY` is not inherited from a listener in a portable way and is set on
/// accepted connections by whoever accepts.
///
/// # Errors
///
/// When the address is taken, not this machine's, or below port 1024 without the right to it.
pub fn bind_tcp(address: SocketAddr, backlog: u32) -> Result<Listener, BindError> {
    let open = || -> io::Result<(Socket, SocketAddr)> {
        let socket = super::stream_socket(Domain::for_address(address), Some(Protocol::TCP))?;
        socket.set_reuse_address(true)?;
        if address.is_ipv6() {
            socket.set_only_v6(!address.ip().is_unspecified())?;
        }
        socket.bind(&SockAddr::from(address))?;
        super::listen(&socket, backlog)?;
        let bound = socket.local_addr()?.as_socket().unwrap_or(address);
        Ok((socket, bound))
    };
    let (socket, bound) =
        open().map_err(|error| BindError::from_system(Address::Tcp(address), error))?;
    Ok(Listener { fd: socket.into(), address: Address::Tcp(bound), file: None })
}

#[cfg(test)]
mod tests {
    use std::{
        net::{SocketAddr, TcpListener, TcpStream},
        os::fd::AsFd,
    };

    use nix::fcntl::{FcntlArg, FdFlag, OFlag, fcntl};

    use super::bind_tcp;
    use crate::listen::{Address, BindError, Listener, loopback_addresses};

    fn bound(listener: &Listener) -> SocketAddr {
        match &listener.address {
            Address::Tcp(address) => *address,
            other @ (Address::Unix(_) | Address::Abstract(_)) => panic!("{other}"),
        }
    }

    #[test]
    fn it_accepts_and_never_waits() {
        let listener = bind_tcp("127.0.0.1:0".parse().unwrap(), 16).unwrap();
        let address = bound(&listener);
        assert_ne!(address.port(), 0);
        let status = OFlag::from_bits_retain(fcntl(&listener, FcntlArg::F_GETFL).unwrap());
        assert!(status.contains(OFlag::O_NONBLOCK));
        assert_eq!(fcntl(&listener, FcntlArg::F_GETFD).unwrap(), FdFlag::FD_CLOEXEC.bits());
        let _client = TcpStream::connect(address).unwrap();
        let mut ready = [nix::poll::PollFd::new(listener.as_fd(), nix::poll::PollFlags::POLLIN)];
        assert_eq!(nix::poll::poll(&mut ready, 30_000_u16).unwrap(), 1);
        TcpListener::from(listener.fd).accept().unwrap();
    }

    #[test]
    fn a_taken_port_is_told() {
        let first = bind_tcp("127.0.0.1:0".parse().unwrap(), 1).unwrap();
        let address = bound(&first);
        let error = bind_tcp(address, 1).unwrap_err();
        assert!(matches!(error, BindError::InUse { owner: None, .. }));
        let text = format!("cannot listen on http://{address}: already listening, process unknown");
        assert!(error.to_string().starts_with(&text), "{error}");
        assert_eq!(error.exit_code(), 69);
    }

    #[test]
    fn an_address_of_another_machine_is_told() {
        let error = bind_tcp("192.0.2.1:0".parse().unwrap(), 1).unwrap_err();
        assert!(error.to_string().contains("no interface has this address"), "{error}");
        assert_eq!(error.exit_code(), 71);
    }

    #[test]
    fn the_unspecified_ipv6_address_takes_ipv4_too() {
        if loopback_addresses(0).len() < 2 {
            return;
        }
        let both = bind_tcp("[::]:0".parse().unwrap(), 4).unwrap();
        TcpStream::connect(("127.0.0.1", bound(&both).port())).unwrap();
        let only = bind_tcp("[::1]:0".parse().unwrap(), 4).unwrap();
        TcpStream::connect(bound(&only)).unwrap();
        let same_port = SocketAddr::from(([127, 0, 0, 1], bound(&only).port()));
        assert!(TcpStream::connect(same_port).is_err());
    }
}
