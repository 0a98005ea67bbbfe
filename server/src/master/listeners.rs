//! The master's listening sockets: opened before the application is loaded, closed first at a stop.

use std::os::fd::{AsFd, BorrowedFd};

use rackrs_sys::listen::{self, Address, BindError, Listener, ResolveError};

use crate::{
    config::{Bind, Config, UnixOptions},
    telemetry::{chain, events},
};

/// Why there is no listener.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// An address that cannot be listened on.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// A host name without an address.
    #[error(transparent)]
    Resolve(#[from] ResolveError),
}

impl ListenError {
    /// The exit status that fits: sysexits(3).
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Bind(error) => error.exit_code(),
            Self::Resolve(error) => error.exit_code(),
        }
    }
}

/// The open listeners. Dropping them closes them and unlinks the socket files that are still ours.
pub(super) struct Listeners(Vec<Listener>);

impl Listeners {
    /// For a master that only checks.
    pub(super) fn none() -> Self {
        Self(Vec::new())
    }

    /// Opens what the configuration names; all of it or nothing.
    pub(super) fn open(config: &Config) -> Result<Self, ListenError> {
        let mut open = Self(Vec::with_capacity(config.binds.len()));
        for bind in &config.binds {
            match bind {
                Bind::Tcp { host, port, backlog } => {
                    for address in listen::resolve(host, *port)? {
                        open.0.push(listen::bind_tcp(address, *backlog)?);
                    }
                }
                Bind::Unix { path, options } => {
                    let UnixOptions { umask, mode, backlog } = *options;
                    open.0.push(listen::bind_unix(path, umask, mode, backlog)?);
                }
                Bind::Abstract { name, backlog } => {
                    open.0.push(listen::bind_abstract(name, *backlog)?);
                }
            }
        }
        Ok(open)
    }

    pub(super) fn addresses(&self) -> impl Iterator<Item = &Address> {
        self.0.iter().map(|listener| &listener.address)
    }

    /// For handing to a mold.
    pub(super) fn descriptors(&self) -> Vec<BorrowedFd<'_>> {
        self.0.iter().map(AsFd::as_fd).collect()
    }

    /// Stops listening: who connects from now on is refused at once, and another server may take
    /// the addresses, while workers still finish what they hold.
    pub(super) fn close(&mut self) {
        for listener in self.0.drain(..) {
            if let Err(error) = listen::unlink_unix(&listener) {
                events::complain(&chain(&error));
            }
        }
    }
}

impl Drop for Listeners {
    fn drop(&mut self) {
        self.close();
    }
}
