//! What an operator can tell the master, and the signals it is told by.

use std::{collections::VecDeque, future::poll_fn, io, task::Poll};

use nix::{libc, sys::signal::Signal};
use rackrs_sys::signals;
use tokio::signal::unix::{self, SignalKind, signal};

use crate::config::Config;

/// One order to the master. The master's loop handles every variant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Command {
    /// Finish the requests in hand, then end. A second time: end now.
    Stop {
        /// How the process ends after.
        ending: StopEnding,
    },
    /// Some child ended.
    Reap,
    /// Not in this version; said in the log instead of dying of the signal's default.
    Unsupported {
        /// The signal.
        name: &'static str,
        /// What to do instead.
        instead: &'static str,
    },
}

/// How the process ends after a graceful stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StopEnding {
    /// With status 0.
    Success,
    /// By the signal TERM itself, as Puma's `raise_exception_on_sigterm` (default true) has it.
    ByTerm,
}

const RESTART_INSTEAD: &str = "stop the server and start it again";

/// The signals the master listens to; the order is the order of the documentation.
const BINDINGS: [(libc::c_int, Command); 11] = [
    (libc::SIGTERM, Command::Stop { ending: StopEnding::ByTerm }),
    (libc::SIGINT, Command::Stop { ending: StopEnding::Success }),
    (libc::SIGQUIT, Command::Stop { ending: StopEnding::Success }),
    (libc::SIGCHLD, Command::Reap),
    (libc::SIGUSR2, Command::Unsupported { name: "USR2 (restart)", instead: RESTART_INSTEAD }),
    (
        libc::SIGUSR1,
        Command::Unsupported { name: "USR1 (phased restart)", instead: RESTART_INSTEAD },
    ),
    (libc::SIGURG, Command::Unsupported { name: "URG (refork)", instead: RESTART_INSTEAD }),
    (
        libc::SIGHUP,
        Command::Unsupported {
            name: "HUP (reopen logs)",
            instead: "rotate logs with copytruncate",
        },
    ),
    (
        libc::SIGTTIN,
        Command::Unsupported {
            name: "TTIN (one worker more)",
            instead: "start it with another -w",
        },
    ),
    (
        libc::SIGTTOU,
        Command::Unsupported {
            name: "TTOU (one worker less)",
            instead: "start it with another -w",
        },
    ),
    (
        libc::SIGWINCH,
        Command::Unsupported { name: "WINCH (stop the workers)", instead: "use TERM" },
    ),
];

/// Makes the signals of [`Commands`] wait until somebody listens to them: in the default way they
/// would end a starting master without a word, and leave its socket files behind.
///
/// # Errors
///
/// `pthread_sigmask(3)` has none for these arguments; what it says is passed on.
pub(crate) fn hold_signals() -> io::Result<()> {
    let numbers = BINDINGS.iter().map(|(number, _)| Signal::try_from(*number));
    let known: Vec<Signal> = numbers.collect::<Result<_, _>>()?;
    Ok(signals::block(&known)?)
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
    /// starter set to be ignored (nohup) stays ignored; without log files a HUP stops, as in Puma.
    ///
    /// # Errors
    ///
    /// When the kernel refuses a handler.
    pub(crate) fn listen(config: &Config) -> io::Result<Self> {
        let mut sources = Vec::with_capacity(BINDINGS.len());
        for (number, command) in BINDINGS {
            let unheard = match number {
                libc::SIGWINCH => !config.daemon,
                libc::SIGHUP => signals::is_ignored(Signal::SIGHUP)?,
                _ => false,
            };
            // Puma: "reopen stdout_redirect files, else stop".
            let command = match number {
                libc::SIGHUP if !config.redirect.is_wanted() => {
                    Command::Stop { ending: StopEnding::Success }
                }
                _ => command,
            };
            if !unheard {
                sources.push((signal(SignalKind::from_raw(number))?, command));
            }
        }
        signals::unblock_all()?;
        Ok(Self { sources, pending: VecDeque::new() })
    }

    /// The next command. Cancel safe.
    pub(crate) async fn next(&mut self) -> Command {
        poll_fn(|context| {
            for (source, command) in &mut self.sources {
                if let Poll::Ready(Some(())) = source.poll_recv(context) {
                    self.pending.push_back(*command);
                }
            }
            self.pending.pop_front().map_or(Poll::Pending, Poll::Ready)
        })
        .await
    }
}
