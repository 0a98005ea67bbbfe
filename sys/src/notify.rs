//! Telling a service manager how the service is: the protocol of `sd_notify(3)`.

use std::{
    ffi::OsStr,
    io,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
};

use nix::libc;
use socket2::{Domain, SockAddr, Socket, Type};

use crate::sysexits;

/// Longest message: what systemd reads of one (`PIPE_BUF`).
pub const STATE_BYTES_MAX: usize = 4096;

/// Where messages go, as `$NOTIFY_SOCKET` names it.
#[derive(Debug)]
pub struct Notifier {
    /// Non-blocking and CLOEXEC, and not connected: a manager that starts anew makes its socket
    /// anew.
    socket: Socket,
    to: SockAddr,
    address: PathBuf,
}

/// Why the service manager was not told. The service itself is none the worse for it.
#[derive(Debug, thiserror::Error)]
pub enum NotifyError {
    /// The address is neither an absolute path nor an abstract name, or too long for one.
    #[error(
        "cannot notify {address:?}: it is neither an absolute path nor @name; check $NOTIFY_SOCKET"
    )]
    Address {
        /// The address.
        address: PathBuf,
    },
    /// There is no socket to send with.
    #[error("cannot notify {address:?}: no socket; check the limit of open files")]
    Socket {
        /// The address.
        address: PathBuf,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
    /// More than [`STATE_BYTES_MAX`].
    #[error("cannot send a state of {bytes} bytes; the limit is {STATE_BYTES_MAX}")]
    TooLong {
        /// Its length.
        bytes: usize,
    },
    /// The manager has not read enough of what came before. The message is lost.
    #[error("cannot notify {address:?}: the service manager is behind")]
    Full {
        /// The address.
        address: PathBuf,
    },
    /// Anything else, for example that nobody has the address any more.
    #[error("cannot notify {address:?}; is the service manager there?")]
    Send {
        /// The address.
        address: PathBuf,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
}

impl NotifyError {
    /// The exit status, from sysexits(3): 78 for an address that can never work, 70 for what only
    /// a mistake of ours can cause, else 71.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Address { .. } => sysexits::CONFIG,
            Self::TooLong { .. } => sysexits::SOFTWARE,
            Self::Socket { .. } | Self::Full { .. } | Self::Send { .. } => sysexits::OSERR,
        }
    }
}

impl Notifier {
    /// `address` is an absolute path, or `@` and a name of the abstract namespace. Whether anybody
    /// is there is not asked.
    ///
    /// # Errors
    ///
    /// For any other address (`vsock:` is one for virtual machines), and when there is no
    /// descriptor left.
    pub fn new(address: &OsStr) -> Result<Self, NotifyError> {
        let to = name(address).ok_or_else(|| NotifyError::Address { address: address.into() })?;
        let socket = Socket::new(Domain::UNIX, Type::DGRAM.nonblocking().cloexec(), None)
            .map_err(|source| NotifyError::Socket { address: address.into(), source })?;
        Ok(Self { socket, to, address: address.into() })
    }

    /// Sends the lines of `state`, for example `READY=1`, as one message. Never waits and never
    /// raises SIGPIPE.
    ///
    /// The manager believes the processes that its configuration allows (`NotifyAccess=`), by
    /// default the main process only.
    ///
    /// # Errors
    ///
    /// When the message could not be handed over. To be logged: nothing else follows from it.
    pub fn send(&self, state: &str) -> Result<(), NotifyError> {
        if state.len() > STATE_BYTES_MAX {
            return Err(NotifyError::TooLong { bytes: state.len() });
        }
        let flags = libc::MSG_NOSIGNAL | libc::MSG_DONTWAIT;
        match self.socket.send_to_with_flags(state.as_bytes(), &self.to, flags) {
            // A datagram is taken whole.
            Ok(_) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                Err(NotifyError::Full { address: self.address.clone() })
            }
            Err(source) => Err(NotifyError::Send { address: self.address.clone(), source }),
        }
    }
}

