//! The master's listening sockets: opened before the application is loaded, kept open over every
//! restart, closed first at a stop.

use std::os::fd::{AsFd, BorrowedFd};

use rackrs_sys::{
    activation::{ActivationError, Passed},
    listen::{self, Address, AdoptError, BindError, Listener, ResolveError},
};

use super::handover::{ListenerRecord, SocketRecord, TakeOverError};
use crate::{
    config::{ActivatedSockets, Bind, Config, UnixOptions},
    telemetry::{chain, events},
};

/// sysexits(3): the operating system failed us.
const EX_OSERR: u8 = 71;

/// Why there is no listener.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// An address that cannot be listened on.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// A host name without an address.
    #[error(transparent)]
    Resolve(#[from] ResolveError),
    /// The sockets of the service manager are not what was agreed.
    #[error(transparent)]
    Passed(#[from] ActivationError),
    /// A socket of the service manager is not one that can be listened on.
    #[error("cannot use the socket {name} that the service manager has passed")]
    Unusable {
        /// The manager's name for it.
        name: String,
        /// Why.
        #[source]
        source: AdoptError,
    },
}

impl ListenError {
    /// The exit status that fits: sysexits(3).
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Bind(error) => error.exit_code(),
            Self::Resolve(error) => error.exit_code(),
            Self::Passed(error) => error.exit_code(),
            Self::Unusable { .. } => EX_OSERR,
        }
    }
}

/// One open listener.
struct Open {
    /// The setting it was opened for; `None` for one of a service manager, which stays whatever
    /// the settings say.
    bind: Option<Bind>,
    listener: Listener,
    /// Not opened by us.
    passed: bool,
}

/// The open listeners. Dropping them closes them and unlinks the socket files that are still ours.
#[derive(Default)]
pub(super) struct Listeners(Vec<Open>);

impl Listeners {
    /// Takes the sockets that a service manager has passed, as the configuration wants them: for
    /// an address that is named there, and otherwise where it asks for them or names none.
    pub(super) fn activated(config: &Config, passed: Vec<Passed>) -> Result<Self, ListenError> {
        let mut open = Vec::with_capacity(passed.len());
        for Passed { fd, name } in passed {
            let listener = Listener::adopt(fd, None)
                .map_err(|source| ListenError::Unusable { name, source })?;
            let bind = config.binds.iter().find(|bind| means(bind, &listener.address)).cloned();
            let wants_all = config.activated_sockets != ActivatedSockets::Named;
            if bind.is_some() || wants_all || config.default_binds {
                open.push(Open { bind, listener, passed: true });
            } else {
                events::complain(&format!(
                    "the socket {} of the service manager is not used: it is named by no --bind, \
                     and there is no --bind-to-activated-sockets",
                    listener.address
                ));
            }
        }
        Ok(Self(open))
    }

    /// Opens what the configuration names and is not open yet; all of it or nothing.
    pub(super) fn ensure(&mut self, config: &Config) -> Result<(), ListenError> {
        let has_passed = self.0.iter().any(|open| open.passed);
        let only = config.activated_sockets == ActivatedSockets::Only;
        if has_passed && (only || config.default_binds) {
            return Ok(());
        }
        let mut fresh = Self::default();
        for bind in &config.binds {
            if self.0.iter().any(|open| open.bind.as_ref().is_some_and(|known| same(known, bind))) {
                continue;
            }
            for listener in open(bind)? {
                fresh.0.push(Open { bind: Some(bind.clone()), listener, passed: false });
            }
        }
        self.0.append(&mut fresh.0);
        Ok(())
    }

    /// Closes what this configuration does not name.
    pub(super) fn keep_only(&mut self, config: &Config) {
        let (kept, unwanted) =
            self.0.drain(..).partition(|open| open.passed || open.is_named_by(config));
        self.0 = kept;
        Self(unwanted).close();
    }

