//! What an operator can tell the master, and the signals it is told by.
//!
//! Each personality has one table: [`PUMA`] and [`UNICORN`].

#[cfg(test)]
mod tests;

use std::{
    collections::VecDeque,
    env,
    future::poll_fn,
    io,
    task::{Context, Poll, Waker},
};

use nix::{libc, sys::signal::Signal};
use rackrs_sys::signals;
use serde::{Deserialize, Serialize};
use tokio::signal::unix::{self, SignalKind, signal};

use super::fleet::{Kind, WorkersChange};
use crate::config::{Config, Personality};

/// One order to the master. The master's loop handles every variant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Command {
    /// Finish the requests in hand, then end. A second time: end now.
    Stop {
        /// How the process ends after.
        ending: StopEnding,
    },
    /// End now.
    Halt,
    /// Make a part of it, or all, anew.
    Restart(Kind),
    /// Another number of workers.
    Workers(WorkersChange),
    /// Open the log files anew.
    ReopenLogs,
    /// Log where every Ruby thread stands.
    Backtraces,
    /// Some child ended.
    Reap,
}

/// How the process ends after a graceful stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum StopEnding {
    /// With status 0.
    Success,
    /// By the signal TERM itself, as Puma's `raise_exception_on_sigterm` (default true) has it.
    ByTerm,
}

/// What each signal means; the order is the order of the documentation.
type Table = &'static [(libc::c_int, Command)];

const STOP: Command = Command::Stop { ending: StopEnding::Success };
const ONE_MORE: Command = Command::Workers(WorkersChange::More(1));

/// Puma's meanings (its launcher and cluster; `docs/reference/signals.md`).
const PUMA: Table = &[
    (libc::SIGTERM, Command::Stop { ending: StopEnding::ByTerm }),
    (libc::SIGINT, STOP),
    (libc::SIGQUIT, STOP),
    (libc::SIGUSR2, Command::Restart(Kind::Full)),
    (libc::SIGUSR1, Command::Restart(Kind::Phased)),
    (libc::SIGURG, Command::Restart(Kind::Refork)),
    (libc::SIGHUP, Command::ReopenLogs),
    (libc::SIGTTIN, ONE_MORE),
    (libc::SIGTTOU, Command::Workers(WorkersChange::Fewer { by: 1, least: 1 })),
    (libc::SIGPWR, Command::Backtraces),
    (libc::SIGCHLD, Command::Reap),
];

/// Unicorn's meanings (its SIGNALS document).
const UNICORN: Table = &[
    (libc::SIGTERM, Command::Halt),
    (libc::SIGINT, Command::Halt),
    (libc::SIGQUIT, STOP),
    (libc::SIGUSR2, Command::Restart(Kind::Full)),
    (libc::SIGHUP, Command::Restart(Kind::Full)),
    (libc::SIGUSR1, Command::ReopenLogs),
    (libc::SIGWINCH, Command::Workers(WorkersChange::Exactly(0))),
    (libc::SIGTTIN, ONE_MORE),
    (libc::SIGTTOU, Command::Workers(WorkersChange::Fewer { by: 1, least: 0 })),
    (libc::SIGPWR, Command::Backtraces),
    (libc::SIGCHLD, Command::Reap),
];

/// Puma's switch for processes in which USR2 belongs to somebody else.
const SKIP_USR2: &str = "PUMA_SKIP_SIGUSR2";

fn table(personality: Personality) -> Table {
    match personality {
        Personality::Puma => PUMA,
        Personality::Unicorn => UNICORN,
    }
}

/// Makes the signals of [`Commands`] wait until somebody listens to them: in the default way they
/// would end a starting master without a word, and leave its socket files behind. They wait also
/// over an exec.
///
/// # Errors
///
/// `pthread_sigmask(3)` has none for these arguments; what it says is passed on.
pub(crate) fn hold_signals() -> io::Result<()> {
    let numbers = PUMA.iter().chain(UNICORN).map(|(number, _)| Signal::try_from(*number));
    let known: Vec<Signal> = numbers.collect::<Result<_, _>>()?;
    Ok(signals::block(&known)?)
}

/// Lets them arrive again.
///
/// # Errors
///
/// `pthread_sigmask(3)` has none for these arguments; what it says is passed on.
pub(crate) fn release_signals() -> io::Result<()> {
    Ok(signals::unblock_all()?)
}

/// Signals as a queue of commands, in arrival order between polls.
///
/// The handlers are tokio's: they write one byte to a pipe, so no lock, allocation or log line
/// of ours runs inside a signal handler.
#[derive(Debug)]
pub(crate) struct Commands {
    sources: Vec<(unix::Signal, Command)>,
    pending: VecDeque<Command>,
}

impl Commands {
    /// Installs the handlers. Call before the pid file is written: whoever reads it may signal.
    /// Signals that were held, here or by whoever started us, arrive from now on.
    ///
    /// A terminal's window size changes (WINCH) are heard only by a daemon, and a HUP that the
    /// starter set to be ignored (nohup) stays ignored; without log files Puma's HUP stops. A USR2
    /// that is not ours is ignored: by default it would end us.
    ///
    /// # Errors
    ///
    /// When the kernel refuses a handler.
    pub(crate) fn listen(config: &Config) -> io::Result<Self> {
        let mut sources = Vec::new();
        for &(number, command) in table(config.personality) {
            let unheard = match number {
                libc::SIGWINCH => !config.daemon,
                libc::SIGHUP => signals::is_ignored(Signal::SIGHUP)?,
                libc::SIGUSR2 if env::var_os(SKIP_USR2).is_some() => {
                    signals::ignore(Signal::SIGUSR2)?;
                    true
                }
                _ => false,
            };
            // Puma: "reopen stdout_redirect files, else stop".
            let command = match (number, command) {
                (libc::SIGHUP, Command::ReopenLogs) if !config.redirect.is_wanted() => STOP,
                _ => command,
            };
            if !unheard {
                sources.push((signal(SignalKind::from_raw(number))?, command));
            }
        }
        release_signals()?;
        // Children may have ended before anybody listened.
        Ok(Self { sources, pending: VecDeque::from([Command::Reap]) })
    }

    /// The next command. Cancel safe.
    pub(crate) async fn next(&mut self) -> Command {
        poll_fn(|context| {
            self.collect(context);
            self.pending.pop_front().map_or(Poll::Pending, Poll::Ready)
        })
        .await
    }

    /// All that have arrived; for a master that is about to be another program.
    pub(crate) fn take_pending(&mut self) -> Vec<Command> {
        self.collect(&mut Context::from_waker(Waker::noop()));
        self.pending.drain(..).collect()
    }

    /// Puts commands before all others.
    pub(crate) fn put_back(&mut self, commands: Vec<Command>) {
        for command in commands.into_iter().rev() {
            self.pending.push_front(command);
        }
    }

    fn collect(&mut self, context: &mut Context<'_>) {
        for (source, command) in &mut self.sources {
            if let Poll::Ready(Some(())) = source.poll_recv(context) {
                self.pending.push_back(*command);
            }
        }
    }
}
