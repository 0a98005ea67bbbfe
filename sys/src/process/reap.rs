//! Learning how children ended, without waiting for any of them.

use std::fmt;

use nix::{errno::Errno, libc, sys::signal::Signal, unistd::Pid};

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// It left with this status, 0 to 255.
    Code(i32),
    /// A signal ended it.
    Signal {
        /// The signal's number; a number, because real-time signals have no name.
        signal: i32,
        /// Whether memory was written to a core file.
        core: bool,
    },
}

impl Exit {
    /// Whether it left by itself with status 0.
    #[must_use]
    pub fn is_success(self) -> bool {
        self == Self::Code(0)
    }

    fn from_status(status: i32) -> Option<Self> {
        if libc::WIFEXITED(status) {
            Some(Self::Code(libc::WEXITSTATUS(status)))
        } else if libc::WIFSIGNALED(status) {
            let core = libc::WCOREDUMP(status);
            Some(Self::Signal { signal: libc::WTERMSIG(status), core })
        } else {
            None
        }
    }
}

impl fmt::Display for Exit {
    /// "exited with status 1", "killed by SIGKILL", "killed by SIGSEGV (core dumped)".
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (signal, core) = match *self {
            Self::Code(code) => return write!(f, "exited with status {code}"),
            Self::Signal { signal, core } => (signal, core),
        };
        match Signal::try_from(signal) {
            Ok(named) => write!(f, "killed by {named}")?,
            Err(_) => write!(f, "killed by signal {signal}")?,
        }
        f.write_str(if core { " (core dumped)" } else { "" })
    }
}

/// Reaps one child that has ended, whichever; `None` when none has, or when there is no child.
///
/// Call it until it says `None`: one SIGCHLD may stand for many children. It takes the status of
/// every child of the process, so nothing else in the process may wait for one.
///
/// # Errors
///
/// `waitpid(2)` has none for these arguments but the ones handled here; what it says is passed on.
pub fn reap_any() -> Result<Option<(Pid, Exit)>, Errno> {
    loop {
        let mut status = 0;
        // SAFETY: `status` is a live integer that the kernel may write to.
        let raw = unsafe { libc::waitpid(-1, &raw mut status, libc::WNOHANG) };
        match Errno::result(raw) {
            Ok(0) | Err(Errno::ECHILD) => return Ok(None),
            // A child that a debugger stops or continues has not ended.
            Ok(pid) => {
                if let Some(exit) = Exit::from_status(status) {
                    return Ok(Some((Pid::from_raw(pid), exit)));
                }
            }
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno),
        }
    }
}

#[cfg(test)]
mod tests {
    use nix::{
        sys::signal::{Signal, raise},
        unistd::getpid,
    };

    use super::{Exit, reap_any};
    use crate::{
        fork::fork_child,
        forked::{in_child, until},
        process::{become_subreaper, parent_pid},
    };

    fn reap_next() -> (nix::unistd::Pid, Exit) {
        let mut reaped = None;
        until("a child ended", || {
            reaped = reap_any().unwrap();
            reaped.is_some()
        });
        reaped.unwrap()
    }

    #[test]
    fn codes_and_signals_are_told_apart() {
        in_child(|proof| {
            assert_eq!(reap_any().unwrap(), None);
            let leaves = fork_child(proof, || 7).unwrap();
            assert_eq!(reap_next(), (leaves, Exit::Code(7)));
            let killed = fork_child(proof, || raise(Signal::SIGKILL).map_or(1, |()| 2)).unwrap();
            assert_eq!(reap_next(), (killed, Exit::Signal { signal: 9, core: false }));
            assert_eq!(reap_any().unwrap(), None);
        });
    }

    #[test]
    fn a_subreaper_gets_its_grandchildren() {
        in_child(|proof| {
            become_subreaper().unwrap();
            let reaper = getpid();
            let child = fork_child(proof, || {
                let grandchild = || {
                    until("the reaper is the parent", || parent_pid() == reaper);
                    5
                };
                u8::from(fork_child(proof, grandchild).is_err())
            });
            assert_eq!(reap_next(), (child.unwrap(), Exit::Code(0)));
            assert_eq!(reap_next().1, Exit::Code(5));
        });
    }

    #[test]
    fn exits_read_as_sentences() {
        assert_eq!(Exit::Code(3).to_string(), "exited with status 3");
        let killed = Exit::Signal { signal: 11, core: true };
        assert_eq!(killed.to_string(), "killed by SIGSEGV (core dumped)");
        let nameless = Exit::Signal { signal: 40, core: false };
        assert_eq!(nameless.to_string(), "killed by signal 40");
    }
}
