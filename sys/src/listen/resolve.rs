//! From the host and port of a bind URI to socket addresses.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs, UdpSocket},
};

use crate::sysexits;

/// Why a host has no address.
#[derive(Debug, thiserror::Error)]
pub enum ResolveError {
    /// The resolver does not know it.
    #[error("cannot find the address of host {host}; check the spelling, or bind an address")]
    Unknown {
        /// The host.
        host: String,
        /// The resolver's reason.
        #[source]
        source: io::Error,
    },
    /// The resolver knows it and has no address for it.
    #[error("cannot find the address of host {host}: it has none; bind an address")]
    NoAddress {
        /// The host.
        host: String,
    },
}

impl ResolveError {
    /// The exit status, from sysexits(3): 68 (`EX_NOHOST`).
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Unknown { .. } | Self::NoAddress { .. } => sysexits::NOHOST,
        }
    }
}

/// The loopback addresses of this machine: 127.0.0.1 and, where IPv6 is on, `[::1]`.
///
/// With port 0 each of them gets a port of its own when bound.
#[must_use]
pub fn loopback_addresses(port: u16) -> Vec<SocketAddr> {
    let both = [IpAddr::from(Ipv4Addr::LOCALHOST), IpAddr::from(Ipv6Addr::LOCALHOST)];
    both.into_iter().filter(|&ip| is_ours(ip)).map(|ip| SocketAddr::new(ip, port)).collect()
}

/// Every address that a bind to `host` means, in the resolver's order and each once.
///
/// `localhost` means all of [`loopback_addresses`], as Puma has it, whatever the resolver says;
/// the empty host means `0.0.0.0`, as Ruby's `TCPServer` has it. IPv6 addresses may have brackets.
/// May wait for a name server as long as resolv.conf(5) allows.
///
/// # Errors
///
/// When the host is unknown or has no address.
pub fn resolve(host: &str, port: u16) -> Result<Vec<SocketAddr>, ResolveError> {
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    let addresses = if bare.is_empty() {
        vec![SocketAddr::from((Ipv4Addr::UNSPECIFIED, port))]
    } else if bare.eq_ignore_ascii_case("localhost") {
        loopback_addresses(port)
    } else {
        (bare, port)
            .to_socket_addrs()
            .map_err(|source| ResolveError::Unknown { host: host.to_owned(), source })?
            .collect()
    };
    let mut unique: Vec<SocketAddr> = Vec::with_capacity(addresses.len());
    for address in addresses {
        if !unique.contains(&address) {
            unique.push(address);
        }
    }
    if unique.is_empty() {
        return Err(ResolveError::NoAddress { host: host.to_owned() });
    }
    Ok(unique)
}

/// Whether the address can be bound; asked of a UDP port, which disturbs no server.
fn is_ours(ip: IpAddr) -> bool {
    UdpSocket::bind((ip, 0)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::{loopback_addresses, resolve};

    #[test]
    fn localhost_is_every_loopback_address() {
        let addresses = resolve("localhost", 9292).unwrap();
        assert_eq!(addresses, loopback_addresses(9292));
        assert_eq!(addresses[0], "127.0.0.1:9292".parse().unwrap());
        assert!(addresses.iter().all(|address| address.ip().is_loopback()));
    }

    #[test]
    fn addresses_mean_themselves() {
        for (host, address) in [
            ("0.0.0.0", "0.0.0.0:80"),
            ("::", "[::]:80"),
            ("[::1]", "[::1]:80"),
            ("", "0.0.0.0:80"),
            ("127.0.0.1", "127.0.0.1:80"),
        ] {
            assert_eq!(resolve(host, 80).unwrap(), [address.parse().unwrap()], "{host}");
        }
    }

    #[test]
    fn a_host_that_cannot_be_is_an_error() {
        let error = resolve("not a host", 80).unwrap_err();
        assert!(error.to_string().starts_with("cannot find the address of host not a host"));
        assert_eq!(error.exit_code(), 68);
    }
}
