//! Leaving the terminal: the launcher stays until the daemon serves or has failed.

#[cfg(test)]
mod tests;
mod verdict;

use nix::{
    errno::Errno,
    fcntl::OFlag,
    sys::wait::waitpid,
    unistd::{self, Pid},
};

use crate::{
    fork::{self, Side, SingleThreaded},
    sysexits,
};

pub use verdict::{MESSAGE_BYTES_MAX, ReadyNotifier, Verdict, VerdictWaiter};

/// Which of the two processes the caller of [`daemonize`] is in.
#[derive(Debug)]
pub enum Daemon {
    /// The process that the user started: wait for the verdict, then exit with it.
    Launcher(VerdictWaiter),
    /// The new process: go on with the work, and tell when it serves.
    Daemon(ReadyNotifier),
}

/// Why there is no daemon. The caller is still the process that the user started.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    /// No pipe between launcher and daemon.
    #[error("cannot start the daemon: no pipe to hear from it")]
    Pipe(#[source] Errno),
    /// The first fork failed.
    #[error("cannot start the daemon: fork failed; check the limit of processes")]
    Fork(#[source] Errno),
}

impl DaemonError {
    /// The exit status, from sysexits(3): 71.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Pipe(_) | Self::Fork(_) => sysexits::OSERR,
        }
    }
}

/// Forks twice, with a new session between, and returns in the launcher and in the daemon.
///
/// The daemon has no controlling terminal and cannot get one by accident, because it does not
/// lead its session. It keeps the working directory, the umask, the standard streams (so that
/// errors at boot are seen; see [`crate::streams`] for later), the signal mask and what is
/// ignored; handlers become the default action. Its parent is the nearest subreaper, or pid 1.
///
/// # Errors
///
/// When there is no pipe or the first fork fails. What fails later reaches the launcher as
/// [`Verdict::Failed`].
pub fn daemonize(proof: &SingleThreaded) -> Result<Daemon, DaemonError> {
    let (reader, writer) = unistd::pipe2(OFlag::O_CLOEXEC).map_err(DaemonError::Pipe)?;
    let (waiter, notifier) = (VerdictWaiter::new(reader), ReadyNotifier::new(writer));
    match fork::fork_here(proof).map_err(DaemonError::Fork)? {
        Side::Parent { child } => {
            // The pipe must have no writer but the daemon, or its end is never seen.
            drop(notifier);
            reap_between(child);
            Ok(Daemon::Launcher(waiter))
        }
        Side::Child { previous } => {
            drop(waiter);
            if let Err(errno) = fork::enter_child(&previous).and_then(|()| leave_session()) {
                give_up(notifier, "no new session", errno);
            }
            match fork::fork_here(proof) {
                Err(errno) => give_up(notifier, "the second fork failed", errno),
                Ok(Side::Parent { .. }) => fork::exit_now(0),
                Ok(Side::Child { previous }) => match fork::enter_child(&previous) {
                    Ok(()) => Ok(Daemon::Daemon(notifier)),
                    Err(errno) => give_up(notifier, "signals cannot be reset", errno),
                },
            }
        }
    }
}

fn leave_session() -> Result<(), Errno> {
    unistd::setsid().map(drop)
}

fn give_up(notifier: ReadyNotifier, what: &str, errno: Errno) -> ! {
    let message = format!("cannot start the daemon: {what}: {}", errno.desc());
    // Without a launcher there is nobody to tell; the status remains.
    let _ = notifier.failed(sysexits::OSERR, &message);
    fork::exit_now(sysexits::OSERR)
}

/// The process between the two ends at once. An error means that it is reaped already, which
/// happens by itself where SIGCHLD is ignored.
fn reap_between(child: Pid) {
    while waitpid(child, None) == Err(Errno::EINTR) {}
}
