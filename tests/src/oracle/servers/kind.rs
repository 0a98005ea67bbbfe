//! A server, and its way to restart.

use anyhow::bail;
use nix::sys::signal::Signal;

use super::running::Running;
use crate::{oracle::restart::Round, patience::within_limit, process};

/// A server with a way to restart it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// rackrs by USR2.
    Rackrs,
    /// Puma's hot restart, USR2.
    Puma,
    /// Puma's phased restart, USR1.
    PumaPhased,
    /// Puma's hot restart with `preload_app!`.
    PumaPreload,
    /// Unicorn by USR2, then QUIT to the old master when the new one serves.
    Unicorn,
    /// Unicorn with `preload_app`, by HUP.
    UnicornHup,
}

impl Kind {
    /// All of them, in the order they are shown.
    pub const ALL: [Self; 6] = [
        Self::Rackrs,
        Self::Puma,
        Self::PumaPhased,
        Self::PumaPreload,
        Self::Unicorn,
        Self::UnicornHup,
    ];

    /// Its name on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Rackrs => "rackrs",
            Self::Puma => "puma",
            Self::PumaPhased => "puma-phased",
            Self::PumaPreload => "puma-preload",
            Self::Unicorn => "unicorn",
            Self::UnicornHup => "unicorn-hup",
        }
    }

    /// Its name for a reader.
    #[must_use]
    pub fn about(self) -> &'static str {
        match self {
            Self::Rackrs => "rackrs, USR2",
            Self::Puma => "Puma, USR2",
            Self::PumaPhased => "Puma, USR1 (phased)",
            Self::PumaPreload => "Puma, preload_app!, USR2",
            Self::Unicorn => "Unicorn, USR2 then QUIT",
            Self::UnicornHup => "Unicorn, preload_app, HUP",
        }
    }

    /// Restarts a running server and waits until it is complete.
    pub(super) fn restart(self, server: &Running, round: &Round) -> anyhow::Result<()> {
        let signal = match self {
            Self::Rackrs | Self::Puma | Self::PumaPreload => Signal::SIGUSR2,
            Self::PumaPhased => Signal::SIGUSR1,
            Self::UnicornHup => Signal::SIGHUP,
            Self::Unicorn => {
                replace(server, round)?;
                return round.settle();
            }
        };
        server.signal(signal)?;
        round.settle()
    }
}

/// Unicorn's way: a second master beside the first, which leaves when the second serves.
fn replace(server: &Running, round: &Round) -> anyhow::Result<()> {
    let old = server.signal(Signal::SIGUSR2)?;
    round.await_first_answer()?;
    if server.written_pid()? == old {
        bail!("a new release answers, but the pid file still names process {old}");
    }
    process::send_if_alive(old, Signal::SIGQUIT);
    let gone = within_limit(round.limit, || (!process::is_alive(old)).then_some(()));
    match gone {
        Some(()) => Ok(()),
        None => bail!("the old master {old} did not end by QUIT within {:?}", round.limit),
    }
}