    /// Where it listens, and whether each socket was passed by a service manager.
    pub(super) fn addresses(&self) -> impl Iterator<Item = (&Address, bool)> {
        self.0.iter().map(|open| (&open.listener.address, open.passed))
    }

    /// For handing to a mold with this configuration.
    pub(super) fn descriptors(&self, config: &Config) -> Vec<BorrowedFd<'_>> {
        let wanted = self.0.iter().filter(|open| open.passed || open.is_named_by(config));
        wanted.map(|open| open.listener.as_fd()).collect()
    }

    /// Every descriptor, for handing over to the next program.
    pub(super) fn all(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.0.iter().map(|open| open.listener.as_fd())
    }

    /// What the next program must know of them.
    pub(super) fn records(&self) -> Vec<ListenerRecord> {
        let record = |open: &Open| ListenerRecord {
            bind: open.bind.clone(),
            passed: open.passed,
            socket: SocketRecord::of(&open.listener),
        };
        self.0.iter().map(record).collect()
    }

    /// In the next program.
    pub(super) fn take_over(records: Vec<ListenerRecord>) -> Result<Self, TakeOverError> {
        let take = |record: ListenerRecord| {
            let ListenerRecord { bind, passed, socket } = record;
            Ok(Open { bind, listener: socket.take()?, passed })
        };
        records.into_iter().map(take).collect::<Result<_, _>>().map(Self)
    }

    /// Stops listening: who connects from now on is refused at once, and another server may take
    /// the addresses, while workers still finish what they hold.
    pub(super) fn close(&mut self) {
        for open in self.0.drain(..) {
            if let Err(error) = listen::unlink_unix(&open.listener) {
                events::complain(&chain(&error));
            }
        }
    }
}

impl Open {
    fn is_named_by(&self, config: &Config) -> bool {
        let named = |known: &Bind| config.binds.iter().any(|bind| same(known, bind));
        self.bind.as_ref().is_some_and(named)
    }
}

impl Drop for Listeners {
    fn drop(&mut self) {
        self.close();
    }
}

fn open(bind: &Bind) -> Result<Vec<Listener>, ListenError> {
    Ok(match bind {
        Bind::Tcp { host, port, backlog } => {
            let addresses = listen::resolve(host, *port)?.into_iter();
            addresses
                .map(|address| listen::bind_tcp(address, *backlog))
                .collect::<Result<_, _>>()?
        }
        Bind::Unix { path, options } => {
            let UnixOptions { umask, mode, backlog } = *options;
            vec![listen::bind_unix(path, umask, mode, backlog)?]
        }
        Bind::Abstract { name, backlog } => vec![listen::bind_abstract(name, *backlog)?],
    })
}

/// Whether a socket opened for one serves for the other: the address counts, not the options.
fn same(one: &Bind, other: &Bind) -> bool {
    match (one, other) {
        (Bind::Tcp { host, port, .. }, Bind::Tcp { host: also, port: same, .. }) => {
            (host, port) == (also, same)
        }
        (Bind::Unix { path, .. }, Bind::Unix { path: also, .. }) => path == also,
        (Bind::Abstract { name, .. }, Bind::Abstract { name: also, .. }) => name == also,
        (Bind::Tcp { .. } | Bind::Unix { .. } | Bind::Abstract { .. }, _) => false,
    }
}

/// Whether a setting names this address.
fn means(bind: &Bind, address: &Address) -> bool {
    match (bind, address) {
        (Bind::Tcp { host, port, .. }, Address::Tcp(address)) => {
            let hosts = listen::resolve(host, *port).unwrap_or_default();
            hosts.contains(address)
        }
        (Bind::Unix { path, .. }, Address::Unix(other)) => path == other,
        (Bind::Abstract { name, .. }, Address::Abstract(other)) => name == other,
        (Bind::Tcp { .. } | Bind::Unix { .. } | Bind::Abstract { .. }, _) => false,
    }
}