/// `None` for what is no Unix socket's address.
fn name(address: &OsStr) -> Option<SockAddr> {
    let bytes = address.as_bytes();
    match bytes.split_first()? {
        (b'/', _) if !bytes.contains(&0) => SockAddr::unix(address).ok(),
        (b'@', name) if !name.is_empty() && !name.contains(&0) => {
            let name = [b"\0", name].concat();
            SockAddr::unix(Path::new(OsStr::from_bytes(&name))).ok()
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::{
        ffi::OsString,
        os::{
            linux::net::SocketAddrExt,
            unix::net::{SocketAddr, UnixDatagram},
        },
    };

    use nix::{
        fcntl::{FcntlArg, FdFlag, fcntl},
        unistd::getpid,
    };

    use super::{Notifier, NotifyError, STATE_BYTES_MAX};

    fn received(socket: &UnixDatagram) -> String {
        let mut buffer = [0; 2 * STATE_BYTES_MAX];
        let bytes = socket.recv(&mut buffer).unwrap();
        String::from_utf8(buffer[..bytes].to_vec()).unwrap()
    }

    #[test]
    fn paths_and_abstract_names_are_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let at_path = UnixDatagram::bind(&path).unwrap();
        let name = format!("rackrs-notify-{}", getpid());
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let at_name = UnixDatagram::bind_addr(&address).unwrap();
        for (address, manager) in
            [(path.into_os_string(), at_path), (OsString::from(format!("@{name}")), at_name)]
        {
            let notifier = Notifier::new(&address).unwrap();
            notifier.send("READY=1\nSTATUS=here").unwrap();
            notifier.send("STOPPING=1").unwrap();
            assert_eq!(received(&manager), "READY=1\nSTATUS=here");
            assert_eq!(received(&manager), "STOPPING=1");
            let flags = fcntl(&notifier.socket, FcntlArg::F_GETFD).unwrap();
            assert_eq!(flags, FdFlag::FD_CLOEXEC.bits());
        }
    }

    #[test]
    fn a_manager_that_does_not_read_is_not_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let manager = UnixDatagram::bind(&path).unwrap();
        let notifier = Notifier::new(path.as_os_str()).unwrap();
        // net.unix.max_dgram_qlen is 10 to 512 where nobody has changed it.
        let full = (0..100_000).find_map(|_| notifier.send("WATCHDOG=1").err()).unwrap();
        assert!(matches!(full, NotifyError::Full { .. }), "{full:?}");
        assert_eq!(received(&manager), "WATCHDOG=1");
        notifier.send("READY=1").unwrap();
    }

    #[test]
    fn a_manager_that_is_gone_and_comes_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let notifier = Notifier::new(path.as_os_str()).unwrap();
        for there in [false, true, false, true] {
            let manager = there.then(|| UnixDatagram::bind(&path).unwrap());
            let outcome = notifier.send("READY=1");
            assert_eq!(outcome.is_ok(), there, "{outcome:?}");
            if manager.is_some() {
                std::fs::remove_file(&path).unwrap();
            }
        }
    }

    #[test]
    fn other_addresses_are_refused() {
        let long = format!("/{}", "x".repeat(200));
        for address in ["", "notify", "./notify", "@", "vsock:2:1234", "/a\0b", "@a\0b", &long] {
            let error = Notifier::new(address.as_ref()).unwrap_err();
            assert!(matches!(error, NotifyError::Address { .. }), "{address:?}");
            assert_eq!(error.exit_code(), 78);
        }
    }

    #[test]
    fn a_state_has_a_limit() {
        let notifier = Notifier::new("/nowhere/notify".as_ref()).unwrap();
        let state = "x".repeat(STATE_BYTES_MAX + 1);
        assert!(matches!(notifier.send(&state), Err(NotifyError::TooLong { bytes: 4097 })));
        let error = notifier.send("READY=1").unwrap_err();
        let text = "cannot notify \"/nowhere/notify\"; is the service manager there?";
        assert_eq!((error.to_string().as_str(), error.exit_code()), (text, 71));
    }
}
